// Options and labels of Kea's packets.

#include <dhcp/dhcp4.h>
#include <dhcp/hwaddr.h>
#include <dhcp/option.h>

#include <typeinfo>
#include <vector>

#include "kea-hook-remote-opts/shim/shim.h"
#include "kea-hook-remote-opts/src/bridge.rs.h"

using isc::dhcp::HWAddr;
using isc::dhcp::HWAddrPtr;
using isc::dhcp::Option;
using isc::dhcp::OptionBuffer;
using isc::dhcp::OptionPtr;
using isc::dhcp::Pkt4;

namespace remote_opts {

namespace {

// The first option of this code, null without one. Not Kea's getOption, which copies the option in a callout,
// for those that change it.
OptionPtr find(const isc::dhcp::OptionCollection& options, std::uint8_t code) {
    const auto found = options.find(code);
    return found == options.end() ? nullptr : found->second;
}

rust::Slice<const std::uint8_t> slice(const std::vector<std::uint8_t>& bytes) {
    return {bytes.data(), bytes.size()};
}

// The payload as it is on the wire, whatever type Kea's definition gives the option.
bool read(const OptionPtr& option, rust::Vec<std::uint8_t>& value) {
    if (!option) {
        return false;
    }
    // Most options are bytes and nothing else.
    if (typeid(*option) == typeid(Option) && option->getOptions().empty()) {
        append(value, slice(option->getData()));
    } else {
        append(value, slice(option->toBinary()));
    }
    return true;
}

}  // namespace

std::uint8_t Packet::message_type() const { return packet_->getType(); }

std::uint32_t Packet::transaction() const { return packet_->getTransid(); }

void Packet::read_hardware_address(rust::Vec<std::uint8_t>& value) const {
    if (const auto address = packet_->getHWAddr()) {
        value.push_back(static_cast<std::uint8_t>(address->htype_));
        append(value, slice(address->hwaddr_));
    }
}

rust::String Packet::label() const { return rust::String::lossy(packet_->getLabel()); }

rust::String label(rust::Slice<const std::uint8_t> hardware, bool has_identifier,
                   rust::Slice<const std::uint8_t> identifier, std::uint32_t transaction) {
    // As Kea writes it, of a packet that has just these.
    Pkt4 packet(isc::dhcp::DHCPDISCOVER, transaction);
    if (!hardware.empty()) {
        packet.setHWAddr(HWAddrPtr(new HWAddr(hardware.data() + 1, hardware.size() - 1, hardware[0])));
    }
    if (has_identifier) {
        packet.addOption(OptionPtr(new Option(Option::V4, isc::dhcp::DHO_DHCP_CLIENT_IDENTIFIER,
                                              OptionBuffer(identifier.begin(), identifier.end()))));
    }
    return rust::String::lossy(packet.getLabel());
}

void Packet::read_lengths(rust::Vec<std::uint8_t>& codes, rust::Vec<std::size_t>& lengths) const {
    codes.reserve(packet_->options_.size());
    lengths.reserve(packet_->options_.size());
    for (const auto& [code, option] : packet_->options_) {
        codes.push_back(static_cast<std::uint8_t>(code));
        lengths.push_back(option->len() - option->getHeaderLen());
    }
}

bool Packet::read_option(std::uint8_t code, rust::Vec<std::uint8_t>& value) const {
    return read(find(packet_->options_, code), value);
}

bool Packet::read_sub_option(std::uint8_t code, std::uint8_t sub_code, rust::Vec<std::uint8_t>& value) const {
    const auto option = find(packet_->options_, code);
    return option && read(find(option->getOptions(), sub_code), value);
}

}  // namespace remote_opts
