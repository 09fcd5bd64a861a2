// SPDX-License-Identifier: MPL-2.0
//! How long options and DHCP messages are on the wire.

/// The longest DHCP message that edits may make, in bytes: an Ethernet frame of 1500 bytes less the
/// IP header (20) and the UDP header (8). Kea's raw sockets do not fragment, so Kea could not send
/// a longer reply.
pub const MAX_REPLY: usize = 1500 - 20 - 8;

/// The longest payload of a sub-option, in bytes.
pub const MAX_SUB_OPTION: usize = 253;

/// The bytes of a DHCP message beside its options: the fixed fields (RFC 2131, section 2), the
/// magic cookie, and the end option.
pub const FIXED: usize = 236 + 4 + 1;

/// The payload that Kea puts into one option when it splits a longer one (RFC 3396), in bytes.
const PART: usize = 253;

/// The bytes that an option with a payload of `payload` bytes takes in a DHCP message. Each part of
/// a split option has a header of two bytes.
pub fn wire_length(payload: usize) -> usize {
    payload + 2 * payload.div_ceil(PART).max(1)
}

#[cfg(test)]
mod tests {
    use super::wire_length;

    #[test]
    fn each_part_of_an_option_has_a_header() {
        for (payload, length) in [(0, 2), (1, 3), (253, 255), (254, 258), (506, 510), (507, 513)] {
            assert_eq!(wire_length(payload), length);
        }
    }
}
