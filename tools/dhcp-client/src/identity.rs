// SPDX-License-Identifier: MPL-2.0
//! Who the client is, in the options that the hook library reads: option 82 of the relay agent, and
//! the client's options 77 and 97.

use std::str::FromStr;

use clap::Args;

use crate::arguments::{CustomOption, decode_hex};
use crate::packet::{MACHINE_ID, Options, RELAY_AGENT, USER_CLASS};

/// The longest data of an option or a sub-option, in bytes: the length has one byte (RFC 2132,
/// section 2).
const LONGEST: usize = 255;

/// The bytes of a GUID in option 97, without the type byte before them (RFC 4578, section 2.3).
const GUID_LENGTH: usize = 16;
/// The bytes of option 97: the type and the GUID.
const OPTION_LENGTH: usize = 1 + GUID_LENGTH;
/// The type of a GUID in option 97 (RFC 4578, section 2.3).
const GUID_TYPE: u8 = 0;
/// The lengths of the digits between the dashes of a GUID.
const GUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// The arguments that say who the client is. Each is read into the bytes that go out.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Who the client is (VALUE is text, or 0x and hexadecimal digits)")]
pub struct Identity {
    /// Circuit-id, the port of the switch: sub-option 1 of option 82, as relay agents add it
    #[arg(long, value_name = "VALUE")]
    pub circuit_id: Option<Bytes>,

    /// Remote-id, often the switch: sub-option 2 of option 82
    #[arg(long, value_name = "VALUE")]
    pub remote_id: Option<Bytes>,

    /// Vendor-specific information of the relay agent: sub-option 9 of option 82
    #[arg(long, value_name = "VALUE")]
    pub vendor_specific_info: Option<Bytes>,

    /// User class (option 77) as iPXE sends it: the bytes of VALUE and nothing else
    #[arg(long, value_name = "VALUE")]
    pub user_class: Option<Bytes>,

    /// User class (option 77) as RFC 3004 has it: a length byte before each VALUE; repeatable
    #[arg(long, value_name = "VALUE", conflicts_with = "user_class")]
    pub user_class_instance: Vec<Bytes>,

    /// Machine identifier (option 97): a UUID with dashes, hexadecimal digits, or text
    ///
    /// A UUID with dashes, as machines print it, goes out in the byte order of PXE and UEFI
    /// firmware, which turns its first three groups around. Pairs of hexadecimal digits go out as
    /// written, with 0x, colons, spaces or dashes between them or without: so write the UUID for a
    /// machine that sends it as printed. Text is for a Raspberry Pi: RPi4. The type byte 0 comes
    /// first, and zero bytes fill the option up
    #[arg(long, value_name = "UUID")]
    pub guid: Option<Guid>,
}

impl Identity {
    /// The options that these arguments stand for.
    pub fn options(&self) -> Options {
        let mut options = Options::new();
        let sub_options =
            [(1, &self.circuit_id), (2, &self.remote_id), (9, &self.vendor_specific_info)];
        for (code, value) in sub_options {
            if let Some(Bytes(value)) = value {
                let option = options.entry(RELAY_AGENT).or_default();
                option.extend([code, value.len() as u8]);
                option.extend(value);
            }
        }
        if let Some(Bytes(value)) = &self.user_class {
            options.insert(USER_CLASS, value.clone());
        }
        for Bytes(value) in &self.user_class_instance {
            let option = options.entry(USER_CLASS).or_default();
            option.push(value.len() as u8);
            option.extend(value);
        }
        if let Some(Guid(option)) = &self.guid {
            options.insert(MACHINE_ID, option.to_vec());
        }
        options
    }

