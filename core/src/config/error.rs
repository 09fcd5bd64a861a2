// SPDX-License-Identifier: MPL-2.0
//! Why a configuration cannot work.

use std::fmt::Display;

use thiserror::Error;

use super::parameter::{Parameter, names};

/// Why a configuration cannot work. The text names the parameter, its value, and what is accepted.
/// It never holds a header's value, a token or a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A required parameter is not there.
    #[error("parameter \"{name}\" is missing: it takes {accepted}")]
    Missing {
        /// The parameter.
        name: &'static str,
        /// What the parameter takes.
        accepted: String,
    },
    /// A value has a wrong type, or cannot work.
    #[error("parameter \"{name}\" cannot be {value}{why}: it takes {accepted}")]
    NotAccepted {
        /// The parameter.
        name: &'static str,
        /// The parameter's value, as JSON.
        value: String,
        /// What is wrong with the value, where that is not plain. It begins with a space.
        why: String,
        /// What the parameter takes.
        accepted: String,
    },
    /// A text is not an expression of Kea's.
    #[error(
        "parameter \"{name}\" is no expression of Kea's, as a client class has it: {why}: {text:?}"
    )]
    Expression {
        /// The parameter.
        name: String,
        /// The parameter's value.
        text: String,
        /// What Kea says.
        why: String,
    },
    /// The library has no parameter of this name.
    #[error("parameter {0:?} is unknown: the library takes {names}", names = names())]
    Unknown(String),
    /// The configuration gives one parameter twice, under two spellings or names.
    #[error("parameter {0:?} is there twice, as {1:?} too: give one of them")]
    Twice(String, String),
    /// The parameters are not a map, or not JSON. (Kea 2.2 does not escape the names in its JSON.)
    #[error("the parameters cannot be read as a map: the library takes {names}", names = names())]
    NotAMap,
}

impl ConfigError {
    /// The parameter is required and not there.
    pub(crate) fn missing(parameter: &Parameter) -> Self {
        ConfigError::Missing { name: parameter.name, accepted: parameter.accepted() }
    }

    /// The parameter cannot have this value (as JSON). `why` is empty, or says what is wrong.
    pub(crate) fn refused(parameter: &Parameter, value: String, why: impl Display) -> Self {
        let why = match why.to_string() {
            why if why.is_empty() => why,
            why => format!(" {why}"),
        };
        let (name, accepted) = (parameter.name, parameter.accepted());
        ConfigError::NotAccepted { name, value, why, accepted }
    }
}
