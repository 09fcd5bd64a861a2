//! The bridge between Kea's C++ and Rust: the only file that both languages see.
//!
//! Nothing is thrown across it. What C++ throws comes back as a `Result`, or is caught and logged in the shim; what
//! panics in Rust is caught by [`guard`].

use std::panic::{self, AssertUnwindSafe, catch_unwind};

use crate::hook;
use crate::messages::{REMOPTS_EXCEPTION, REMOPTS_PANIC};

pub use crate::hook::Lookup;
pub use ffi::{
    Callout, CalloutHandle, Definition, Expression, LibraryHandle, OptionValue, Packet, Parked, Severity,
};

// cxx generates the unsafe glue of the functions declared here.
#[allow(unsafe_code)]
#[cxx::bridge]
mod ffi {
    /// Severity of a log message, as Kea's.
    #[namespace = "remote_opts"]
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

    extern "Rust" {
        fn configure(parameters: &str) -> bool;
        fn release();
        /// What C++ keeps in a packet's callout context, between its callouts.
        #[namespace = "remote_opts"]
        type Lookup;
        fn look_up(query: &Packet, callout: &Callout);
        fn run_on_main_thread();
        fn configured(parked_packet_limit: i64);
        fn write_overrides(lookup: &Lookup, query: &Packet, response: &Packet);
        fn log_exception(callout: &str, what: String);
        /// Appends bytes in one call: C++ itself would push them one by one.
        #[namespace = "remote_opts"]
        fn append(value: &mut Vec<u8>, bytes: &[u8]);
    }

