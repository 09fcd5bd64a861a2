//! What the backend says: the JSON of an answer, read into edits of the reply. Pure: bytes in, edits out.

use std::fmt;
use std::net::Ipv4Addr;

use serde_json::{Map, Value};
use thiserror::Error;

/// The deepest nesting of an answer; the answer itself is level 1.
pub const MAX_DEPTH: usize = 32;

/// The longest DHCP message that a reply may become, in bytes: what an Ethernet frame of 1500 bytes holds beside the
/// IP and UDP headers. Kea's raw sockets do not fragment: a longer reply would not be sent at all.
pub const MAX_REPLY: usize = 1500 - 20 - 8;

/// The longest payload of a sub-option, in bytes.
pub const MAX_SUB_OPTION: usize = 253;

/// How many bytes of a body that is no JSON are shown.
const SHOWN_START: usize = 40;

/// Options that carry the DHCP protocol itself: a backend cannot set them.
const PROTOCOL_OPTIONS: [u8; 10] = [50, 51, 53, 54, 55, 57, 58, 59, 61, 82];

/// The members that tell the structured form from the flat one.
const MEMBERS: [&str; 5] = [OPTIONS, NEXT_SERVER, SERVER_HOSTNAME, BOOT_FILE_NAME, CLIENT_CLASSES];
const OPTIONS: &str = "options";
/// The member for the header field siaddr.
pub const NEXT_SERVER: &str = "next-server";
/// The member for the header field sname.
pub const SERVER_HOSTNAME: &str = "server-hostname";
/// The member for the header field file.
pub const BOOT_FILE_NAME: &str = "boot-file-name";
const CLIENT_CLASSES: &str = "client-classes";

/// The longest text of the header fields sname and file (RFC 2131, section 2: 64 and 128 bytes, the last one zero).
const MAX_SERVER_HOSTNAME: usize = 63;
const MAX_BOOT_FILE_NAME: usize = 127;

/// One change of the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is changed.
    pub change: Change,
    /// The answer's member that asks for it.
    pub member: Member,
}

/// What one edit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An option, which gets this value in the place of whatever the reply has of its code.
    Option(Key, OptionValue),
    /// The header field siaddr.
    NextServer(Ipv4Addr),
    /// The header field sname.
    ServerHostname(String),
    /// The header field file.
    BootFileName(String),
}

/// How an option or sub-option is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// By its code, 1 to 254.
    Code(u8),
    /// By the name in its definition.
    Name(String),
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Key::Code(code) => code.fmt(formatter),
            Key::Name(name) => name.fmt(formatter),
        }
    }
}

/// The value of an option as the answer has it, before any definition is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// Text: as in option-data where the option has a definition, else its bytes.
    Text(String),
    /// The values of the fields, for a definition.
    Fields(Vec<String>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Sub-options.
    SubOptions(Vec<(Key, OptionValue)>),
    /// The option is to go.
    Removed,
}

/// A member of an answer that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The member as JSON.
    pub member: Member,
}

/// A member of an answer, shown as `"key": value` on one line; a long value is cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    key: String,
    value: Value,
}

