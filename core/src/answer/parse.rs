// SPDX-License-Identifier: MPL-2.0
//! JSON → [`Answer`]: reads the body of a response. A member that cannot be applied is refused
//! alone, and the answer keeps the member with the reason.

use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    Answer, BOOT_FILE_NAME, CLIENT_CLASSES, Change, DROP, Edit, HOSTNAME, IP_ADDRESS, Member,
    NEXT_SERVER, OPTIONS, OptionId, OptionValue, PROTOCOL_OPTIONS, Reason, Refusal,
    SERVER_HOSTNAME, VENDOR_OPTIONS, ends_option, reservation,
};
use crate::hexadecimal;

/// The deepest nesting of an answer. The outermost object is level 1.
pub const MAX_DEPTH: usize = 32;

/// The members that only the structured form has. One of them makes an answer structured.
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

/// The byte order mark in UTF-8. Some editors and frameworks begin a text with it; JSON has none, and
/// who reads JSON may skip it (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The longest text of the header field sname, in bytes. The field has 64 bytes, the last one zero
/// (RFC 2131, section 2).
const MAX_SERVER_HOSTNAME: usize = 63;
/// The longest text of the header field file, in bytes. The field has 128 bytes, the last one zero
/// (RFC 2131, section 2).
const MAX_BOOT_FILE_NAME: usize = 127;

/// How many bytes an error shows of a body that is not JSON.
const SHOWN_START: usize = 40;

/// Why a body is not an answer at all.
#[derive(Debug, Error)]
pub enum ParseError {
    /// The body is not JSON, or nested deeper than the JSON parser goes.
    #[error("the body is not JSON: {error}; it begins with \"{start}\"")]
    NotJson {
        /// What the JSON parser says.
        error: serde_json::Error,
        /// The first bytes of the body, escaped.
        start: String,
    },
    /// The body is JSON, but not an object.
    #[error("the body is JSON, but not an object")]
    NotAnObject,
    /// The body is nested over [`MAX_DEPTH`] levels deep.
    #[error("the body is nested over {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// Reads the body of a response. In the flat form the object's members are options. In the
/// structured form, which any member of [`STRUCTURED`] tells, the options stand below "options";
/// beside it a key that is a code is an option, too.
///
/// An empty body, white space, `null`, `[]` and `{}` are the answer "nothing for this client":
/// services write each of them.
pub fn parse(body: &[u8]) -> Result<Answer, ParseError> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if body.trim_ascii().is_empty() {
        return Ok(Answer::default());
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let start = body[..body.len().min(SHOWN_START)].escape_ascii().to_string();
        ParseError::NotJson { error, start }
    })?;
    if depth(&value) > MAX_DEPTH {
        return Err(ParseError::TooDeep);
    }
    let mut members = match value {
        Value::Object(members) => members,
        Value::Null => return Ok(Answer::default()),
        Value::Array(items) if items.is_empty() => return Ok(Answer::default()),
        _ => return Err(ParseError::NotAnObject),
    };
    let mut reader = Reader::default();
    if STRUCTURED.iter().any(|member| members.contains_key(*member)) {
        // First: where an option stands in both places, this place counts.
        let options = members.remove_entry(OPTIONS);
        options.into_iter().chain(members).for_each(|(key, value)| reader.add_member(key, value));
    } else {
        reader.add_options(members);
    }
    Ok(Answer {
        body: body.into(),
        edits: reader.edits.into(),
        client_classes: reader.client_classes.into(),
        refused: reader.refused.into(),
        ..reader.answer
    })
}

/// What has been read of a body.
#[derive(Default)]
struct Reader {
    /// The answer without its lists.
    answer: Answer,
    edits: Vec<Edit>,
    client_classes: Vec<String>,
    refused: Vec<Refusal>,
}

