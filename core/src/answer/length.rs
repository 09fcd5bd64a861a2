// SPDX-License-Identifier: MPL-2.0
//! How long options and DHCP messages are on the wire, as Kea packs them.

use std::fmt;

/// The bytes of the IP header (20) and the UDP header (8). The client's option 57 counts both (RFC
/// 2132, section 9.10; the length of an IP datagram, RFC 2131, section 2).
pub const IP_AND_UDP: usize = 20 + 8;

/// The longest DHCP message that fits into one Ethernet frame of 1500 bytes. Kea's raw sockets do not
/// fragment, so Kea cannot send a longer one with them.
pub const FRAME: usize = 1500 - IP_AND_UDP;

/// The shortest length of a datagram that a client may ask for, in bytes (RFC 2132, section 9.10).
const MIN_DATAGRAM: usize = 576;

/// The longest payload of a sub-option, in bytes.
pub const MAX_SUB_OPTION: usize = 253;

/// The bytes of a DHCP message beside its options: the fixed fields (RFC 2131, section 2), the
/// magic cookie, and the end option.
pub const FIXED: usize = 236 + 4 + 1;

/// The payload that Kea puts into one option when it splits a longer one (RFC 3396), in bytes.
const PART: usize = 253;

/// The length of options that fit into every DHCP message, together with their headers, in bytes:
/// none of them is split, and no limit is shorter.
pub const ALWAYS_FITS: usize = PART;
const _: () = assert!(FIXED + ALWAYS_FITS <= MIN_DATAGRAM - IP_AND_UDP);

/// The longest DHCP message that edits may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Longest {
    /// In bytes.
    pub bytes: usize,
    /// Whether the client's option 57 sets the limit, and not the parameter `max-reply-size`.
    pub by_client: bool,
}

impl Longest {
    /// As long as the parameter `max-reply-size` says, and no longer than the client takes.
    /// `datagram` is the client's option 57, in bytes.
    pub fn new(max_reply_size: usize, datagram: Option<u16>) -> Self {
        let client_takes = datagram.map(|size| usize::from(size).max(MIN_DATAGRAM) - IP_AND_UDP);
        match client_takes {
            Some(bytes) if bytes < max_reply_size => Longest { bytes, by_client: true },
            _ => Longest { bytes: max_reply_size, by_client: false },
        }
    }
}

/// In words, with whose limit it is.
impl fmt::Display for Longest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let whose = match self.by_client {
            true => "the client's option 57",
            false if self.bytes == FRAME => "max-reply-size, an Ethernet frame",
            false => "max-reply-size",
        };
        write!(formatter, "{} bytes ({whose})", self.bytes)
    }
}

/// The bytes that an option takes in a DHCP message: `payload` are the bytes of its payload, of which
/// some may be `sub_options` sub-options that Kea keeps apart.
///
/// Kea splits an option of over 255 bytes: plain bytes into parts of 253 bytes, each with a header of
/// two bytes. Sub-options get a header each, and so do the bytes before them.
pub fn wire_length(payload: usize, sub_options: usize) -> usize {
    let parts = match sub_options {
        0 => payload.div_ceil(PART).max(1),
        _ if payload <= PART => 1,
        sub_options => sub_options + 1,
    };
    payload + 2 * parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_an_option_has_a_header() {
        for (payload, length) in [(0, 2), (1, 3), (253, 255), (254, 258), (506, 510), (507, 513)] {
            assert_eq!(wire_length(payload, 0), length);
        }
        for (payload, sub_options, length) in [(12, 2, 14), (253, 40, 255), (360, 60, 482)] {
            assert_eq!(wire_length(payload, sub_options), length);
        }
    }

    #[test]
    fn a_reply_is_as_long_as_the_client_takes() {
        for (max_reply_size, datagram, longest) in [
            (1472, None, 1472),
            (1472, Some(576), 548),
            (1472, Some(300), 548),
            (1472, Some(0), 548),
            (1472, Some(1260), 1232),
            (1472, Some(1500), 1472),
            (1472, Some(65535), 1472),
            (65507, Some(65535), 65507),
            (548, None, 548),
        ] {
            assert_eq!(Longest::new(max_reply_size, datagram).bytes, longest, "{datagram:?}");
        }
    }
}
