// SPDX-License-Identifier: MPL-2.0
// What Kea knows of subnets, reservations and leases.
#pragma once

#include <dhcpsrv/host.h>

#include <cstdint>

#include "rust/cxx.h"

namespace remote_opts {

class Packet;

// A kind of identifier by which Kea looks for reservations: of src/ffi.rs.
enum class IdentifierKind : std::uint8_t;

// The same kind in Kea's words and in the library's.
isc::dhcp::Host::IdentifierType kea_kind(IdentifierKind kind);
IdentifierKind kind_of(isc::dhcp::Host::IdentifierType type);

// Appends the kinds of identifiers by which Kea looks for reservations (the parameter
// host-reservation-identifiers), in their order.
void read_identifier_kinds(rust::Vec<IdentifierKind>& kinds);

// Appends the subnet's own number, and the numbers of the other subnets of its shared network.
void read_network(std::uint32_t subnet, rust::Vec<std::uint32_t>& subnets);
// Whether the address belongs to the subnet, inside or outside of its pools.
bool subnet_has(std::uint32_t subnet, std::uint32_t address);
// Whether Kea looks for the subnet's own reservations (the parameter reservations-in-subnet).
bool uses_subnet_reservations(std::uint32_t subnet);
// Whether Kea looks for global reservations in this subnet (the parameter reservations-global).
bool uses_global_reservations(std::uint32_t subnet);
// Whether Kea looks for global reservations before it selects the packet's subnet (the parameter
// early-global-reservations-lookup).
bool looks_early_for_global_reservations();

// Marks a reservation as one of the library's own, which Kea's cache may have.
void mark_own(isc::dhcp::Host& host);
// Whether a source of Kea's has a reservation of its own for the client of this identifier.
bool is_reserved_for(std::uint32_t subnet, IdentifierKind kind,
                     rust::Slice<const std::uint8_t> identifier);
// Whether a source of Kea's has a reservation of its own of this address.
bool is_reserved(std::uint32_t subnet, std::uint32_t address);
// Whether Kea has a cache of reservations.
bool has_host_cache() noexcept;
// Takes the reservation of this identifier out of Kea's cache of reservations, if there is a cache.
void forget_cached(std::uint32_t subnet, IdentifierKind kind,
                   rust::Slice<const std::uint8_t> identifier);

// Whether the query's client holds a lease of the address that the query names in ciaddr.
bool holds_lease(const Packet& query);

}  // namespace remote_opts
