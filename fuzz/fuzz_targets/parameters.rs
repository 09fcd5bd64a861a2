//! Any text as the library's parameters.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use remote_opts::parameters::{self, Parameters};
use remote_opts::request::Request;
use serde_json::Value;
use url::{Position, Url};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Put into what must not be shown.
const SECRET: &str = "hunter2hunter2";

/// Values of `query` that would lead a request astray if they were not encoded.
const VALUES: [&[u8]; 4] = [b"..", b"/../?a=b&c#d", b"@h:1\\{x}%7Bx%7D", b"\xff\0 "];

fuzz_target!(|text: &str| {
    match parameters::parse(text) {
        Ok(parameters) => {
            check(&parameters);
            assert_eq!(parameters::parse(text), Ok(parameters), "the same text is the same parameters");
        }
        Err(error) => check_text(&error.to_string()),
    }
    check_secrets(text);
});

/// What the log gets is one line.
fn check_text(text: &str) {
    assert!(!text.contains(['\n', '\r']), "{text:?}");
}

fn check(parameters: &Parameters) {
    check_text(&parameters.filter.to_string());
    assert!((Duration::from_millis(1)..=Duration::from_secs(600)).contains(&parameters.timeout));
    assert!(parameters.freshness.life <= YEAR && parameters.freshness.stale <= YEAR);
    assert!(parameters.cache_size <= 10_000_000);
    assert!((1..=1_000_000).contains(&parameters.max_in_flight));
    assert!(parameters.headers.values().all(|value| value.is_sensitive()));
    assert!(parameters.bearer_token_file.is_none() || !parameters.headers.contains_key("authorization"));
    assert_ne!(parameters.filter.user_class, Some(Vec::new()));
    assert!(!parameters.filter.machine_id.contains(&Vec::new()));
    assert_ne!(parameters.filter.expression, Some(String::new()));
    for (name, expression) in &parameters.query {
        assert!(!name.is_empty() && !expression.is_empty());
        assert!(name.chars().all(|char| char.is_ascii_alphanumeric() || "-._".contains(char)), "{name}");
    }

    let urls: BTreeSet<_> = parameters.targets.iter().map(|target| target.url()).collect();
    assert_eq!(urls.len(), parameters.targets.len(), "no URL is there twice");
    assert!((1..=16).contains(&urls.len()));
    for target in &parameters.targets {
        assert!(matches!(target.url().scheme(), "http" | "https"));
        assert!(target.names().all(|name| parameters.query.contains_key(name)));
        for value in VALUES {
            let values = parameters.query.keys().map(|name| (name.as_str().into(), value.to_vec())).collect();
            let Some(request) = Request::new(Vec::new(), values) else { continue };
            let text = request.url(target);
            let asked = Url::parse(&text).expect("a URL");
            assert_eq!(asked.as_str(), text, "what is asked is the key, as it stands");
            let (end, segments) = (Position::BeforePath, |path: &str| path.split('/').count());
            assert_eq!(asked[..end], target.url()[..end], "the backend that was configured");
            assert_eq!(segments(asked.path()), segments(target.url().path()), "{asked}");
        }
    }
}

/// Errors never show the value of a header, nor the user name and password of an URL.
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
            // Well-formed or not: what stands between the scheme with its slashes and an @.
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
    if let Err(error) = parameters::parse(&Value::from(given).to_string()) {
        let error = error.to_string();
        assert!(!error.contains(SECRET), "{error}");
    }
}

/// Changes every text in a value.
fn strings(value: &mut Value, change: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| strings(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| strings(member, change)),
        _ => (),
    }
}
