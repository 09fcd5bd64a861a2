//! A hook library for ISC Kea's DHCPv4 server that asks an HTTP backend which options a client is to get.
//!
//! Data flows one way: packet → facts → request → answer → edits → packet.
//!
//! | module | what it does |
//! |---|---|
//! | [`exports`] | the functions that Kea looks for in the library |
//! | [`bridge`] | all that C++ and Rust see of each other |
//! | [`hook`] | the way of a packet: from a callout to the edits of its reply |
//! | [`parameters`] | the library's parameters in Kea's configuration |
//! | [`filter`] | which clients are looked up |
//! | [`request`] | what the backends are asked |
//! | [`lookup`] | the engine: an answer kept, a request under way, or a new one |
//! | [`cache`] | the answers kept |
//! | [`freshness`] | how long they may be |
//! | [`backends`] | which backend is asked, and which are given up |
//! | [`backend`] | HTTP |
//! | [`tls`] | certificates, keys and the token |
//! | [`answer`] | what a backend says |
//! | [`edits`] | the answer into the reply |
//! | [`runtime`] | the hook's own thread, where requests are made |
//! | [`main_thread`] | what only Kea's main thread may do |
//! | [`messages`], [`throttle`] | Kea's log |
//! | [`statistics`] | Kea's statistics |
//!
//! `filter`, `request`, `cache`, `freshness` and `answer` know nothing of Kea or HTTP, `lookup` and `backends` nothing
//! of Kea's packets.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod answer;
pub mod backend;
pub mod backends;
pub mod bridge;
pub mod cache;
pub mod edits;
pub mod exports;
pub mod filter;
pub mod freshness;
pub mod hook;
pub mod lookup;
pub mod main_thread;
pub mod messages;
pub mod parameters;
pub mod request;
pub mod runtime;
pub mod statistics;
pub mod throttle;
pub mod tls;

/// The C++ of shim/, as build.rs compiled it.
#[allow(unsafe_code)]
mod link_shim {
    // SAFETY: no function is declared here; src/bridge.rs declares them.
    #[link(name = "remopts_shim", kind = "static")]
    unsafe extern "C" {}
}

/// Kea's libraries, for the unit tests and the fuzz targets: the server that loads the library has them all, a test program
/// not.
#[cfg(any(test, fuzzing))]
#[allow(unsafe_code)]
mod link_kea {
    include!(concat!(env!("OUT_DIR"), "/link_kea.rs"));
}
