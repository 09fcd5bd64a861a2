// SPDX-License-Identifier: MPL-2.0
//! Places in Kea's parking lot, and a packet that waits there for its answer.
//!
//! [`crate::packet_lookup`] parks packets in packet threads, and ends their waiting on Kea's main
//! thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cxx::UniquePtr;

use crate::ffi::{self, Callout, Packet, Parked};
use crate::log::REMOPTS_EXCEPTION;

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
}

impl Default for ParkingPlaces {
    /// No place is taken, and the limit is Kea's default.
    fn default() -> Self {
        ParkingPlaces { taken: Arc::default(), limit: AtomicUsize::new(PARKED_PACKET_LIMIT) }
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
        (self.taken.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
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

/// A packet in Kea's parking lot. It must be ended by [`resume`](Self::resume) or
/// [`let_go`](Self::let_go), on Kea's main thread.
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

    /// Puts the query into a client class; false when the configuration has no such class. Main
    /// thread.
    pub fn add_class(&self, name: &str) -> Result<bool, cxx::Exception> {
        self.packet.add_class(name)
    }

    /// Has Kea go on with the packet. Where Kea cannot, the failure is logged. Main thread.
    pub fn resume(mut self) {
        // First: without multi-threading Kea goes on with the packet inside this call.
        drop(self.place);
        log_failure(self.packet.pin_mut().resume());
    }

    /// Has Kea forget the packet: its client gets no reply. Main thread.
    pub fn let_go(mut self) {
        drop(self.place);
        log_failure(self.packet.pin_mut().let_go());
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
