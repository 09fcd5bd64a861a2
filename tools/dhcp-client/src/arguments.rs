// SPDX-License-Identifier: MPL-2.0
//! The command line.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Parser, value_parser};
use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};

use crate::identity::Identity;
use crate::packet::{END, MESSAGE_TYPE, Options, PAD};

/// What stands below the options in the help.
const AFTER_HELP: &str = "\
By itself the client sends option 53 (the message type), 55 (it asks for what network boot uses), 57
(it takes replies of 1500 bytes) and, in the REQUEST, 50 and 54. -c replaces each of them but 53.

Exit status: 0 for success; 1 when there is no reply, a NAK, or a reply without a value of --expect;
2 for a mistake on the command line.

Examples:
  An iPXE on the link of eth0 (ports below 1024 and the interface need root):
    remote-opts-client -i eth0 --user-class iPXE
  The relay agent 10.0.0.1, and a client behind the port Gi0/1 of the switch sw7:
    remote-opts-client --server 192.0.2.1 --giaddr 10.0.0.1 --circuit-id Gi0/1 --remote-id sw7
  A machine with this UUID that boots by UEFI HTTP boot, and takes only 576 bytes:
    remote-opts-client -i eth0 --guid 4c4c4544-0051-3310-8057-b9c04f4e5931 \\
        -c 60,str,HTTPClient:Arch:00016:UNDI:003000 -c 93,hex,0010 -c 57,num,576
  A Kea for tests on this machine, without root (kea-dhcp4 -c kea.conf -p 10067 -P 10068). The
  client fails unless both replies carry the options 66 and 224 with these values:
    remote-opts-client --server 127.0.0.1:10067 --giaddr 127.0.0.1 --relay-port 10068 \\
        --circuit-id foo --remote-id bar --expect 224=somestring --expect 66=0.0.0.0";

/// Asks a DHCPv4 server for an address and prints its replies with every option decoded. It
/// configures nothing
#[derive(Debug, Parser)]
#[command(name = "remote-opts-client", version, after_help = AFTER_HELP)]
#[command(group(ArgGroup::new("link").args(["interface", "server"]).required(true).multiple(true)))]
pub struct Args {
    /// Hardware address [default: a random, locally administered one]
    #[arg(short, long, value_name = "MAC")]
    pub mac: Option<Mac>,

    /// Any option to send, in DISCOVER and REQUEST; repeatable. TYPE is str, hex, ip or num (an
    /// unsigned number in the smallest of 1, 2 and 4 bytes), as in -c 60,str,PXEClient -c
    /// 82,hex,0103666f6f
    #[arg(
        short,
        long = "custom-option",
        visible_alias = "custom-dhcp-option",
        value_name = "CODE,TYPE,VALUE"
    )]
    pub custom: Vec<CustomOption>,

    /// Seconds to wait for each reply; packets are sent again meanwhile
    #[arg(
        short = 'T',
        long,
        value_name = "SECONDS",
        default_value = "5",
        value_parser = parse_timeout
    )]
    pub timeout: Duration,

    /// Interface to use, and to broadcast on unless there is a --server
    #[arg(short, long, value_name = "IFACE", value_parser = NonEmptyStringValueParser::new())]
    pub interface: Option<String>,

    /// Send to this server by unicast
    #[arg(short = 'S', long, value_name = "ADDR[:PORT]", value_parser = parse_server)]
    pub server: Option<SocketAddrV4>,

    /// Play the relay agent that has this address, which must be one of this machine's
    #[arg(short, long, value_name = "ADDR", requires = "server")]
    pub giaddr: Option<Ipv4Addr>,

    /// Port at which the relay agent gets replies (Kea's -P) [default: 67]
    #[arg(
        long,
        value_name = "PORT",
        requires = "giaddr",
        value_parser = value_parser!(u16).range(1..)
    )]
    pub relay_port: Option<u16>,

    /// Send an INFORM for the address --ciaddr instead
    #[arg(long, requires = "ciaddr", conflicts_with = "discover_only")]
    pub inform: bool,

    /// The address that the client has already; the server replies to an INFORM there
    #[arg(long, value_name = "ADDR", requires = "inform")]
    pub ciaddr: Option<Ipv4Addr>,

    /// Stop after the OFFER
    #[arg(long)]
    pub discover_only: bool,

    /// Fail unless every reply carries this option with exactly this value, as it is printed but
    /// without the quotes of a text, or all of its bytes as 0x…; repeatable
    #[arg(long, value_name = "CODE=VALUE")]
    pub expect: Vec<Expectation>,

    // Last: its heading would stand above every argument that follows.
    #[command(flatten)]
    pub identity: Identity,
}

