// SPDX-License-Identifier: MPL-2.0
//! Any bytes as the answer of a service.
#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str;

use libfuzzer_sys::fuzz_target;
use remote_opts_core::answer::{
    self, Answer, BOOT_FILE_NAME, CLIENT_CLASSES, Change, DROP, HOSTNAME, IP_ADDRESS, MAX_DEPTH,
    NEXT_SERVER, OPTIONS, OptionId, OptionValue, ParseError, SERVER_HOSTNAME, class_member,
    is_of_the_protocol, routes,
};
use remote_opts_core::hexadecimal;
use serde_json::Value;

/// The longest text that the log shows of one member: its key and its value, both cut.
const LONGEST: usize = 500;

/// Begins the body of some services.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The members of the structured form. One of them is enough to make an answer structured.
const STRUCTURED: [&str; 8] = [
    OPTIONS,
    NEXT_SERVER,
    SERVER_HOSTNAME,
    BOOT_FILE_NAME,
    CLIENT_CLASSES,
    IP_ADDRESS,
    HOSTNAME,
    DROP,
];

fuzz_target!(|body: &[u8]| {
    if let Ok(text) = str::from_utf8(body) {
        check_forms(text);
    }
    let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let value = serde_json::from_slice::<Value>(json);
    let answer = match answer::parse(body) {
        Ok(answer) => answer,
        Err(error) => {
            check_text(&error.to_string());
            match error {
                ParseError::NotJson { .. } => {
                    assert!(value.is_err() && !json.trim_ascii().is_empty());
                }
                ParseError::NotAnObject => {
                    let value = value.unwrap();
                    assert!(!value.is_object() && !is_nothing(&value), "{value}");
                }
                ParseError::TooDeep => assert!(depth(&value.unwrap()) > MAX_DEPTH),
            }
            return;
        }
    };
    check_again(body, &answer);
    // White space is no JSON, and says as much as null.
    let value = value.unwrap_or_else(|error| {
        assert!(json.trim_ascii().is_empty(), "{error}");
        Value::Null
    });
    assert!(depth(&value) <= MAX_DEPTH);
    let reserved = answer.ip_address.iter().count() + answer.hostname.iter().count();
    let edits = answer.edits.len() + answer.client_classes.len() + answer.refused.len();
    let made = edits + reserved;
    let every = "every member is an edit, a class, a reservation, drop or refused";
    assert_eq!(made, members(&value), "{every}");
    assert_eq!(answer.reserves(), reserved > 0);
    assert_eq!(answer.drop, value[DROP] == true, "nothing else has a client dropped");
    assert_eq!(answer.is_nothing(), made == 0 && !answer.drop);

    let mut said = said(&value);
    for edit in &answer.edits {
        check_text(&edit.member().to_string());
        match &edit.change {
            Change::Option(id, option) => {
                check_option(id);
                check_value(option);
                // The values that stand for one option are used up in their order.
                let values = said.get_mut(&id.to_string()).expect("a member of this key");
                assert!(values.any(|value| says(value, option)), "{id}: {option:?}");
            }
            Change::NextServer(address) => assert_eq!(value[NEXT_SERVER], address.to_string()),
            Change::ServerHostname(name) => {
                assert_eq!(value[SERVER_HOSTNAME], **name);
                assert!(name.len() < 64);
            }
            Change::BootFileName(name) => {
                assert_eq!(value[BOOT_FILE_NAME], **name);
                assert!(name.len() < 128);
            }
        }
    }
    if let Some(address) = answer.ip_address {
        assert_eq!(value[IP_ADDRESS], address.to_string());
        assert!(!address.is_unspecified() && !address.is_loopback() && !address.is_multicast());
    }
    if let Some(name) = &answer.hostname {
        assert_eq!(value[HOSTNAME], **name);
        // Kea writes it into a file whose values stand between commas.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!((1..=254).contains(&name.len()) && name.bytes().all(plain), "{name}");
    }
    for class in &answer.client_classes {
        assert!(!class.is_empty());
        check_text(&class_member(class).to_string());
    }
    for refusal in &answer.refused {
        check_text(&format!("{}: {}", refusal.member, refusal.reason));
    }
});

/// A text for the log is one short line.
fn check_text(text: &str) {
    assert!(!text.contains(['\n', '\r']), "{text:?}");
    assert!(text.chars().count() <= LONGEST, "{text}");
}

/// Checks the bodies that must give the same answer.
fn check_again(body: &[u8], answer: &Answer) {
    let again = |body: &[u8]| answer::parse(body).expect("the same answer");
    assert_eq!(again(body), *answer, "the same bytes give the same answer");
    assert_eq!(again(&answer.body), *answer, "a kept answer is read from its body");
    if !body.starts_with(BYTE_ORDER_MARK) {
        assert_eq!(again(&[BYTE_ORDER_MARK, body].concat()), *answer, "a mark says nothing");
    }
}

/// An answer edits no option that carries the protocol, nor the two codes that are no options.
fn check_option(id: &OptionId) {
    if let OptionId::Code(code) = id {
        assert!((1..=254).contains(code));
        assert!(!matches!(code, 50..=55 | 57..=59 | 61 | 82), "{id}");
        assert!(!is_of_the_protocol(*code), "{id}");
    }
    check_name(id);
}

