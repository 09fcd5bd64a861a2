// SPDX-License-Identifier: MPL-2.0
// Kea's threads: the main thread, which can be woken by a descriptor, and the packet threads with
// their queue.
#pragma once

#include <cstddef>
#include <cstdint>

namespace remote_opts {

// How many packet threads Kea has; 0 without multi-threading.
std::size_t packet_threads();
// How many packets wait for the packet threads.
std::size_t packet_queue_length();
// How many packets the queue takes; 0: any number.
std::size_t packet_queue_limit();

// Kea's main thread calls main_thread_woken() of src/callouts.rs whenever the descriptor can be
// read, and critical_section() there at each begin and end of a critical section, until
// unwatch_main_thread. Kea forgets who wants to know of critical sections when it begins to load
// another configuration, or ends: always in a critical section.
void watch_main_thread(std::int32_t descriptor);
void unwatch_main_thread(std::int32_t descriptor);

}  // namespace remote_opts
