// SPDX-License-Identifier: MPL-2.0
// Queries that no client has sent, for commands that say what would become of one.
#pragma once

#include <cstdint>
#include <memory>

#include "rust/cxx.h"

namespace remote_opts {

class Packet;

// The query with the bytes of this DHCP message, in the client classes in which Kea puts a query
// before it looks for the client's reservations.
std::unique_ptr<Packet> parse_query(rust::Slice<const std::uint8_t> message);
// A DISCOVER without options, in no client class.
std::unique_ptr<Packet> empty_query();

}  // namespace remote_opts
