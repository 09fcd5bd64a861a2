// SPDX-License-Identifier: MPL-2.0
//! The bridge from C++: what the shim calls in Rust.
//!
//! Nothing is thrown across the bridge: each function runs inside core's `guard`, which ends and
//! reports a panic. [`crate::ffi`] is the bridge in the other direction.

use std::net::Ipv4Addr;

use remote_opts_core::guard::guard;

pub use bridge::ReservedHost;

use crate::ffi::{Callout, IdentifierKind, Packet};
use crate::log::REMOPTS_EXCEPTION;
use crate::packet_lookup::PacketLookup;
use crate::{commands, instance, packet_lookup, reservations};

// Unsafe: cxx generates the glue of the functions that are declared here.
#[allow(unsafe_code)]
#[cxx::bridge(namespace = "remote_opts")]
mod bridge {
    /// What Kea's host manager gets for a client or an address.
    struct ReservedHost {
        /// The subnet for which Kea asked.
        subnet: u32,
        /// By which identifier Kea knows the client.
        kind: IdentifierKind,
        /// The identifier.
        identifier: Vec<u8>,
        /// The reserved address; 0 for none.
        address: u32,
        /// The reserved host name; empty for none.
        hostname: String,
    }

    extern "Rust" {
        /// Sets the library up from the JSON text of its parameters; false when the parameters
        /// cannot work. Main thread.
        fn load_library(parameters: &str) -> bool;
        /// Ends what [`load_library`] set up. Main thread.
        fn unload_library();
        /// The configuration that loaded the library is in force. `parked_packet_limit` is negative
        /// where the configuration does not say. `has_database` says whether a database has a part
        /// of the configuration (`config-control`). Main thread.
        fn server_configured(parked_packet_limit: i64, has_database: bool);

        /// The names of the library's commands. Main thread.
        fn command_names() -> Vec<String>;
        /// Brings Kea's statistics up to date. Kea's main thread, or a thread of libdhcp_ha's listener.
        fn publish_statistics();
        /// Runs a command of the library, given as JSON text, and returns its response as JSON text.
        /// Main thread.
        fn run_command(command: String) -> String;

        /// A packet's lookup. C++ keeps it in the packet's callout context.
        type PacketLookup;
        /// A query has arrived and has its client classes. Packet thread.
        fn packet_received(query: &Packet, callout: &Callout);
        /// Kea has looked for the subnet of a query that has a lookup. Packet thread.
        fn subnet_selected(lookup: &PacketLookup, query: &Packet, callout: &Callout);
        /// Whether a reservation is held for any client. Packet thread.
        fn holds_reservations() -> bool;
        /// Kea has looked for the subnet of a query that has no lookup, while a reservation is held.
        /// Packet thread.
        fn subnet_selected_without_lookup(query: &Packet, callout: &Callout);
        /// The library flex_id has made an identifier of a query that has a lookup; an empty one
        /// where there is none. Packet thread.
        fn client_identified(lookup: &PacketLookup, identifier: &[u8]);
        /// What is reserved in a subnet for the client of an identifier: one host, or none. Packet
        /// thread, or Kea's main thread, as the next two.
        fn reserved_for_client(
            subnet: u32,
            kind: IdentifierKind,
            identifier: &[u8],
        ) -> Vec<ReservedHost>;
        /// What is reserved for the client of an identifier in each subnet of its network.
        fn reserved_for_client_anywhere(
            kind: IdentifierKind,
            identifier: &[u8],
        ) -> Vec<ReservedHost>;
        /// For whom an address is reserved: one host, or none.
        fn reserved_address(subnet: u32, address: u32) -> Vec<ReservedHost>;
        /// The reply to a query that has a lookup is ready to be sent. Packet thread.
        fn reply_ready(lookup: &PacketLookup, query: &Packet, reply: &Packet, callout: &Callout);

        /// The descriptor of [`crate::ffi::watch_main_thread`] can be read. Main thread.
        fn main_thread_woken();
        /// Kea's main thread begins or has ended a critical section, in which packet threads pause:
        /// Kea configures or ends the server, or a command wants to be alone. Main thread.
        fn critical_section(begins: bool);
        /// Kea's code has thrown an exception in this callout. Any thread.
        fn log_exception(callout: &str, exception: String);
        /// Appends bytes in one call: C++ itself could only push them one by one. Any thread.
        fn append(value: &mut Vec<u8>, bytes: &[u8]);
    }

    unsafe extern "C++" {
        // First: the code that cxx generates needs it.
        include!("kea-hook-remote-opts/shim/exceptions.h");
        include!("kea-hook-remote-opts/shim/callouts.h");
        include!("kea-hook-remote-opts/shim/packet.h");

        include!("kea-hook-remote-opts/src/ffi.rs.h");

        type Callout = crate::ffi::Callout;
        type Packet = crate::ffi::Packet;
        type IdentifierKind = crate::ffi::IdentifierKind;

        /// Keeps the lookup in the packet's callout context. At pkt4_receive. (Declared here,
        /// because a type of Rust belongs to one bridge.)
        fn keep(self: &Callout, lookup: Box<PacketLookup>) -> Result<()>;
    }
}

fn load_library(parameters: &str) -> bool {
    guard(false, || instance::load(parameters))
}

fn unload_library() {
    guard((), instance::unload);
}

fn server_configured(parked_packet_limit: i64, has_database: bool) {
    guard((), || instance::configured(parked_packet_limit, has_database));
}

fn command_names() -> Vec<String> {
    guard(Vec::new(), commands::names)
}

fn publish_statistics() {
    guard((), instance::publish_statistics);
}

fn run_command(command: String) -> String {
    commands::run(&command)
}

fn packet_received(query: &Packet, callout: &Callout) {
    guard((), || packet_lookup::receive(query, callout));
}

fn subnet_selected(lookup: &PacketLookup, query: &Packet, callout: &Callout) {
    guard((), || lookup.look_up(query, callout));
}

fn holds_reservations() -> bool {
    guard(false, reservations::are_held)
}

fn subnet_selected_without_lookup(query: &Packet, callout: &Callout) {
    guard((), || packet_lookup::pass(query, callout));
}

fn client_identified(lookup: &PacketLookup, identifier: &[u8]) {
    guard((), || lookup.identified(identifier));
}

fn reserved_for_client(subnet: u32, kind: IdentifierKind, identifier: &[u8]) -> Vec<ReservedHost> {
    let found = guard(None, || reservations::of_client(subnet, kind, identifier));
    found.into_iter().collect()
}

fn reserved_for_client_anywhere(kind: IdentifierKind, identifier: &[u8]) -> Vec<ReservedHost> {
    guard(Vec::new(), || reservations::of_client_anywhere(kind, identifier))
}

fn reserved_address(subnet: u32, address: u32) -> Vec<ReservedHost> {
    let found = guard(None, || reservations::of_address(subnet, Ipv4Addr::from_bits(address)));
    found.into_iter().collect()
}

fn reply_ready(lookup: &PacketLookup, query: &Packet, reply: &Packet, callout: &Callout) {
    guard((), || lookup.write(query, reply, callout));
}

fn main_thread_woken() {
    guard((), instance::run_main_thread_work);
}

fn critical_section(begins: bool) {
    guard((), || instance::critical_section(begins));
}

fn log_exception(callout: &str, exception: String) {
    guard((), || REMOPTS_EXCEPTION.error([&callout, &exception]));
}

fn append(value: &mut Vec<u8>, bytes: &[u8]) {
    value.extend_from_slice(bytes);
}
