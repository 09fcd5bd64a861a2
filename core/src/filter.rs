// SPDX-License-Identifier: MPL-2.0
//! Facts → admitted? Decides which clients are looked up, by message type, option 77 (user class)
//! and option 97 (client machine identifier).
//!
//! The Kea adapter reads the facts and evaluates the parameter `match` by itself. This module sees
//! bytes alone.

use std::fmt;

use crate::hexadecimal;

/// DHCP message types that the hook has to do with (RFC 2132, section 9.6).
pub mod message_type {
    /// A client looks for servers.
    pub const DISCOVER: u8 = 1;
    /// A server offers an address.
    pub const OFFER: u8 = 2;
    /// A client asks for an address.
    pub const REQUEST: u8 = 3;
    /// A server grants the address, or answers an INFORM.
    pub const ACK: u8 = 5;
    /// A server refuses the address that a client asks for.
    pub const NAK: u8 = 6;
    /// A client that has an address asks for options.
    pub const INFORM: u8 = 8;
}

/// The code of the user class option (RFC 3004).
pub const USER_CLASS: u8 = 77;
/// The code of the client machine identifier option (RFC 4578, section 2.3).
pub const MACHINE_ID: u8 = 97;

/// Whether a query of this message type may be looked up.
pub fn is_looked_up(message_type: u8) -> bool {
    matches!(message_type, message_type::DISCOVER | message_type::REQUEST | message_type::INFORM)
}

/// Whether an answer may edit a DHCP reply of this message type. A DHCPNAK stays as it is.
pub fn is_edited(message_type: u8) -> bool {
    matches!(message_type, message_type::OFFER | message_type::ACK)
}

/// The filters of one configuration. Filters are alternatives: any one admits a client. Without
/// filters every client is admitted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The parameter `user-class`: option 77 equals one of these, whole or in one instance (RFC
    /// 3004).
    pub user_class: Vec<Vec<u8>>,
    /// The parameter `machine-guid`.
    pub machine_guid: Vec<MachineGuid>,
    /// The parameter `match`, a Kea expression. The adapter evaluates it where [`Filter::admits`]
    /// says no.
    pub expression: Option<String>,
}

impl Filter {
    /// Whether the configuration has no filter at all.
    pub fn is_open(&self) -> bool {
        self.user_class.is_empty() && self.machine_guid.is_empty() && self.expression.is_none()
    }

    /// Whether `user-class` or `machine-guid` admits a client with these payloads of options 77 and
    /// 97, or no filter exists. `None` stands for an option that the packet does not have.
    pub fn admits(&self, user_class: Option<&[u8]>, machine_id: Option<&[u8]>) -> bool {
        let by_class = || {
            user_class.is_some_and(|option| {
                self.user_class.iter().any(|wanted| is_of_user_class(option, wanted))
            })
        };
        let by_machine = || {
            machine_id.is_some_and(|option| self.machine_guid.iter().any(|guid| guid.is_in(option)))
        };
        self.is_open() || by_class() || by_machine()
    }
}

/// One value of the parameter `machine-guid`, which may mean several byte strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineGuid {
    /// The value as the operator wrote it.
    text: Vec<u8>,
    /// Option 97 contains one of these. At least one, and none is empty.
    meant: Vec<Vec<u8>>,
}

/// The longest option 97, in bytes: one byte for the type and sixteen for the GUID (RFC 4578,
/// section 2.3).
const LONGEST_MACHINE_ID: usize = 17;

