// SPDX-License-Identifier: MPL-2.0
// Where exceptions of Kea's code end: nothing is thrown into Kea by a function that it calls.
#pragma once

#include <exception>

#include "kea-hook-remote-opts/src/callouts.rs.h"
#include "rust/cxx.h"

namespace remote_opts {

// Runs the body of a callout, of load or of a command, which `place` names in the log. An exception
// that Kea's code throws there is logged and ends here.
template <typename Body>
void guarded(const char* place, Body body) noexcept {
    try {
        body();
    } catch (const std::exception& exception) {
        log_exception(place, rust::String::lossy(exception.what()));
    } catch (...) {
        log_exception(place, "exception of an unknown type");
    }
}

}  // namespace remote_opts