/// Why a member of an answer is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Reason {
    /// The key is a number, but not one from 1 to 254, or empty.
    #[error("the key is no option code from 1 to 254, nor a name")]
    NoCode,
    /// No definition has this name.
    #[error("no option of this name is defined")]
    NoName,
    /// One of the options that a backend cannot set.
    #[error("this option carries the DHCP protocol itself")]
    Protocol,
    /// A number, a boolean or a list for an option that Kea cannot encode.
    #[error("the option has no definition, so its value must be text or {{\"hex\": …}}")]
    NoDefinition,
    /// Options without a payload are not well-formed (RFC 2132), but for those defined so.
    #[error("the value is empty")]
    Empty,
    /// The same option or sub-option, by its code and by its name.
    #[error("the answer has this option already")]
    Twice,
    /// Sub-options for an option that has a value.
    #[error("this option has a value of its own, and not just sub-options: use {{\"hex\": …}}")]
    HasValue,
    /// Hexadecimal digits in pairs are wanted.
    #[error("the value of \"hex\" is no text of hexadecimal digits in pairs")]
    NoHex,
    /// A list within a list, and the like.
    #[error("the list holds something else than text, numbers and booleans")]
    NoList,
    /// `null` among sub-options, where there is nothing to remove from.
    #[error("a sub-option cannot be removed")]
    NoRemoval,
    /// An object without a member.
    #[error("the object is empty")]
    NoSubOptions,
    /// Kea makes no sub-option longer than 255 bytes, header and all, and splits none.
    #[error("longer than {MAX_SUB_OPTION} bytes")]
    LongSubOption,
    /// The reply would be longer than [`MAX_REPLY`].
    #[error("the reply would not fit into an Ethernet frame")]
    TooLarge,
    /// Not an IPv4 address as text.
    #[error("the value is no IPv4 address as text")]
    NoAddress,
    /// Not text, or too long for the header field.
    #[error("the value is no text of at most {0} bytes")]
    NoField(usize),
    /// Not a list of class names.
    #[error("the value is no list of class names")]
    NoClasses,
    /// No class of the configuration has this name.
    #[error("Kea knows no client class of this name")]
    UnknownClass,
    /// "options" is not an object.
    #[error("the value is no object of options")]
    NoOptions,
    /// A member that the structured form does not have.
    #[error("the answer is of the structured form, where options belong into \"options\"")]
    NoMember,
}

/// What one answer asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Changes of the reply.
    pub edits: Vec<Edit>,
    /// Client classes of the query, before Kea goes on with it.
    pub client_classes: Vec<String>,
    /// The members left out.
    pub refused: Vec<Refusal>,
}

/// Why a body is no answer at all.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// Not JSON, or nested deeper than the JSON parser goes.
    #[error("the answer is no JSON: {error}; it begins with \"{start}\"")]
    NotJson {
        /// What the parser says.
        error: serde_json::Error,
        /// The first bytes of the body, escaped.
        start: String,
    },
    /// JSON, but not an object.
    #[error("the answer is no JSON object")]
    NotAnObject,
    /// Nested over [`MAX_DEPTH`] levels deep.
    #[error("the answer is nested over {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// Reads an answer: in its flat form an object of options, in its structured form one with any of [`MEMBERS`].
pub fn parse(body: &[u8]) -> Result<Answer, AnswerError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let start = body[..body.len().min(SHOWN_START)].escape_ascii().to_string();
        AnswerError::NotJson { error, start }
    })?;
    if depth(&value) > MAX_DEPTH {
        return Err(AnswerError::TooDeep);
    }
    let Value::Object(members) = value else {
        return Err(AnswerError::NotAnObject);
    };
    let mut answer = Answer::default();
    if MEMBERS.iter().any(|member| members.contains_key(*member)) {
        members.into_iter().for_each(|(key, value)| answer.add_member(key, value));
    } else {
        answer.add_options(members);
    }
    Ok(answer)
}

impl Answer {
    /// A member of the structured form.
    fn add_member(&mut self, key: String, value: Value) {
        let change = match (key.as_str(), value) {
            (OPTIONS, Value::Object(options)) => return self.add_options(options),
            (CLIENT_CLASSES, Value::Array(classes)) => return self.add_classes(classes),
            (NEXT_SERVER, Value::String(text)) => match text.parse() {
                Ok(address) => Ok((Change::NextServer(address), text.into())),
                Err(_) => Err((Reason::NoAddress, text.into())),
            },
            (SERVER_HOSTNAME, Value::String(text)) if text.len() <= MAX_SERVER_HOSTNAME => {
                Ok((Change::ServerHostname(text.clone()), text.into()))
            }
            (BOOT_FILE_NAME, Value::String(text)) if text.len() <= MAX_BOOT_FILE_NAME => {
                Ok((Change::BootFileName(text.clone()), text.into()))
            }
            (name, value) => {
                let reason = match name {
                    OPTIONS => Reason::NoOptions,
                    CLIENT_CLASSES => Reason::NoClasses,
                    NEXT_SERVER => Reason::NoAddress,
                    SERVER_HOSTNAME => Reason::NoField(MAX_SERVER_HOSTNAME),
                    BOOT_FILE_NAME => Reason::NoField(MAX_BOOT_FILE_NAME),
                    _ => Reason::NoMember,
                };
                Err((reason, value))
            }
        };
        match change {
            Ok((change, value)) => self.edits.push(Edit { change, member: Member { key, value } }),
            Err((reason, value)) => self.refused.push(Refusal { reason, member: Member { key, value } }),
        }
    }

