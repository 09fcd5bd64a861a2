// SPDX-License-Identifier: MPL-2.0
// What Kea knows of subnets, reservations and leases: see hosts.h.

#include "kea-hook-remote-opts/shim/hosts.h"

#include <asiolink/io_address.h>
#include <cc/data.h>
#include <dhcp/dhcp4.h>
#include <dhcp/duid.h>
#include <dhcpsrv/cache_host_data_source.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/host_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/shared_network.h>

#include <algorithm>
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

// The value of a parameter of the whole configuration.
bool is_set(const char* parameter, bool by_default) {
    const auto value = CfgMgr::instance().getCurrentCfg()->getConfiguredGlobal(parameter);
    return value ? value->boolValue() : by_default;
}

// The value of a parameter that a subnet has itself, or its shared network, or the configuration.
// Step by step: a function of Kea's own that does it in one step numbers the parameters by a header
// that Debian 12's kea-dev does not have.
template <typename Own>
bool in_force(std::uint32_t subnet, Own own, const char* parameter, bool by_default) {
    const auto found = find_subnet(subnet);
    if (!found) {
        return false;
    }
    auto value = own(*found);
    SharedNetwork4Ptr network;
    found->getSharedNetwork(network);
    if (value.unspecified() && network) {
        value = own(*network);
    }
    return value.unspecified() ? is_set(parameter, by_default) : value.get();
}

// What the library's own reservations have in their user context.
const char* const OWN = "remote-opts";

bool is_own(const Host& host) {
    const auto context = host.getContext();
    return context && context->contains(OWN);
}

// Null where Kea has no cache of reservations. The cache is the first of Kea's sources.
boost::shared_ptr<CacheHostDataSource> find_cache() {
    return boost::dynamic_pointer_cast<CacheHostDataSource>(
        HostMgr::instance().getHostDataSource());
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

bool uses_subnet_reservations(std::uint32_t subnet) {
    const auto own = [](const Network& network) {
        return network.getReservationsInSubnet(Network::Inheritance::NONE);
    };
    return in_force(subnet, own, "reservations-in-subnet", true);
}

bool uses_global_reservations(std::uint32_t subnet) {
    const auto own = [](const Network& network) {
        return network.getReservationsGlobal(Network::Inheritance::NONE);
    };
    return in_force(subnet, own, "reservations-global", false);
}

bool looks_early_for_global_reservations() {
    return is_set("early-global-reservations-lookup", false);
}

void mark_own(Host& host) {
    static const auto context = [] {
        const auto map = isc::data::Element::createMap();
        map->set(OWN, isc::data::Element::create(true));
        return map;
    }();
    host.setContext(context);
}

bool is_reserved_for(std::uint32_t subnet, IdentifierKind kind,
                     rust::Slice<const std::uint8_t> identifier) {
    const auto host =
        HostMgr::instance().get4(subnet, kea_kind(kind), identifier.data(), identifier.size());
    return host && !is_own(*host);
}

bool is_reserved(std::uint32_t subnet, std::uint32_t address) {
    // All of them: Kea throws an exception where it is asked for one and there are several.
    const auto hosts = HostMgr::instance().getAll4(subnet, IOAddress(address));
    return std::any_of(hosts.begin(), hosts.end(), [](const auto& host) { return !is_own(*host); });
}

bool has_host_cache() noexcept {
    try {
        return find_cache() != nullptr;
    } catch (...) {
        return false;
    }
}

void forget_cached(std::uint32_t subnet, IdentifierKind kind,
                   rust::Slice<const std::uint8_t> identifier) {
    if (const auto cache = find_cache()) {
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
