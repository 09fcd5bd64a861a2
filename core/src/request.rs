// SPDX-License-Identifier: MPL-2.0
//! Facts → request → URL: what a service is asked about one client.
//!
//! A request is made of bytes and becomes a URL for each service. This module makes no request.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use thiserror::Error;
use url::{ParseError, Position, Url};

use crate::facts::{self, Facts};
use crate::hexadecimal;

/// The code of the relay agent information option (RFC 3046).
pub const RELAY_AGENT_INFORMATION: u8 = 82;

/// The sub-options of option 82 that name a client, in the order of the request: circuit-id and
/// remote-id (RFC 3046, section 3), and vendor-specific information (RFC 4243). Services key on
/// this order.
pub const SUB_OPTIONS: [u8; 3] = [CIRCUIT_ID, REMOTE_ID, 9];

/// The sub-option for the port of the switch (RFC 3046, section 3.1).
const CIRCUIT_ID: u8 = 1;

/// The sub-option for the remote end of the circuit (RFC 3046, section 3.2).
const REMOTE_ID: u8 = 2;

/// The bytes that a value in a URL cannot have as they are: all but the unreserved characters
/// (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL of a service, in which `{name}` stands for a value of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// The URL with its placeholders.
    url: Url,
    /// The text of `url`, split at the placeholders.
    parts: Vec<Part>,
    /// Where the path begins in the text of `url`.
    path: usize,
}

/// A part of a service's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text that every request has.
    Text(String),
    /// A placeholder.
    Value {
        /// The name of the value that takes the placeholder's place.
        name: String,
        /// Whether the placeholder stands in the path, and not in the query.
        in_path: bool,
    },
}

/// Why a request makes no URL for a service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// A value for the path is empty, `.` or `..`: it would lead to another path.
    #[error("the value of \"{name}\" is {}, which would lead to another path", shown_value(.value))]
    PathValue {
        /// The name of the value.
        name: String,
        /// The value.
        value: Vec<u8>,
    },
    /// The text is no URL. No value is known to cause this.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

fn shown_value(value: &[u8]) -> String {
    if value.is_empty() { "empty".to_owned() } else { format!("\"{}\"", value.escape_ascii()) }
}

impl ServiceUrl {
    /// Finds the placeholders in the path and the query of a URL. A fragment is dropped: it is no
    /// part of a request (RFC 9110, section 4.2.5).
    pub fn new(mut url: Url) -> Self {
        url.set_fragment(None);
        let path = url[..Position::BeforePath].len();
        let mut rest = &url[Position::BeforePath..];
        let mut parts = vec![Part::Text(url[..Position::BeforePath].to_owned())];
        let mut in_path = true;
        while let Some((before, name, after)) = first_placeholder(rest) {
            in_path &= !before.contains('?');
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Value { name: name.to_owned(), in_path });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        ServiceUrl { url, parts, path }
    }

    /// The URL with its placeholders. It may hold credentials.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The names of the values in the placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value { name, .. } => Some(name.as_str()),
        })
    }

    /// Whether a placeholder stands in the path.
    fn has_path_values(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Value { in_path: true, .. }))
    }

    /// The URL's text with values in the places of the placeholders. A dot cannot be encoded, so a
    /// value that would lead to another path is refused.
    fn filled<'a>(&self, value: impl Fn(&str) -> &'a [u8]) -> Result<String, UrlError> {
        let refused = |name: &str, value: &[u8]| UrlError::PathValue {
            name: name.to_owned(),
            value: value.to_vec(),
        };
        let mut text = String::with_capacity(2 * self.url.as_str().len() + 64);
        let mut in_path = None;
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value { name, in_path: true } => {
                    let value = value(name);
                    if matches!(value, b"" | b"." | b"..") {
                        return Err(refused(name, value));
                    }
                    text.extend(percent_encode(value, RESERVED));
                    in_path = Some((name, value));
                }
                Part::Value { name, in_path: false } => {
                    text.extend(percent_encode(value(name), RESERVED));
                }
            }
        }
        if let Some((name, value)) = in_path {
            // Two dots may come together from a value and its neighbour.
            let end = text.find('?').unwrap_or(text.len());
            if text[self.path..end].split('/').any(is_dot_segment) {
                return Err(refused(name, value));
            }
        }
        Ok(text)
    }
}

