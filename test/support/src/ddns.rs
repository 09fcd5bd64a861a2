// SPDX-License-Identifier: MPL-2.0
//! What kea-dhcp-ddns would get: the requests for changes of names in DNS that a DHCP server sends.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use serde_json::{Value, json};

use crate::PATIENCE;

/// A free UDP port of loopback in the place of kea-dhcp-ddns. It reads requests and does nothing
/// with them.
pub struct Ddns {
    socket: UdpSocket,
}

impl Ddns {
    /// Listens at a free port.
    pub fn listen() -> Ddns {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP socket on loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Ddns { socket }
    }

    /// The entry `dhcp-ddns` of the DHCP server's configuration that sends the requests here.
    pub fn configuration(&self) -> Value {
        let address = self.address();
        json!({
            "enable-updates": true,
            "server-ip": address.ip(),
            "server-port": address.port(),
        })
    }

    /// Waits for the next request, and returns its JSON. A request on the wire is the length of its
    /// JSON in two bytes, and the JSON.
    #[track_caller]
    pub fn request(&self) -> Value {
        let mut buffer = [0; 0x10000];
        let length = self.socket.recv(&mut buffer);
        let length = length.unwrap_or_else(|error| {
            panic!("no request for a change in DNS in {PATIENCE:?}: {error}")
        });
        let (announced, text) = buffer[..length].split_at(2);
        let announced = u16::from_be_bytes([announced[0], announced[1]]);
        assert_eq!(usize::from(announced), text.len(), "{}", text.escape_ascii());
        serde_json::from_slice(text).expect("JSON")
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }
}
