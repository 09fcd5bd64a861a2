// SPDX-License-Identifier: MPL-2.0
//! One packet's lookup, between its callouts.
//!
//! pkt4_receive makes it, Kea's callout context keeps it, subnet4_select finds the answer,
//! pkt4_send writes the answer. The callouts run in packet threads. A parked packet goes on from
//! the runtime's thread, or from Kea's main thread: see [`crate::main_thread`]. A bug in a callout
//! (a panic, an exception of Kea's) costs this packet alone, and counts as a failed lookup.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use remote_opts_core::answer::{
    Answer, CLIENT_CLASSES, HOSTNAME, IP_ADDRESS, Member, Reason, address_member, class_member,
};
use remote_opts_core::cache::Transaction;
use remote_opts_core::config::{OnError, OnMiss};
use remote_opts_core::filter::{is_edited, message_type};
use remote_opts_core::guard::guard;
use remote_opts_core::lookup::{Outcome, Question, Source};
use remote_opts_core::parking::{Ending, Parked, Place};
use remote_opts_core::request::{Request, SubOptions};
use remote_opts_core::throttle::Throttle;

use crate::encode::Encoder;
use crate::ffi::{self, Callout, Packet};
use crate::instance::{self, Editing, Instance};
use crate::log::{
    Message, REMOPTS_ACKED, REMOPTS_ADDRESS_NOT_GIVEN, REMOPTS_CACHED, REMOPTS_DROPPED,
    REMOPTS_DROPPED_BY_SERVICE, REMOPTS_EDIT_REFUSED, REMOPTS_EDITED, REMOPTS_EXCEPTION,
    REMOPTS_LOOKUP_EMPTY, REMOPTS_NAK_HELD_BACK, REMOPTS_NOT_EDITED, REMOPTS_PARKING_FULL,
    REMOPTS_RETRANSMISSION, REMOPTS_STALE, REMOPTS_SUPERSEDED,
};
use crate::parking::ParkedPacket;
use crate::query::{self, Admission};
use crate::reply::{self, Written};
use crate::reservations::{self, Held, Standing};
use crate::statistics::{self, Counter};

/// How much longer than `timeout` a packet thread waits that cannot park its packet. The engine
/// itself keeps the time, so a thread that waits this long has met a bug.
const WAITING_SLACK: Duration = Duration::from_millis(100);

/// What stands for no subnet where Kea numbers its subnets.
const NO_SUBNET: u32 = 0;

/// What becomes of a packet after its lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kea goes on with the packet.
    Continue,
    /// Kea drops the packet: the client gets no reply, and asks again.
    Drop,
}

/// What decides, beside the outcome, whether a packet may go without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What a new client gets whose lookup failed.
    pub on_error: OnError,
    /// Whether a packet that does not wait is answered from what is known: a REQUEST, where
    /// `on-miss` is `retry`.
    pub from_what_is_known: bool,
    /// Whether the client has an address: it renews, rebinds, or asks for options alone. Silence
    /// could cost it its address.
    pub has_address: bool,
}

impl Verdict {
    /// The verdict on a packet whose lookup ended so.
    pub fn on(outcome: &Outcome, terms: Terms) -> Self {
        let is_silent = match outcome {
            // A library that is being unloaded leaves its packets to Kea. (Parked packets, which
            // Kea cannot go on with then, have no verdict.)
            Outcome::LetGo | Outcome::FailedBefore => false,
            // The service's own word holds for every client, also for one that renews.
            Outcome::Answered(answer, _) if answer.drop => return Verdict::Drop,
            Outcome::Answered(..) => false,
            Outcome::Failed => terms.on_error == OnError::Drop,
            // The client's next packet finds the answer.
            Outcome::Shed | Outcome::Congested => !terms.from_what_is_known,
        };
        if is_silent && !terms.has_address { Verdict::Drop } else { Verdict::Continue }
    }
}

/// The statistic that counts this outcome; `None` for a packet that was let go.
fn statistic(outcome: &Outcome) -> Option<&'static Counter> {
    match outcome {
        Outcome::Answered(_, Source::Cached) => Some(&statistics::CACHED),
        Outcome::Answered(_, Source::Asked) => Some(&statistics::ASKED),
        Outcome::Answered(_, Source::Stale) => Some(&statistics::STALE),
        Outcome::Failed | Outcome::FailedBefore => Some(&statistics::FAILED),
        Outcome::Shed => Some(&statistics::SHED),
        Outcome::Congested => Some(&statistics::CONGESTED),
        Outcome::LetGo => None,
    }
}

