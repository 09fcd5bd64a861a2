// SPDX-License-Identifier: MPL-2.0
// Kea's threads: see main_thread.h.

#include "kea-hook-remote-opts/shim/main_thread.h"

#include <dhcp/iface_mgr.h>
#include <util/multi_threading_mgr.h>

#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::dhcp::IfaceMgr;
using isc::util::MultiThreadingMgr;

namespace remote_opts {

namespace {

// Under this name Kea keeps who wants to know of critical sections.
const char* const NAME = "remote-opts";

}  // namespace

std::size_t packet_threads() { return MultiThreadingMgr::instance().getThreadPoolSize(); }

std::size_t packet_queue_length() { return MultiThreadingMgr::instance().getThreadPool().count(); }

std::size_t packet_queue_limit() {
    return MultiThreadingMgr::instance().getThreadPool().getMaxQueueSize();
}

void watch_main_thread(std::int32_t descriptor) {
    MultiThreadingMgr::instance().addCriticalSectionCallbacks(
        NAME, [] {}, [] { critical_section(true); }, [] { critical_section(false); });
    IfaceMgr::instance().addExternalSocket(descriptor, [](int) { main_thread_woken(); });
}

void unwatch_main_thread(std::int32_t descriptor) {
    IfaceMgr::instance().deleteExternalSocket(descriptor);
    MultiThreadingMgr::instance().removeCriticalSectionCallbacks(NAME);
}

}  // namespace remote_opts
