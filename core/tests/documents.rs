// SPDX-License-Identifier: MPL-2.0
//! What the documentation says of the parameters, held against their table. `make docs` writes it.

use std::fs;
use std::path::Path;

use remote_opts_core::config;

fn document(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn the_table_of_the_manual_is_the_table_of_the_code() {
    let (page, table) = (document("operating.md"), config::markdown());
    assert!(page.contains(&table), "run `make docs`: docs/operating.md is to have\n{table}");
}

#[test]
fn the_schema_of_the_parameters_is_made_of_the_table() {
    let (file, schema) = (document("parameters.schema.json"), config::schema());
    assert_eq!(file, format!("{schema:#}\n"), "run `make docs`");
}
