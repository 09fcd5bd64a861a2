// SPDX-License-Identifier: MPL-2.0
// What Kea knows of subnets, reservations and leases: see hosts.h.

#include "kea-hook-remote-opts/shim/hosts.h"

#include <asiolink/io_address.h>
#include <dhcp/dhcp4.h>
#include <dhcp/duid.h>
#include <dhcpsrv/cache_host_data_source.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/host_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/shared_network.h>

#include <boost/pointer_cast.hpp>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/packet.h"
#include "kea-hook-remote-opts/src/ffi.rs.h"

using isc::asiolink::IOAddress;
using isc::dhcp::CacheHostDataSource;
using isc::dhcp::CfgMgr;
using isc::dhcp::ClientId;
using isc::dhcp::ClientIdPtr;
using isc::dhcp::ConstSubnet4Ptr;
using isc::dhcp::Host;
using isc::dhcp::HostMgr;
using isc::dhcp::Lease;
using isc::dhcp::LeaseMgrFactory;
using isc::dhcp::Network;
using isc::dhcp::SharedNetwork4Ptr;

namespace remote_opts {

namespace {

// Both sides number the kinds alike.
constexpr bool is_same(Host::IdentifierType type, IdentifierKind kind) {
    return static_cast<int>(type) == static_cast<int>(kind);
}
static_assert(is_same(Host::IDENT_HWADDR, IdentifierKind::HardwareAddress));
static_assert(is_same(Host::IDENT_DUID, IdentifierKind::Duid));
static_assert(is_same(Host::IDENT_CIRCUIT_ID, IdentifierKind::CircuitId));
static_assert(is_same(Host::IDENT_CLIENT_ID, IdentifierKind::ClientId));
static_assert(is_same(Host::IDENT_FLEX, IdentifierKind::FlexId));

// Null where the configuration has no subnet of this number.
ConstSubnet4Ptr find_subnet(std::uint32_t subnet) {
    return CfgMgr::instance().getCurrentCfg()->getCfgSubnets4()->getBySubnetId(subnet);
}

// Whether a parameter of the whole configuration is true.
bool is_set(const char* parameter) {
    const auto value = CfgMgr::instance().getCurrentCfg()->getConfiguredGlobal(parameter);
    return value && value->boolValue();
}

}  // namespace

Host::IdentifierType kea_kind(IdentifierKind kind) {
    return static_cast<Host::IdentifierType>(kind);
}

IdentifierKind kind_of(Host::IdentifierType type) { return static_cast<IdentifierKind>(type); }

void read_identifier_kinds(rust::Vec<IdentifierKind>& kinds) {
    const auto operations = CfgMgr::instance().getCurrentCfg()->getCfgHostOperations4();
    for (const auto& type : operations->getIdentifierTypes()) {
        kinds.push_back(kind_of(type));
    }
}

void read_network(std::uint32_t subnet, rust::Vec<std::uint32_t>& subnets) {
    subnets.push_back(subnet);
    const auto own = find_subnet(subnet);
    SharedNetwork4Ptr network;
    if (own) {
        own->getSharedNetwork(network);
    }
    if (network) {
        for (const auto& other : *network->getAllSubnets()) {
            if (other->getID() != subnet) {
                subnets.push_back(other->getID());
            }
        }
    }
}

bool subnet_has(std::uint32_t subnet, std::uint32_t address) {
    const auto found = find_subnet(subnet);
    return found && found->inRange(IOAddress(address));
}

bool uses_global_reservations(std::uint32_t subnet) {
    const auto found = find_subnet(subnet);
    if (!found) {
        return false;
    }
    // Step by step: a function of Kea's own that does it in one step numbers the parameters by a
    // header that Debian 12's kea-dev does not have.
    const auto own = Network::Inheritance::NONE;
    auto in_force = found->getReservationsGlobal(own);
    SharedNetwork4Ptr network;
    found->getSharedNetwork(network);
    if (in_force.unspecified() && network) {
        in_force = network->getReservationsGlobal(own);
    }
    if (!in_force.unspecified()) {
        return in_force.get();
    }
    return is_set("reservations-global");
}

bool looks_early_for_global_reservations() { return is_set("early-global-reservations-lookup"); }

bool is_reserved_for(std::uint32_t subnet, IdentifierKind kind,
                     rust::Slice<const std::uint8_t> identifier) {
    return HostMgr::instance().get4(subnet, kea_kind(kind), identifier.data(), identifier.size()) !=
           nullptr;
}

bool is_reserved(std::uint32_t subnet, std::uint32_t address) {
    return HostMgr::instance().get4(subnet, IOAddress(address)) != nullptr;
}

void forget_cached(std::uint32_t subnet, IdentifierKind kind,
                   rust::Slice<const std::uint8_t> identifier) {
    // Kea's cache is the first of its sources.
    const auto cache =
        boost::dynamic_pointer_cast<CacheHostDataSource>(HostMgr::instance().getHostDataSource());
    if (cache) {
        cache->del4(subnet, kea_kind(kind), identifier.data(), identifier.size());
    }
}

bool holds_lease(const Packet& query) {
    const auto& packet = query.pointer();
    const auto lease = LeaseMgrFactory::instance().getLease4(packet->getCiaddr());
    if (!lease || lease->state_ != Lease::STATE_DEFAULT || lease->expired()) {
        return false;
    }
    ClientIdPtr client_id;
    rust::Vec<std::uint8_t> identifier;
    if (query.read_option(isc::dhcp::DHO_DHCP_CLIENT_IDENTIFIER, identifier)) {
        client_id.reset(new ClientId(identifier.data(), identifier.size()));
    }
    // Kea itself looks again, and knows whether the client identifier counts (the parameter
    // match-client-id).
    return lease->belongsToClient(packet->getHWAddr(), client_id) ||
           lease->belongsToClient(packet->getHWAddr(), ClientIdPtr());
}

}  // namespace remote_opts