impl Reader {
    /// Adds one member of the structured form.
    fn add_member(&mut self, key: String, value: Value) {
        let change = match (key.as_str(), value) {
            (OPTIONS, Value::Object(options)) => return self.add_options(options),
            (CLIENT_CLASSES, Value::Array(classes)) => return self.add_classes(classes),
            (DROP, Value::Bool(drop)) => {
                self.answer.drop = drop;
                return;
            }
            // A service that reads a table has null for a machine without an address or a name.
            (IP_ADDRESS | HOSTNAME, Value::Null) => return,
            (IP_ADDRESS, Value::String(text)) => match reservation::address(&text) {
                Ok(address) => {
                    self.answer.ip_address = Some(address);
                    return;
                }
                Err(reason) => Err((reason, text.into())),
            },
            (HOSTNAME, Value::String(text)) => match reservation::check_hostname(&text) {
                Ok(()) => {
                    self.answer.hostname = Some(text.into());
                    return;
                }
                Err(reason) => Err((reason, text.into())),
            },
            (code, value) if matches!(option_id(code), Ok(OptionId::Code(_))) => {
                return self.add_option(key, value);
            }
            (NEXT_SERVER, Value::String(text)) => match text.parse() {
                Ok(address) => Ok((Change::NextServer(address), text.into())),
                Err(_) => Err((Reason::NoAddress, text.into())),
            },
            (SERVER_HOSTNAME, Value::String(text)) if text.len() <= MAX_SERVER_HOSTNAME => {
                Ok((Change::ServerHostname(text.as_str().into()), text.into()))
            }
            (BOOT_FILE_NAME, Value::String(text)) if text.len() <= MAX_BOOT_FILE_NAME => {
                Ok((Change::BootFileName(text.as_str().into()), text.into()))
            }
            (name, value) => {
                let reason = match name {
                    OPTIONS => Reason::NoOptions,
                    CLIENT_CLASSES => Reason::NoClasses,
                    DROP => Reason::NoFlag,
                    NEXT_SERVER | IP_ADDRESS => Reason::NoAddress,
                    HOSTNAME => Reason::NoHostname,
                    SERVER_HOSTNAME => Reason::NoField(MAX_SERVER_HOSTNAME),
                    BOOT_FILE_NAME => Reason::NoField(MAX_BOOT_FILE_NAME),
                    _ => Reason::NoMember,
                };
                Err((reason, value))
            }
        };
        match change {
            Ok((change, value)) => self.edits.push(Edit::new(change, Member { key, value })),
            Err((reason, value)) => {
                self.refused.push(Refusal { reason, member: Member { key, value } })
            }
        }
    }

    /// Adds the members of an object of options.
    fn add_options(&mut self, options: Map<String, Value>) {
        options.into_iter().for_each(|(key, value)| self.add_option(key, value));
    }

    /// Adds one option.
    fn add_option(&mut self, key: String, value: Value) {
        let change = option_id(&key).and_then(|option| {
            if PROTOCOL_OPTIONS.iter().any(|protocol| is_option(&option, protocol)) {
                return Err(Reason::Protocol);
            }
            let value = option_value(&value)?;
            if is_option(&option, &VENDOR_OPTIONS) {
                check_end(VENDOR_OPTIONS.0, &value)?;
            }
            Ok(Change::Option(option, value))
        });
        let member = Member { key, value };
        match change {
            Ok(change) => self.edits.push(Edit::new(change, member)),
            Err(reason) => self.refused.push(Refusal { reason, member }),
        }
    }

    /// Adds the client classes of the query.
    fn add_classes(&mut self, classes: Vec<Value>) {
        for class in classes {
            match class {
                Value::String(name) if !name.is_empty() => self.client_classes.push(name),
                value => {
                    let member = Member { key: CLIENT_CLASSES.to_owned(), value };
                    self.refused.push(Refusal { reason: Reason::NoClasses, member });
                }
            }
        }
    }
}

/// The option that a key names: a code in plain decimal digits, or a name. Codes 0 and 255 are no
/// options (RFC 2132, section 3).
fn option_id(key: &str) -> Result<OptionId, Reason> {
    match sub_option_id(key) {
        Some(OptionId::Code(0 | 255)) | None => Err(Reason::NoCode),
        Some(option) => Ok(option),
    }
}

/// The sub-option that a key names: a code in plain decimal digits, or a name.
fn sub_option_id(key: &str) -> Option<OptionId> {
    match key.parse::<u8>() {
        Ok(code) if code.to_string() == key => Some(OptionId::Code(code)),
        _ => is_name(key).then(|| OptionId::Name(key.into())),
    }
}

