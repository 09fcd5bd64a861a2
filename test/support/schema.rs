//! docs/answer.schema.json, held against the parser of the library.

use std::fs;
use std::path::Path;

use boon::{Compiler, Schemas};
use serde_json::Value;

/// The parser alone, from its source: linked with the whole library, a program would need Kea's libraries, too.
#[path = "../../src/answer.rs"]
mod answer;

const SCHEMA: &str = "docs/answer.schema.json";

/// A JSON file of the project, by its path.
pub fn json_file(path: impl AsRef<Path>) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What the schema has against an answer.
pub fn validate(answer: &Value) -> Result<(), String> {
    thread_local! {
        static SCHEMA_OF_ANSWERS: (Schemas, boon::SchemaIndex) = {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource(SCHEMA, json_file(SCHEMA)).expect("a schema");
            let index = compiler.compile(SCHEMA, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
            (schemas, index)
        };
    }
    SCHEMA_OF_ANSWERS
        .with(|(schemas, index)| schemas.validate(answer, *index).map_err(|error| format!("{error:#}")))
}

/// Panics unless the schema and the parser take the same view of an answer, which this tells.
#[track_caller]
pub fn is_good(answer: &Value) -> bool {
    let parsed = answer::parse(answer.to_string().as_bytes()).expect("an answer");
    let valid = validate(answer);
    assert_eq!(valid.is_ok(), parsed.refused.is_empty(), "{answer}: {valid:?}, {:?}", parsed.refused);
    valid.is_ok()
}
