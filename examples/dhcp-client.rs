//! A small DHCPv4 client that shows what a server answers.
//!
//! It plays DISCOVER, OFFER, REQUEST, ACK and prints both replies with every option decoded. It
//! configures nothing: use it to see what a server gives to a client that sends certain options, by
//! hand or, with `--expect`, in a script.
//!
//! As a client on the link of `eth0` (the ports below 1024 and the interface need root):
//!
//! ```text
//! dhcp-client -i eth0
//! dhcp-client -i eth0 -m 52:54:00:12:34:56 -c 60,str,PXEClient -c 77,str,iPXE
//! ```
//!
//! As the relay agent 10.0.0.1, with option 82 for the port `foo` of the switch `bar`:
//!
//! ```text
//! dhcp-client --server 192.0.2.1 --giaddr 10.0.0.1 -c 82,hex,0103666f6f0203626172
//! ```
//!
//! Against a test server on this machine, without root (`kea-dhcp4 -c kea.conf -p 10067 -P 10068`),
//! failing unless both replies carry options 66 and 224 with these values:
//!
//! ```text
//! dhcp-client --server 127.0.0.1:10067 --giaddr 127.0.0.1 --relay-port 10068 \
//!     -c 82,hex,0103666f6f0203626172 --expect 224=somestring --expect 66=0.0.0.0
//! ```
//!
//! It uses plain UDP sockets. So on an interface that has no address yet the kernel drops the replies if
//! it filters strictly by reverse path (`net.ipv4.conf.*.rp_filter`), and where the interface has an
//! address, packets come from that rather than from 0.0.0.0.
//!
//! The flags follow `dhtest` where they mean the same. Exit status: 0, 1 when there is no reply, a NAK
//! or an expectation that is not met, 2 for a mistake on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{ArgGroup, CommandFactory, Parser};
use dhcproto::v4::{CLIENT_PORT, Flags, MAGIC, MIN_PACKET_SIZE, Message, MessageType, Opcode, SERVER_PORT};
use dhcproto::{Decodable, Decoder, Encodable};
use socket2::{Domain, Protocol, Socket, Type};

// Codes of the options that the exchange itself needs.
const REQUESTED_ADDRESS: u8 = 50;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER_IDENTIFIER: u8 = 54;
const PARAMETER_REQUEST_LIST: u8 = 55;
const MESSAGE: u8 = 56;
const MAX_MESSAGE_SIZE: u8 = 57;
const RELAY_AGENT: u8 = 82;
const PAD: u8 = 0;
const END: u8 = 255;

/// What to ask for unless `-c 55` says otherwise: the network's settings and all that network boot uses.
const REQUESTED_OPTIONS: &[u8] =
    &[1, 3, 6, 12, 15, 17, 26, 28, 42, 43, 60, 66, 67, 119, 121, 150, 175, 209, 210, 224];

/// Raw option data by code.
type Options = BTreeMap<u8, Vec<u8>>;

// ---------------------------------------------------------------------------------------------------
// Command line

/// Asks a DHCPv4 server for an address and prints its replies with every option decoded
#[derive(Debug, Parser)]
#[command(name = "dhcp-client", version)]
#[command(group(ArgGroup::new("link").args(["interface", "server"]).required(true).multiple(true)))]
struct Args {
    /// Hardware address [default: a random, locally administered one]
    #[arg(short, long, value_name = "MAC")]
    mac: Option<Mac>,