    fn add_options(&mut self, options: Map<String, Value>) {
        for (key, value) in options {
            let change = option_key(&key).and_then(|option| {
                if matches!(option, Key::Code(code) if is_of_the_protocol(code)) {
                    return Err(Reason::Protocol);
                }
                Ok(Change::Option(option, option_value(&value)?))
            });
            let member = Member { key, value };
            match change {
                Ok(change) => self.edits.push(Edit { change, member }),
                Err(reason) => self.refused.push(Refusal { reason, member }),
            }
        }
    }

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

/// Whether the option of this code carries the DHCP protocol itself. 0 and 255 are no options (RFC 2132, section 3).
pub fn is_of_the_protocol(code: u8) -> bool {
    PROTOCOL_OPTIONS.contains(&code)
}

/// The member that names one client class.
pub fn class_member(name: &str) -> Member {
    Member { key: CLIENT_CLASSES.to_owned(), value: name.into() }
}

/// A code in plain decimal digits, or a name, which begins with none.
fn option_key(key: &str) -> Result<Key, Reason> {
    let name = key.starts_with(|first: char| first.is_ascii_alphabetic());
    match key.parse() {
        Ok(code @ 1..=254) if format!("{code}") == key => Ok(Key::Code(code)),
        _ if name => Ok(Key::Name(key.to_owned())),
        _ => Err(Reason::NoCode),
    }
}

fn option_value(value: &Value) -> Result<OptionValue, Reason> {
    match value {
        Value::Null => Ok(OptionValue::Removed),
        Value::String(text) => Ok(OptionValue::Text(text.clone())),
        Value::Array(fields) => {
            Ok(OptionValue::Fields(fields.iter().map(field).collect::<Option<_>>().ok_or(Reason::NoList)?))
        }
        Value::Object(members) => match members.get("hex") {
            Some(digits) if members.len() == 1 => {
                let digits = digits.as_str().and_then(|digits| hex::decode(digits).ok());
                Ok(OptionValue::Bytes(digits.ok_or(Reason::NoHex)?))
            }
            _ => sub_options(members),
        },
        number_or_boolean => Ok(OptionValue::Fields(vec![number_or_boolean.to_string()])),
    }
}

/// A value as Kea's text of it.
fn field(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        _ => None,
    }
}

fn sub_options(members: &Map<String, Value>) -> Result<OptionValue, Reason> {
    if members.is_empty() {
        return Err(Reason::NoSubOptions);
    }
    let sub_option = |(key, value): (&String, &Value)| match option_value(value)? {
        OptionValue::Removed => Err(Reason::NoRemoval),
        value => Ok((option_key(key)?, value)),
    };
    Ok(OptionValue::SubOptions(members.iter().map(sub_option).collect::<Result<_, _>>()?))
}

/// What a message takes beside its options: the fixed fields (RFC 2131, section 2), the magic cookie, and the end.
pub const FIXED_LENGTH: usize = 236 + 4 + 1;

/// The most payload that Kea puts into one option when it splits a longer one (RFC 3396).
const PART: usize = 253;

/// How many bytes an option with a payload of this length takes in the reply: each part has a header of two bytes.
pub fn wire_length(payload: usize) -> usize {
    payload + 2 * payload.div_ceil(PART).max(1)
}

/// How many arrays and objects are nested in one another. The JSON parser's own limit (128) bounds the recursion.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let key = Value::from(self.key.as_str()).to_string();
        write!(formatter, "{}: {}", Short(&key), Short(&self.value.to_string()))
    }
}

/// A text of which no more than [`Short::MOST`] characters are shown.
struct Short<'a>(&'a str);

