// SPDX-License-Identifier: MPL-2.0
//! The functions that Kea looks for in a hook library, under the names that Kea looks for.
//!
//! They are functions of Rust, because the linker hides the C++ symbols of a cdylib. Each hands its
//! argument to the shim, which catches what Kea's code throws. Kea calls `load`, `unload` and
//! `dhcp4_srv_configured` on its main thread, and the other callouts on any packet thread.

#![allow(unsafe_code)] // for `no_mangle` alone

use std::ffi::c_int;
use std::pin::Pin;

use crate::ffi::{self, CalloutHandle, LibraryHandle};

// SAFETY of every `no_mangle` here: Kea's hooks API prescribes the names (Kea Hooks Developer's
// Guide, "Framework Functions" and "Callouts"), the library exports nothing else under a name of
// its own, and it is linked with -Bsymbolic. Kea passes a C++ reference: a pointer that is never
// null, as `Pin<&mut _>` is.

/// The version of Kea's hooks API that the library was built for. Kea refuses every version but its
/// own.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn version() -> c_int {
    ffi::shim_version()
}

/// 1: several threads may call callouts at once. Without it Kea refuses the library when
/// multi-threading is on.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn multi_threading_compatible() -> c_int {
    1
}

/// Reads the parameters and sets the library up. 0 is success; for anything else Kea refuses the
/// configuration.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn load(handle: Pin<&mut LibraryHandle>) -> c_int {
    ffi::shim_load(handle)
}

/// Ends all that `load` set up. Always 0.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn unload() -> c_int {
    ffi::shim_unload()
}

/// Callout: the configuration is in force. Reads from it how many packets may be parked.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn dhcp4_srv_configured(handle: Pin<&mut CalloutHandle>) -> c_int {
    ffi::shim_dhcp4_srv_configured(handle)
}

/// Callout: a query has arrived and has its client classes. Decides whether its client is looked
/// up, and makes the request.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pkt4_receive(handle: Pin<&mut CalloutHandle>) -> c_int {
    ffi::shim_pkt4_receive(handle)
}

/// Callout: Kea has selected the query's subnet. Finds the answer. Where a service must be asked,
/// the packet is parked if this Kea can park it here, else its thread waits.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn subnet4_select(handle: Pin<&mut CalloutHandle>) -> c_int {
    ffi::shim_subnet4_select(handle)
}

/// Callout: another library may make an identifier of the query, by which Kea looks for
/// reservations. Reads the identifier.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn host4_identifier(handle: Pin<&mut CalloutHandle>) -> c_int {
    ffi::shim_host4_identifier(handle)
}

/// Callout: a reply is ready to be sent. Writes the answer into it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pkt4_send(handle: Pin<&mut CalloutHandle>) -> c_int {
    ffi::shim_pkt4_send(handle)
}
