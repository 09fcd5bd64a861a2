// SPDX-License-Identifier: MPL-2.0
// How an exception of C++ becomes an error of Rust. Both bridges (src/ffi.rs and src/callouts.rs)
// include this header first: the code that cxx generates calls trycatch for each function that is a
// `Result` in Rust.
#pragma once

#include <exception>

namespace rust::behavior {

// cxx has a trycatch of its own, which catches std::exception alone. Kea and its libraries may
// throw other types, and an exception that reaches Rust ends the process.
template <typename Try, typename Fail>
static void trycatch(Try&& attempt, Fail&& fail) noexcept try {
    attempt();
} catch (const std::exception& exception) {
    fail(exception.what());
} catch (...) {
    fail("exception of an unknown type");
}

}  // namespace rust::behavior
