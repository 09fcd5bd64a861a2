//! What the backend is asked: the URL of a lookup. Pure: bytes in, URL out.

use std::collections::BTreeMap;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use url::{Position, Url};

/// The code of the relay agent information option (RFC 3046).
pub const RELAY_AGENT_INFORMATION: u8 = 82;

/// The sub-options of option 82 that name a client, in the order of the request: Agent Circuit ID and Agent Remote
/// ID (RFC 3046, section 3), and Vendor-Specific Information (RFC 4243). Backends key on this order.
pub const SUB_OPTIONS: [u8; 3] = [1, 2, 9];

/// All that is not unreserved (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where placeholders stand: in the path and the query.
const PLACES: Range<Position> = Position::BeforePath..Position::AfterQuery;

/// A backend's URL, in which `{name}` stands for a value of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    names: Vec<String>,
}

impl Target {
    /// Finds the placeholders in the path and the query of an URL.
    pub fn new(url: Url) -> Self {
        let names = placeholders(&url[PLACES]).map(|(_, name)| name.to_owned()).collect();
        Target { url, names }
    }

    /// The URL, placeholders and all.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What stands in the placeholders.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// The placeholders of an URL as it is written out, which encodes their braces in its path but not in its query: each with
/// its braces, and its name.
fn placeholders(url: &str) -> impl Iterator<Item = (&str, &str)> {
    const BRACES: [(&str, &str); 2] = [("%7B", "%7D"), ("{", "}")];
    let mut rest = url;
    std::iter::from_fn(move || {
        let found = BRACES.iter().filter_map(|(open, close)| {
            let start = rest.find(open)?;
            let length = rest[start + open.len()..].find(close)?;
            let end = start + open.len() + length + close.len();
            Some((start, end, &rest[start..end], &rest[start + open.len()..][..length]))
        });
        let (_, end, whole, name) = found.min_by_key(|found| found.0)?;
        rest = &rest[end..];
        Some((whole, name))
    })
}

/// What is asked about one client, of whichever backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The sub-options (code and bytes) that name the client, in the order of [`SUB_OPTIONS`].
    sub_options: Vec<(u8, Vec<u8>)>,
    /// The values of `query` that are not empty, by name.
    values: BTreeMap<String, Vec<u8>>,
}

impl Request {
    /// A request about the client that these sub-options (code and bytes, in the order of the request) and values (those of
    /// `query`) name; `None` when there is neither. An empty value is none.
    pub fn new(sub_options: Vec<(u8, Vec<u8>)>, mut values: BTreeMap<String, Vec<u8>>) -> Option<Self> {
        values.retain(|_, value| !value.is_empty());
        let named = !sub_options.is_empty() || !values.is_empty();
        named.then_some(Request { sub_options, values })
    }

    /// The URL to ask this backend, whose own query is kept as it is.
    pub fn url(&self, Target { url, names }: &Target) -> Url {
        let encoded = |name: &str| percent_encode(self.values.get(name).map_or(&[], Vec::as_slice), RESERVED);
        let mut url = url.clone();
        if !names.is_empty() {
            let mut text = url[..PLACES.start].to_owned();
            let mut rest = &url[PLACES];
            for (whole, name) in placeholders(rest) {
                let (before, after) = rest.split_once(whole).unwrap_or((rest, ""));
                text.extend([before, &encoded(name).to_string()]);
                rest = after;
            }
            text.push_str(rest);
            // `.` and `..` cannot be encoded: where they would make another path, the placeholders stay.
            url = Url::parse(&text).ok().filter(|made| made.as_str() == text).unwrap_or(url);
        }
        let sub_options =
            self.sub_options.iter().map(|(code, bytes)| format!("sub82_{code}={}", hex::encode_upper(bytes)));
        let values = self.values.keys().filter(|name| !names.contains(name));
        let values = values.map(|name| format!("{name}={}", encoded(name)));
        let own = url.query().filter(|query| !query.is_empty()).map(str::to_owned);
        let query: Vec<_> = own.into_iter().chain(sub_options).chain(values).collect();
        if !query.is_empty() {
            url.set_query(Some(&query.join("&")));
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
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        Request::new(vec![(1, b"foo".to_vec())], values).unwrap().url(&target(backend)).into()
    }

    fn asked(backend: &str, sub_options: &[(u8, &[u8])]) -> Option<String> {
        let sub_options: Vec<_> = sub_options.iter().map(|(code, bytes)| (*code, bytes.to_vec())).collect();
        Some(Request::new(sub_options, BTreeMap::new())?.url(&target(backend)).into())
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
        let request = |value: &[u8]| Request::new(Vec::new(), [("mac".to_owned(), value.to_vec())].into());
        assert_eq!(request(b"x").unwrap().url(&target("http://b")).as_str(), "http://b/?mac=x");
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
        }
        assert_eq!(target("http://b/{a}/{b.c-d_e}?{f}={a").names(), ["a", "b.c-d_e", "f"]);
    }
}
