// SPDX-License-Identifier: MPL-2.0
//! Answer → reservation: the address and the host name that Kea gives a client.
//!
//! [`crate::packet_lookup`] holds a reservation for each packet whose answer has one, from the
//! moment at which the answer is there until Kea has finished the packet. Kea asks for it through
//! the library's host data source (shim/host_source.cc), as it asks its host databases: by subnet
//! and identifier of the client, or by address. Kea does the rest by its own rules.
//!
//! Reservations of Kea's own, in the configuration or in a host database, come first. Kea's order
//! of questions does not see to this alone: it asks all sources by one identifier before it asks
//! the first source by the next identifier. So the library asks Kea's own sources before it
//! answers.
//!
//! Kea asks in packet threads, and without multi-threading in its main thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use remote_opts_core::request::RELAY_AGENT_INFORMATION;

use crate::callouts::ReservedHost;
use crate::ffi::{self, IdentifierKind, Packet};
use crate::instance;
use crate::log::REMOPTS_EXCEPTION;
use crate::query::CLIENT_IDENTIFIER;

/// The number under which Kea looks for reservations that hold in every subnet.
const GLOBAL: u32 = 0;

/// The code of the sub-option circuit-id of option 82 (RFC 3046, section 3.1).
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
    /// The reservation that this thread has given Kea last, and by which identifier. Kea drops the
    /// packet before the thread gets its next one, and the reservation with it.
    static GIVEN: RefCell<Option<Given>> = const { RefCell::new(None) };
    /// The reservation of the packet for which this thread asks libraries for an identifier, if
    /// none has made one yet: the library flex_id may come after this one.
    static UNIDENTIFIED: RefCell<Option<Weak<Reservation>>> = const { RefCell::new(None) };
    /// The address that this thread's packet renews, where a kept answer reserves the address and
    /// has no client yet. Set until the thread's next pkt4_receive or pkt4_send.
    static LEFT_TO_KEA: Cell<Option<Ipv4Addr>> = const { Cell::new(None) };
    /// What this thread has given Kea, and Kea may have put into its cache of reservations.
    static CACHED: RefCell<Vec<(u32, Identifier)>> = const { RefCell::new(Vec::new()) };
}

/// The kinds of identifiers, the surest first: a circuit-id names a port, which two clients may
/// share, and ports of two switches may have the same one.
const SUREST_FIRST: [IdentifierKind; 5] = [
    IdentifierKind::HardwareAddress,
    IdentifierKind::ClientId,
    IdentifierKind::Duid,
    IdentifierKind::FlexId,
    IdentifierKind::CircuitId,
];

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
    /// What names the client.
    identifiers: Mutex<Vec<Identifier>>,
    /// The kinds of identifiers by which Kea looks for reservations.
    kinds: Vec<IdentifierKind>,
    /// The identifier under which Kea finds the reservation. Just one, the surest: Kea tries all,
    /// and another client may share the others.
    filed: OnceLock<Identifier>,
    /// Whether Kea finds it among global reservations, too. Not where Kea looks for these before
    /// the answer is there: it would find that of a packet that was parked, and not that of the
    /// client's next packet.
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
    /// By the value of the identifier under which each one is filed. `None` before the first one.
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

    /// Files a reservation under an identifier of its client, unless it is filed, or has ended.
    fn file(&self, identifier: Identifier, reservation: &Arc<Reservation>) {
        let entry = Entry { kind: identifier.kind, reservation: Arc::clone(reservation) };
        let mut by_value = self.by_value();
        let has_ended = reservation.ended.load(Ordering::Relaxed);
        if !has_ended && reservation.filed.set(identifier.clone()).is_ok() {
            by_value.get_or_insert_default().entry(identifier.value).or_default().push(entry);
        }
    }

    /// Ends a reservation, once.
    fn end(&self, reservation: &Arc<Reservation>) {
        let mut by_value = self.by_value();
        if reservation.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.number.fetch_sub(1, Ordering::Relaxed);
        let (Some(by_value), Some(filed)) = (by_value.as_mut(), reservation.filed.get()) else {
            return;
        };
        let Some(entries) = by_value.get_mut(&filed.value) else { return };
        entries.retain(|entry| !Arc::ptr_eq(&entry.reservation, reservation));
        if entries.is_empty() {
            by_value.remove(&filed.value);
        }
    }

    /// The reservations that are held for clients of this identifier, the latest one first. One
    /// client may be in several networks: a router with its interfaces.
    fn find(&self, kind: IdentifierKind, value: &[u8]) -> Vec<Arc<Reservation>> {
        let by_value = self.by_value();
        let entries = by_value.as_ref().and_then(|by_value| by_value.get(value));
        let entries = entries.into_iter().flatten().rev();
        let of_kind = entries.filter(|entry| entry.kind == kind);
        of_kind.map(|entry| Arc::clone(&entry.reservation)).collect()
    }
}

