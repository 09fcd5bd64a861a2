// SPDX-License-Identifier: MPL-2.0
// The library's own host data source: see host_source.h. Rust says what is reserved, and for whom.

#include "kea-hook-remote-opts/shim/host_source.h"

#include <asiolink/io_address.h>
#include <dhcpsrv/base_host_data_source.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/host.h>
#include <dhcpsrv/host_data_source_factory.h>
#include <dhcpsrv/host_mgr.h>
#include <dhcpsrv/subnet_id.h>
#include <exceptions/exceptions.h>

#include <boost/make_shared.hpp>
#include <cstdint>
#include <string>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/hosts.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::asiolink::IOAddress;
using isc::dhcp::BaseHostDataSource;
using isc::dhcp::CfgMgr;
using isc::dhcp::ConstHostCollection;
using isc::dhcp::ConstHostPtr;
using isc::dhcp::Host;
using isc::dhcp::HostDataSourceFactory;
using isc::dhcp::HostMgr;
using isc::dhcp::HostPageSize;
using isc::dhcp::HostPtr;
using isc::dhcp::SubnetID;

namespace remote_opts {

namespace {

// The type of the source, as Kea's log and its list of sources name it.
const char* const TYPE = "remote-opts";

ConstHostPtr host(const ReservedHost& reserved) {
    const auto made = boost::make_shared<Host>(
        reserved.identifier.data(), reserved.identifier.size(), kea_kind(reserved.kind),
        reserved.subnet, isc::dhcp::SUBNET_ID_UNUSED, IOAddress(reserved.address),
        std::string(reserved.hostname));
    mark_own(*made);
    return made;
}

ConstHostCollection hosts(const rust::Vec<ReservedHost>& reserved) {
    ConstHostCollection collection;
    for (const auto& each : reserved) {
        if (const auto found = host(each)) {
            collection.push_back(found);
        }
    }
    return collection;
}

ConstHostPtr first(const rust::Vec<ReservedHost>& reserved) {
    return reserved.empty() ? nullptr : host(reserved.front());
}

// Answers what Kea asks about one client or one address. A service has no list of its clients, and
// reservations of DHCPv6 are none of the library's, so every other question finds nothing.
class HostSource : public BaseHostDataSource {
  public:
    std::string getType() const override { return TYPE; }

    ConstHostCollection getAll(const Host::IdentifierType& type, const std::uint8_t* identifier,
                               const std::size_t length) const override {
        return hosts(reserved_for_client_anywhere(kind_of(type), {identifier, length}));
    }
    ConstHostPtr get4(const SubnetID& subnet, const Host::IdentifierType& type,
                      const std::uint8_t* identifier, const std::size_t length) const override {
        return first(reserved_for_client(subnet, kind_of(type), {identifier, length}));
    }
    ConstHostPtr get4(const SubnetID& subnet, const IOAddress& address) const override {
        return first(reserved_address(subnet, address.toUint32()));
    }
    ConstHostCollection getAll4(const SubnetID& subnet, const IOAddress& address) const override {
        return hosts(reserved_address(subnet, address.toUint32()));
    }

    ConstHostCollection getAll4(const SubnetID&) const override { return {}; }
    ConstHostCollection getAll4(const IOAddress&) const override { return {}; }
    ConstHostCollection getAllbyHostname(const std::string&) const override { return {}; }
    ConstHostCollection getAllbyHostname4(const std::string&, const SubnetID&) const override {
        return {};
    }
    ConstHostCollection getPage4(const SubnetID&, std::size_t&, std::uint64_t,
                                 const HostPageSize&) const override {
        return {};
    }
    ConstHostCollection getPage4(std::size_t&, std::uint64_t, const HostPageSize&) const override {
        return {};
    }

    ConstHostCollection getAll6(const SubnetID&) const override { return {}; }
    ConstHostCollection getAll6(const SubnetID&, const IOAddress&) const override { return {}; }
    // Kea 2.2 does not have this function.
    ConstHostCollection getAll6(const IOAddress&) const IN_LATER_KEA { return {}; }
    ConstHostCollection getAllbyHostname6(const std::string&, const SubnetID&) const override {
        return {};
    }
    ConstHostCollection getPage6(const SubnetID&, std::size_t&, std::uint64_t,
                                 const HostPageSize&) const override {
        return {};
    }
    ConstHostCollection getPage6(std::size_t&, std::uint64_t, const HostPageSize&) const override {
        return {};
    }
    ConstHostPtr get6(const SubnetID&, const Host::IdentifierType&, const std::uint8_t*,
                      const std::size_t) const override {
        return nullptr;
    }
    ConstHostPtr get6(const IOAddress&, const std::uint8_t) const override { return nullptr; }
    ConstHostPtr get6(const SubnetID&, const IOAddress&) const override { return nullptr; }

    // Kea hands each new reservation to all its sources. This one leaves it to the databases.
    void add(const HostPtr& host) override { refuse_without_database(*host); }
    bool del(const SubnetID&, const IOAddress&) override { return false; }
    bool del4(const SubnetID&, const Host::IdentifierType&, const std::uint8_t*,
              const std::size_t) override {
        return false;
    }
    bool del6(const SubnetID&, const Host::IdentifierType&, const std::uint8_t*,
              const std::size_t) override {
        return false;
    }
    // Kea 2.2 does not have this function.
    void update(const HostPtr& host) IN_LATER_KEA { refuse_without_database(*host); }

    // One address may be reserved for many clients, or for one: the source takes both.
    bool setIPReservationsUnique(const bool) override { return true; }

  private:
    // Else a command that adds a reservation would seem to succeed, where there is no database and
    // the command does not add to the configuration.
    static void refuse_without_database(const Host& host) {
        const auto configuration = CfgMgr::instance().getCurrentCfg();
        const auto& identifier = host.getIdentifier();
        const auto configured = configuration->getCfgHosts()->get4(
            host.getIPv4SubnetID(), host.getIdentifierType(), identifier.data(), identifier.size());
        if (!configured && configuration->getCfgDbAccess()->getHostDbAccessStringList().empty()) {
            isc_throw(isc::NotImplemented,
                      "there is no host database: the reservations of libremote_opts come from its "
                      "service, and cannot be changed here");
        }
    }
};

}  // namespace

void add_host_source() {
    remove_host_source();
    HostDataSourceFactory::registerFactory(TYPE,
                                           [](const isc::db::DatabaseConnection::ParameterMap&) {
                                               return boost::make_shared<HostSource>();
                                           });
    HostMgr::addBackend(std::string("type=") + TYPE);
}

void remove_host_source() {
    // Kea makes its host manager with the first call of this function.
    HostMgr::instance();
    HostMgr::delBackend(TYPE);
    HostDataSourceFactory::deregisterFactory(TYPE);
}

}  // namespace remote_opts
