// SPDX-License-Identifier: MPL-2.0
//! The bridge to C++: what Rust calls in the shim, and through the shim in Kea.
//!
//! Nothing is thrown across the bridge: an exception of C++ comes back as the error of a `Result`.
//! A function without a `Result` does not throw. [`crate::callouts`] is the bridge in the other
//! direction.

pub use bridge::{
    Callout, CalloutHandle, Definition, Expression, IdentifierKind, LibraryHandle, Packet, Parked,
    Severity,
};
pub(crate) use bridge::{
    add_to_statistic, can_park, definition_by_code, definition_by_name, empty_query, forget_cached,
    has_class_definitions, has_host_cache, holds_lease, is_reserved, is_reserved_for, log_enabled,
    log_message, looks_early_for_global_reservations, lowest_socket, new_definition, packet_label,
    packet_queue_length, packet_queue_limit, packet_threads, park, parse_expression, parse_query,
    read_identifier_kinds, read_network, remove_statistic, set_statistic,
    shim_dhcp4_srv_configured, shim_host4_identifier, shim_load, shim_pkt4_receive, shim_pkt4_send,
    shim_subnet4_select, shim_unload, shim_version, statistic, subnet_has, unwatch_main_thread,
    uses_global_reservations, uses_subnet_reservations, watch_main_thread,
};

// Unsafe: cxx generates the glue of the functions that are declared here.
#[allow(unsafe_code)]
#[cxx::bridge(namespace = "remote_opts")]
mod bridge {
    /// The severities of Kea's log.
    #[derive(Debug)]
    enum Severity {
        /// With a debug level from 0 to 99.
        Debug,
        /// Worth knowing.
        Info,
        /// Wants a look.
        Warn,
        /// A client did not get what it should.
        Error,
    }

    /// The kinds of identifiers by which Kea looks for reservations, numbered as in Kea (its type
    /// `Host::IdentifierType`).
    #[derive(Debug)]
    enum IdentifierKind {
        /// The hardware address, without its type.
        HardwareAddress = 0,
        /// The DUID in a client identifier (RFC 4361).
        Duid = 1,
        /// Sub-option 1 of option 82 (RFC 3046).
        CircuitId = 2,
        /// The client identifier, option 61.
        ClientId = 3,
        /// What the hook library flex_id makes of the packet.
        FlexId = 4,
    }

