// SPDX-License-Identifier: MPL-2.0
//! Bytes in hexadecimal digits, in the forms that Kea's option-data takes (Kea manual, "Standard
//! DHCPv4 Options"). An odd number of digits is refused: a digit is missing, where Kea would put a 0
//! before the first one.
//!
//! Answers write `{"hex": …}` so, and the parameter `machine-guid` may.

/// The bytes that a text spells: `0a0b`, `0x0a0b`, `0a:0b` or `0a 0b`. Between separators one digit
/// is enough. `None` where the text is in none of these forms. An empty text spells no bytes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if let Some(separator) = [':', ' '].into_iter().find(|separator| text.contains(*separator)) {
        return text.split(separator).map(byte).collect();
    }
    let digits = match text.strip_prefix("0x") {
        Some("") => return None,
        Some(digits) => digits,
        None => text,
    };
    hex::decode(digits).ok()
}

/// The digits of these bytes, in upper case as in a request.
pub fn encode(bytes: &[u8]) -> String {
    hex::encode_upper(bytes)
}

/// The byte of one or two digits.
fn byte(digits: &str) -> Option<u8> {
    let is_short = matches!(digits.len(), 1 | 2);
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_short && is_hexadecimal).then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_option_data() {
        for text in ["0a0bFf", "0x0a0bff", "0a:0b:ff", "a:b:ff", "0A 0B FF", "a b ff"] {
            assert_eq!(decode(text).as_deref(), Some(&[10, 11, 255][..]), "{text}");
        }
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(encode(&[10, 11, 255]), "0A0BFF");
        assert_eq!(decode(&encode(&[10, 11, 255])).as_deref(), Some(&[10, 11, 255][..]));
    }

    #[test]
    fn texts_that_spell_no_bytes() {
        for text in [
            "0", "0a0", "zz", "0x", "0xa", "0X0a", "0x0a:0b", "0a::0b", "0a:", ":0a", "0a:0bc",
            " ", "+1:02", "0a: 0b", "0a-0b", "0x0x0a", "é",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
