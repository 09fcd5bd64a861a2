// SPDX-License-Identifier: MPL-2.0
//! The library file that Kea loads: what it exports, what it needs, and how it is hardened.
#![allow(missing_docs)] // A program of tests exports nothing.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use remote_opts_test_support::{library, project};

/// What a tool of Debian's package binutils prints about the library.
fn inspect(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).arg(library::path()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{tool} (Debian's package binutils): {error}"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ASCII")
}

/// The tags and values of the library's dynamic section, for instance `(FLAGS_1)  Flags: NOW`.
fn dynamic() -> String {
    inspect("readelf", &["--dynamic", "--wide"])
}

/// The line of the program header `kind`.
fn program_header(kind: &str) -> String {
    let headers = inspect("readelf", &["--program-headers", "--wide"]);
    let line = headers.lines().find(|line| line.trim_start().starts_with(kind));
    line.unwrap_or_else(|| panic!("no {kind} in\n{headers}")).to_string()
}

/// The functions of src/exports.rs: what Kea looks for.
fn functions_for_kea() -> BTreeSet<String> {
    let path = project().join("src/exports.rs");
    let source = fs::read_to_string(&path).expect("src/exports.rs");
    let functions =
        source.lines().filter_map(|line| line.strip_prefix("pub extern \"C-unwind\" fn "));
    functions.filter_map(|rest| Some(rest.split_once('(')?.0.to_string())).collect()
}

#[test]
fn exports_what_kea_looks_for_and_nothing_else() {
    let expected = functions_for_kea();
    // Without these two, Kea takes no library.
    assert!(expected.contains("version") && expected.contains("load"), "{expected:?}");
    let symbols = inspect("nm", &["--dynamic", "--defined-only", "--format=posix"]);
    let names = symbols.lines().filter_map(|line| line.split_whitespace().next());
    assert_eq!(names.map(String::from).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn binds_its_own_names_inside() {
    let dynamic = dynamic();
    assert!(dynamic.contains("SYMBOLIC"), "not linked with -Bsymbolic:\n{dynamic}");
}

/// Kea's functions that one version lacks are weak: a foreign Kea can open the library although it
/// binds all names at once, and refuses it by its version.
#[test]
fn opens_without_the_functions_that_one_kea_lacks() {
    let symbols = inspect("nm", &["--dynamic", "--undefined-only", "--format=posix"]);
    let differences = fs::read_to_string(project().join("shim/differences.h")).expect("a header");
    let mut weak = 0;
    for rest in differences.lines().filter_map(|line| line.strip_prefix("__asm__(\".weak ")) {
        let (name, _) = rest.split_once('"').expect("the end of a name");
        // The library for one version does not call the functions of all versions.
        for line in symbols.lines().filter(|line| line.split_whitespace().next() == Some(name)) {
            assert_eq!(line.split_whitespace().nth(1), Some("w"), "{line}");
            weak += 1;
        }
    }
    assert!(weak > 0, "no weak function of Kea in\n{symbols}");
}

/// Full RELRO: every address that the loader resolves is read-only before Kea calls anything.
#[test]
fn is_read_only_once_it_is_opened() {
    let dynamic = dynamic();
    assert!(dynamic.contains("BIND_NOW"), "not linked with -z now:\n{dynamic}");
    program_header("GNU_RELRO");
    assert!(!dynamic.contains("TEXTREL"), "code is changed as it is loaded:\n{dynamic}");
}

#[test]
fn has_no_stack_and_no_segment_that_is_writable_and_executable() {
    let headers = inspect("readelf", &["--program-headers", "--wide"]);
    let stack = program_header("GNU_STACK");
    assert!(!stack.contains("RWE"), "an executable stack: {stack}");
    let both = headers.lines().find(|line| line.contains(" RWE "));
    assert_eq!(both, None, "writable and executable, in\n{headers}");
}

/// The loader finds what the library needs where the system has it. A folder that the library named
/// would be a place for somebody else's files.
#[test]
fn names_no_folder_for_the_libraries_that_it_needs() {
    let dynamic = dynamic();
    let path = dynamic.lines().find(|line| line.contains("RPATH") || line.contains("RUNPATH"));
    assert_eq!(path, None);
}

/// The compiler's checks are in: a buffer on the stack that was written past its end ends the
/// process, and so does a copy past the end of a buffer whose size is known.
#[test]
fn has_the_checks_of_the_compiler() {
    let symbols = inspect("nm", &["--dynamic", "--undefined-only", "--format=posix"]);
    let has = |name: &str| symbols.lines().any(|line| line.starts_with(name));
    assert!(has("__stack_chk_fail"), "no -fstack-protector-strong");
    // A check of the standard library's own calls this.
    assert!(has("_ZSt21__glibcxx_assert_fail"), "no _GLIBCXX_ASSERTIONS");
}

/// Kea's own libraries are in the process that loads the hook. The hook must not load a second
/// copy: the copy would have a state of its own.
#[test]
fn takes_kea_s_names_from_the_process_that_loads_it() {
    let dynamic = dynamic();
    let needed = dynamic.lines().filter(|line| line.contains("NEEDED")).collect::<Vec<_>>();
    assert!(!needed.is_empty(), "no NEEDED in\n{dynamic}");
    assert!(!needed.iter().any(|line| line.contains("libkea")), "{needed:#?}");
}
