// SPDX-License-Identifier: MPL-2.0
//! The table of parameters as documentation: Markdown for docs/operating.md, and the JSON Schema
//! docs/parameters.schema.json. `make docs` writes both; a test holds the files to the table.

use serde_json::{Map, Value, json};

use super::parameter::{PARAMETERS, Parameter, Takes};

/// The table of docs/operating.md.
pub fn markdown() -> String {
    let mut table = String::from("| name | meaning | takes | default |\n|---|---|---|---|\n");
    for parameter in PARAMETERS {
        let alias = parameter.alias.map(|alias| format!(", or `{alias}`")).unwrap_or_default();
        let default = match parameter.default() {
            Some(default) => format!("`{default}`"),
            None if is_required(parameter) => "required".to_owned(),
            None => "–".to_owned(),
        };
        table.push_str(&format!(
            "| `{}`{alias} | {} | {} | {default} |\n",
            parameter.name,
            parameter.meaning,
            parameter.accepted()
        ));
    }
    table
}

/// The JSON Schema of the parameters.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for parameter in PARAMETERS {
        properties.insert(parameter.name.to_owned(), property(parameter));
        if let Some(alias) = parameter.alias {
            let mut other = property(parameter);
            other["description"] = json!(format!("The same as \"{}\".", parameter.name));
            properties.insert(alias.to_owned(), other);
        }
    }
    let required: Vec<_> = PARAMETERS
        .iter()
        .filter(|parameter| is_required(parameter))
        .map(|parameter| parameter.name)
        .collect();
    let twice: Vec<_> = PARAMETERS
        .iter()
        .filter_map(|parameter| Some(json!({ "required": [parameter.name, parameter.alias?] })))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parameters of the remote-opts hook library for Kea",
        "description": "The map \"parameters\" of the library's entry in \"hooks-libraries\". A \
                        configuration may write _ for - in each name.",
        "type": "object",
        "properties": properties,
        "required": required,
        // One parameter, of which the library refuses a second value.
        "not": { "anyOf": twice },
        "dependentRequired": { "cert-file": ["key-file"], "key-file": ["cert-file"] },
        "additionalProperties": false,
    })
}

fn is_required(parameter: &Parameter) -> bool {
    matches!(parameter.takes, Takes::Urls { .. })
}

/// The schema of one parameter's value.
fn property(parameter: &Parameter) -> Value {
    let mut schema = match &parameter.takes {
        Takes::Urls { most } => {
            // A scheme and the beginning of a host.
            let pattern = "^[Hh][Tt][Tt][Pp][Ss]?:[\\\\/]*[^\\\\/?#:]";
            let url = json!({ "type": "string", "pattern": pattern });
            let list = json!({
                "type": "array", "items": url, "minItems": 1, "maxItems": most, "uniqueItems": true
            });
            json!({ "anyOf": [url, list] })
        }
        Takes::Texts { most, pattern } => {
            let mut text = json!({ "type": "string", "minLength": 1 });
            if let Some(pattern) = pattern {
                text["pattern"] = json!(pattern);
            }
            let list = json!({ "type": "array", "items": text, "minItems": 1, "maxItems": most });
            json!({ "anyOf": [text, list] })
        }
        Takes::Expression | Takes::File(_) => json!({ "type": "string", "minLength": 1 }),
        Takes::Expressions => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9._-]+$" },
            "additionalProperties": { "type": "string", "minLength": 1 },
        }),
        Takes::Headers => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" },
            // No control characters but the tab (RFC 9110, section 5.5).
            "additionalProperties": {
                "type": "string", "pattern": "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*$"
            },
        }),
        Takes::Number { range, .. } => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Takes::Choice(words) => json!({ "enum": words }),
        Takes::Flag => json!({ "type": "boolean" }),
    };
    schema["description"] = json!(format!("{}.", capitalized(parameter.meaning)));
    if let Some(default) = parameter.default() {
        let default = serde_json::from_str(&default);
        schema["default"] = default.expect("a default of the table is JSON");
    }
    schema
}

/// The text with an upper-case first letter, unless it begins with code.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}
