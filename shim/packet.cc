// Options and labels of Kea's packets.

#include <dhcp/duid.h>
#include <dhcp/hwaddr.h>
#include <dhcp/option.h>

#include <typeinfo>
#include <vector>

#include "kea-hook-remote-opts/shim/shim.h"
#include "kea-hook-remote-opts/src/bridge.rs.h"

using isc::dhcp::ClientId;
using isc::dhcp::ClientIdPtr;
using isc::dhcp::HWAddr;
using isc::dhcp::HWAddrPtr;
using isc::dhcp::Option;
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
        append(value, rust::Slice<const std::uint8_t>(address->hwaddr_.data(), address->hwaddr_.size()));
    }
}

rust::String Packet::label() const { return rust::String::lossy(packet_->getLabel()); }

rust::String label(rust::Slice<const std::uint8_t> hardware, rust::Slice<const std::uint8_t> identifier,
                   std::uint32_t transaction) {
    HWAddrPtr address;
    if (!hardware.empty()) {
        address = HWAddrPtr(new HWAddr(hardware.data() + 1, hardware.size() - 1, hardware[0]));
    }
    // Kea's own name for a packet, too, has none that is too short.
    ClientIdPtr client;
    if (identifier.size() >= ClientId::MIN_CLIENT_ID_LEN) {
        client = ClientIdPtr(new ClientId(identifier.data(), identifier.size()));
    }
    return rust::String::lossy(Pkt4::makeLabel(address, client, transaction));
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