/// pkt4_receive: decides whether the query's client is looked up, makes the request, and keeps both
/// in the packet's callout context. Ends the retransmission of a packet that is parked. Packet
/// thread.
pub fn receive(query: &Packet, callout: &Callout) {
    // What this thread did for the packet before.
    reservations::forget_cached();
    reservations::forget_packet();
    let Some(instance) = instance::current() else {
        return;
    };
    let continued = match admission(&instance, query, callout) {
        Ok(Admission::Admitted) => None,
        // The packet may go on with an exchange that a packet before it began. Otherwise the
        // library has nothing to do with the client, and no failure here is one of a lookup.
        Ok(Admission::NotAdmitted) => match not_admitted(&instance, query) {
            Ok(Some(question)) => Some(question),
            Ok(None) => {
                statistics::NOT_ADMITTED.count();
                return query::log_not_admitted(query);
            }
            Err(exception) => return log_exception("pkt4_receive", &exception),
        },
        Ok(Admission::OtherMessageType) => return,
        Err(exception) => return log_exception("pkt4_receive", &exception),
    };
    // Where Kea cannot tell, the client is a new one.
    let has_address = query.has_client_address().unwrap_or(false);
    let terms = Terms { on_error: instance.on_error, from_what_is_known: false, has_address };
    step("pkt4_receive", callout, terms, || {
        let question = match continued {
            Some(question) => Some(question),
            None => admitted(&instance, query)?,
        };
        let Some(question) = question else {
            return Ok(None);
        };
        let lookup = PacketLookup::new(&instance, question, query)?;
        if instance.places.has(&lookup.0.question.transaction) {
            lookup.0.debug(&REMOPTS_RETRANSMISSION);
            statistics::RETRANSMISSIONS.count();
            return Ok(Some(Verdict::Drop));
        }
        callout.keep(Box::new(lookup))?;
        Ok(None)
    });
}

/// What to ask about the client of a query that a filter admits. `None`, with a line that says why,
/// where the client is not looked up. The error is an exception of Kea's.
///
/// A REQUEST may say less or more about its client than the DISCOVER did: Raspberry Pis leave
/// option 60 out. The ACK carries what the OFFER carried, as long as the REQUEST comes from the
/// same port.
fn admitted(instance: &Instance, query: &Packet) -> Result<Option<Question>, cxx::Exception> {
    let (queries, engine) = (&instance.queries, &instance.engine);
    let (transaction, label) = queries.transaction(query)?;
    let sub_options = queries.sub_options(query)?;
    let request = match engine.exchange_of(&transaction, &sub_options) {
        Some(request) => request,
        None => {
            let own = queries.request(query, sub_options.clone())?;
            match (engine.reopen_exchange(&transaction, &sub_options, own.as_deref()), own) {
                (Some(request), _) => request,
                (None, Some(own)) if queries.path_error(&own).is_none() => own,
                (None, own) => match renewed(instance, query, &transaction, &sub_options)? {
                    Some(request) => request,
                    None => {
                        engine.not_looked_up(&transaction);
                        statistics::NOT_NAMED.count();
                        queries.log_not_looked_up(query, own.as_deref())?;
                        return Ok(None);
                    }
                },
            }
        }
    };
    Ok(Some(Question { request, transaction, label, asks_again: true }))
}

/// What to ask about the client of a query that no filter admits. `None` where the query neither
/// goes on with an exchange nor renews an address that a service gave. The error is an exception of
/// Kea's.
fn not_admitted(instance: &Instance, query: &Packet) -> Result<Option<Question>, cxx::Exception> {
    let (queries, engine) = (&instance.queries, &instance.engine);
    let renews = engine.reserves_addresses() && query.has_client_address()?;
    if !renews && !engine.has_exchanges() {
        return Ok(None);
    }
    let (transaction, label) = queries.transaction(query)?;
    let sub_options = queries.sub_options(query)?;
    let request = if transaction.continues {
        engine.reopen_exchange(&transaction, &sub_options, None)
    } else {
        engine.not_looked_up(&transaction);
        renewed(instance, query, &transaction, &sub_options)?
    };
    Ok(request.map(|request| Question { request, transaction, label, asks_again: true }))
}