    #[namespace = "remote_opts"]
    unsafe extern "C++" {
        include!("kea-hook-remote-opts/shim/shim.h");

        /// What Kea gives to `load`.
        #[namespace = "isc::hooks"]
        type LibraryHandle;
        /// What Kea gives to a callout.
        #[namespace = "isc::hooks"]
        type CalloutHandle;
        /// A DHCPv4 packet under work by a callout; lives no longer than that callout.
        type Packet;
        /// What a callout at subnet4_select can do with its packet; lives no longer than that callout.
        type Callout;
        /// A packet parked at subnet4_select. Dropped, on Kea's main thread, it is let go: unless it was resumed before, the
        /// client gets no reply.
        type Parked;

        fn shim_version() -> i32;
        fn shim_load(handle: Pin<&mut LibraryHandle>) -> i32;
        fn shim_unload() -> i32;
        fn shim_dhcp4_srv_configured(handle: Pin<&mut CalloutHandle>) -> i32;
        fn shim_subnet4_select(handle: Pin<&mut CalloutHandle>) -> i32;
        fn shim_pkt4_send(handle: Pin<&mut CalloutHandle>) -> i32;

        /// DHCP message type (option 53), 0 without one.
        fn message_type(self: &Packet) -> Result<u8>;
        /// Transaction id.
        fn transaction(self: &Packet) -> Result<u32>;
        /// Appends the hardware type and the hardware address of the client to `value`.
        fn read_hardware_address(self: &Packet, value: &mut Vec<u8>) -> Result<()>;
        /// How Kea names the packet in its own log: hwtype, hwaddr, client id, tid.
        #[cxx_name = "label"]
        fn packet_label(self: &Packet) -> Result<String>;
        /// The same, of a packet with this hardware type and address, client identifier, if it has one, and transaction id. Any
        /// thread.
        fn label(
            hardware: &[u8],
            has_identifier: bool,
            identifier: &[u8],
            transaction: u32,
        ) -> Result<String>;
        /// Appends the code of each option, and how many bytes of payload it has.
        fn read_lengths(self: &Packet, codes: &mut Vec<u8>, lengths: &mut Vec<usize>) -> Result<()>;
        /// Appends the payload of option `code` to `value`; false when the packet has none.
        fn read_option(self: &Packet, code: u8, value: &mut Vec<u8>) -> Result<bool>;
        /// Appends the payload of sub-option `sub_code` of option `code` to `value`; false when there is none.
        fn read_sub_option(self: &Packet, code: u8, sub_code: u8, value: &mut Vec<u8>) -> Result<bool>;
        /// Puts an option in the place of all that the packet has of its code.
        fn replace_option(self: &Packet, value: &OptionValue) -> Result<()>;
        /// Removes all options of this code; false when there was none.
        fn remove_option(self: &Packet, code: u8) -> Result<bool>;
        /// Sets siaddr, from an address as text.
        fn set_next_server(self: &Packet, address: &str) -> Result<()>;
        /// Sets sname, of at most 64 bytes.
        fn set_server_hostname(self: &Packet, name: &str) -> Result<()>;
        /// Sets file, of at most 128 bytes.
        fn set_boot_file_name(self: &Packet, name: &str) -> Result<()>;
        /// Puts the query into a client class; false when Kea knows no such class.
        fn add_class(self: &Packet, name: &str) -> Result<bool>;

        /// An expression of Kea's own language, that of client classes.
        type Expression;
        /// Parses an expression, boolean or of text; the error says what is wrong, and where. While Kea loads its configuration:
        /// `member` knows the classes of that.
        fn parse_expression(text: &str, boolean: bool) -> Result<UniquePtr<Expression>>;
        /// Whether a boolean expression is true of this query. Any packet thread.
        fn is_true(self: &Expression, query: &Packet) -> Result<bool>;
        /// Appends to `value` what an expression of text is of this query, nothing where it has no such option. Any packet
        /// thread.
        fn read(self: &Expression, query: &Packet, value: &mut Vec<u8>) -> Result<()>;

        /// One of Kea's option definitions.
        type Definition;
        /// The definition of an option in a space ("dhcp4" is that of the options themselves) that applies to this query's
        /// client; null where Kea has none.
        fn definition_by_code(query: &Packet, space: &str, code: u16) -> Result<UniquePtr<Definition>>;
        /// The same, by the option's name.
        fn definition_by_name(query: &Packet, space: &str, name: &str) -> Result<UniquePtr<Definition>>;
        /// The option's code.
        fn code(self: &Definition) -> Result<u16>;
        /// Whether the option is one text.
        fn is_text(self: &Definition) -> Result<bool>;
        /// Whether the option has no value of its own, but perhaps sub-options.
        fn is_empty(self: &Definition) -> Result<bool>;
        /// The space of its sub-options, empty where it has none.
        fn sub_option_space(self: &Definition) -> Result<String>;
        /// The option with these values of its fields. The error says what Kea does not take.
        fn make(self: &Definition, fields: &[String]) -> Result<UniquePtr<OptionValue>>;
        /// The option with the values that this text, written as in option-data, gives its fields.
        fn make_from_text(self: &Definition, text: &str) -> Result<UniquePtr<OptionValue>>;

        /// An option made by Kea.
        type OptionValue;
        /// An option with this payload, whatever its definition.
        fn make_raw_option(code: u8, value: &[u8]) -> Result<UniquePtr<OptionValue>>;
        /// Its code.
        #[cxx_name = "code"]
        fn option_code(self: &OptionValue) -> Result<u8>;
        /// The bytes of its payload.
        fn length(self: &OptionValue) -> Result<usize>;
        /// Adds a sub-option.
        fn add(self: Pin<&mut OptionValue>, sub_option: UniquePtr<OptionValue>) -> Result<()>;

        /// Whether this Kea can park a packet at subnet4_select.
        fn can_park(self: &Callout) -> bool;
        /// Keeps what pkt4_send is to have, in the packet's callout context.
        fn keep(self: &Callout, lookup: Box<Lookup>) -> Result<()>;
        /// Has Kea drop the packet: the client gets no reply.
        fn drop_packet(self: &Callout) -> Result<()>;
        /// Parks the packet: Kea goes on with it when it is resumed.
        fn park(self: &Callout, query: &Packet) -> Result<UniquePtr<Parked>>;

        /// Puts the query into a client class; false when Kea knows no such class. Main thread.
        fn add_class(self: &Parked, name: &str) -> Result<bool>;
        /// Has Kea go on with the packet: in one of its threads, or here and now without multi-threading. Once. Main thread.
        fn resume(self: Pin<&mut Parked>) -> Result<()>;

        /// How many packet threads Kea has; 0 without multi-threading. Any thread.
        fn packet_threads() -> Result<usize>;
        /// How many packets wait for Kea's packet threads. Any thread.
        fn packet_queue_length() -> Result<usize>;
        /// How many may: past it Kea drops the one that waits longest. 0: any number. Any thread.
        fn packet_queue_limit() -> Result<usize>;

        /// The lowest descriptor that the library's own sockets get, if the process may have so many: Kea's main thread waits
        /// by select(), which takes lower ones alone.
        fn lowest_socket() -> usize;
        /// Has Kea's main thread call `run_on_main_thread` whenever this descriptor can be read. Main thread.
        fn watch_main_thread(descriptor: i32) -> Result<()>;
        /// Ends that. Main thread.
        fn unwatch_main_thread(descriptor: i32) -> Result<()>;

        /// Adds to one of Kea's statistics. In a callout, or on the main thread.
        fn add_to_statistic(name: &str, number: i64) -> Result<()>;

        /// Whether Kea's logger `remote-opts-hooks` lets such a message through. `debug_level` (0 to 99)
        /// counts for `Debug` alone.
        fn log_enabled(severity: Severity, debug_level: i32) -> bool;
        /// Logs message `id` through Kea's logger `remote-opts-hooks`. Any thread.
        fn log_message(severity: Severity, debug_level: i32, id: &str, arguments: &[String]);
    }
}

