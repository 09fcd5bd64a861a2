// SPDX-License-Identifier: MPL-2.0
//! Places in Kea's parking lot, and a packet that waits there for its answer.
//!
//! [`crate::packet_lookup`] parks packets in packet threads, and resumes them on Kea's main thread.
//! A client has one place, whatever it sends: packets of one client that go on together run
//! together in Kea, and are offered different addresses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cxx::UniquePtr;
use remote_opts_core::cache::Transaction;
use remote_opts_core::lookup::Question;
use remote_opts_core::request::Request;

use crate::ffi::{self, Callout, Packet, Parked};
use crate::log::REMOPTS_EXCEPTION;
use crate::statistics::PARKED_MOST;

/// Kea's default of `parked-packet-limit`.
const PARKED_PACKET_LIMIT: usize = 256;

/// Counts the packets that the library has parked. Any thread.
///
/// Above its `parked-packet-limit` Kea refuses every packet, looked up or not, so that clients lose
/// their leases. The library stays below that limit.
pub struct ParkingPlaces {
    taken: Arc<AtomicUsize>,
    /// The limit of Kea's configuration.
    limit: AtomicUsize,
    /// The parked packet of each client, by the client's hardware address and identifier.
    clients: Mutex<HashMap<Arc<[u8]>, Client>>,
}

/// A client that has a parked packet.
struct Client {
    /// The transaction id of the parked packet.
    xid: u32,
    /// Whether the parked packet is a REQUEST.
    continues: bool,
    /// What its lookup asks.
    request: Arc<Request>,
    slot: Slot,
}

/// Where a parked packet is kept until somebody ends its waiting: the outcome of its lookup, or the
/// client's next packet, whichever is first.
#[derive(Clone)]
pub struct Slot(Arc<Mutex<Option<ParkedPacket>>>);

impl Slot {
    /// Whether somebody has ended the packet's waiting.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn take(&self) -> Option<ParkedPacket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Default for ParkingPlaces {
    /// No place is taken, and the limit is Kea's default.
    fn default() -> Self {
        ParkingPlaces {
            taken: Arc::default(),
            limit: AtomicUsize::new(PARKED_PACKET_LIMIT),
            clients: Mutex::default(),
        }
    }
}

impl ParkingPlaces {
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
        let place = Place(Arc::clone(&self.taken));
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        if taken >= limit {
            return None;
        }
        PARKED_MOST.note(taken + 1);
        Some(place)
    }

    /// Whether this packet is parked already: it is a retransmission.
    pub fn has(&self, transaction: &Transaction) -> bool {
        self.clients().get(&transaction.client).is_some_and(|client| {
            (client.xid, client.continues) == (transaction.xid, transaction.continues)
        })
    }

    /// Keeps a parked packet until [`ParkingPlaces::take_out`]. Packet thread.
    pub fn keep(&self, question: &Question, packet: ParkedPacket) -> Slot {
        let slot = Slot(Arc::new(Mutex::new(Some(packet))));
        let Transaction { client, xid, continues } = question.transaction.clone();
        let (request, kept) = (Arc::clone(&question.request), slot.clone());
        let earlier = self.clients().insert(client, Client { xid, continues, request, slot: kept });
        if let Some(packet) = earlier.and_then(|earlier| earlier.slot.take()) {
            packet.let_go();
        }
        slot
    }

    /// Lets go of the parked packet of a client that has sent another one, and returns what its
    /// lookup asks. `None` where the client has no parked packet. Packet thread.
    pub fn let_go_of(&self, client: &[u8]) -> Option<Arc<Request>> {
        let earlier = self.clients().remove(client)?;
        earlier.slot.take()?.let_go();
        Some(earlier.request)
    }

    /// Takes a client's parked packet out of its slot. `None` where the client's next packet has
    /// taken its place. Any thread.
    pub fn take_out(&self, client: &[u8], slot: &Slot) -> Option<ParkedPacket> {
        let mut clients = self.clients();
        if clients.get(client).is_some_and(|kept| Arc::ptr_eq(&kept.slot.0, &slot.0)) {
            clients.remove(client);
        }
        drop(clients);
        slot.take()
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// One taken place. Dropped, it is free again.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A packet in Kea's parking lot. It must be ended by [`resume`](Self::resume), on Kea's main
/// thread, or by [`let_go`](Self::let_go), on any thread.
pub struct ParkedPacket {
    packet: UniquePtr<Parked>,
    place: Place,
}

impl ParkedPacket {
    /// Parks the packet of a callout at subnet4_select. The error is an exception of Kea's. Packet
    /// thread.
    pub fn park(callout: &Callout, query: &Packet, place: Place) -> Result<Self, cxx::Exception> {
        Ok(ParkedPacket { packet: ffi::park(callout, query)?, place })
    }

    /// The parked query. Main thread.
    pub fn query(&self) -> &Packet {
        self.packet.query()
    }

    /// Has Kea go on with the packet. Where Kea cannot, the failure is logged. Main thread.
    pub fn resume(mut self) {
        log_failure(self.packet.pin_mut().resume());
        // Not before: the packet has left the lot now. A place that is free too early lets Kea meet
        // its own limit, and then Kea goes on without a subnet.
        drop(self.place);
    }

    /// Has Kea forget the packet: its client gets no reply. Any thread.
    pub fn let_go(mut self) {
        log_failure(self.packet.pin_mut().let_go());
        drop(self.place);
    }
}

fn log_failure(result: Result<(), cxx::Exception>) {
    if let Err(exception) = result {
        REMOPTS_EXCEPTION.error([&"subnet4_select", &exception]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many places as there are.
    fn take_all(places: &ParkingPlaces, packet_threads: usize) -> Vec<Place> {
        std::iter::from_fn(|| places.take(packet_threads)).collect()
    }

    #[test]
    fn one_place_less_than_the_limit_for_each_packet_thread() {
        let places = ParkingPlaces::default();
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
        let places = ParkingPlaces::default();
        places.set_limit(0);
        let taken = (0..100_000).map_while(|_| places.take(4)).collect::<Vec<_>>();
        assert_eq!(taken.len(), 100_000);
    }

    #[test]
    fn a_place_that_is_given_back_can_be_taken_again() {
        let places = ParkingPlaces::default();
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
