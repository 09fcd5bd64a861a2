// SPDX-License-Identifier: MPL-2.0
// Expressions of Kea's own language, the language of the `test` of a client class.
#pragma once

#include <eval/token.h>

#include <cstdint>
#include <memory>

#include "rust/cxx.h"

namespace remote_opts {

class Packet;

// A parsed expression. Any packet thread may evaluate it.
class Expression {
  public:
    explicit Expression(const isc::dhcp::Expression& expression) : expression_(expression) {}

    bool is_true(const Packet& query) const;
    // Appends the expression's text.
    void read(const Packet& query, rust::Vec<std::uint8_t>& value) const;

  private:
    isc::dhcp::Expression expression_;
};

// Throws where the text is no expression; the exception says what is wrong, and where in the text.
std::unique_ptr<Expression> parse_expression(rust::Str text, bool boolean);

}  // namespace remote_opts
