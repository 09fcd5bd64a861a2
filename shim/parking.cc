// SPDX-License-Identifier: MPL-2.0
// Packets that wait in Kea's parking lot: see parking.h.

#include "kea-hook-remote-opts/shim/parking.h"

#include <hooks/callout_handle.h>

#include <utility>

#include "kea-hook-remote-opts/shim/callouts.h"
#include "kea-hook-remote-opts/shim/differences.h"

namespace remote_opts {

namespace {

// The library index under which the server itself keeps its callout contexts.
constexpr int SERVER = -1;
// The name of the argument with the subnet. The server reads a context of the same name, under its
// own index, when it goes on with a packet that was parked at subnet4_select.
const char* const SUBNET4 = "subnet4";

}  // namespace

Parked::Parked(const isc::hooks::ParkingLotHandlePtr& lot, const Packet& query)
    : lot_(lot), query_(query) {}

Parked::~Parked() {
    try {
        let_go();
    } catch (...) {
        // A destructor must not throw, and nobody could act on this failure.
    }
}

void Parked::resume() {
    // Once: another library may keep the packet in the same lot.
    if (const auto lot = std::exchange(lot_, nullptr)) {
        lot->unpark(query_.pointer());
    }
}

void Parked::let_go() {
    if (const auto lot = std::exchange(lot_, nullptr)) {
        lot->drop(query_.pointer());
    }
}

bool can_park() noexcept { return CAN_PARK; }

std::unique_ptr<Parked> park(const Callout& callout, const Packet& query) {
    auto& handle = callout.handle();
    // The server has put the packet into the lot before the callouts. A reference keeps the packet
    // there.
    const auto lot = handle.getParkingLotHandlePtr();
    auto parked = std::make_unique<Parked>(lot, query);
    lot->reference(query.pointer());

    SelectedSubnet subnet;
    handle.getArgument(SUBNET4, subnet);
    const int library = handle.getCurrentLibrary();
    handle.setCurrentLibrary(SERVER);
    handle.setContext(SUBNET4, subnet);
    handle.setCurrentLibrary(library);
    handle.setStatus(CalloutHandle::NEXT_STEP_PARK);
    return parked;
}

}  // namespace remote_opts
