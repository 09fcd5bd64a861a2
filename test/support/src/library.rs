// SPDX-License-Identifier: MPL-2.0
//! The hook library that tests, demo and benchmark give to Kea.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

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

/// Builds the library, and returns the path that Cargo reports.
fn build() -> Result<PathBuf> {
    // `cargo test` and `cargo run` name the Cargo that runs them.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(project())
        .args(["build", "--locked", "--release", "--package", "kea-hook-remote-opts"])
        // Errors of the compiler go to standard error, the names of files to standard output.
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(output.status.success(), "cargo build ended with {}", output.status);
    let messages = String::from_utf8(output.stdout)?;
    let files = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["name"] == "remote_opts");
    let mut library = files.filter_map(|mut message| match message["filenames"][0].take() {
        Value::String(file) if file.ends_with(".so") => Some(PathBuf::from(file)),
        _ => None,
    });
    library.next().context("cargo build names no libremote_opts.so")
}
