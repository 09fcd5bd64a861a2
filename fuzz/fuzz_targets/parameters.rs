// SPDX-License-Identifier: MPL-2.0
//! Any text as the library's parameters.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use remote_opts_core::answer::length;
use remote_opts_core::config::{self, Settings};
use remote_opts_core::filter::{Filter, MachineGuid};
use remote_opts_core::hexadecimal;
use remote_opts_core::http;
use remote_opts_core::request::{Request, ServiceUrl, UrlError};
use serde_json::{Map, Value};
use url::{Position, Url};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest list of texts that a parameter takes.
const LONGEST_LIST: usize = 64;

/// The longest option 97, in bytes.
const LONGEST_MACHINE_ID: usize = 17;

/// Stands where a secret stands, which no error may show.
const SECRET: &str = "hunter2hunter2";

/// Values of `query` that would lead a request to another place if they were not encoded or refused.
const VALUES: [&[u8]; 9] =
    [b"", b".", b"..", b"/", b"%2e", b"%2E.", b"/../?a=b&c#d", b"@h:1\\{x}%7Bx%7D", b"\xff\0 "];

/// A value that leads nowhere, whatever stands beside it.
const PLAIN: &[u8] = b"a";

fuzz_target!(|text: &str| {
    check_machine_guid(text);
    match config::parse(text) {
        Ok(settings) => {
            check(&settings);
            let given = serde_json::from_str(text).expect("a map");
            check_filter(&settings.filter, &given);
            let require_relay = one(&given, &["require-relay"]).is_some_and(|value| *value == true);
            assert_eq!(settings.require_relay, require_relay);
            let again = config::parse(text).expect("the same text");
            assert_eq!(again, settings, "the same text gives the same settings");
        }
        Err(error) => check_text(&error.to_string()),
    }
    check_secrets(text);
});

/// A text for the log is one line.
fn check_text(text: &str) {
    assert!(!text.contains(['\n', '\r']), "{text:?}");
}

/// Sets the HTTP client up, which checks the parameter `headers`. Returns why the client refuses
/// the settings. A client takes milliseconds, so most settings are left out: settings without
/// headers or with several services, and settings with an https URL, which needs the system's
/// certificate authorities. Settings that name files are left out because a random text may name
/// any file.
fn refused_by_client(settings: &Settings) -> Option<String> {
    let files = settings.bearer_token_file.is_some()
        || settings.trust_anchor.is_some()
        || settings.client_certificate.is_some();
    let [service] = &settings.services[..] else { return None };
    if files || settings.headers.is_empty() || service.url().scheme() == "https" {
        return None;
    }
    http::Client::new(settings, 1).err().map(|error| error.to_string())
}

fn check(settings: &Settings) {
    let timeouts = Duration::from_millis(1)..=Duration::from_secs(600);
    assert!(timeouts.contains(&settings.timeout));
    assert!(settings.freshness.fresh_for <= YEAR && settings.freshness.stale_for <= YEAR);
    assert!(settings.cache_size <= 10_000_000);
    assert!((1..=1_000_000).contains(&settings.max_in_flight));
    for datagram in [None, Some(0), Some(576), Some(1500), Some(u16::MAX)] {
        let longest = length::Longest::new(settings.max_reply_size, datagram).bytes;
        assert!((548..=65_507).contains(&longest) && longest <= settings.max_reply_size);
    }
    for (name, expression) in &settings.query {
        assert!(!name.is_empty() && !expression.is_empty());
        let plain = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
        assert!(name.chars().all(plain), "{name}");
    }

    let urls: BTreeSet<_> = settings.services.iter().map(|service| service.url()).collect();
    assert_eq!(urls.len(), settings.services.len(), "no URL is there twice");
    assert!((1..=16).contains(&urls.len()));
    for service in &settings.services {
        assert!(matches!(service.url().scheme(), "http" | "https"));
        assert!(service.names().all(|name| settings.query.contains_key(name)));
        check_text(&service.to_string());
    }
    check_paths(settings);
}