    /// Option to send, in DISCOVER and REQUEST; repeatable. TYPE is str, hex, ip or num (an unsigned
    /// number in the smallest of 1, 2 and 4 bytes), as in `-c 82,hex,0103666f6f -c 60,str,PXEClient`
    #[arg(
        short,
        long = "custom-option",
        visible_alias = "custom-dhcp-option",
        value_name = "CODE,TYPE,VALUE"
    )]
    custom: Vec<CustomOption>,

    /// Seconds to wait for each reply; packets are sent again meanwhile
    #[arg(short = 'T', long, value_name = "SECONDS", default_value = "5", value_parser = parse_timeout)]
    timeout: Duration,

    /// Interface to use, and to broadcast on unless there is a --server
    #[arg(short, long, value_name = "IFACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    interface: Option<String>,

    /// Send to this server by unicast
    #[arg(short = 'S', long, value_name = "ADDR[:PORT]", value_parser = parse_server)]
    server: Option<SocketAddrV4>,

    /// Play the relay agent that has this address, which must be one of this machine's
    #[arg(short, long, value_name = "ADDR", requires = "server")]
    giaddr: Option<Ipv4Addr>,

    /// Where the relay agent is answered (Kea's -P) [default: 67]
    #[arg(long, value_name = "PORT", requires = "giaddr", value_parser = clap::value_parser!(u16).range(1..))]
    relay_port: Option<u16>,

    /// Send an INFORM for the address --ciaddr instead
    #[arg(long, requires = "ciaddr", conflicts_with = "discover_only")]
    inform: bool,

    /// The address that the client has already; the server answers an INFORM there
    #[arg(long, value_name = "ADDR", requires = "inform")]
    ciaddr: Option<Ipv4Addr>,

    /// Stop after the OFFER
    #[arg(long)]
    discover_only: bool,

    /// Fail unless every reply carries this option with exactly this value, as it is printed but
    /// without the quotes of a text, or all of its bytes as 0x…; repeatable
    #[arg(long, value_name = "CODE=VALUE")]
    expect: Vec<Expectation>,
}

impl Args {
    /// What single arguments cannot tell.
    fn check(&self) -> Result<(), String> {
        let mut codes = BTreeSet::new();
        if let Some(twice) = self.custom.iter().find(|option| !codes.insert(option.code)) {
            return Err(format!("option {} is given twice with -c", twice.code));
        }
        if self.inform && self.giaddr.is_some() && self.giaddr != self.ciaddr {
            let why = "a server answers an INFORM at --ciaddr, even through a relay agent";
            return Err(format!("{why}: --giaddr must be the same address"));
        }
        Ok(())
    }

    /// Where packets go.
    fn destination(&self) -> SocketAddrV4 {
        self.server.unwrap_or(SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT))
    }

    /// Where replies come to, and packets come from.
    fn source(&self) -> SocketAddrV4 {
        match self.giaddr {
            Some(giaddr) => SocketAddrV4::new(giaddr, self.relay_port.unwrap_or(SERVER_PORT)),
            None => SocketAddrV4::new(self.ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED), CLIENT_PORT),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Mac([u8; 6]);

impl Mac {
    /// Locally administered and no multicast address. The keys of a `RandomState` are the random numbers
    /// that the standard library has.
    fn random() -> Mac {
        let [first, rest @ ..] = RandomState::new().hash_one(()).to_be_bytes();
        Mac([first & 0xfc | 0x02, rest[0], rest[1], rest[2], rest[3], rest[4]])
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let bytes = hex::decode(text.replace([':', '-'], "")).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Mac)
            .ok_or_else(|| "six bytes in hex are needed, as in 52:54:00:12:34:56".to_string())
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An option to send: `-c CODE,TYPE,VALUE`.
#[derive(Clone, Debug, PartialEq)]
struct CustomOption {
    code: u8,
    data: Vec<u8>,
}

impl FromStr for CustomOption {
    type Err = String;

    fn from_str(text: &str) -> Result<CustomOption, String> {
        // A value may contain commas.
        let parts: Vec<&str> = text.splitn(3, ',').collect();
        let [code, kind, value] = parts[..] else {
            return Err("CODE,TYPE,VALUE is needed, as in 60,str,PXEClient".to_string());
        };
        let code = parse_code(code)?;
        if code == MESSAGE_TYPE {
            return Err("option 53, the message type, is the client's own".to_string());
        }
        let data = match kind {
            "str" => value.as_bytes().to_vec(),
            "hex" => {
                let digits = value.strip_prefix("0x").unwrap_or(value).replace(':', "");
                hex::decode(digits).map_err(|error| format!("no hex: {error}"))?
            }
            "ip" => {
                let address: Ipv4Addr = value.parse().map_err(|_| "no IPv4 address".to_string())?;
                address.octets().to_vec()
            }
            "num" => {
                let number: u32 = value.parse().map_err(|_| "no number from 0 to 4294967295".to_string())?;
                encode_number(number)
            }
            _ => return Err(format!("{kind:?} is no type: str, hex, ip and num are")),
        };
        Ok(CustomOption { code, data })
    }
}

/// An option that replies must carry: `--expect CODE=VALUE`.
#[derive(Clone, Debug)]
struct Expectation {
    code: u8,
    value: String,
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Expectation, String> {
        let (code, value) = text.split_once('=').ok_or("CODE=VALUE is needed, as in 66=192.0.2.1")?;
        Ok(Expectation { code: parse_code(code)?, value: value.to_string() })
    }
}

/// Codes 0 and 255 pad and end the options; they carry nothing.
fn parse_code(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(code) if code != PAD && code != END => Ok(code),
        _ => Err(format!("{text:?} is no option code: they are 1 to 254")),
    }
}

fn parse_server(text: &str) -> Result<SocketAddrV4, String> {
    let with_port = text.parse();
    let without = text.parse().map(|address| SocketAddrV4::new(address, SERVER_PORT));
    with_port.or(without).map_err(|_| "an IPv4 address is needed, or ADDR:PORT".to_string())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("0.1 to 3600 seconds are possible".to_string()),
    }
}

