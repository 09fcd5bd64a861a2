// SPDX-License-Identifier: MPL-2.0
//! Options of the standards that a version of Kea has no definition of.
//!
//! Without a definition the text of an answer is sent as it is: an address as its letters, which a
//! client reads as another address. A definition of Kea, and one of the configuration, count before
//! these. [`crate::encode`] asks, in packet threads.

use std::error::Error;

use cxx::UniquePtr;
use remote_opts_core::answer::{OptionId, OptionValue, Reason, routes};

use crate::ffi::{self, Definition};

/// An option of a standard.
pub struct WellKnown {
    /// The option's code.
    pub code: u8,
    /// The option's name: the name in a later version of Kea, else a name like it.
    name: &'static str,
    form: Form,
}

/// How the payload of an option is made.
enum Form {
    /// One value of one of Kea's data types.
    One(&'static str),
    /// A list of values of one of Kea's data types.
    List(&'static str),
    /// A value of each of these data types.
    Record(&'static [&'static str]),
    /// URIs, each after its length in two bytes.
    Uris,
    /// Routes: see [`routes`].
    Routes,
    /// SIP servers: a byte that says what follows, then addresses or names (RFC 3361).
    SipServers,
}

/// In the order of the codes, with the document that says what the option is. docs/service.md has the
/// same table.
const WELL_KNOWN: [WellKnown; 16] = [
    // RFC 3361
    WellKnown { code: 120, name: "sip-servers", form: Form::SipServers },
    // RFC 3442
    WellKnown { code: 121, name: "classless-static-route", form: Form::Routes },
    // RFC 6153
    WellKnown { code: 142, name: "andsf-servers", form: Form::List("ipv4-address") },
    // RFC 8572, section 8.1
    WellKnown { code: 143, name: "v4-sztp-redirect", form: Form::Uris },
    // RFC 6704
    WellKnown { code: 145, name: "forcerenew-nonce-capable", form: Form::List("uint8") },
    // RFC 8973
    WellKnown { code: 147, name: "dots-ri", form: Form::One("fqdn") },
    // RFC 8973
    WellKnown { code: 148, name: "dots-address", form: Form::List("ipv4-address") },
    // RFC 5859
    WellKnown { code: 150, name: "tftp-server-address", form: Form::List("ipv4-address") },
    // RFC 6926, like the six after it
    WellKnown { code: 151, name: "status-code", form: Form::Record(&["uint8", "string"]) },
    WellKnown { code: 152, name: "base-time", form: Form::One("uint32") },
    WellKnown { code: 153, name: "start-time-of-state", form: Form::One("uint32") },
    WellKnown { code: 154, name: "query-start-time", form: Form::One("uint32") },
    WellKnown { code: 155, name: "query-end-time", form: Form::One("uint32") },
    WellKnown { code: 156, name: "dhcp-state", form: Form::One("uint8") },
    WellKnown { code: 157, name: "data-source", form: Form::One("uint8") },
    // RFC 5071
    WellKnown { code: 211, name: "pxelinux-reboot-time", form: Form::One("uint32") },
];

/// The option that an answer names so; `None` where it is not one of these.
pub fn find(id: &OptionId) -> Option<&'static WellKnown> {
    WELL_KNOWN.iter().find(|option| match id {
        OptionId::Code(code) => option.code == *code,
        OptionId::Name(name) => *option.name == **name,
    })
}

impl WellKnown {
    /// The option as a definition of Kea's, where one of Kea's data types is its form.
    pub fn definition(&self) -> Result<Option<UniquePtr<Definition>>, cxx::Exception> {
        let new = |data_type, array, fields: &[&str]| {
            ffi::new_definition(u16::from(self.code), self.name, data_type, array, fields).map(Some)
        };
        match self.form {
            Form::One(data_type) => new(data_type, false, &[]),
            Form::List(data_type) => new(data_type, true, &[]),
            Form::Record(fields) => new("record", false, fields),
            Form::Uris | Form::Routes | Form::SipServers => Ok(None),
        }
    }

    /// The payload with this value, for an option whose form is none of Kea's data types.
    pub fn encode(&self, value: &OptionValue) -> Result<Vec<u8>, Box<dyn Error>> {
        let fields = match value {
            OptionValue::Bytes(bytes) => return Ok(bytes.to_vec()),
            OptionValue::Text(text) | OptionValue::Scalar(text) => split(text),
            OptionValue::Fields(fields) => fields.to_vec(),
            OptionValue::SubOptions(_) => return Err(Reason::HasValue.into()),
            OptionValue::Removed => return Err(Reason::NoRemoval.into()),
        };
        if fields.iter().any(String::is_empty) {
            return Err(Reason::Empty.into());
        }
        match self.form {
            Form::SipServers => self.sip_servers(&fields),
            Form::Uris => uris(&fields),
            _ => Ok(routes::encode(&fields.join(","))?),
        }
    }

