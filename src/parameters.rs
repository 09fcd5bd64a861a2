//! The library's parameters in Kea's configuration (`hooks-libraries[].parameters`). Pure: JSON text in, settings
//! or an error that names the parameter out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use thiserror::Error;
use url::Url;

use crate::filter::Filter;
use crate::freshness::Freshness;
use crate::request::Target;

const URL: &str = "url";
const USER_CLASS: &str = "user-class";
const MACHINE_GUID: &str = "machine-guid";
/// Another name of [`MACHINE_GUID`].
const MACHINE_ID: &str = "machine-id";
/// An expression that admits clients.
pub const MATCH: &str = "match";
/// Expressions whose values go into the request.
pub const QUERY: &str = "query";
const TIMEOUT: &str = "timeout";
const HEADERS: &str = "headers";
/// A file with the token that goes with every request.
pub const BEARER_TOKEN_FILE: &str = "bearer-token-file";
/// A file or folder with the certificate authorities that are trusted.
pub const TRUST_ANCHOR: &str = "trust-anchor";
/// The client certificate.
pub const CERT_FILE: &str = "cert-file";
/// The key of the client certificate.
pub const KEY_FILE: &str = "key-file";
const CACHE_TTL: &str = "cache-ttl";
const CACHE_SIZE: &str = "cache-size";
const STALE_IF_ERROR: &str = "stale-if-error";
const ON_ERROR: &str = "on-error";
const MAX_IN_FLIGHT: &str = "max-in-flight";

const NAMES: &str = "url, user-class, machine-guid (or machine-id), match, query, timeout, headers, bearer-token-file, trust-anchor, \
                     cert-file, key-file, cache-ttl, cache-size, stale-if-error, on-error, max-in-flight";

/// The longest list of backends.
const MAX_URLS: usize = 16;

/// The settings of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The backends, http or https, in the order in which they are asked; at least one.
    pub targets: Vec<Target>,
    /// Which clients are looked up.
    pub filter: Filter,
    /// The values of the request: name → expression, not parsed yet.
    pub query: BTreeMap<String, String>,
    /// The longest that one lookup may take, over all backends, from the request to the end of the answer.
    pub timeout: Duration,
    /// Header fields of every request.
    pub headers: HeaderMap,
    /// The file with the bearer token of every request.
    pub bearer_token_file: Option<PathBuf>,
    /// The file or folder of the certificate authorities trusted, in the place of the system's.
    pub trust_anchor: Option<PathBuf>,
    /// The files of the client certificate and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long an answer may be used where the backend does not say.
    pub freshness: Freshness,
    /// The most answers kept.
    pub cache_size: usize,
    /// What a client gets whose lookup failed.
    pub on_error: OnError,
    /// The most lookups under way at once.
    pub max_in_flight: usize,
}

/// What a client gets whose lookup failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The reply as Kea made it.
    Continue,
    /// No reply: it asks again.
    Drop,
}

/// Why a configuration cannot work. The text names the parameter, its value, and what is accepted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParameterError {
    /// A required parameter is not there.
    #[error("parameter \"{name}\" is missing: it takes {accepted}")]
    Missing {
        /// The parameter.
        name: &'static str,
        /// What it takes.
        accepted: &'static str,
    },
    /// A value of a wrong type, or one that cannot work.
    #[error("parameter \"{name}\" cannot be {value}{why}: it takes {accepted}")]
    NotAccepted {
        /// The parameter.
        name: &'static str,
        /// Its value, as JSON.
        value: String,
        /// What is wrong with it, where that is not plain; begins with a space.
        why: String,
        /// What it takes.
        accepted: &'static str,
    },
    /// A number of a wrong type or size.
    #[error("parameter \"{name}\" cannot be {value}: it takes a whole number of {unit} from {} to {}", range.start(), range.end())]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// Its value, as JSON.
        value: String,
        /// What it counts.
        unit: &'static str,
        /// What is accepted.
        range: RangeInclusive<u64>,
    },
    /// A text that is no expression.
    #[error("parameter \"{name}\" is no expression of Kea's, as a client class has it: {why}: {text:?}")]
    Expression {
        /// The parameter.
        name: String,
        /// Its value.
        text: String,
        /// What Kea says.
        why: String,
    },
    /// A name that the library does not know.
    #[error("parameter {0:?} is unknown: the library takes {NAMES}")]
    Unknown(String),
    /// Two spellings or names of one parameter.
    #[error("parameter {0:?} is there twice, as {1:?} too: give one of them")]
    Twice(String, String),
    /// Not a map of parameters, or not to be read as JSON (Kea 2.2 does not escape the names in its own).
    #[error("the parameters cannot be read as a map: the library takes {NAMES}")]
    NotAMap,
}

