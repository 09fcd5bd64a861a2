// SPDX-License-Identifier: MPL-2.0
//! Options as people read them.

use std::fmt;
use std::net::Ipv4Addr;

use dhcproto::Decoder;
use dhcproto::v4::MessageType;

use crate::packet::END;

/// The name of a message type, in upper case: `OFFER`.
pub fn name_of(kind: MessageType) -> String {
    format!("{kind:?}").to_uppercase()
}

/// The name of an option, `option-CODE` where this client knows no name.
pub fn option_name(code: u8) -> String {
    match definition(code) {
        Some((name, _)) => name.to_string(),
        None => format!("option-{code}"),
    }
}

/// The value of an option as text.
#[derive(Debug, PartialEq)]
pub enum Value {
    /// Text, shown in quotes. Characters that could disturb a terminal are escaped.
    Text(String),
    /// Anything else, shown as it is. Each sub-option has a line of its own.
    Plain(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Plain(text) => f.write_str(text),
        }
    }
}

impl Value {
    /// Decodes an option. Data that does not fit the option's definition is shown in hexadecimal.
    pub fn of_option(code: u8, data: &[u8]) -> Value {
        let format = definition(code).map_or(Format::Bytes, |(_, format)| format);
        decode(format, data).unwrap_or_else(|| Value::Plain(in_hex(data)))
    }

    /// Whether the text of an `--expect` names this value. The value was decoded from `data`.
    pub fn is(&self, expected: &str, data: &[u8]) -> bool {
        let (Value::Text(text) | Value::Plain(text)) = self;
        text == expected || in_hex(data) == expected
    }
}

/// How the data of an option is laid out.
#[derive(Clone, Copy)]
enum Format {
    Address,
    Addresses,
    AddressPairs,
    Bool,
    Bytes,
    Fqdn,
    Hex,
    MessageType,
    Names,
    /// An unsigned number of this many bytes.
    Number(usize),
    /// A list of unsigned numbers, each of this many bytes.
    Numbers(usize),
    RelayAgent,
    Routes,
    Seconds,
    Text,
    TimeOffset,
    Vendor,
}

fn decode(format: Format, data: &[u8]) -> Option<Value> {
    let text = match format {
        Format::Address => address(data)?,
        Format::Addresses => list(data, 4, address)?,
        Format::AddressPairs => list(data, 8, |pair| {
            let (first, second) = pair.split_at_checked(4)?;
            Some(format!("{} {}", address(first)?, address(second)?))
        })?,
        Format::Bool => match data {
            [0] => "false".to_string(),
            [1] => "true".to_string(),
            _ => return None,
        },
        Format::Bytes => return Some(bytes(data)),
        Format::Fqdn => fqdn(data)?,
        Format::Hex => in_hex(data),
        Format::MessageType => match data {
            [kind] => name_of(MessageType::from(*kind)),
            _ => return None,
        },
        Format::Names => names(data)?,
        Format::Number(width) => number(data, width)?,
        Format::Numbers(width) => list(data, width, |item| number(item, width))?,
        Format::RelayAgent => sub_options(data, relay_sub_option)?,
        Format::Routes => routes(data)?,
        Format::Seconds if data == [0xff; 4] => "infinite".to_string(),
        Format::Seconds => format!("{} s", number(data, 4)?),
        Format::Text => return Some(Value::Text(std::str::from_utf8(data).ok()?.to_string())),
        Format::TimeOffset => format!("{} s", i32::from_be_bytes(data.try_into().ok()?)),
        Format::Vendor => match bytes(data) {
            Value::Text(text) => return Some(Value::Text(text)),
            Value::Plain(_) => sub_options(data, |_| ("", Format::Bytes))?,
        },
    };
    Some(Value::Plain(text))
}

/// Data that may be text or not: text when it is printable, else hexadecimal.
pub fn bytes(data: &[u8]) -> Value {
    match std::str::from_utf8(data) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => {
            Value::Text(text.to_string())
        }
        _ => Value::Plain(in_hex(data)),
    }
}

/// Data in hexadecimal, with the prefix `0x`.
pub fn in_hex(data: &[u8]) -> String {
    format!("0x{}", hex::encode(data))
}