/// Any code may be a sub-option's.
fn check_name(id: &OptionId) {
    if let OptionId::Name(name) = id {
        let is_alphanumeric = |end: char| end.is_ascii_alphanumeric();
        assert!(name.starts_with(is_alphanumeric) && name.ends_with(is_alphanumeric));
        assert!(!name.bytes().all(|byte| byte.is_ascii_digit()), "a mistyped code");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}

fn check_value(value: &OptionValue) {
    match value {
        OptionValue::Text(text) => check_forms(text),
        OptionValue::Fields(fields) => assert!(!fields.is_empty()),
        OptionValue::SubOptions(members) => {
            assert!(!members.is_empty());
            for (id, value) in members {
                assert_ne!(*value, OptionValue::Removed);
                check_name(id);
                check_value(value);
            }
        }
        _ => (),
    }
}

/// Reads a text as hexadecimal digits, and as routes.
fn check_forms(text: &str) {
    if let Some(bytes) = hexadecimal::decode(text) {
        check_hexadecimal(text, &bytes);
    }
    if let Ok(payload) = routes::encode(text) {
        check_routes(text, &payload);
    }
}

/// Bytes that are spelled in another form are the same bytes, and no digit is lost.
fn check_hexadecimal(text: &str, bytes: &[u8]) {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![pairs.concat(), pairs.join(":"), pairs.join(" ")];
    // 0x alone spells nothing.
    if !bytes.is_empty() {
        forms.push(format!("0x{}", pairs.concat()));
    }
    for form in forms {
        assert_eq!(hexadecimal::decode(&form).as_deref(), Some(bytes), "{form}");
    }
    let digits = text.strip_prefix("0x").unwrap_or(text).to_lowercase();
    let written = match digits.contains([':', ' ']) {
        true => digits.split([':', ' ']).map(|digits| format!("{digits:0>2}")).collect(),
        false => digits,
    };
    assert_eq!(written, pairs.concat(), "{text:?}");
}

/// The payload holds each route of the text, as RFC 3442 writes it, and nothing more.
fn check_routes(text: &str, mut payload: &[u8]) {
    let whole = payload;
    let mut routes = Vec::new();
    while let [length, rest @ ..] = payload {
        assert!(*length <= 32);
        let (prefix, rest) = rest.split_at(usize::from(length.div_ceil(8)));
        let (router, rest) = rest.split_at(4);
        let mut octets = [0; 4];
        octets[..prefix.len()].copy_from_slice(prefix);
        let router: [u8; 4] = router.try_into().unwrap();
        let (prefix, router) = (Ipv4Addr::from(octets), Ipv4Addr::from(router));
        routes.push(format!("{prefix}/{length} - {router}"));
        payload = rest;
    }
    assert_eq!(routes.len(), text.split(',').count(), "{text}");
    for (route, written) in routes.iter().zip(text.split(',')) {
        let (_, router) = written.split_once('-').unwrap();
        assert!(route.ends_with(&format!(" - {}", router.trim())), "{text}");
    }
    assert_eq!(routes::encode(&routes.join(", ")).as_deref(), Ok(whole), "{text}");
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether this is one of the ways to say "nothing for this client" that are no object.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn is_structured(answer: &Value) -> bool {
    STRUCTURED.iter().any(|name| answer.get(name).is_some())
}

/// How many edits, classes and refusals this answer must give.
fn members(answer: &Value) -> usize {
    if is_nothing(answer) {
        return 0;
    }
    let members = answer.as_object().unwrap();
    if !is_structured(answer) {
        return members.len();
    }
    let count = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        (OPTIONS, Value::Object(options)) => options.len(),
        (CLIENT_CLASSES, Value::Array(classes)) => classes.len(),
        (DROP, Value::Bool(_)) | (IP_ADDRESS | HOSTNAME, Value::Null) => 0,
        _ => 1,
    };
    members.iter().map(count).sum()
}

/// What the answer says about each option, by its key. A value in "options" stands before a value
/// beside it, where a name is no option's.
fn said(answer: &Value) -> BTreeMap<String, impl Iterator<Item = &Value>> {
    let members = answer.as_object().into_iter().flatten();
    let (inside, beside): (Vec<_>, Vec<_>) = match is_structured(answer) {
        true => {
            let inside = answer[OPTIONS].as_object().into_iter().flatten();
            let is_code = |key: &str| key.bytes().all(|byte| byte.is_ascii_digit());
            (inside.collect(), members.filter(|(key, _)| is_code(key)).collect())
        }
        false => (members.collect(), Vec::new()),
    };
    let mut said = BTreeMap::<_, Vec<_>>::new();
    for (key, value) in inside.into_iter().chain(beside) {
        said.entry(key.clone()).or_default().push(value);
    }
    said.into_iter().map(|(key, values)| (key, values.into_iter())).collect()
}

/// Whether the value of an option, or of a sub-option, is what the answer says.
fn says(said: &Value, value: &OptionValue) -> bool {
    match (said, value) {
        (Value::Null, OptionValue::Removed) => true,
        (Value::String(said), OptionValue::Text(text)) => **said == **text,
        (Value::Number(_) | Value::Bool(_), OptionValue::Scalar(text)) => {
            said.to_string() == **text
        }
        (Value::Array(said), OptionValue::Fields(fields)) => {
            let field = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            said.iter().map(field).eq(fields.iter().cloned())
        }
        (Value::Object(said), OptionValue::Bytes(bytes)) => {
            let spelled = said["hex"].as_str().and_then(hexadecimal::decode);
            said.len() == 1 && spelled.as_deref() == Some(&**bytes)
        }
        (Value::Object(said), OptionValue::SubOptions(members)) => {
            let is_said = |(id, value): &(OptionId, OptionValue)| {
                said.get(&id.to_string()).is_some_and(|said| says(said, value))
            };
            said.len() == members.len() && members.iter().all(is_said)
        }
        _ => false,
    }
}
