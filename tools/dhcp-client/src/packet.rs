// SPDX-License-Identifier: MPL-2.0
//! DHCP packets as bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{MAGIC, MIN_PACKET_SIZE, Message, MessageType, Opcode};
use dhcproto::{Decodable, Decoder, Encodable};

use crate::arguments::Mac;
use crate::value::{Value, bytes, name_of, option_name};

// Codes of the options that the exchange itself needs.
pub const REQUESTED_ADDRESS: u8 = 50;
pub const OVERLOAD: u8 = 52;
pub const MESSAGE_TYPE: u8 = 53;
pub const SERVER_IDENTIFIER: u8 = 54;
pub const PARAMETER_REQUEST_LIST: u8 = 55;
pub const MESSAGE: u8 = 56;
pub const MAX_MESSAGE_SIZE: u8 = 57;
// Codes of the options that say who the client is.
pub const USER_CLASS: u8 = 77;
pub const RELAY_AGENT: u8 = 82;
pub const MACHINE_ID: u8 = 97;
pub const PAD: u8 = 0;
pub const END: u8 = 255;

/// Raw data of options, by code.
pub type Options = BTreeMap<u8, Vec<u8>>;

/// Encodes a packet. dhcproto writes only the fixed part: its options are typed, while these
/// options go out as the user gave them, valid or not. Option 82 comes last (RFC 3046, section
/// 2.1).
pub fn encode(message: &Message, options: &Options) -> Result<Vec<u8>> {
    let mut packet = message.to_vec().context("cannot encode the packet")?;
    let rank = |code: &u8| match *code {
        // No RFC asks for it, but simple servers expect the message type first.
        MESSAGE_TYPE => 0,
        RELAY_AGENT => 2,
        _ => 1,
    };
    let mut ordered: Vec<_> = options.iter().collect();
    ordered.sort_by_key(|(code, _)| rank(code));
    for (code, data) in ordered {
        put_option(&mut packet, *code, data);
    }
    packet.push(END);
    // Some servers and relay agents drop packets that are shorter than a BOOTP packet.
    packet.resize(packet.len().max(MIN_PACKET_SIZE), PAD);
    Ok(packet)
}

fn put_option(packet: &mut Vec<u8>, code: u8, data: &[u8]) {
    if data.is_empty() {
        packet.extend([code, 0]);
    }
    // A value of more than 255 bytes is split over several options (RFC 3396).
    for part in data.chunks(255) {
        packet.extend([code, part.len() as u8]);
        packet.extend(part);
    }
}

/// A reply of the server.
pub struct Reply {
    pub from: SocketAddr,
    pub header: Message,
    pub kind: MessageType,
    sname: Vec<u8>,
    file: Vec<u8>,
    pub options: Options,
}

impl Reply {
    /// Reads a reply; `None` when the reply is for another client. Options stay raw: dhcproto's
    /// decoder leaves out the options that it cannot read, and those are the ones that a user wants
    /// to see.
    pub fn parse(packet: &[u8], from: SocketAddr, xid: u32, mac: Mac) -> Result<Option<Reply>> {
        let (fixed, options_field) = packet.split_at_checked(240).context("too short for DHCP")?;
        let header = Message::decode(&mut Decoder::new(fixed))?;
        // `chaddr` panics when `hlen` is more than 16: `hlen` is compared first.
        let for_us = header.opcode() == Opcode::BootReply
            && header.xid() == xid
            && usize::from(header.hlen()) == mac.0.len()
            && header.chaddr() == mac.0;
        if !for_us {
            return Ok(None);
        }
        // Both names are taken from the bytes: dhcproto drops a name that fills its field.
        let (sname_field, file_field) = (&fixed[44..108], &fixed[108..236]);
        ensure!(fixed[236..] == MAGIC, "no magic cookie, BOOTP rather than DHCP");

        let mut options = Options::new();
        read_options(options_field, &mut options)?;
        // Both name fields may carry options too, `file` first (RFC 3396, section 5).
        let overload = options.get(&OVERLOAD).and_then(|data| data.first()).copied().unwrap_or(0);
        let (file_overloaded, sname_overloaded) = (overload & 1 != 0, overload & 2 != 0);
        if file_overloaded {
            read_options(file_field, &mut options)?;
        }
        if sname_overloaded {
            read_options(sname_field, &mut options)?;
        }
        let kind = match options.get(&MESSAGE_TYPE).map(Vec::as_slice) {
            Some([kind]) => MessageType::from(*kind),
            _ => bail!("no message type (option 53)"),
        };
        let name = |field, overloaded: bool| {
            if overloaded { Vec::new() } else { until_nul(field).to_vec() }
        };
        Ok(Some(Reply {
            from,
            header,
            kind,
            sname: name(sname_field, sname_overloaded),
            file: name(file_field, file_overloaded),
            options,
        }))
    }
}