fn encode_number(number: u32) -> Vec<u8> {
    if let Ok(number) = u8::try_from(number) {
        vec![number]
    } else if let Ok(number) = u16::try_from(number) {
        number.to_be_bytes().to_vec()
    } else {
        number.to_be_bytes().to_vec()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(mistake) = args.check() {
        Args::command().error(ErrorKind::ArgumentConflict, mistake).exit();
    }
    match Client::new(&args).and_then(|mut client| client.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

// ---------------------------------------------------------------------------------------------------
// The exchange

struct Client<'a> {
    args: &'a Args,
    socket: UdpSocket,
    mac: Mac,
    /// Whether all replies so far carried what `--expect` wants.
    as_expected: bool,
}

impl Client<'_> {
    fn new(args: &Args) -> Result<Client<'_>> {
        Ok(Client {
            args,
            socket: open_socket(args)?,
            mac: args.mac.unwrap_or_else(Mac::random),
            as_expected: true,
        })
    }

    /// Whether the replies are as expected; those that are not have been told on standard error.
    fn run(&mut self) -> Result<bool> {
        if self.args.inform {
            self.inform()?
        } else {
            self.get_lease()?
        }
        Ok(self.as_expected)
    }

    fn get_lease(&mut self) -> Result<()> {
        // One transaction identifier for the whole exchange, as RFC 2131 wants it.
        let mut message = self.new_message();
        // A server may answer with an ACK at once where the client sends option 80 (RFC 4039).
        let answers = [MessageType::Offer, MessageType::Ack];
        let offer = self.ask(&mut message, MessageType::Discover, &Options::new(), &answers)?;
        if self.args.discover_only || offer.kind == MessageType::Ack {
            return Ok(());
        }
        let server =
            offer.options.get(&SERVER_IDENTIFIER).context("the OFFER names no server (option 54)")?;
        let selection = Options::from([
            (REQUESTED_ADDRESS, offer.header.yiaddr().octets().to_vec()),
            (SERVER_IDENTIFIER, server.clone()),
        ]);
        let answers = [MessageType::Ack, MessageType::Nak];
        let reply = self.ask(&mut message, MessageType::Request, &selection, &answers)?;
        if reply.kind == MessageType::Nak {
            let reason = reply.options.get(&MESSAGE).map(|text| format!(": {}", bytes(text)));
            bail!("the server answered the REQUEST with a NAK{}", reason.unwrap_or_default());
        }
        Ok(())
    }

    fn inform(&mut self) -> Result<()> {
        let mut message = self.new_message();
        self.ask(&mut message, MessageType::Inform, &Options::new(), &[MessageType::Ack])?;
        Ok(())
    }

    /// The fixed part of all packets of one exchange, with a random transaction identifier.
    fn new_message(&self) -> Message {
        let mut message = Message::default();
        message.set_chaddr(&self.mac.0);
        if let Some(ciaddr) = self.args.ciaddr {
            message.set_ciaddr(ciaddr);
        } else if self.args.giaddr.is_none() {
            // A client without an address hears nothing but broadcasts on a plain UDP socket.
            message.set_flags(Flags::default().set_broadcast());
        }
        if let Some(giaddr) = self.args.giaddr {
            message.set_giaddr(giaddr).set_hops(1);
        }
        message
    }

    /// Sends one message, again and again until one of the `answers` comes, and prints the first.
    fn ask(
        &mut self,
        message: &mut Message,
        kind: MessageType,
        extra: &Options,
        answers: &[MessageType],
    ) -> Result<Reply> {
        let options = self.options_to_send(kind, extra);
        let started = Instant::now();
        let deadline = started + self.args.timeout;
        let mut pause = Duration::from_secs(1);
        loop {
            message.set_secs(u16::try_from(started.elapsed().as_secs()).unwrap_or(u16::MAX));
            self.send(message, kind, &options)?;
            let until = deadline.min(Instant::now() + pause);
            if let Some(reply) = self.receive(message.xid(), answers, until)? {
                write!(io::stdout(), "{reply}")?;
                self.check_expectations(&reply);
                return Ok(reply);
            }
            if Instant::now() >= deadline {
                let (name, seconds) = (name_of(kind), self.args.timeout.as_secs_f64());
                bail!("no reply to the {name} from {} within {seconds} s", self.args.destination());
            }
            // Twice as long each time up to a minute, as in RFC 2131 4.1.
            pause = (pause * 2).min(Duration::from_secs(64));
        }
    }

    fn options_to_send(&self, kind: MessageType, extra: &Options) -> Options {
        let mut options = Options::from([
            (MESSAGE_TYPE, vec![kind.into()]),
            (PARAMETER_REQUEST_LIST, REQUESTED_OPTIONS.to_vec()),
            // Without this, servers have to fit the reply into 576 bytes.
            (MAX_MESSAGE_SIZE, 1500_u16.to_be_bytes().to_vec()),
        ]);
        options.extend(extra.clone());
        // Last, so that the operator has the last word.
        options.extend(self.args.custom.iter().map(|option| (option.code, option.data.clone())));
        options
    }

    fn send(&self, message: &Message, kind: MessageType, options: &Options) -> Result<()> {
        let to = self.args.destination();
        let mut line = format!("→ {} xid 0x{:08x} mac {} to {to}", name_of(kind), message.xid(), self.mac);
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

    /// The first of the `answers` that comes before `until`.
    fn receive(&self, xid: u32, answers: &[MessageType], until: Instant) -> Result<Option<Reply>> {
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
                Ok(Some(reply)) if answers.contains(&reply.kind) => return Ok(Some(reply)),
                // Of another client, or late: a second OFFER to a DISCOVER sent twice.
                Ok(_) => {}
                Err(error) => eprintln!("ignored a malformed packet from {from}: {error:#}"),
            }
        }
    }

    fn check_expectations(&mut self, reply: &Reply) {
        for Expectation { code, value } in &self.args.expect {
            let carried = match reply.options.get(code) {
                None => "does not carry that option".to_string(),
                Some(data) if Value::of_option(*code, data).is(value, data) => continue,
                Some(data) => {
                    let found = Value::of_option(*code, data).to_string();
                    let found = if found.contains('\n') { in_hex(data) } else { found };
                    format!("carries {found} instead")
                }
            };
            let name = name_of(reply.kind);
            eprintln!("error: {} ({code}) should be {value:?}: the {name} {carried}", option_name(*code));
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
    // A DHCP client that runs on this machine may have the port already; both hear broadcasts then.
    socket.set_reuse_address(source.ip().is_unspecified())?;
    if let Err(error) = socket.bind(&SocketAddr::from(source).into()) {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => " (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
            io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
            _ => "",
        };
        return Err(error).with_context(|| format!("cannot listen on {source}{hint}"));
    }
    Ok(socket.into())
}

