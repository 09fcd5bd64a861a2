//! The functions that Kea looks for in a hook library, under the names that it looks for.
//!
//! They are Rust functions because the linker hides the C++ symbols of a cdylib. Each hands its argument to the
//! shim, which catches whatever Kea's code throws. Kea calls them as C functions: `load` and `unload` from the
//! main thread, callouts from any packet thread.

#![allow(unsafe_code)] // for `no_mangle` alone

use std::ffi::c_int;
use std::pin::Pin;

use crate::bridge::{self, CalloutHandle, LibraryHandle};

// SAFETY of every `no_mangle` here: the names are those that Kea's hooks API prescribes (Kea Hooks Developer's Guide,
// "Framework Functions"), the library exports nothing else under a name of its own, and it is linked with
// -Bsymbolic. A C++ reference is passed as a pointer that is never null, like `Pin<&mut _>`.

/// The version of Kea's hooks API that the library was built for; Kea refuses any but its own.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn version() -> c_int {
    bridge::shim_version()
}

/// 1: callouts may run in several threads at once. Without it Kea refuses the library when multi-threading is on.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn multi_threading_compatible() -> c_int {
    1
}

/// Reads the parameters and sets the hook up; 0 on success, else Kea refuses the configuration.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn load(handle: Pin<&mut LibraryHandle>) -> c_int {
    bridge::shim_load(handle)
}

/// Lets go of all that `load` set up; always 0.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn unload() -> c_int {
    bridge::shim_unload()
}

/// Callout: the configuration is in force. Reads from it how many packets may be parked.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn dhcp4_srv_configured(handle: Pin<&mut CalloutHandle>) -> c_int {
    bridge::shim_dhcp4_srv_configured(handle)
}

/// Callout: the query's subnet is selected. Looks the client up, if the filter admits it; where it has to wait for the answer, the packet is parked
/// if this Kea can do that here.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn subnet4_select(handle: Pin<&mut CalloutHandle>) -> c_int {
    bridge::shim_subnet4_select(handle)
}

/// Callout: a response is ready to be packed and sent. Writes the answer into it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pkt4_send(handle: Pin<&mut CalloutHandle>) -> c_int {
    bridge::shim_pkt4_send(handle)
}