/// As in the configuration, less credentials. (A URL encodes the braces of its path.)
impl fmt::Display for ServiceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let shown = shown(&self.url).to_string();
        formatter.write_str(&shown.replace("%7B", "{").replace("%7D", "}"))
    }
}

/// Whether a segment of a path leads to another path (URL Standard, "single-dot URL path segment"
/// and "double-dot URL path segment").
fn is_dot_segment(segment: &str) -> bool {
    segment.len() <= "%2e%2e".len()
        && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// The first placeholder of a URL's text: the text before it, the name in it, and the text behind it.
/// A URL encodes braces in its path, and not in its query.
fn first_placeholder(url: &str) -> Option<(&str, &str, &str)> {
    const BRACES: [(&str, &str); 2] = [("%7B", "%7D"), ("{", "}")];
    let found = BRACES.iter().filter_map(|(open, close)| {
        let start = url.find(open)?;
        let length = url[start + open.len()..].find(close)?;
        let end = start + open.len() + length + close.len();
        Some((&url[..start], &url[start + open.len()..][..length], &url[end..]))
    });
    found.min_by_key(|(before, ..)| before.len())
}

/// A URL as logs show it: without user name and password, and with the characters `:;<=>?@` as
/// themselves, which values have percent-encoded. So MAC addresses are easy to read, and Kea's log
/// takes no `%3` for a placeholder of its own.
pub fn shown(url: &Url) -> impl fmt::Display {
    Shown(&url[..Position::BeforeUsername], &url[Position::BeforeHost..])
}

/// The text with the characters `:;<=>?@` as themselves.
fn readable(text: &str) -> Cow<'_, str> {
    const ENCODED: [(&str, &str); 7] = [
        ("%3A", ":"),
        ("%3B", ";"),
        ("%3C", "<"),
        ("%3D", "="),
        ("%3E", ">"),
        ("%3F", "?"),
        ("%40", "@"),
    ];
    let found = ENCODED.iter().filter(|(encoded, _)| text.contains(encoded));
    found.fold(text.into(), |text, (encoded, character)| text.replace(encoded, character).into())
}

/// The text before a URL's credentials, and the text behind them.
struct Shown<'a>(&'a str, &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.0)?;
        formatter.write_str(&readable(self.1))
    }
}

/// The hash of requests has a key of its own in each process, so that nobody can make requests of
/// the same hash on purpose.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The sub-options of option 82 that name a client, in the order of [`SUB_OPTIONS`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SubOptions(Facts);

impl SubOptions {
    /// Adds the sub-option of this code, whose payload `read` appends to the bytes that it is given.
    /// Adds nothing where `read` returns false or an error. The error is passed on.
    pub fn add<E>(
        &mut self,
        code: u8,
        read: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.0.add(&[code], read)
    }

    /// Whether there is no sub-option.
    pub fn is_empty(&self) -> bool {
        self.0.bytes().is_empty()
    }

    /// Whether no sub-option has a payload.
    fn name_nobody(&self) -> bool {
        facts::iter(self.0.bytes()).all(|(_, payload)| payload.is_empty())
    }
}

impl<B: AsRef<[u8]>> FromIterator<(u8, B)> for SubOptions {
    fn from_iter<T: IntoIterator<Item = (u8, B)>>(sub_options: T) -> Self {
        let mut facts = Facts::default();
        sub_options.into_iter().for_each(|(code, payload)| facts.push(&[code], payload.as_ref()));
        SubOptions(facts)
    }
}

impl From<Vec<(u8, Vec<u8>)>> for SubOptions {
    fn from(sub_options: Vec<(u8, Vec<u8>)>) -> Self {
        sub_options.into_iter().collect()
    }
}

/// What is asked about one client, whichever service is asked. Two clients with the same request
/// get the same answer: the request is the key of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The hash of the fields below. A lookup needs it a dozen times.
    hash: u64,
    /// First the sub-options of option 82 that name the client, by code, in the order of
    /// [`SUB_OPTIONS`]. Then the values of the parameter `query`, in the order of their names. A
    /// sub-option may be empty, a value is not. All in one piece of memory: thousands of requests
    /// are kept.
    facts: Box<[u8]>,
    /// Where the values begin in `facts`.
    values_begin: usize,
}