impl MachineGuid {
    /// What a value may mean: its text; the bytes that it spells in hexadecimal (see
    /// [`hexadecimal`]), also with dashes; and with the dashes of a GUID, the bytes in both orders
    /// that firmware sends. `None` where no option 97 can contain any of them.
    pub fn new(text: Vec<u8>) -> Option<Self> {
        let written = std::str::from_utf8(&text).ok();
        let spelled = written.and_then(hexadecimal::decode);
        // Who writes 0x means hexadecimal digits.
        let is_text = spelled.is_some() || !(text.starts_with(b"0x") || text.starts_with(b"0X"));
        let as_text = is_text.then(|| text.clone());
        let dashed = written.and_then(dashed).into_iter().flatten();
        let meant = as_text.into_iter().chain(spelled).chain(dashed);
        let can_be = |bytes: &Vec<u8>| (1..=LONGEST_MACHINE_ID).contains(&bytes.len());
        let meant: Vec<_> = meant.filter(can_be).collect();
        (!meant.is_empty()).then_some(MachineGuid { text, meant })
    }

    fn is_in(&self, option: &[u8]) -> bool {
        let contains = |meant: &[u8]| option.windows(meant.len()).any(|part| part == meant);
        self.meant.iter().any(|meant| contains(meant))
    }
}

/// The bytes of digits with dashes between them: as written; and, where the groups are those of a GUID
/// such as `4c4c4544-0051-3310-8057-b9c04f4e5931` or of its beginning, also with the first three
/// groups turned around, as firmware sends them (SMBIOS 3.0, section 7.2.1).
fn dashed(text: &str) -> Option<Vec<Vec<u8>>> {
    /// The bytes of each group of a GUID.
    const GUID: [usize; 5] = [4, 2, 2, 2, 6];
    if !text.contains('-') {
        return None;
    }
    let groups = text.split('-').map(|group| hex::decode(group).ok());
    let groups: Vec<_> = groups.collect::<Option<_>>()?;
    let is_guid = GUID.iter().zip(&groups).all(|(length, group)| *length == group.len())
        && groups.len() <= GUID.len();
    let turned = groups.iter().enumerate().map(|(index, group)| match index {
        0..=2 => group.iter().rev().copied().collect(),
        _ => group.clone(),
    });
    let turned = is_guid.then(|| turned.collect::<Vec<_>>().concat());
    Some(std::iter::once(groups.concat()).chain(turned).collect())
}

/// In words: whom the filter admits.
impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let quoted = |name, wanted: &[u8]| format!("{name} \"{}\"", wanted.escape_ascii());
        let class = self.user_class.iter().map(|wanted| quoted("user-class", wanted));
        let machine = self.machine_guid.iter().map(|guid| quoted("machine-guid", &guid.text));
        let expression = self.expression.iter().map(|wanted| format!("match {wanted:?}"));
        let filters: Vec<_> = class.chain(machine).chain(expression).collect();
        match filters.as_slice() {
            [] => formatter.write_str("every client"),
            filters => write!(formatter, "clients with {}", filters.join(" or ")),
        }
    }
}

/// Whether a user class option equals `wanted`: raw, as iPXE and most clients send it, or in one of
/// its instances. Some clients end their text with a zero byte, as a string of C.
fn is_of_user_class(option: &[u8], wanted: &[u8]) -> bool {
    let equals = |value: &[u8]| value == wanted || value.strip_suffix(&[0]) == Some(wanted);
    let in_instance = || {
        let instances = user_class_instances(option);
        instances.is_some_and(|instances| instances.into_iter().any(equals))
    };
    equals(option) || in_instance()
}

