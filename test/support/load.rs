//! Clients that come at a fixed rate, whether the earlier ones have been served or not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;

use super::dhcp::{Client, Reply};
use super::kea::Kea;
use super::{PATIENCE, wait_until};

/// When a client that has had no reply asks again.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// DISCOVER, OFFER, REQUEST and ACK of one client.
pub struct Exchange {
    pub begun: Instant,
    pub offer: Reply,
    pub ack: Reply,
}

/// What the scope of [`during`] knows of the load.
#[derive(Default)]
pub struct Load {
    finished: AtomicUsize,
    stopped: AtomicBool,
}

impl Load {
    /// Waits until that many more exchanges have got their ACK.
    #[track_caller]
    pub fn wait_for_more(&self, more: usize) {
        let goal = self.finished.load(Ordering::SeqCst) + more;
        wait_until("exchanges under load", || self.finished.load(Ordering::SeqCst) >= goal);
    }
}

/// Has clients, made from their numbers, begin an exchange each, `rate` of them a second, as long as `scope` runs.
/// Every one is served in the end, or it panics: lost packets are sent again, as clients do.
pub fn during(
    kea: &Kea,
    rate: u32,
    client: impl Fn(u32) -> Client + Send,
    scope: impl FnOnce(&Load),
) -> Vec<Exchange> {
    let load = Load::default();
    thread::scope(|threads| {
        let driver = threads.spawn(|| drive(kea, rate, client, &load));
        // Also when `scope` panics.
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
    let start = Instant::now();
    let mut begun = 0;
    let mut running: HashMap<u32, Running> = HashMap::new();
    let mut finished = Vec::new();
    let mut next_tick = start + TICK;
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && load.stopped.load(Ordering::SeqCst) {
            end = Some(now + PATIENCE);
        }
        if end.is_none() {
            while start + interval * begun <= now {
                let client = client(begun);
                let sent = client.send_discover();
                running.insert(client.xid(), Running { client, begun: sent, sent, offer: None });
                begun += 1;
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

        let wake = if end.is_none() { next_tick.min(start + interval * begun) } else { next_tick };
        let patience = wake.saturating_duration_since(Instant::now());
        let Some(reply) = kea.relay().receive(|xid| running.contains_key(&xid), patience) else { continue };
        let xid = reply.xid();
        let one = running.get_mut(&xid).expect("the client of a reply that was wanted");
        match (reply.kind(), one.offer.take()) {
            (MessageType::Offer, None) => {
                one.offer = Some(reply);
                one.send_again();
            }
            (MessageType::Ack, Some(offer)) => {
                finished.push(Exchange { begun: one.begun, offer, ack: reply });
                running.remove(&xid);
                load.finished.fetch_add(1, Ordering::SeqCst);
            }
            // The reply to a query that was sent twice.
            (MessageType::Offer, offer) => one.offer = offer,
            // A reload has forgotten the offer, and another client got the address: it begins again.
            (MessageType::Nak, _) => one.send_again(),
            (kind, _) => panic!("{kind:?} under load"),
        }
    }
}
