// SPDX-License-Identifier: MPL-2.0
//! Parameters as JSON text → [`Settings`], or a [`ConfigError`] that names the parameter.
//!
//! The Kea adapter calls [`parse`] at each load. This module opens no file and parses no
//! expression: the HTTP client reads the files, and Kea parses the expressions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cache::Freshness;
use crate::filter::{Filter, MachineGuid};
use crate::request::ServiceUrl;

mod document;
mod error;
mod given;
pub mod kea_text;
pub mod parameter;
mod service_urls;

pub use document::{markdown, schema};
pub use error::ConfigError;

use given::Given;

/// The settings of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The services, http or https, in the order in which they are asked. At least one.
    pub services: Vec<ServiceUrl>,
    /// Which clients are looked up.
    pub filter: Filter,
    /// Whether option 82 counts only in a packet that came through a relay agent.
    pub require_relay: bool,
    /// The values of the request: name → Kea expression, not parsed yet.
    pub query: BTreeMap<String, String>,
    /// The longest time of one lookup, from the request to the end of the answer, all services
    /// together.
    pub timeout: Duration,
    /// The header fields of every request (name and value), not checked yet. Never shown.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The file with the bearer token of every request.
    pub bearer_token_file: Option<PathBuf>,
    /// The file or folder of the trusted certificate authorities. `None`: the system's are trusted.
    pub trust_anchor: Option<PathBuf>,
    /// The client certificate that https services are shown.
    pub client_certificate: Option<ClientCertificate>,
    /// Whether http URLs are asked by HTTP/2.
    pub http2: bool,
    /// How long an answer may be used where the service does not say.
    pub freshness: Freshness,
    /// The most answers kept.
    pub cache_size: usize,
    /// The file in which kept answers survive a restart.
    pub cache_file: Option<PathBuf>,
    /// What a new client gets whose lookup failed.
    pub on_error: OnError,
    /// What a client gets whose answer is not there yet.
    pub on_miss: OnMiss,
    /// The concurrency limit: the most requests in flight at once.
    pub max_in_flight: usize,
    /// The longest DHCP message that edits may make, in bytes.
    pub max_reply_size: usize,
}

/// The files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The PEM file with the certificate and the certificates between it and its CA.
    pub cert_file: PathBuf,
    /// The PEM file with the certificate's key.
    pub key_file: PathBuf,
}

/// What a client gets whose lookup failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The DHCP reply as Kea made it.
    Continue,
    /// No DHCP reply, so that the client asks again.
    Drop,
}

/// What a client gets whose answer is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMiss {
    /// Its packet waits.
    Wait,
    /// No DHCP reply to a DISCOVER, so that the client asks again.
    Retry,
}

/// Reads the parameters from the JSON text that Kea's `Element::str()` makes of them. An empty text
/// stands for no parameters.
pub fn parse(json: &str) -> Result<Settings, ConfigError> {
    let mut given = Given::read(json)?;
    let query = query(&mut given)?;
    let settings = Settings {
        services: service_urls::take(&mut given, &query)?,
        filter: Filter {
            user_class: given.texts(&parameter::USER_CLASS)?,
            machine_guid: machine_guid(&mut given)?,
            expression: given.expression(&parameter::MATCH)?,
        },
        require_relay: given.flag(&parameter::REQUIRE_RELAY)?,
        query,
        timeout: Duration::from_millis(given.number(&parameter::TIMEOUT)?),
        headers: headers(&mut given)?,
        bearer_token_file: given.path(&parameter::BEARER_TOKEN_FILE)?,
        trust_anchor: given.path(&parameter::TRUST_ANCHOR)?,
        client_certificate: client_certificate(&mut given)?,
        http2: given.flag(&parameter::HTTP2)?,
        freshness: Freshness {
            fresh_for: Duration::from_secs(given.number(&parameter::CACHE_TTL)?),
            stale_for: Duration::from_secs(given.number(&parameter::STALE_IF_ERROR)?),
        },
        cache_size: given.number(&parameter::CACHE_SIZE)? as usize,
        cache_file: given.path(&parameter::CACHE_FILE)?,
        on_error: match given.choice(&parameter::ON_ERROR)? {
            "drop" => OnError::Drop,
            _ => OnError::Continue,
        },
        on_miss: match given.choice(&parameter::ON_MISS)? {
            "retry" => OnMiss::Retry,
            _ => OnMiss::Wait,
        },
        max_in_flight: given.number(&parameter::MAX_IN_FLIGHT)? as usize,
        max_reply_size: given.number(&parameter::MAX_REPLY_SIZE)? as usize,
    };
    given.all_taken()?;
    Ok(settings)
}

/// Takes the parameter `query`.
fn query(given: &mut Given) -> Result<BTreeMap<String, String>, ConfigError> {
    let refused = |value: &Value, why: &str| {
        ConfigError::refused(&parameter::QUERY, kea_text::shown(value), why)
    };
    let members = match given.take(&parameter::QUERY) {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(members)) => members,
        Some(value) => return Err(refused(&value, "")),
    };
    let mut query = BTreeMap::new();
    for (name, value) in members {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(refused(&name.into(), "(as a name)"));
        }
        let expression = value.as_str().and_then(kea_text::utf8);
        let expression = expression.filter(|text| !text.is_empty());
        let expression = expression.ok_or_else(|| refused(&value, &format!("as \"{name}\"")))?;
        query.insert(name, expression);
    }
    Ok(query)
}

/// Takes the parameter `headers`. Errors show the names of header fields, and never their values.
fn headers(given: &mut Given) -> Result<Vec<(String, Vec<u8>)>, ConfigError> {
    let refused =
        |value: &str, why| ConfigError::refused(&parameter::HEADERS, value.to_owned(), why);
    let members = match given.take(&parameter::HEADERS) {
        None => return Ok(Vec::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(refused("this", "(no map)")),
    };
    let field = |(name, value): (String, Value)| match value.as_str() {
        Some(text) => Ok((name, kea_text::bytes(text))),
        None => {
            let name = format!("{{{}: …}}", kea_text::shown(&name.into()));
            Err(refused(&name, "(its value is no text)"))
        }
    };
    members.into_iter().map(field).collect()
}

/// Takes the parameters `cert-file` and `key-file`, of which each needs the other.
fn client_certificate(given: &mut Given) -> Result<Option<ClientCertificate>, ConfigError> {
    let cert_file = given.path(&parameter::CERT_FILE)?;
    let key_file = given.path(&parameter::KEY_FILE)?;
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Ok(Some(ClientCertificate { cert_file, key_file })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::missing(&parameter::KEY_FILE)),
        (None, Some(_)) => Err(ConfigError::missing(&parameter::CERT_FILE)),
    }
}

/// What is wrong with a value of `machine-guid`.
const NO_GUID: &str = "(no option 97 can contain it: write up to 17 bytes as text or in \
                       hexadecimal, or a GUID as 00112233-4455-6677-8899-aabbccddeeff)";

/// Takes the parameter `machine-guid`.
fn machine_guid(given: &mut Given) -> Result<Vec<MachineGuid>, ConfigError> {
    let guid = |text: Vec<u8>| {
        let shown = Value::from(text.escape_ascii().to_string()).to_string();
        MachineGuid::new(text)
            .ok_or_else(|| ConfigError::refused(&parameter::MACHINE_GUID, shown, NO_GUID))
    };
    given.texts(&parameter::MACHINE_GUID)?.into_iter().map(guid).collect()
}

#[cfg(test)]
mod tests;
