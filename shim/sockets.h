// SPDX-License-Identifier: MPL-2.0
// The library's own sockets.
#pragma once

#include <cstddef>

namespace remote_opts {

// The lowest descriptor that a socket of the library gets, where the process may have so many
// descriptors.
std::size_t lowest_socket() noexcept;

}  // namespace remote_opts
