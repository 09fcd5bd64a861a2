// SPDX-License-Identifier: MPL-2.0
//! Places in the server's parking lot, and the packets that wait there for their answers.
//!
//! The Kea adapter parks packets in packet threads. It resumes them on the main thread or, where the
//! main thread allows it, on the thread that has the outcome. A client has one place, whatever it
//! sends: packets of one client that go on together run together in the server, and are offered
//! different addresses.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::cache::Transaction;
use crate::fetch::Fetch;
use crate::lookup::{LookupEngine, Outcome, Question};
use crate::request::Request;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};
use crate::work::{Queue, Wake, Work};

/// The limit where nobody says: Kea's default of `parked-packet-limit`.
pub(crate) const PARKED_PACKET_LIMIT: usize = 256;

/// A packet in the server's parking lot. Somebody must end its waiting once: [`Ending::end`], as work
/// of the main thread, or [`Parked::let_go`], on any thread.
pub trait Parked: Send + 'static {
    /// Has the server forget the packet: its client gets no reply. Any thread.
    fn let_go(self);
}

/// A packet's lookup, which ends the packet's waiting.
pub trait Ending<P>: Send + Sync + 'static {
    /// Has the server go on with the packet, or lets go of it, as the outcome says. Main thread, or
    /// a thread that does its work at once: see [`Queue::give`].
    fn end(&self, outcome: Outcome, packet: P);
}

/// Counts the packets that the library has parked. Any thread.
///
/// Above its `parked-packet-limit` Kea refuses every packet, looked up or not, so that clients lose
/// their leases. The library stays below that limit.
pub struct ParkingPlaces<P> {
    taken: Arc<AtomicUsize>,
    /// The limit of Kea's configuration.
    limit: AtomicUsize,
    /// The parked packet of each client, by the client's hardware address and identifier.
    clients: Mutex<HashMap<Arc<[u8]>, Client<P>>>,
}

/// A client that has a parked packet.
struct Client<P> {
    /// The transaction id of the parked packet.
    xid: u32,
    /// Whether the parked packet is a REQUEST.
    continues: bool,
    /// What its lookup asks.
    request: Arc<Request>,
    slot: Slot<P>,
}

/// Where a parked packet is kept until somebody ends its waiting: the outcome of its lookup, or the
/// client's next packet, whichever is first.
struct Slot<P>(Arc<Mutex<Option<P>>>);

impl<P> Clone for Slot<P> {
    fn clone(&self) -> Self {
        Slot(Arc::clone(&self.0))
    }
}

