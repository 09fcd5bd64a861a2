// SPDX-License-Identifier: MPL-2.0
//! The members of an answer that say who a client is: its address and its host name.
//!
//! [`super::parse`] reads them. The Kea adapter gives them to Kea as a reservation.

use std::net::Ipv4Addr;

use super::Reason;

/// The longest host name as text, in bytes, without the dot at its end (RFC 1035, section 2.3.4).
const MAX_HOSTNAME: usize = 253;
/// The longest label of a host name, in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// Reads the address of a client. The error says that a client cannot have it: "this network"
/// (RFC 1122, section 3.2.1.3), loopback, multicast and reserved addresses.
pub fn address(text: &str) -> Result<Ipv4Addr, Reason> {
    let address: Ipv4Addr = text.parse().map_err(|_| Reason::NoAddress)?;
    match address.octets()[0] {
        0 | 127 | 224.. => Err(Reason::NoClientAddress),
        _ => Ok(address),
    }
}

/// Checks a host name: labels of letters, digits, `-` and `_`, which Kea can write into DNS and into
/// its file of leases. A dot may stand at the end of a full name.
pub fn check_hostname(text: &str) -> Result<(), Reason> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let may_have = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(may_have)
    };
    let is_name = name.len() <= MAX_HOSTNAME && name.split('.').all(is_label);
    if is_name { Ok(()) } else { Err(Reason::NoHostname) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_a_client_can_have() {
        for text in ["192.0.2.77", "10.0.0.1", "1.0.0.1", "223.255.255.254", "169.254.1.1"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            assert_eq!(address(text), Err(Reason::NoClientAddress), "{text}");
        }
        for text in ["", "192.0.2", "192.0.2.256", "192.0.2.7 ", "::1", "node7", "192.0.2.7/24"] {
            assert_eq!(address(text), Err(Reason::NoAddress), "{text}");
        }
    }

    #[test]
    fn host_names() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        let full = format!("{longest}.");
        for text in ["node7", "NODE-7", "a_b.example.org", "7", "node7.", &label, &longest, &full] {
            assert_eq!(check_hostname(text), Ok(()), "{text}");
        }
        let long_label = "a".repeat(64);
        let too_long = format!("{longest}b");
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a\0",
            "ä",
            "-a",
            "a-",
            "a.-b",
            "a,b",
            "a/b",
            &long_label,
            &too_long,
        ] {
            assert_eq!(check_hostname(text), Err(Reason::NoHostname), "{text:?}");
        }
    }
}
