// SPDX-License-Identifier: MPL-2.0
//! The parameters that a configuration gives, and the readers of their values. A value that is read
//! is taken; a parameter that nobody takes is unknown.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::slice;

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::kea_text;
use super::parameter::{PARAMETERS, Parameter, Takes};

/// The parameters not taken yet: name → (spelling in the configuration, value).
pub struct Given(BTreeMap<String, (String, Value)>);

impl Given {
    /// Reads the JSON text that Kea's `Element::str()` makes of the parameters. An empty text
    /// stands for no parameters.
    pub fn read(json: &str) -> Result<Self, ConfigError> {
        let parameters = match serde_json::from_str(json) {
            _ if json.is_empty() => Map::new(),
            Ok(Value::Object(parameters)) => parameters,
            _ => return Err(ConfigError::NotAMap),
        };
        let mut given = BTreeMap::new();
        for (spelling, value) in parameters {
            let name = name_of(&spelling);
            if let Some((other, _)) = given.insert(name, (spelling.clone(), value)) {
                return Err(ConfigError::Twice(spelling, other));
            }
        }
        Ok(Given(given))
    }

    /// Takes the value of a parameter.
    pub fn take(&mut self, parameter: &Parameter) -> Option<Value> {
        self.0.remove(parameter.name).map(|(_, value)| value)
    }

    /// Takes text that is not empty, as bytes.
    pub fn bytes(&mut self, parameter: &Parameter) -> Result<Option<Vec<u8>>, ConfigError> {
        let Some(value) = self.take(parameter) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) if !text.is_empty() => Ok(Some(kea_text::bytes(text))),
            _ => Err(refused(parameter, &value)),
        }
    }

    /// Takes text that is not empty, or a list of such texts, as bytes. Empty without the parameter.
    pub fn texts(&mut self, parameter: &Parameter) -> Result<Vec<Vec<u8>>, ConfigError> {
        let Takes::Texts { most, .. } = parameter.takes else {
            unreachable!("{} takes no texts", parameter.name);
        };
        let Some(value) = self.take(parameter) else {
            return Ok(Vec::new());
        };
        let list = match &value {
            Value::Array(list) if (1..=most).contains(&list.len()) => list.as_slice(),
            Value::Array(list) => {
                let shown = format!("a list of {}", list.len());
                return Err(ConfigError::refused(parameter, shown, ""));
            }
            one => slice::from_ref(one),
        };
        let bytes = |value: &Value| match value.as_str() {
            Some(text) if !text.is_empty() => Ok(kea_text::bytes(text)),
            _ => Err(refused(parameter, value)),
        };
        list.iter().map(bytes).collect()
    }

    /// Takes the text of an expression.
    pub fn expression(&mut self, parameter: &Parameter) -> Result<Option<String>, ConfigError> {
        let bytes = self.bytes(parameter)?;
        // Bytes that are not UTF-8 are no expression: Kea's parser will say so.
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Takes the path of a file.
    pub fn path(&mut self, parameter: &Parameter) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.bytes(parameter)?.map(|bytes| OsString::from_vec(bytes).into()))
    }

    /// Takes a whole number, or its default.
    pub fn number(&mut self, parameter: &'static Parameter) -> Result<u64, ConfigError> {
        let Takes::Number { range, default, .. } = &parameter.takes else {
            unreachable!("{} takes no number", parameter.name);
        };
        let Some(value) = self.take(parameter) else {
            return Ok(*default);
        };
        let number = value.as_u64().filter(|number| range.contains(number));
        number.ok_or_else(|| refused(parameter, &value))
    }

    /// Takes true or false.
    pub fn flag(&mut self, parameter: &Parameter) -> Result<bool, ConfigError> {
        let Some(value) = self.take(parameter) else {
            return Ok(false);
        };
        value.as_bool().ok_or_else(|| refused(parameter, &value))
    }

    /// Takes one of the parameter's words, or the first of them.
    pub fn choice(&mut self, parameter: &'static Parameter) -> Result<&'static str, ConfigError> {
        let Takes::Choice(words) = parameter.takes else {
            unreachable!("{} takes no word", parameter.name);
        };
        let Some(value) = self.take(parameter) else {
            return Ok(words[0]);
        };
        let word = words.iter().find(|word| value.as_str() == Some(word));
        word.copied().ok_or_else(|| refused(parameter, &value))
    }

    /// Fails when a parameter is left that nobody has taken.
    pub fn all_taken(self) -> Result<(), ConfigError> {
        match self.0.into_values().next() {
            Some((spelling, _)) => Err(ConfigError::Unknown(spelling)),
            None => Ok(()),
        }
    }
}

/// The parameter's name in the table for a spelling of the configuration.
fn name_of(spelling: &str) -> String {
    let name = spelling.replace('_', "-");
    let known = PARAMETERS.iter().find(|parameter| parameter.alias == Some(&name));
    known.map_or(name, |parameter| parameter.name.to_owned())
}

/// The parameter cannot have this value.
fn refused(parameter: &Parameter, value: &Value) -> ConfigError {
    ConfigError::refused(parameter, kea_text::shown(value), "")
}
