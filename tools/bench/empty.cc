// SPDX-License-Identifier: MPL-2.0
// A hook library that does nothing at the hook points of the library that is measured: what Kea
// itself spends on callouts. No library at these points can cost less.

#include <hooks/hooks.h>

extern "C" {
int version() { return KEA_HOOKS_VERSION; }

int multi_threading_compatible() { return 1; }

int load(isc::hooks::LibraryHandle&) { return 0; }

int unload() { return 0; }

int pkt4_receive(isc::hooks::CalloutHandle&) { return 0; }

int subnet4_select(isc::hooks::CalloutHandle&) { return 0; }

int host4_identifier(isc::hooks::CalloutHandle&) { return 0; }

int pkt4_send(isc::hooks::CalloutHandle&) { return 0; }
}
