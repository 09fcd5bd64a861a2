// SPDX-License-Identifier: MPL-2.0
//! The library file that Kea loads: what it exports, and what it needs.
#![allow(missing_docs)] // A program of tests exports nothing.

use std::collections::BTreeSet;
use std::process::Command;

use remote_opts_test_support::library;

/// The functions that Kea looks for.
const EXPORTS: [&str; 8] = [
    "dhcp4_srv_configured",
    "load",
    "multi_threading_compatible",
    "pkt4_receive",
    "pkt4_send",
    "subnet4_select",
    "unload",
    "version",
];

/// What a tool of Debian's package binutils prints about the library.
fn inspect(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).arg(library::path()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{tool} (Debian's package binutils): {error}"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ASCII")
}

#[test]
fn exports_what_kea_looks_for_and_nothing_else_of_ours() {
    let symbols = inspect("nm", &["--dynamic", "--defined-only", "--format=posix"]);
    let names = symbols.lines().filter_map(|line| line.split_whitespace().next());
    // The names that cxx exports cannot be hidden.
    let ours = names.filter(|name| !name.contains("cxxbridge1")).collect::<BTreeSet<_>>();
    assert_eq!(ours, BTreeSet::from(EXPORTS));
}

#[test]
fn binds_its_own_names_inside() {
    let dynamic = inspect("readelf", &["--dynamic", "--wide"]);
    assert!(dynamic.contains("SYMBOLIC"), "not linked with -Bsymbolic:\n{dynamic}");
}

/// Kea's own libraries are in the process that loads the hook. The hook must not load a second
/// copy: the copy would have a state of its own.
#[test]
fn takes_kea_s_names_from_the_process_that_loads_it() {
    let dynamic = inspect("readelf", &["--dynamic", "--wide"]);
    let needed = dynamic.lines().filter(|line| line.contains("NEEDED")).collect::<Vec<_>>();
    assert!(!needed.is_empty(), "no NEEDED in\n{dynamic}");
    assert!(!needed.iter().any(|line| line.contains("libkea")), "{needed:#?}");
}
