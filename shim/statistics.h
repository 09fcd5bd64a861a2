// SPDX-License-Identifier: MPL-2.0
// Kea's statistics.
#pragma once

#include <cstdint>

#include "rust/cxx.h"

namespace remote_opts {

// Adds to a statistic of Kea, which this call makes known where it is not.
void add_to_statistic(rust::Str name, std::int64_t number);

}  // namespace remote_opts
