// Kea's option definitions, and the options that they make of values.

#include <dhcp/libdhcp++.h>
#include <dhcp/option_definition.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>

#include <algorithm>
#include <memory>
#include <string>
#include <typeinfo>
#include <vector>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/shim.h"
#include "kea-hook-remote-opts/src/bridge.rs.h"

using isc::dhcp::CfgMgr;
using isc::dhcp::LibDHCP;
using isc::dhcp::Option;
using isc::dhcp::OptionBuffer;
using isc::dhcp::OptionDefinitionPtr;
using isc::dhcp::OptionPtr;

namespace remote_opts {

namespace {

// In the order in which Kea itself looks for the definition of an option that a class may define (43, 224 to
// 254): the client's classes, the standard, the configuration, and what is left.
template <typename Key>
OptionDefinitionPtr find(const isc::dhcp::Pkt4Ptr& query, const std::string& space, const Key& key) {
    if (const auto dictionary = CfgMgr::instance().getCurrentCfg()->getClientClassDictionary()) {
        for (const auto& name : query->getClasses()) {
            const auto client_class = dictionary->findClass(name);
            if (client_class && client_class->getCfgOptionDef()) {
                if (const auto definition = client_class->getCfgOptionDef()->get(space, key)) {
                    return definition;
                }
            }
        }
    }
    auto definition = LibDHCP::getOptionDef(space, key);
    if (!definition) {
        definition = LibDHCP::getRuntimeOptionDef(space, key);
    }
    if (!definition) {
        definition = LibDHCP::getLastResortOptionDef(space, key);
    }
    return definition;
}

std::unique_ptr<Definition> definition(const OptionDefinitionPtr& found) {
    return found ? std::make_unique<Definition>(found) : nullptr;
}

}  // namespace

std::unique_ptr<Definition> definition_by_code(const Packet& query, rust::Str space, std::uint16_t code) {
    return definition(find(query.pointer(), std::string(space), code));
}

std::unique_ptr<Definition> definition_by_name(const Packet& query, rust::Str space, rust::Str name) {
    return definition(find(query.pointer(), std::string(space), std::string(name)));
}

std::uint16_t Definition::code() const { return definition_->getCode(); }

bool Definition::is_text() const {
    return definition_->getType() == isc::dhcp::OPT_STRING_TYPE && !definition_->getArrayType();
}

bool Definition::is_empty() const { return definition_->getType() == isc::dhcp::OPT_EMPTY_TYPE; }

rust::String Definition::sub_option_space() const {
    return rust::String::lossy(definition_->getEncapsulatedSpace());
}

std::unique_ptr<OptionValue> Definition::make(rust::Slice<const rust::String> fields) const {
    std::vector<std::string> values;
    for (const auto& field : fields) {
        values.emplace_back(field);
    }
    return make_of(values);
}

std::unique_ptr<OptionValue> Definition::make_from_text(rust::Str text) const {
    // As for option-data: values between commas, "\," stands for a comma.
    return make_of(isc::util::str::tokens(std::string(text), ",", true));
}

std::unique_ptr<OptionValue> Definition::make_of(const std::vector<std::string>& values) const {
    // Kea itself would write the sixteen bytes of an IPv6 address.
    const auto& fields = definition_->getRecordFields();
    for (std::size_t index = 0; index < values.size(); ++index) {
        const auto type =
            fields.empty() ? definition_->getType() : fields[std::min(index, fields.size() - 1)];
        if (type == isc::dhcp::OPT_IPV4_ADDRESS_TYPE &&
            !isc::asiolink::IOAddress(isc::util::str::trim(values[index])).isV4()) {
            isc_throw(isc::BadValue, "'" << values[index] << "' is no IPv4 address");
        }
    }
    return std::make_unique<OptionValue>(
        definition_->optionFactory(Option::V4, definition_->getCode(), values));
}

std::unique_ptr<OptionValue> make_raw_option(std::uint8_t code, rust::Slice<const std::uint8_t> value) {
    const OptionPtr option(new Option(Option::V4, code, OptionBuffer(value.begin(), value.end())));
    return std::make_unique<OptionValue>(option);
}

std::uint8_t OptionValue::code() const { return static_cast<std::uint8_t>(option_->getType()); }

std::size_t OptionValue::length() const { return option_->len() - option_->getHeaderLen(); }

void OptionValue::add(std::unique_ptr<OptionValue> sub_option) { option_->addOption(sub_option->option_); }

void Packet::replace_option(const OptionValue& value) const {
    remove_option(value.code());
    // As bytes: nothing that Kea does later with an option of its own type changes them.
    const auto& option = *value.option_;
    packet_->addOption(typeid(option) == typeid(Option)
                           ? value.option_
                           : OptionPtr(new Option(Option::V4, value.code(), option.toBinary())));
}

bool Packet::remove_option(std::uint8_t code) const {
    bool removed = false;
    while (packet_->delOption(code)) {
        removed = true;
    }
    return removed;
}

void Packet::set_next_server(rust::Str address) const {
    const isc::asiolink::IOAddress next_server{std::string(address)};
    packet_->setSiaddr(next_server);
}

void Packet::set_server_hostname(rust::Str name) const {
    packet_->setSname(reinterpret_cast<const std::uint8_t*>(name.data()), name.size());
}

void Packet::set_boot_file_name(rust::Str name) const {
    packet_->setFile(reinterpret_cast<const std::uint8_t*>(name.data()), name.size());
}

bool Packet::add_class(rust::Str name) const { return add_class_to(packet_, name); }

bool add_class_to(const isc::dhcp::Pkt4Ptr& query, rust::Str name) {
    const auto dictionary = CfgMgr::instance().getCurrentCfg()->getClientClassDictionary();
    const bool known = dictionary && dictionary->findClass(std::string(name));
    if (known) {
        query->addClass(std::string(name));
    }
    return known;
}

}  // namespace remote_opts
