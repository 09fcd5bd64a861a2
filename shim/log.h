// SPDX-License-Identifier: MPL-2.0
// Kea's logger "remote-opts-hooks". Any thread may log.
#pragma once

#include <cstdint>

#include "rust/cxx.h"

namespace remote_opts {

// A type of the bridge: src/ffi.rs.
enum class Severity : std::uint8_t;

// Whether the logger writes a message of this severity. `debug_level` (0 to 99) counts for
// Severity::Debug alone.
bool log_enabled(Severity severity, std::int32_t debug_level) noexcept;

// Writes the message of this identifier, with the arguments in the places of its placeholders.
void log_message(Severity severity, std::int32_t debug_level, rust::Str id,
                 rust::Slice<const rust::String> arguments) noexcept;

}  // namespace remote_opts