/// Reads the parameters from the JSON text that Kea's `Element::str()` makes of them; an empty text stands for
/// no parameters at all.
pub fn parse(json: &str) -> Result<Parameters, ParameterError> {
    let mut given = by_name(json)?;
    let query = query(&mut given)?;
    let parameters = Parameters {
        targets: targets(&mut given, &query)?,
        filter: Filter {
            user_class: bytes(&mut given, USER_CLASS, "text that is not empty")?,
            machine_id: bytes(&mut given, MACHINE_GUID, "text that is not empty")?
                .map(text_and_hex)
                .unwrap_or_default(),
            expression: text(&mut given, MATCH)?,
        },
        query,
        // Ten minutes, past which no DHCP client waits, are the most.
        timeout: Duration::from_millis(number(&mut given, TIMEOUT, 1..=600_000, 1000, "milliseconds")?),
        headers: headers(&mut given)?,
        bearer_token_file: path(&mut given, BEARER_TOKEN_FILE)?,
        trust_anchor: path(&mut given, TRUST_ANCHOR)?,
        identity: identity(&mut given)?,
        freshness: Freshness {
            life: Duration::from_secs(number(&mut given, CACHE_TTL, 0..=YEAR, 10, "seconds")?),
            stale: Duration::from_secs(number(&mut given, STALE_IF_ERROR, 0..=YEAR, 0, "seconds")?),
        },
        cache_size: number(&mut given, CACHE_SIZE, 0..=10_000_000, 10_000, "answers")? as usize,
        on_error: on_error(&mut given)?,
        max_in_flight: number(&mut given, MAX_IN_FLIGHT, 1..=1_000_000, 1024, "lookups")? as usize,
    };
    if parameters.bearer_token_file.is_some() && parameters.headers.contains_key(AUTHORIZATION) {
        return Err(ParameterError::Twice(BEARER_TOKEN_FILE.to_owned(), "headers: Authorization".to_owned()));
    }
    match given.into_values().next() {
        Some((spelling, _)) => Err(ParameterError::Unknown(spelling)),
        None => Ok(parameters),
    }
}

/// The parameters not yet read: name → (spelling in the configuration, value).
type Given = BTreeMap<String, (String, Value)>;

/// The parameters by their kebab-case names.
fn by_name(json: &str) -> Result<Given, ParameterError> {
    let parameters = match serde_json::from_str(json) {
        _ if json.is_empty() => serde_json::Map::new(),
        Ok(Value::Object(parameters)) => parameters,
        _ => return Err(ParameterError::NotAMap),
    };
    let mut given = Given::new();
    for (spelling, value) in parameters {
        let mut name = spelling.replace('_', "-");
        if name == MACHINE_ID {
            name = MACHINE_GUID.to_owned();
        }
        if let Some((other, _)) = given.insert(name, (spelling.clone(), value)) {
            return Err(ParameterError::Twice(spelling, other));
        }
    }
    Ok(given)
}

/// Seconds in a year: the longest time that an answer may be kept.
const YEAR: u64 = 365 * 24 * 3600;

