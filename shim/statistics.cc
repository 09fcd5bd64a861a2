// SPDX-License-Identifier: MPL-2.0
// Kea's statistics: see statistics.h.

#include "kea-hook-remote-opts/shim/statistics.h"

#include <stats/stats_mgr.h>

#include <string>

namespace remote_opts {

void add_to_statistic(rust::Str name, std::int64_t number) {
    isc::stats::StatsMgr::instance().addValue(std::string(name), number);
}

}  // namespace remote_opts