/// A reservation for one packet. Kea finds it until the packet's reply, or until a later packet of
/// the client comes. (Without either of them it stays until the packet's thread gets its next
/// packet: Kea keeps a packet for so long, with all that belongs to it.)
pub struct Held(Arc<Reservation>);

impl Held {
    /// Holds a reservation for the client of this query, in these subnets: the query's own and the
    /// other subnets of its shared network. The error is an exception of Kea's. Packet thread, or
    /// the thread that resumes the query.
    pub fn new(
        query: &Packet,
        subnets: Vec<u32>,
        address: Option<Ipv4Addr>,
        hostname: Option<&str>,
    ) -> Result<Self, cxx::Exception> {
        forget_client(query, &subnets)?;
        let mut kinds = Vec::new();
        ffi::read_identifier_kinds(&mut kinds)?;
        let held = Held(Arc::new(Reservation {
            address,
            hostname: hostname.unwrap_or_default().to_owned(),
            subnets,
            identifiers: Mutex::new(identifiers(query)?),
            kinds,
            filed: OnceLock::new(),
            is_global: !ffi::looks_early_for_global_reservations()?,
            standing: OnceLock::new(),
            ended: AtomicBool::new(false),
        }));
        HELD.number.fetch_add(1, Ordering::Relaxed);
        file(&held.0);
        Ok(held)
    }

    /// The library flex_id has made an identifier of the packet. An empty one: it may make one yet.
    /// Packet thread.
    pub fn identify(&self, flex_id: &[u8]) {
        if flex_id.is_empty() {
            UNIDENTIFIED.set(Some(Arc::downgrade(&self.0)));
        } else {
            identify(&self.0, flex_id);
        }
    }

    /// How the reservation stands to Kea's own. `None` where Kea has not asked for it.
    pub fn standing(&self) -> Option<Standing> {
        self.0.standing.get().copied()
    }

