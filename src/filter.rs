//! Which clients are looked up: option 77 (user class) and option 97 (client machine identifier) against the
//! parameters `user-class` and `machine-guid`. Pure: bytes in, verdict out.

use std::fmt;

/// DHCP message types (RFC 2132, section 9.6) that the hook has to do with.
pub mod message_type {
    /// A client looks for servers.
    pub const DISCOVER: u8 = 1;
    /// A server offers an address.
    pub const OFFER: u8 = 2;
    /// A client asks for an address.
    pub const REQUEST: u8 = 3;
    /// A server grants the address, or answers an INFORM.
    pub const ACK: u8 = 5;
    /// A client that has an address asks for options.
    pub const INFORM: u8 = 8;
}

/// The code of the user class option (RFC 3004).
pub const USER_CLASS: u8 = 77;
/// The code of the client machine identifier option (RFC 4578, section 2.3).
pub const MACHINE_ID: u8 = 97;

/// Whether a message of this type may be looked up and its reply changed.
pub fn is_looked_up(message_type: u8) -> bool {
    matches!(message_type, message_type::DISCOVER | message_type::REQUEST | message_type::INFORM)
}

/// Whether the answer may be written into a reply of this type: never into a DHCPNAK.
pub fn is_overridden(message_type: u8) -> bool {
    matches!(message_type, message_type::OFFER | message_type::ACK)
}

/// The filters of one configuration. They are alternatives: any one admits; with none, every client is admitted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What option 77 must equal, whole or in one of its RFC 3004 instances.
    pub user_class: Option<Vec<u8>>,
    /// What option 97 must contain, one of these: the parameter's text, and the bytes it spells in hexadecimal.
    pub machine_id: Vec<Vec<u8>>,
    /// An expression of Kea's, which decides where the others do not admit.
    pub expression: Option<String>,
}

impl Filter {
    /// Whether there is no filter, so that every client is admitted.
    pub fn is_open(&self) -> bool {
        self.user_class.is_none() && self.machine_id.is_empty() && self.expression.is_none()
    }

    /// Whether a client with these payloads of options 77 and 97 (`None`: the packet has no such option) is admitted,
    /// whatever the expression says.
    pub fn admits(&self, user_class: Option<&[u8]>, machine_id: Option<&[u8]>) -> bool {
        let by_class = || match (&self.user_class, user_class) {
            (Some(wanted), Some(option)) => is_of_user_class(option, wanted),
            _ => false,
        };
        let by_machine = || {
            machine_id.is_some_and(|option| {
                self.machine_id.iter().any(|wanted| option.windows(wanted.len()).any(|part| part == wanted))
            })
        };
        self.is_open() || by_class() || by_machine()
    }
}

/// Whom the filter admits, in words.
impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let class = self.user_class.iter().map(|wanted| format!("user-class \"{}\"", wanted.escape_ascii()));
        // The text of the parameter; what it spells in hexadecimal follows from it.
        let machine = self.machine_id.iter().take(1);
        let machine = machine.map(|wanted| format!("machine-guid \"{}\"", wanted.escape_ascii()));
        let expression = self.expression.iter().map(|wanted| format!("match {wanted:?}"));
        let filters: Vec<_> = class.chain(machine).chain(expression).collect();
        match filters.as_slice() {
            [] => formatter.write_str("every client"),
            filters => write!(formatter, "clients with {}", filters.join(" or ")),
        }
    }
}

/// Whether the user class option equals `wanted`, raw (as iPXE and most others send it) or in one instance.
fn is_of_user_class(option: &[u8], wanted: &[u8]) -> bool {
    option == wanted || user_class_instances(option).is_some_and(|instances| instances.contains(&wanted))
}

/// The instances of a user class option (RFC 3004, section 4: each a length byte of at least 1 and that many bytes of
/// data); `None` when the option is not made so.
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
        Filter { machine_id: vec![wanted.into()], ..Filter::default() }
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
            machine_id: vec![b"RPi4".to_vec()],
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
        let overridden: Vec<u8> = (0..=18).filter(|code| is_overridden(*code)).collect();
        assert_eq!(overridden, [2, 5]);
    }
}
