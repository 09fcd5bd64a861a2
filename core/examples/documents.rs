// SPDX-License-Identifier: MPL-2.0
//! `make docs`: writes what is made of the table of parameters, and of the message file, into the
//! documentation.
//!
//! Run in the project's folder. A test (core/tests/documents.rs) fails where a file differs from
//! its source.

use std::fs;

use remote_opts_core::config;

/// The page with the table of parameters, and the marks around the table.
const PAGE: &str = "docs/operating.md";
const BEGIN: &str = "<!-- parameters: begin -->";
const END: &str = "<!-- parameters: end -->";

const SCHEMA: &str = "docs/parameters.schema.json";
const MESSAGES: &str = "docs/messages.md";

fn main() {
    let page = fs::read_to_string(PAGE).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{PAGE}: no {BEGIN}"));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{PAGE}: no {END}"));
    let page_now = format!("{before}{BEGIN}\n\n{}\n{END}{after}", config::markdown());
    let schema = format!("{:#}\n", config::schema());
    let messages = remote_opts_messages::all().unwrap_or_else(|error| panic!("{error}"));
    let messages = remote_opts_messages::markdown(&messages);
    for (file, text) in [(PAGE, page_now), (SCHEMA, schema), (MESSAGES, messages)] {
        if !fs::read_to_string(file).is_ok_and(|present| present == text) {
            fs::write(file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
            println!("{file} written");
        }
    }
}
