// SPDX-License-Identifier: MPL-2.0
//! A packet in Kea's parking lot, where it waits for its answer. Who ends the waiting is decided in
//! core.
//!
//! [`crate::packet_lookup`] parks packets in packet threads, and resumes them as work of Kea's main
//! thread: [`crate::main_thread`].

use cxx::UniquePtr;
use remote_opts_core::parking::{self, Place};

use crate::ffi::{self, Callout, Packet, Parked};
use crate::log::REMOPTS_EXCEPTION;
use crate::statistics::PARKED_MOST;

/// The places for the packets of one configuration.
pub type ParkingPlaces = parking::ParkingPlaces<ParkedPacket>;

/// A packet in Kea's parking lot. It must be ended by [`resume`](Self::resume), as work of Kea's main
/// thread, or by [`let_go`](parking::Parked::let_go), on any thread.
pub struct ParkedPacket {
    packet: UniquePtr<Parked>,
    place: Place,
}

impl ParkedPacket {
    /// Parks the packet of a callout at subnet4_select. The error is an exception of Kea's. Packet
    /// thread.
    pub fn park(callout: &Callout, query: &Packet, place: Place) -> Result<Self, cxx::Exception> {
        PARKED_MOST.note(place.number());
        Ok(ParkedPacket { packet: ffi::park(callout, query)?, place })
    }

    /// The parked query. As work of the main thread.
    pub fn query(&self) -> &Packet {
        self.packet.query()
    }

    /// Has Kea go on with the packet. Where Kea cannot, the failure is logged. As work of the main
    /// thread.
    pub fn resume(mut self) {
        log_failure(self.packet.pin_mut().resume());
        // Not before: the packet has left the lot now. A place that is free too early lets Kea meet
        // its own limit, and then Kea goes on without a subnet.
        drop(self.place);
    }
}

impl parking::Parked for ParkedPacket {
    fn let_go(mut self) {
        log_failure(self.packet.pin_mut().let_go());
        drop(self.place);
    }
}

fn log_failure(result: Result<(), cxx::Exception>) {
    if let Err(exception) = result {
        REMOPTS_EXCEPTION.error([&"subnet4_select", &exception]);
    }
}
