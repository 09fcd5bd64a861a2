// SPDX-License-Identifier: MPL-2.0
// Kea's DHCPv4 packets: see packet.h.

#include "kea-hook-remote-opts/shim/packet.h"

#include <asiolink/io_address.h>
#include <dhcp/dhcp4.h>
#include <dhcp/hwaddr.h>
#include <dhcp/option.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>

#include <string>
#include <typeinfo>
#include <vector>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::dhcp::CfgMgr;
using isc::dhcp::HWAddr;
using isc::dhcp::HWAddrPtr;
using isc::dhcp::Option;
using isc::dhcp::OptionBuffer;
using isc::dhcp::OptionPtr;
using isc::dhcp::Pkt4;

namespace remote_opts {

namespace {

// The first option of this code, null without one. In a callout, Kea's own getOption copies the
// option, for libraries that change it.
OptionPtr find_option(const isc::dhcp::OptionCollection& options, std::uint8_t code) {
    const auto found = options.find(code);
    return found == options.end() ? nullptr : found->second;
}

rust::Slice<const std::uint8_t> slice(const std::vector<std::uint8_t>& bytes) {
    return {bytes.data(), bytes.size()};
}

// Appends the payload as it is on the wire, whatever type Kea's definition gives the option.
bool read(const OptionPtr& option, rust::Vec<std::uint8_t>& value) {
    if (!option) {
        return false;
    }
    // Most options are bytes and nothing else: packing these into a buffer would be work for
    // nothing.
    if (typeid(*option) == typeid(Option) && option->getOptions().empty()) {
        append(value, slice(option->getData()));
    } else {
        append(value, slice(option->toBinary()));
    }
    return true;
}

}  // namespace

std::uint8_t Packet::message_type() const { return packet_->getType(); }

std::uint32_t Packet::transaction_id() const { return packet_->getTransid(); }

bool Packet::has_client_address() const { return !packet_->getCiaddr().isV4Zero(); }

std::uint32_t Packet::client_address() const { return packet_->getCiaddr().toUint32(); }

std::uint32_t Packet::given_address() const { return packet_->getYiaddr().toUint32(); }

bool Packet::has_relay_address() const { return !packet_->getGiaddr().isV4Zero(); }

bool Packet::has_stashed_relay() const { return packet_->inClass("STASH_AGENT_OPTIONS"); }

bool Packet::is_dhcp4o6() const { return packet_->isDhcp4o6(); }

void Packet::read_hardware_address(rust::Vec<std::uint8_t>& value) const {
    if (const auto address = packet_->getHWAddr()) {
        value.push_back(static_cast<std::uint8_t>(address->htype_));
        append(value, slice(address->hwaddr_));
    }
}

rust::String Packet::label() const { return rust::String::lossy(packet_->getLabel()); }

void Packet::read_lengths(rust::Vec<std::uint8_t>& codes, rust::Vec<std::size_t>& lengths,
                          rust::Vec<std::size_t>& sub_options) const {
    codes.reserve(packet_->options_.size());
    lengths.reserve(packet_->options_.size());
    sub_options.reserve(packet_->options_.size());
    for (const auto& [code, option] : packet_->options_) {
        codes.push_back(static_cast<std::uint8_t>(code));
        lengths.push_back(option->len() - option->getHeaderLen());
        sub_options.push_back(option->getOptions().size());
    }
}

std::size_t Packet::options_length() const {
    std::size_t length = 0;
    for (const auto& option : packet_->options_) {
        length += option.second->len();
    }
    return length;
}

bool Packet::has_option(std::uint8_t code) const {
    return find_option(packet_->options_, code) != nullptr;
}

bool Packet::read_option(std::uint8_t code, rust::Vec<std::uint8_t>& value) const {
    return read(find_option(packet_->options_, code), value);
}

bool Packet::read_sub_option(std::uint8_t code, std::uint8_t sub_code,
                             rust::Vec<std::uint8_t>& value) const {
    const auto option = find_option(packet_->options_, code);
    return option && read(find_option(option->getOptions(), sub_code), value);
}

void Packet::replace_option(std::uint8_t code, rust::Slice<const std::uint8_t> payload) const {
    remove_option(code);
    // As plain bytes: Kea has types of its own for some options, and changes such an option before
    // it sends it.
    packet_->addOption(
        OptionPtr(new Option(Option::V4, code, OptionBuffer(payload.begin(), payload.end()))));
}

bool Packet::remove_option(std::uint8_t code) const {
    bool removed = false;
    while (packet_->delOption(code)) {
        removed = true;
    }
    return removed;
}

void Packet::set_next_server(rust::Str address) const {
    packet_->setSiaddr(isc::asiolink::IOAddress(std::string(address)));
}

void Packet::set_server_hostname(rust::Str name) const {
    packet_->setSname(reinterpret_cast<const std::uint8_t*>(name.data()), name.size());
}

void Packet::set_boot_file_name(rust::Str name) const {
    packet_->setFile(reinterpret_cast<const std::uint8_t*>(name.data()), name.size());
}

bool Packet::add_class(rust::Str name) const {
    const auto dictionary = CfgMgr::instance().getCurrentCfg()->getClientClassDictionary();
    const bool known = dictionary && dictionary->findClass(std::string(name));
    if (known) {
        packet_->addClass(std::string(name));
    }
    return known;
}

rust::String packet_label(rust::Slice<const std::uint8_t> hardware, bool has_identifier,
                          rust::Slice<const std::uint8_t> identifier,
                          std::uint32_t transaction_id) {
    // Kea itself writes the label, for a packet that has just this hardware address and this
    // identifier.
    Pkt4 packet(isc::dhcp::DHCPDISCOVER, transaction_id);
    if (!hardware.empty()) {
        packet.setHWAddr(
            HWAddrPtr(new HWAddr(hardware.data() + 1, hardware.size() - 1, hardware[0])));
    }
    if (has_identifier) {
        packet.addOption(OptionPtr(new Option(Option::V4, isc::dhcp::DHO_DHCP_CLIENT_IDENTIFIER,
                                              OptionBuffer(identifier.begin(), identifier.end()))));
    }
    return rust::String::lossy(packet.getLabel());
}

}  // namespace remote_opts