/// Checks whom the filter admits. `given` are the parameters.
fn check_filter(filter: &Filter, given: &Map<String, Value>) {
    check_text(&filter.to_string());
    assert_ne!(filter.expression, Some(String::new()));
    let (classes, guids) = (&filter.user_class, &filter.machine_guid);
    assert_eq!(classes.len(), texts(given, &["user-class"]).len(), "each text counts");
    let given_guids = texts(given, &["machine-guid", "machine-id"]);
    assert_eq!(guids.len(), given_guids.len(), "each text counts");
    assert!(classes.len() <= LONGEST_LIST && guids.len() <= LONGEST_LIST);
    given_guids.into_iter().for_each(check_machine_guid);
    for nobody in [None, Some(&[][..])] {
        assert_eq!(filter.admits(nobody, nobody), filter.is_open(), "a client without a name");
    }
    for class in classes {
        assert!(!class.is_empty());
        assert!(filter.admits(Some(class), None));
        assert!(filter.admits(Some(&[class, &[0][..]].concat()), None));
        if let Ok(length) = u8::try_from(class.len()) {
            assert!(filter.admits(Some(&[&[length][..], class].concat()), None));
        }
    }
}

/// Checks that some client can send what a machine-guid means, or that no client can where it is
/// refused.
fn check_machine_guid(text: &str) {
    let spelled = hexadecimal::decode(text);
    // Who writes 0x means digits, so a mistake in them makes no text.
    let as_text =
        (spelled.is_some() || !text.to_ascii_lowercase().starts_with("0x")).then(|| text.into());
    let meant = [as_text, spelled, dashed(text)].into_iter().flatten();
    let sent: Vec<Vec<u8>> =
        meant.filter(|bytes| (1..=LONGEST_MACHINE_ID).contains(&bytes.len())).collect();
    match MachineGuid::new(text.into()) {
        None => assert!(sent.is_empty(), "{text:?}"),
        Some(guid) => {
            let filter = Filter { machine_guid: vec![guid], ..Filter::default() };
            assert!(!sent.is_empty(), "{text:?}");
            assert!(!filter.admits(Some(text.as_bytes()), None), "that is option 77");
            for bytes in sent {
                assert!(filter.admits(None, Some(&bytes)), "{text:?}");
                // Firmware sends the type before the GUID.
                assert!(filter.admits(None, Some(&[&[0][..], &bytes].concat())), "{text:?}");
            }
            assert!(!filter.admits(None, Some(&[])), "{text:?}");
        }
    }
}

/// The bytes of digits with dashes between them, as written.
fn dashed(text: &str) -> Option<Vec<u8>> {
    let is_even = |group: &str| group.len() % 2 == 0;
    let is_dashed = text.contains('-') && text.split('-').all(is_even);
    let digits = text.replace('-', "");
    let is_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_dashed && is_digits).then(|| hexadecimal::decode(&digits))?
}

/// Checks that no value of a request leads it to another place.
fn check_paths(settings: &Settings) {
    let names = || settings.query.keys();
    let all = VALUES.iter().map(|value| names().map(|_| *value).collect::<Vec<_>>());
    // Neighbours with different values.
    let turned = (0..VALUES.len()).map(|first| {
        let values = VALUES.iter().cycle().skip(first);
        names().zip(values).map(|(_, value)| *value).collect()
    });
    // Any values: the texts of the expressions.
    let any = settings.query.values().map(|text| text.as_bytes()).collect();
    for values in all.chain(turned).chain([any]) {
        let request = request(settings, &values);
        let refused = settings.services.iter().filter(|service| check_path(&request, service));
        assert_eq!(refused.count() > 0, request.path_error(&settings.services).is_some());
    }
    let plain = request(settings, &names().map(|_| PLAIN).collect::<Vec<_>>());
    assert_eq!(plain.path_error(&settings.services), None, "a plain value is never refused");
}

/// A request with these values, in the order of their names.
fn request(settings: &Settings, values: &[&[u8]]) -> Request {
    let names = settings.query.keys().map(|name| name.as_str().into());
    let values = names.zip(values.iter().map(|value| value.to_vec())).collect();
    Request::new(vec![(1, b"x".to_vec())], values).expect("a client with a name")
}