impl<P> Slot<P> {
    /// Whether somebody has ended the packet's waiting.
    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn take(&self) -> Option<P> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<P> Default for ParkingPlaces<P> {
    /// No place is taken, and the limit is Kea's default.
    fn default() -> Self {
        ParkingPlaces {
            taken: Arc::default(),
            limit: AtomicUsize::new(PARKED_PACKET_LIMIT),
            clients: Mutex::default(),
        }
    }
}

impl<P> ParkingPlaces<P> {
    /// Sets the limit to Kea's `parked-packet-limit`: 0 means no limit, a negative number Kea's
    /// default.
    pub fn set_limit(&self, parked_packet_limit: i64) {
        let limit = match usize::try_from(parked_packet_limit) {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(_) => PARKED_PACKET_LIMIT,
        };
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A place for one packet; `None` when all are taken. Kea has `packet_threads` threads (0: no
    /// multi-threading). Kea counts the packet that is at subnet4_select in each of them as parked,
    /// too.
    pub fn take(&self, packet_threads: usize) -> Option<Place> {
        let limit = self.limit.load(Ordering::Relaxed).saturating_sub(packet_threads.max(1));
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place { taken: Arc::clone(&self.taken), number: before + 1 };
        (before < limit).then_some(place)
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether this packet is parked already: it is a retransmission.
    pub fn has(&self, transaction: &Transaction) -> bool {
        self.clients().get(&transaction.client).is_some_and(|client| {
            (client.xid, client.continues) == (transaction.xid, transaction.continues)
        })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Client<P>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Parked> ParkingPlaces<P> {
    /// Lets go of the parked packet of a client that has sent another one, and has the engine forget
    /// it: else the end of the earlier lookup would be taken for the end of this exchange. False
    /// where the client has no parked packet. Packet thread.
    pub fn supersede<F: Fetch>(&self, engine: &LookupEngine<F>, client: &Arc<[u8]>) -> bool {
        let Some(earlier) = self.clients().remove(client) else { return false };
        let Some(packet) = earlier.slot.take() else { return false };
        packet.let_go();
        engine.forget(&earlier.request, client);
        true
    }

    /// Keeps a parked packet until the engine has its outcome, with which `lookup` ends the packet's
    /// waiting: as work of the main thread, or (`at_once`) in the thread that has the outcome, where
    /// the main thread allows it. Packet thread.
    pub fn wait<F: Fetch, W: Wake>(
        self: &Arc<Self>,
        engine: &LookupEngine<F>,
        question: Question,
        packet: P,
        lookup: Arc<impl Ending<P>>,
        main_thread: &Arc<Queue<W>>,
        at_once: bool,
    ) {
        let slot = self.keep(&question, packet);
        let client = Arc::clone(&question.transaction.client);
        let waiting = Waiting { places: Arc::clone(self), slot, client, lookup };
        let main_thread = Arc::clone(main_thread);
        engine.wait(
            question,
            Box::new(move |outcome| waiting.deliver(outcome, &main_thread, at_once)),
        );
    }

    /// Keeps a parked packet until [`ParkingPlaces::take_out`].
    fn keep(&self, question: &Question, packet: P) -> Slot<P> {
        let slot = Slot(Arc::new(Mutex::new(Some(packet))));
        let Transaction { client, xid, continues } = question.transaction.clone();
        let (request, kept) = (Arc::clone(&question.request), slot.clone());
        let earlier = self.clients().insert(client, Client { xid, continues, request, slot: kept });
        if let Some(packet) = earlier.and_then(|earlier| earlier.slot.take()) {
            packet.let_go();
        }
        slot
    }

    /// Takes a client's parked packet out of its slot. `None` where the client's next packet has
    /// taken its place. Any thread.
    fn take_out(&self, client: &[u8], slot: &Slot<P>) -> Option<P> {
        let mut clients = self.clients();
        if clients.get(client).is_some_and(|kept| Arc::ptr_eq(&kept.slot.0, &slot.0)) {
            clients.remove(client);
        }
        drop(clients);
        slot.take()
    }
}

/// One taken place. Dropped, it is free again.
pub struct Place {
    taken: Arc<AtomicUsize>,
    /// How many places were taken with this one.
    number: usize,
}

impl Place {
    /// How many places were taken with this one.
    pub fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A packet that waits, as its lookup knows it.
struct Waiting<P: Parked, L: Ending<P>> {
    places: Arc<ParkingPlaces<P>>,
    slot: Slot<P>,
    client: Arc<[u8]>,
    lookup: Arc<L>,
}

impl<P: Parked, L: Ending<P>> Waiting<P, L> {
    /// Takes the outcome from the engine. Called in any thread.
    fn deliver<W: Wake>(self, outcome: Outcome, main_thread: &Queue<W>, at_once: bool) {
        match outcome {
            Outcome::LetGo => self.let_go(),
            // The client's next packet has taken the place: there is nothing to do.
            _ if self.slot.is_empty() => {}
            outcome => main_thread.give(Box::new(Settled { waiting: self, outcome }), at_once),
        }
    }

    /// The packet. `None` where the client's next packet has taken its place.
    fn take(&self) -> Option<P> {
        self.places.take_out(&self.client, &self.slot)
    }

    fn let_go(&self) {
        if let Some(packet) = self.take() {
            packet.let_go();
        }
    }
}

/// However the lookup ends, by a bug too, no packet stays in the parking lot.
impl<P: Parked, L: Ending<P>> Drop for Waiting<P, L> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A parked packet whose lookup has an outcome.
struct Settled<P: Parked, L: Ending<P>> {
    waiting: Waiting<P, L>,
    outcome: Outcome,
}

impl<P: Parked, L: Ending<P>> Work for Settled<P, L> {
    fn run(self: Box<Self>) {
        let Settled { waiting, outcome } = *self;
        if let Some(packet) = waiting.take() {
            waiting.lookup.end(outcome, packet);
        }
    }

    fn let_go(self: Box<Self>) {
        self.waiting.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many places as there are.
    fn take_all(places: &ParkingPlaces<()>, packet_threads: usize) -> Vec<Place> {
        std::iter::from_fn(|| places.take(packet_threads)).collect()
    }

    #[test]
    fn one_place_less_than_the_limit_for_each_packet_thread() {
        let places = ParkingPlaces::<()>::default();
        for (limit, packet_threads, expected) in
            [(10, 0, 9), (10, 1, 9), (10, 4, 6), (4, 4, 0), (1, 8, 0), (-1, 4, 252)]
        {
            places.set_limit(limit);
            assert_eq!(
                take_all(&places, packet_threads).len(),
                expected,
                "{limit} {packet_threads}"
            );
        }
    }

    #[test]
    fn a_limit_of_0_is_no_limit() {
        let places = ParkingPlaces::<()>::default();
        places.set_limit(0);
        let taken = (0..100_000).map_while(|_| places.take(4)).collect::<Vec<_>>();
        assert_eq!(taken.len(), 100_000);
    }

    #[test]
    fn a_place_that_is_given_back_can_be_taken_again() {
        let places = ParkingPlaces::<()>::default();
        places.set_limit(3);
        let mut taken = take_all(&places, 1);
        assert_eq!((taken.len(), places.taken()), (2, 2));
        taken.pop();
        assert_eq!(places.taken(), 1);
        assert!(places.take(1).is_some());
        drop(taken);
        assert_eq!(places.taken(), 0);
    }
}