/// Reads the options of one field into `options`. Parts of a split option are joined (RFC 3396).
fn read_options(field: &[u8], options: &mut Options) -> Result<()> {
    let mut decoder = Decoder::new(field);
    // Some servers leave out the END option.
    while let Ok(code) = decoder.read_u8() {
        match code {
            PAD => continue,
            END => break,
            _ => {}
        }
        let data = decoder.read_u8().and_then(|length| decoder.read_slice(length.into()));
        let data = data.ok().with_context(|| format!("option {code} is cut off"))?;
        options.entry(code).or_default().extend(data);
    }
    Ok(())
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "← {} from {}", name_of(self.kind), self.from)?;
        let addresses = [
            ("ciaddr", self.header.ciaddr()),
            ("yiaddr", self.header.yiaddr()),
            ("siaddr", self.header.siaddr()),
            ("giaddr", self.header.giaddr()),
        ];
        for (name, address) in addresses.iter().filter(|(_, address)| !address.is_unspecified()) {
            writeln!(f, "  {name}  {address}")?;
        }
        for (name, text) in [("sname", &self.sname), ("file", &self.file)] {
            if !text.is_empty() {
                writeln!(f, "  {name:<6}  {}", bytes(text))?;
            }
        }
        let width = self.options.keys().map(|code| option_name(*code).len()).max().unwrap_or(0);
        let next_line = format!("\n{:width$}", "", width = width + 9);
        for (code, data) in &self.options {
            let value = Value::of_option(*code, data).to_string().replace('\n', &next_line);
            writeln!(f, "  {code:>3}  {:<width$}  {value}", option_name(*code))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const XID: u32 = 0x01020304;

    /// A reply of a server with these options.
    fn reply(options: &Options) -> Vec<u8> {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootReply).set_xid(XID).set_chaddr(&MAC.0);
        encode(&message, options).unwrap()
    }

    pub fn parse(packet: &[u8]) -> Result<Option<Reply>> {
        Reply::parse(packet, "192.0.2.1:67".parse().unwrap(), XID, MAC)
    }

    fn offer() -> Options {
        Options::from([(MESSAGE_TYPE, vec![2]), (SERVER_IDENTIFIER, vec![192, 0, 2, 1])])
    }

    #[test]
    fn packets_end_with_option_82() {
        let mut options = offer();
        options.extend([(RELAY_AGENT, vec![1, 1, 65]), (224, b"x".to_vec()), (80, Vec::new())]);
        let packet = reply(&options);
        assert_eq!(packet[240..243], [53, 1, 2]);
        assert_eq!(packet[249..260], [80, 0, 224, 1, b'x', 82, 3, 1, 1, 65, END]);
        assert_eq!(packet.len(), MIN_PACKET_SIZE);
    }

    #[test]
    fn long_options_are_split_and_joined() {
        let mut options = offer();
        options.insert(224, (0..600).map(|n| n as u8).collect());
        assert_eq!(parse(&reply(&options)).unwrap().unwrap().options, options);
    }

    #[test]
    fn overloaded_fields() {
        let mut options = offer();
        options.insert(OVERLOAD, vec![3]);
        let mut packet = reply(&options);
        packet[44..48].copy_from_slice(&[224, 1, b'b', END]);
        packet[108..112].copy_from_slice(&[224, 1, b'a', END]);
        let reply = parse(&packet).unwrap().unwrap();
        assert_eq!(reply.options[&224], b"ab");
        assert!(reply.sname.is_empty() && reply.file.is_empty());
    }

    #[test]
    fn replies_of_others_are_ignored() {
        for (at, byte) in [(0, 1), (2, 255), (4, 9), (28, 9)] {
            let mut packet = reply(&offer());
            packet[at] = byte;
            assert!(parse(&packet).unwrap().is_none(), "byte {at}");
        }
    }

    #[test]
    fn malformed_replies() {
        let packet = reply(&offer());
        for length in [0, 1, 239, 240, 241, 242, 245] {
            assert!(parse(&packet[..length]).is_err(), "{length} bytes");
        }
        let cut_off = parse(&packet[..245]).err().unwrap();
        assert_eq!(format!("{cut_off:#}"), "option 54 is cut off");
        let mut no_cookie = packet.clone();
        no_cookie[236] = 0;
        assert!(parse(&no_cookie).is_err());
    }
}