/// The request by whose kept answer the client has got the address that the query renews. The
/// client must hold the lease still. A renewal goes straight to the server, so no relay agent puts
/// an option 82 into it (RFC 2131, section 4.4.5), and an operating system renews that is admitted
/// by no filter for firmware. Kea would refuse the address to such a client: it knows the
/// reservation by the answer alone. `None` also where the query comes from another port. The error
/// is an exception of Kea's.
///
/// Where nobody knows whose the address is, option 82 says so. Without it the request is `None`,
/// and Kea alone decides about the client that holds the lease: a refusal must not come from not
/// knowing.
fn renewed(
    instance: &Instance,
    query: &Packet,
    transaction: &Transaction,
    sub_options: &SubOptions,
) -> Result<Option<Arc<Request>>, cxx::Exception> {
    let renews = !transaction.continues && query.message_type()? == message_type::REQUEST;
    if !renews || !instance.engine.reserves_addresses() {
        return Ok(None);
    }
    let address = Ipv4Addr::from_bits(query.client_address()?);
    let own = instance.engine.request_of_client(address, &transaction.client);
    let is_own = own.is_some();
    let request = own.or_else(|| instance.engine.request_of_unknown_owner(address));
    let Some(request) = request else { return Ok(None) };
    let is_other_port = !sub_options.is_empty() && !request.has(sub_options);
    if is_other_port || !ffi::holds_lease(query)? {
        return Ok(None);
    }
    if !is_own && sub_options.is_empty() {
        reservations::leave_to_kea(address);
        return Ok(None);
    }
    Ok(Some(request))
}

/// Whether a query's client is looked up. A packet that another library has dropped, or handles
/// itself, is left alone.
fn admission(
    instance: &Instance,
    query: &Packet,
    callout: &Callout,
) -> Result<Admission, cxx::Exception> {
    if callout.is_dropped()? || callout.is_skipped()? {
        return Ok(Admission::OtherMessageType);
    }
    instance.queries.admission(query)
}

/// Runs one step of an admitted packet's lookup, and tells Kea to drop the packet where the step's
/// verdict says so. A step without a verdict leaves the packet as it is. A panic or an exception in
/// the step is a failed lookup: then the function returns false.
fn step(
    callout_name: &str,
    callout: &Callout,
    terms: Terms,
    step: impl FnOnce() -> Result<Option<Verdict>, cxx::Exception>,
) -> bool {
    let done = guard(Err(None), || step().map_err(Some));
    let is_done = done.is_ok();
    let verdict = done.unwrap_or_else(|failure| {
        // A panic has been reported already.
        if let Some(exception) = failure {
            log_exception(callout_name, &exception);
        }
        let verdict = Verdict::on(&Outcome::Failed, terms);
        statistics::FAILED.count();
        if verdict == Verdict::Drop {
            statistics::DROPPED.count();
        }
        Some(verdict)
    });
    if verdict == Some(Verdict::Drop) {
        drop_packet(callout_name, callout);
    }
    is_done
}

fn drop_packet(callout_name: &str, callout: &Callout) {
    if let Err(exception) = callout.drop_packet() {
        log_exception(callout_name, &exception);
    }
}

fn log_exception(callout_name: &str, exception: &cxx::Exception) {
    REMOPTS_EXCEPTION.error([&callout_name, exception]);
}

/// subnet4_select of a packet that is not looked up. Packet thread.
pub fn pass(query: &Packet, callout: &Callout) {
    let passed = callout.subnet_id().and_then(|subnet| reservations::none_for(query, subnet));
    if let Err(exception) = passed {
        log_exception("subnet4_select", &exception);
    }
}

/// One packet's lookup, as Kea's callout context keeps it.
pub struct PacketLookup(Arc<Lookup>);

/// Shared by the packet's callouts and, while the packet is parked, by the engine.
struct Lookup {
    question: Question,
    terms: Terms,
    /// Whether the packet may wait for its answer.
    may_wait: bool,
    /// Weak: a packet that Kea has not finished must not keep an instance alive that is unloaded,
    /// whose end lets the packet go.
    instance: Weak<Instance>,
    /// What it takes to edit the reply. A packet that was resumed just before the library is
    /// unloaded still gets its answer.
    editing: Arc<Editing>,
    /// What the lookup has found. Set before Kea goes on with the packet.
    outcome: OnceLock<Outcome>,
    /// The client classes of the answer that the query has joined.
    classes: OnceLock<Vec<String>>,
    /// The number of the packet's subnet.
    subnet: OnceLock<u32>,
    /// The identifier that the library flex_id has made of the packet.
    flex_id: OnceLock<Box<[u8]>>,
    /// What the answer reserves, while Kea works on the packet.
    reservation: OnceLock<Held>,
}