impl Hash for Request {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// What a request is about, in words for the log: its first sub-option, else its first value of
/// `query`. Bytes that are text are shown as text.
pub struct Named<'a>(&'a Request);

impl fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let sub_option = self.0.sub_options().find(|(_, value)| !value.is_empty());
        let (name, value) = match sub_option {
            Some((CIRCUIT_ID, value)) => ("circuit-id", value),
            Some((REMOTE_ID, value)) => ("remote-id", value),
            Some((_, value)) => ("vendor-specific information", value),
            None => match self.0.values().next() {
                Some(named) => named,
                None => return formatter.write_str("nameless"),
            },
        };
        match std::str::from_utf8(value) {
            Ok(text) if !text.contains(char::is_control) => write!(formatter, "{name} {text:?}"),
            _ => write!(formatter, "{name} 0x{}", hexadecimal::encode(value)),
        }
    }
}

impl Request {
    /// What the request is about, for the log.
    pub fn named(&self) -> Named<'_> {
        Named(self)
    }

    /// A request about the client that `sub_options` (code and payload, in the order of
    /// [`SUB_OPTIONS`]) and `values` (of the parameter `query`) name. An empty value is left out.
    /// `None` when nothing names the client: an empty sub-option names nobody, since a switch that
    /// sends one sends it for all its ports.
    pub fn new(
        sub_options: impl Into<SubOptions>,
        mut values: Vec<(Arc<str>, Vec<u8>)>,
    ) -> Option<Self> {
        let sub_options = sub_options.into();
        values.retain(|(_, value)| !value.is_empty());
        values.sort_unstable();
        if sub_options.name_nobody() && values.is_empty() {
            return None;
        }
        let SubOptions(mut facts) = sub_options;
        let begin = facts.bytes().len();
        values.iter().for_each(|(name, value)| facts.push(name.as_bytes(), value));
        let facts = facts.into_bytes();
        let hash = HASH.hash_one((begin, &facts));
        Some(Request { hash, facts, values_begin: begin })
    }

    /// The sub-options that the request is made of: code and payload.
    pub fn sub_options(&self) -> impl Iterator<Item = (u8, &[u8])> {
        // The name of a sub-option is its code.
        facts::iter(&self.facts[..self.values_begin]).map(|(name, payload)| (name[0], payload))
    }

    /// Whether the request is made of these sub-options.
    pub fn has(&self, sub_options: &SubOptions) -> bool {
        self.facts[..self.values_begin] == *sub_options.0.bytes()
    }

    /// The values that the request is made of: name and value.
    pub fn values(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // The name of a value was a text when it was added.
        let text = |name| std::str::from_utf8(name).unwrap_or_default();
        facts::iter(&self.facts[self.values_begin..]).map(move |(name, value)| (text(name), value))
    }

    /// How many bytes the request keeps, about.
    pub fn bytes(&self) -> usize {
        /// What a request takes beside what is asked about.
        const EACH: usize = 64;
        EACH + self.facts.len()
    }

    /// The URL to ask a service, whose own query is kept.
    pub fn url(&self, service: &ServiceUrl) -> Result<Url, UrlError> {
        let text = self.text(service)?;
        if service.has_path_values() {
            return Ok(Url::parse(&text)?);
        }
        // All before the query is as in the service's own URL, which has been parsed.
        let mut url = service.url().clone();
        url.set_query(text.split_once('?').map(|(_, query)| query));
        Ok(url)
    }

    /// Why the request must not be made: a value would lead to another path at one of the services.
    /// `None` where it may be made.
    pub fn path_error(&self, services: &[ServiceUrl]) -> Option<UrlError> {
        let mut with_path = services.iter().filter(|service| service.has_path_values());
        with_path.find_map(|service| service.filled(|name| self.value(name)).err())
    }

    /// The value of this name, empty where the request has none.
    fn value(&self, name: &str) -> &[u8] {
        self.values().find(|(other, _)| *other == name).map_or(&[], |(_, value)| value)
    }

    /// The text of [`Request::url`], without credentials, for logs.
    pub fn shown_at<'a>(&'a self, service: &'a ServiceUrl) -> impl fmt::Display + 'a {
        ShownAt(self, service)
    }

    fn text(&self, service: &ServiceUrl) -> Result<String, UrlError> {
        let mut url = service.filled(|name| self.value(name))?;
        // Encoded values have no `?`, so the first one begins the query of the service's own URL.
        let mut separator = match url.find('?') {
            None => "?",
            Some(start) if start + 1 == url.len() => "",
            Some(_) => "&",
        };
        for (code, bytes) in self.sub_options() {
            // A String takes everything that is written to it.
            let _ = write!(url, "{separator}sub82_{code}={}", hex::encode_upper(bytes));
            separator = "&";
        }
        for (name, value) in self.values() {
            if !service.names().any(|placed| placed == name) {
                let _ = write!(url, "{separator}{name}={}", percent_encode(value, RESERVED));
                separator = "&";
            }
        }
        Ok(url)
    }
}

