// SPDX-License-Identifier: MPL-2.0
//! What a service says about one client: the edits of the client's DHCP reply.
//!
//! [`parse`] makes an [`Answer`] of a response body. The Kea adapter encodes the edits and writes
//! them into the reply. This module knows no option definitions, no HTTP and no Kea.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use serde_json::Value;
use thiserror::Error;

mod given;
pub mod length;
mod parse;
mod reservation;
pub mod routes;
mod slot;

pub use given::Given;
pub use parse::{MAX_DEPTH, ParseError, parse};
pub use slot::Slot;

/// The member of the structured form that holds the options.
pub const OPTIONS: &str = "options";
/// The member for the header field siaddr (RFC 2131, section 2).
pub const NEXT_SERVER: &str = "next-server";
/// The member for the header field sname (RFC 2131, section 2).
pub const SERVER_HOSTNAME: &str = "server-hostname";
/// The member for the header field file (RFC 2131, section 2).
pub const BOOT_FILE_NAME: &str = "boot-file-name";
/// The member for the client classes of the query.
pub const CLIENT_CLASSES: &str = "client-classes";
/// The member for the address that Kea gives the client.
pub const IP_ADDRESS: &str = "ip-address";
/// The member for the name that Kea gives the client.
pub const HOSTNAME: &str = "hostname";
/// The member that says that the client gets no reply.
pub const DROP: &str = "drop";

/// Options that carry the DHCP protocol itself, by code and by Kea's name. A service cannot edit
/// them. Among them is option 52 (overload): with it a client reads the header fields sname and
/// file as options.
const PROTOCOL_OPTIONS: [(u8, &str); 11] = [
    (50, "dhcp-requested-address"),
    (51, "dhcp-lease-time"),
    (52, "dhcp-option-overload"),
    (53, "dhcp-message-type"),
    (54, "dhcp-server-identifier"),
    (55, "dhcp-parameter-request-list"),
    (57, "dhcp-max-message-size"),
    (58, "dhcp-renewal-time"),
    (59, "dhcp-rebinding-time"),
    (61, "dhcp-client-identifier"),
    (82, "dhcp-agent-options"),
];

/// The vendor specific information option (RFC 2132, section 8.4), by code and by Kea's name.
const VENDOR_OPTIONS: (u8, &str) = (43, "vendor-encapsulated-options");
/// The code that ends option 43 (RFC 2132, section 8.4). It has no length and no payload.
const END: u8 = 255;

/// What one service says about one client. Without members it means: nothing for this client.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The edits of the DHCP reply, in the order of the answer's members.
    pub edits: Box<[Edit]>,
    /// The client classes that the query joins before Kea goes on with it.
    pub client_classes: Box<[String]>,
    /// The address that is reserved for the client.
    pub ip_address: Option<Ipv4Addr>,
    /// The host name that is reserved for the client.
    pub hostname: Option<Box<str>>,
    /// Whether the client gets no reply at all.
    pub drop: bool,
    /// The members that cannot be applied.
    pub refused: Box<[Refusal]>,
    /// The body that the answer was read from, as the service sent it. Empty for a status that says
    /// "nothing for this client".
    pub body: Box<[u8]>,
    /// For the adapter: the edits, encoded.
    pub encoded: Slot,
    /// Who gave the answer, and when.
    pub given: Given,
}

impl Answer {
    /// Whether the answer leaves the client's DHCP reply as Kea made it.
    pub fn is_nothing(&self) -> bool {
        let has_edits = !(self.edits.is_empty() && self.client_classes.is_empty());
        !has_edits && !self.reserves() && !self.drop && self.refused.is_empty()
    }

    /// Whether the answer says who the client is: its address, its host name, or both.
    pub fn reserves(&self) -> bool {
        self.ip_address.is_some() || self.hostname.is_some()
    }
}

/// One edit of the DHCP reply. An edit that cannot be applied costs no other edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What the edit changes.
    pub change: Change,
    /// As [`Edit::member`]. `None` where `change` says it all: thousands of answers are kept, and
    /// most have a code and a text alone.
    member: Option<Box<Member>>,
}

impl Edit {
    /// An edit that a member of an answer asks for.
    fn new(change: Change, member: Member) -> Self {
        let is_known = change.member().is_some_and(|known| known == member);
        Edit { change, member: (!is_known).then(|| Box::new(member)) }
    }

    /// The member of the answer that asks for the edit. The log shows it.
    pub fn member(&self) -> Cow<'_, Member> {
        match &self.member {
            Some(member) => Cow::Borrowed(member),
            None => Cow::Owned(self.change.member().unwrap_or_default()),
        }
    }
}

