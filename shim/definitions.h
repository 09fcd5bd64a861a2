// SPDX-License-Identifier: MPL-2.0
// Kea's option definitions, and the options that Kea encodes by them.
#pragma once

#include <dhcp/option.h>
#include <dhcp/option_definition.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rust/cxx.h"

namespace remote_opts {

class Packet;

// An option as Kea has encoded it.
class EncodedOption {
  public:
    explicit EncodedOption(const isc::dhcp::OptionPtr& option) : option_(option) {}

    // In bytes, of the payload.
    std::size_t length() const;
    void read_payload(rust::Vec<std::uint8_t>& payload) const;
    void add_sub_option(std::unique_ptr<EncodedOption> sub_option);

  private:
    isc::dhcp::OptionPtr option_;
};

// One of Kea's option definitions.
class Definition {
  public:
    explicit Definition(const isc::dhcp::OptionDefinitionPtr& definition)
        : definition_(definition) {}

    std::uint16_t code() const;
    bool is_text() const;
    bool is_empty() const;
    rust::String sub_option_space() const;
    std::unique_ptr<EncodedOption> encode(rust::Slice<const rust::String> fields) const;
    std::unique_ptr<EncodedOption> encode_text(rust::Str text) const;

  private:
    std::unique_ptr<EncodedOption> encode_values(const std::vector<std::string>& values) const;

    isc::dhcp::OptionDefinitionPtr definition_;
};

std::unique_ptr<EncodedOption> encode_raw(std::uint8_t code,
                                          rust::Slice<const std::uint8_t> payload);

bool has_class_definitions(const Packet& query);

// The definition that applies to this query's client; null where Kea has none.
std::unique_ptr<Definition> definition_by_code(const Packet& query, rust::Str space,
                                               std::uint16_t code);
std::unique_ptr<Definition> definition_by_name(const Packet& query, rust::Str space,
                                               rust::Str name);

}  // namespace remote_opts