/// A request's URL at one service, as text.
struct ShownAt<'a>(&'a Request, &'a ServiceUrl);

impl fmt::Display for ShownAt<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.0.url(self.1) {
            Ok(url) => shown(&url).fmt(formatter),
            Err(error) => error.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> ServiceUrl {
        ServiceUrl::new(Url::parse(url).unwrap())
    }

    /// What is asked about a client with sub-option 1 "foo" and these values.
    fn asked_with(base: &str, values: &[(&str, &[u8])]) -> String {
        let values = values.iter().map(|(name, value)| ((*name).into(), value.to_vec())).collect();
        Request::new(vec![(1, b"foo".to_vec())], values)
            .unwrap()
            .url(&service(base))
            .unwrap()
            .into()
    }

    fn asked(base: &str, sub_options: &[(u8, &[u8])]) -> Option<String> {
        let sub_options: Vec<_> =
            sub_options.iter().map(|(code, bytes)| (*code, bytes.to_vec())).collect();
        Some(Request::new(sub_options, Vec::new())?.url(&service(base)).unwrap().into())
    }

    #[test]
    fn upper_case_hex_in_order() {
        assert_eq!(
            asked("http://b/", &[(1, b"foo"), (2, b"\x00\xff\x80"), (9, b"")]).unwrap(),
            "http://b/?sub82_1=666F6F&sub82_2=00FF80&sub82_9="
        );
    }

    #[test]
    fn a_query_of_the_service_is_kept() {
        for (base, expected) in [
            ("http://b", "http://b/?sub82_2=62"),
            ("http://b/p?", "http://b/p?sub82_2=62"),
            ("http://b/p?a=b%20c&d", "http://b/p?a=b%20c&d&sub82_2=62"),
            ("https://b:8443/p/q?x=1+2", "https://b:8443/p/q?x=1+2&sub82_2=62"),
        ] {
            assert_eq!(asked(base, &[(2, b"b")]).unwrap(), expected);
        }
    }

    #[test]
    fn a_url_is_the_one_that_its_text_is() {
        for base in [
            "http://b",
            "http://u:p@b:81/p?",
            "https://b/p?a={mac}&b='\"<>`{}",
            "http://[::1]/{mac}/q",
            "http://b/p?{mac}",
        ] {
            let service = service(base);
            let values =
                vec![("mac".into(), b"a?b&c#d\xff'".to_vec()), ("n".into(), b"1".to_vec())];
            let request = Request::new(vec![(1, b"foo".to_vec())], values).unwrap();
            let text = request.text(&service).unwrap();
            assert_eq!(request.url(&service).unwrap(), Url::parse(&text).unwrap());
        }
    }

    #[test]
    fn nothing_to_name_the_client_by() {
        assert_eq!(asked("http://b/", &[]), None);
        assert_eq!(asked("http://b/", &[(1, b""), (2, b"")]), None);
    }

