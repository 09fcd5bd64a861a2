// SPDX-License-Identifier: MPL-2.0
// Queries that no client has sent: see queries.h.

#include "kea-hook-remote-opts/shim/queries.h"

#include <dhcp/dhcp4.h>
#include <dhcp/option_string.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>

#include <memory>
#include <string>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/packet.h"

using isc::dhcp::CfgMgr;
using isc::dhcp::Pkt4;
using isc::dhcp::Pkt4Ptr;

namespace remote_opts {

namespace {

// As the server's own classification does, which no library can call. The classes of option 60
// (VENDOR_CLASS_…) are those that Kea makes of it.
void classify(const Pkt4Ptr& query) {
    query->addClass("ALL");
    const auto vendor = boost::dynamic_pointer_cast<isc::dhcp::OptionString>(
        query->getOption(isc::dhcp::DHO_VENDOR_CLASS_IDENTIFIER));
    if (vendor) {
        query->addClass("VENDOR_CLASS_" + vendor->getValue());
    }
    const auto dictionary = CfgMgr::instance().getCurrentCfg()->getClientClassDictionary();
    for (const auto& definition : *dictionary->getClasses()) {
        const auto& expression = definition->getMatchExpr();
        if (expression && !is_additional(*definition, 0) && !definition->getDependOnKnown()) {
            test_class(*definition, query, expression, 0);
        }
    }
}

}  // namespace

std::unique_ptr<Packet> parse_query(rust::Slice<const std::uint8_t> message) {
    const Pkt4Ptr query(new Pkt4(message.data(), message.size()));
    query->unpack();
    classify(query);
    return std::make_unique<Packet>(query);
}

std::unique_ptr<Packet> empty_query() {
    return std::make_unique<Packet>(Pkt4Ptr(new Pkt4(isc::dhcp::DHCPDISCOVER, 0)));
}

}  // namespace remote_opts