impl Args {
    /// Checks arguments against each other. The error tells the user what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let mut codes = BTreeSet::new();
        if let Some(twice) = self.custom.iter().find(|option| !codes.insert(option.code)) {
            return Err(format!("option {} is given twice with -c", twice.code));
        }
        self.identity.check(&self.custom)?;
        if self.inform && self.giaddr.is_some() && self.giaddr != self.ciaddr {
            let why = "a server replies to an INFORM at --ciaddr, even through a relay agent";
            return Err(format!("{why}: --giaddr must be the same address"));
        }
        Ok(())
    }

    /// The options that the user asks to send.
    pub fn options(&self) -> Options {
        let mut options = self.identity.options();
        options.extend(self.custom.iter().map(|option| (option.code, option.data.clone())));
        options
    }

    /// The address that packets go to.
    pub fn destination(&self) -> SocketAddrV4 {
        self.server.unwrap_or(SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT))
    }

    /// The address that packets come from, and that replies go to.
    pub fn source(&self) -> SocketAddrV4 {
        match self.giaddr {
            Some(giaddr) => SocketAddrV4::new(giaddr, self.relay_port.unwrap_or(SERVER_PORT)),
            None => SocketAddrV4::new(self.ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED), CLIENT_PORT),
        }
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A random address: locally administered, and no multicast address. The standard library has
    /// random numbers only as the keys of a `RandomState`.
    pub fn random() -> Mac {
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
pub struct CustomOption {
    pub code: u8,
    pub data: Vec<u8>,
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
            return Err("option 53, the message type, is set by the client".to_string());
        }
        let data = match kind {
            "str" => value.as_bytes().to_vec(),
            "hex" => decode_hex(value)?,
            "ip" => {
                let address: Ipv4Addr = value.parse().map_err(|_| "no IPv4 address".to_string())?;
                address.octets().to_vec()
            }
            "num" => {
                let number: u32 =
                    value.parse().map_err(|_| "no number from 0 to 4294967295".to_string())?;
                encode_number(number)
            }
            _ => return Err(format!("{kind:?} is no type: str, hex, ip and num are")),
        };
        Ok(CustomOption { code, data })
    }
}

/// An option that replies must carry: `--expect CODE=VALUE`.
#[derive(Clone, Debug)]
pub struct Expectation {
    pub code: u8,
    pub value: String,
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Expectation, String> {
        let (code, value) =
            text.split_once('=').ok_or("CODE=VALUE is needed, as in 66=192.0.2.1")?;
        Ok(Expectation { code: parse_code(code)?, value: value.to_string() })
    }
}

/// Codes 0 and 255 pad and end the options (RFC 2132, section 3). They carry no data.
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

/// The bytes of hexadecimal digits, with or without `0x` and colons.
pub fn decode_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text).replace(':', "");
    hex::decode(digits).map_err(|error| format!("no hexadecimal digits in pairs ({error})"))
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn custom(text: &str) -> Vec<u8> {
        text.parse::<CustomOption>().unwrap().data
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
    fn arguments() {
        let parse = |line: &str| {
            Args::try_parse_from(line.split(' ')).is_ok_and(|args| args.check().is_ok())
        };
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

    /// The options that a command line sends. The error is what the user reads.
    fn sent(line: &str) -> Result<Options, String> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        args.check().map(|()| args.options())
    }

    #[test]
    fn options_that_say_who_the_client_is() {
        let line = "c -i eth0 --remote-id sw7 --circuit-id Gi0/1 --vendor-specific-info 0x00 \
                    --user-class iPXE --guid RPi4 -c 60,str,x";
        let guid = [&b"\0RPi4"[..], &[0; 12]].concat();
        let expected = Options::from([
            (60, b"x".to_vec()),
            (77, b"iPXE".to_vec()),
            (82, b"\x01\x05Gi0/1\x02\x03sw7\x09\x01\0".to_vec()),
            (97, guid),
        ]);
        assert_eq!(sent(line), Ok(expected));
        let instances = sent("c -i eth0 --user-class-instance iPXE --user-class-instance a");
        assert_eq!(instances, Ok(Options::from([(77, b"\x04iPXE\x01a".to_vec())])));
        assert_eq!(sent("c -i eth0"), Ok(Options::new()));
    }

    #[test]
    fn errors_name_the_option_the_value_and_what_is_accepted() {
        let long = "x".repeat(200);
        for (arguments, words) in [
            ("--circuit-id 0x5", &["'0x5'", "--circuit-id", "text or, behind 0x, pairs"][..]),
            ("--guid 0xRPi4", &["'0xRPi4'", "--guid", "4c4c4544-0051-3310-8057-b9c04f4e5931"]),
            ("--remote-id a --remote-id b", &["--remote-id", "multiple times"]),
            ("--user-class a --user-class-instance b", &["--user-class ", "cannot be used with"]),
            ("--circuit-id a -c 82,hex,010161", &["option 82", "--circuit-id", "-c 82,"]),
            ("--vendor-specific-info a -c 82,hex,", &["option 82", "--vendor-specific-info"]),
            ("--user-class a -c 77,str,a", &["option 77", "--user-class ", "give one"]),
            ("--user-class-instance a -c 77,str,a", &["option 77", "--user-class-instance"]),
            ("--guid RPi4 -c 97,hex,00", &["option 97", "--guid", "-c 97,"]),
            (&format!("--circuit-id {long} --remote-id {long}"), &["404 bytes", "at most 255"]),
        ] {
            let error = sent(&format!("c -i eth0 {arguments}")).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{arguments}: {error}");
            }
        }
    }

    #[test]
    fn the_examples_of_the_help_are_command_lines() {
        let help = Args::command().render_long_help().to_string();
        let examples = help.split_once("Examples:").expect("examples").1.replace("\\\n", " ");
        let lines = examples.lines().filter(|line| line.contains("remote-opts-client"));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 4, "{examples}");
        for line in lines {
            let args = Args::try_parse_from(line.split_whitespace());
            assert!(args.is_ok_and(|args| args.check().is_ok()), "{line}");
        }
    }

    #[test]
    fn random_hardware_addresses() {
        let Mac([first, ..]) = Mac::random();
        assert_eq!(first & 0x03, 0x02);
        assert_ne!(Mac::random(), Mac::random());
    }
}
