// SPDX-License-Identifier: MPL-2.0
//! Holds docs/answer.schema.json against the library's parser of answers: the two must take the
//! same view of every answer.

use std::fs;
use std::path::Path;

use boon::{Compiler, Schemas};
use remote_opts_core::answer;
use serde_json::Value;

use crate::project;

const SCHEMA: &str = "docs/answer.schema.json";

/// Reads a JSON file of the project. `path` is relative to the project's folder. Panics when there
/// is no such file, or no JSON in it.
pub fn json_file(path: impl AsRef<Path>) -> Value {
    let file = project().join(path);
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Validates an answer against the schema. The error is what the schema has against the answer.
pub fn validate(answer: &Value) -> Result<(), String> {
    thread_local! {
        static SCHEMA_OF_ANSWERS: (Schemas, boon::SchemaIndex) = {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource(SCHEMA, json_file(SCHEMA)).expect("a schema");
            let index = compiler.compile(SCHEMA, &mut schemas);
            (schemas, index.unwrap_or_else(|error| panic!("{error:#}")))
        };
    }
    SCHEMA_OF_ANSWERS.with(|(schemas, index)| {
        schemas.validate(answer, *index).map_err(|error| format!("{error:#}"))
    })
}

/// Returns whether an answer is good as a whole. Panics when the schema and the parser disagree.
#[track_caller]
pub fn is_good(answer: &Value) -> bool {
    let parsed = answer::parse(answer.to_string().as_bytes()).expect("an answer");
    let valid = validate(answer);
    assert_eq!(
        valid.is_ok(),
        parsed.refused.is_empty(),
        "{answer}: {valid:?}, {:?}",
        parsed.refused
    );
    valid.is_ok()
}
