//! Any bytes as an answer of a backend.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remote_opts::answer::{self, AnswerError, Change, Key, MAX_DEPTH, OptionValue, class_member};
use serde_json::Value;

/// The longest text of what is logged about one member: a key and a value, cut short.
const LONGEST: usize = 500;

fuzz_target!(|body: &[u8]| {
    let value = serde_json::from_slice::<Value>(body);
    let answer = match answer::parse(body) {
        Ok(answer) => answer,
        Err(error) => {
            check_text(&error.to_string());
            match error {
                AnswerError::NotJson { .. } => assert!(value.is_err()),
                AnswerError::NotAnObject => assert!(!value.unwrap().is_object()),
                AnswerError::TooDeep => assert!(depth(&value.unwrap()) > MAX_DEPTH),
            }
            return;
        }
    };
    assert_eq!(answer::parse(body).unwrap(), answer, "the same bytes are the same answer");
    let value = value.unwrap();
    assert!(depth(&value) <= MAX_DEPTH);
    let made = answer.edits.len() + answer.client_classes.len() + answer.refused.len();
    assert_eq!(made, members(&value), "every member is an edit, a class or refused");

    for edit in &answer.edits {
        check_text(&edit.member.to_string());
        match &edit.change {
            Change::Option(key, value) => {
                check_key(key);
                assert!(!matches!(key, Key::Code(50 | 51 | 53..=55 | 57..=59 | 61 | 82)), "of the protocol");
                check_value(value);
            }
            Change::NextServer(_) => (),
            Change::ServerHostname(name) => assert!(name.len() < 64),
            Change::BootFileName(name) => assert!(name.len() < 128),
        }
    }
    for class in &answer.client_classes {
        assert!(!class.is_empty());
        check_text(&class_member(class).to_string());
    }
    for refusal in &answer.refused {
        check_text(&format!("{}: {}", refusal.member, refusal.reason));
    }
});

/// What the log gets is one short line.
fn check_text(text: &str) {
    assert!(!text.contains(['\n', '\r']), "{text:?}");
    assert!(text.chars().count() <= LONGEST, "{text}");
}

fn check_key(key: &Key) {
    match key {
        Key::Code(code) => assert!((1..=254).contains(code)),
        Key::Name(name) => assert!(name.starts_with(|first: char| first.is_ascii_alphabetic())),
    }
}

fn check_value(value: &OptionValue) {
    if let OptionValue::SubOptions(members) = value {
        assert!(!members.is_empty());
        for (key, value) in members {
            assert_ne!(*value, OptionValue::Removed);
            check_key(key);
            check_value(value);
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many edits, classes and refusals this answer is to give.
fn members(answer: &Value) -> usize {
    let structured = ["options", "next-server", "server-hostname", "boot-file-name", "client-classes"];
    let members = answer.as_object().unwrap();
    if !structured.iter().any(|name| members.contains_key(*name)) {
        return members.len();
    }
    let count = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("options", Value::Object(options)) => options.len(),
        ("client-classes", Value::Array(classes)) => classes.len(),
        _ => 1,
    };
    members.iter().map(count).sum()
}