fn targets(given: &mut Given, query: &BTreeMap<String, String>) -> Result<Vec<Target>, ParameterError> {
    const ACCEPTED: &str =
        "an http or https URL, or a list of 1 to 16 different ones, for example \"http://192.0.2.1/boot\"";
    let Some((_, value)) = given.remove(URL) else {
        return Err(ParameterError::Missing { name: URL, accepted: ACCEPTED });
    };
    let not_accepted = |value, why| ParameterError::NotAccepted { name: URL, value, why, accepted: ACCEPTED };
    let refused = |value: &Value, why| not_accepted(without_user_info(shown(value)), why);
    let one = |value: &Value| {
        let text = value.as_str().ok_or_else(|| refused(value, String::new()))?;
        let text =
            String::from_utf8(kea_bytes(text)).map_err(|_| refused(value, " (not UTF-8)".to_owned()))?;
        let url = Url::parse(&text).map_err(|error| refused(value, format!(" ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(value, String::new()));
        }
        if url.host_str().is_some_and(|host| host.contains('{')) {
            return Err(refused(value, " (a {name} can stand in the path and the query alone)".to_owned()));
        }
        let target = Target::new(url);
        // Some of what may stand in an URL cannot be asked.
        let asked: Result<http::Uri, _> = target.url().as_str().parse();
        asked.map_err(|error| refused(value, format!(" ({error})")))?;
        if let Some(name) = target.names().find(|name| !query.contains_key(*name)) {
            return Err(refused(value, format!(" ({{{name}}} is no name in \"query\")")));
        }
        Ok(target)
    };
    let list = match &value {
        Value::Array(list) if (1..=MAX_URLS).contains(&list.len()) => list,
        // Not shown whole: it may be long, and hold passwords.
        Value::Array(list) => {
            return Err(not_accepted(format!("a list of {}", list.len()), String::new()));
        }
        one => std::slice::from_ref(one),
    };
    let mut targets = Vec::new();
    for value in list {
        let target = one(value)?;
        if targets.contains(&target) {
            return Err(refused(value, " (it is in the list twice)".to_owned()));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn query(given: &mut Given) -> Result<BTreeMap<String, String>, ParameterError> {
    let refused = |value: String, why: &str| ParameterError::NotAccepted {
        name: QUERY,
        value,
        why: why.to_owned(),
        accepted: "a map of names, of letters, digits and -._, to expressions, for example \
                   {\"mac\": \"hexstring(pkt4.mac, ':')\"}",
    };
    let members = match given.remove(QUERY) {
        None => return Ok(BTreeMap::new()),
        Some((_, Value::Object(members))) => members,
        Some((_, value)) => return Err(refused(shown(&value), "")),
    };
    let mut query = BTreeMap::new();
    for (name, value) in members {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(refused(shown(&name.into()), " (as a name)"));
        }
        let expression = value.as_str().and_then(|text| String::from_utf8(kea_bytes(text)).ok());
        let expression = expression.filter(|text| !text.is_empty());
        let expression = expression.ok_or_else(|| refused(shown(&value), &format!(" as \"{name}\"")))?;
        query.insert(name, expression);
    }
    Ok(query)
}

fn text(given: &mut Given, name: &'static str) -> Result<Option<String>, ParameterError> {
    let bytes = bytes(given, name, "an expression of Kea's, as a client class has it")?;
    // What is no UTF-8 is none of Kea's language.
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn bytes(
    given: &mut Given,
    name: &'static str,
    accepted: &'static str,
) -> Result<Option<Vec<u8>>, ParameterError> {
    let Some((_, value)) = given.remove(name) else {
        return Ok(None);
    };
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(Some(kea_bytes(text))),
        _ => Err(ParameterError::NotAccepted { name, value: shown(&value), why: String::new(), accepted }),
    }
}

fn path(given: &mut Given, name: &'static str) -> Result<Option<PathBuf>, ParameterError> {
    let bytes = bytes(given, name, "the path of a file")?;
    Ok(bytes.map(|bytes| OsString::from_vec(bytes).into()))
}

fn identity(given: &mut Given) -> Result<Option<(PathBuf, PathBuf)>, ParameterError> {
    match (path(given, CERT_FILE)?, path(given, KEY_FILE)?) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ParameterError::Missing {
            name: KEY_FILE,
            accepted: "the PEM file with the key of \"cert-file\"",
        }),
        (None, Some(_)) => Err(ParameterError::Missing {
            name: CERT_FILE,
            accepted: "the PEM file with the certificate of \"key-file\"",
        }),
    }
}

fn number(
    given: &mut Given,
    name: &'static str,
    range: RangeInclusive<u64>,
    default: u64,
    unit: &'static str,
) -> Result<u64, ParameterError> {
    let Some((_, value)) = given.remove(name) else {
        return Ok(default);
    };
    value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| ParameterError::OutOfRange {
        name,
        value: shown(&value),
        unit,
        range,
    })
}

/// Header fields: the names are shown where they are wrong, the values never.
fn headers(given: &mut Given) -> Result<HeaderMap, ParameterError> {
    let refused = |value: String, why: &str| ParameterError::NotAccepted {
        name: HEADERS,
        value,
        why: why.to_owned(),
        accepted: "a map of header names to their text, for example {\"X-Site\": \"fra1\"}",
    };
    let mut headers = HeaderMap::new();
    let given = match given.remove(HEADERS) {
        None => return Ok(headers),
        Some((_, Value::Object(given))) => given,
        Some(_) => return Err(refused("this".to_owned(), " (no map)")),
    };
    for (spelling, value) in given {
        let refused = |why| refused(format!("{{{}: …}}", shown(&spelling.as_str().into())), why);
        let name = HeaderName::from_bytes(&kea_bytes(&spelling))
            .map_err(|_| refused(" (that is no name of a header)"))?;
        if CONNECTION_HEADERS.contains(&name.as_str()) {
            return Err(refused(" (this header belongs to the connection)"));
        }
        let text = value.as_str().ok_or_else(|| refused(" (its value is no text)"))?;
        let mut value = HeaderValue::from_bytes(&kea_bytes(text))
            .map_err(|_| refused(" (its value holds characters that no header may hold)"))?;
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            return Err(refused(" (this header is there twice)"));
        }
    }
    Ok(headers)
}

