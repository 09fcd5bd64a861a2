// SPDX-License-Identifier: MPL-2.0
// Kea's statistics: see statistics.h.

#include "kea-hook-remote-opts/shim/statistics.h"

#include <cc/command_interpreter.h>
#include <cc/data.h>
#include <exceptions/exceptions.h>
#include <hooks/callout_handle.h>
#include <stats/stats_mgr.h>

#include <string>

#include "kea-hook-remote-opts/shim/guarded.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::data::ConstElementPtr;
using isc::hooks::CalloutHandle;
using isc::hooks::LibraryHandle;
using isc::stats::StatsMgr;

namespace remote_opts {

namespace {

// One of Kea's own handlers of commands.
using Handler = ConstElementPtr (*)(const std::string&, const ConstElementPtr&);

// What a command by Kea's own handler says. Kea itself answers an exception of a handler so.
ConstElementPtr response(Handler handler, CalloutHandle& handle) {
    ConstElementPtr command;
    handle.getArgument("command", command);
    ConstElementPtr arguments;
    const auto name = isc::config::parseCommand(arguments, command);
    try {
        return handler(name, arguments);
    } catch (const isc::Exception& exception) {
        return isc::config::createAnswer(
            isc::config::CONTROL_RESULT_ERROR,
            std::string("Error during command processing: ") + exception.what());
    }
}

// Runs a command by Kea's own handler, with the library's statistics up to date. Without a response
// Kea says that the command has met an error, so another exception needs no response of its own.
template <Handler handler>
int run(CalloutHandle& handle) noexcept {
    guarded("a command", [&] {
        publish_statistics();
        handle.setArgument("response", response(handler, handle));
    });
    return 0;
}

}  // namespace

void add_to_statistic(rust::Str name, std::int64_t number) {
    StatsMgr::instance().addValue(std::string(name), number);
}

void set_statistic(rust::Str name, std::int64_t value) {
    StatsMgr::instance().setValue(std::string(name), value);
}

std::int64_t statistic(rust::Str name) {
    const auto observation = StatsMgr::instance().getObservation(std::string(name));
    return observation ? observation->getInteger().first : 0;
}

void remove_statistic(rust::Str name) { StatsMgr::instance().del(std::string(name)); }

void register_statistic_commands(LibraryHandle& handle) {
    handle.registerCommandCallout("statistic-get", run<StatsMgr::statisticGetHandler>);
    handle.registerCommandCallout("statistic-get-all", run<StatsMgr::statisticGetAllHandler>);
    handle.registerCommandCallout("statistic-reset", run<StatsMgr::statisticResetHandler>);
    handle.registerCommandCallout("statistic-reset-all", run<StatsMgr::statisticResetAllHandler>);
}

}  // namespace remote_opts