/// Checks where a request leads at one service. Returns whether it is refused.
fn check_path(request: &Request, service: &ServiceUrl) -> bool {
    check_text(&request.shown_at(service).to_string());
    let url = service.url();
    match request.url(service) {
        Ok(asked) => {
            let (end, segments) = (Position::BeforePath, |path: &str| path.split('/').count());
            assert_eq!(asked[..end], url[..end], "the service that was configured");
            assert_eq!(segments(asked.path()), segments(url.path()), "{asked}");
            // The text around the placeholders stands as it is.
            let before = url.path().split("%7B").next().unwrap_or_default();
            let behind = url.path().rsplit("%7D").next().unwrap_or_default();
            assert!(asked.path().starts_with(before) && asked.path().ends_with(behind), "{asked}");
            assert_eq!(asked.fragment(), None);
            // An empty value would ask for the folder in the place of the machine.
            for name in service.names().filter(|name| has_path_value(url, name)) {
                assert!(!matches!(value(request, name), b"" | b"." | b".."), "{asked}");
            }
            false
        }
        Err(UrlError::PathValue { name, value: refused }) => {
            assert!(has_path_value(url, &name), "a value in the query leads nowhere");
            assert_eq!(value(request, &name), refused, "{name}");
            true
        }
        Err(UrlError::Parse(error)) => panic!("{error}: a value made another thing of {url}"),
    }
}

/// Whether the path of a service's URL takes the value of this name.
fn has_path_value(url: &Url, name: &str) -> bool {
    url.path().contains(&format!("%7B{name}%7D"))
}

/// A value of a request, empty where the request has none.
fn value<'a>(request: &'a Request, name: &str) -> &'a [u8] {
    request.values().find(|(other, _)| *other == name).map_or(&[], |(_, value)| value)
}

/// A parameter of one of these names, in any spelling.
fn one<'a>(given: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let mut members = given.iter();
    let found = members.find(|(spelling, _)| names.contains(&&*spelling.replace('_', "-")));
    found.map(|(_, value)| value)
}

/// The texts of a parameter that takes one or a list.
fn texts<'a>(given: &'a Map<String, Value>, names: &[&str]) -> Vec<&'a str> {
    let text = |value: &'a Value| value.as_str().expect("a text");
    match one(given, names) {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => vec![text(one)],
    }
}

/// Checks that no error shows the value of a header field, or the user name and password of a URL.
fn check_secrets(text: &str) {
    let Ok(Value::Object(mut given)) = serde_json::from_str(text) else { return };
    if text.contains(SECRET) {
        return;
    }
    if let Some(Value::Object(headers)) = given.get_mut("headers") {
        headers.values_mut().for_each(|value| strings(value, &|text| text.push_str(SECRET)));
    }
    if let Some(url) = given.get_mut("url") {
        strings(url, &|text| {
            // The text between the scheme with its slashes and an @, in a valid URL or not.
            let rest = text.split_once(':').map_or(&**text, |(_scheme, rest)| rest);
            let rest = rest.trim_start_matches(['/', '\\', '\t', '\n', '\r']);
            match rest.find(['/', '\\', '?', '#', '@']) {
                Some(at) if rest[at..].starts_with('@') => {
                    text.insert_str(text.len() - rest.len() + at, SECRET);
                }
                _ => (),
            }
        });
    }
    let error = match config::parse(&Value::from(given).to_string()) {
        Err(error) => Some(error.to_string()),
        // A client for each text would make the fuzzer slow.
        Ok(settings) if text.len() % 8 == 0 => refused_by_client(&settings),
        Ok(_) => None,
    };
    if let Some(error) = error {
        check_text(&error);
        assert!(!error.contains(SECRET), "{error}");
    }
}

/// Changes every text in a value, by `change`.
fn strings(value: &mut Value, change: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| strings(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| strings(member, change)),
        _ => (),
    }
}
