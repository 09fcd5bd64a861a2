// SPDX-License-Identifier: MPL-2.0
//! The load, and the judge of every reply: machines that boot and renew, one that floods, and bad
//! input of every shape. Each packet is counted under what became of it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::packets::{self, DISCOVER, INFORM, Query, REQUEST, Shape, option};
use crate::shared::Shared;
use remote_opts_test_support::dhcp::{Relay, Reply, port};
use remote_opts_test_support::service::about;

/// How many machines there are. They are the same for the whole soak, so that leases and kept
/// answers do not grow.
pub const MACHINES: u32 = 1500;

/// The machines that flood. Their numbers follow those of the others.
const FLOODERS: u32 = 10;

/// How many packets a flood has.
const FLOOD: u32 = 30;

/// The numbers of the clients of bad input begin here.
const BAD_CLIENTS: u32 = 100_000;

/// How many clients send each shape of bad input.
const CLIENTS_PER_SHAPE: u32 = 2;

/// A packet without a reply after this time has none. A busy machine needs far less.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long an OFFER is under way to its machine, at the most.
const OFFERED: Duration = Duration::from_millis(200);

/// The pool, and the addresses that the service gives.
pub const POOL: &str = "10.77.1.0-10.77.190.255";
const OWN_ADDRESSES: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 0);

/// The address that the service gives to the client of this number. Machines of an even number have
/// one.
pub fn own_address(number: u32) -> Option<Ipv4Addr> {
    let has_one = number % 2 == 0 && number < MACHINES;
    has_one.then(|| (u32::from(OWN_ADDRESSES) + number).into())
}

/// The answer about the client of this request. `by` says who made it, and when: no two answers are
/// equal.
pub fn answer(target: &str, by: &str) -> Value {
    let short: String = target.chars().take(60).collect();
    let mut answer = json!({"options": {"224": format!("{short} {by}")}});
    let number = target.split_once("sub82_1=").filter(|(_, digits)| digits.len() == 8);
    let number = number.and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok());
    if number.is_some_and(|number| number < MACHINES) {
        // It makes the file of kept answers longer than that of leases will ever be.
        answer["options"]["225"] = json!("f".repeat(600));
    }
    if let Some(address) = number.and_then(own_address) {
        answer["ip-address"] = json!(address);
    }
    answer
}

/// What a machine waits for.
#[derive(Clone, Debug, PartialEq)]
enum Doing {
    Nothing,
    Discovering,
    /// It has sent a REQUEST for the OFFER of this address and option 224.
    Requesting(Ipv4Addr, Option<String>),
    /// It has sent a REQUEST for its lease, with option 82 or without it.
    Renewing {
        named: bool,
    },
}

struct Machine {
    number: u32,
    xid: u32,
    doing: Doing,
    sent: Instant,
    wire: Vec<u8>,
    /// When the machine began the exchange that showed that its answer is kept.
    known_since: Option<Instant>,
    lease: Option<Ipv4Addr>,
    turns: u32,
}

/// A packet that is no machine's: a flood, or bad input.
#[derive(Clone, Copy)]
enum Stray {
    /// Bad input: the index of its shape.
    Bad(usize),
    Flood,
}

/// A packet without a reply, which Kea alone would have answered, had the packet reached it.
pub struct Missing {
    pub sent: Instant,
    /// Whether the library must have had the answer of its client.
    pub is_known: bool,
    /// The packet.
    pub what: String,
}

/// What became of the packets.
#[derive(Default)]
pub struct Counts {
    pub sent: usize,
    /// Packets of floods among them.
    pub flooded: usize,
    /// Datagrams that are no DHCP. Nobody answers them.
    pub garbage: usize,
    /// Replies by what they are.
    pub answered: BTreeMap<&'static str, usize>,
    /// Packets without a reply, by cause.
    pub unanswered: BTreeMap<&'static str, usize>,
    /// Replies to a packet that was taken for unanswered.
    pub late: usize,
    /// Times at which no new packet was sent, because too many had no reply yet.
    pub held: usize,
}

