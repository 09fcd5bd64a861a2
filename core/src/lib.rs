// SPDX-License-Identifier: MPL-2.0
//! The lookup engine of the remote-opts hook library: everything that needs no Kea.
//!
//! Data flows one way: facts → request → answer. The Kea adapter reads the facts from a DHCP query
//! and writes the answer's edits into the DHCP reply. It depends on this crate; this crate knows
//! neither Kea nor C++, and builds, tests and fuzzes on any machine.
//!
//! | module | what it does | may not know |
//! |---|---|---|
//! | [`config`] | parameters as JSON → settings, or an error that names the parameter | HTTP, threads, time |
//! | [`filter`] | facts → admitted? | HTTP, threads, time |
//! | [`facts`] | names and values in one piece of memory | everything else |
//! | [`request`] | facts → request → URL | HTTP, threads, time |
//! | [`answer`] | JSON → edits of the DHCP reply | HTTP, threads, time |
//! | [`hexadecimal`] | text → bytes, in the forms that Kea takes | HTTP, threads, time |
//! | [`cache`] | the answers kept, by request and by exchange | HTTP, threads; it is told the time |
//! | [`reserved`] | the addresses that kept answers reserve | HTTP, threads, time |
//! | [`cache_file`] | kept answers in a file, for the next start | HTTP, threads |
//! | [`lookup`] | the engine: a kept answer, a request in flight, or a new request | HTTP |
//! | [`failover`] | which service is asked, and which is down | HTTP |
//! | [`backoff`] | the requests that failed lately, and back off | HTTP |
//! | [`probe`] | how a service that is down is asked until it is up | HTTP |
//! | [`fetch`] | the trait between engine and HTTP, with what comes of a request | HTTP |
//! | [`http`] | the HTTP client, TLS files, Cache-Control | |
//! | [`event`] | what the engine reports, and the trait of who listens | HTTP |
//! | [`parking`] | places in the parking lot, and the packets that wait there | HTTP |
//! | [`work`] | work for one thread, in the order in which it is given | HTTP |
//! | [`guard`] | panics end here | |
//! | [`sync`] | locks, time and tasks: std's and tokio's, or those of the model | |
//! | [`runtime`] | the one thread on which requests are made | |
//! | [`throttle`] | keeps an event that may come with every packet from filling the log | |
#![forbid(unsafe_code)]

pub mod answer;
pub mod backoff;
pub mod cache;
pub mod cache_file;
pub mod config;
pub mod event;
pub mod facts;
pub mod failover;
pub mod fetch;
pub mod filter;
pub mod guard;
pub mod hexadecimal;
pub mod http;
pub mod lookup;
pub mod parking;
pub mod probe;
pub mod request;
pub mod reserved;
pub mod runtime;
pub mod sync;
pub mod throttle;
pub mod work;

#[cfg(test)]
mod limits;