/// What one edit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An option. Its new value replaces every option of the same code in the DHCP reply.
    Option(OptionId, OptionValue),
    /// The header field siaddr.
    NextServer(Ipv4Addr),
    /// The header field sname, of at most 63 bytes.
    ServerHostname(Box<str>),
    /// The header field file, of at most 127 bytes.
    BootFileName(Box<str>),
}

impl Change {
    /// The member that asks for this change in the shortest way, where that is a text.
    fn member(&self) -> Option<Member> {
        let (key, value) = match self {
            Change::Option(id, OptionValue::Text(text)) => (id.to_string(), (&**text).into()),
            Change::Option(..) => return None,
            Change::NextServer(address) => (NEXT_SERVER.to_owned(), address.to_string().into()),
            Change::ServerHostname(name) => (SERVER_HOSTNAME.to_owned(), (&**name).into()),
            Change::BootFileName(name) => (BOOT_FILE_NAME.to_owned(), (&**name).into()),
        };
        Some(Member { key, value })
    }
}

/// How an answer names an option or a sub-option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionId {
    /// By code. The code of an option is from 1 to 254.
    Code(u8),
    /// By the name in the option's definition.
    Name(Box<str>),
}

impl fmt::Display for OptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            OptionId::Code(code) => code.fmt(formatter),
            OptionId::Name(name) => name.fmt(formatter),
        }
    }
}

/// The value of an option as the answer writes it. Only the adapter knows the option's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// Text: written as in Kea's option-data where the option has a definition, else raw bytes.
    Text(Box<str>),
    /// A number or a boolean as text: the value of the option's one field where the option has a
    /// definition, else raw bytes.
    Scalar(Box<str>),
    /// The values of the option's fields. Only an option with a definition has fields.
    Fields(Box<[String]>),
    /// The raw payload.
    Bytes(Box<[u8]>),
    /// Sub-options, at least one.
    SubOptions(Box<[(OptionId, OptionValue)]>),
    /// The option is removed from the DHCP reply. Never the value of a sub-option.
    Removed,
}

impl OptionValue {
    /// Whether this is an empty text, or no bytes.
    pub fn is_empty(&self) -> bool {
        match self {
            OptionValue::Text(text) => text.is_empty(),
            OptionValue::Bytes(bytes) => bytes.is_empty(),
            _ => false,
        }
    }
}

/// A member of an answer that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why the member cannot be applied.
    pub reason: Reason,
    /// The refused member.
    pub member: Member,
}

/// A member of an answer. The log shows it as `"key": value` on one line and cuts a long value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Member {
    key: String,
    value: Value,
}

/// The member that puts the query into one client class.
pub fn class_member(name: &str) -> Member {
    Member { key: CLIENT_CLASSES.to_owned(), value: name.into() }
}

/// The member that reserves an address for the client.
pub fn address_member(address: Ipv4Addr) -> Member {
    Member { key: IP_ADDRESS.to_owned(), value: address.to_string().into() }
}

/// Whether the option of this code carries the DHCP protocol itself, so that no answer may edit it.
/// Codes 0 and 255 are no options (RFC 2132, section 3): the parser refuses them.
pub fn is_of_the_protocol(code: u8) -> bool {
    PROTOCOL_OPTIONS.iter().any(|(other, _)| *other == code)
}

/// Whether the sub-option of this code ends the option of the other code, and so has no value.
pub fn ends_option(option: u8, sub_option: u8) -> bool {
    (option, sub_option) == (VENDOR_OPTIONS.0, END)
}

