// SPDX-License-Identifier: MPL-2.0
//! Free TCP ports of loopback, for servers that listen later or stop for a while.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A TCP port that no other program gets while this value lives. A server listens there all the
/// same if it sets SO_REUSEADDR, as Kea's servers do.
pub struct Port {
    address: SocketAddr,
    _reserved: Socket,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Port {
        let reserved = socket((Ipv4Addr::LOCALHOST, 0).into());
        let address = reserved.local_addr().expect("a bound socket").as_socket().expect("of IPv4");
        Port { address, _reserved: reserved }
    }

    /// Where a server listens that has this port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens at this port.
    pub(crate) fn listen(&self) -> TcpListener {
        let socket = socket(self.address);
        // The standard library's listeners have room for fewer new connections at once.
        socket.listen(1024).expect("a listening socket on loopback");
        TcpListener::from(socket)
    }
}

/// A TCP socket bound to this address. A second socket may be bound to the same address as long as
/// none of them listens.
fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&address.into()).expect("a TCP socket on loopback");
    socket
}
