// SPDX-License-Identifier: MPL-2.0
//! Load: clients that come at a fixed rate, whether earlier clients have been served or not. On a
//! busy machine, new clients wait while too many clients wait already.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;

use crate::dhcp::{Client, Reply};
use crate::kea::Kea;
use crate::{PATIENCE, wait_until};

/// How long a client waits for a reply before it sends the same query again.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// DISCOVER, OFFER, REQUEST and ACK of one client.
pub struct Exchange {
    /// When the client sent its first DISCOVER.
    pub begun: Instant,
    /// The OFFER that the client took.
    pub offer: Reply,
    /// The ACK.
    pub ack: Reply,
}

/// The load as the scope of [`during`] sees it.
#[derive(Default)]
pub struct Load {
    /// For each exchange that has its ACK: when the exchange was begun.
    finished: Mutex<Vec<Instant>>,
    stopped: AtomicBool,
}

impl Load {
    /// Waits until `more` exchanges that begin after this call have their ACK.
    #[track_caller]
    pub fn wait_for_more(&self, more: usize) {
        let now = Instant::now();
        let finished =
            || self.finished.lock().unwrap().iter().filter(|begun| **begun > now).count();
        wait_until("exchanges under load", || finished() >= more);
    }
}

/// Each test that makes load holds this lock for its whole time: the load of two tests at once
/// would be too much for a small machine.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed has released the lock too.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `rate` clients a second begin an exchange each, as long as `scope` runs. `client` makes each
/// client from its number. Returns the exchanges.
///
/// No new client comes while `rate` clients wait: their retransmissions would leave a busy machine
/// no time to serve anyone. A client sends a lost packet again. Panics unless every client is
/// served in the end.
pub fn during(
    kea: &Kea,
    rate: u32,
    client: impl Fn(u32) -> Client + Send,
    scope: impl FnOnce(&Load),
) -> Vec<Exchange> {
    let load = Load::default();
    thread::scope(|threads| {
        let driver = threads.spawn(|| drive(kea, rate, client, &load));
        // Stops the load also when `scope` panics.
        let stop = Stop(&load);
        scope(&load);
        drop(stop);
        driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Stop<'a>(&'a Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
    }
}

struct Running {
    client: Client,
    begun: Instant,
    sent: Instant,
    offer: Option<Reply>,
}

impl Running {
    fn send_again(&mut self) {
        match &self.offer {
            Some(offer) => self.client.send_request(offer),
            None => drop(self.client.send_discover_again()),
        }
        self.sent = Instant::now();
    }
}

fn drive(kea: &Kea, rate: u32, client: impl Fn(u32) -> Client, load: &Load) -> Vec<Exchange> {
    const TICK: Duration = Duration::from_millis(50);
    let interval = Duration::from_secs(1) / rate;
    let mut next = Instant::now();
    let mut begun = 0;
    let mut running: HashMap<u32, Running> = HashMap::new();
    let mut finished = Vec::new();
    let mut next_tick = next + TICK;
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && load.stopped.load(Ordering::SeqCst) {
            end = Some(now + PATIENCE);
        }
        if end.is_none() {
            while next <= now {
                next += interval;
                if running.len() < rate as usize {
                    let client = client(begun);
                    let sent = client.send_discover();
                    running
                        .insert(client.xid(), Running { client, begun: sent, sent, offer: None });
                    begun += 1;
                }
            }
        } else if running.is_empty() {
            return finished;
        }
        assert!(end.is_none_or(|end| now < end), "{} clients were never served", running.len());
        if now >= next_tick {
            next_tick = now + TICK;
            let overdue = |one: &&mut Running| one.sent.elapsed() > RETRANSMISSION;
            running.values_mut().filter(overdue).for_each(Running::send_again);
        }

        let wake = if end.is_none() { next_tick.min(next) } else { next_tick };
        let patience = wake.saturating_duration_since(Instant::now());
        let Some(reply) = kea.relay().receive(|xid| running.contains_key(&xid), patience) else {
            continue;
        };
        let xid = reply.xid();
        let one = running.get_mut(&xid).expect("the client of a reply that was wanted");
        match (reply.kind(), one.offer.take()) {
            (MessageType::Offer, None) => {
                one.offer = Some(reply);
                one.send_again();
            }
            (MessageType::Ack, Some(offer)) => {
                load.finished.lock().unwrap().push(one.begun);
                finished.push(Exchange { begun: one.begun, offer, ack: reply });
                running.remove(&xid);
            }
            // A second OFFER: the client had sent its query twice.
            (MessageType::Offer, offer) => one.offer = offer,
            // A reload has forgotten the offer, and another client got the address. The client
            // begins again.
            (MessageType::Nak, _) => one.send_again(),
            // The ACK of a REQUEST that the client sent before it began again.
            (MessageType::Ack, None) => {}
            (kind, _) => panic!("{kind:?} under load"),
        }
    }
}
