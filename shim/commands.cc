// SPDX-License-Identifier: MPL-2.0
// The library's commands: see commands.h.

#include "kea-hook-remote-opts/shim/commands.h"

#include <cc/data.h>
#include <hooks/callout_handle.h>

#include <string>

#include "kea-hook-remote-opts/shim/guarded.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::hooks::CalloutHandle;
using isc::hooks::LibraryHandle;

namespace remote_opts {

namespace {

ConstElementPtr response(CalloutHandle& handle) {
    ConstElementPtr command;
    handle.getArgument("command", command);
    const auto text = run_command(rust::String::lossy(command ? command->str() : ""));
    return Element::fromJSON(std::string(text));
}

// Kea calls it for each command of the library. Without a response Kea says that the command has
// met an error, so an exception needs no response of its own.
int run(CalloutHandle& handle) noexcept {
    guarded("a command", [&] { handle.setArgument("response", response(handle)); });
    return 0;
}

}  // namespace

void register_commands(LibraryHandle& handle) {
    for (const auto& name : command_names()) {
        handle.registerCommandCallout(std::string(name), run);
    }
}

}  // namespace remote_opts
