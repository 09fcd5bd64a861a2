// SPDX-License-Identifier: MPL-2.0
//! Facts → admitted? Decides which clients are looked up, by message type, option 77 (user class)
//! and option 97 (client machine identifier).
//!
//! The Kea adapter reads the facts and evaluates the parameter `match` by itself. This module sees
//! bytes alone.

use std::fmt;

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
    /// The parameter `user-class`: option 77 equals it, whole or in one instance (RFC 3004).
    pub user_class: Option<Vec<u8>>,
    /// The parameter `machine-guid`: option 97 contains one of these byte strings. The first is the
    /// parameter's text, the second what the text spells in hexadecimal, if it does.
    pub machine_guid: Vec<Vec<u8>>,
    /// The parameter `match`, a Kea expression. The adapter evaluates it where [`Filter::admits`]
    /// says no.
    pub expression: Option<String>,
}

impl Filter {
    /// Whether the configuration has no filter at all.
    pub fn is_open(&self) -> bool {
        self.user_class.is_none() && self.machine_guid.is_empty() && self.expression.is_none()
    }

    /// Whether `user-class` or `machine-guid` admits a client with these payloads of options 77 and
    /// 97, or no filter exists. `None` stands for an option that the packet does not have.
    pub fn admits(&self, user_class: Option<&[u8]>, machine_id: Option<&[u8]>) -> bool {
        let by_class = || match (&self.user_class, user_class) {
            (Some(wanted), Some(option)) => is_of_user_class(option, wanted),
            _ => false,
        };
        let contains =
            |option: &[u8], wanted: &[u8]| option.windows(wanted.len()).any(|part| part == wanted);
        let by_machine = || {
            machine_id.is_some_and(|option| {
                self.machine_guid.iter().any(|wanted| contains(option, wanted))
            })
        };
        self.is_open() || by_class() || by_machine()
    }
}

/// In words: whom the filter admits.
impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let quoted = |name, wanted: &[u8]| format!("{name} \"{}\"", wanted.escape_ascii());
        let class = self.user_class.iter().map(|wanted| quoted("user-class", wanted));
        // The first byte string is the parameter as the operator wrote it.
        let machine = self.machine_guid.iter().take(1).map(|wanted| quoted("machine-guid", wanted));
        let expression = self.expression.iter().map(|wanted| format!("match {wanted:?}"));
        let filters: Vec<_> = class.chain(machine).chain(expression).collect();
        match filters.as_slice() {
            [] => formatter.write_str("every client"),
            filters => write!(formatter, "clients with {}", filters.join(" or ")),
        }
    }
}

/// Whether a user class option equals `wanted`: raw, as iPXE and most clients send it, or in one of
/// its instances.
fn is_of_user_class(option: &[u8], wanted: &[u8]) -> bool {
    let in_instance =
        || user_class_instances(option).is_some_and(|instances| instances.contains(&wanted));
    option == wanted || in_instance()
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
        Filter { user_class: Some(wanted.into()), ..Filter::default() }
    }

    fn by_machine(wanted: &[u8]) -> Filter {
        Filter { machine_guid: vec![wanted.into()], ..Filter::default() }
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
            (b"\x04test\x09foo", false),
            (b"\x04tes", false),
        ] {
            assert_eq!(filter.admits(Some(option), None), verdict, "{option:?}");
        }
        assert!(!filter.admits(None, Some(b"test")));
    }

    #[test]
    fn machine_id_anywhere_in_option_97() {
        let filter = by_machine(b"RPi4");
        assert!(filter.admits(None, Some(b"\x00RPi4\x10\x00\xd0\x03")));
        assert!(filter.admits(None, Some(b"RPi4")));
        assert!(!filter.admits(None, Some(b"\x00RPi3")));
        assert!(!filter.admits(None, Some(b"RPi")));
        assert!(!filter.admits(None, Some(b"")));
        assert!(!filter.admits(Some(b"RPi4"), None));
    }

    #[test]
    fn filters_are_alternatives() {
        let filter = Filter {
            user_class: Some(b"test".to_vec()),
            machine_guid: vec![b"RPi4".to_vec()],
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
