// SPDX-License-Identifier: MPL-2.0
//! Any bytes as the answer of a service.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remote_opts_core::answer::{
    self, BOOT_FILE_NAME, CLIENT_CLASSES, Change, MAX_DEPTH, NEXT_SERVER, OPTIONS, OptionId,
    OptionValue, ParseError, SERVER_HOSTNAME, class_member,
};
use serde_json::Value;

/// The longest text that the log shows of one member: its key and its value, both cut.
const LONGEST: usize = 500;

fuzz_target!(|body: &[u8]| {
    let value = serde_json::from_slice::<Value>(body);
    let answer = match answer::parse(body) {
        Ok(answer) => answer,
        Err(error) => {
            check_text(&error.to_string());
            match error {
                ParseError::NotJson { .. } => assert!(value.is_err()),
                ParseError::NotAnObject => assert!(!value.unwrap().is_object()),
                ParseError::TooDeep => assert!(depth(&value.unwrap()) > MAX_DEPTH),
            }
            return;
        }
    };
    assert_eq!(answer::parse(body).unwrap(), answer, "the same bytes give the same answer");
    let value = value.unwrap();
    assert!(depth(&value) <= MAX_DEPTH);
    let made = answer.edits.len() + answer.client_classes.len() + answer.refused.len();
    assert_eq!(made, members(&value), "every member is an edit, a class or refused");

    for edit in &answer.edits {
        check_text(&edit.member.to_string());
        match &edit.change {
            Change::Option(id, value) => {
                check_id(id);
                let of_the_protocol =
                    matches!(id, OptionId::Code(50 | 51 | 53..=55 | 57..=59 | 61 | 82));
                assert!(!of_the_protocol, "{id}");
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

/// A text for the log is one short line.
fn check_text(text: &str) {
    assert!(!text.contains(['\n', '\r']), "{text:?}");
    assert!(text.chars().count() <= LONGEST, "{text}");
}

fn check_id(id: &OptionId) {
    match id {
        OptionId::Code(code) => assert!((1..=254).contains(code)),
        OptionId::Name(name) => {
            assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()));
        }
    }
}

fn check_value(value: &OptionValue) {
    if let OptionValue::SubOptions(members) = value {
        assert!(!members.is_empty());
        for (id, value) in members {
            assert_ne!(*value, OptionValue::Removed);
            check_id(id);
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

/// How many edits, classes and refusals this answer must give.
fn members(answer: &Value) -> usize {
    let structured = [OPTIONS, NEXT_SERVER, SERVER_HOSTNAME, BOOT_FILE_NAME, CLIENT_CLASSES];
    let members = answer.as_object().unwrap();
    if !structured.iter().any(|name| members.contains_key(*name)) {
        return members.len();
    }
    let count = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        (OPTIONS, Value::Object(options)) => options.len(),
        (CLIENT_CLASSES, Value::Array(classes)) => classes.len(),
        _ => 1,
    };
    members.iter().map(count).sum()
}
