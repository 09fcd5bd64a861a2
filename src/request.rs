//! What the backend is asked: the URL of a lookup. Pure: bytes in, URL out.

use std::fmt::Write as _;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use url::{Position, Url};

/// The code of the relay agent information option (RFC 3046).
pub const RELAY_AGENT_INFORMATION: u8 = 82;

/// The sub-options of option 82 that name a client, in the order of the request: Agent Circuit ID and Agent Remote
/// ID (RFC 3046, section 3), and Vendor-Specific Information (RFC 4243). Backends key on this order.
pub const SUB_OPTIONS: [u8; 3] = [1, 2, 9];

/// All that is not unreserved (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A backend's URL, in which `{name}` stands for a value of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The URL in its parts.
    parts: Vec<Part>,
    /// Where its path begins.
    path: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// As it stands.
    Text(String),
    /// A placeholder: its name, and as it stands.
    Value(String, String),
}

impl Target {
    /// Finds the placeholders in the path and the query of an URL. A fragment is no part of a request.
    pub fn new(mut url: Url) -> Self {
        url.set_fragment(None);
        let path = url[..Position::BeforePath].len();
        let mut rest = &url[Position::BeforePath..];
        let mut parts = vec![Part::Text(url[..Position::BeforePath].to_owned())];
        while let Some((before, whole, name, after)) = placeholder(rest) {
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Value(name.to_owned(), whole.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Target { url, parts, path }
    }

    /// The URL, placeholders and all.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What stands in the placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(name, _) => Some(name.as_str()),
        })
    }

    /// The URL with values in the places of its placeholders. One that is `.` or `..` is left out, since these cannot be
    /// encoded: no value leads to another path.
    fn filled<'a>(&self, value: impl Fn(&str) -> &'a [u8]) -> String {
        let mut text = String::with_capacity(2 * self.url.as_str().len() + 64);
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(name, whole) => match value(name) {
                    b"." | b".." => text.push_str(whole),
                    value => text.extend(percent_encode(value, RESERVED)),
                },
            }
        }
        let end = text.find('?').unwrap_or(text.len());
        if self.parts.len() > 2 && text[self.path..end].split('/').any(is_dots) {
            return self.url.to_string();
        }
        text
    }
}

/// Whether a segment of a path means another one (URL Standard, "single-dot" and "double-dot URL path segment").
fn is_dots(segment: &str) -> bool {
    segment.len() <= "%2e%2e".len()
        && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// The first placeholder of an URL as it is written out, which encodes their braces in its path but not in its query: what
/// stands before it, the whole, its name, and what stands behind it.
fn placeholder(url: &str) -> Option<(&str, &str, &str, &str)> {
    const BRACES: [(&str, &str); 2] = [("%7B", "%7D"), ("{", "}")];
    let found = BRACES.iter().filter_map(|(open, close)| {
        let start = url.find(open)?;
        let length = url[start + open.len()..].find(close)?;
        let end = start + open.len() + length + close.len();
        Some((&url[..start], &url[start..end], &url[start + open.len()..][..length], &url[end..]))
    });
    found.min_by_key(|(before, ..)| before.len())
}

/// What is asked about one client, of whichever backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The sub-options (code and bytes) that name the client, in the order of [`SUB_OPTIONS`].
    sub_options: Vec<(u8, Vec<u8>)>,
    /// The values of `query` that are not empty, in the order of their names.
    values: Vec<(Arc<str>, Vec<u8>)>,
}

impl Request {
    /// A request about the client that these sub-options (code and bytes, in the order of the request) and values (those of
    /// `query`) name; `None` when there is neither. An empty value is none.
    pub fn new(sub_options: Vec<(u8, Vec<u8>)>, mut values: Vec<(Arc<str>, Vec<u8>)>) -> Option<Self> {
        values.retain(|(_, value)| !value.is_empty());
        values.sort_unstable();
        let named = !sub_options.is_empty() || !values.is_empty();
        named.then_some(Request { sub_options, values })
    }