pub(crate) use ffi::{
    add_to_statistic, definition_by_code, definition_by_name, label, log_enabled, log_message, lowest_socket,
    make_raw_option, packet_queue_length, packet_queue_limit, packet_threads, parse_expression,
    shim_dhcp4_srv_configured, shim_load, shim_pkt4_send, shim_subnet4_select, shim_unload, shim_version,
    unwatch_main_thread, watch_main_thread,
};

// SAFETY: a Parked holds boost::shared_ptrs, whose counts are atomic. What they lead to is touched by resume and drop alone,
// which hook.rs leaves to Kea's main thread.
#[allow(unsafe_code)]
unsafe impl Send for Parked {}

// SAFETY: an expression never changes once it is parsed; Kea itself evaluates one of a client class in all its packet threads.
#[allow(unsafe_code)]
unsafe impl Send for Expression {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Expression {}

/// Runs `work`; a panic in it ends here and `fallback` is returned instead. What panicked is logged by
/// [`log_panics`].
pub fn guard<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    // Nothing is left half done by a panic: the hook's state is only ever replaced whole.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(fallback)
}

/// Sends the panics of this library, on whatever thread, to Kea's log. (The library has a copy of Rust's runtime of its
/// own: nobody else's panics come here.)
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        REMOPTS_PANIC.error([&panic.to_string().replace('\n', " ")]);
    }));
}

fn configure(parameters: &str) -> bool {
    guard(false, || hook::configure(parameters))
}

fn release() {
    guard((), hook::release);
}

fn look_up(query: &Packet, callout: &Callout) {
    guard((), || hook::look_up(query, callout));
}

fn run_on_main_thread() {
    guard((), hook::run_on_main_thread);
}

fn configured(parked_packet_limit: i64) {
    guard((), || hook::configured(parked_packet_limit));
}

fn write_overrides(lookup: &Lookup, query: &Packet, response: &Packet) {
    guard((), || hook::write_overrides(lookup, query, response));
}

fn append(value: &mut Vec<u8>, bytes: &[u8]) {
    value.extend_from_slice(bytes);
}

fn log_exception(callout: &str, what: String) {
    guard((), || REMOPTS_EXCEPTION.error([&callout, &what]));
}

#[cfg(test)]
mod tests {
    use super::guard;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard(7, || panic!("on purpose")), 7);
        assert_eq!(guard(7, || std::panic::panic_any(1.5)), 7);
        assert_eq!(guard(7, || 8), 8);
    }
}
