// SPDX-License-Identifier: MPL-2.0
// Kea's option definitions: see definitions.h.

#include "kea-hook-remote-opts/shim/definitions.h"

#include <asiolink/io_address.h>
#include <dhcp/libdhcp++.h>
#include <dhcp/option_space.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/packet.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::dhcp::CfgMgr;
using isc::dhcp::CfgOptionDefPtr;
using isc::dhcp::LibDHCP;
using isc::dhcp::Option;
using isc::dhcp::OptionDefinition;
using isc::dhcp::OptionDefinitionPtr;

namespace remote_opts {

namespace {

// The definitions of the classes that the client is in.
std::vector<CfgOptionDefPtr> class_definitions(const isc::dhcp::Pkt4Ptr& query) {
    std::vector<CfgOptionDefPtr> found;
    if (const auto dictionary = CfgMgr::instance().getCurrentCfg()->getClientClassDictionary()) {
        for (const auto& name : query->getClasses()) {
            const auto client_class = dictionary->findClass(name);
            const auto definitions = client_class ? client_class->getCfgOptionDef() : nullptr;
            // Kea gives a class without definitions an empty set of them.
            if (definitions && !definitions->getContainer().getOptionSpaceNames().empty()) {
                found.push_back(definitions);
            }
        }
    }
    return found;
}

// Looks in the order in which Kea itself looks for the definition of an option that a class may
// define (43, 224 to 254): the client's classes, the standard, the configuration, and the
// definitions of last resort.
template <typename Key>
OptionDefinitionPtr find(const isc::dhcp::Pkt4Ptr& query, const std::string& space,
                         const Key& key) {
    for (const auto& definitions : class_definitions(query)) {
        if (const auto definition = definitions->get(space, key)) {
            return definition;
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

std::unique_ptr<Definition> wrapped(const OptionDefinitionPtr& found) {
    return found ? std::make_unique<Definition>(found) : nullptr;
}

}  // namespace

bool has_class_definitions(const Packet& query) {
    return !class_definitions(query.pointer()).empty();
}

std::unique_ptr<Definition> definition_by_code(const Packet& query, rust::Str space,
                                               std::uint16_t code) {
    return wrapped(find(query.pointer(), std::string(space), code));
}

std::unique_ptr<Definition> definition_by_name(const Packet& query, rust::Str space,
                                               rust::Str name) {
    return wrapped(find(query.pointer(), std::string(space), std::string(name)));
}

std::uint16_t Definition::code() const { return definition_->getCode(); }

bool Definition::is_text() const {
    return definition_->getType() == isc::dhcp::OPT_STRING_TYPE && !definition_->getArrayType();
}

bool Definition::is_empty() const { return definition_->getType() == isc::dhcp::OPT_EMPTY_TYPE; }

std::size_t Definition::most_values() const {
    return definition_->getArrayType()
               ? std::numeric_limits<std::size_t>::max()
               : std::max<std::size_t>(1, definition_->getRecordFields().size());
}

rust::String Definition::sub_option_space() const {
    return rust::String::lossy(definition_->getEncapsulatedSpace());
}

void Definition::encode(rust::Slice<const rust::String> fields,
                        rust::Vec<std::uint8_t>& payload) const {
    std::vector<std::string> values;
    values.reserve(fields.size());
    for (const auto& field : fields) {
        values.emplace_back(field);
    }
    encode_values(values, payload);
}

void Definition::encode_text(rust::Str text, rust::Vec<std::uint8_t>& payload) const {
    // As Kea reads option-data: commas separate the values, "\," stands for a comma.
    encode_values(isc::util::str::tokens(std::string(text), ",", true), payload);
}

void Definition::encode_values(const std::vector<std::string>& values,
                               rust::Vec<std::uint8_t>& payload) const {
    // Kea takes an IPv6 address for an IPv4 field, and would write all of its sixteen bytes.
    const auto& fields = definition_->getRecordFields();
    for (std::size_t index = 0; index < values.size(); ++index) {
        const auto type =
            fields.empty() ? definition_->getType() : fields[std::min(index, fields.size() - 1)];
        if (type == isc::dhcp::OPT_IPV4_ADDRESS_TYPE &&
            !isc::asiolink::IOAddress(isc::util::str::trim(values[index])).isV4()) {
            isc_throw(isc::BadValue, "'" << values[index] << "' is no IPv4 address");
        }
    }
    const auto bytes =
        definition_->optionFactory(Option::V4, definition_->getCode(), values)->toBinary();
    append(payload, {bytes.data(), bytes.size()});
}

std::unique_ptr<Definition> new_definition(std::uint16_t code, rust::Str name, rust::Str type,
                                           bool array, rust::Slice<const rust::Str> fields) {
    const OptionDefinitionPtr definition(new OptionDefinition(
        std::string(name), code, DHCP4_OPTION_SPACE, std::string(type), array));
    for (const auto& field : fields) {
        definition->addRecordField(std::string(field));
    }
    definition->validate();
    return wrapped(definition);
}

}  // namespace remote_opts