/// Whether the text may be the name of an option. Kea takes definitions with names of letters,
/// digits, `-` and `_` that neither begin nor end with `-` or `_`. Here a text of digits alone is no
/// name, but a mistyped code.
fn is_name(text: &str) -> bool {
    let is_alphanumeric = |end: char| end.is_ascii_alphanumeric();
    let may_have = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.starts_with(is_alphanumeric)
        && text.ends_with(is_alphanumeric)
        && text.bytes().all(may_have)
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an answer names this option, by its code or by Kea's name.
fn is_option(option: &OptionId, (code, name): &(u8, &str)) -> bool {
    match option {
        OptionId::Code(other) => other == code,
        OptionId::Name(other) => **other == **name,
    }
}

/// Checks that the sub-option that ends this option has no value. The adapter checks a sub-option
/// that the answer names, and does not number: a definition tells its code.
fn check_end(option: u8, value: &OptionValue) -> Result<(), Reason> {
    let OptionValue::SubOptions(members) = value else { return Ok(()) };
    let has_value = |(id, value): &(OptionId, OptionValue)| {
        matches!(id, OptionId::Code(code) if ends_option(option, *code)) && !value.is_empty()
    };
    if members.iter().any(has_value) { Err(Reason::EndHasValue) } else { Ok(()) }
}

/// The value that the answer gives an option or a sub-option.
fn option_value(value: &Value) -> Result<OptionValue, Reason> {
    match value {
        Value::Null => Ok(OptionValue::Removed),
        Value::String(text) => Ok(OptionValue::Text(text.as_str().into())),
        Value::Array(fields) if fields.is_empty() => Err(Reason::EmptyList),
        Value::Array(fields) => Ok(OptionValue::Fields(
            fields.iter().map(field).collect::<Option<_>>().ok_or(Reason::NoList)?,
        )),
        Value::Object(members) => match members.get("hex") {
            Some(_) if members.len() > 1 => Err(Reason::NotOnlyHex),
            Some(digits) => {
                let bytes = digits.as_str().and_then(hexadecimal::decode);
                Ok(OptionValue::Bytes(bytes.ok_or(Reason::NoHex)?.into()))
            }
            None => sub_options(members),
        },
        number_or_boolean => Ok(OptionValue::Scalar(number_or_boolean.to_string().into())),
    }
}

/// The text that Kea's option definitions take for one field.
fn field(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        _ => None,
    }
}

/// The members of an object, as sub-options.
fn sub_options(members: &Map<String, Value>) -> Result<OptionValue, Reason> {
    if members.is_empty() {
        return Err(Reason::NoSubOptions);
    }
    let sub_option = |(key, value): (&String, &Value)| match option_value(value)? {
        OptionValue::Removed => Err(Reason::NoRemoval),
        value => Ok((sub_option_id(key).ok_or(Reason::NoSubCode)?, value)),
    };
    Ok(OptionValue::SubOptions(members.iter().map(sub_option).collect::<Result<_, _>>()?))
}

