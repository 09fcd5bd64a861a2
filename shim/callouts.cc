// Load, unload and the callouts: they fetch their arguments from Kea and hand them to Rust.

#include <cc/data.h>
#include <hooks/hooks.h>

#include <exception>
#include <memory>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/shim.h"
#include "kea-hook-remote-opts/src/bridge.rs.h"

using isc::dhcp::Pkt4Ptr;
using isc::hooks::NoSuchCalloutContext;

namespace remote_opts {

namespace {

// Runs the body of a callout, or of load; what Kea's code throws in it is logged.
template <typename Body>
void guarded(const char* callout, Body body) noexcept {
    try {
        body();
    } catch (const std::exception& exception) {
        log_exception(callout, rust::String::lossy(exception.what()));
    } catch (...) {
        log_exception(callout, "of an unknown type");
    }
}

// Whether a library listed earlier has said what is to become of the packet.
bool settled_earlier(const CalloutHandle& handle) {
    const auto status = handle.getStatus();
    return status == CalloutHandle::NEXT_STEP_DROP || status == CalloutHandle::NEXT_STEP_SKIP;
}

Pkt4Ptr packet_argument(const CalloutHandle& handle, const char* name) {
    Pkt4Ptr packet;
    handle.getArgument(name, packet);
    if (!packet) {
        isc_throw(isc::BadValue, "argument " << name << " is null");
    }
    return packet;
}

// The packet's lookup, null where there is none. (Kea throws where nothing was kept, which is slow: no packet
// that gets a reply comes without having passed subnet4_select.)
LookupPtr lookup(const CalloutHandle& handle) {
    try {
        LookupPtr lookup;
        handle.getContext(LOOKUP, lookup);
        return lookup;
    } catch (const NoSuchCalloutContext&) {
        return nullptr;
    }
}

}  // namespace

std::int32_t shim_version() noexcept { return KEA_HOOKS_VERSION; }

std::int32_t shim_load(LibraryHandle& handle) noexcept {
    bool loaded = false;
    guarded("load", [&] {
        const auto parameters = handle.getParameters();
        loaded = configure(parameters ? parameters->str() : "");
    });
    return loaded ? 0 : 1;
}

std::int32_t shim_unload() noexcept {
    release();
    return 0;
}

std::int32_t shim_dhcp4_srv_configured(CalloutHandle& handle) noexcept {
    guarded("dhcp4_srv_configured", [&] {
        isc::data::ConstElementPtr configuration;
        handle.getArgument("json_config", configuration);
        const auto limit = configuration ? configuration->get("parked-packet-limit") : nullptr;
        configured(limit ? limit->intValue() : -1);
    });
    return 0;
}

std::int32_t shim_subnet4_select(CalloutHandle& handle) noexcept {
    guarded("subnet4_select", [&] {
        handle.setContext(LOOKUP, LookupPtr());
        // Kea drops a packet that has no subnet.
        SelectedSubnet subnet;
        if (!settled_earlier(handle)) {
            handle.getArgument("subnet4", subnet);
        }
        if (subnet) {
            look_up(Packet(packet_argument(handle, "query4")), Callout(handle));
        }
    });
    return 0;
}

std::int32_t shim_pkt4_send(CalloutHandle& handle) noexcept {
    guarded("pkt4_send", [&] {
        const auto found = lookup(handle);
        if (found && !settled_earlier(handle)) {
            write_overrides(**found, Packet(packet_argument(handle, "query4")),
                            Packet(packet_argument(handle, "response4")));
        }
    });
    return 0;
}

}  // namespace remote_opts
