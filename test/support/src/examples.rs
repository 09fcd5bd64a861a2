// SPDX-License-Identifier: MPL-2.0
//! The configurations under examples/, for the tests and for the demo with real firmware.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::project;

/// The `Dhcp4` map of an example's kea-dhcp4.conf. `name` is the example's folder.
pub fn dhcp4(name: &str) -> Result<Value> {
    let file = project().join("examples").join(name).join("kea-dhcp4.conf");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    // Without its comment lines the file is JSON.
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut configuration: Value =
        serde_json::from_str(&lines.join("\n")).with_context(|| file.display().to_string())?;
    Ok(configuration["Dhcp4"].take())
}