    /// The URL to ask this backend, whose own query is kept as it is.
    pub fn url(&self, target: &Target) -> String {
        let mut url = target.filled(|name| {
            let found = self.values.iter().find(|(other, _)| **other == *name);
            found.map_or(&[], |(_, value)| value.as_slice())
        });
        // What is encoded has no `?`, so this one begins the backend's own query.
        let mut separator = match url.find('?') {
            None => "?",
            Some(start) if start + 1 == url.len() => "",
            Some(_) => "&",
        };
        for (code, bytes) in &self.sub_options {
            // A String takes all that is written to it.
            let _ = write!(url, "{separator}sub82_{code}={}", hex::encode_upper(bytes));
            separator = "&";
        }
        for (name, value) in &self.values {
            if !target.names().any(|placed| *placed == **name) {
                let _ = write!(url, "{separator}{name}={}", percent_encode(value, RESERVED));
                separator = "&";
            }
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(backend: &str) -> Target {
        Target::new(Url::parse(backend).unwrap())
    }

    /// What is asked about a client with sub-option 1 "foo" and these values.
    fn asked_with(backend: &str, values: &[(&str, &[u8])]) -> String {
        let values = values.iter().map(|(name, value)| ((*name).into(), value.to_vec())).collect();
        Request::new(vec![(1, b"foo".to_vec())], values).unwrap().url(&target(backend))
    }

    fn asked(backend: &str, sub_options: &[(u8, &[u8])]) -> Option<String> {
        let sub_options: Vec<_> = sub_options.iter().map(|(code, bytes)| (*code, bytes.to_vec())).collect();
        Some(Request::new(sub_options, Vec::new())?.url(&target(backend)))
    }

    #[test]
    fn upper_case_hex_in_order() {
        assert_eq!(
            asked("http://b/", &[(1, b"foo"), (2, b"\x00\xff\x80"), (9, b"")]).unwrap(),
            "http://b/?sub82_1=666F6F&sub82_2=00FF80&sub82_9="
        );
    }

    #[test]
    fn a_query_of_the_backend_is_kept() {
        for (backend, expected) in [
            ("http://b", "http://b/?sub82_2=62"),
            ("http://b/p?", "http://b/p?sub82_2=62"),
            ("http://b/p?a=b%20c&d", "http://b/p?a=b%20c&d&sub82_2=62"),
            ("https://b:8443/p/q?x=1+2", "https://b:8443/p/q?x=1+2&sub82_2=62"),
        ] {
            assert_eq!(asked(backend, &[(2, b"b")]).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_to_name_the_client_by() {
        assert_eq!(asked("http://b/", &[]), None);
    }

    #[test]
    fn values_follow_in_the_order_of_their_names() {
        assert_eq!(
            asked_with("http://b/?site=1", &[("mac", b"02:0c"), ("class", b"a b/\xff~"), ("none", b"")]),
            "http://b/?site=1&sub82_1=666F6F&class=a%20b%2F%FF~&mac=02%3A0c"
        );
        let request = |value: &[u8]| Request::new(Vec::new(), vec![("mac".into(), value.to_vec())]);
        assert_eq!(request(b"x").unwrap().url(&target("http://b")), "http://b/?mac=x");
        assert_eq!(request(b""), None);
    }

    #[test]
    fn placeholders_take_values() {
        let values: &[(&str, &[u8])] = &[("mac", b"02:0c"), ("site", b"a/b?c"), ("x", b"{mac}")];
        for (backend, expected) in [
            ("http://b/m/{mac}/boot", "http://b/m/02%3A0c/boot?sub82_1=666F6F&site=a%2Fb%3Fc&x=%7Bmac%7D"),
            (
                "http://b/{mac}/{site}{mac}?x={x}",
                "http://b/02%3A0c/a%2Fb%3Fc02%3A0c?x=%7Bmac%7D&sub82_1=666F6F",
            ),
        ] {
            assert_eq!(asked_with(backend, values), expected);
        }
        assert_eq!(asked_with("http://b/m/{mac}/boot", &[]), "http://b/m//boot?sub82_1=666F6F");
        // No value leads to another path.
        for value in [&b"."[..], b".."] {
            assert_eq!(
                asked_with("http://b/m/{mac}/boot", &[("mac", value)]),
                "http://b/m/%7Bmac%7D/boot?sub82_1=666F6F"
            );
            assert_eq!(
                asked_with("http://b/{x}/{mac}", &[("mac", value), ("x", b"7")]),
                "http://b/7/%7Bmac%7D?sub82_1=666F6F"
            );
            assert_eq!(
                asked_with("http://b/m/%2E{mac}", &[("mac", &value[..1])]),
                "http://b/m/%2E%7Bmac%7D?sub82_1=666F6F"
            );
        }
        assert_eq!(asked_with("http://b/m?q={mac}", &[("mac", b"..")]), "http://b/m?q={mac}&sub82_1=666F6F");
        assert_eq!(asked_with("http://b/m?{mac}", &[]), "http://b/m?sub82_1=666F6F");
        assert_eq!(asked_with("http://b/m#{mac}", &[]), "http://b/m?sub82_1=666F6F");
        let names: Vec<_> = target("http://b/{a}/{b.c-d_e}?{f}={a").names().map(str::to_owned).collect();
        assert_eq!(names, ["a", "b.c-d_e", "f"]);
    }
}
