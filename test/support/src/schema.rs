// SPDX-License-Identifier: MPL-2.0
//! Holds docs/answer.schema.json against the library's parser of answers, and
//! docs/parameters.schema.json against its reader of parameters: schema and library must take the
//! same view of every answer and of every map of parameters.

use std::fs;
use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use remote_opts_core::{answer, config};
use serde_json::Value;

use crate::project;

/// The schema of answers.
pub const ANSWERS: &str = "docs/answer.schema.json";
/// The schema of the parameters.
const PARAMETERS: &str = "docs/parameters.schema.json";

/// Reads a JSON file of the project. `path` is relative to the project's folder. Panics when there
/// is no such file, or no JSON in it.
pub fn json_file(path: impl AsRef<Path>) -> Value {
    let file = project().join(path);
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A schema of the project, and what is needed to validate by it.
struct Schema(Schemas, SchemaIndex);

impl Schema {
    /// Reads the schema in this file.
    fn new(path: &str) -> Schema {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource(path, json_file(path)).expect("a schema");
        let index = compiler.compile(path, &mut schemas);
        Schema(schemas, index.unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn validate(&self, value: &Value) -> Result<(), String> {
        self.0.validate(value, self.1).map_err(|error| format!("{error:#}"))
    }
}

thread_local! {
    static OF_ANSWERS: Schema = Schema::new(ANSWERS);
    static OF_PARAMETERS: Schema = Schema::new(PARAMETERS);
}

/// Validates an answer against the schema. The error is what the schema has against the answer.
pub fn validate(answer: &Value) -> Result<(), String> {
    OF_ANSWERS.with(|schema| schema.validate(answer))
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

/// Returns whether the library takes these parameters. Panics when the schema and the reader of the
/// parameters disagree. All text must be ASCII: Kea hands over the bytes of other text one by one.
#[track_caller]
pub fn are_good(parameters: &Value) -> bool {
    let taken = config::parse(&parameters.to_string());
    let valid = OF_PARAMETERS.with(|schema| schema.validate(parameters));
    assert_eq!(valid.is_ok(), taken.is_ok(), "{parameters}: {valid:?}, {:?}", taken.err());
    valid.is_ok()
}