/// The read timeout has passed, or a signal came.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

// ---------------------------------------------------------------------------------------------------
// Packets

/// dhcproto writes the fixed part only. Its options are typed, whereas these go out as they were given,
/// be they valid or not, and option 82 as the last of them (RFC 3046 2.1).
fn encode(message: &Message, options: &Options) -> Result<Vec<u8>> {
    let mut packet = message.to_vec().context("cannot encode the packet")?;
    let rank = |code: &u8| match *code {
        MESSAGE_TYPE => 0, // Not a rule, but a custom that simple servers rely on.
        RELAY_AGENT => 2,
        _ => 1,
    };
    let mut ordered: Vec<_> = options.iter().collect();
    ordered.sort_by_key(|(code, _)| rank(code));
    for (code, data) in ordered {
        put_option(&mut packet, *code, data);
    }
    packet.push(END);
    // Some servers and relays drop what is shorter than a BOOTP packet.
    packet.resize(packet.len().max(MIN_PACKET_SIZE), PAD);
    Ok(packet)
}

fn put_option(packet: &mut Vec<u8>, code: u8, data: &[u8]) {
    if data.is_empty() {
        packet.extend([code, 0]);
    }
    // More than 255 bytes are split over several options (RFC 3396).
    for part in data.chunks(255) {
        packet.extend([code, part.len() as u8]);
        packet.extend(part);
    }
}

