// SPDX-License-Identifier: MPL-2.0
//! What the documentation says of the parameters and of the log messages, held against their table
//! and the message file. `make docs` writes it.

use std::fs;
use std::path::Path;

use remote_opts_core::config;

fn document(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn the_table_of_the_manual_is_the_table_of_the_code() {
    let page = document("operating.md");
    let (_, rest) = page.split_once("<!-- parameters: begin -->\n\n").expect("the table's begin");
    let (table, _) = rest.split_once("\n<!-- parameters: end -->").expect("the table's end");
    assert_eq!(table, config::markdown(), "run `make docs`");
}

#[test]
fn the_schema_of_the_parameters_is_made_of_the_table() {
    let (file, schema) = (document("parameters.schema.json"), config::schema());
    assert_eq!(file, format!("{schema:#}\n"), "run `make docs`");
}

#[test]
fn the_list_of_messages_is_made_of_the_message_file() {
    let messages = remote_opts_messages::all().expect("the message file");
    assert_eq!(
        document("messages.md"),
        remote_opts_messages::markdown(&messages),
        "run `make docs`"
    );
}
