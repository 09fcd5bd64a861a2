// SPDX-License-Identifier: MPL-2.0
//! DHCP queries as they are on the wire, byte by byte: good ones, and the shapes of bad ones.

use std::net::Ipv4Addr;

use remote_opts_test_support::dhcp::port;

/// The kinds of queries, by the value of option 53.
pub const DISCOVER: u8 = 1;
/// As [`DISCOVER`].
pub const REQUEST: u8 = 3;
/// As [`DISCOVER`].
pub const INFORM: u8 = 8;

/// One query.
pub struct Query {
    /// The message type.
    pub kind: u8,
    /// The id of the transaction.
    pub xid: u32,
    /// The number of the client, which makes its hardware address.
    pub client: u32,
    /// The relay agent's address.
    pub giaddr: Ipv4Addr,
    /// The client's address.
    pub ciaddr: Ipv4Addr,
    /// Options behind the message type, as they are on the wire.
    pub options: Vec<u8>,
}

impl Query {
    /// The query on the wire.
    pub fn wire(&self) -> Vec<u8> {
        let hops = u8::from(!self.giaddr.is_unspecified());
        let mut wire = vec![1, 1, 6, hops];
        wire.extend(self.xid.to_be_bytes());
        wire.extend([0; 4]);
        wire.extend(self.ciaddr.octets());
        wire.extend([0; 8]);
        wire.extend(self.giaddr.octets());
        wire.extend(hardware_address(self.client));
        wire.resize(236, 0);
        wire.extend([99, 130, 83, 99]);
        wire.extend([53, 1, self.kind]);
        wire.extend(&self.options);
        wire.push(255);
        wire
    }
}

/// The hardware address of the client of this number.
pub fn hardware_address(client: u32) -> [u8; 6] {
    let [a, b, c, d] = client.to_be_bytes();
    [0x02, 0x50, a, b, c, d]
}

/// An option on the wire.
pub fn option(code: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("an option of at most 255 bytes");
    [&[code, length], value].concat()
}

/// A shape of bad input: the kind of the query, whether it comes through a relay agent, the client's
/// address, and the options.
pub struct Shape {
    /// What is bad about it.
    pub name: String,
    pub kind: u8,
    pub giaddr: Ipv4Addr,
    pub ciaddr: Ipv4Addr,
    /// The options of the client of this number. Where option 82 can name the client, the number is
    /// in it.
    pub options: fn(u32) -> Vec<u8>,
}

/// A relay agent that names the client, and `more`.
fn named(client: u32, more: &[Vec<u8>]) -> Vec<u8> {
    [more.concat(), option(82, &port(client))].concat()
}

/// Bytes that make an option long.
fn long(client: u32, length: usize) -> Vec<u8> {
    client.to_be_bytes().iter().copied().cycle().take(length).collect()
}

/// A name, and the options of a client.
type Bad = (&'static str, fn(u32) -> Vec<u8>);

const BAD: [Bad; 27] = [
    ("no option 82", |_| Vec::new()),
    ("82 empty", |_| option(82, b"")),
    ("82 of one byte", |_| option(82, &[1])),
    ("82 sub-option of length 0", |_| option(82, &[1, 0])),
    ("82 sub-option longer than 82", |n| option(82, &[&[1, 200], &n.to_be_bytes()[..]].concat())),
    ("82 sub-option cut short", |n| option(82, &port(n)[..4])),
    ("82 with a lone code at its end", |n| option(82, &[port(n), vec![2]].concat())),
    ("82 with sub-option 1 twice", |n| option(82, &[port(n), port(n)].concat())),
    ("82 with sub-option 0 and 255", |n| option(82, &[vec![0, 255, 0, 255], port(n)].concat())),
    ("82 of 255 bytes", |n| option(82, &[vec![1, 253], long(n, 253)].concat())),
    ("82 of 255 zero bytes", |_| option(82, &[0; 255])),
    ("82 twice", |n| [option(82, &port(n)), option(82, &port(n))].concat()),
    ("82 four times, 255 bytes each", |n| {
        option(82, &[vec![1, 253], long(n, 253)].concat()).repeat(4)
    }),
    ("82 split in two (RFC 3396)", |n| {
        [option(82, &port(n)[..3]), option(82, &port(n)[3..])].concat()
    }),
    ("77 empty", |n| named(n, &[option(77, b"")])),
    ("77 of 255 bytes", |n| named(n, &[option(77, &[b'i'; 255])])),
    ("77 with lengths that lie", |n| named(n, &[option(77, &[200, b'i', 0, 0, 9])])),
    ("77 twice", |n| named(n, &[option(77, b"iPXE"), option(77, b"iPXE")])),
    ("77 of zero bytes", |n| named(n, &[option(77, &[0; 255])])),
    ("97 empty", |n| named(n, &[option(97, b"")])),
    ("97 of one byte", |n| named(n, &[option(97, &[0])])),
    ("97 of 255 bytes", |n| named(n, &[option(97, &[0xff; 255])])),
    ("97 twice", |n| named(n, &[option(97, &[0; 17]), option(97, &[7; 17])])),
    ("82, 77 and 97 of 255 bytes", |n| {
        let big = option(82, &[vec![1, 253], long(n, 253)].concat());
        [option(77, &[1; 255]), option(97, &[2; 255]), big].concat()
    }),
    ("an option past the end", |n| {
        named(n, &[vec![]]).into_iter().chain([12, 200, b'x']).collect()
    }),
    ("61 empty", |n| named(n, &[option(61, b"")])),
    ("57 and 50 of wrong lengths", |n| named(n, &[option(57, &[1]), option(50, &[1, 2, 3])])),
];

/// All shapes: each bad input as DISCOVER and INFORM, through a relay agent and without one.
pub fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for (name, options) in BAD {
        for kind in [DISCOVER, INFORM] {
            for giaddr in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
                let ciaddr =
                    if kind == INFORM { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
                let kind_name = if kind == INFORM { "INFORM" } else { "DISCOVER" };
                let relay = if giaddr.is_unspecified() { "without giaddr" } else { "with giaddr" };
                let name = format!("{kind_name} {relay}, {name}");
                shapes.push(Shape { name, kind, giaddr, ciaddr, options });
            }
        }
    }
    shapes
}

/// Some datagrams that are no DHCP: shorter than its fixed fields. Kea throws them away, and does not
/// count them.
pub fn garbage() -> Vec<u8> {
    (0..fastrand::usize(1..236)).map(|_| fastrand::u8(..)).collect()
}
