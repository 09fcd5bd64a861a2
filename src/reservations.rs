// SPDX-License-Identifier: MPL-2.0
//! Answer → reservation: the address and the host name that Kea gives a client.
//!
//! [`crate::packet_lookup`] holds a reservation for each packet whose answer has one, from the
//! moment at which the answer is there until Kea has finished the packet. Kea asks for it through
//! the library's host data source (shim/host_source.cc), as it asks its host databases: by subnet and
//! identifier of the client, or by address. Kea does the rest by its own rules.
//!
//! Reservations of Kea's own, in the configuration or in a host database, come first. Kea's order of
//! questions does not see to this alone: it asks all sources by one identifier before it asks the
//! first source by the next identifier. So the library asks Kea's own sources before it answers.
//!
//! Kea asks in packet threads, and without multi-threading in its main thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::callouts::ReservedHost;
use crate::ffi::{self, IdentifierKind, Packet};
use crate::instance;

/// The number under which Kea looks for reservations that hold in every subnet.
const GLOBAL: u32 = 0;

/// The code of the client identifier option (RFC 2132, section 9.14).
const CLIENT_IDENTIFIER: u8 = 61;
/// The code of the relay agent information option and of its sub-option circuit-id (RFC 3046).
const RELAY_AGENT_INFORMATION: u8 = 82;
const CIRCUIT_ID: u8 = 1;
/// A client identifier of this type has a DUID behind its IAID (RFC 4361, section 6.1): where the
/// DUID begins.
const DUID_TYPE: u8 = 255;
const DUID: usize = 5;

/// The identifier of nobody, for an address that is reserved for a client of which no packet is at
/// hand: no DHCPv4 packet has a hardware address of so many bytes (RFC 2131, section 2).
const NOBODY: [u8; 20] = [0; 20];

/// The reservations of the packets that Kea works on.
static HELD: Reservations = Reservations::new();

thread_local! {
    /// Whether this thread asks Kea's own sources, which must not include the library's.
    static ASKS_OTHERS: Cell<bool> = const { Cell::new(false) };
    /// The reservation that this thread has given Kea last, and by which identifier: that of the
    /// packet that the thread works on, if the packet has one.
    static GIVEN: RefCell<Option<Given>> = const { RefCell::new(None) };
    /// What this thread has given Kea, and Kea may have put into its cache of reservations.
    static CACHED: RefCell<Vec<(u32, Identifier)>> = const { RefCell::new(Vec::new()) };
}

/// An identifier of a client, as Kea compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identifier {
    kind: IdentifierKind,
    value: Box<[u8]>,
}

struct Given {
    reservation: Weak<Reservation>,
    identifier: Identifier,
}

/// What an answer reserves for the client of one packet.
struct Reservation {
    /// An address of one of `subnets`.
    address: Option<Ipv4Addr>,
    /// Empty where the answer has no host name.
    hostname: String,
    /// The packet's subnet, and the other subnets of its shared network.
    subnets: Vec<u32>,
    identifiers: Mutex<Vec<Identifier>>,
    /// Whether Kea finds it among global reservations, too. Not where Kea looks for these before the
    /// answer is there: it would find that of a packet that was parked, and not that of the client's
    /// next packet.
    is_global: bool,
    /// Decided when Kea asks for the reservation.
    standing: OnceLock<Standing>,
    /// Whether Kea has finished the packet, or a later packet of the client has come.
    ended: AtomicBool,
}

/// How a reservation stands to Kea's own reservations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is given to Kea.
    Given,
    /// It is given to Kea without its address, which Kea has reserved for another client.
    WithoutAddress,
    /// Kea has a reservation of its own for the client.
    Unused,
}

/// While it lives, this thread asks Kea's own sources.
struct AskingOthers;

impl AskingOthers {
    fn begin() -> Self {
        ASKS_OTHERS.set(true);
        AskingOthers
    }
}

impl Drop for AskingOthers {
    fn drop(&mut self) {
        ASKS_OTHERS.set(false);
    }
}

struct Reservations {
    /// How many are held. Most packets have no reservation, and must not wait for a lock.
    number: AtomicUsize,
    /// By the value of each identifier of their clients.
    by_value: Mutex<Option<ByValue>>,
}

type ByValue = HashMap<Box<[u8]>, Vec<Entry>>;

struct Entry {
    kind: IdentifierKind,
    reservation: Arc<Reservation>,
}

