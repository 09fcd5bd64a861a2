// SPDX-License-Identifier: MPL-2.0
// Load, unload and the callouts: each fetches its arguments from Kea and hands them to Rust.

#include "kea-hook-remote-opts/shim/callouts.h"

#include <cc/data.h>
#include <dhcp/pkt4.h>
#include <dhcpsrv/cfgmgr.h>
#include <hooks/hooks.h>

#include <memory>
#include <utility>
#include <vector>

#include "kea-hook-remote-opts/shim/commands.h"
#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/guarded.h"
#include "kea-hook-remote-opts/shim/host_source.h"
#include "kea-hook-remote-opts/shim/packet.h"
#include "kea-hook-remote-opts/shim/statistics.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::dhcp::Pkt4Ptr;
using isc::hooks::NoSuchCalloutContext;

namespace remote_opts {

namespace {

// The name of the packet's lookup in the context.
const char* const LOOKUP = "lookup";

Pkt4Ptr packet_argument(const CalloutHandle& handle, const char* name) {
    Pkt4Ptr packet;
    handle.getArgument(name, packet);
    if (!packet) {
        isc_throw(isc::BadValue, "argument " << name << " is null");
    }
    return packet;
}

// The packet's lookup, null where there is none. pkt4_receive keeps one for each packet, if only a
// null one, because Kea reports a missing one by an exception, which costs more than all the rest
// of a callout.
KeptLookup kept_lookup(const CalloutHandle& handle) {
    try {
        KeptLookup lookup;
        handle.getContext(LOOKUP, lookup);
        return lookup;
    } catch (const NoSuchCalloutContext&) {
        return nullptr;
    }
}

}  // namespace

void Callout::keep(rust::Box<PacketLookup> lookup) const {
    kept_ = std::make_shared<rust::Box<PacketLookup>>(std::move(lookup));
}

void Callout::drop_packet() const { handle_.setStatus(CalloutHandle::NEXT_STEP_DROP); }

bool Callout::is_dropped() const { return handle_.getStatus() == CalloutHandle::NEXT_STEP_DROP; }

bool Callout::is_skipped() const { return handle_.getStatus() == CalloutHandle::NEXT_STEP_SKIP; }

std::uint32_t Callout::subnet_id() const {
    SelectedSubnet subnet;
    handle_.getArgument("subnet4", subnet);
    return subnet ? subnet->getID() : 0;
}

std::int32_t shim_version() noexcept { return KEA_HOOKS_VERSION; }

std::int32_t shim_load(LibraryHandle& handle) noexcept {
    bool loaded = false;
    guarded("load", [&] {
        const auto parameters = handle.getParameters();
        // First: an exception here must not leave a library that is set up.
        register_commands(handle);
        register_statistic_commands(handle);
        loaded = load_library(parameters ? parameters->str() : "");
        // Kea may load the library without another configuration (its command libreload).
        if (loaded) {
            add_host_source();
        }
    });
    return loaded ? 0 : 1;
}

std::int32_t shim_unload() noexcept {
    guarded("unload", remove_host_source);
    unload_library();
    return 0;
}

std::int32_t shim_dhcp4_srv_configured(CalloutHandle& handle) noexcept {
    guarded("dhcp4_srv_configured", [&] {
        isc::data::ConstElementPtr configuration;
        handle.getArgument("json_config", configuration);
        const auto limit = configuration ? configuration->get("parked-packet-limit") : nullptr;
        const bool has_database = configuration && configuration->contains("config-control");
        server_configured(limit ? limit->intValue() : -1, has_database);
        add_host_source();
    });
    return 0;
}

std::int32_t shim_pkt4_receive(CalloutHandle& handle) noexcept {
    guarded("pkt4_receive", [&] {
        const Callout callout(handle);
        packet_received(Packet(packet_argument(handle, "query4")), callout);
        handle.setContext(LOOKUP, callout.kept());
    });
    return 0;
}

std::int32_t shim_subnet4_select(CalloutHandle& handle) noexcept {
    guarded("subnet4_select", [&] {
        if (const auto kept = kept_lookup(handle)) {
            subnet_selected(**kept, Packet(packet_argument(handle, "query4")), Callout(handle));
        } else if (holds_reservations()) {
            subnet_selected_without_lookup(Packet(packet_argument(handle, "query4")),
                                           Callout(handle));
        }
    });
    return 0;
}

std::int32_t shim_host4_identifier(CalloutHandle& handle) noexcept {
    guarded("host4_identifier", [&] {
        if (const auto kept = kept_lookup(handle)) {
            std::vector<std::uint8_t> identifier;
            handle.getArgument("id_value", identifier);
            client_identified(**kept, {identifier.data(), identifier.size()});
        }
    });
    return 0;
}

std::int32_t shim_pkt4_send(CalloutHandle& handle) noexcept {
    guarded("pkt4_send", [&] {
        if (const auto kept = kept_lookup(handle)) {
            reply_ready(**kept, Packet(packet_argument(handle, "query4")),
                        Packet(packet_argument(handle, "response4")), Callout(handle));
        }
    });
    return 0;
}

}  // namespace remote_opts