/// What the HTTP client itself says of the connection and the message (RFC 9110, sections 7.6.1 and 8.6).
const CONNECTION_HEADERS: [&str; 5] = ["connection", "content-length", "te", "transfer-encoding", "upgrade"];

fn on_error(given: &mut Given) -> Result<OnError, ParameterError> {
    match given.remove(ON_ERROR) {
        None => Ok(OnError::Continue),
        Some((_, value)) => match value.as_str() {
            Some("continue") => Ok(OnError::Continue),
            Some("drop") => Ok(OnError::Drop),
            _ => Err(ParameterError::NotAccepted {
                name: ON_ERROR,
                value: shown(&value),
                why: String::new(),
                accepted: "\"continue\" or \"drop\"",
            }),
        },
    }
}

/// What `machine-guid` may stand for: its text, and the bytes that it spells in hexadecimal.
fn text_and_hex(text: Vec<u8>) -> Vec<Vec<u8>> {
    let spelled = hex::decode(&text).ok();
    std::iter::once(text).chain(spelled).collect()
}

/// A value as an error shows it: as JSON, text as it stands in the configuration.
fn shown(value: &Value) -> String {
    match value.as_str() {
        // Not as bytes: a map's names, which Kea 2.2 leaves as they are.
        Some(text) => Value::from(String::from_utf8(kea_bytes(text)).unwrap_or(text.to_owned())).to_string(),
        None => value.to_string(),
    }
}