impl Short<'_> {
    const MOST: usize = 200;
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.0.char_indices().nth(Self::MOST) {
            Some((end, _)) => write!(formatter, "{}… ({} bytes)", &self.0[..end], self.0.len()),
            None => formatter.write_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes of an answer of which nothing is refused.
    fn changes(json: &str) -> Vec<Change> {
        let answer = parse(json.as_bytes()).unwrap();
        assert_eq!(answer.refused, [], "{json}");
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
            Change::Option(Key::Code(43), value) => value,
            other => panic!("{other:?}"),
        }
    }

    fn text(text: &str) -> OptionValue {
        OptionValue::Text(text.to_owned())
    }

    #[test]
    fn flat_form() {
        let mut changes = changes(r#"{"224": "somestring", "66": "0.0.0.0", "routers": "é\u0000"}"#);
        changes.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(
            changes,
            [
                Change::Option(Key::Code(224), text("somestring")),
                Change::Option(Key::Code(66), text("0.0.0.0")),
                Change::Option(Key::Name("routers".into()), text("é\0")),
            ]
        );
        assert_eq!(parse(b"{}").unwrap(), Answer::default());
    }

    #[test]
    fn values() {
        let fields =
            |fields: &[&str]| OptionValue::Fields(fields.iter().map(|field| (*field).into()).collect());
        assert_eq!(value("\"a, b\""), text("a, b"));
        assert_eq!(value("\"\""), text(""));
        assert_eq!(value("7"), fields(&["7"]));
        assert_eq!(value("-1.5"), fields(&["-1.5"]));
        assert_eq!(value("true"), fields(&["true"]));
        assert_eq!(value(r#"["a,b", 7, false]"#), fields(&["a,b", "7", "false"]));
        assert_eq!(value("[]"), fields(&[]));
        assert_eq!(value("null"), OptionValue::Removed);
        assert_eq!(value(r#"{"hex": "00Ff"}"#), OptionValue::Bytes(vec![0, 255]));
        assert_eq!(
            value(r#"{"6": 3, "rpi-menu": {"hex": ""}}"#),
            OptionValue::SubOptions(vec![
                (Key::Code(6), fields(&["3"])),
                (Key::Name("rpi-menu".into()), OptionValue::Bytes(Vec::new())),
            ])
        );
    }

    #[test]
    fn values_that_are_none() {
        for (value, reason) in [
            (r#"{"hex": "0"}"#, Reason::NoHex),
            (r#"{"hex": "zz"}"#, Reason::NoHex),
            (r#"{"hex": 0}"#, Reason::NoHex),
            ("{}", Reason::NoSubOptions),
            ("[[1]]", Reason::NoList),
            ("[null]", Reason::NoList),
            (r#"[{"hex": "00"}]"#, Reason::NoList),
            (r#"{"6": null}"#, Reason::NoRemoval),
            (r#"{"6": {"hex": "0"}}"#, Reason::NoHex),
            (r#"{"0": 1}"#, Reason::NoCode),
        ] {
            assert_eq!(reason_of(&format!("\"43\": {value}")), reason, "{value}");
        }
    }

    #[test]
    fn keys_that_are_no_option() {
        for key in
            ["", "-1", "256", "1e1", "+66", " 66", "066", "66.0", "٦٦", "0", "255", "99999999999999999999"]
        {
            assert_eq!(reason_of(&format!("\"{key}\": \"x\"")), Reason::NoCode, "{key}");
        }
    }

    #[test]
    fn options_of_the_protocol() {
        for code in PROTOCOL_OPTIONS {
            assert_eq!(reason_of(&format!("\"{code}\": \"x\"")), Reason::Protocol, "{code}");
        }
        let others = (1..=254).filter(|code| !PROTOCOL_OPTIONS.contains(code));
        let body: Vec<_> = others.map(|code| format!("\"{code}\": \"x\"")).collect();
        assert_eq!(parse(format!("{{{}}}", body.join(",")).as_bytes()).unwrap().edits.len(), 244);
    }

    #[test]
    fn structured_form() {
        let answer = parse(
            br#"{"options": {"66": "x", "0": "y"}, "next-server": "192.0.2.1", "server-hostname": "tftp1",
                 "boot-file-name": "pxelinux.0", "client-classes": ["rpi4", 7, ""], "67": "z"}"#,
        )
        .unwrap();
        let changes: Vec<_> = answer.edits.into_iter().map(|edit| edit.change).collect();
        assert_eq!(changes.len(), 4);
        for change in [
            Change::Option(Key::Code(66), text("x")),
            Change::NextServer(Ipv4Addr::new(192, 0, 2, 1)),
            Change::ServerHostname("tftp1".into()),
            Change::BootFileName("pxelinux.0".into()),
        ] {
            assert!(changes.contains(&change), "{change:?}");
        }
        assert_eq!(answer.client_classes, ["rpi4"]);
        let mut refused: Vec<_> =
            answer.refused.iter().map(|refusal| (refusal.member.to_string(), refusal.reason)).collect();
        refused.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(
            refused,
            [
                ("\"0\": \"y\"".to_owned(), Reason::NoCode),
                ("\"67\": \"z\"".to_owned(), Reason::NoMember),
                ("\"client-classes\": \"\"".to_owned(), Reason::NoClasses),
                ("\"client-classes\": 7".to_owned(), Reason::NoClasses),
            ]
        );
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
        ] {
            let answer = parse(format!("{{{member}, \"options\": {{\"224\": \"good\"}}}}").as_bytes());
            let answer = match member.starts_with("\"options") {
                true => parse(format!("{{{member}}}").as_bytes()).unwrap(),
                false => answer.unwrap(),
            };
            assert_eq!(answer.refused.iter().map(|refusal| refusal.reason).collect::<Vec<_>>(), [reason]);
        }
        assert_eq!(changes(&format!("{{\"boot-file-name\": {}}}", long(127))).len(), 1);
        assert_eq!(changes(&format!("{{\"server-hostname\": {}}}", long(63))).len(), 1);
    }

    #[test]
    fn an_option_s_length_in_the_reply() {
        for (payload, length) in [(0, 2), (1, 3), (253, 255), (254, 258), (506, 510), (507, 513)] {
            assert_eq!(wire_length(payload), length);
        }
    }

    #[test]
    fn bodies_that_are_no_answer() {
        for body in ["", "{", "{\"66\": \"x\"} x", "{\"66\": \"\\ud800\"}", "<html>"] {
            assert!(matches!(parse(body.as_bytes()), Err(AnswerError::NotJson { .. })), "{body}");
        }
        let page = parse(b"<html>\n<title>Please log in to go on with this</title>").unwrap_err().to_string();
        assert!(page.ends_with(r#"it begins with "<html>\n<title>Please log in to go on wit""#), "{page}");
        assert!(matches!(parse(b"{\"66\": \"\xff\"}"), Err(AnswerError::NotJson { .. })));
        for body in ["[]", "[{}]", "\"x\"", "7", "null", "true"] {
            assert!(matches!(parse(body.as_bytes()), Err(AnswerError::NotAnObject)), "{body}");
        }
    }

    #[test]
    fn nesting() {
        let nested =
            |levels: usize| format!("{{\"66\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert_eq!(parse(nested(32).as_bytes()).unwrap().refused[0].reason, Reason::NoList);
        assert!(matches!(parse(nested(33).as_bytes()), Err(AnswerError::TooDeep)));
        assert!(matches!(parse(nested(5000).as_bytes()), Err(AnswerError::NotJson { .. })));
    }

    #[test]
    fn a_member_is_shown_on_one_line() {
        let member = |json: &str| parse(json.as_bytes()).unwrap().refused[0].member.to_string();
        assert_eq!(member(r#"{"-1\n": "a\nb"}"#), r#""-1\n": "a\nb""#);
        assert_eq!(member(r#"{"-1": {"a": [1, null]}}"#), r#""-1": {"a":[1,null]}"#);
        let long = member(&format!("{{\"-1\": \"{}\"}}", "ü".repeat(1000)));
        assert!(long.ends_with("… (2002 bytes)") && long.chars().count() < 250, "{long}");
    }
}
