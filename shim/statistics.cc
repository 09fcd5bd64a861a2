// Kea's statistics.

#include <stats/stats_mgr.h>

#include <string>

#include "kea-hook-remote-opts/shim/shim.h"

namespace remote_opts {

void add_to_statistic(rust::Str name, std::int64_t number) {
    isc::stats::StatsMgr::instance().addValue(std::string(name), number);
}

}  // namespace remote_opts
