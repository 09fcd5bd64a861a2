// SPDX-License-Identifier: MPL-2.0
//! DHCP clients behind a relay agent. A query carries raw option bytes; a reply is read back from
//! the wire.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use crate::PATIENCE;

/// Where a message's options begin: behind the fixed fields and the magic cookie (RFC 2131,
/// sections 2 and 3).
const OPTIONS: usize = 240;

/// Where the number of relay agents is that a message has passed.
const HOPS: usize = 3;

/// Where the transaction id of a message is.
const XID: Range<usize> = 4..8;

/// Where the relay agent's address is.
const GIADDR: Range<usize> = 24..28;

/// Option 82 of a relay agent for one port of a switch.
pub fn port(number: u32) -> Vec<u8> {
    [&[1, 4], &number.to_be_bytes()[..]].concat()
}

/// The relay agent: it sends each query to all of its servers, and they send every reply to its
/// socket. A thread reads the socket all the time, so that no reply is lost and each reply has the
/// time of its arrival.
pub struct Relay {
    socket: Arc<UdpSocket>,
    servers: Mutex<Vec<SocketAddr>>,
    replies: Arc<Replies>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Replies {
    unclaimed: Mutex<VecDeque<Reply>>,
    arrived: Condvar,
}

impl Relay {
    /// A relay agent on a free port, without a server.
    pub fn bind() -> Relay {
        let socket =
            Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP socket on loopback"));
        // Thousands of clients may get their replies at once.
        socket2::SockRef::from(&*socket).set_recv_buffer_size(0x400000).expect("a receive buffer");
        let replies = Arc::new(Replies::default());
        let reader = Some(thread::spawn({
            let (socket, replies) = (Arc::clone(&socket), Arc::clone(&replies));
            move || replies.read(&socket)
        }));
        Relay { socket, servers: Mutex::default(), replies, reader }
    }

    /// Where the relay agent gets its replies. Its port is the value of Kea's `-P`.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Sends queries to this server, too.
    pub fn add_server(&self, server: SocketAddr) {
        self.servers.lock().unwrap().push(server);
    }

    /// Sends this server no more queries: another program may get its port.
    pub fn remove_server(&self, server: SocketAddr) {
        self.servers.lock().unwrap().retain(|other| *other != server);
    }

    /// Sends these bytes to all servers.
    pub fn send(&self, query: &[u8]) {
        for server in self.servers.lock().unwrap().iter() {
            self.socket.send_to(query, server).expect("a datagram sent on loopback");
        }
    }