impl Reservations {
    const fn new() -> Self {
        Reservations { number: AtomicUsize::new(0), by_value: Mutex::new(None) }
    }

    fn is_empty(&self) -> bool {
        self.number.load(Ordering::Relaxed) == 0
    }

    fn by_value(&self) -> MutexGuard<'_, Option<ByValue>> {
        self.by_value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, identifier: Identifier, reservation: &Arc<Reservation>) {
        let entry = Entry { kind: identifier.kind, reservation: Arc::clone(reservation) };
        let mut by_value = self.by_value();
        by_value.get_or_insert_default().entry(identifier.value).or_default().push(entry);
    }

    fn remove(&self, identifier: &Identifier, reservation: &Arc<Reservation>) {
        let mut by_value = self.by_value();
        let Some(by_value) = by_value.as_mut() else { return };
        let Some(entries) = by_value.get_mut(&identifier.value) else { return };
        entries.retain(|entry| {
            entry.kind != identifier.kind || !Arc::ptr_eq(&entry.reservation, reservation)
        });
        if entries.is_empty() {
            by_value.remove(&identifier.value);
        }
    }

    /// The latest reservation that is held for a client of this identifier, in a network that is
    /// meant.
    fn find(
        &self,
        kind: IdentifierKind,
        value: &[u8],
        is_meant: impl Fn(&Reservation) -> bool,
    ) -> Option<Arc<Reservation>> {
        let by_value = self.by_value();
        let mut entries = by_value.as_ref()?.get(value)?.iter().rev();
        let found = entries.find(|entry| entry.kind == kind && is_meant(&entry.reservation))?;
        Some(Arc::clone(&found.reservation))
    }
}

/// A reservation for one packet. Kea finds it until it ends, or until this is dropped: Kea keeps a
/// packet, with all that belongs to it, until the packet's thread gets its next packet.
pub struct Held(Arc<Reservation>);

impl Held {
    /// Holds a reservation for the client of this query, in these subnets: the query's own and the
    /// other subnets of its shared network. The error is an exception of Kea's. Packet thread, or
    /// Kea's main thread for a query that is parked.
    pub fn new(
        query: &Packet,
        subnets: Vec<u32>,
        address: Option<Ipv4Addr>,
        hostname: Option<&str>,
    ) -> Result<Self, cxx::Exception> {
        forget_client(query, &subnets)?;
        let held = Held(Arc::new(Reservation {
            address,
            hostname: hostname.unwrap_or_default().to_owned(),
            subnets,
            identifiers: Mutex::default(),
            is_global: !ffi::looks_early_for_global_reservations()?,
            standing: OnceLock::new(),
            ended: AtomicBool::new(false),
        }));
        HELD.number.fetch_add(1, Ordering::Relaxed);
        held.identify(IdentifierKind::HardwareAddress, &hardware_address(query)?);
        let mut value = Vec::new();
        if query.read_option(CLIENT_IDENTIFIER, &mut value)? {
            held.identify(IdentifierKind::ClientId, &value);
            if value.first() == Some(&DUID_TYPE) {
                held.identify(IdentifierKind::Duid, value.get(DUID..).unwrap_or_default());
            }
        }
        value.clear();
        if query.read_sub_option(RELAY_AGENT_INFORMATION, CIRCUIT_ID, &mut value)? {
            held.identify(IdentifierKind::CircuitId, &value);
        }
        Ok(held)
    }

    /// Adds an identifier of the client, unless it is empty. Packet thread.
    pub fn identify(&self, kind: IdentifierKind, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let identifier = Identifier { kind, value: value.into() };
        self.0.identifiers().push(identifier.clone());
        HELD.add(identifier, &self.0);
    }

    /// How the reservation stands to Kea's own. `None` where Kea has not asked for it.
    pub fn standing(&self) -> Option<Standing> {
        self.0.standing.get().copied()
    }
}