impl PacketLookup {
    /// The error is an exception of Kea's.
    fn new(
        instance: &Arc<Instance>,
        mut question: Question,
        query: &Packet,
    ) -> Result<Self, cxx::Exception> {
        // Kea builds the DHCPv6 packet around a reply that it has at once.
        let may_wait = instance.on_miss == OnMiss::Wait && !query.is_dhcp4o6()?;
        let terms = Terms {
            on_error: instance.on_error,
            from_what_is_known: !may_wait && question.transaction.continues,
            has_address: query.has_client_address()?,
        };
        question.asks_again = Verdict::on(&Outcome::Shed, terms) == Verdict::Drop;
        Ok(PacketLookup(Arc::new(Lookup {
            question,
            terms,
            may_wait,
            instance: Arc::downgrade(instance),
            editing: Arc::clone(&instance.editing),
            outcome: OnceLock::new(),
            classes: OnceLock::new(),
            subnet: OnceLock::new(),
            flex_id: OnceLock::new(),
            reservation: OnceLock::new(),
        })))
    }

    /// subnet4_select: finds the answer. Where a service must be asked, the packet is parked, or,
    /// if this Kea cannot park it, its thread waits. Packet thread.
    pub fn look_up(&self, query: &Packet, callout: &Callout) {
        // Without the instance of its pkt4_receive, the packet goes on as if there were no library.
        let Some(instance) = self.0.instance.upgrade() else {
            return;
        };
        let is_done = step("subnet4_select", callout, self.0.terms, || {
            // Kea has no address for a packet without a subnet, whatever a service says.
            let subnet = callout.subnet_id()?;
            if callout.is_dropped()? || callout.is_skipped()? || subnet == NO_SUBNET {
                return Ok(None);
            }
            let _ = self.0.subnet.set(subnet);
            self.find_answer(&instance, query, callout)
        });
        if !is_done {
            // The error says that there is an outcome: the step failed after it.
            let _ = self.0.outcome.set(Outcome::Failed);
        }
    }

    /// Finds the answer, and the verdict on the packet. `None`: the packet is parked, and the
    /// verdict comes later.
    fn find_answer(
        &self,
        instance: &Instance,
        query: &Packet,
        callout: &Callout,
    ) -> Result<Option<Verdict>, cxx::Exception> {
        let question = &self.0.question;
        let outcome = match instance.engine.answer_now(question) {
            Some(outcome) => outcome,
            None if !self.0.may_wait => {
                let terms = self.0.terms;
                let is_answered_now = terms.from_what_is_known || terms.has_address;
                instance.engine.leave(question, is_answered_now)
            }
            None if !ffi::can_park() => wait(instance, question),
            None => {
                let client = &question.transaction.client;
                if instance.places.supersede(&instance.engine, client) {
                    self.0.debug(&REMOPTS_SUPERSEDED);
                    statistics::SUPERSEDED.count();
                }
                let packet_threads = ffi::packet_threads()?;
                match instance.places.take(packet_threads) {
                    Some(place) => {
                        // Without packet threads, the main thread handles packets.
                        self.park(instance, query, callout, place, packet_threads > 0)?;
                        return Ok(None);
                    }
                    None => {
                        self.0.warn(&instance.parking_full, &REMOPTS_PARKING_FULL);
                        instance.engine.leave(question, true)
                    }
                }
            }
        };
        Ok(Some(self.0.settle(outcome, query)))
    }

    /// Parks the packet until the engine has the outcome. `at_once`: any thread may resume it, where
    /// Kea's main thread allows it.
    fn park(
        &self,
        instance: &Instance,
        query: &Packet,
        callout: &Callout,
        place: Place,
        at_once: bool,
    ) -> Result<(), cxx::Exception> {
        let packet = ParkedPacket::park(callout, query, place)?;
        let (question, lookup) = (self.0.question.clone(), Arc::clone(&self.0));
        let main_thread = instance.main_thread.queue();
        instance.places.wait(&instance.engine, question, packet, lookup, main_thread, at_once);
        Ok(())
    }

