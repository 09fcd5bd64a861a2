// SPDX-License-Identifier: MPL-2.0
//! The exchange: DISCOVER, OFFER, REQUEST, ACK, or INFORM, ACK.

use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dhcproto::v4::{Flags, Message, MessageType};
use socket2::{Domain, Protocol, Socket, Type};

use crate::arguments::{Args, Expectation, Mac};
use crate::packet::{
    MAX_MESSAGE_SIZE, MESSAGE, MESSAGE_TYPE, Options, PARAMETER_REQUEST_LIST, REQUESTED_ADDRESS,
    Reply, SERVER_IDENTIFIER, encode,
};
use crate::value::{Value, bytes, in_hex, name_of, option_name};

/// The options that the client asks for, unless `-c 55` names others: the settings of the network,
/// and everything that network boot uses.
const REQUESTED_OPTIONS: &[u8] =
    &[1, 3, 6, 12, 15, 17, 26, 28, 42, 43, 60, 66, 67, 119, 121, 150, 175, 209, 210, 224];

/// One client and its exchange.
pub struct Client<'a> {
    args: &'a Args,
    socket: UdpSocket,
    mac: Mac,
    /// Whether every reply so far carried the values of `--expect`.
    as_expected: bool,
}

impl Client<'_> {
    /// Opens the socket. The error names the address or interface that cannot be used.
    pub fn new(args: &Args) -> Result<Client<'_>> {
        Ok(Client {
            args,
            socket: open_socket(args)?,
            mac: args.mac.unwrap_or_else(Mac::random),
            as_expected: true,
        })
    }

    /// Plays the exchange and prints the replies. Returns whether every reply carries the values of
    /// `--expect`; standard error names each value that a reply lacks.
    pub fn run(&mut self) -> Result<bool> {
        if self.args.inform {
            self.inform()?
        } else {
            self.get_lease()?
        }
        Ok(self.as_expected)
    }

    fn get_lease(&mut self) -> Result<()> {
        // The whole exchange has one transaction id (RFC 2131, section 4.4.1).
        let mut message = self.new_message();
        // A client that sends option 80 may get an ACK at once (RFC 4039).
        let expected = [MessageType::Offer, MessageType::Ack];
        let offer = self.ask(&mut message, MessageType::Discover, &Options::new(), &expected)?;
        if self.args.discover_only || offer.kind == MessageType::Ack {
            return Ok(());
        }
        let server = offer
            .options
            .get(&SERVER_IDENTIFIER)
            .context("the OFFER names no server (option 54)")?;
        let selection = Options::from([
            (REQUESTED_ADDRESS, offer.header.yiaddr().octets().to_vec()),
            (SERVER_IDENTIFIER, server.clone()),
        ]);
        let expected = [MessageType::Ack, MessageType::Nak];
        let reply = self.ask(&mut message, MessageType::Request, &selection, &expected)?;
        if reply.kind == MessageType::Nak {
            let reason = reply.options.get(&MESSAGE).map(|text| format!(": {}", bytes(text)));
            bail!("the server refused the REQUEST with a NAK{}", reason.unwrap_or_default());
        }
        Ok(())
    }

    fn inform(&mut self) -> Result<()> {
        let mut message = self.new_message();
        self.ask(&mut message, MessageType::Inform, &Options::new(), &[MessageType::Ack])?;
        Ok(())
    }

    /// The fixed part of every packet of one exchange, with a random transaction id.
    fn new_message(&self) -> Message {
        let mut message = Message::default();
        message.set_chaddr(&self.mac.0);
        if let Some(ciaddr) = self.args.ciaddr {
            message.set_ciaddr(ciaddr);
        } else if self.args.giaddr.is_none() {
            // On a plain UDP socket, a client without an address hears nothing but broadcasts.
            message.set_flags(Flags::default().set_broadcast());
        }
        if let Some(giaddr) = self.args.giaddr {
            message.set_giaddr(giaddr).set_hops(1);
        }
        message
    }

    /// Sends one message until a reply of one of the types `expected` comes. Prints the first such
    /// reply and returns it.
    fn ask(
        &mut self,
        message: &mut Message,
        kind: MessageType,
        extra: &Options,
        expected: &[MessageType],
    ) -> Result<Reply> {
        let options = self.options_to_send(kind, extra);
        let started = Instant::now();
        let deadline = started + self.args.timeout;
        let mut pause = Duration::from_secs(1);
        loop {
            message.set_secs(u16::try_from(started.elapsed().as_secs()).unwrap_or(u16::MAX));
            self.send(message, kind, &options)?;
            let until = deadline.min(Instant::now() + pause);
            if let Some(reply) = self.receive(message.xid(), expected, until)? {
                write!(io::stdout(), "{reply}")?;
                self.check_expectations(&reply);
                return Ok(reply);
            }
            if Instant::now() >= deadline {
                let (name, seconds) = (name_of(kind), self.args.timeout.as_secs_f64());
                bail!("no reply to the {name} from {} within {seconds} s", self.args.destination());
            }
            // The pause doubles, up to a minute (RFC 2131, section 4.1).
            pause = (pause * 2).min(Duration::from_secs(64));
        }
    }

    fn options_to_send(&self, kind: MessageType, extra: &Options) -> Options {
        let mut options = Options::from([
            (MESSAGE_TYPE, vec![kind.into()]),
            (PARAMETER_REQUEST_LIST, REQUESTED_OPTIONS.to_vec()),
            // Without this option, a server must fit the reply into 576 bytes.
            (MAX_MESSAGE_SIZE, 1500_u16.to_be_bytes().to_vec()),
        ]);
        options.extend(extra.clone());
        // The user's options come last: they replace the client's own.
        options.extend(self.args.options());
        options
    }

    fn send(&self, message: &Message, kind: MessageType, options: &Options) -> Result<()> {
        let to = self.args.destination();
        let mut line =
            format!("→ {} xid 0x{:08x} mac {} to {to}", name_of(kind), message.xid(), self.mac);
        if self.args.giaddr.is_some() {
            line += &format!(" as relay {}", self.args.source());
        }
        if message.secs() > 0 {
            line += &format!(" again, after {} s", message.secs());
        }
        writeln!(io::stdout(), "{line}")?;
        let packet = encode(message, options)?;
        self.socket.send_to(&packet, to).with_context(|| format!("cannot send to {to}"))?;
        Ok(())
    }

    /// The first reply of one of the types `expected` that comes before `until`.
    fn receive(&self, xid: u32, expected: &[MessageType], until: Instant) -> Result<Option<Reply>> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if is_temporary(&error) => continue,
                Err(error) => return Err(error).context("cannot receive"),
            };
            match Reply::parse(&buffer[..length], from, xid, self.mac) {
                Ok(Some(reply)) if expected.contains(&reply.kind) => return Ok(Some(reply)),
                // A reply to another client, or a second OFFER to a DISCOVER that was sent twice.
                Ok(_) => {}
                Err(error) => eprintln!("ignored a malformed packet from {from}: {error:#}"),
            }
        }
    }

    fn check_expectations(&mut self, reply: &Reply) {
        for Expectation { code, value } in &self.args.expect {
            let carried = match reply.options.get(code) {
                None => "does not carry the option".to_string(),
                Some(data) if Value::of_option(*code, data).is(value, data) => continue,
                Some(data) => {
                    let found = Value::of_option(*code, data).to_string();
                    let found = if found.contains('\n') { in_hex(data) } else { found };
                    format!("carries {found} instead")
                }
            };
            let name = name_of(reply.kind);
            eprintln!(
                "error: {} ({code}) should be {value:?}: the {name} {carried}",
                option_name(*code)
            );
            self.as_expected = false;
        }
    }
}

fn open_socket(args: &Args) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(interface) = &args.interface {
        socket
            .bind_device(Some(interface.as_bytes()))
            .with_context(|| format!("cannot use the interface {interface}"))?;
    }
    socket.set_broadcast(true)?;
    let source = args.source();
    // Another DHCP client on this machine may have the port. Then both clients hear broadcasts.
    socket.set_reuse_address(source.ip().is_unspecified())?;
    if let Err(error) = socket.bind(&SocketAddr::from(source).into()) {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
            }
            io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
            _ => "",
        };
        return Err(error).with_context(|| format!("cannot listen on {source}{hint}"));
    }
    Ok(socket.into())
}

/// Whether the read timed out, or a signal interrupted it.
fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
