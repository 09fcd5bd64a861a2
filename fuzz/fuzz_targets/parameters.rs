// SPDX-License-Identifier: MPL-2.0
//! Any text as the library's parameters.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use remote_opts_core::config::{self, Settings};
use remote_opts_core::http;
use remote_opts_core::request::Request;
use serde_json::Value;
use url::Position;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Stands where a secret stands, which no error may show.
const SECRET: &str = "hunter2hunter2";

/// Values of `query` that would lead a request to another place if they were not encoded.
const VALUES: [&[u8]; 4] = [b"..", b"/../?a=b&c#d", b"@h:1\\{x}%7Bx%7D", b"\xff\0 "];

fuzz_target!(|text: &str| {
    match config::parse(text) {
        Ok(settings) => {
            check(&settings);
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
    check_text(&settings.filter.to_string());
    let timeouts = Duration::from_millis(1)..=Duration::from_secs(600);
    assert!(timeouts.contains(&settings.timeout));
    assert!(settings.freshness.fresh_for <= YEAR && settings.freshness.stale_for <= YEAR);
    assert!(settings.cache_size <= 10_000_000);
    assert!((1..=1_000_000).contains(&settings.max_in_flight));
    assert_ne!(settings.filter.user_class, Some(Vec::new()));
    assert!(!settings.filter.machine_guid.contains(&Vec::new()));
    assert_ne!(settings.filter.expression, Some(String::new()));
    for (name, expression) in &settings.query {
        assert!(!name.is_empty() && !expression.is_empty());
        let plain = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
        assert!(name.chars().all(plain), "{name}");
    }

    let urls: BTreeSet<_> = settings.services.iter().map(|service| service.url()).collect();
    assert_eq!(urls.len(), settings.services.len(), "no URL is there twice");
    assert!((1..=16).contains(&urls.len()));
    for service in &settings.services {
        let url = service.url();
        assert!(matches!(url.scheme(), "http" | "https"));
        assert!(service.names().all(|name| settings.query.contains_key(name)));
        check_text(&service.to_string());
        for value in VALUES {
            let names = settings.query.keys();
            let values = names.map(|name| (name.as_str().into(), value.to_vec())).collect();
            let Some(request) = Request::new(Vec::new(), values) else { continue };
            let asked = request.url(service).expect("a URL");
            check_text(&request.shown_at(service).to_string());
            let (end, segments) = (Position::BeforePath, |path: &str| path.split('/').count());
            assert_eq!(asked[..end], url[..end], "the service that was configured");
            assert_eq!(segments(asked.path()), segments(url.path()), "{asked}");
        }
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
