// SPDX-License-Identifier: MPL-2.0
//! The Kea adapter: the hook library that Kea's DHCPv4 server loads.
//!
//! The crate `remote-opts-core` decides, asks services and keeps answers. This crate connects it
//! with Kea. A packet goes through three callouts: pkt4_receive (query → request), subnet4_select
//! (request → answer) and pkt4_send (answer → reply).
//!
//! | module | what it does |
//! |---|---|
//! | [`exports`] | the functions that Kea looks for in the library |
//! | [`ffi`] | what Rust calls in C++ |
//! | [`callouts`] | what C++ calls in Rust |
//! | [`commands`] | the commands on Kea's control socket |
//! | [`instance`] | one loaded configuration: load, unload |
//! | [`packet_lookup`] | one packet's lookup, between its callouts |
//! | [`query`] | packet → facts → admitted? → request |
//! | [`encode`] | answer → payloads of options, by Kea's definitions |
//! | [`well_known`] | options of the standards that a Kea has no definition of |
//! | [`reservations`] | answer → reservation of an address and a host name, which Kea asks for |
//! | [`reply`] | answer → DHCP reply |
//! | [`parking`] | places in Kea's parking lot, and a packet in it |
//! | [`main_thread`] | work for Kea's main thread |
//! | [`log`] | Kea's log |
//! | [`listener`] | what the engine of core reports → Kea's log |
//! | [`statistics`] | Kea's statistics |
//!
//! C++ is called through [`ffi`] alone. Unsafe code is in [`exports`], [`ffi`] and [`callouts`]; the
//! two link attributes in this file are unsafe by their form alone.

pub mod callouts;
pub mod commands;
pub mod encode;
pub mod exports;
pub mod ffi;
pub mod instance;
pub mod listener;
pub mod log;
pub mod main_thread;
pub mod packet_lookup;
pub mod parking;
pub mod query;
pub mod reply;
pub mod reservations;
pub mod statistics;
pub mod well_known;

/// The C++ of shim/, as build.rs compiled it.
#[allow(unsafe_code)]
mod link_shim {
    // SAFETY: no function is declared here; src/ffi.rs declares the functions.
    #[link(name = "remopts_shim", kind = "static")]
    unsafe extern "C" {}
}

/// Kea's libraries, for the unit tests. The server that loads the library has them; a test program
/// has not.
#[cfg(test)]
#[allow(unsafe_code)]
mod link_kea {
    // SAFETY: no function is declared there.
    include!(concat!(env!("OUT_DIR"), "/link_kea.rs"));
}

#[cfg(test)]
mod limits;
