// What Rust sees of Kea's C++ API. No decisions here: facts out, edits in, and no exception crosses to Rust.
//
// Called from src/bridge.rs (the cxx bridge) and src/exports.rs (the functions that Kea looks for).
#pragma once

#include <dhcp/option_definition.h>
#include <dhcp/pkt4.h>
#include <eval/token.h>
#include <hooks/callout_handle.h>
#include <hooks/library_handle.h>
#include <hooks/parking_lots.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "rust/cxx.h"

namespace remote_opts {

using isc::hooks::CalloutHandle;
using isc::hooks::LibraryHandle;

enum class Severity : std::uint8_t;
struct Lookup;

// A packet's lookup, between its callouts: in the packet's callout context from subnet4_select on, null where
// its client is not looked up.
using LookupPtr = std::shared_ptr<rust::Box<Lookup>>;
inline const char* const LOOKUP = "lookup";

// The functions that Kea looks for, as src/exports.rs names them. None throws.
std::int32_t shim_version() noexcept;
std::int32_t shim_load(LibraryHandle& handle) noexcept;
std::int32_t shim_unload() noexcept;
std::int32_t shim_dhcp4_srv_configured(CalloutHandle& handle) noexcept;
std::int32_t shim_subnet4_select(CalloutHandle& handle) noexcept;
std::int32_t shim_pkt4_send(CalloutHandle& handle) noexcept;

// An option made by Kea.
class OptionValue {
  public:
    explicit OptionValue(const isc::dhcp::OptionPtr& option) : option_(option) {}

    std::uint8_t code() const;
    std::size_t length() const;
    void add(std::unique_ptr<OptionValue> sub_option);

  private:
    friend class Packet;
    isc::dhcp::OptionPtr option_;
};

// One of Kea's option definitions.
class Definition {
  public:
    explicit Definition(const isc::dhcp::OptionDefinitionPtr& definition) : definition_(definition) {}

    std::uint16_t code() const;
    bool is_text() const;
    bool is_empty() const;
    rust::String sub_option_space() const;
    std::unique_ptr<OptionValue> make(rust::Slice<const rust::String> fields) const;
    std::unique_ptr<OptionValue> make_from_text(rust::Str text) const;

  private:
    std::unique_ptr<OptionValue> make_of(const std::vector<std::string>& values) const;

    isc::dhcp::OptionDefinitionPtr definition_;
};

std::unique_ptr<OptionValue> make_raw_option(std::uint8_t code, rust::Slice<const std::uint8_t> value);

// A DHCPv4 packet under work by a callout. Its functions throw what Kea's own throw; cxx makes Rust errors of
// it.
class Packet {
  public:
    explicit Packet(const isc::dhcp::Pkt4Ptr& packet) : packet_(packet) {}

    std::uint8_t message_type() const;
    std::uint32_t transaction() const;
    void read_hardware_address(rust::Vec<std::uint8_t>& value) const;
    rust::String label() const;
    void read_lengths(rust::Vec<std::uint8_t>& codes, rust::Vec<std::size_t>& lengths) const;
    bool read_option(std::uint8_t code, rust::Vec<std::uint8_t>& value) const;
    bool read_sub_option(std::uint8_t code, std::uint8_t sub_code, rust::Vec<std::uint8_t>& value) const;
    void replace_option(const OptionValue& value) const;
    bool remove_option(std::uint8_t code) const;
    void set_next_server(rust::Str address) const;
    void set_server_hostname(rust::Str name) const;
    void set_boot_file_name(rust::Str name) const;
    bool add_class(rust::Str name) const;

    // For the shim.
    const isc::dhcp::Pkt4Ptr& pointer() const { return packet_; }

  private:
    isc::dhcp::Pkt4Ptr packet_;
};

// How Kea names a packet with this hardware type and address, client identifier, if it has one, and
// transaction id.
rust::String label(rust::Slice<const std::uint8_t> hardware, bool has_identifier,
                   rust::Slice<const std::uint8_t> identifier, std::uint32_t transaction);

// An expression of Kea's own language. Throws where the text is none, and says where.
class Expression {
  public:
    explicit Expression(const isc::dhcp::Expression& expression) : expression_(expression) {}

    bool is_true(const Packet& query) const;
    void read(const Packet& query, rust::Vec<std::uint8_t>& value) const;

  private:
    isc::dhcp::Expression expression_;
};

std::unique_ptr<Expression> parse_expression(rust::Str text, bool boolean);

// The definition that applies to this query's client; null where Kea has none.
std::unique_ptr<Definition> definition_by_code(const Packet& query, rust::Str space, std::uint16_t code);
std::unique_ptr<Definition> definition_by_name(const Packet& query, rust::Str space, rust::Str name);

// A packet parked at subnet4_select. Destroyed, it is let go: unless it was resumed before, the client gets
// no reply. Both are for Kea's main thread alone.
class Parked {
  public:
    Parked(const isc::hooks::ParkingLotHandlePtr& lot, const isc::dhcp::Pkt4Ptr& query);
    ~Parked();
    Parked(const Parked&) = delete;
    Parked& operator=(const Parked&) = delete;

    bool add_class(rust::Str name) const;
    // Once.
    void resume();

  private:
    isc::hooks::ParkingLotHandlePtr lot_;
    isc::dhcp::Pkt4Ptr query_;
};

// What a callout at subnet4_select can do with its packet.
class Callout {
  public:
    explicit Callout(CalloutHandle& handle) : handle_(handle) {}

    bool can_park() const;
    void keep(rust::Box<Lookup> lookup) const;
    void drop_packet() const;
    std::unique_ptr<Parked> park(const Packet& query) const;

  private:
    CalloutHandle& handle_;
};

// Kea's packet threads, 0 without multi-threading; and the queue in front of them, in packets; no limit: 0.
std::size_t packet_threads();
std::size_t packet_queue_length();
std::size_t packet_queue_limit();

// Puts the query into a class, if Kea knows it.
bool add_class_to(const isc::dhcp::Pkt4Ptr& query, rust::Str name);

// The lowest descriptor of the library's own sockets.
std::size_t lowest_socket();

// Has Kea's main thread call run_on_main_thread() whenever the descriptor can be read.
void watch_main_thread(std::int32_t descriptor);
void unwatch_main_thread(std::int32_t descriptor);

// Kea's statistics.
void add_to_statistic(rust::Str name, std::int64_t number);

// Kea's logger "remote-opts-hooks".
bool log_enabled(Severity severity, std::int32_t debug_level) noexcept;
void log_message(Severity severity, std::int32_t debug_level, rust::Str id,
                 rust::Slice<const rust::String> arguments) noexcept;

}  // namespace remote_opts

namespace rust::behavior {

// How cxx catches for a function that is a `Result` in Rust: its own way leaves what is no std::exception
// uncaught.
template <typename Try, typename Fail>
static void trycatch(Try&& attempt, Fail&& fail) noexcept try {
    attempt();
} catch (const std::exception& exception) {
    fail(exception.what());
} catch (...) {
    fail("exception of an unknown type");
}

}  // namespace rust::behavior