    /// pkt4_send: writes the answer into the reply. A reply without an answer stays as Kea made it.
    /// Packet thread.
    pub fn write(&self, query: &Packet, reply: &Packet, callout: &Callout) {
        let written = self.try_write(query, reply, callout);
        if let Err(exception) = written {
            log_exception("pkt4_send", &exception);
        }
        if let Some(reservation) = self.0.reservation.get() {
            reservation.end();
        }
        reservations::forget_cached();
        reservations::forget_packet();
    }

    /// host4_identifier: another library has made an identifier of the query, by which Kea looks
    /// for reservations. Packet thread.
    pub fn identified(&self, identifier: &[u8]) {
        match self.0.reservation.get() {
            Some(reservation) => reservation.identify(identifier),
            None if identifier.is_empty() => {}
            // Kea asks early, for global reservations. Each packet has one such identifier.
            None => drop(self.0.flex_id.set(identifier.into())),
        }
    }

    fn try_write(
        &self,
        query: &Packet,
        reply: &Packet,
        callout: &Callout,
    ) -> Result<(), cxx::Exception> {
        let reply_type = reply.message_type()?;
        if callout.is_dropped()? {
            return Ok(());
        }
        if callout.is_skipped()? {
            if self.0.edits().is_some() && is_edited(reply_type) {
                self.0.warn(&self.0.editing.not_edited, &REMOPTS_NOT_EDITED);
            }
        } else if is_edited(reply_type) {
            let is_ack = reply_type == message_type::ACK;
            let wanted = is_ack && REMOPTS_ACKED.info_enabled() || REMOPTS_EDITED.debug_enabled();
            let mut written = wanted.then(Vec::new);
            self.0.edit(query, reply, written.as_mut());
            self.0.compare_address(reply, is_ack, written.as_mut())?;
            if is_ack {
                self.0.log_ack(&written.unwrap_or_default());
            }
        } else if reply_type == message_type::NAK && self.0.knows_nothing() {
            self.0.warn(&self.0.editing.naks_held_back, &REMOPTS_NAK_HELD_BACK);
            statistics::NAKS_HELD_BACK.count();
            callout.drop_packet()?;
        }
        if let Some(instance) = self.0.instance.upgrade() {
            let client = &self.0.question.transaction.client;
            match reply_type {
                message_type::OFFER if self.0.knows_nothing() => {
                    instance.engine.offered_without_answer(&self.0.question);
                }
                message_type::OFFER => {}
                message_type::NAK => instance.engine.exchange_refused(client),
                _ => instance.engine.exchange_over(client),
            }
        }
        Ok(())
    }
}

/// Waits for the outcome in this thread, on a Kea that cannot park the packet.
fn wait(instance: &Instance, question: &Question) -> Outcome {
    let (sender, receiver) = mpsc::sync_channel(1);
    // The error says that the receiver has stopped waiting.
    let deliver = move |outcome| drop(sender.send(outcome));
    instance.engine.wait(question.clone(), Box::new(deliver));
    let outcome = receiver.recv_timeout(instance.timeout + WAITING_SLACK);
    // A lookup that stood in line for long is not over yet.
    outcome.unwrap_or_else(|_| instance.engine.leave(question, true))
}

impl Ending<ParkedPacket> for Lookup {
    fn end(&self, outcome: Outcome, packet: ParkedPacket) {
        // What this thread did for the packet before.
        reservations::forget_cached();
        let failed = Verdict::on(&Outcome::Failed, self.terms);
        let verdict = guard(failed, || self.settle(outcome, packet.query()));
        // The error says that there is an outcome: the bug came after it.
        let _ = self.outcome.set(Outcome::Failed);
        match verdict {
            Verdict::Continue => packet.resume(),
            Verdict::Drop => packet.let_go(),
        }
    }
}