fn address(data: &[u8]) -> Option<String> {
    let octets: [u8; 4] = data.try_into().ok()?;
    Some(Ipv4Addr::from(octets).to_string())
}

fn number(data: &[u8], width: usize) -> Option<String> {
    let value = data.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    (data.len() == width).then(|| value.to_string())
}

/// A list of items of `width` bytes. `item` refuses a last item that is shorter.
fn list(data: &[u8], width: usize, item: impl Fn(&[u8]) -> Option<String>) -> Option<String> {
    let items: Vec<String> = data.chunks(width).map(item).collect::<Option<_>>()?;
    (!items.is_empty()).then(|| items.join(", "))
}

/// Domain names as DNS encodes them, compressed or not (RFC 3397).
fn names(data: &[u8]) -> Option<String> {
    let names = Decoder::new(data).read_domains(data.len()).ok()?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// RFC 4702: flags, two obsolete bytes, and a name. A flag tells how the name is encoded.
fn fqdn(data: &[u8]) -> Option<String> {
    let (flags, name) = (data.first()?, data.get(3..)?);
    let name = if flags & 0x04 != 0 { names(name)? } else { bytes(name).to_string() };
    Some(format!("{name} flags 0x{flags:02x}"))
}

/// RFC 3442: for each route the width of its destination, as many bytes of the destination as this
/// width takes, and the router.
fn routes(mut data: &[u8]) -> Option<String> {
    let mut routes = Vec::new();
    while let [width, rest @ ..] = data {
        let significant = usize::from(*width).div_ceil(8);
        let (destination, rest) = rest.split_at_checked(significant)?;
        let (router, rest) = rest.split_at_checked(4)?;
        let mut network = [0; 4];
        network.get_mut(..significant)?.copy_from_slice(destination);
        routes.push(format!("{}/{width} via {}", Ipv4Addr::from(network), address(router)?));
        data = rest;
    }
    (!routes.is_empty()).then(|| routes.join(", "))
}

/// One line for each sub-option. A sub-option that is text is shown in hexadecimal too: services
/// and configurations name sub-options in either way.
fn sub_options(mut data: &[u8], define: impl Fn(u8) -> (&'static str, Format)) -> Option<String> {
    let mut found = Vec::new();
    while let [code, length, rest @ ..] = data {
        let (content, rest) = rest.split_at_checked(usize::from(*length))?;
        let (name, format) = define(*code);
        let value = match decode(format, content) {
            Some(Value::Plain(text)) => text,
            Some(text) => format!("{text}  {}", in_hex(content)),
            None => in_hex(content),
        };
        found.push((format!("{code} {name}").trim_end().to_string(), value));
        data = rest;
    }
    // An END may close the sub-options of option 43.
    if found.is_empty() || !matches!(data, [] | [END]) {
        return None;
    }
    let width = found.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        found.iter().map(|(label, value)| format!("{label:<width$}  {value}")).collect();
    Some(lines.join("\n"))
}

/// The name of a sub-option of option 82, as Kea names it, and its format.
fn relay_sub_option(code: u8) -> (&'static str, Format) {
    match code {
        1 => ("circuit-id", Format::Bytes),
        2 => ("remote-id", Format::Bytes),
        4 => ("docsis-device-class", Format::Number(4)),
        5 => ("link-selection", Format::Address),
        6 => ("subscriber-id", Format::Bytes),
        7 => ("radius", Format::Hex),
        8 => ("auth", Format::Hex),
        9 => ("vendor-specific-info", Format::Hex),
        10 => ("relay-flags", Format::Hex),
        11 => ("server-id-override", Format::Address),
        12 => ("relay-id", Format::Bytes),
        19 => ("relay-port", Format::Hex),
        151 => ("virtual-subnet-select", Format::Hex),
        152 => ("virtual-subnet-select-ctrl", Format::Hex),
        _ => ("", Format::Bytes),
    }
}

/// The name of an option, as Kea names it, and its format. An option that Kea does not define has
/// the name that its RFC gives it.
fn definition(code: u8) -> Option<(&'static str, Format)> {
    use Format::{
        Address, AddressPairs, Addresses, Bool, Bytes, Fqdn, Hex, MessageType, Names, Number,
        Numbers, RelayAgent, Routes, Seconds, Text, TimeOffset, Vendor,
    };
    Some(match code {
        1 => ("subnet-mask", Address),
        2 => ("time-offset", TimeOffset),
        3 => ("routers", Addresses),
        4 => ("time-servers", Addresses),
        5 => ("name-servers", Addresses),
        6 => ("domain-name-servers", Addresses),
        7 => ("log-servers", Addresses),
        8 => ("cookie-servers", Addresses),
        9 => ("lpr-servers", Addresses),
        10 => ("impress-servers", Addresses),
        11 => ("resource-location-servers", Addresses),
        12 => ("host-name", Text),
        13 => ("boot-size", Number(2)),
        14 => ("merit-dump", Text),
        15 => ("domain-name", Text),
        16 => ("swap-server", Address),
        17 => ("root-path", Text),
        18 => ("extensions-path", Text),
        19 => ("ip-forwarding", Bool),
        20 => ("non-local-source-routing", Bool),
        21 => ("policy-filter", AddressPairs),
        22 => ("max-dgram-reassembly", Number(2)),
        23 => ("default-ip-ttl", Number(1)),
        24 => ("path-mtu-aging-timeout", Seconds),
        25 => ("path-mtu-plateau-table", Numbers(2)),
        26 => ("interface-mtu", Number(2)),
        27 => ("all-subnets-local", Bool),
        28 => ("broadcast-address", Address),
        29 => ("perform-mask-discovery", Bool),
        30 => ("mask-supplier", Bool),
        31 => ("router-discovery", Bool),
        32 => ("router-solicitation-address", Address),
        33 => ("static-routes", AddressPairs),
        34 => ("trailer-encapsulation", Bool),
        35 => ("arp-cache-timeout", Seconds),
        36 => ("ieee802-3-encapsulation", Bool),
        37 => ("default-tcp-ttl", Number(1)),
        38 => ("tcp-keepalive-interval", Seconds),
        39 => ("tcp-keepalive-garbage", Bool),
        40 => ("nis-domain", Text),
        41 => ("nis-servers", Addresses),
        42 => ("ntp-servers", Addresses),
        43 => ("vendor-encapsulated-options", Vendor),
        44 => ("netbios-name-servers", Addresses),
        45 => ("netbios-dd-server", Addresses),
        46 => ("netbios-node-type", Number(1)),
        47 => ("netbios-scope", Text),
        48 => ("font-servers", Addresses),
        49 => ("x-display-manager", Addresses),
        50 => ("dhcp-requested-address", Address),
        51 => ("dhcp-lease-time", Seconds),
        52 => ("dhcp-option-overload", Number(1)),
        53 => ("dhcp-message-type", MessageType),
        54 => ("dhcp-server-identifier", Address),
        55 => ("dhcp-parameter-request-list", Numbers(1)),
        56 => ("dhcp-message", Text),
        57 => ("dhcp-max-message-size", Number(2)),
        58 => ("dhcp-renewal-time", Seconds),
        59 => ("dhcp-rebinding-time", Seconds),
        60 => ("vendor-class-identifier", Text),
        61 => ("dhcp-client-identifier", Hex),
        62 => ("nwip-domain-name", Text),
        63 => ("nwip-suboptions", Hex),
        64 => ("nisplus-domain-name", Text),
        65 => ("nisplus-servers", Addresses),
        66 => ("tftp-server-name", Text),
        67 => ("boot-file-name", Text),
        68 => ("mobile-ip-home-agent", Addresses),
        69 => ("smtp-server", Addresses),
        70 => ("pop-server", Addresses),
        71 => ("nntp-server", Addresses),
        72 => ("www-server", Addresses),
        73 => ("finger-server", Addresses),
        74 => ("irc-server", Addresses),
        75 => ("streettalk-server", Addresses),
        76 => ("streettalk-directory-assistance-server", Addresses),
        77 => ("user-class", Bytes),
        80 => ("rapid-commit", Hex),
        81 => ("fqdn", Fqdn),
        82 => ("dhcp-agent-options", RelayAgent),
        88 => ("bcms-controller-names", Names),
        89 => ("bcms-controller-address", Addresses),
        93 => ("client-system", Numbers(2)),
        94 => ("client-ndi", Hex),
        97 => ("uuid-guid", Hex),
        100 => ("pcode", Text),
        101 => ("tcode", Text),
        108 => ("v6-only-preferred", Seconds),
        114 => ("v4-captive-portal", Text),
        116 => ("auto-config", Number(1)),
        118 => ("subnet-selection", Address),
        119 => ("domain-search", Names),
        121 => ("classless-static-route", Routes),
        124 => ("vivco-suboptions", Hex),
        125 => ("vivso-suboptions", Hex),
        138 => ("capwap-ac-v4", Addresses),
        150 => ("tftp-server-address", Addresses),
        175 => ("ipxe-encapsulated-options", Vendor),
        209 => ("pxelinux-config-file", Text),
        210 => ("pxelinux-path-prefix", Text),
        211 => ("pxelinux-reboot-time", Seconds),
        249 => ("ms-classless-static-route", Routes),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: u8, data: &[u8]) -> String {
        Value::of_option(code, data).to_string()
    }

    #[test]
    fn values() {
        assert_eq!(shown(3, &[192, 0, 2, 1, 192, 0, 2, 2]), "192.0.2.1, 192.0.2.2");
        assert_eq!(shown(51, &[0, 0, 0x0e, 0x10]), "3600 s");
        assert_eq!(shown(51, &[0xff; 4]), "infinite");
        assert_eq!(shown(2, &[0xff, 0xff, 0xff, 0xff]), "-1 s");
        assert_eq!(shown(53, &[2]), "OFFER");
        assert_eq!(shown(55, &[1, 224]), "1, 224");
        assert_eq!(shown(67, b"a\"b\0"), r#""a\"b\0""#);
        assert_eq!(shown(119, b"\x07example\x03com\0\x01a\xc0\0"), "example.com., a.example.com.");
        assert_eq!(
            shown(121, &[0, 10, 0, 0, 1, 24, 10, 1, 2, 10, 0, 0, 2]),
            "0.0.0.0/0 via 10.0.0.1, 10.1.2.0/24 via 10.0.0.2"
        );
        assert_eq!(shown(224, b"somestring"), r#""somestring""#);
        assert_eq!(shown(224, &[0, 1]), "0x0001");
    }

    #[test]
    fn sub_options_one_a_line() {
        assert_eq!(
            shown(82, &[1, 3, b'f', b'o', b'o', 2, 1, 0, 5, 4, 10, 0, 0, 0]),
            "1 circuit-id      \"foo\"  0x666f6f\n2 remote-id       0x00\n5 link-selection  10.0.0.0"
        );
        assert_eq!(shown(43, &[6, 1, 3, END]), "6  0x03");
        assert_eq!(shown(43, b"text"), r#""text""#);
    }

    #[test]
    fn data_that_does_not_fit_is_shown_in_hex() {
        assert_eq!(shown(3, &[192, 0, 2]), "0xc00002");
        assert_eq!(shown(51, &[1, 2]), "0x0102");
        assert_eq!(shown(66, &[0xff]), "0xff");
        assert_eq!(shown(82, &[1, 9, b'f']), "0x010966");
        assert_eq!(shown(121, &[33, 1, 2, 3, 4, 5, 10, 0, 0, 1]), "0x2101020304050a000001");
        assert_eq!(shown(121, &[24, 1]), "0x1801");
        assert_eq!(shown(3, &[]), "0x");
    }

    /// Data of any length gives a value, and never a panic.
    #[test]
    fn every_format_takes_any_length() {
        for code in 1..END {
            for length in 0..20 {
                for byte in [0, 1, 4, 0x41, 0x80, 0xc0, 0xff] {
                    shown(code, &vec![byte; length]);
                }
            }
        }
    }

    #[test]
    fn expected_values() {
        let text = Value::of_option(66, b"0.0.0.0");
        assert!(text.is("0.0.0.0", b"0.0.0.0"));
        assert!(!text.is("0.0.0", b"0.0.0.0"));
        assert!(Value::of_option(3, &[10, 0, 0, 1]).is("10.0.0.1", &[10, 0, 0, 1]));
        assert!(Value::of_option(82, &[1, 1, 65]).is("0x010141", &[1, 1, 65]));
    }
}