/// The instances of a user class option (RFC 3004, section 4): each is a length byte of at least 1
/// and as many bytes of data. `None` when the option has another form.
fn user_class_instances(mut option: &[u8]) -> Option<Vec<&[u8]>> {
    let mut instances = Vec::new();
    while let Some((&length, rest)) = option.split_first() {
        let (instance, rest) = rest.split_at_checked(usize::from(length))?;
        if instance.is_empty() {
            return None;
        }
        instances.push(instance);
        option = rest;
    }
    Some(instances)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_class(wanted: &str) -> Filter {
        Filter { user_class: vec![wanted.into()], ..Filter::default() }
    }

    fn by_machine(wanted: &str) -> Filter {
        let machine_guid = vec![MachineGuid::new(wanted.into()).unwrap()];
        Filter { machine_guid, ..Filter::default() }
    }

    #[test]
    fn without_a_filter_everybody_is_admitted() {
        assert!(Filter::default().admits(None, None));
        assert!(Filter::default().admits(Some(b"x"), Some(b"y")));
    }

    #[test]
    fn user_class_raw_or_by_instance() {
        let filter = by_class("test");
        for (option, verdict) in [
            (&b"test"[..], true),
            (b"\x04test", true),
            (b"\x03foo\x04test", true),
            (b"\x04test\x03foo", true),
            (b"", false),
            (b"tes", false),
            (b"testing", false),
            (b"\x05tests", false),
            (b"\x00\x04test", false),
            (b"\x04test\x00", false),
            (b"test\x00", true),
            (b"test\x00\x00", false),
            (b"\x05test\x00", true),
            (b"\x04test\x09foo", false),
            (b"\x04tes", false),
        ] {
            assert_eq!(filter.admits(Some(option), None), verdict, "{option:?}");
        }
        assert!(!filter.admits(None, Some(b"test")));
    }

    #[test]
    fn machine_id_anywhere_in_option_97() {
        let filter = by_machine("RPi4");
        assert!(filter.admits(None, Some(b"\x00RPi4\x10\x00\xd0\x03")));
        assert!(filter.admits(None, Some(b"RPi4")));
        assert!(!filter.admits(None, Some(b"\x00RPi3")));
        assert!(!filter.admits(None, Some(b"RPi")));
        assert!(!filter.admits(None, Some(b"")));
        assert!(!filter.admits(Some(b"RPi4"), None));
    }

    #[test]
    fn machine_id_in_each_form() {
        const ID: &[u8] = b"\x00RPi4\x14\x00\x00\xaa\xbb\xcc\xdd\x00\x11\x22\x33\x44";
        for wanted in [
            "RPi4",
            "52506934",
            "0x52506934",
            "52:50:69:34",
            "52 50 69 34",
            "52-50-69-34",
            "52506934-1400",
            "34695052-0014",
            "52506934-1400-00aa-bbcc-dd0011223344",
            "34695052-0014-AA00-bbcc-dd0011223344",
        ] {
            assert!(by_machine(wanted).admits(None, Some(ID)), "{wanted}");
            assert!(!by_machine(wanted).admits(None, Some(b"\x00RPi5")), "{wanted}");
        }
    }

    #[test]
    fn a_machine_id_that_no_client_can_send() {
        for wanted in [
            "0x5250693",
            "0xRPi4",
            "0X52506934",
            "0x",
            "",
            "eighteen bytes txt",
            "52506934-1400-00aa-bbcc-dd001122334",
            "52506934-1400-00aa-bbcc-dd001122334g",
            "000102030405060708090a0b0c0d0e0f1011",
        ] {
            assert_eq!(MachineGuid::new(wanted.into()), None, "{wanted}");
        }
    }

    #[test]
    fn filters_are_alternatives() {
        let filter = Filter {
            user_class: vec![b"test".to_vec()],
            machine_guid: vec![MachineGuid::new(b"RPi4".to_vec()).unwrap()],
            expression: None,
        };
        assert!(filter.admits(Some(b"test"), None));
        assert!(filter.admits(Some(b"other"), Some(b"\0RPi4")));
        assert!(filter.admits(Some(b"test"), Some(b"other")));
        assert!(!filter.admits(Some(b"other"), Some(b"other")));
        assert!(!filter.admits(None, None));
        assert_eq!(filter.to_string(), "clients with user-class \"test\" or machine-guid \"RPi4\"");
        assert_eq!(Filter::default().to_string(), "every client");
    }

    #[test]
    fn message_types() {
        let looked_up: Vec<u8> = (0..=18).filter(|code| is_looked_up(*code)).collect();
        assert_eq!(looked_up, [1, 3, 8]);
        let edited: Vec<u8> = (0..=18).filter(|code| is_edited(*code)).collect();
        assert_eq!(edited, [2, 5]);
    }
}
