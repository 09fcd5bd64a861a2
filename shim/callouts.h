// SPDX-License-Identifier: MPL-2.0
// The functions that Kea calls in the library, and what a callout can do with its packet.
//
// src/exports.rs calls the shim_ functions: it exports them under the names that Kea looks for.
#pragma once

#include <hooks/callout_handle.h>
#include <hooks/library_handle.h>

#include <cstdint>
#include <memory>

#include "rust/cxx.h"

namespace remote_opts {

using isc::hooks::CalloutHandle;
using isc::hooks::LibraryHandle;

// A type of Rust: src/packet_lookup.rs.
struct PacketLookup;
// A packet's lookup, as its callout context holds it: null for a packet that is not looked up. The
// context copies its values, which a Box does not allow, hence the shared_ptr.
using KeptLookup = std::shared_ptr<rust::Box<PacketLookup>>;

// Each does what its name says in the Kea Hooks Developer's Guide. None throws.
std::int32_t shim_version() noexcept;
std::int32_t shim_load(LibraryHandle& handle) noexcept;
std::int32_t shim_unload() noexcept;
std::int32_t shim_dhcp4_srv_configured(CalloutHandle& handle) noexcept;
std::int32_t shim_pkt4_receive(CalloutHandle& handle) noexcept;
std::int32_t shim_subnet4_select(CalloutHandle& handle) noexcept;
std::int32_t shim_host4_identifier(CalloutHandle& handle) noexcept;
std::int32_t shim_pkt4_send(CalloutHandle& handle) noexcept;

// One call of a callout. Lives no longer than the call.
class Callout {
  public:
    explicit Callout(CalloutHandle& handle) : handle_(handle) {}

    // Has pkt4_receive keep the lookup in the packet's callout context, for the later callouts.
    void keep(rust::Box<PacketLookup> lookup) const;
    // Kea drops the packet when the callouts of this hook point have ended.
    void drop_packet() const;
    // What a library that Kea called before has settled.
    bool is_dropped() const;
    bool is_skipped() const;
    // The number of the packet's subnet, 0 where Kea has found none. At subnet4_select.
    std::uint32_t subnet_id() const;

    // For the shim.
    CalloutHandle& handle() const { return handle_; }
    const KeptLookup& kept() const { return kept_; }

  private:
    CalloutHandle& handle_;
    // The bridge to Rust calls keep() on a const reference.
    mutable KeptLookup kept_;
};

}  // namespace remote_opts