/// The JSON of an URL, well-formed or not, less all that may be a user name or password.
fn without_user_info(shown: String) -> String {
    match shown.rfind('@') {
        Some(at) => format!("\"…{}", &shown[at..]),
        None => shown,
    }
}

/// The bytes of a string of Kea's configuration. A string in Kea is bytes, and `Element::str()` writes each byte from
/// 0x7f on as one `\u00XX`, whatever character it is a part of: every `char` here is one byte.
fn kea_bytes(text: &str) -> Vec<u8> {
    text.chars()
        .flat_map(|char| match u8::try_from(char) {
            Ok(byte) => vec![byte],
            // Not from `Element::str()`; keep the character.
            Err(_) => char.to_string().into_bytes(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        parse(json).unwrap_err().to_string()
    }

    #[test]
    fn defaults() {
        let parameters = parse(r#"{"url": "http://192.0.2.1/boot"}"#).unwrap();
        assert_eq!(parameters.targets, [Target::new(Url::parse("http://192.0.2.1/boot").unwrap())]);
        assert_eq!(parameters.query, BTreeMap::new());
        assert!(parameters.filter.is_open());
        assert_eq!(parameters.timeout, Duration::from_secs(1));
        assert_eq!(parameters.headers, HeaderMap::new());
        assert_eq!(
            (parameters.bearer_token_file, parameters.trust_anchor, parameters.identity),
            (None, None, None)
        );
        let freshness = Freshness { life: Duration::from_secs(10), stale: Duration::ZERO };
        assert_eq!((parameters.freshness, parameters.cache_size), (freshness, 10_000));
        assert_eq!((parameters.on_error, parameters.max_in_flight), (OnError::Continue, 1024));
    }

    #[test]
    fn every_spelling() {
        let kebab = parse(r#"{"url": "http://b/", "user-class": "test", "machine-guid": "RPi4"}"#).unwrap();
        assert_eq!(kebab.filter.user_class.as_deref(), Some(&b"test"[..]));
        assert_eq!(kebab.filter.machine_id, [b"RPi4"]);
        for other in [
            r#"{"url": "http://b/", "user_class": "test", "machine_guid": "RPi4"}"#,
            r#"{"url": "http://b/", "user_class": "test", "machine-id": "RPi4"}"#,
            r#"{"url": "http://b/", "user-class": "test", "machine_id": "RPi4"}"#,
        ] {
            assert_eq!(parse(other).unwrap(), kebab);
        }
    }

    #[test]
    fn machine_guid_in_hexadecimal() {
        let parameters = parse(r#"{"url": "http://b/", "machine-guid": "525069Aa"}"#).unwrap();
        assert_eq!(parameters.filter.machine_id, [b"525069Aa".to_vec(), b"\x52\x50\x69\xaa".to_vec()]);
    }

    #[test]
    fn bytes_past_ascii_as_kea_prints_them() {
        let parameters = parse(r#"{"url": "http://b/", "user-class": "Pr\u00c3\u00bcfung"}"#).unwrap();
        assert_eq!(parameters.filter.user_class.unwrap(), "Prüfung".as_bytes());
    }

    #[test]
    fn timeouts() {
        let timeout = |ms| parse(&format!(r#"{{"url": "http://b/", "timeout": {ms}}}"#)).map(|p| p.timeout);
        assert_eq!(timeout("1"), Ok(Duration::from_millis(1)));
        assert_eq!(timeout("600000"), Ok(Duration::from_secs(600)));
        for bad in ["0", "-1", "600001", "1.5", "\"1000\"", "null", "[1]", "18446744073709551616"] {
            let error = timeout(bad).unwrap_err().to_string();
            assert!(error.contains("\"timeout\"") && error.contains("milliseconds"), "{error}");
        }
    }

    #[test]
    fn errors_name_the_parameter_its_value_and_what_is_accepted() {
        assert_eq!(
            error("{}"),
            "parameter \"url\" is missing: it takes an http or https URL, or a list of 1 to 16 different ones, \
             for example \"http://192.0.2.1/boot\""
        );
        assert_eq!(error(""), error("{}"));
        for url in [
            "7",
            "true",
            "null",
            "{}",
            "\"\"",
            "\"ftp://b/\"",
            "\"b/boot\"",
            "\"http://\"",
            "\"http://b}c/\"",
        ] {
            let error = error(&format!(r#"{{"url": {url}}}"#));
            assert!(error.starts_with(&format!("parameter \"url\" cannot be {url}")), "{error}");
            assert!(error.ends_with("for example \"http://192.0.2.1/boot\""), "{error}");
        }
        for (url, shown) in [
            ("ftp://user:secret@h/a@b", "…@b"),
            ("http://u:p@ss@h:99999", "…@h:99999"),
            ("user:secret@h", "…@h"),
        ] {
            assert!(
                error(&format!(r#"{{"url": "{url}"}}"#)).contains(&format!("cannot be \"{shown}\"")),
                "{url}"
            );
        }
        assert!(error(r#"{"url": "ftp://b\u00c3\u00bccher/"}"#).contains("\"ftp://bücher/\""));
        for name in ["user-class", "machine-guid"] {
            for value in ["7", "\"\"", "null", "[\"test\"]"] {
                assert_eq!(
                    error(&format!(r#"{{"url": "http://b/", "{name}": {value}}}"#)),
                    format!("parameter \"{name}\" cannot be {value}: it takes text that is not empty")
                );
            }
        }
        assert_eq!(
            error(r#"{"url": "http://b/", "tiemout": 5}"#),
            format!("parameter \"tiemout\" is unknown: the library takes {NAMES}")
        );
        assert!(
            error(r#"{"url": "http://b/", "machine-id": "a", "machine-guid": "a"}"#).contains("there twice")
        );
        assert!(error("[]").contains("cannot be read as a map"));
    }
    #[test]
    fn several_backends() {
        let urls =
            |list: &str| parse(&format!(r#"{{"url": {list}}}"#)).map(|parameters| parameters.targets.len());
        assert_eq!(urls(r#"["http://b/"]"#), Ok(1));
        assert_eq!(urls(r#"["http://b/", "https://b/"]"#), Ok(2));
        let many =
            |count| Value::from_iter((0..count).map(|number| format!("http://b/{number}"))).to_string();
        assert_eq!(urls(&many(16)), Ok(16));
        assert!(urls(&many(17)).unwrap_err().to_string().contains("cannot be a list of 17:"));
        assert!(urls("[]").unwrap_err().to_string().contains("cannot be a list of 0:"));
        let twice = urls(r#"["http://u:secret@b/", "http://u:secret@b/"]"#).unwrap_err().to_string();
        assert!(twice.contains("cannot be \"…@b/\" (it is in the list twice)"), "{twice}");
        assert!(urls(r#"["http://b/", 7]"#).unwrap_err().to_string().contains("cannot be 7"));
    }

    #[test]
    fn numbers_and_words() {
        for (name, good, bad, words) in [
            (
                "cache-ttl",
                &["0", "31536000"][..],
                &["-1", "31536001", "\"1\""][..],
                "seconds from 0 to 31536000",
            ),
            ("stale-if-error", &["0", "31536000"], &["-1", "31536001", "true"], "seconds from 0 to 31536000"),
            ("cache-size", &["0", "10000000"], &["-1", "10000001", "1.5"], "answers from 0 to 10000000"),
            ("max-in-flight", &["1", "1000000"], &["0", "1000001", "null"], "lookups from 1 to 1000000"),
            ("on-error", &["\"continue\"", "\"drop\""], &["\"Drop\"", "1"], "\"continue\" or \"drop\""),
        ] {
            let given = |value: &str| format!(r#"{{"url": "http://b/", "{name}": {value}}}"#);
            good.iter().for_each(|value| assert!(parse(&given(value)).is_ok(), "{name} {value}"));
            for value in bad {
                let error = error(&given(value));
                let start = format!("parameter \"{name}\" cannot be {value}: it takes");
                assert!(error.starts_with(&start) && error.ends_with(words), "{error}");
            }
        }
    }

    #[test]
    fn header_fields() {
        let given = |headers| format!(r#"{{"url": "http://b/", "headers": {headers}}}"#);
        let headers =
            parse(&given(r#"{"X-Site": "fra1", "authorization": "Basic c2VjcmV0"}"#)).unwrap().headers;
        assert_eq!(headers["x-site"], "fra1");
        assert!(headers.values().all(HeaderValue::is_sensitive), "{headers:?}");
        for (headers, words) in [
            ("\"X-Site: secret\"", "cannot be this (no map)"),
            (r#"{"X Site": "secret"}"#, "{\"X Site\": …} (that is no name of a header)"),
            (r#"{"X-Site": "sec\nret"}"#, "{\"X-Site\": …} (its value holds characters"),
            (r#"{"X-Site": 7}"#, "(its value is no text)"),
            (r#"{"X-Site": "secret", "x-site": "secret"}"#, "twice"),
            (r#"{"Content-Length": "7"}"#, "belongs to the connection"),
        ] {
            let error = error(&given(headers));
            assert!(
                error.starts_with("parameter \"headers\" cannot be ") && error.contains(words),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
        let both = r#"{"url": "http://b/", "bearer-token-file": "/t", "headers": {"Authorization": "x"}}"#;
        assert!(error(both).contains("\"bearer-token-file\" is there twice"));
    }

    #[test]
    fn files() {
        let parameters =
            parse(r#"{"url": "http://b/", "cert_file": "/c", "key-file": "/k", "trust-anchor": "/t"}"#)
                .unwrap();
        assert_eq!(parameters.identity, Some(("/c".into(), "/k".into())));
        assert_eq!(parameters.trust_anchor, Some("/t".into()));
        for (one, other) in [("cert-file", "key-file"), ("key-file", "cert-file")] {
            let error = error(&format!(r#"{{"url": "http://b/", "{one}": "/x"}}"#));
            assert!(error.starts_with(&format!("parameter \"{other}\" is missing")), "{error}");
        }
    }

    #[test]
    fn expressions() {
        let parameters = parse(
            r#"{"url": "http://b/{mac}", "match": "option[60].exists",
                "query": {"mac": "hexstring(pkt4.mac, ':')", "a.b-c_D1": "'x'"}}"#,
        )
        .unwrap();
        assert_eq!(parameters.filter.expression.as_deref(), Some("option[60].exists"));
        assert!(!parameters.filter.is_open());
        assert_eq!(parameters.query["mac"], "hexstring(pkt4.mac, ':')");
        for (member, words) in [
            (r#""match": """#, "parameter \"match\" cannot be \"\": it takes an expression"),
            (r#""match": true"#, "parameter \"match\" cannot be true"),
            (r#""query": ["x"]"#, "parameter \"query\" cannot be [\"x\"]"),
            (r#""query": {"a b": "'x'"}"#, "parameter \"query\" cannot be \"a b\" (as a name)"),
            (r#""query": {"": "'x'"}"#, "(as a name)"),
            (r#""query": {"a": 7}"#, "parameter \"query\" cannot be 7 as \"a\""),
            (r#""query": {"b": "'x'"}, "url": "http://b/{a}""#, "({a} is no name in \"query\")"),
            (r#""url": "http://b/?x={}""#, "({} is no name in \"query\")"),
            (r#""query": {"a": "'x'"}, "url": "http://{a}/""#, "in the path and the query alone"),
        ] {
            let error = error(&format!(r#"{{"url": "http://b/", {member}}}"#));
            assert!(error.contains(words), "{error}");
        }
    }
}