impl Lookup {
    /// Keeps, counts and logs the outcome. A query that goes on joins the answer's client classes,
    /// and gets its reservation. Returns the verdict on the packet.
    fn settle(&self, outcome: Outcome, query: &Packet) -> Verdict {
        let verdict = Verdict::on(&outcome, self.terms);
        if let Some(statistic) = statistic(&outcome) {
            statistic.count();
        }
        match &outcome {
            Outcome::Answered(_, Source::Stale) => self.debug(&REMOPTS_STALE),
            Outcome::Answered(_, Source::Cached) => self.debug(&REMOPTS_CACHED),
            _ => {}
        }
        if let Outcome::Answered(answer, _) = &outcome {
            if answer.is_nothing() {
                statistics::NOTHING.count();
                self.debug(&REMOPTS_LOOKUP_EMPTY);
            }
        }
        if verdict == Verdict::Drop {
            let (statistic, message) = match outcome {
                Outcome::Answered(..) => {
                    (&statistics::DROPPED_BY_SERVICE, &REMOPTS_DROPPED_BY_SERVICE)
                }
                _ => (&statistics::DROPPED, &REMOPTS_DROPPED),
            };
            statistic.count();
            self.debug(message);
        }
        // Set once: each packet has one outcome.
        let _ = self.outcome.set(outcome);
        if verdict == Verdict::Continue {
            let answer = match self.outcome.get() {
                Some(Outcome::Answered(answer, _)) => Some(answer),
                _ => None,
            };
            if let Some(answer) = answer {
                self.add_classes(answer, query);
            }
            if let Err(exception) = self.reserve(answer, query) {
                log_exception("subnet4_select", &exception);
            }
        }
        verdict
    }

    /// Holds what the answer reserves, if it reserves anything, before Kea goes on with the query.
    fn reserve(&self, answer: Option<&Arc<Answer>>, query: &Packet) -> Result<(), cxx::Exception> {
        let Some(subnet) = self.subnet.get() else { return Ok(()) };
        let Some(answer) = answer.filter(|answer| answer.reserves()) else {
            return reservations::none_for(query, *subnet);
        };
        let subnets = reservations::network(*subnet)?;
        let mut address = answer.ip_address;
        if let Some(other) = address {
            if !reservations::is_in(&subnets, other)? {
                self.refuse(&Reason::OtherNetwork, &address_member(other));
                address = None;
            }
        }
        let hostname = answer.hostname.as_deref();
        if address.is_none() && hostname.is_none() {
            return reservations::none_for(query, *subnet);
        }
        let held = Held::new(query, subnets, address, hostname)?;
        if let Some(identifier) = self.flex_id.get() {
            held.identify(identifier);
        }
        // Set once: each packet has one outcome.
        let _ = self.reservation.set(held);
        Ok(())
    }

    /// Notes and counts what Kea's reply has of the answer's reservation, and logs why the client
    /// got another address than the answer says. What the reply has is added to `written`.
    fn compare_address(
        &self,
        reply: &Packet,
        is_ack: bool,
        written: Option<&mut Vec<Written>>,
    ) -> Result<(), cxx::Exception> {
        let Some(answer) = self.edits().filter(|answer| answer.reserves()) else {
            return Ok(());
        };
        let given = reply.given_address()?;
        let mut members = Vec::new();
        // A client that asks for options alone is given no address.
        if let Some(address) = answer.ip_address.filter(|_| given != 0) {
            let has_address = given == address.to_bits();
            if is_ack {
                if let Some(instance) = self.instance.upgrade() {
                    let Question { request, transaction, .. } = &self.question;
                    instance.engine.note_client(request, &transaction.client, has_address);
                }
            }
            if has_address {
                statistics::ADDRESSES_GIVEN.count();
                members.push((IP_ADDRESS, address.to_string()));
            } else {
                statistics::ADDRESSES_NOT_GIVEN.count();
                self.log_address_not_given(address, Ipv4Addr::from_bits(given));
            }
        }
        let standing = self.reservation.get().and_then(Held::standing);
        if let (Some(hostname), Some(Standing::Given | Standing::WithoutAddress)) =
            (&answer.hostname, standing)
        {
            members.push((HOSTNAME, hostname.to_string()));
        }
        if let Some(written) = written {
            let members = members.into_iter();
            written.extend(
                members.map(|(what, value)| Written { what: what.to_owned(), value: Some(value) }),
            );
        }
        Ok(())
    }