pub struct Load<'a> {
    shared: &'a Shared,
    relay: Arc<Relay>,
    machines: Vec<Machine>,
    /// The machine of each transaction under way.
    transactions: HashMap<u32, usize>,
    strays: HashMap<u32, (Stray, u32, Instant, Vec<u8>)>,
    /// When which transaction must have its reply.
    deadlines: VecDeque<(Instant, u32)>,
    shapes: Vec<Shape>,
    /// With more packets without a reply than this, and than those of two seconds, no new one is sent.
    pub most_waiting: usize,
    /// Whether Kea alone answers each shape.
    pub answers_alone: Vec<bool>,
    next_xid: u32,
    next_machine: usize,
    next_shape: usize,
    next_flooder: u32,
    waiting: usize,
    /// The transactions that were given up. Their replies may still come.
    given_up: HashSet<u32>,
    /// The packets that count as [`MISSING`].
    pub missing: Vec<Missing>,
    pub counts: Counts,
}

impl<'a> Load<'a> {
    pub fn new(shared: &'a Shared, relay: &Arc<Relay>) -> Load<'a> {
        let now = Instant::now();
        let machine = |number| Machine {
            number,
            xid: 0,
            doing: Doing::Nothing,
            sent: now,
            wire: Vec::new(),
            known_since: None,
            lease: None,
            turns: number,
        };
        let shapes = packets::shapes();
        Load {
            shared,
            relay: Arc::clone(relay),
            machines: (0..MACHINES).map(machine).collect(),
            transactions: HashMap::new(),
            strays: HashMap::new(),
            deadlines: VecDeque::new(),
            most_waiting: 200,
            answers_alone: vec![true; shapes.len()],
            shapes,
            next_xid: 1,
            next_machine: 0,
            next_shape: 0,
            next_flooder: 0,
            waiting: 0,
            given_up: HashSet::new(),
            missing: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Sends all shapes of bad input to a Kea without the hook, and notes which of them it answers.
    pub fn ask_kea_alone(&mut self) {
        for round in 0..2 {
            let mut by_xid = HashMap::new();
            for index in 0..self.shapes.len() {
                let number = BAD_CLIENTS + index as u32 * CLIENTS_PER_SHAPE;
                let (xid, wire) = self.bad_query(index, number);
                by_xid.insert(xid, index);
                self.relay.send(&wire);
            }
            if round == 0 {
                self.answers_alone.fill(false);
            }
            while let Some(reply) =
                self.relay.receive(|xid| by_xid.contains_key(&xid), Duration::from_secs(2))
            {
                self.answers_alone[by_xid[&reply.xid()]] = true;
            }
        }
    }

    fn new_xid(&mut self) -> u32 {
        self.next_xid += 1;
        self.next_xid
    }

    fn bad_query(&mut self, index: usize, client: u32) -> (u32, Vec<u8>) {
        let xid = self.new_xid();
        let Shape { kind, giaddr, ciaddr, options, .. } = self.shapes[index];
        let options = options(client);
        (xid, Query { kind, xid, client, giaddr, ciaddr, options }.wire())
    }

    /// How many packets wait for their replies.
    fn waiting(&self) -> usize {
        self.waiting + self.strays.len()
    }

    /// Sends and receives at full speed for this time: as many machines as `window` are under way
    /// at once. Returns how many exchanges and renewals there were in a second.
    pub fn measure(&mut self, time: Duration, window: usize) -> f64 {
        let (begin, before) = (Instant::now(), self.finished());
        while begin.elapsed() < time {
            while self.waiting < window && self.begin_next() {}
            self.receive(Duration::from_millis(2));
        }
        (self.finished() - before) as f64 / begin.elapsed().as_secs_f64()
    }

    fn finished(&self) -> usize {
        self.counts
            .answered
            .iter()
            .filter(|(what, _)| !what.contains("OFFER"))
            .map(|(_, n)| n)
            .sum()
    }

    /// Sends `rate` exchanges or renewals a second, and bad input and floods among them, until the
    /// soak is over.
    pub fn run(&mut self, rate: f64, mut each_second: impl FnMut(&Self)) {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let (mut next, mut second) = (Instant::now(), Instant::now());
        let mut begun = 0_u64;
        while !self.shared.is_over() {
            let now = Instant::now();
            if now - second >= Duration::from_secs(1) {
                second = now;
                each_second(self);
            }
            while next <= now {
                next += interval;
                // On a busy machine more packets would only wait.
                if self.waiting() > self.most_waiting.max((2.0 * rate) as usize) {
                    self.counts.held += 1;
                    continue;
                }
                begun += 1;
                self.begin_next();
                if begun % 4 == 0 {
                    self.send_bad();
                }
                if begun % 50 == 0 {
                    let bytes = packets::garbage();
                    self.relay.send(&bytes);
                    self.counts.garbage += 1;
                }
                if begun % 600 == 0 {
                    self.flood();
                }
            }
            self.receive(Duration::from_millis(2));
        }
        // What is under way.
        let end = Instant::now() + DEADLINE + Duration::from_secs(1);
        while self.waiting() > 0 && Instant::now() < end {
            self.receive(Duration::from_millis(50));
        }
    }

    /// Has each machine boot once more. Returns how many had no reply, or not their own answer, to
    /// their first packets: nothing is wrong any more with anything.
    pub fn boot_all(&mut self) -> usize {
        let before = self.shared.wrongs() + self.without_reply();
        let mut wanted: VecDeque<usize> = (0..self.machines.len()).collect();
        let mut missing = 0;
        // A batch without all of its replies takes long, and one of them is enough.
        while !wanted.is_empty()
            && missing == 0
            && self.without_reply() + self.shared.wrongs() == before
        {
            let some: Vec<_> = wanted.drain(..wanted.len().min(32)).collect();
            for index in &some {
                // What is kept is not to excuse anything: each machine has its answer now.
                self.machines[*index].known_since = Some(Instant::now());
                self.discover(*index);
            }
            let end = Instant::now() + DEADLINE;
            while self.waiting > 0 && Instant::now() < end {
                self.receive(Duration::from_millis(5));
            }
            missing += self.waiting;
            for index in some {
                if self.machines[index].doing != Doing::Nothing {
                    self.given_up.insert(self.machines[index].xid);
                    self.settle(index);
                }
            }
        }
        missing + self.shared.wrongs() + self.without_reply() - before
    }

    /// How many packets had no reply in time, floods apart.
    fn without_reply(&self) -> usize {
        self.counts.unanswered.values().sum()
    }

    /// Has the next machine that waits for nothing send a packet. Returns false where all wait.
    fn begin_next(&mut self) -> bool {
        for _ in 0..self.machines.len() {
            self.next_machine = (self.next_machine + 1) % self.machines.len();
            let index = self.next_machine;
            let machine = &mut self.machines[index];
            if machine.doing != Doing::Nothing {
                continue;
            }
            machine.turns += 1;
            match machine.turns % 4 {
                1 if machine.lease.is_some() => self.renew(index, true),
                2 if machine.lease.is_some() => self.renew(index, false),
                _ => self.discover(index),
            }
            return true;
        }
        false
    }

    fn discover(&mut self, index: usize) {
        let (xid, number) = (self.new_xid(), self.machines[index].number);
        let options = option(82, &port(number));
        self.send(index, xid, Doing::Discovering, DISCOVER, Ipv4Addr::UNSPECIFIED, options);
    }

    fn renew(&mut self, index: usize, named: bool) {
        let xid = self.new_xid();
        let Some(lease) = self.machines[index].lease else { return };
        let number = self.machines[index].number;
        let options = if named { option(82, &port(number)) } else { Vec::new() };
        self.send(index, xid, Doing::Renewing { named }, REQUEST, lease, options);
    }

    fn send(
        &mut self,
        index: usize,
        xid: u32,
        doing: Doing,
        kind: u8,
        ciaddr: Ipv4Addr,
        mut options: Vec<u8>,
    ) {
        // A reply may have this length.
        options.extend(option(57, &1500_u16.to_be_bytes()));
        let giaddr = Ipv4Addr::LOCALHOST;
        let machine = &mut self.machines[index];
        let client = machine.number;
        machine.wire = Query { kind, xid, client, giaddr, ciaddr, options }.wire();
        if machine.doing == Doing::Nothing {
            self.waiting += 1;
        }
        machine.doing = doing;
        if machine.xid != xid {
            self.transactions.remove(&machine.xid);
        }
        machine.xid = xid;
        self.transactions.insert(xid, index);
        machine.sent = Instant::now();
        self.relay.send(&machine.wire);
        self.deadlines.push_back((machine.sent + DEADLINE, xid));
        self.counts.sent += 1;
    }

    fn send_bad(&mut self) {
        self.next_shape += 1;
        let index = self.next_shape % self.shapes.len();
        let turn = (self.next_shape / self.shapes.len()) as u32 % CLIENTS_PER_SHAPE;
        let number = BAD_CLIENTS + index as u32 * CLIENTS_PER_SHAPE + turn;
        let (xid, wire) = self.bad_query(index, number);
        self.send_stray(xid, Stray::Bad(index), number, wire);
    }

    /// One client sends many DISCOVERs at once, each in a transaction of its own, or all in one.
    fn flood(&mut self) {
        self.next_flooder = (self.next_flooder + 1) % FLOODERS;
        let client = MACHINES + self.next_flooder;
        let is_one = fastrand::bool();
        let mut xid = self.new_xid();
        for _ in 0..FLOOD {
            if !is_one {
                xid = self.new_xid();
            }
            let giaddr = Ipv4Addr::LOCALHOST;
            let (kind, ciaddr) = (DISCOVER, Ipv4Addr::UNSPECIFIED);
            let options = option(82, &port(client));
            let wire = Query { kind, xid, client, giaddr, ciaddr, options }.wire();
            self.send_stray(xid, Stray::Flood, client, wire);
        }
        self.counts.flooded += FLOOD as usize;
        self.shared.count("flood of one client");
    }

    fn send_stray(&mut self, xid: u32, stray: Stray, client: u32, wire: Vec<u8>) {
        let now = Instant::now();
        self.relay.send(&wire);
        self.strays.insert(xid, (stray, client, now, wire));
        self.deadlines.push_back((now + DEADLINE, xid));
        self.counts.sent += 1;
    }

    /// Takes the replies that have arrived, waiting for the first at most this long.
    fn receive(&mut self, mut patience: Duration) {
        while let Some(reply) = self.relay.receive(|_| true, patience) {
            patience = Duration::ZERO;
            self.shared.replied();
            self.judge(&reply);
        }
        let now = Instant::now();
        while let Some((deadline, xid)) = self.deadlines.front().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_front();
            self.miss(xid, deadline - DEADLINE);
        }
    }

    fn answered(&mut self, what: &'static str) {
        *self.counts.answered.entry(what).or_default() += 1;
    }

    /// The machine waits for nothing any more.
    fn settle(&mut self, index: usize) {
        self.machines[index].doing = Doing::Nothing;
        self.transactions.remove(&self.machines[index].xid);
        self.waiting -= 1;
    }

    fn wrong(&self, index: usize, what: &str, reply: Option<&Reply>) {
        let machine = &self.machines[index];
        let waited = machine.sent.elapsed();
        self.shared.wrong(&format!(
            "machine {} {what}\n  it was {:?} for {waited:.1?}, with the lease {:?}, and with a kept \
             answer for {:.1?}\n  packet: {}\n  reply: {reply:?}",
            machine.number,
            machine.doing,
            machine.lease,
            machine.known_since.map(|since| since.elapsed()),
            hex(&machine.wire),
        ));
    }

    /// Whether the library must have the answer of this machine.
    fn is_known(&self, index: usize) -> bool {
        let machine = &self.machines[index];
        let since = machine.known_since;
        since.is_some_and(|since| !self.shared.may_be_forgotten(machine.number, since))
    }

    fn judge(&mut self, reply: &Reply) {
        let Some(&index) = self.transactions.get(&reply.xid()) else {
            return self.judge_stray(reply);
        };
        let (kind, chain, address) = (reply.kind(), reply.chain(), reply.address());
        let is_known = self.is_known(index);
        let Machine { number, doing, lease, sent, .. } = &self.machines[index];
        let (number, doing, lease, sent) = (*number, doing.clone(), *lease, *sent);
        let own = own_address(number);
        let is_own = chain.as_ref().is_some_and(|chain| is_about(chain, number));
        if chain.is_some() && !is_own {
            self.wrong(index, &format!("gets the answer {chain:?}"), Some(reply));
        }
        if reply.hardware_address() != packets::hardware_address(number) {
            self.wrong(index, "gets a reply to another hardware address", Some(reply));
        }
        let others = own_address_of(address).filter(|owner| *owner != number);
        if let Some(owner) = others {
            self.wrong(index, &format!("gets the address of machine {owner}"), Some(reply));
        }
        match (&doing, kind) {
            (Doing::Discovering, MessageType::Offer) => {
                if is_own && own.is_some_and(|own| own != address) {
                    self.wrong(index, "gets an OFFER of another address than its own", Some(reply));
                }
                if is_own {
                    // Before that the answer may have been forgotten.
                    let machine = &mut self.machines[index];
                    let is_later = machine.known_since.is_none() || !is_known;
                    if is_later {
                        machine.known_since = Some(sent);
                    }
                } else if is_known {
                    self.wrong(index, "gets an OFFER without its answer", Some(reply));
                }
                self.answered(if is_own { "OFFER, own answer" } else { "OFFER, as Kea alone" });
                let server = reply.option(54).unwrap_or_default();
                let mut options = [option(50, &address.octets()), option(54, &server)].concat();
                options.extend(option(82, &port(number)));
                let (xid, none) = (reply.xid(), Ipv4Addr::UNSPECIFIED);
                self.send(index, xid, Doing::Requesting(address, chain), REQUEST, none, options);
            }
            (Doing::Requesting(offered, offer), MessageType::Ack) => {
                if *offered != address {
                    self.wrong(index, "gets another address than its OFFER's", Some(reply));
                }
                if *offer != chain {
                    self.wrong(index, &format!("had {offer:?} in its OFFER"), Some(reply));
                }
                self.answered(if is_own { "ACK, own answer" } else { "ACK, as Kea alone" });
                self.take(index, reply);
            }
            (Doing::Renewing { named }, MessageType::Ack) => {
                // Without option 82 the address alone says whose answer it is.
                let has_answer = *named || own.is_some() && own == lease;
                if Some(address) != lease {
                    self.wrong(index, "gets another address than its lease", Some(reply));
                }
                if has_answer && is_known && !is_own {
                    self.wrong(index, "renews without its answer", Some(reply));
                }
                self.answered(match (named, is_own) {
                    (true, true) => "ACK of a renewal, own answer",
                    (true, false) => "ACK of a renewal, as Kea alone",
                    (false, true) => "ACK of a renewal without option 82, own answer",
                    (false, false) => "ACK of a renewal without option 82, as Kea alone",
                });
                self.take(index, reply);
            }
            (Doing::Requesting(offered, _), MessageType::Nak) => {
                // A reload forgets OFFERs, and another machine may have this one's address now. An
                // address of its own is a machine's as long as its answer is known.
                let is_forgotten = self.shared.reloaded(sent - OFFERED, Instant::now());
                let is_own = own == Some(*offered);
                if (is_own && is_known) || !(is_own || is_forgotten) {
                    self.wrong(index, "is refused what it was offered", Some(reply));
                }
                self.answered("NAK after a reload that forgot the OFFER");
                self.forget_lease(index);
            }
            (Doing::Renewing { .. }, MessageType::Nak) => {
                if own.is_none() || own == lease {
                    self.wrong(index, "is refused its lease", Some(reply));
                }
                self.answered("NAK: another address is its own now");
                self.forget_lease(index);
            }
            _ => self.wrong(index, "gets a second reply, or one of another kind", Some(reply)),
        }
    }

    /// The machine has the lease of this ACK.
    fn take(&mut self, index: usize, ack: &Reply) {
        let address = ack.address();
        let holder = self.machines.iter().position(|other| other.lease == Some(address));
        if let Some(holder) = holder.filter(|holder| *holder != index) {
            self.wrong(index, &format!("gets the address that machine {holder} has"), Some(ack));
        }
        self.machines[index].lease = Some(address);
        self.settle(index);
    }

    fn forget_lease(&mut self, index: usize) {
        self.machines[index].lease = None;
        self.settle(index);
    }

    fn judge_stray(&mut self, reply: &Reply) {
        let xid = reply.xid();
        let Some((stray, number, ..)) = self.strays.get(&xid) else {
            if self.given_up.contains(&xid) {
                self.counts.late += 1;
            } else {
                self.shared.wrong(&format!("a second reply in one transaction: {reply:?}"));
            }
            return;
        };
        let (stray, number) = (*stray, *number);
        let chain = reply.option(224).map(|chain| String::from_utf8_lossy(&chain).into_owned());
        // Whatever there is in option 82, it has the number of its client.
        if chain.as_ref().is_some_and(|chain| !chain.contains(&format!("{number:08X}"))) {
            let wire = hex(&self.strays[&xid].3);
            self.shared.wrong(&format!(
                "client {number} gets the answer {chain:?}\n  packet: {wire}\n  reply: {reply:?}"
            ));
        }
        match stray {
            Stray::Bad(index) if !self.answers_alone[index] => {
                self.shared.wrong(&format!(
                    "Kea answers {}, which it does not alone: {reply:?}",
                    self.shapes[index].name
                ));
            }
            Stray::Bad(_) if chain.is_some() => self.answered("bad input, own answer"),
            Stray::Bad(_) => self.answered("bad input, as Kea alone"),
            // There may be more replies in the same transaction.
            Stray::Flood => return self.answered("flood of one client"),
        }
        self.strays.remove(&xid);
    }

    /// The packet of this transaction, sent then, has no reply in time.
    fn miss(&mut self, xid: u32, sent: Instant) {
        if let Some((stray, _, sent, wire)) = self.strays.get(&xid) {
            self.given_up.insert(xid);
            let cause = match stray {
                // Counted at the end: many packets share one entry.
                Stray::Flood => return drop(self.strays.remove(&xid)),
                Stray::Bad(index) if !self.answers_alone[*index] => "Kea alone is silent, too",
                Stray::Bad(index) => {
                    let what = format!("{}: {}", self.shapes[*index].name, hex(wire));
                    self.missing.push(Missing { sent: *sent, is_known: false, what });
                    MISSING
                }
            };
            self.strays.remove(&xid);
            return *self.counts.unanswered.entry(cause).or_default() += 1;
        }
        let Some(&index) = self.transactions.get(&xid) else { return };
        let machine = &self.machines[index];
        if machine.sent != sent {
            return;
        }
        let is_own_lease = machine.lease.is_some() && machine.lease == own_address(machine.number);
        let is_refusable = matches!(machine.doing, Doing::Requesting(..) | Doing::Renewing { .. });
        let is_known = self.is_known(index);
        let cause = if !is_known && is_own_lease && is_refusable {
            "no refusal: the answer is not known"
        } else {
            let at = (sent - self.shared.start).as_secs_f64();
            let (number, doing) = (machine.number, &machine.doing);
            let wire = hex(&machine.wire);
            let what = format!("machine {number}, {doing:?}, sent at {at:.3} s: {wire}");
            self.missing.push(Missing { sent, is_known, what });
            MISSING
        };
        self.given_up.insert(xid);
        *self.counts.unanswered.entry(cause).or_default() += 1;
        // Kea may have given the machine another address, and not have told it.
        self.forget_lease(index);
    }
}

/// Packets that Kea alone would have answered, had they reached it, and that have no reply.
pub const MISSING: &str = "lost at a reload, or no place to wait";

/// Whether option 224 is an answer about this client.
fn is_about(chain: &str, number: u32) -> bool {
    chain.split_once(' ').is_some_and(|(target, _)| target == about(number))
}

/// The machine to which the service gives this address.
fn own_address_of(address: Ipv4Addr) -> Option<u32> {
    let number = u32::from(address).checked_sub(u32::from(OWN_ADDRESSES))?;
    own_address(number).map(|_| number)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The DISCOVER of a machine, for `remote-opts-lookup`.
pub fn discover_in_hex(number: u32) -> String {
    let (kind, options) =
        (if number % 5 == 0 { INFORM } else { DISCOVER }, option(82, &port(number)));
    let (giaddr, ciaddr) = (Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED);
    hex(&Query { kind, xid: 1, client: number, giaddr, ciaddr, options }.wire())
}