    /// The next reply whose transaction `wanted` accepts; `None` when `patience` is over. Replies
    /// to other transactions stay for later calls.
    pub fn receive(&self, wanted: impl Fn(u32) -> bool, patience: Duration) -> Option<Reply> {
        let end = Instant::now() + patience;
        let mut unclaimed = self.replies.unclaimed.lock().unwrap();
        loop {
            if let Some(found) = unclaimed.iter().position(|reply| wanted(reply.xid())) {
                return unclaimed.remove(found);
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            unclaimed = self.replies.arrived.wait_timeout(unclaimed, left).unwrap().0;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        // An empty datagram tells the reader to end. A full socket loses it.
        while !reader.is_finished() {
            let _ = self.socket.send_to(&[], self.address());
            thread::sleep(Duration::from_millis(1));
        }
        let _ = reader.join(); // A panic there has been printed.
    }
}

impl Replies {
    fn read(&self, socket: &UdpSocket) {
        let mut buffer = [0; 0x10000];
        loop {
            let length = socket.recv(&mut buffer).expect("a datagram received on loopback");
            if length == 0 {
                return;
            }
            let reply = Reply::new(buffer[..length].to_vec());
            self.unclaimed.lock().unwrap().push_back(reply);
            self.arrived.notify_all();
        }
    }
}

/// One client: a hardware address, the id of the present transaction, and the options that each
/// query carries.
pub struct Client {
    relay: Arc<Relay>,
    number: u32,
    xid: AtomicU32,
    options: Vec<(u8, Vec<u8>)>,
}

impl Client {
    /// A client with a hardware address that no other client has.
    pub fn new(relay: Arc<Relay>) -> Client {
        static CLIENTS: AtomicU32 = AtomicU32::new(1);
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Client { relay, number, xid: AtomicU32::new(new_xid()), options: Vec::new() }
    }

    /// Another client of the same hardware address, without options.
    pub fn twin(&self) -> Client {
        Client { number: self.number, ..Client::new(Arc::clone(&self.relay)) }
    }

    /// The same client, whose queries carry one more option.
    pub fn with(mut self, code: u8, value: impl AsRef<[u8]>) -> Client {
        self.options.push((code, value.as_ref().to_vec()));
        self
    }

    /// The same client in the same transaction, whose queries leave one option out.
    pub fn without(&self, code: u8) -> Client {
        let options = self.options.iter().filter(|(other, _)| *other != code).cloned().collect();
        Client { relay: Arc::clone(&self.relay), xid: AtomicU32::new(self.xid()), options, ..*self }
    }

    /// The hardware address as Kea's log writes it.
    pub fn hwaddr(&self) -> String {
        self.chaddr().map(|byte| format!("{byte:02x}")).join(":")
    }

    /// The id of the present transaction.
    pub fn xid(&self) -> u32 {
        self.xid.load(Ordering::SeqCst)
    }

    /// The present transaction as Kea's log writes it.
    pub fn tid(&self) -> String {
        format!("tid={:#x}", self.xid())
    }

    /// Begins an exchange in a new transaction, and waits for the reply.
    pub fn discover(&self) -> Reply {
        self.send_discover();
        self.reply("DISCOVER")
    }

    /// As [`Client::discover`], for a server that may lose the query, as during a reload: `None`
    /// when there is no reply within `patience`.
    pub fn discover_within(&self, patience: Duration) -> Option<Reply> {
        self.send_discover();
        self.reply_within(patience)
    }

    /// Sends a DISCOVER in a new transaction. [`Client::reply`] waits for the reply. Returns the
    /// time of sending.
    pub fn send_discover(&self) -> Instant {
        self.new_transaction();
        self.send_discover_again()
    }

    /// Begins an exchange in a new transaction with a DISCOVER that asks for this address, and waits
    /// for the reply.
    pub fn discover_address(&self, address: Ipv4Addr) -> Reply {
        self.send_discover_address(address);
        self.reply("DISCOVER")
    }

    /// As [`Client::discover_address`], without waiting for the reply.
    pub fn send_discover_address(&self, address: Ipv4Addr) {
        self.new_transaction();
        let wanted = (50, address.octets().to_vec());
        self.send(MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[wanted]);
    }

    /// The bytes of a DISCOVER through the relay agent.
    pub fn discover_on_the_wire(&self) -> Vec<u8> {
        self.query(Ipv4Addr::LOCALHOST, MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[])
    }

    /// Sends the same DISCOVER once more, as a client does that has had no reply, and waits for the
    /// reply.
    pub fn discover_again(&self) -> Reply {
        self.send_discover_again();
        self.reply("DISCOVER")
    }

    /// As [`Client::discover_again`], without waiting for the reply. Returns the time of sending.
    pub fn send_discover_again(&self) -> Instant {
        let sent = Instant::now();
        self.send(MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[]);
        sent
    }

    /// Asks for the address that `offer` offers (state SELECTING), and waits for the reply.
    pub fn request(&self, offer: &Reply) -> Reply {
        self.send_request(offer);
        self.reply("REQUEST")
    }

    /// As [`Client::request`], without waiting for the reply.
    pub fn send_request(&self, offer: &Reply) {
        let server = offer.option(54).expect("a server identifier in the OFFER");
        self.send(
            MessageType::Request,
            Ipv4Addr::UNSPECIFIED,
            &[(50, offer.address().octets().to_vec()), (54, server)],
        );
    }

    /// Asks for an address that the client claims to have had (state INIT-REBOOT), and waits for
    /// the reply.
    pub fn request_address(&self, address: Ipv4Addr) -> Reply {
        self.new_transaction();
        self.send(MessageType::Request, Ipv4Addr::UNSPECIFIED, &[(50, address.octets().to_vec())]);
        self.reply("REQUEST")
    }

    /// DISCOVER, OFFER, REQUEST, ACK. Returns the OFFER and the ACK.
    pub fn exchange(&self) -> [Reply; 2] {
        let offer = self.discover();
        assert_eq!(offer.kind(), MessageType::Offer);
        let ack = self.request(&offer);
        assert_eq!(ack.kind(), MessageType::Ack);
        [offer, ack]
    }

    /// Asks for options alone (INFORM). The client claims an address of loopback, to which the
    /// server sends the reply.
    pub fn inform(&self) -> Reply {
        self.new_transaction();
        self.send(MessageType::Inform, Ipv4Addr::LOCALHOST, &[]);
        self.reply("INFORM")
    }

    /// Renews the lease in a new transaction, through the relay agent (state REBINDING), without
    /// waiting for the reply.
    pub fn send_renewal(&self, ack: &Reply) {
        self.new_transaction();
        self.send(MessageType::Request, ack.address(), &[]);
    }

    /// As [`Client::send_renewal`], and waits for the reply.
    pub fn renew(&self, ack: &Reply) -> Reply {
        self.send_renewal(ack);
        self.reply("REQUEST")
    }

    /// Renews the lease (state RENEWING): asks the server itself, so that no relay agent adds
    /// option 82.
    pub fn renew_without_relay(&self, ack: &Reply) -> Reply {
        self.send_from(Ipv4Addr::UNSPECIFIED, MessageType::Request, ack.address(), &[]);
        self.reply("REQUEST")
    }

    /// As [`Client::renew_without_relay`], with an option 82 that the client itself has written.
    pub fn renew_with_own_relay_information(&self, ack: &Reply) -> Reply {
        self.new_transaction();
        self.relay.send(&self.query_with_own_relay_information(
            MessageType::Request,
            ack.address(),
            &[],
        ));
        self.reply("REQUEST")
    }

    /// Gives the lease back. There is no reply.
    pub fn release(&self, ack: &Reply) {
        let server = ack.option(54).expect("a server identifier in the ACK");
        self.send(MessageType::Release, ack.address(), &[(54, server)]);
    }

    /// Says that somebody else uses the address. There is no reply.
    pub fn decline(&self, ack: &Reply) {
        let server = ack.option(54).expect("a server identifier in the ACK");
        self.send(
            MessageType::Decline,
            Ipv4Addr::UNSPECIFIED,
            &[(50, ack.address().octets().to_vec()), (54, server)],
        );
    }

    /// Waits for the reply to the last query. `query` names the query in the panic message.
    pub fn reply(&self, query: &str) -> Reply {
        self.reply_within(PATIENCE).unwrap_or_else(|| panic!("no reply to {query} in {PATIENCE:?}"))
    }

    /// As [`Client::reply`], for a query that may have no reply: `None` when there is none within
    /// `patience`.
    pub fn reply_within(&self, patience: Duration) -> Option<Reply> {
        self.relay.receive(|xid| xid == self.xid(), patience)
    }

    /// Whether there is a reply that nobody has read.
    pub fn has_reply(&self) -> bool {
        self.relay.replies.unclaimed.lock().unwrap().iter().any(|reply| reply.xid() == self.xid())
    }

    pub(crate) fn new_transaction(&self) {
        self.xid.store(new_xid(), Ordering::SeqCst);
    }

    fn chaddr(&self) -> [u8; 6] {
        let [a, b, c, d] = self.number.to_be_bytes();
        [0x02, 0x0c, a, b, c, d]
    }

    fn send(&self, kind: MessageType, ciaddr: Ipv4Addr, more: &[(u8, Vec<u8>)]) {
        self.send_from(Ipv4Addr::LOCALHOST, kind, ciaddr, more);
    }

    /// Sends a query through the relay agent of this address. Without an address (0.0.0.0) there is
    /// no relay agent, and nobody adds option 82.
    fn send_from(
        &self,
        giaddr: Ipv4Addr,
        kind: MessageType,
        ciaddr: Ipv4Addr,
        more: &[(u8, Vec<u8>)],
    ) {
        self.relay.send(&self.query(giaddr, kind, ciaddr, more));
    }

    /// A query as it is on the wire.
    fn query(
        &self,
        giaddr: Ipv4Addr,
        kind: MessageType,
        ciaddr: Ipv4Addr,
        more: &[(u8, Vec<u8>)],
    ) -> Vec<u8> {
        let unset = Ipv4Addr::UNSPECIFIED;
        let mut query =
            v4::Message::new_with_id(self.xid(), ciaddr, unset, unset, giaddr, &self.chaddr());
        query.set_hops(u8::from(!giaddr.is_unspecified()));
        query.opts_mut().insert(DhcpOption::MessageType(kind));
        let mut wire = Vec::new();
        query.encode(&mut Encoder::new(&mut wire)).expect("a query that can be encoded");
        // Options are written by hand: dhcproto would sort the sub-options of option 82.
        assert_eq!(wire.pop(), Some(OptionCode::End.into()));
        let relayed = |code| code != 82 || !giaddr.is_unspecified();
        for (code, value) in self.options.iter().chain(more).filter(|(code, _)| relayed(*code)) {
            wire.extend([
                *code,
                u8::try_from(value.len()).expect("an option of at most 255 bytes"),
            ]);
            wire.extend(value);
        }
        wire.push(OptionCode::End.into());
        wire
    }

    /// A query that comes through no relay agent of DHCPv4, and has an option 82 all the same.
    pub(crate) fn query_with_own_relay_information(
        &self,
        kind: MessageType,
        ciaddr: Ipv4Addr,
        more: &[(u8, Vec<u8>)],
    ) -> Vec<u8> {
        // The address makes the client keep its option 82, and is taken out again.
        let mut wire = self.query(Ipv4Addr::LOCALHOST, kind, ciaddr, more);
        wire[GIADDR].fill(0);
        wire[HOPS] = 0;
        wire
    }
}

fn new_xid() -> u32 {
    static TRANSACTIONS: AtomicU32 = AtomicU32::new(1);
    TRANSACTIONS.fetch_add(1, Ordering::Relaxed)
}

/// What the server sent back, byte for byte.
#[derive(Clone)]
pub struct Reply {
    wire: Vec<u8>,
    /// When the relay agent received the reply.
    pub arrived: Instant,
}

/// Compares everything but the transaction id and the time of arrival.
impl PartialEq for Reply {
    fn eq(&self, other: &Reply) -> bool {
        let all = |reply: &Reply| [&reply.wire[..XID.start], &reply.wire[XID.end..]].concat();
        all(self) == all(other)
    }
}

impl Reply {
    /// A reply that has just arrived.
    pub(crate) fn new(wire: Vec<u8>) -> Reply {
        Reply { wire, arrived: Instant::now() }
    }

    /// The message type.
    pub fn kind(&self) -> MessageType {
        MessageType::from(self.option(53).expect("a message type")[0])
    }

    /// The address that is offered or leased (yiaddr).
    pub fn address(&self) -> Ipv4Addr {
        self.message().yiaddr()
    }

    /// The client's hardware address, of Ethernet.
    pub fn hardware_address(&self) -> [u8; 6] {
        self.wire[28..34].try_into().expect("six bytes")
    }

    /// How many bytes the whole message has.
    pub fn length(&self) -> usize {
        self.wire.len()
    }

    /// The header field siaddr.
    pub fn next_server(&self) -> [u8; 4] {
        self.message().siaddr().octets()
    }

    /// The header field sname, without its padding.
    pub fn server_hostname(&self) -> &[u8] {
        self.wire[44..108].split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The header field file, without its padding.
    pub fn boot_file_name(&self) -> &[u8] {
        self.wire[108..236].split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The value of an option; the parts of a split option (RFC 3396) are joined. Panics when the
    /// option is there twice: no test expects such a reply.
    pub fn option(&self, code: u8) -> Option<Vec<u8>> {
        let mut values = self.options().into_iter().filter(|(other, _)| *other == code);
        let value = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "option {code} is there twice in {self:?}");
        value
    }

    /// Option 224 as text. Most services of the tests set it.
    pub fn chain(&self) -> Option<String> {
        self.option(224).map(|value| String::from_utf8(value).expect("text in option 224"))
    }

    /// All options in their order. Neighbours of the same code are one split option (RFC 3396).
    pub fn options(&self) -> Vec<(u8, Vec<u8>)> {
        // Read one by one: dhcproto's map of options keeps only one option of each code.
        let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut rest = Decoder::new(&self.wire[OPTIONS..]);
        while let Ok(code) = rest.read_u8() {
            match OptionCode::from(code) {
                OptionCode::Pad => continue,
                OptionCode::End => break,
                _ => {}
            }
            let length = rest.read_u8().expect("an option's length");
            let value = rest.read_slice(length.into());
            let value = value.unwrap_or_else(|_| {
                panic!("an option cut short: {}", self.wire[OPTIONS..].escape_ascii())
            });
            match options.last_mut() {
                Some((last, whole)) if *last == code => whole.extend(value),
                _ => options.push((code, value.to_vec())),
            }
        }
        options
    }

    /// The id of the transaction.
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes(self.wire[XID].try_into().expect("four bytes"))
    }

    fn message(&self) -> v4::Message {
        v4::Message::from_bytes(&self.wire).expect("a DHCP message")
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = self.message();
        write!(f, "yiaddr={} siaddr={} options:", message.yiaddr(), message.siaddr())?;
        self.options()
            .iter()
            .try_for_each(|(code, value)| write!(f, " {code}=\"{}\"", value.escape_ascii()))
    }
}