    /// Checks the arguments against one another and against those of `-c`. The error tells the user
    /// what is wrong.
    pub fn check(&self, custom: &[CustomOption]) -> Result<(), String> {
        let given = [
            (RELAY_AGENT, "--circuit-id", self.circuit_id.is_some()),
            (RELAY_AGENT, "--remote-id", self.remote_id.is_some()),
            (RELAY_AGENT, "--vendor-specific-info", self.vendor_specific_info.is_some()),
            (USER_CLASS, "--user-class", self.user_class.is_some()),
            (USER_CLASS, "--user-class-instance", !self.user_class_instance.is_empty()),
            (MACHINE_ID, "--guid", self.guid.is_some()),
        ];
        for (code, name, _) in given.iter().filter(|(.., is_given)| *is_given) {
            if custom.iter().any(|option| option.code == *code) {
                return Err(format!(
                    "option {code} is given twice, with {name} and with -c {code},…: give one"
                ));
            }
        }
        let length = self.options().get(&RELAY_AGENT).map_or(0, Vec::len);
        if length > LONGEST {
            return Err(format!(
                "option 82 would have {length} bytes, with two for the header of each sub-option: \
                 a relay agent adds at most {LONGEST}"
            ));
        }
        Ok(())
    }
}

/// Text, or bytes in hexadecimal: `Gi0/1`, `0x4769302f31`. From 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let accepted = "text or, behind 0x, pairs of hexadecimal digits, from 1 to 255 bytes";
        let bytes = if is_marked_as_hex(text) {
            decode_hex(text).map_err(|error| format!("{error}: it takes {accepted}"))?
        } else {
            text.as_bytes().to_vec()
        };
        match bytes.len() {
            1..=LONGEST => Ok(Bytes(bytes)),
            0 => Err(format!("it is empty: it takes {accepted}")),
            length => Err(format!("{length} bytes: it takes {accepted}")),
        }
    }
}

/// The data of option 97: a type byte and the 16 bytes of a GUID.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guid(pub [u8; OPTION_LENGTH]);

impl FromStr for Guid {
    type Err = String;

    /// Reads the forms of the library's parameter `machine-guid`. The parameter with the same value
    /// admits the client. A part of a UUID, which the parameter takes, is a mistake here, and so is
    /// text that consists of hexadecimal digits.
    fn from_str(text: &str) -> Result<Guid, String> {
        let is_digits = |char: char| char.is_ascii_hexdigit() || ":- ".contains(char);
        let is_text =
            !is_marked_as_hex(text) && !text.chars().all(is_digits) && text.len() <= GUID_LENGTH;
        let as_text = || is_text.then(|| text.as_bytes().to_vec());
        let bytes = in_firmware_order(text).or_else(|| spelled(text)).or_else(as_text);
        let bytes = bytes.filter(|bytes| (1..=OPTION_LENGTH).contains(&bytes.len())).ok_or(
            "it takes a UUID as 4c4c4544-0051-3310-8057-b9c04f4e5931, or from 1 to 16 bytes as \
             pairs of hexadecimal digits or as text, for example RPi4",
        )?;
        let mut option = [0; OPTION_LENGTH];
        option[0] = GUID_TYPE;
        // 17 bytes are the whole option with its type, as this client and Kea's log show it.
        let start = usize::from(bytes.len() < OPTION_LENGTH);
        option[start..start + bytes.len()].copy_from_slice(&bytes);
        Ok(Guid(option))
    }
}

/// The bytes of a UUID with dashes, as SMBIOS stores it and PXE and UEFI firmware sends it: the
/// first three groups turned around (SMBIOS 3.0, section 7.2.1). `None` for any other text.
fn in_firmware_order(text: &str) -> Option<Vec<u8>> {
    let groups: Vec<&str> = text.split('-').collect();
    if !groups.iter().map(|group| group.len()).eq(GUID_GROUPS) {
        return None;
    }
    let mut bytes = Vec::new();
    for (index, group) in groups.into_iter().enumerate() {
        let mut group = hex::decode(group).ok()?;
        if index < 3 {
            group.reverse();
        }
        bytes.extend(group);
    }
    Some(bytes)
}

