// SPDX-License-Identifier: MPL-2.0
// Kea's statistics, and the commands that read and reset them.
#pragma once

#include <hooks/library_handle.h>

#include <cstdint>

#include "rust/cxx.h"

namespace remote_opts {

// Adds to a statistic of Kea, which this call makes known where it is not.
void add_to_statistic(rust::Str name, std::int64_t number);

// Sets a statistic of Kea, which this call makes known where it is not.
void set_statistic(rust::Str name, std::int64_t value);

// The value of a statistic; 0 where Kea does not know it.
std::int64_t statistic(rust::Str name);

// Removes a statistic, where Kea knows it.
void remove_statistic(rust::Str name);

// Has Kea hand the commands that read and reset statistics to the library, until Kea unloads the
// library. The library brings its statistics up to date, then Kea's own code runs the command. At
// load.
void register_statistic_commands(isc::hooks::LibraryHandle& handle);

}  // namespace remote_opts
