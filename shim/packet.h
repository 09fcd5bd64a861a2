// SPDX-License-Identifier: MPL-2.0
// Kea's DHCPv4 packets: what the library reads of them and what it writes into them.
#pragma once

#include <dhcp/pkt4.h>

#include <cstddef>
#include <cstdint>

#include "rust/cxx.h"

namespace remote_opts {

// A DHCPv4 query or reply in a callout. A member function throws what Kea's own functions throw.
class Packet {
  public:
    explicit Packet(const isc::dhcp::Pkt4Ptr& packet) : packet_(packet) {}

    // Reads. Those that take a Vec append to it.
    std::uint8_t message_type() const;
    std::uint32_t transaction_id() const;
    bool has_client_address() const;
    std::uint32_t client_address() const;
    std::uint32_t given_address() const;
    bool has_relay_address() const;
    bool has_stashed_relay() const;
    bool is_dhcp4o6() const;
    void read_hardware_address(rust::Vec<std::uint8_t>& value) const;
    rust::String label() const;
    void read_lengths(rust::Vec<std::uint8_t>& codes, rust::Vec<std::size_t>& lengths,
                      rust::Vec<std::size_t>& sub_options) const;
    std::size_t options_length() const;
    bool has_option(std::uint8_t code) const;
    bool read_option(std::uint8_t code, rust::Vec<std::uint8_t>& value) const;
    bool read_sub_option(std::uint8_t code, std::uint8_t sub_code,
                         rust::Vec<std::uint8_t>& value) const;

    // Writes.
    void replace_option(std::uint8_t code, rust::Slice<const std::uint8_t> payload) const;
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

// How Kea's log names a packet with this hardware type (the first byte of `hardware`) and address,
// this client identifier (where `has_identifier` says that it has one) and this transaction id.
rust::String packet_label(rust::Slice<const std::uint8_t> hardware, bool has_identifier,
                          rust::Slice<const std::uint8_t> identifier, std::uint32_t transaction_id);

}  // namespace remote_opts