    unsafe extern "C++" {
        // First: the code that cxx generates needs it.
        include!("kea-hook-remote-opts/shim/exceptions.h");
        include!("kea-hook-remote-opts/shim/callouts.h");
        include!("kea-hook-remote-opts/shim/definitions.h");
        include!("kea-hook-remote-opts/shim/expressions.h");
        include!("kea-hook-remote-opts/shim/hosts.h");
        include!("kea-hook-remote-opts/shim/log.h");
        include!("kea-hook-remote-opts/shim/main_thread.h");
        include!("kea-hook-remote-opts/shim/packet.h");
        include!("kea-hook-remote-opts/shim/parking.h");
        include!("kea-hook-remote-opts/shim/queries.h");
        include!("kea-hook-remote-opts/shim/sockets.h");
        include!("kea-hook-remote-opts/shim/statistics.h");

        /// What Kea gives to `load`.
        #[namespace = "isc::hooks"]
        type LibraryHandle;
        /// What Kea gives to a callout.
        #[namespace = "isc::hooks"]
        type CalloutHandle;

        // The functions that Kea calls, for src/exports.rs, which says what each does.
        fn shim_version() -> i32;
        fn shim_load(handle: Pin<&mut LibraryHandle>) -> i32;
        fn shim_unload() -> i32;
        fn shim_dhcp4_srv_configured(handle: Pin<&mut CalloutHandle>) -> i32;
        fn shim_pkt4_receive(handle: Pin<&mut CalloutHandle>) -> i32;
        fn shim_subnet4_select(handle: Pin<&mut CalloutHandle>) -> i32;
        fn shim_host4_identifier(handle: Pin<&mut CalloutHandle>) -> i32;
        fn shim_pkt4_send(handle: Pin<&mut CalloutHandle>) -> i32;

        /// One call of a callout. Lives no longer than the call, and stays in its thread.
        type Callout;
        /// Has Kea drop the packet of the callout: the client gets no reply.
        fn drop_packet(self: &Callout) -> Result<()>;
        /// Whether a library that Kea called before has dropped the packet.
        fn is_dropped(self: &Callout) -> Result<bool>;
        /// Whether a library that Kea called before does Kea's next step itself.
        fn is_skipped(self: &Callout) -> Result<bool>;
        /// The number of the packet's subnet; 0 where Kea has found none. At subnet4_select.
        fn subnet_id(self: &Callout) -> Result<u32>;

        /// A DHCPv4 query or reply in a callout. Lives no longer than the callout, and stays in its
        /// thread.
        type Packet;
        /// The DHCP message type (option 53); 0 without one.
        fn message_type(self: &Packet) -> Result<u8>;
        /// The transaction id (the field xid).
        fn transaction_id(self: &Packet) -> Result<u32>;
        /// Whether the client names an address that it has (the field ciaddr): it renews, rebinds,
        /// or asks for options alone.
        fn has_client_address(self: &Packet) -> Result<bool>;
        /// The address that the client names as its own (the field ciaddr); 0 for none.
        fn client_address(self: &Packet) -> Result<u32>;
        /// The address that a reply gives the client (the field yiaddr); 0 for none.
        fn given_address(self: &Packet) -> Result<u32>;
        /// Whether a relay agent has sent the packet (the field giaddr).
        fn has_relay_address(self: &Packet) -> Result<bool>;
        /// Whether Kea has put the option 82 into the packet, from the client's lease (Kea's
        /// parameter `stash-agent-options`).
        fn has_stashed_relay(self: &Packet) -> Result<bool>;
        /// Whether the packet came inside a DHCPv6 packet (DHCPv4-over-DHCPv6, RFC 7341).
        fn is_dhcp4o6(self: &Packet) -> Result<bool>;
        /// Appends the hardware type and the hardware address of the client to `value`.
        fn read_hardware_address(self: &Packet, value: &mut Vec<u8>) -> Result<()>;
        /// How Kea's own log names the packet: hardware address, client identifier, transaction id.
        fn label(self: &Packet) -> Result<String>;
        /// How Kea's own log names a packet with this hardware type and address (as
        /// [`Packet::read_hardware_address`] reads it), this client identifier, if `has_identifier`
        /// says that it has one, and this transaction id. Any thread.
        fn packet_label(
            hardware: &[u8],
            has_identifier: bool,
            identifier: &[u8],
            transaction_id: u32,
        ) -> Result<String>;
        /// Appends the code of each option to `codes`, the length of its payload in bytes to
        /// `lengths`, and the number of sub-options that Kea keeps apart in it to `sub_options`.
        fn read_lengths(
            self: &Packet,
            codes: &mut Vec<u8>,
            lengths: &mut Vec<usize>,
            sub_options: &mut Vec<usize>,
        ) -> Result<()>;
        /// The length of all options in bytes, with a header each. Kea splits an option of over 255
        /// bytes, and then it has more headers.
        fn options_length(self: &Packet) -> Result<usize>;
        /// Whether the packet has an option of this code.
        fn has_option(self: &Packet, code: u8) -> Result<bool>;
        /// Appends the payload of option `code` to `value`; false when the packet has no such
        /// option.
        fn read_option(self: &Packet, code: u8, value: &mut Vec<u8>) -> Result<bool>;
        /// Appends the payload of sub-option `sub_code` of option `code` to `value`; false when the
        /// packet has none.
        fn read_sub_option(
            self: &Packet,
            code: u8,
            sub_code: u8,
            value: &mut Vec<u8>,
        ) -> Result<bool>;
        /// Puts an option with this code and payload in the place of every option of the same code.
        fn replace_option(self: &Packet, code: u8, payload: &[u8]) -> Result<()>;
        /// Removes every option of this code; false when the packet has none.
        fn remove_option(self: &Packet, code: u8) -> Result<bool>;
        /// Sets siaddr, from an IPv4 address as text.
        fn set_next_server(self: &Packet, address: &str) -> Result<()>;
        /// Sets sname, of at most 64 bytes.
        fn set_server_hostname(self: &Packet, name: &str) -> Result<()>;
        /// Sets file, of at most 128 bytes.
        fn set_boot_file_name(self: &Packet, name: &str) -> Result<()>;
        /// Puts the query into a client class; false when the configuration has no such class.
        fn add_class(self: &Packet, name: &str) -> Result<bool>;

        /// A query made of the bytes of a DHCP message, in the client classes in which Kea puts a
        /// query before pkt4_receive. The error says what is wrong with the message. Main thread.
        fn parse_query(message: &[u8]) -> Result<UniquePtr<Packet>>;
        /// A DISCOVER without options, in no client class. Main thread.
        fn empty_query() -> Result<UniquePtr<Packet>>;

        /// A parsed expression of Kea's own language, the language of client classes.
        type Expression;
        /// Parses an expression: a boolean one, or one of text. The error says what is wrong, and
        /// where. Only while Kea loads its configuration: `member` may name the client classes of
        /// that configuration.
        fn parse_expression(text: &str, boolean: bool) -> Result<UniquePtr<Expression>>;
        /// Whether a boolean expression is true of this query.
        fn is_true(self: &Expression, query: &Packet) -> Result<bool>;
        /// Appends the value that an expression of text has for this query to `value`: nothing
        /// where the query lacks the option that the expression reads.
        fn read(self: &Expression, query: &Packet, value: &mut Vec<u8>) -> Result<()>;

        /// Whether one of the query's client classes defines options of its own.
        fn has_class_definitions(query: &Packet) -> Result<bool>;
        /// One of Kea's option definitions.
        type Definition;
        /// The definition, for this query's client, of the option of this code in a space. The
        /// space "dhcp4" holds the options, other spaces hold sub-options. Null where Kea has no
        /// definition.
        fn definition_by_code(
            query: &Packet,
            space: &str,
            code: u16,
        ) -> Result<UniquePtr<Definition>>;
        /// As [`definition_by_code`], by the option's name.
        fn definition_by_name(
            query: &Packet,
            space: &str,
            name: &str,
        ) -> Result<UniquePtr<Definition>>;
        /// The option's code.
        fn code(self: &Definition) -> Result<u16>;
        /// Whether the option is one text.
        fn is_text(self: &Definition) -> Result<bool>;
        /// Whether the option has no value of its own. It may have sub-options.
        fn is_empty(self: &Definition) -> Result<bool>;
        /// The most values that the definition takes: all of an array, the fields of a record, else
        /// one.
        fn most_values(self: &Definition) -> Result<usize>;
        /// The space of the option's sub-options, empty where it has none.
        fn sub_option_space(self: &Definition) -> Result<String>;
        /// Appends the payload with these values in its fields to `payload`. The error says what Kea
        /// does not take.
        fn encode(self: &Definition, fields: &[String], payload: &mut Vec<u8>) -> Result<()>;
        /// As [`Definition::encode`], with the values that `text` has, written as in Kea's
        /// option-data.
        fn encode_text(self: &Definition, text: &str, payload: &mut Vec<u8>) -> Result<()>;
        /// A definition of the library's own, of one of Kea's data types. `fields` are the types of a
        /// record's fields.
        fn new_definition(
            code: u16,
            name: &str,
            data_type: &str,
            array: bool,
            fields: &[&str],
        ) -> Result<UniquePtr<Definition>>;

        /// Whether this Kea can park a packet at subnet4_select.
        fn can_park() -> bool;
        /// Parks the packet of a callout at subnet4_select.
        fn park(callout: &Callout, query: &Packet) -> Result<UniquePtr<Parked>>;
        /// A packet in the parking lot of subnet4_select. It leaves the lot once: by
        /// [`Parked::resume`] or by [`Parked::let_go`], on any thread: see [`crate::main_thread`].
        type Parked;
        /// The parked query. In one thread at a time.
        fn query(self: &Parked) -> &Packet;
        /// Has Kea go on with the packet: in a packet thread, or, without multi-threading, in this
        /// call.
        fn resume(self: Pin<&mut Parked>) -> Result<()>;
        /// Has Kea forget the packet: the client gets no reply.
        fn let_go(self: Pin<&mut Parked>) -> Result<()>;

        /// Appends the kinds of identifiers by which Kea looks for reservations. Packet thread, or
        /// the thread that resumes a packet, as each of the functions about subnets, reservations and
        /// leases.
        fn read_identifier_kinds(kinds: &mut Vec<IdentifierKind>) -> Result<()>;
        /// Appends the number of the subnet, and the numbers of the other subnets of its shared
        /// network.
        fn read_network(subnet: u32, subnets: &mut Vec<u32>) -> Result<()>;
        /// Whether the address belongs to the subnet, inside or outside of its pools.
        fn subnet_has(subnet: u32, address: u32) -> Result<bool>;
        /// Whether Kea looks for the subnet's own reservations.
        fn uses_subnet_reservations(subnet: u32) -> Result<bool>;
        /// Whether Kea looks for global reservations in this subnet.
        fn uses_global_reservations(subnet: u32) -> Result<bool>;
        /// Whether Kea looks for global reservations before it selects the packet's subnet.
        fn looks_early_for_global_reservations() -> Result<bool>;
        /// Whether a source of Kea's has a reservation of its own for the client of this identifier.
        /// It asks the library's own source, too.
        fn is_reserved_for(subnet: u32, kind: IdentifierKind, identifier: &[u8]) -> Result<bool>;
        /// Whether a source of Kea's has a reservation of its own of this address. It asks the
        /// library's own source, too.
        fn is_reserved(subnet: u32, address: u32) -> Result<bool>;
        /// Whether Kea has a cache of reservations.
        fn has_host_cache() -> bool;
        /// Takes the reservation of this identifier out of Kea's cache of reservations, if there is
        /// a cache.
        fn forget_cached(subnet: u32, kind: IdentifierKind, identifier: &[u8]) -> Result<()>;
        /// Whether the query's client holds a lease of the address that the query names in ciaddr.
        fn holds_lease(query: &Packet) -> Result<bool>;

        /// How many packet threads Kea has; 0 without multi-threading. Any thread.
        fn packet_threads() -> Result<usize>;
        /// How many packets wait for Kea's packet threads. Any thread.
        fn packet_queue_length() -> Result<usize>;
        /// How many packets may wait: above this number Kea drops the packet that has waited
        /// longest. 0: any number. Any thread.
        fn packet_queue_limit() -> Result<usize>;
        /// Has Kea's main thread call `main_thread_woken` of [`crate::callouts`] whenever this
        /// descriptor can be read, and `critical_section` there at each begin and end of a critical
        /// section. Main thread.
        fn watch_main_thread(descriptor: i32) -> Result<()>;
        /// Ends what [`watch_main_thread`] began. Main thread.
        fn unwatch_main_thread(descriptor: i32) -> Result<()>;

        /// The lowest descriptor that a socket of the library gets, where the process may have so
        /// many: Kea's main thread waits by select(), which takes only lower ones.
        fn lowest_socket() -> usize;

        /// Adds `number` to a statistic of Kea, and makes the statistic known. Main thread.
        fn add_to_statistic(name: &str, number: i64) -> Result<()>;
        /// Sets a statistic of Kea, and makes it known. Main thread.
        fn set_statistic(name: &str, value: i64) -> Result<()>;
        /// The value of a statistic of Kea; 0 where Kea does not know it. Main thread.
        fn statistic(name: &str) -> Result<i64>;
        /// Removes a statistic of Kea, if Kea knows it. Main thread.
        fn remove_statistic(name: &str) -> Result<()>;

        /// Whether Kea's logger `remote-opts-hooks` writes a message of this severity.
        /// `debug_level` (0 to 99) counts for [`Severity::Debug`] alone. Any thread.
        fn log_enabled(severity: Severity, debug_level: i32) -> bool;
        /// Writes message `id` to Kea's logger `remote-opts-hooks`. Any thread.
        fn log_message(severity: Severity, debug_level: i32, id: &str, arguments: &[String]);
    }
}

// SAFETY: a Parked holds boost::shared_ptrs, whose counts are atomic. Kea's parking lot has a lock of
// its own, as Kea's packet threads share it. The packet behind the Parked is touched by one thread
// at a time: src/parking.rs keeps each Parked in a slot, from which one thread takes it out. The
// callouts of a library that Kea calls after this one may still read the packet: docs/operating.md,
// "Other hook libraries", puts this library last.
#[allow(unsafe_code)]
unsafe impl Send for Parked {}

// SAFETY: an expression never changes once it is parsed. Kea itself evaluates the expression of a
// client class in all its packet threads at once.
#[allow(unsafe_code)]
unsafe impl Send for Expression {}
// SAFETY: as for Send.
#[allow(unsafe_code)]
unsafe impl Sync for Expression {}
