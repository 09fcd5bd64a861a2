// SPDX-License-Identifier: MPL-2.0
//! The hook library that tests, demo and benchmark give to Kea.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::project;

/// The path of the library.
///
/// The environment variable `REMOPTS_LIBRARY` names a library that exists already. Without the
/// variable, the first call builds the library by the command of `make build`, so that a test never
/// runs an old file, and every program runs the same file. Cargo does nothing where the library is
/// up to date.
///
/// Panics when the library cannot be built: no test makes sense without it.
pub fn path() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| match env::var_os("REMOPTS_LIBRARY") {
        Some(path) => path.into(),
        None => build().unwrap_or_else(|error| panic!("the hook library: {error:#}")),
    })
}

/// Builds the library, and returns its path.
fn build() -> Result<PathBuf> {
    // `cargo test` and `cargo run` name the Cargo that runs them.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new("make")
        .current_dir(project())
        .args(["--silent", "library"])
        .env("CARGO", cargo)
        .env("CARGO_TERM_QUIET", "true")
        // Errors of the compiler are shown as they come.
        .stderr(Stdio::inherit())
        .output()
        .context("make")?;
    ensure!(output.status.success(), "make library ended with {}", output.status);
    Ok(project().join("target/release/libremote_opts.so"))
}

/// Builds a hook library of one C++ file, with g++ and Kea's headers (`KEA_INCLUDE_DIR` names their
/// folder), and returns its path: the name of `source` with another ending, in the folder `into`.
/// The error says what is missing. Processes may build the same library at the same time.
pub fn of_source(source: &Path, into: &Path) -> Result<PathBuf> {
    let headers = env::var_os("KEA_INCLUDE_DIR").unwrap_or_else(|| "/usr/include/kea".into());
    let name = source.file_stem().context("a C++ file")?;
    let library = into.join(name).with_extension("so");
    // The file gets its name when it is complete.
    let unfinished = library.with_extension(std::process::id().to_string());
    let status = Command::new("g++")
        .args(["-O2", "-shared", "-fPIC", "-x", "c++", "-", "-o"])
        .arg(&unfinished)
        .arg("-I")
        .arg(headers)
        .stdin(File::open(source).with_context(|| source.display().to_string())?)
        .status()
        .context("g++, which is in Debian's package g++")?;
    ensure!(status.success(), "Kea's headers are in Debian's package kea-dev");
    fs::rename(unfinished, &library)?;
    Ok(library)
}
