// SPDX-License-Identifier: MPL-2.0
// Kea's option definitions, and the payloads that Kea encodes by them.
#pragma once

#include <dhcp/option_definition.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rust/cxx.h"

namespace remote_opts {

class Packet;

// One of Kea's option definitions.
class Definition {
  public:
    explicit Definition(const isc::dhcp::OptionDefinitionPtr& definition)
        : definition_(definition) {}

    std::uint16_t code() const;
    bool is_text() const;
    bool is_empty() const;
    // The most values that the definition takes. Kea ignores further values.
    std::size_t most_values() const;
    rust::String sub_option_space() const;

    // These append to `payload`.
    void encode(rust::Slice<const rust::String> fields, rust::Vec<std::uint8_t>& payload) const;
    void encode_text(rust::Str text, rust::Vec<std::uint8_t>& payload) const;

  private:
    void encode_values(const std::vector<std::string>& values,
                       rust::Vec<std::uint8_t>& payload) const;

    isc::dhcp::OptionDefinitionPtr definition_;
};

bool has_class_definitions(const Packet& query);

// The definition that applies to this query's client; null where Kea has none.
std::unique_ptr<Definition> definition_by_code(const Packet& query, rust::Str space,
                                               std::uint16_t code);
std::unique_ptr<Definition> definition_by_name(const Packet& query, rust::Str space,
                                               rust::Str name);

// A definition of the library's own, of a type of Kea's. The fields are those of a record.
std::unique_ptr<Definition> new_definition(std::uint16_t code, rust::Str name, rust::Str type,
                                           bool array, rust::Slice<const rust::Str> fields);

}  // namespace remote_opts
