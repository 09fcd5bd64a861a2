// SPDX-License-Identifier: MPL-2.0
// Kea's side of the library: what kea-dhcp4 does around its callouts.
#pragma once

#include "rust/cxx.h"

namespace fuzz {

struct Command;
struct Served;
struct Way;

// See src/lib.rs.
void start(rust::Str library, rust::Str parameters, rust::Str log);
Served serve(rust::Slice<const std::uint8_t> packet, Way way);
void forget_leases();
Command run_command(rust::Str name, rust::Slice<const std::uint8_t> arguments,
                    rust::Slice<const rust::Str> only);

}  // namespace fuzz
