// Options and labels of Kea's packets.

#include <dhcp/option.h>

#include "kea-hook-remote-opts/shim/shim.h"
#include "kea-hook-remote-opts/src/bridge.rs.h"

using isc::dhcp::Option;
using isc::dhcp::OptionPtr;

namespace remote_opts {

namespace {

// The first option of this code, null without one. Not Kea's getOption, which copies the option in a callout,
// for those that change it.
OptionPtr find(const isc::dhcp::OptionCollection& options, std::uint8_t code) {
    const auto found = options.find(code);
    return found == options.end() ? nullptr : found->second;
}

// The payload as it is on the wire, whatever type Kea's definition gives the option.
bool read(const OptionPtr& option, rust::Vec<std::uint8_t>& value) {
    if (!option) {
        return false;
    }
    const auto payload = option->toBinary();
    append(value, rust::Slice<const std::uint8_t>(payload.data(), payload.size()));
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

void Packet::read_lengths(rust::Vec<std::uint8_t>& codes, rust::Vec<std::size_t>& lengths) const {
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