/// How many arrays and objects are nested in one another. The JSON parser takes at most 128 levels,
/// which bounds the recursion.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::answer::is_of_the_protocol;

    /// The changes of an answer of which nothing is refused.
    fn changes(json: &str) -> Vec<Change> {
        let answer = parse(json.as_bytes()).unwrap();
        assert_eq!(*answer.refused, [], "{json}");
        answer.edits.into_iter().map(|edit| edit.change).collect()
    }

    /// Why one member is refused; another one beside it is kept.
    fn reason_of(member: &str) -> Reason {
        let answer = parse(format!("{{{member}, \"224\": \"good\"}}").as_bytes()).unwrap();
        assert_eq!(answer.edits.len(), 1, "the good member is kept");
        assert_eq!(answer.refused.len(), 1, "{member}");
        answer.refused[0].reason
    }

    fn value(json: &str) -> OptionValue {
        match changes(&format!("{{\"43\": {json}}}")).remove(0) {
            Change::Option(OptionId::Code(43), value) => value,
            other => panic!("{other:?}"),
        }
    }

    fn text(text: &str) -> OptionValue {
        OptionValue::Text(text.into())
    }

    #[test]
    fn flat_form() {
        let mut changes =
            changes(r#"{"224": "somestring", "66": "0.0.0.0", "routers": "é\u0000"}"#);
        changes.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(
            changes,
            [
                Change::Option(OptionId::Code(224), text("somestring")),
                Change::Option(OptionId::Code(66), text("0.0.0.0")),
                Change::Option(OptionId::Name("routers".into()), text("é\0")),
            ]
        );
        assert!(parse(b"{}").unwrap().is_nothing());
    }

    #[test]
    fn values() {
        let fields = |fields: &[&str]| {
            OptionValue::Fields(fields.iter().map(|field| (*field).into()).collect())
        };
        assert_eq!(value("\"a, b\""), text("a, b"));
        assert_eq!(value("\"\""), text(""));
        let scalar = |text: &str| OptionValue::Scalar(text.into());
        assert_eq!(value("7"), scalar("7"));
        assert_eq!(value("-1.5"), scalar("-1.5"));
        assert_eq!(value("true"), scalar("true"));
        assert_eq!(value(r#"["a,b", 7, false]"#), fields(&["a,b", "7", "false"]));
        assert_eq!(value("null"), OptionValue::Removed);
        for digits in ["00Ff", "0x00ff", "00:ff", "00 ff"] {
            let bytes = value(&format!("{{\"hex\": \"{digits}\"}}"));
            assert_eq!(bytes, OptionValue::Bytes([0, 255].into()), "{digits}");
        }
        assert_eq!(
            value(r#"{"0": "x", "255": {"hex": ""}, "6": 3, "rpi-menu": {"hex": ""}}"#),
            OptionValue::SubOptions(Box::new([
                (OptionId::Code(0), text("x")),
                (OptionId::Code(255), OptionValue::Bytes([].into())),
                (OptionId::Code(6), scalar("3")),
                (OptionId::Name("rpi-menu".into()), OptionValue::Bytes([].into())),
            ]))
        );
        let end = OptionValue::SubOptions([(OptionId::Code(255), text(""))].into());
        assert_eq!(value(r#"{"255": ""}"#), end);
    }

    #[test]
    fn values_that_are_none() {
        for (value, reason) in [
            (r#"{"hex": "0"}"#, Reason::NoHex),
            (r#"{"hex": "zz"}"#, Reason::NoHex),
            (r#"{"hex": 0}"#, Reason::NoHex),
            (r#"{"hex": "00", "6": 3}"#, Reason::NotOnlyHex),
            (r#"{"hex": "no digits", "6": 3}"#, Reason::NotOnlyHex),
            (r#"{"6": {"hex": "00", "7": 3}}"#, Reason::NotOnlyHex),
            ("{}", Reason::NoSubOptions),
            ("[]", Reason::EmptyList),
            (r#"{"6": []}"#, Reason::EmptyList),
            ("[[1]]", Reason::NoList),
            ("[null]", Reason::NoList),
            (r#"[{"hex": "00"}]"#, Reason::NoList),
            (r#"{"6": null}"#, Reason::NoRemoval),
            (r#"{"6": {"hex": "0"}}"#, Reason::NoHex),
            (r#"{"256": 1}"#, Reason::NoSubCode),
            (r#"{"06": 1}"#, Reason::NoSubCode),
            (r#"{"rpi menu": 1}"#, Reason::NoSubCode),
            (r#"{"255": "x"}"#, Reason::EndHasValue),
            (r#"{"255": 0}"#, Reason::EndHasValue),
            (r#"{"255": {"hex": "00"}}"#, Reason::EndHasValue),
            (r#"{"255": {"1": "x"}}"#, Reason::EndHasValue),
        ] {
            assert_eq!(reason_of(&format!("\"43\": {value}")), reason, "{value}");
        }
    }

    #[test]
    fn a_name_may_begin_with_a_digit() {
        for name in ["3com-boot", "1e1", "6-9"] {
            let answer = parse(format!("{{\"{name}\": \"x\"}}").as_bytes()).unwrap();
            let id = OptionId::Name(name.into());
            let change = Change::Option(id, OptionValue::Text("x".into()));
            assert_eq!(answer.edits[0].change, change);
        }
    }

    #[test]
    fn keys_that_are_no_option() {
        for key in [
            "",
            "-1",
            "256",
            "+66",
            " 66",
            "066",
            "66.0",
            "٦٦",
            "0",
            "255",
            "99999999999999999999",
            "boot file",
            "boot-file-name ",
            "routers\\n",
            "routers-",
            "_routers",
            "3com-",
            "röuters",
        ] {
            assert_eq!(reason_of(&format!("\"{key}\": \"x\"")), Reason::NoCode, "{key}");
        }
    }

    #[test]
    fn options_of_the_protocol() {
        for (code, name) in PROTOCOL_OPTIONS {
            for key in [&code.to_string(), name] {
                assert_eq!(reason_of(&format!("\"{key}\": \"x\"")), Reason::Protocol, "{key}");
                assert_eq!(reason_of(&format!("\"{key}\": null")), Reason::Protocol, "{key}");
            }
        }
        let others = (1..=254).filter(|code| !is_of_the_protocol(*code));
        let body: Vec<_> = others.map(|code| format!("\"{code}\": \"x\"")).collect();
        assert_eq!(parse(format!("{{{}}}", body.join(",")).as_bytes()).unwrap().edits.len(), 243);
    }

    #[test]
    fn sub_option_255_ends_option_43_alone() {
        assert_eq!(reason_of(r#""vendor-encapsulated-options": {"255": 1}"#), Reason::EndHasValue);
        assert_eq!(changes(r#"{"125": {"255": "x"}}"#).len(), 1);
        assert_eq!(changes(r#"{"43": {"6": {"255": "x"}}}"#).len(), 1);
    }

    #[test]
    fn structured_form() {
        let answer = parse(
            br#"{"options": {"66": "x", "0": "y"}, "next-server": "192.0.2.1", "server-hostname": "tftp1",
                 "boot-file-name": "pxelinux.0", "client-classes": ["rpi4", 7, ""], "67": "z",
                 "routers": "192.0.2.1"}"#,
        )
        .unwrap();
        let changes: Vec<_> = answer.edits.into_iter().map(|edit| edit.change).collect();
        assert_eq!(changes.len(), 5);
        for change in [
            Change::Option(OptionId::Code(66), text("x")),
            Change::Option(OptionId::Code(67), text("z")),
            Change::NextServer(Ipv4Addr::new(192, 0, 2, 1)),
            Change::ServerHostname("tftp1".into()),
            Change::BootFileName("pxelinux.0".into()),
        ] {
            assert!(changes.contains(&change), "{change:?}");
        }
        assert_eq!(*answer.client_classes, ["rpi4"]);
        assert!(!answer.drop);
        let mut refused: Vec<_> = answer
            .refused
            .iter()
            .map(|refusal| (refusal.member.to_string(), refusal.reason))
            .collect();
        refused.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(
            refused,
            [
                ("\"0\": \"y\"".to_owned(), Reason::NoCode),
                ("\"client-classes\": \"\"".to_owned(), Reason::NoClasses),
                ("\"client-classes\": 7".to_owned(), Reason::NoClasses),
                ("\"routers\": \"192.0.2.1\"".to_owned(), Reason::NoMember),
            ]
        );
    }

    #[test]
    fn who_the_client_is() {
        let answer = parse(br#"{"ip-address": "192.0.2.77", "66": "x"}"#).unwrap();
        assert_eq!(answer.ip_address, Some(Ipv4Addr::new(192, 0, 2, 77)));
        assert_eq!((answer.hostname, answer.edits.len()), (None, 1));
        let answer = parse(br#"{"hostname": "node7", "ip-address": null}"#).unwrap();
        assert_eq!((answer.hostname.as_deref(), answer.ip_address), (Some("node7"), None));
        assert_eq!(*answer.refused, []);
        assert!(parse(br#"{"hostname": null, "ip-address": null}"#).unwrap().is_nothing());
        for (member, reason) in [
            (r#""ip-address": "node7""#, Reason::NoAddress),
            (r#""ip-address": 7"#, Reason::NoAddress),
            (r#""ip-address": ["192.0.2.77"]"#, Reason::NoAddress),
            (r#""ip-address": "127.0.0.1""#, Reason::NoClientAddress),
            (r#""hostname": "a b""#, Reason::NoHostname),
            (r#""hostname": 7"#, Reason::NoHostname),
        ] {
            assert_eq!(reason_of(member), reason, "{member}");
        }
    }

    #[test]
    fn an_option_beside_the_structured_members_comes_after_options() {
        let changes = changes(r#"{"66": "beside", "options": {"66": "inside"}}"#);
        let expected =
            ["inside", "beside"].map(|value| Change::Option(OptionId::Code(66), text(value)));
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_service_may_have_a_client_dropped() {
        for (body, drop) in [
            (r#"{"drop": true}"#, true),
            (r#"{"drop": false}"#, false),
            (r#"{"drop": true, "options": {"66": "x"}}"#, true),
        ] {
            let answer = parse(body.as_bytes()).unwrap();
            assert_eq!((answer.drop, answer.refused.len()), (drop, 0), "{body}");
            assert_eq!(answer.is_nothing(), !drop, "{body}");
        }
        for body in [r#"{"drop": "true"}"#, r#"{"drop": 1}"#, r#"{"drop": null}"#] {
            let answer = parse(body.as_bytes()).unwrap();
            assert!(!answer.drop);
            assert_eq!(answer.refused[0].reason, Reason::NoFlag, "{body}");
        }
    }

    #[test]
    fn bodies_that_say_nothing() {
        for body in
            ["", " \n", "null", "[]", " [ ]", "{}", "\u{feff}", "\u{feff}{}", "\u{feff} null"]
        {
            assert!(parse(body.as_bytes()).unwrap().is_nothing(), "{body:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(changes("\u{feff}{\"66\": \"x\"}").len(), 1);
    }

    #[test]
    fn members_that_cannot_be() {
        let long = |length: usize| format!("\"{}\"", "x".repeat(length));
        for (member, reason) in [
            ("\"options\": []".to_owned(), Reason::NoOptions),
            ("\"next-server\": \"tftp\"".to_owned(), Reason::NoAddress),
            ("\"next-server\": 7".to_owned(), Reason::NoAddress),
            (format!("\"server-hostname\": {}", long(64)), Reason::NoField(63)),
            (format!("\"boot-file-name\": {}", long(128)), Reason::NoField(127)),
            ("\"boot-file-name\": null".to_owned(), Reason::NoField(127)),
            ("\"client-classes\": \"rpi4\"".to_owned(), Reason::NoClasses),
            ("\"drop\": 1".to_owned(), Reason::NoFlag),
        ] {
            let answer =
                parse(format!("{{{member}, \"options\": {{\"224\": \"good\"}}}}").as_bytes());
            let answer = match member.starts_with("\"options") {
                true => parse(format!("{{{member}}}").as_bytes()).unwrap(),
                false => answer.unwrap(),
            };
            assert_eq!(
                answer.refused.iter().map(|refusal| refusal.reason).collect::<Vec<_>>(),
                [reason]
            );
        }
        assert_eq!(changes(&format!("{{\"boot-file-name\": {}}}", long(127))).len(), 1);
        assert_eq!(changes(&format!("{{\"server-hostname\": {}}}", long(63))).len(), 1);
    }

    #[test]
    fn bodies_that_are_no_answer() {
        for body in
            ["{", "\u{feff}\u{feff}", "{\"66\": \"x\"} x", "{\"66\": \"\\ud800\"}", "<html>"]
        {
            assert!(matches!(parse(body.as_bytes()), Err(ParseError::NotJson { .. })), "{body}");
        }
        let page = parse(b"<html>\n<title>Please log in to go on with this</title>")
            .unwrap_err()
            .to_string();
        assert!(
            page.ends_with(r#"it begins with "<html>\n<title>Please log in to go on wit""#),
            "{page}"
        );
        assert!(matches!(parse(b"{\"66\": \"\xff\"}"), Err(ParseError::NotJson { .. })));
        for body in ["[{}]", "[null]", "\"x\"", "7", "true", "\"\""] {
            assert!(matches!(parse(body.as_bytes()), Err(ParseError::NotAnObject)), "{body}");
        }
    }

    #[test]
    fn nesting() {
        let nested = |levels: usize| {
            format!("{{\"66\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert_eq!(parse(nested(32).as_bytes()).unwrap().refused[0].reason, Reason::NoList);
        assert!(matches!(parse(nested(33).as_bytes()), Err(ParseError::TooDeep)));
        assert!(matches!(parse(nested(5000).as_bytes()), Err(ParseError::NotJson { .. })));
    }
}