impl Held {
    /// Kea has finished the packet. Packet thread.
    pub fn end(&self) {
        end(&self.0);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends a reservation, once.
fn end(reservation: &Arc<Reservation>) {
    if !reservation.ended.swap(true, Ordering::Relaxed) {
        HELD.number.fetch_sub(1, Ordering::Relaxed);
        for identifier in reservation.identifiers().drain(..) {
            HELD.remove(&identifier, reservation);
        }
    }
}

/// The client's hardware address without its type, which Kea does not compare.
fn hardware_address(query: &Packet) -> Result<Vec<u8>, cxx::Exception> {
    let mut address = Vec::new();
    query.read_hardware_address(&mut address)?;
    Ok(address.split_off(address.len().min(1)))
}

/// A later packet of a client has come, in one of these subnets: ends the reservation that is held
/// for an earlier one. Kea may never have replied to it. The error is an exception of Kea's.
fn forget_client(query: &Packet, subnets: &[u32]) -> Result<(), cxx::Exception> {
    if HELD.is_empty() {
        return Ok(());
    }
    let hardware_address = hardware_address(query)?;
    let is_meant = |reservation: &Reservation| {
        subnets.iter().any(|subnet| reservation.subnets.contains(subnet))
    };
    let find = || HELD.find(IdentifierKind::HardwareAddress, &hardware_address, is_meant);
    while let Some(earlier) = find() {
        end(&earlier);
    }
    Ok(())
}

/// Whether no reservation is held. Any thread.
pub fn none_are_held() -> bool {
    HELD.is_empty()
}

/// Kea works on a packet that has no reservation, in this subnet. The error is an exception of Kea's.
/// Packet thread, or Kea's main thread for a query that is parked.
pub fn none_for(query: &Packet, subnet: u32) -> Result<(), cxx::Exception> {
    forget_client(query, &[subnet])
}

impl Reservation {
    fn identifiers(&self) -> MutexGuard<'_, Vec<Identifier>> {
        self.identifiers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the reservation stands to Kea's own reservations, for which this asks once. An exception
    /// of Kea's counts as a reservation of Kea's own: Kea meets the same exception itself.
    fn decide(&self) -> Standing {
        *self.standing.get_or_init(|| {
            let _asking = AskingOthers::begin();
            self.compare().unwrap_or(Standing::Unused)
        })
    }

    fn compare(&self) -> Result<Standing, cxx::Exception> {
        let mut kinds = Vec::new();
        ffi::read_identifier_kinds(&mut kinds)?;
        let mut places = self.subnets.clone();
        for subnet in &self.subnets {
            if ffi::uses_global_reservations(*subnet)? {
                places.push(GLOBAL);
                break;
            }
        }
        let identifiers = self.identifiers().clone();
        for Identifier { kind, value } in identifiers.iter().filter(|one| kinds.contains(&one.kind))
        {
            for place in &places {
                if ffi::is_reserved_for(*place, *kind, value)? {
                    return Ok(Standing::Unused);
                }
            }
        }
        if let Some(address) = self.address {
            for place in &places {
                let is_here = *place == GLOBAL || ffi::subnet_has(*place, address.to_bits())?;
                if is_here && ffi::is_reserved(*place, address.to_bits())? {
                    return Ok(Standing::WithoutAddress);
                }
            }
        }
        Ok(Standing::Given)
    }

    /// What Kea gets where it asks in this subnet. `None` where there is nothing for this subnet.
    fn host(&self, subnet: u32, identifier: &Identifier) -> Option<ReservedHost> {
        let standing = self.decide();
        let address = self.address.filter(|address| {
            // Kea itself sees to it that a global address fits the subnet.
            standing == Standing::Given
                && (subnet == GLOBAL || ffi::subnet_has(subnet, address.to_bits()).unwrap_or(false))
        });
        let is_something = address.is_some() || !self.hostname.is_empty();
        (standing != Standing::Unused && is_something).then(|| ReservedHost {
            subnet,
            kind: identifier.kind,
            identifier: identifier.value.to_vec(),
            address: address.map_or(0, Ipv4Addr::to_bits),
            hostname: self.hostname.clone(),
        })
    }
}

/// The numbers of a subnet and of the other subnets of its shared network. The error is an exception
/// of Kea's. Packet thread, or Kea's main thread.
pub fn network(subnet: u32) -> Result<Vec<u32>, cxx::Exception> {
    let mut subnets = Vec::new();
    ffi::read_network(subnet, &mut subnets)?;
    Ok(subnets)
}

/// Whether an address belongs to one of these subnets. The error is an exception of Kea's.
pub fn is_in(subnets: &[u32], address: Ipv4Addr) -> Result<bool, cxx::Exception> {
    for subnet in subnets {
        if ffi::subnet_has(*subnet, address.to_bits())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is reserved in this subnet for the client of this identifier.
pub fn of_client(subnet: u32, kind: IdentifierKind, value: &[u8]) -> Option<ReservedHost> {
    if HELD.is_empty() || ASKS_OTHERS.get() {
        return None;
    }
    let is_meant = |reservation: &Reservation| {
        (subnet == GLOBAL && reservation.is_global) || reservation.subnets.contains(&subnet)
    };
    let reservation = HELD.find(kind, value, is_meant)?;
    let identifier = Identifier { kind, value: value.into() };
    let host = reservation.host(subnet, &identifier)?;
    note_given(&reservation, identifier, &[subnet]);
    Some(host)
}

/// What is reserved for the client of this identifier, in each subnet of its network.
pub fn of_client_anywhere(kind: IdentifierKind, value: &[u8]) -> Vec<ReservedHost> {
    if HELD.is_empty() || ASKS_OTHERS.get() {
        return Vec::new();
    }
    let Some(reservation) = HELD.find(kind, value, |_| true) else { return Vec::new() };
    let identifier = Identifier { kind, value: value.into() };
    let subnets = reservation.subnets.iter();
    let hosts: Vec<_> =
        subnets.filter_map(|subnet| reservation.host(*subnet, &identifier)).collect();
    if !hosts.is_empty() {
        // Kea puts nothing into its cache that it has found in this way.
        note_given(&reservation, identifier, &[]);
    }
    hosts
}

/// For whom an address is reserved: for the client whose packet this thread works on, or for nobody
/// that Kea knows, where a kept answer reserves it for another client.
pub fn of_address(subnet: u32, address: Ipv4Addr) -> Option<ReservedHost> {
    if ASKS_OTHERS.get() {
        return None;
    }
    let own = GIVEN.with_borrow(|given| {
        let Given { reservation, identifier } = given.as_ref()?;
        let reservation = reservation.upgrade()?;
        let is_its = reservation.address == Some(address)
            && !reservation.ended.load(Ordering::Relaxed)
            && reservation.standing.get() == Some(&Standing::Given);
        is_its.then(|| (reservation.hostname.clone(), identifier.clone()))
    });
    let (hostname, identifier) = match own {
        Some(own) => own,
        None => {
            instance::current()?.engine.request_of(address)?;
            if is_reserved_globally(subnet, address) {
                return None;
            }
            let nobody = Identifier { kind: IdentifierKind::HardwareAddress, value: NOBODY.into() };
            (String::new(), nobody)
        }
    };
    CACHED.with_borrow_mut(|cached| cached.push((subnet, identifier.clone())));
    let Identifier { kind, value } = identifier;
    let address = address.to_bits();
    Some(ReservedHost { subnet, kind, identifier: value.into_vec(), address, hostname })
}

/// Whether Kea's own sources reserve an address for a client in any subnet, where this counts in the
/// given one. Kea asks by address in the subnet alone, and may ask about this very client. An
/// exception of Kea's counts as no: the address is then nobody's, and safe.
fn is_reserved_globally(subnet: u32, address: Ipv4Addr) -> bool {
    let _asking = AskingOthers::begin();
    let reserved = ffi::uses_global_reservations(subnet)
        .and_then(|is_used| Ok(is_used && ffi::is_reserved(GLOBAL, address.to_bits())?));
    reserved.unwrap_or(false)
}

/// Remembers what this thread gives Kea. `cached` are the subnets in which Kea may put it into its
/// cache.
fn note_given(reservation: &Arc<Reservation>, identifier: Identifier, cached: &[u32]) {
    CACHED.with_borrow_mut(|all| {
        all.extend(cached.iter().map(|subnet| (*subnet, identifier.clone())));
    });
    let reservation = Arc::downgrade(reservation);
    GIVEN.set(Some(Given { reservation, identifier }));
}

/// Takes what this thread has given Kea out of Kea's cache of reservations (libdhcp_host_cache): the
/// next answer may say something else, and the cache forgets nothing by itself. Kea puts it there
/// after the library has given it, so this runs at the next callout of the thread. Packet thread.
pub fn forget_cached() {
    let cached = CACHED.with_borrow_mut(std::mem::take);
    for (subnet, Identifier { kind, value }) in cached {
        // Kea's log is no place for a cache that cannot forget: the client's next answer is given
        // to Kea in any case.
        let _ = ffi::forget_cached(subnet, kind, &value);
    }
}
