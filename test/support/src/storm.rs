// SPDX-License-Identifier: MPL-2.0
//! A storm: many machines that power on within a second. A machine that gets no reply asks again as
//! RFC 2131 says.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;

use crate::PATIENCE;
use crate::dhcp::{Client, Reply, port};
use crate::kea::Kea;

/// How a storm went.
#[derive(Default)]
pub struct Storm {
    /// From the first DISCOVER to a machine's ACK, for each machine that got its own answer in OFFER
    /// and ACK, in the order of the ACKs.
    pub bound: Vec<Duration>,
    /// The address in each machine's ACK, by the machine's number; `None` without an ACK.
    pub addresses: Vec<Option<Ipv4Addr>>,
    /// One line for each machine that got no ACK, or not its own answer in OFFER and ACK.
    pub failures: Vec<String>,
    /// How many DISCOVERs the machines sent.
    pub discovers: usize,
    /// How many REQUESTs the machines sent.
    pub requests: usize,
}

/// One machine that boots.
struct Machine {
    client: Client,
    /// When the machine sends its next packet, unless a reply comes before.
    next: Instant,
    /// How many packets the machine has sent since it got its last reply.
    tries: u32,
    offer: Option<Reply>,
    ack: Option<Reply>,
}

impl Machine {
    /// Sends a packet, and plans the next one: after 4, 8, 16, 32, 64 seconds, each a second more
    /// or less (RFC 2131, section 4.1).
    fn send(&mut self, storm: &mut Storm) {
        match &self.offer {
            None => {
                self.client.send_discover_again();
                storm.discovers += 1;
            }
            Some(offer) => {
                self.client.send_request(offer);
                storm.requests += 1;
            }
        }
        // The same in each run for the same transactions: a run that failed can be repeated.
        let mut chance = DefaultHasher::new();
        (self.client.xid(), self.tries).hash(&mut chance);
        let pause = (4000 << self.tries.min(4)) - 1000 + chance.finish() % 2001;
        self.next = Instant::now() + Duration::from_millis(pause);
        self.tries += 1;
    }
}

/// Powers on machines, evenly over a second, and waits until all are bound, at most three times
/// [`PATIENCE`]. Each machine is a new client behind the [`port`] of its number. `answer` tells what
/// its option 224 must be.
pub fn power_on(kea: &Kea, machines: u32, answer: impl Fn(u32) -> Option<String>) -> Storm {
    let mut storm = Storm::default();
    let clients: Vec<_> = (0..machines).map(|number| kea.client().with(82, port(number))).collect();
    let begin = Instant::now();
    let turns = (0..machines).map(|number| begin + Duration::from_secs(1) * number / machines);
    let mut all: Vec<_> = clients
        .into_iter()
        .zip(turns)
        .map(|(client, next)| Machine { client, next, tries: 0, offer: None, ack: None })
        .collect();
    let by_xid: HashMap<_, _> =
        all.iter().enumerate().map(|(index, machine)| (machine.client.xid(), index)).collect();
    // Who sends when. An entry whose time is not the machine's `next` is out of date.
    let mut plan: BinaryHeap<_> =
        all.iter().enumerate().map(|(index, machine)| Reverse((machine.next, index))).collect();
    let mut waiting = all.len();
    while waiting > 0 && begin.elapsed() < 3 * PATIENCE {
        let Some(&Reverse((time, index))) = plan.peek() else { break };
        let patience = time.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            plan.pop();
            let machine = &mut all[index];
            if machine.ack.is_none() && machine.next == time {
                machine.send(&mut storm);
                plan.push(Reverse((machine.next, index)));
            }
            continue;
        }
        let Some(reply) = kea.relay().receive(|xid| by_xid.contains_key(&xid), patience) else {
            continue;
        };
        let index = by_xid[&reply.xid()];
        let machine = &mut all[index];
        match (reply.kind(), &machine.offer) {
            (MessageType::Offer, None) => machine.offer = Some(reply),
            // The machine begins again (RFC 2131, section 3.1).
            (MessageType::Nak, Some(_)) if machine.ack.is_none() => machine.offer = None,
            (MessageType::Ack, Some(_)) if machine.ack.is_none() => {
                waiting -= 1;
                machine.ack = Some(reply);
                continue;
            }
            // Another reply to a packet that was sent twice.
            _ => continue,
        }
        machine.tries = 0;
        machine.send(&mut storm);
        plan.push(Reverse((machine.next, index)));
    }
    storm.addresses = all.iter().map(|machine| machine.ack.as_ref().map(Reply::address)).collect();
    for (number, Machine { offer, ack, .. }) in (0..).zip(&all) {
        let own = answer(number);
        let wrong = |kind: &str, reply: &Option<Reply>| match reply {
            None => Some(format!("no {kind}")),
            Some(reply) if reply.chain() == own => None,
            Some(reply) => Some(format!("{kind} with {:?}, not {own:?}", reply.chain())),
        };
        match wrong("OFFER", offer).or_else(|| wrong("ACK", ack)) {
            Some(what) => storm.failures.push(format!("machine {number}: {what}")),
            None => storm.bound.extend(ack.as_ref().map(|ack| ack.arrived - begin)),
        }
    }
    storm.bound.sort_unstable();
    storm
}
