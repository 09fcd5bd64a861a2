// SPDX-License-Identifier: MPL-2.0
//! Compiles the C++ side of the bridge, and links Kea's libraries.

/// The libraries whose symbols the library takes from the server that loads it.
const LIBRARIES: [&str; 11] = [
    "kea-dhcpsrv",
    "kea-dhcp++",
    "kea-eval",
    "kea-asiolink",
    "kea-hooks",
    "kea-stats",
    "kea-cfgclient",
    "kea-cc",
    "kea-util",
    "kea-log",
    "kea-exceptions",
];

fn main() {
    let mut bridge = cxx_build::bridge("src/lib.rs");
    bridge.file("src/kea.cc").std("c++17").flag("-isystem/usr/include/kea");
    // Behind Kea's own headers, as for the library.
    bridge.flag("-isystem../../shim/stand-ins").compile("fuzz_kea");
    for file in ["src/lib.rs", "src/kea.cc", "src/kea.h"] {
        println!("cargo:rerun-if-changed={file}");
    }
    // The library finds the functions of Kea, of the sanitizer and of libFuzzer in the program.
    println!("cargo:rustc-link-arg-bins=-rdynamic");
    println!("cargo:rustc-link-arg-bins=-Wl,--no-as-needed");
    for library in LIBRARIES {
        println!("cargo:rustc-link-arg-bins=-l{library}");
    }
}
