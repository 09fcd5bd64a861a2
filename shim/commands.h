// SPDX-License-Identifier: MPL-2.0
// The library's commands on Kea's control socket.
#pragma once

#include <hooks/library_handle.h>

namespace remote_opts {

// Has Kea hand each command of src/commands.rs to the library, until Kea unloads the library. At
// load.
void register_commands(isc::hooks::LibraryHandle& handle);

}  // namespace remote_opts