    fn log_address_not_given(&self, address: Ipv4Addr, given: Ipv4Addr) {
        // An address of another network is refused, and the log says so.
        let Some(reservation) = self.reservation.get() else { return };
        let why = match reservation.standing() {
            None => {
                "Kea does not look for a reservation by what this packet has, or in this subnet, or \
                 once the answer is there (host-reservation-identifiers, reservations-in-subnet, \
                 reservations-global, early-global-reservations-lookup)"
            }
            Some(Standing::Unused) => "Kea has a reservation of its own for this client",
            Some(Standing::WithoutAddress) => "Kea reserves the address for another client",
            Some(Standing::Given) => {
                "another client has a lease of the address, or the subnet takes no reservation of an \
                 address in a pool (reservations-out-of-pool), or the client is not of a class of the \
                 address's subnet"
            }
        };
        if let Some(held_back) = self.editing.addresses.pass() {
            let url = self.question.request.shown_at(&self.editing.first_service);
            REMOPTS_ADDRESS_NOT_GIVEN.warn([
                &self.question.label,
                &address,
                &given,
                &format_args!("{why}, in the answer to {url}{held_back}"),
            ]);
        }
    }

    /// Puts the query into the answer's client classes, before Kea goes on with it.
    fn add_classes(&self, answer: &Answer, query: &Packet) {
        let mut joined = Vec::new();
        for class in &answer.client_classes {
            let refuse = |reason: &dyn Display| self.refuse(reason, &class_member(class));
            match query.add_class(class) {
                Ok(true) => joined.push(class.clone()),
                Ok(false) => refuse(&Reason::UnknownClass),
                Err(exception) => refuse(&exception),
            }
        }
        if !joined.is_empty() {
            statistics::EDITS_APPLIED.add(joined.len());
            // Set once: each packet has one outcome.
            let _ = self.classes.set(joined);
        }
    }

    /// Whether the lookup was made and has no answer, so that nobody knows what the service would
    /// have said.
    fn knows_nothing(&self) -> bool {
        self.outcome.get().is_some_and(|outcome| !matches!(outcome, Outcome::Answered(..)))
    }

    /// The answer, if it edits the reply.
    fn edits(&self) -> Option<&Answer> {
        match self.outcome.get() {
            Some(Outcome::Answered(answer, _)) if !answer.is_nothing() => Some(answer),
            _ => None,
        }
    }

    /// Writes the answer, if there is one, into the reply. What was written is added to `written`.
    fn edit(&self, query: &Packet, reply: &Packet, mut written: Option<&mut Vec<Written>>) {
        let Some(answer) = self.edits() else {
            return;
        };
        let refuse = |reason: &dyn Display, member: &Member| self.refuse(reason, member);
        let editing = &self.editing;
        let encoder = Encoder {
            query,
            configuration: editing.configuration(),
            addresses_as_text: &editing.addresses_as_text,
            latest: &editing.latest,
        };
        let max_reply_size = editing.max_reply_size;
        let noted = written.as_deref_mut();
        let applied = reply::apply(answer, &encoder, reply, max_reply_size, &refuse, noted);
        statistics::EDITS_APPLIED.add(applied);
        if let Some(written) = written.filter(|_| REMOPTS_EDITED.debug_enabled()) {
            let url = self.question.request.shown_at(&self.editing.first_service);
            let written: Vec<_> = written.iter().map(|written| written.what.as_str()).collect();
            let written = if written.is_empty() { "nothing".into() } else { written.join(", ") };
            REMOPTS_EDITED.debug([&self.question.label, &written, &url]);
        }
    }

    /// Logs what an ACK carries, and why.
    fn log_ack(&self, written: &[Written]) {
        let Some(outcome) = self.outcome.get().filter(|_| REMOPTS_ACKED.info_enabled()) else {
            return;
        };
        let classes = self.classes.get().map(|classes| format!("{CLIENT_CLASSES} {classes:?}"));
        let is_unedited = written.is_empty() && classes.is_none();
        let (Outcome::Answered(answer, _), false) = (outcome, is_unedited) else {
            let why = match outcome {
                Outcome::Answered(answer, _) if answer.is_nothing() => {
                    "nothing, as the service has nothing for this client"
                }
                Outcome::Answered(..) => "nothing, as the answer has no edit that can be applied",
                Outcome::Failed | Outcome::FailedBefore => "nothing, as the lookup failed",
                Outcome::Shed | Outcome::Congested => "nothing, as there is no answer yet",
                Outcome::LetGo => "nothing, as the library is being unloaded",
            };
            return self.info(&REMOPTS_ACKED, &why);
        };
        let written = written.iter().map(|Written { what, value }| match value {
            Some(value) => format!("{what} {value}"),
            None => what.clone(),
        });
        let written = start_of(written.chain(classes).collect::<Vec<_>>().join(", "));
        match answer.given.known(SystemTime::now()) {
            Some((by, age)) => {
                let age = age.as_secs();
                self.info(&REMOPTS_ACKED, &format_args!("{written}, from {by}, {age} s old"));
            }
            None => self.info(&REMOPTS_ACKED, &written),
        }
    }