/// The bytes that digits spell: `52506934`, `0x52506934`, `52:50:69:34`, `52 50 69 34` or
/// `52-50-69-34`. Between colons and spaces one digit is enough, as in Kea's option-data.
fn spelled(text: &str) -> Option<Vec<u8>> {
    let Some(separator) = [':', ' ', '-'].into_iter().find(|one| text.contains(*one)) else {
        return decode_hex(text).ok();
    };
    let byte = |digits: &str| match digits.len() {
        1 if separator != '-' => hex::decode(format!("0{digits}")).ok(),
        2 => hex::decode(digits).ok(),
        _ => None,
    };
    Some(text.split(separator).map(byte).collect::<Option<Vec<_>>>()?.concat())
}

/// Whether the text begins with `0x`: who writes so means hexadecimal digits.
fn is_marked_as_hex(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0X")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<Vec<u8>, String> {
        text.parse().map(|Bytes(bytes)| bytes)
    }

    fn guid(text: &str) -> Result<Vec<u8>, String> {
        text.parse().map(|Guid(option)| option.to_vec())
    }

    #[test]
    fn values_as_text_and_in_hexadecimal() {
        assert_eq!(bytes("Gi0/1").unwrap(), b"Gi0/1");
        assert_eq!(bytes("0x4769302F31").unwrap(), b"Gi0/1");
        assert_eq!(bytes("0x00:04:00:0c").unwrap(), [0, 4, 0, 12]);
        assert_eq!(bytes("é").unwrap(), [0xc3, 0xa9]);
        assert_eq!(bytes("4769").unwrap(), b"4769", "digits alone are text");
        assert_eq!(bytes(&"x".repeat(255)).unwrap().len(), 255);
        for text in ["", "0x", "0x5", "0xzz", "0xport", "0X0g", &"x".repeat(256)] {
            let error = bytes(text).unwrap_err();
            assert!(error.ends_with("hexadecimal digits, from 1 to 255 bytes"), "{text}: {error}");
        }
    }

    #[test]
    fn a_uuid_goes_out_as_firmware_sends_it() {
        let turned = [
            0, 0x44, 0x45, 0x4c, 0x4c, 0x51, 0, 0x10, 0x33, 0x80, 0x57, 0xb9, 0xc0, 0x4f, 0x4e,
            0x59, 0x31,
        ];
        assert_eq!(guid("4c4c4544-0051-3310-8057-b9c04f4e5931").unwrap(), turned);
        assert_eq!(guid("4C4C4544-0051-3310-8057-B9C04F4E5931").unwrap(), turned);
        for as_it_goes_out in [
            "44454c4c510010338057b9c04f4e5931".to_string(),
            "0x44454c4c510010338057b9c04f4e5931".to_string(),
            "44:45:4c:4c:51:0:10:33:80:57:b9:c0:4f:4e:59:31".to_string(),
            "44 45 4c 4c 51 00 10 33 80 57 b9 c0 4f 4e 59 31".to_string(),
            "44-45-4c-4c-51-00-10-33-80-57-b9-c0-4f-4e-59-31".to_string(),
            "0x0044454c4c510010338057b9c04f4e5931".to_string(),
        ] {
            assert_eq!(guid(&as_it_goes_out).unwrap(), turned, "{as_it_goes_out}");
        }
    }

    #[test]
    fn a_short_machine_identifier_is_filled_up() {
        let model = [&b"\0RPi4"[..], &[0; 12]].concat();
        for text in ["RPi4", "52506934", "0x52506934", "52:50:69:34", "52-50-69-34"] {
            assert_eq!(guid(text).unwrap(), model, "{text}");
        }
    }

    #[test]
    fn machine_identifiers_that_are_refused() {
        for text in [
            "",
            "0x",
            "0xRPi4",
            "0x5250693",
            "4c4c4544-0051",
            "4c4c4544-0051-3310-8057",
            "4c4c4544-0051-3310-8057-b9c04f4e59",
            "4c4c4544-0051-3310-8057-b9c04f4e593",
            "abc",
            "52-5-69",
            "4c4c4544-0051-3310-8057-b9c04f4e593g",
            "{4c4c4544-0051-3310-8057-b9c04f4e5931}",
            "seventeen letters",
            "000102030405060708090a0b0c0d0e0f1011",
        ] {
            assert!(guid(text).unwrap_err().starts_with("it takes a UUID as"), "{text}");
        }
    }
}