    #[test]
    fn values_follow_in_the_order_of_their_names() {
        assert_eq!(
            asked_with(
                "http://b/?site=1",
                &[("mac", b"02:0c"), ("class", b"a b/\xff~"), ("none", b"")]
            ),
            "http://b/?site=1&sub82_1=666F6F&class=a%20b%2F%FF~&mac=02%3A0c"
        );
        let request = |value: &[u8]| Request::new(Vec::new(), vec![("mac".into(), value.to_vec())]);
        assert_eq!(
            request(b"x").unwrap().url(&service("http://b")).unwrap().as_str(),
            "http://b/?mac=x"
        );
        assert_eq!(request(b""), None);
    }

    #[test]
    fn placeholders_take_values() {
        let values: &[(&str, &[u8])] = &[("mac", b"02:0c"), ("site", b"a/b?c"), ("x", b"{mac}")];
        for (base, expected) in [
            (
                "http://b/m/{mac}/boot",
                "http://b/m/02%3A0c/boot?sub82_1=666F6F&site=a%2Fb%3Fc&x=%7Bmac%7D",
            ),
            (
                "http://b/{mac}/{site}{mac}?x={x}",
                "http://b/02%3A0c/a%2Fb%3Fc02%3A0c?x=%7Bmac%7D&sub82_1=666F6F",
            ),
        ] {
            assert_eq!(asked_with(base, values), expected);
        }
        assert_eq!(
            asked_with("http://b/m?q={mac}", &[("mac", b"..")]),
            "http://b/m?q=..&sub82_1=666F6F"
        );
        assert_eq!(asked_with("http://b/m?{mac}", &[]), "http://b/m?sub82_1=666F6F");
        assert_eq!(asked_with("http://b/m#{mac}", &[]), "http://b/m?sub82_1=666F6F");
        let names: Vec<_> =
            service("http://b/{a}/{b.c-d_e}?{f}={a").names().map(str::to_owned).collect();
        assert_eq!(names, ["a", "b.c-d_e", "f"]);
    }

    #[test]
    fn no_value_leads_to_another_path() {
        let sub_options = || vec![(1, b"foo".to_vec())];
        let error = |base: &str, values: &[(&str, &[u8])]| {
            let values =
                values.iter().map(|(name, value)| ((*name).into(), value.to_vec())).collect();
            let request = Request::new(sub_options(), values).unwrap();
            let error = request.path_error(&[service("http://b/"), service(base)]);
            assert_eq!(request.url(&service(base)).err(), error, "{base}");
            error.map(|error| error.to_string())
        };
        for (base, value, shown) in [
            ("http://b/m/{mac}/boot", &b"."[..], "\".\""),
            ("http://b/m/{mac}/boot", b"..", "\"..\""),
            ("http://b/m/{mac}/boot", b"", "empty"),
            ("http://b/m-{mac}", b"", "empty"),
            ("http://b/m/%2E{mac}", b".", "\".\""),
            ("http://b/{mac}?x={mac}", b"..", "\"..\""),
        ] {
            let expected =
                format!("the value of \"mac\" is {shown}, which would lead to another path");
            assert_eq!(error(base, &[("mac", value)]), Some(expected), "{base}");
        }
        for (base, value) in [
            ("http://b/m/{mac}/boot", &b"..."[..]),
            ("http://b/m/{mac}/boot", b"../x"),
            ("http://b/m?{mac}", b".."),
            ("http://b/m?x={mac}", b""),
        ] {
            assert_eq!(error(base, &[("mac", value)]), None, "{base}");
        }
        assert!(error("http://b/{a}{b}", &[("a", b"."), ("b", b"x")]).is_some());
    }

    #[test]
    fn logs_show_no_credentials() {
        let request = Request::new(vec![(1, b"x".to_vec())], Vec::new()).unwrap();
        for (url, expected) in [
            ("http://u:p@h:81/x?y=@", "http://h:81/x?y=@&sub82_1=78"),
            ("http://h/02%3A0c%20?m=%3D%3D%40", "http://h/02:0c%20?m===@&sub82_1=78"),
            ("https://u@[::1]/", "https://[::1]/?sub82_1=78"),
            ("http://h/", "http://h/?sub82_1=78"),
        ] {
            assert_eq!(request.shown_at(&service(url)).to_string(), expected);
        }
        assert_eq!(service("http://u:p@h/{mac}?{x}").to_string(), "http://h/{mac}?{x}");
    }
}
