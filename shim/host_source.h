// SPDX-License-Identifier: MPL-2.0
// The library's own host data source: Kea asks it for reservations, as it asks its host databases.
#pragma once

namespace remote_opts {

// Puts the source behind Kea's other host data sources. Kea makes its list of sources anew with
// each configuration. Main thread, while no packet is worked on.
void add_host_source();
// Ends what add_host_source began. Main thread, while no packet is worked on.
void remove_host_source();

}  // namespace remote_opts
