// SPDX-License-Identifier: MPL-2.0
// A hook library for the tests. It stands before the hook in hooks-libraries and gets in the hook's
// way. Its parameters map a hook point ("pkt4_receive", "subnet4_select" or "pkt4_send") to what
// the library does there:
//   "skip", "drop"  sets this status
//   "spoil"         replaces the argument "query4" by one of another type
//   "unreadable"    adds a client identifier to the query that throws when it is read
#include <dhcp/pkt4.h>
#include <hooks/hooks.h>
#include <util/buffer.h>

#include <map>
#include <string>

namespace {
std::map<std::string, std::string> deeds;

struct Unreadable : isc::dhcp::Option {
    Unreadable()
        : Option(V4, isc::dhcp::DHO_DHCP_CLIENT_IDENTIFIER, isc::dhcp::OptionBuffer{0, 1, 2, 3}) {}

    isc::dhcp::OptionPtr clone() const override { return cloneInternal<Unreadable>(); }

    void pack(isc::util::OutputBuffer&, bool) const override {
        isc_throw(isc::Unexpected, "unreadable");
    }
};

void act(const std::string& point, isc::hooks::CalloutHandle& handle) {
    const std::string& deed = deeds[point];
    if (deed == "drop") {
        handle.setStatus(isc::hooks::CalloutHandle::NEXT_STEP_DROP);
    } else if (deed == "skip") {
        handle.setStatus(isc::hooks::CalloutHandle::NEXT_STEP_SKIP);
        if (point == "pkt4_send") {
            // Kea skips packing the response: a library that sets this status has packed it.
            isc::dhcp::Pkt4Ptr response;
            handle.getArgument("response4", response);
            response->pack();
        }
    } else if (deed == "spoil") {
        handle.setArgument("query4", std::string("no packet"));
    } else if (deed == "unreadable") {
        isc::dhcp::Pkt4Ptr query;
        handle.getArgument("query4", query);
        query->addOption(isc::dhcp::OptionPtr(new Unreadable));
    }
}
}  // namespace

extern "C" {
int version() { return KEA_HOOKS_VERSION; }

int multi_threading_compatible() { return 1; }

int load(isc::hooks::LibraryHandle& handle) {
    for (const char* point : {"pkt4_receive", "subnet4_select", "pkt4_send"}) {
        const isc::data::ConstElementPtr deed = handle.getParameter(point);
        deeds[point] = deed ? deed->stringValue() : "";
    }
    return 0;
}

int unload() { return 0; }

int pkt4_receive(isc::hooks::CalloutHandle& handle) {
    act("pkt4_receive", handle);
    return 0;
}

int subnet4_select(isc::hooks::CalloutHandle& handle) {
    act("subnet4_select", handle);
    return 0;
}

int pkt4_send(isc::hooks::CalloutHandle& handle) {
    act("pkt4_send", handle);
    return 0;
}
}
