// SPDX-License-Identifier: MPL-2.0
//! Parameters as Kea hands them over, good and bad.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::parameter::names;
use super::*;

fn error(json: &str) -> String {
    parse(json).unwrap_err().to_string()
}

#[test]
fn defaults() {
    let settings = parse(r#"{"url": "http://192.0.2.1/boot"}"#).unwrap();
    assert_eq!(settings.services, [ServiceUrl::new(Url::parse("http://192.0.2.1/boot").unwrap())]);
    assert_eq!(settings.query, BTreeMap::new());
    assert!(settings.filter.is_open());
    assert_eq!(settings.timeout, Duration::from_secs(1));
    assert_eq!(settings.headers, []);
    assert_eq!(
        (settings.bearer_token_file, settings.trust_anchor, settings.client_certificate),
        (None, None, None)
    );
    let (fresh_for, stale_for) = (Duration::from_secs(10), Duration::from_secs(86_400));
    let freshness = Freshness { fresh_for, stale_for };
    assert_eq!((settings.freshness, settings.cache_size), (freshness, 10_000));
    assert_eq!((settings.on_error, settings.max_in_flight), (OnError::Continue, 1024));
    assert_eq!(settings.on_miss, OnMiss::Wait);
    assert_eq!((settings.require_relay, settings.max_reply_size), (false, 1472));
}

#[test]
fn every_spelling() {
    let kebab =
        parse(r#"{"url": "http://b/", "user-class": "test", "machine-guid": "RPi4"}"#).unwrap();
    assert_eq!(kebab.filter.user_class, [b"test"]);
    assert_eq!(kebab.filter.machine_guid, [MachineGuid::new(b"RPi4".to_vec()).unwrap()]);
    for other in [
        r#"{"url": "http://b/", "user_class": "test", "machine_guid": "RPi4"}"#,
        r#"{"url": "http://b/", "user_class": "test", "machine-id": "RPi4"}"#,
        r#"{"url": "http://b/", "user-class": "test", "machine_id": "RPi4"}"#,
    ] {
        assert_eq!(parse(other).unwrap(), kebab);
    }
}

#[test]
fn lists_of_filters() {
    let settings = parse(
        r#"{"url": "http://b/", "machine-guid": ["RPi4", "0x52506935"], "user-class": ["a", "b"]}"#,
    )
    .unwrap();
    let shown = r#"clients with user-class "a" or user-class "b" or machine-guid "RPi4" or machine-guid "0x52506935""#;
    assert_eq!(settings.filter.to_string(), shown);
    assert!(
        error(r#"{"url": "http://b/", "machine-guid": ["RPi4", "0x5"]}"#).starts_with(
            "parameter \"machine-guid\" cannot be \"0x5\" (no option 97 can contain it:"
        )
    );
}

#[test]
fn bytes_past_ascii_as_kea_prints_them() {
    let settings = parse(r#"{"url": "http://b/", "user-class": "Pr\u00c3\u00bcfung"}"#).unwrap();
    assert_eq!(settings.filter.user_class, ["Prüfung".as_bytes()]);
}

#[test]
fn timeouts() {
    let timeout =
        |ms| parse(&format!(r#"{{"url": "http://b/", "timeout": {ms}}}"#)).map(|p| p.timeout);
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
    for url in ["7", "true", "null", "{}", "\"\"", "\"ftp://b/\"", "\"b/boot\"", "\"http://\""] {
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
        for (value, shown) in [
            ("7", "7"),
            ("\"\"", "\"\""),
            ("null", "null"),
            ("[\"test\", 7]", "7"),
            ("[\"\"]", "\"\""),
            ("[]", "a list of 0"),
        ] {
            assert_eq!(
                error(&format!(r#"{{"url": "http://b/", "{name}": {value}}}"#)),
                format!(
                    "parameter \"{name}\" cannot be {shown}: it takes text that is not empty, or a \
                     list of 1 to 64 such texts"
                )
            );
        }
    }
    assert_eq!(
        error(r#"{"url": "http://b/", "tiemout": 5}"#),
        format!("parameter \"tiemout\" is unknown: the library takes {}", names())
    );
    assert!(
        error(r#"{"url": "http://b/", "machine-id": "a", "machine-guid": "a"}"#)
            .contains("there twice")
    );
    assert!(error("[]").contains("cannot be read as a map"));
}
#[test]
fn several_services() {
    let urls = |list: &str| {
        parse(&format!(r#"{{"url": {list}}}"#)).map(|settings| settings.services.len())
    };
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
        (
            "stale-if-error",
            &["0", "31536000"],
            &["-1", "31536001", "true"],
            "seconds from 0 to 31536000",
        ),
        (
            "cache-size",
            &["0", "10000000"],
            &["-1", "10000001", "1.5"],
            "answers from 0 to 10000000",
        ),
        (
            "max-in-flight",
            &["1", "1000000"],
            &["0", "1000001", "null"],
            "lookups from 1 to 1000000",
        ),
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
    let headers = parse(&given(r#"{"X-Site": "fr\u00c3\u00a1"}"#)).unwrap().headers;
    assert_eq!(headers, [("X-Site".to_owned(), "frá".as_bytes().to_vec())]);
    for (headers, words) in [
        ("\"X-Site: secret\"", "cannot be this (no map)"),
        (r#"{"X-Site": 7}"#, "cannot be {\"X-Site\": …} (its value is no text)"),
    ] {
        let error = error(&given(headers));
        let start = "parameter \"headers\" cannot be ";
        assert!(error.starts_with(start) && error.contains(words), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn flags() {
    let http2 = |value: &str| parse(&format!(r#"{{"url": "http://b/", "http2": {value}}}"#));
    assert!(http2("true").unwrap().http2);
    assert!(!http2("false").unwrap().http2);
    for value in ["1", "\"true\"", "null"] {
        let error = http2(value).unwrap_err().to_string();
        let expected = format!("parameter \"http2\" cannot be {value}: it takes true or false");
        assert_eq!(error, expected);
    }
}

/// Each parameter of the table has a reader, and each reader's parameter stands in the table.
#[test]
fn every_parameter_of_the_table_is_known() {
    for parameter in parameter::PARAMETERS {
        for name in [Some(parameter.name), parameter.alias].into_iter().flatten() {
            let error = parse(&format!(r#"{{"url": "http://b/", "{name}": [[]]}}"#)).unwrap_err();
            let expected = format!("parameter \"{}\" ", parameter.name);
            // "url" is there twice here, which serde_json settles: the last one counts.
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
    assert_eq!(names().split(", ").count(), parameter::PARAMETERS.len());
}

#[test]
fn files() {
    let settings =
        parse(r#"{"url": "http://b/", "cert_file": "/c", "key-file": "/k", "trust-anchor": "/t"}"#)
            .unwrap();
    let certificate = ClientCertificate { cert_file: "/c".into(), key_file: "/k".into() };
    assert_eq!(settings.client_certificate, Some(certificate));
    assert_eq!(settings.trust_anchor, Some("/t".into()));
    for (one, other) in [("cert-file", "key-file"), ("key-file", "cert-file")] {
        let error = error(&format!(r#"{{"url": "http://b/", "{one}": "/x"}}"#));
        assert!(error.starts_with(&format!("parameter \"{other}\" is missing")), "{error}");
    }
}

#[test]
fn expressions() {
    let settings = parse(
        r#"{"url": "http://b/{mac}", "match": "option[60].exists",
            "query": {"mac": "hexstring(pkt4.mac, ':')", "a.b-c_D1": "'x'"}}"#,
    )
    .unwrap();
    assert_eq!(settings.filter.expression.as_deref(), Some("option[60].exists"));
    assert!(!settings.filter.is_open());
    assert_eq!(settings.query["mac"], "hexstring(pkt4.mac, ':')");
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