    /// SIP servers: all addresses, or all names.
    fn sip_servers(&self, servers: &[String]) -> Result<Vec<u8>, Box<dyn Error>> {
        /// What follows the first byte (RFC 3361, section 3).
        const NAMES: u8 = 0;
        const ADDRESSES: u8 = 1;
        // A name of digits alone is a mistyped address.
        let is_number =
            |text: &&String| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let (first, data_type) = match servers.iter().filter(is_number).count() {
            0 => (NAMES, "fqdn"),
            number if number == servers.len() => (ADDRESSES, "ipv4-address"),
            _ => return Err(Reason::MixedServers.into()),
        };
        let mut payload = vec![first];
        ffi::new_definition(u16::from(self.code), self.name, data_type, true, &[])?
            .encode(servers, &mut payload)?;
        Ok(payload)
    }
}

/// The values of a text, as Kea reads option-data: commas separate them, `\,` stands for a comma.
fn split(text: &str) -> Vec<String> {
    /// Stands for a comma meanwhile. JSON text may have it, but no address, name or URI has.
    const COMMA: &str = "\0";
    let values = text.replace("\\,", COMMA);
    values.split(',').map(|value| value.trim().replace(COMMA, ",")).collect()
}

/// URIs: of each its length, then its bytes.
fn uris(uris: &[String]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut payload = Vec::new();
    for uri in uris {
        payload.extend(u16::try_from(uri.len())?.to_be_bytes());
        payload.extend(uri.as_bytes());
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload of an option by code.
    fn payload(code: u8, text: &str) -> Result<Vec<u8>, String> {
        let option = find(&OptionId::Code(code)).unwrap();
        let definition = option.definition().unwrap();
        let mut payload = Vec::new();
        match definition {
            Some(definition) => definition.encode_text(text, &mut payload),
            None => {
                let text = OptionValue::Text(text.into());
                return option.encode(&text).map_err(|error| error.to_string());
            }
        }
        .map_err(|error| error.to_string())?;
        Ok(payload)
    }

    #[test]
    fn the_bytes_of_the_standards() {
        for (code, text, expected) in [
            (120, "192.0.2.1, 192.0.2.2", &[1, 192, 0, 2, 1, 192, 0, 2, 2][..]),
            (120, "sip.example", b"\0\x03sip\x07example\0"),
            (121, "10.0.0.0/8 - 192.0.2.1", &[8, 10, 192, 0, 2, 1]),
            (142, "192.0.2.1", &[192, 0, 2, 1]),
            (143, "https://b", b"\0\x09https://b"),
            (143, "https://b/1\\,2, c", b"\0\x0dhttps://b/1,2\0\x01c"),
            (145, "1", &[1]),
            (147, "dots.example", b"\x04dots\x07example\0"),
            (148, "192.0.2.1", &[192, 0, 2, 1]),
            (150, "192.0.2.1, 192.0.2.2", &[192, 0, 2, 1, 192, 0, 2, 2]),
            (151, "1, x", b"\x01x"),
            (152, "258", &[0, 0, 1, 2]),
            (157, "7", &[7]),
            (211, "60", &[0, 0, 0, 60]),
        ] {
            assert_eq!(payload(code, text).as_deref(), Ok(expected), "{code}");
        }
        for (code, text) in [
            (150, "tftp"),
            (120, ""),
            (120, "192.0.2.1, sip.example"),
            (120, "192.0.2.256"),
            (121, "10.0.0.0/8"),
            (143, "https://b,"),
        ] {
            assert!(payload(code, text).is_err(), "{code}: {text}");
        }
    }

    #[test]
    fn the_documentation_has_every_option() {
        let page = include_str!("../docs/service.md");
        let start = page.find("| code | name |").expect("the table");
        let table = page[start..].split("\n\n").next().expect("the end of the table");
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(rows.len(), WELL_KNOWN.len());
        for (row, option) in rows.iter().zip(&WELL_KNOWN) {
            let start = format!("| {} | `{}` |", option.code, option.name);
            assert!(row.starts_with(&start), "{row}");
        }
    }

    #[test]
    fn every_option_has_its_own_code_and_name() {
        assert!(WELL_KNOWN.is_sorted_by(|one, next| one.code < next.code));
        for option in &WELL_KNOWN {
            assert_eq!(find(&OptionId::Name(option.name.into())).unwrap().code, option.code);
        }
        assert!(find(&OptionId::Code(224)).is_none());
    }
}
