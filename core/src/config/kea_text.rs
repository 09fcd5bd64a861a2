// SPDX-License-Identifier: MPL-2.0
//! The bytes of Kea's `Element::str()`: the JSON text in which Kea hands over the parameters, and
//! the arguments of commands.

use serde_json::Value;

/// The bytes of a string of Kea's configuration. A string in Kea is bytes, and `Element::str()`
/// writes each byte from 0x7f on as one `\u00XX`, whatever character the byte is a part of. So
/// every `char` here is one byte.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .flat_map(|char| match u8::try_from(char) {
            Ok(byte) => vec![byte],
            // Not from `Element::str()`: keep the character.
            Err(_) => char.to_string().into_bytes(),
        })
        .collect()
}

/// A string of Kea's configuration as UTF-8, `None` where its bytes are not.
pub fn utf8(text: &str) -> Option<String> {
    String::from_utf8(bytes(text)).ok()
}

/// A value with all its strings as UTF-8. `None` where the bytes of a string are not. The names of
/// maps stay as they are: Kea writes them so.
pub fn decoded(value: Value) -> Option<Value> {
    Some(match value {
        Value::String(text) => utf8(&text)?.into(),
        Value::Array(items) => items.into_iter().map(decoded).collect::<Option<Vec<_>>>()?.into(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| Some((name, decoded(value)?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
        value => value,
    })
}

/// A value as an error shows it: as JSON, text as it stands in the configuration.
pub fn shown(value: &Value) -> String {
    match value.as_str() {
        // The names of a map are no bytes in Kea 2.2, which leaves them as they are.
        Some(text) => Value::from(utf8(text).unwrap_or_else(|| text.to_owned())).to_string(),
        None => value.to_string(),
    }
}