    /// Logs information about the packet and what names its client.
    fn info(&self, message: &Message<3>, what: &dyn Display) {
        message.info([&self.question.label, &self.question.request.named(), what]);
    }

    /// Counts and logs that one member of the answer is refused.
    fn refuse(&self, reason: &dyn Display, member: &Member) {
        statistics::EDITS_REFUSED.count();
        if let Some(held_back) = self.editing.refusals.pass() {
            let url = self.question.request.shown_at(&self.editing.first_service);
            REMOPTS_EDIT_REFUSED.warn([
                &self.question.label,
                &format_args!("{reason}: {member}, in the answer to {url}{held_back}"),
            ]);
        }
    }

    /// Logs a warning about the packet and its request, if the throttle lets it pass.
    fn warn(&self, throttle: &Throttle, message: &Message<2>) {
        if let Some(held_back) = throttle.pass() {
            let url = self.question.request.shown_at(&self.editing.first_service);
            message.warn([&self.question.label, &format_args!("{url}{held_back}")]);
        }
    }

    /// Logs a message about the packet and its request.
    fn debug(&self, message: &Message<2>) {
        let url = self.question.request.shown_at(&self.editing.first_service);
        message.debug([&self.question.label, &url]);
    }
}

/// The start of what one line says that an ACK carries: an answer may have hundreds of edits.
fn start_of(mut text: String) -> String {
    const MOST: usize = 1000;
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        let length = text.len();
        text.truncate(end);
        text += &format!("… ({length} bytes)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(source: Source) -> Outcome {
        Outcome::Answered(Arc::new(Answer::default()), source)
    }

    /// A DISCOVER of a new client.
    const NEW: Terms =
        Terms { on_error: OnError::Continue, from_what_is_known: false, has_address: false };

    #[test]
    fn who_gets_no_reply() {
        let on_error_drop = Terms { on_error: OnError::Drop, ..NEW };
        for (outcome, silent, silent_with_drop) in [
            (answered(Source::Cached), false, false),
            (answered(Source::Asked), false, false),
            (answered(Source::Stale), false, false),
            (Outcome::Failed, false, true),
            (Outcome::FailedBefore, false, false),
            (Outcome::Shed, true, true),
            (Outcome::Congested, true, true),
            (Outcome::LetGo, false, false),
        ] {
            let is_silent = |terms| Verdict::on(&outcome, terms) == Verdict::Drop;
            assert_eq!(is_silent(NEW), silent, "{outcome:?}");
            assert_eq!(is_silent(on_error_drop), silent_with_drop, "{outcome:?}");
            // A client that renews is never met with silence.
            assert!(!is_silent(Terms { has_address: true, ..on_error_drop }), "{outcome:?}");
            let known = Terms { from_what_is_known: true, ..NEW };
            assert!(!is_silent(known), "{outcome:?}");
        }
        // The service's own word.
        let drop = Answer { drop: true, ..Answer::default() };
        let outcome = Outcome::Answered(Arc::new(drop), Source::Cached);
        assert_eq!(Verdict::on(&outcome, Terms { has_address: true, ..NEW }), Verdict::Drop);
    }

    #[test]
    fn each_outcome_has_its_statistic() {
        for (outcome, expected) in [
            (answered(Source::Cached), Some("remote-opts-cached")),
            (answered(Source::Asked), Some("remote-opts-asked")),
            (answered(Source::Stale), Some("remote-opts-stale")),
            (Outcome::Failed, Some("remote-opts-failed")),
            (Outcome::FailedBefore, Some("remote-opts-failed")),
            (Outcome::Shed, Some("remote-opts-turned-away")),
            (Outcome::Congested, Some("remote-opts-congested")),
            (Outcome::LetGo, None),
        ] {
            assert_eq!(statistic(&outcome).map(Counter::name), expected);
        }
    }
}