    /// Kea has finished the packet. Packet thread.
    pub fn end(&self) {
        HELD.end(&self.0);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kea looks for the packet's reservation by this identifier, too.
fn identify(reservation: &Arc<Reservation>, flex_id: &[u8]) {
    let identifier = Identifier { kind: IdentifierKind::FlexId, value: flex_id.into() };
    reservation.identifiers().push(identifier);
    file(reservation);
}

/// Has Kea find a reservation by the surest identifier by which Kea looks for it.
fn file(reservation: &Arc<Reservation>) {
    let identifiers = reservation.identifiers();
    let of_kind = |kind| identifiers.iter().find(|one| one.kind == kind);
    let mut sure = SUREST_FIRST.into_iter().filter(|kind| reservation.kinds.contains(kind));
    if let Some(identifier) = sure.find_map(of_kind) {
        HELD.file(identifier.clone(), reservation);
    }
}

/// Kea asks by an identifier. Where it is one of flex_id, which came after this library, it is that
/// of the packet that this thread works on.
fn note_asked(kind: IdentifierKind, value: &[u8]) {
    if kind == IdentifierKind::FlexId {
        let reservation = UNIDENTIFIED.take().and_then(|reservation| reservation.upgrade());
        if let Some(reservation) = reservation {
            identify(&reservation, value);
        }
    }
}

/// What names the client of a query. The error is an exception of Kea's.
fn identifiers(query: &Packet) -> Result<Vec<Identifier>, cxx::Exception> {
    let mut identifiers = Vec::new();
    let mut add = |kind, value: &[u8]| {
        if !value.is_empty() {
            identifiers.push(Identifier { kind, value: value.into() });
        }
    };
    let mut value = Vec::new();
    query.read_hardware_address(&mut value)?;
    // The first byte is the hardware type, which Kea does not compare.
    add(IdentifierKind::HardwareAddress, value.get(1..).unwrap_or_default());
    value.clear();
    if query.read_option(CLIENT_IDENTIFIER, &mut value)? {
        add(IdentifierKind::ClientId, &value);
        if value.first() == Some(&DUID_TYPE) {
            add(IdentifierKind::Duid, value.get(DUID..).unwrap_or_default());
        }
    }
    value.clear();
    if query.read_sub_option(RELAY_AGENT_INFORMATION, CIRCUIT_ID, &mut value)? {
        add(IdentifierKind::CircuitId, &value);
    }
    Ok(identifiers)
}

/// A later packet of a client has come, in one of these subnets: ends the reservation that is held
/// for an earlier one. Kea may never have replied to it. The error is an exception of Kea's.
fn forget_client(query: &Packet, subnets: &[u32]) -> Result<(), cxx::Exception> {
    if HELD.is_empty() {
        return Ok(());
    }
    let in_network = |reservation: &Reservation| {
        subnets.iter().any(|subnet| reservation.subnets.contains(subnet))
    };
    for Identifier { kind, value } in identifiers(query)? {
        // Another client may share a port.
        if kind == IdentifierKind::CircuitId {
            continue;
        }
        for earlier in HELD.find(kind, &value) {
            if in_network(&earlier) {
                HELD.end(&earlier);
            }
        }
    }
    Ok(())
}

/// This thread begins to work on a packet, or ends its work on it. Packet thread.
pub fn forget_packet() {
    LEFT_TO_KEA.set(None);
}

/// The packet that this thread works on renews this address, whose lease its client holds. A kept
/// answer reserves the address, and nobody knows for whom. So for this packet it is not reserved.
/// Packet thread.
pub fn leave_to_kea(address: Ipv4Addr) {
    LEFT_TO_KEA.set(Some(address));
}

/// Whether a reservation is held for any client. Any thread.
pub fn are_held() -> bool {
    !HELD.is_empty()
}

/// Kea works on a packet that has no reservation, in this subnet. The error is an exception of
/// Kea's. Packet thread, or the thread that resumes the query.
pub fn none_for(query: &Packet, subnet: u32) -> Result<(), cxx::Exception> {
    forget_client(query, &[subnet])
}

impl Reservation {
    fn identifiers(&self) -> MutexGuard<'_, Vec<Identifier>> {
        self.identifiers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the reservation stands to Kea's own reservations, for which this asks once. Where Kea
    /// throws an exception, as without its database, the reservation is not used: nobody knows
    /// whether Kea has one of its own.
    fn decide(&self) -> Standing {
        *self.standing.get_or_init(|| {
            let _asking = AskingOthers::begin();
            self.compare().unwrap_or_else(|exception| {
                REMOPTS_EXCEPTION.error([&"a question for reservations", &exception]);
                Standing::Unused
            })
        })
    }

    fn compare(&self) -> Result<Standing, cxx::Exception> {
        // Where Kea looks for reservations of its own.
        let (mut places, mut is_global) = (Vec::new(), false);
        for subnet in &self.subnets {
            if ffi::uses_subnet_reservations(*subnet)? {
                places.push(*subnet);
            }
            is_global |= ffi::uses_global_reservations(*subnet)?;
        }
        if is_global {
            places.push(GLOBAL);
        }
        let identifiers = self.identifiers().clone();
        let is_used = |one: &&Identifier| self.kinds.contains(&one.kind);
        for Identifier { kind, value } in identifiers.iter().filter(is_used) {
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

/// The numbers of a subnet and of the other subnets of its shared network. The error is an
/// exception of Kea's. Packet thread, or the thread that resumes a query.
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
    note_asked(kind, value);
    let is_meant = |reservation: &Arc<Reservation>| {
        (subnet == GLOBAL && reservation.is_global) || reservation.subnets.contains(&subnet)
    };
    let reservation = HELD.find(kind, value).into_iter().find(is_meant)?;
    let identifier = Identifier { kind, value: value.into() };
    let host = reservation.host(subnet, &identifier)?;
    note_given(&reservation, identifier, Some(subnet));
    Some(host)
}

/// What is reserved for the client of this identifier, in each subnet of its networks.
pub fn of_client_anywhere(kind: IdentifierKind, value: &[u8]) -> Vec<ReservedHost> {
    if HELD.is_empty() || ASKS_OTHERS.get() {
        return Vec::new();
    }
    note_asked(kind, value);
    let identifier = Identifier { kind, value: value.into() };
    let mut hosts: Vec<ReservedHost> = Vec::new();
    for reservation in HELD.find(kind, value) {
        for subnet in &reservation.subnets {
            if hosts.iter().all(|host| host.subnet != *subnet) {
                hosts.extend(reservation.host(*subnet, &identifier));
            }
        }
        // Kea puts nothing into its cache that it has found in this way.
        note_given(&reservation, identifier.clone(), None);
    }
    hosts
}

/// For whom an address is reserved: for the client whose packet this thread works on, or for nobody
/// that Kea knows, where a kept answer reserves it for another client.
pub fn of_address(subnet: u32, address: Ipv4Addr) -> Option<ReservedHost> {
    if ASKS_OTHERS.get() || LEFT_TO_KEA.get() == Some(address) {
        return None;
    }
    let own = GIVEN.with_borrow(|given| {
        let Given { reservation, identifier } = given.as_ref()?;
        let reservation = reservation.upgrade()?;
        // Also where a later packet of the client has ended it: this thread works on the packet
        // still.
        let is_its = reservation.address == Some(address)
            && reservation.standing.get() == Some(&Standing::Given);
        is_its.then(|| (reservation.hostname.clone(), identifier.clone()))
    });
    let (hostname, identifier) = match own {
        Some(own) => own,
        None => {
            let instance = instance::current()?;
            if !instance.engine.reserves_addresses() {
                return None;
            }
            instance.engine.request_of(address)?;
            if is_reserved_globally(subnet, address) {
                return None;
            }
            let nobody = Identifier { kind: IdentifierKind::HardwareAddress, value: NOBODY.into() };
            (String::new(), nobody)
        }
    };
    note_cached(subnet, &identifier);
    let Identifier { kind, value } = identifier;
    let address = address.to_bits();
    Some(ReservedHost { subnet, kind, identifier: value.into_vec(), address, hostname })
}

/// Whether Kea's own sources reserve an address for a client in any subnet, where this counts in
/// the given one. Kea asks by address in the subnet alone, and may ask about this very client. An
/// exception of Kea's counts as no: the address is then nobody's, and safe.
fn is_reserved_globally(subnet: u32, address: Ipv4Addr) -> bool {
    let _asking = AskingOthers::begin();
    let reserved = ffi::uses_global_reservations(subnet)
        .and_then(|is_used| Ok(is_used && ffi::is_reserved(GLOBAL, address.to_bits())?));
    reserved.unwrap_or(false)
}

/// Remembers what this thread gives Kea, and the subnet in which Kea may put it into its cache.
fn note_given(reservation: &Arc<Reservation>, identifier: Identifier, cached: Option<u32>) {
    if let Some(subnet) = cached {
        note_cached(subnet, &identifier);
    }
    let reservation = Arc::downgrade(reservation);
    GIVEN.set(Some(Given { reservation, identifier }));
}

/// Remembers what Kea puts into its cache of reservations, if it has one.
fn note_cached(subnet: u32, identifier: &Identifier) {
    if ffi::has_host_cache() {
        CACHED.with_borrow_mut(|cached| cached.push((subnet, identifier.clone())));
    }
}

/// Takes what this thread has given Kea out of Kea's cache of reservations (libdhcp_host_cache):
/// the next answer may say something else, and the cache forgets nothing by itself. Kea puts it
/// there after the library has given it, so this runs at the next callout of the thread, or at its
/// next work. Packet thread, or a thread that resumes queries.
pub fn forget_cached() {
    let cached = CACHED.with_borrow_mut(std::mem::take);
    for (subnet, Identifier { kind, value }) in cached {
        if let Err(exception) = ffi::forget_cached(subnet, kind, &value) {
            REMOPTS_EXCEPTION.error([&"Kea's cache of reservations", &exception]);
        }
    }
}