struct Reply {
    from: SocketAddr,
    header: Message,
    kind: MessageType,
    sname: Vec<u8>,
    file: Vec<u8>,
    options: Options,
}

impl Reply {
    /// `None` if it is not for this client. Options are kept raw: dhcproto's decoder leaves out those that
    /// it cannot make sense of, which are the ones that an operator wants to see.
    fn parse(packet: &[u8], from: SocketAddr, xid: u32, mac: Mac) -> Result<Option<Reply>> {
        let (fixed, options_field) = packet.split_at_checked(240).context("too short for DHCP")?;
        let header = Message::decode(&mut Decoder::new(fixed))?;
        // `chaddr` panics past 16 bytes: `hlen` goes first.
        let for_us = header.opcode() == Opcode::BootReply
            && header.xid() == xid
            && usize::from(header.hlen()) == mac.0.len()
            && header.chaddr() == mac.0;
        if !for_us {
            return Ok(None);
        }
        // Taken from the bytes, because dhcproto drops a name that fills its field.
        let (sname_field, file_field) = (&fixed[44..108], &fixed[108..236]);
        ensure!(fixed[236..] == MAGIC, "no magic cookie, BOOTP rather than DHCP");

        let mut options = Options::new();
        read_options(options_field, &mut options)?;
        // The two name fields may carry options too, `file` first (RFC 3396, section 5).
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

/// Adds the options of one field. Parts of a split option are joined (RFC 3396).
fn read_options(field: &[u8], options: &mut Options) -> Result<()> {
    let mut decoder = Decoder::new(field);
    // Some servers leave out the END.
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

// ---------------------------------------------------------------------------------------------------
// Output

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

fn name_of(kind: MessageType) -> String {
    format!("{kind:?}").to_uppercase()
}

fn option_name(code: u8) -> String {
    match definition(code) {
        Some((name, _)) => name.to_string(),
        None => format!("option-{code}"),
    }
}

/// What an option says, for people.
#[derive(Debug, PartialEq)]
enum Value {
    /// Shown in quotes, with all that could disturb a terminal escaped.
    Text(String),
    /// Shown as it is; sub-options are one per line.
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
    /// Data that its definition does not fit is shown in hex.
    fn of_option(code: u8, data: &[u8]) -> Value {
        let format = definition(code).map_or(Format::Bytes, |(_, format)| format);
        decode(format, data).unwrap_or_else(|| Value::Plain(in_hex(data)))
    }

    /// Whether `--expect` means this value, which has been made from `data`.
    fn is(&self, expected: &str, data: &[u8]) -> bool {
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
    /// An unsigned number of so many bytes.
    Number(usize),
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

/// Text where it is printable, else hex: for what may be either.
fn bytes(data: &[u8]) -> Value {
    match std::str::from_utf8(data) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Value::Text(text.to_string()),
        _ => Value::Plain(in_hex(data)),
    }
}

fn in_hex(data: &[u8]) -> String {
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

/// Items of `width` bytes; a shorter one at the end is left for `item` to refuse.
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

/// RFC 4702: flags, two bytes that are obsolete, and a name whose encoding a flag tells.
fn fqdn(data: &[u8]) -> Option<String> {
    let (flags, name) = (data.first()?, data.get(3..)?);
    let name = if flags & 0x04 != 0 { names(name)? } else { bytes(name).to_string() };
    Some(format!("{name} flags 0x{flags:02x}"))
}

/// RFC 3442: the width of a destination, only as many of its bytes as that takes, and the router.
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

/// One line for each sub-option; those that are text in hex too, because backends and configurations
/// name them in either way.
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
    let lines: Vec<String> = found.iter().map(|(label, value)| format!("{label:<width$}  {value}")).collect();
    Some(lines.join("\n"))
}

/// Names as in Kea.
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

/// Names as in Kea, and those of the RFCs for what Kea does not define.
fn definition(code: u8) -> Option<(&'static str, Format)> {
    use Format::*;
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

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const XID: u32 = 0x01020304;

    /// A reply of a server with these options.
    fn reply(options: &Options) -> Vec<u8> {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootReply).set_xid(XID).set_chaddr(&MAC.0);
        encode(&message, options).unwrap()
    }

    fn parse(packet: &[u8]) -> Result<Option<Reply>> {
        Reply::parse(packet, "192.0.2.1:67".parse().unwrap(), XID, MAC)
    }

    fn offer() -> Options {
        Options::from([(MESSAGE_TYPE, vec![2]), (SERVER_IDENTIFIER, vec![192, 0, 2, 1])])
    }

    fn custom(text: &str) -> Vec<u8> {
        text.parse::<CustomOption>().unwrap().data
    }

    fn shown(code: u8, data: &[u8]) -> String {
        Value::of_option(code, data).to_string()
    }

    #[test]
    fn custom_options() {
        assert_eq!("77,str,test".parse(), Ok(CustomOption { code: 77, data: b"test".to_vec() }));
        assert_eq!(custom("60,str,a,b=c, d"), b"a,b=c, d", "a value may contain commas");
        assert_eq!(custom("80,hex,"), b"");
        assert_eq!(custom("82,hex,0103666F6f"), [1, 3, b'f', b'o', b'o']);
        assert_eq!(custom("61,hex,01:02:aa"), [1, 2, 0xaa]);
        assert_eq!(custom("50,ip,192.0.2.7"), [192, 0, 2, 7]);
        assert_eq!(custom("116,num,255"), [255]);
        assert_eq!(custom("57,num,256"), [1, 0]);
        assert_eq!(custom("51,num,65536"), [0, 1, 0, 0]);
    }

    #[test]
    fn custom_options_that_are_refused() {
        for text in [
            "",
            "77",
            "77,str",
            ",str,x",
            "0,str,x",
            "255,str,x",
            "256,str,x",
            "-1,str,x",
            "53,num,1",
            "77,int,1",
            "82,hex,012",
            "82,hex,zz",
            "82,hex,ü",
            "57,num,-1",
            "57,num,4294967296",
            "50,ip,192.0.2",
        ] {
            assert!(text.parse::<CustomOption>().is_err(), "{text:?}");
        }
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

    /// Whatever comes: a value, but no panic.
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

    #[test]
    fn arguments() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).is_ok_and(|args| args.check().is_ok());
        assert!(parse("c -i eth0"));
        assert!(parse("c --server 192.0.2.1 --giaddr 10.0.0.1 --timeout 0.5 -m 52-54-00-12-34-56"));
        assert!(parse("c --server 192.0.2.1:10067 --inform --ciaddr 10.0.0.1"));
        for line in [
            "c",
            "c -i eth0 --giaddr 10.0.0.1",
            "c --server example.org",
            "c --server 192.0.2.1 --relay-port 10068",
            "c --server 192.0.2.1 --giaddr 10.0.0.1 --relay-port 0",
            "c -i eth0 --inform",
            "c -i eth0 --ciaddr 10.0.0.1",
            "c --server 192.0.2.1 --giaddr 10.0.0.1 --inform --ciaddr 10.0.0.2",
            "c -i eth0 -c 77,str,a -c 77,str,b",
            "c -i eth0 -m 52:54:00:12:34",
            "c -i eth0 --timeout NaN",
            "c -i eth0 --timeout 1e30",
            "c -i eth0 --expect 66",
        ] {
            assert!(!parse(line), "{line}");
        }
    }

    #[test]
    fn random_hardware_addresses() {
        let Mac([first, ..]) = Mac::random();
        assert_eq!(first & 0x03, 0x02);
        assert_ne!(Mac::random(), Mac::random());
    }
}
