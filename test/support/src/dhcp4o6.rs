// SPDX-License-Identifier: MPL-2.0
//! DHCPv4 over DHCPv6 (RFC 7341): this module is in the place of kea-dhcp6, and brings the queries
//! of clients to kea-dhcp4.
//!
//! The two servers of Kea send each other DHCPv6 messages by UDP on ::1. kea-dhcp6 has the port
//! `dhcp4o6-port`, kea-dhcp4 the port above it. A vendor option of ISC tells where the client's
//! message has come from. A container may have no ::1: there the messages go by 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::json;

use crate::PATIENCE;
use crate::dhcp::{Client, Reply};
use crate::kea::{Kea, Setup};

/// The message types DHCPV4-QUERY and DHCPV4-RESPONSE (RFC 7341, section 5).
const QUERY: u8 = 20;
const RESPONSE: u8 = 21;

/// The option with the DHCPv4 message (RFC 7341, section 7.1).
const DHCPV4_MESSAGE: u16 = 87;

/// The vendor option (RFC 8415, section 21.17), ISC's number in it, and ISC's sub-options: the
/// interface, the client's address and the client's port.
const VENDOR: u16 = 17;
const ISC: u32 = 2495;
const INTERFACE: u16 = 60000;
const SOURCE_ADDRESS: u16 = 60001;
const SOURCE_PORT: u16 = 60002;

/// The bytes before the options of a DHCPv6 message.
const HEADER: usize = 4;

/// kea-dhcp6's end of the connection between the two servers.
pub struct Dhcp6Side {
    socket: UdpSocket,
    /// Where kea-dhcp4 listens.
    server: SocketAddr,
    /// Replies to transactions that nobody has asked about yet.
    unclaimed: Mutex<Vec<Reply>>,
}

impl Dhcp6Side {
    /// Starts a server that takes DHCPv4 over DHCPv6 too. Its clients have a subnet of their own,
    /// 10.78.0.0/16. `preloaded` names the library that brings Kea to 127.0.0.1: it is used only
    /// where there is no ::1.
    pub fn start<'a>(setup: &Setup, preloaded: impl FnOnce() -> &'a String) -> (Dhcp6Side, Kea) {
        let setup = setup.clone().add_subnets(vec![json!({
            "id": 4006,
            "subnet": "10.78.0.0/16",
            "pools": [{ "pool": "10.78.1.0-10.78.250.255" }],
            "4o6-interface": "lo",
        })]);
        let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        let (host, setup) = if has_ipv6 {
            (IpAddr::from(Ipv6Addr::LOCALHOST), setup)
        } else {
            (Ipv4Addr::LOCALHOST.into(), setup.env("LD_PRELOAD", preloaded()))
        };
        // Another process may take the free port before Kea does.
        for _ in 0..20 {
            let (socket, port) = two_free_ports(host);
            let kea = setup.clone().set("dhcp4o6-port", json!(port)).try_start();
            match kea {
                Ok(kea) => {
                    let server = SocketAddr::from((host, port + 1));
                    return (Dhcp6Side { socket, server, unclaimed: Mutex::default() }, kea);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    assert!(error.contains("Failed to bind DHCP4o6 socket"), "{error}");
                }
            }
        }
        panic!("no two free ports for kea-dhcp4 after 20 tries");
    }

    /// Begins an exchange in a new transaction. [`Dhcp6Side::reply_within`] waits for the reply.
    pub fn send_discover(&self, client: &Client) {
        client.new_transaction();
        self.send_discover_again(client);
    }

    /// Sends the same DISCOVER once more, as a client does that has had no reply.
    pub fn send_discover_again(&self, client: &Client) {
        self.send(&client.query_with_own_relay_information(
            MessageType::Discover,
            Ipv4Addr::UNSPECIFIED,
            &[],
        ));
    }

    /// Asks for the address that `offer` offers, and waits for the reply.
    #[track_caller]
    pub fn request(&self, client: &Client, offer: &Reply) -> Reply {
        let server = offer.option(54).expect("a server identifier in the OFFER");
        let options = [(50, offer.address().octets().to_vec()), (54, server)];
        self.send(&client.query_with_own_relay_information(
            MessageType::Request,
            Ipv4Addr::UNSPECIFIED,
            &options,
        ));
        self.reply_within(client, PATIENCE).expect("a reply to the REQUEST")
    }

    /// Renews the lease in a new transaction, and waits for the reply.
    #[track_caller]
    pub fn renew(&self, client: &Client, ack: &Reply) -> Reply {
        client.new_transaction();
        self.send(&client.query_with_own_relay_information(
            MessageType::Request,
            ack.address(),
            &[],
        ));
        self.reply_within(client, PATIENCE).expect("a reply to the renewal")
    }

    /// The reply to the client's last query; `None` when `patience` is over.
    pub fn reply_within(&self, client: &Client, patience: Duration) -> Option<Reply> {
        let end = Instant::now() + patience;
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = unclaimed.iter().position(|reply| reply.xid() == client.xid()) {
                return Some(unclaimed.remove(found));
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).expect("a time-out");
            let mut buffer = [0; 0x10000];
            // The error says that the time is over.
            if let Ok(length) = self.socket.recv(&mut buffer) {
                unclaimed.push(Reply::new(dhcpv4_message(&buffer[..length])));
            }
        }
    }

    fn send(&self, query: &[u8]) {
        let vendor = [
            &ISC.to_be_bytes()[..],
            &option(INTERFACE, b"lo"),
            &option(SOURCE_ADDRESS, &Ipv6Addr::LOCALHOST.octets()),
            &option(SOURCE_PORT, &546_u16.to_be_bytes()),
        ];
        let message = [
            &[QUERY, 0, 0, 0][..],
            &option(DHCPV4_MESSAGE, query),
            &option(VENDOR, &vendor.concat()),
        ];
        self.socket.send_to(&message.concat(), self.server).expect("a datagram sent on loopback");
    }
}

/// A socket at a port that has a free port above it, and the lower port.
fn two_free_ports(host: IpAddr) -> (UdpSocket, u16) {
    for _ in 0..100 {
        let socket = UdpSocket::bind((host, 0)).expect("a UDP socket on loopback");
        let port = socket.local_addr().expect("a bound socket").port();
        if port < u16::MAX && UdpSocket::bind((host, port + 1)).is_ok() {
            return (socket, port);
        }
    }
    panic!("no two free ports");
}

/// An option of DHCPv6, or a sub-option: code, length, value.
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("an option of at most 65535 bytes");
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// The DHCPv4 message in a DHCPV4-RESPONSE.
fn dhcpv4_message(response: &[u8]) -> Vec<u8> {
    assert_eq!(response.first(), Some(&RESPONSE), "another message: {response:02x?}");
    let mut rest = &response[HEADER..];
    while let [a, b, c, d, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == DHCPV4_MESSAGE {
            return more[..length].to_vec();
        }
        rest = &more[length..];
    }
    panic!("no DHCPv4 message in {response:02x?}");
}
