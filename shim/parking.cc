// What a callout at subnet4_select can do with its packet: keep what it learns, park it, drop it. And Kea's
// main thread.

#include <dhcp/iface_mgr.h>
#include <util/multi_threading_mgr.h>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/shim.h"
#include "kea-hook-remote-opts/src/bridge.rs.h"

using isc::dhcp::IfaceMgr;
using isc::util::MultiThreadingMgr;

namespace remote_opts {

namespace {

// The library index under which the server itself keeps contexts, and the name of the one it reads the subnet
// from when a packet goes on that was parked at subnet4_select.
constexpr int SERVER = -1;
const char* const SUBNET4 = "subnet4";

}  // namespace

bool Callout::can_park() const { return CAN_PARK; }

void Callout::keep(rust::Box<Lookup> lookup) const {
    handle_.setContext(LOOKUP, std::make_shared<rust::Box<Lookup>>(std::move(lookup)));
}

void Callout::drop_packet() const { handle_.setStatus(CalloutHandle::NEXT_STEP_DROP); }

std::unique_ptr<Parked> Callout::park(const Packet& query) const {
    // A reference keeps the packet parked; the server has put it into the lot beforehand.
    const auto lot = handle_.getParkingLotHandlePtr();
    auto parked = std::make_unique<Parked>(lot, query.pointer());
    lot->reference(query.pointer());

    SelectedSubnet subnet;
    handle_.getArgument(SUBNET4, subnet);
    const int library = handle_.getCurrentLibrary();
    handle_.setCurrentLibrary(SERVER);
    handle_.setContext(SUBNET4, subnet);
    handle_.setCurrentLibrary(library);
    handle_.setStatus(CalloutHandle::NEXT_STEP_PARK);
    return parked;
}

Parked::Parked(const isc::hooks::ParkingLotHandlePtr& lot, const isc::dhcp::Pkt4Ptr& query)
    : lot_(lot), query_(query) {}

Parked::~Parked() {
    try {
        if (lot_) {
            lot_->drop(query_);
        }
    } catch (...) {
        // Out of memory, at most: nobody could be told.
    }
}

bool Parked::add_class(rust::Str name) const { return add_class_to(query_, name); }

void Parked::resume() {
    // Once: another library may keep the packet parked in the same lot.
    const auto lot = std::move(lot_);
    lot->unpark(query_);
}

std::size_t packet_threads() { return MultiThreadingMgr::instance().getThreadPoolSize(); }

std::size_t packet_queue_length() { return MultiThreadingMgr::instance().getThreadPool().count(); }

std::size_t packet_queue_limit() { return MultiThreadingMgr::instance().getThreadPool().getMaxQueueSize(); }

void watch_main_thread(std::int32_t descriptor) {
    IfaceMgr::instance().addExternalSocket(descriptor, [](int) { run_on_main_thread(); });
}

void unwatch_main_thread(std::int32_t descriptor) { IfaceMgr::instance().deleteExternalSocket(descriptor); }

}  // namespace remote_opts
