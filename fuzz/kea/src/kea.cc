// SPDX-License-Identifier: MPL-2.0
// Kea's side of the library: see kea.h. The server itself is no library, so its steps from one
// callout to the next stand here, each as in Dhcpv4Srv of Kea 2.2.

#include "fuzz-kea/src/kea.h"

#include <asiolink/io_address.h>
#include <cc/data.h>
#include <dhcp/dhcp4.h>
#include <dhcp/iface_mgr.h>
#include <dhcp/libdhcp++.h>
#include <dhcp/option4_addrlst.h>
#include <dhcp/option_int.h>
#include <dhcp/option_string.h>
#include <dhcp/pkt4.h>
#include <dhcpsrv/callout_handle_store.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>
#include <dhcpsrv/host_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/shared_network.h>
#include <dhcpsrv/subnet.h>
#include <hooks/hooks_manager.h>
#include <log/logger_manager.h>
#include <log/logger_specification.h>
#include <log/output_option.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz-kea/src/lib.rs.h"

using namespace isc::dhcp;
using isc::asiolink::IOAddress;
using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::hooks::CalloutHandle;
using isc::hooks::CalloutHandlePtr;
using isc::hooks::HooksManager;

namespace fuzz {

namespace {

const char* const HOOKS[] = {"dhcp4_srv_configured", "pkt4_receive", "subnet4_select",
                             "host4_identifier", "pkt4_send"};

const IOAddress SERVER("192.0.2.1");
const IOAddress FROM_POOL("192.0.2.100");

void set_log_up(const std::string& path) {
    setenv("KEA_LOCKFILE_DIR", "none", 1);
    isc::log::LoggerManager::init("kea-dhcp4", isc::log::ERROR);
    isc::log::OutputOption file;
    file.destination = isc::log::OutputOption::DEST_FILE;
    file.filename = path;
    // Kea's own errors, and all lines of the library: a line may fail, too.
    std::vector<isc::log::LoggerSpecification> loggers{
        {"kea-dhcp4", isc::log::ERROR},
        {"kea-dhcp4.remote-opts-hooks", isc::log::DEBUG, 99},
    };
    for (auto& logger : loggers) {
        logger.addOutputOption(file);
    }
    isc::log::LoggerManager manager;
    manager.process(loggers.begin(), loggers.end());
}

void configure() {
    auto& manager = CfgMgr::instance();
    manager.setFamily(AF_INET);
    const auto configuration = manager.getStagingCfg();
    const Subnet4Ptr subnet(new Subnet4(IOAddress("192.0.2.0"), 24, 900, 1800, 3600, 1));
    subnet->addPool(PoolPtr(new Pool4(FROM_POOL, IOAddress("192.0.2.200"))));
    configuration->getCfgSubnets4()->add(subnet);
    configuration->getClientClassDictionary()->addClass("rpi4", ExpressionPtr(), "", false, false,
                                                        CfgOptionPtr());
    manager.commit();
    HostMgr::create();
    LeaseMgrFactory::create("type=memfile universe=4 persist=false");
}

// Calls the callouts of a hook point. Returns what they have Kea do next.
CalloutHandle::CalloutNextStep call(const char* hook, const CalloutHandlePtr& handle) {
    handle->setStatus(CalloutHandle::NEXT_STEP_CONTINUE);
    HooksManager::callCallouts(isc::hooks::ServerHooks::getServerHooks().getIndex(hook), *handle);
    const auto step = handle->getStatus();
    if (step != CalloutHandle::NEXT_STEP_CONTINUE && step != CalloutHandle::NEXT_STEP_DROP) {
        throw std::runtime_error(std::string(hook) + " must not have this next step");
    }
    return step;
}

// The message type; DHCP_NOTYPE for a packet that Kea drops because it cannot read it.
std::uint8_t unpack(const Pkt4Ptr& query) {
    try {
        try {
            query->unpack();
        } catch (const SkipRemainingOptionsError&) {
            // Kea goes on with the options before.
        }
        return query->getType();
    } catch (const std::exception&) {
        return DHCP_NOTYPE;
    }
}

void classify(const Pkt4Ptr& query) {
    query->addClass("ALL");
    const auto vendor =
        boost::dynamic_pointer_cast<OptionString>(query->getOption(DHO_VENDOR_CLASS_IDENTIFIER));
    if (vendor) {
        query->addClass("VENDOR_CLASS_" + vendor->getValue());
    }
}

// The bytes of an option, or of one of its sub-options.
std::vector<std::uint8_t> bytes(const OptionPtr& option) {
    return option ? option->toBinary() : std::vector<std::uint8_t>();
}

rust::Vec<std::uint8_t> to_rust(const std::vector<std::uint8_t>& bytes) {
    rust::Vec<std::uint8_t> copy;
    std::copy(bytes.begin(), bytes.end(), std::back_inserter(copy));
    return copy;
}

// The reservation of the client, by the identifiers in Kea's order.
ConstHostPtr find_host(const Pkt4Ptr& query, const std::vector<std::uint8_t>& flexible) {
    const auto relay = query->getOption(DHO_DHCP_AGENT_OPTIONS);
    const std::pair<Host::IdentifierType, std::vector<std::uint8_t>> identifiers[] = {
        {Host::IDENT_HWADDR, query->getHWAddr()->hwaddr_},
        {Host::IDENT_CIRCUIT_ID, bytes(relay ? relay->getOption(1) : nullptr)},
        {Host::IDENT_CLIENT_ID, bytes(query->getOption(DHO_DHCP_CLIENT_IDENTIFIER))},
        {Host::IDENT_FLEX, flexible},
    };
    for (const auto& [type, identifier] : identifiers) {
        if (identifier.empty()) {
            continue;
        }
        if (const auto host =
                HostMgr::instance().get4(1, type, identifier.data(), identifier.size())) {
            return host;
        }
    }
    return nullptr;
}

// The message type of the reply, DHCP_NOTYPE where Kea sends none.
std::uint8_t reply_type(const Pkt4Ptr& query, const Way& way) {
    switch (query->getType()) {
        case DHCPDISCOVER:
            return DHCPOFFER;
        case DHCPREQUEST:
            return way.refuses ? DHCPNAK : DHCPACK;
        case DHCPINFORM:
            return DHCPACK;
        default:
            return DHCP_NOTYPE;
    }
}

Pkt4Ptr make_reply(const Pkt4Ptr& query, std::uint8_t type, const IOAddress& address) {
    const Pkt4Ptr reply(new Pkt4(type, query->getTransid()));
    reply->setFlags(query->getFlags());
    reply->setCiaddr(query->getCiaddr());
    reply->setGiaddr(query->getGiaddr());
    reply->setHWAddr(query->getHWAddr());
    reply->setHops(query->getHops());
    reply->addOption(OptionPtr(new Option4AddrLst(DHO_DHCP_SERVER_IDENTIFIER, SERVER)));
    for (const auto code : {DHO_DHCP_CLIENT_IDENTIFIER, DHO_DHCP_AGENT_OPTIONS}) {
        const auto option = query->getOption(code);
        if (option && option->len() > Option::OPTION4_HDR_LEN) {
            reply->addOption(option);
        }
    }
    if (type == DHCPNAK) {
        return reply;
    }
    if (query->getType() != DHCPINFORM) {
        reply->setYiaddr(address);
        reply->addOption(OptionPtr(new OptionUint32(Option::V4, DHO_DHCP_LEASE_TIME, 3600)));
    }
    reply->addOption(OptionPtr(new Option4AddrLst(DHO_SUBNET_MASK, IOAddress("255.255.255.0"))));
    reply->addOption(OptionPtr(new Option4AddrLst(DHO_ROUTERS, SERVER)));
    return reply;
}

std::vector<std::uint8_t> pack(const Pkt4Ptr& reply) {
    reply->pack();
    const auto& buffer = reply->getBuffer();
    const auto begin = static_cast<const std::uint8_t*>(buffer.getData());
    return {begin, begin + buffer.getLength()};
}

bool can_be_read(const std::vector<std::uint8_t>& message) {
    try {
        Pkt4(message.data(), message.size()).unpack();
    } catch (const std::exception&) {
        return false;
    }
    return true;
}

void keep_lease(const Pkt4Ptr& query, const IOAddress& address) {
    const auto identifier = bytes(query->getOption(DHO_DHCP_CLIENT_IDENTIFIER));
    const ClientIdPtr client(identifier.size() < 2 ? nullptr : new ClientId(identifier));
    const Lease4Ptr lease(
        new Lease4(address, query->getHWAddr(), client, 3600, std::time(nullptr), 1));
    if (!LeaseMgrFactory::instance().getLease4(address)) {
        LeaseMgrFactory::instance().addLease(lease);
    }
}

}  // namespace

void start(rust::Str library, rust::Str parameters, rust::Str log) {
    set_log_up(std::string(log));
    for (const auto hook : HOOKS) {
        HooksManager::registerHook(hook);
    }
    configure();
    const auto given = Element::fromJSON(std::string(parameters));
    if (!HooksManager::loadLibraries({{std::string(library), given}})) {
        throw std::runtime_error("the library cannot be loaded");
    }
    // As Kea does when it stops: before its objects go away that the library uses.
    std::atexit([] {
        HooksManager::prepareUnloadLibraries();
        HooksManager::unloadLibraries();
    });
    const auto handle = HooksManager::createCalloutHandle();
    handle->setArgument("json_config", ConstElementPtr(Element::createMap()));
    call("dhcp4_srv_configured", handle);
}

Served serve(rust::Slice<const std::uint8_t> packet, Way way) {
    Served served{};
    if (packet.size() < Pkt4::DHCPV4_PKT_HDR_LEN) {
        return served;
    }
    const Pkt4Ptr query(new Pkt4(packet.data(), packet.size()));
    if (unpack(query) == DHCP_NOTYPE) {
        return served;
    }
    classify(query);
    served.hardware = to_rust(query->getHWAddr()->hwaddr_);
    if (const auto relay = query->getOption(DHO_DHCP_AGENT_OPTIONS)) {
        served.sub_options = {to_rust(bytes(relay->getOption(1))),
                              to_rust(bytes(relay->getOption(2))),
                              to_rust(bytes(relay->getOption(9)))};
    }

    const auto handle = getCalloutHandle(query);
    const auto at = [&](const char* hook, auto arguments) {
        const isc::hooks::ScopedCalloutHandleState arguments_end_here(handle);
        const ScopedEnableOptionsCopy<Pkt4> options_are_copied(query);
        handle->setArgument("query4", query);
        arguments();
        return call(hook, handle);
    };
    const auto DROP = CalloutHandle::NEXT_STEP_DROP;
    if (at("pkt4_receive", [] {}) == DROP) {
        return served;
    }

    const auto subnets = CfgMgr::instance().getCurrentCfg()->getCfgSubnets4();
    const Subnet4Ptr subnet = way.without_subnet ? nullptr : *subnets->getAll()->begin();
    if (at("subnet4_select", [&] {
            handle->setArgument("subnet4", subnet);
            handle->setArgument("subnet4collection", subnets->getAll());
        }) == DROP) {
        return served;
    }

    // flex_id makes it of what the client sent.
    auto flexible = bytes(query->getOption(DHO_USER_CLASS));
    at("host4_identifier", [&] {
        handle->setArgument("id_type", Host::IDENT_FLEX);
        handle->setArgument("id_value", flexible);
    });
    const auto host = find_host(query, flexible);
    const bool has_address = host && host->getIPv4Reservation() != IOAddress::IPV4_ZERO_ADDRESS();
    const auto address = has_address ? host->getIPv4Reservation() : FROM_POOL;
    HostMgr::instance().get4(1, address);

    const auto type = reply_type(query, way);
    if (type == DHCP_NOTYPE) {
        return served;
    }
    served.has_lease = type != DHCPNAK && query->getType() != DHCPINFORM;
    const auto made = pack(make_reply(query, type, address));
    served.made = to_rust(made);
    if (type == DHCPACK && query->getType() == DHCPREQUEST) {
        keep_lease(query, address);
    }
    // Not packed before pkt4_send: the library leaves a reply alone that is packed.
    const auto reply = make_reply(query, type, address);
    const ScopedEnableOptionsCopy<Pkt4> reply_options_are_copied(reply);
    if (at("pkt4_send", [&] { handle->setArgument("response4", reply); }) == DROP) {
        return served;
    }
    const auto sent = pack(reply);
    served.is_readable = can_be_read(sent) || !can_be_read(made);
    served.sent = to_rust(sent);
    return served;
}

void forget_leases() {
    for (const auto& lease : LeaseMgrFactory::instance().getLeases4()) {
        LeaseMgrFactory::instance().deleteLease(lease);
    }
}

Command run_command(rust::Str name, rust::Slice<const std::uint8_t> text,
                    rust::Slice<const rust::Str> only) {
    Command answered{};
    ConstElementPtr arguments;
    try {
        arguments = Element::fromJSON(std::string(text.begin(), text.end()));
    } catch (const std::exception&) {
        return answered;
    }
    answered.is_json = true;
    answered.is_map = arguments->getType() == Element::map || arguments->getType() == Element::null;
    if (!only.empty()) {
        const auto few = Element::createMap();
        for (const auto member : only) {
            if (const auto value = arguments->get(std::string(member))) {
                few->set(std::string(member), boost::const_pointer_cast<Element>(value));
            }
        }
        arguments = few;
    }
    const auto command = Element::createMap();
    command->set("command", Element::create(std::string(name)));
    command->set("arguments", boost::const_pointer_cast<Element>(arguments));

    if (!HooksManager::commandHandlersPresent(std::string(name))) {
        throw std::runtime_error("the library has no such command");
    }
    const auto handle = HooksManager::createCalloutHandle();
    handle->setArgument("command", ConstElementPtr(command));
    handle->setArgument("response", ConstElementPtr());
    HooksManager::callCommandHandlers(std::string(name), *handle);
    ConstElementPtr response;
    handle->getArgument("response", response);
    if (!response) {
        throw std::runtime_error("the command has no response");
    }
    // Kea writes it into its control socket.
    Element::fromJSON(response->str());
    response->get("text")->stringValue();
    answered.result = response->get("result")->intValue();
    return answered;
}

}  // namespace fuzz