/// Why a member of an answer cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Reason {
    /// The key is no option code, and no name that a definition of Kea's can have.
    #[error("the key is no option code from 1 to 254, nor a name")]
    NoCode,
    /// The key of a sub-option is no code, and no name that a definition of Kea's can have.
    #[error("the key of a sub-option is no code from 0 to 255, nor a name")]
    NoSubCode,
    /// Kea has no option definition of this name.
    #[error("no option of this name is defined")]
    NoName,
    /// The option is one of the options that no answer may edit.
    #[error("this option carries the DHCP protocol itself")]
    Protocol,
    /// Kea cannot encode a list without an option definition.
    #[error(
        "the option has no definition, so its value must be text, a number, a boolean or {{\"hex\": …}}"
    )]
    NoDefinition,
    /// An option without a payload is malformed (RFC 2132, section 2), unless it is defined so.
    #[error("the value is empty")]
    Empty,
    /// The answer names one option twice: by its code and by its name.
    #[error("the answer has this option already")]
    Twice,
    /// The definition gives the option a value of its own, so it cannot hold only sub-options.
    #[error("this option has a value of its own, and not just sub-options: use {{\"hex\": …}}")]
    HasValue,
    /// The value of "hex" is not text, or not hexadecimal.
    #[error("the value of \"hex\" is no text of hexadecimal digits in pairs")]
    NoHex,
    /// An object has other members beside "hex".
    #[error("beside \"hex\" the object has other members")]
    NotOnlyHex,
    /// The list has no element.
    #[error("the list is empty")]
    EmptyList,
    /// The list holds a list, an object or null.
    #[error("the list holds something else than text, numbers and booleans")]
    NoList,
    /// The list has more values than the definition takes: how many the definition takes, and how
    /// many the list has. Kea would leave the last values out.
    #[error("the list has {1} values, and the option takes {0}")]
    LongList(usize, usize),
    /// The value of a sub-option is null. A sub-option is new, so nothing can be removed.
    #[error("a sub-option cannot be removed")]
    NoRemoval,
    /// The object has no member.
    #[error("the object is empty")]
    NoSubOptions,
    /// The list names SIP servers by addresses and by names.
    #[error("the SIP servers are neither all addresses nor all names")]
    MixedServers,
    /// Sub-option 255 of option 43 ends the option (RFC 2132, section 8.4): it has no value.
    #[error("sub-option 255 ends the option and has no value: use {{\"hex\": \"\"}}")]
    EndHasValue,
    /// The value is no list of routes.
    #[error("the value is no route as 10.0.0.0/8 - 192.0.2.1, nor several with commas between")]
    NoRoutes,
    /// Kea makes no sub-option longer than 255 bytes with its header, and splits none.
    #[error("longer than {} bytes", length::MAX_SUB_OPTION)]
    LongSubOption,
    /// The edit would make the DHCP reply too long.
    #[error("the reply would be longer than {0}")]
    TooLarge(length::Longest),
    /// The value is not an IPv4 address.
    #[error("the value is no IPv4 address as text")]
    NoAddress,
    /// No client can have the address.
    #[error("no client can have this address")]
    NoClientAddress,
    /// The address is not in the client's network.
    #[error("the address is in no subnet that Kea has for this client")]
    OtherNetwork,
    /// The value is not a host name.
    #[error(
        "the value is no host name: labels of 1 to 63 letters, digits, '-' and '_', together at most \
         253 bytes"
    )]
    NoHostname,
    /// The value is not text, or too long for the header field.
    #[error("the value is no text of at most {0} bytes")]
    NoField(usize),
    /// The value is not a list of class names.
    #[error("the value is no list of class names")]
    NoClasses,
    /// The value is not true or false.
    #[error("the value is neither true nor false")]
    NoFlag,
    /// Kea's configuration has no client class of this name.
    #[error("Kea knows no client class of this name")]
    UnknownClass,
    /// The member "options" is not an object.
    #[error("the value is no object of options")]
    NoOptions,
    /// The structured form has no such member.
    #[error("the answer is of the structured form, where options belong into \"options\"")]
    NoMember,
}

impl Member {
    /// The value as JSON on one line. A long one is cut.
    pub fn value(&self) -> String {
        Shortened(&self.value.to_string()).to_string()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let key = Value::from(self.key.as_str()).to_string();
        write!(formatter, "{}: {}", Shortened(&key), Shortened(&self.value.to_string()))
    }
}

/// A text of which the log shows at most [`Shortened::MOST`] characters.
struct Shortened<'a>(&'a str);

impl Shortened<'_> {
    const MOST: usize = 200;
}

impl fmt::Display for Shortened<'_> {
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

    #[test]
    fn a_member_is_shown_on_one_line() {
        let member = |json: &str| parse(json.as_bytes()).unwrap().refused[0].member.to_string();
        assert_eq!(member(r#"{"-1\n": "a\nb"}"#), r#""-1\n": "a\nb""#);
        assert_eq!(member(r#"{"-1": {"a": [1, null]}}"#), r#""-1": {"a":[1,null]}"#);
        let long = member(&format!("{{\"-1\": \"{}\"}}", "ü".repeat(1000)));
        assert!(long.ends_with("… (2002 bytes)") && long.chars().count() < 250, "{long}");
    }

    #[test]
    fn only_an_answer_without_members_is_nothing() {
        assert!(Answer::default().is_nothing());
        for body in [
            r#"{"66": "x"}"#,
            r#"{"client-classes": ["a"]}"#,
            r#"{"drop": true}"#,
            r#"{"ip-address": "192.0.2.7"}"#,
            r#"{"hostname": "node7"}"#,
            r#"{"-1": "refused"}"#,
        ] {
            assert!(!parse(body.as_bytes()).unwrap().is_nothing(), "{body}");
        }
    }
}
