// SPDX-License-Identifier: MPL-2.0
// Packets that wait in Kea's parking lot of subnet4_select.
#pragma once

#include <dhcp/pkt4.h>
#include <hooks/parking_lots.h>

#include <memory>

#include "kea-hook-remote-opts/shim/packet.h"
#include "rust/cxx.h"

namespace remote_opts {

class Callout;

// A packet in the parking lot. It leaves the lot once: by resume or by let_go, on any thread.
class Parked {
  public:
    Parked(const isc::hooks::ParkingLotHandlePtr& lot, const Packet& query);
    // Lets the packet go, if an exception or a bug has lost it: a packet that stays in the lot
    // would keep a library that is unloaded in use.
    ~Parked();
    Parked(const Parked&) = delete;
    Parked& operator=(const Parked&) = delete;

    // The packet. Until it leaves the lot, and in one thread at a time.
    const Packet& query() const noexcept { return query_; }
    // Kea goes on with the packet: in a packet thread, or, without multi-threading, in this call.
    void resume();
    // Kea forgets the packet: its client gets no reply.
    void let_go();

  private:
    isc::hooks::ParkingLotHandlePtr lot_;
    Packet query_;
};

// Whether this Kea can park a packet at subnet4_select.
bool can_park() noexcept;

// Parks the packet of a callout at subnet4_select.
std::unique_ptr<Parked> park(const Callout& callout, const Packet& query);

}  // namespace remote_opts
