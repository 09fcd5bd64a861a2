// SPDX-License-Identifier: MPL-2.0
//! One packet's lookup, between its callouts.
//!
//! pkt4_receive makes it, Kea's callout context keeps it, subnet4_select finds the answer,
//! pkt4_send writes the answer. The callouts run in packet threads, a parked packet goes on from
//! Kea's main thread. A bug in a callout (a panic, an exception of Kea's) costs this packet alone,
//! and counts as a failed lookup.

use std::fmt::Display;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use remote_opts_core::answer::{Member, Reason, class_member};
use remote_opts_core::config::OnError;
use remote_opts_core::filter::{is_edited, message_type};
use remote_opts_core::guard::guard;
use remote_opts_core::lookup::{Outcome, Question, Source};

use crate::ffi::{self, Callout, Packet};
use crate::instance::{self, Editing, Instance};
use crate::log::{
    Message, REMOPTS_CACHED, REMOPTS_DROPPED, REMOPTS_EDIT_REFUSED, REMOPTS_EDITED,
    REMOPTS_EXCEPTION, REMOPTS_LOOKUP_EMPTY, REMOPTS_NOT_NAMED, REMOPTS_PARKING_FULL,
    REMOPTS_STALE,
};
use crate::main_thread::{MainThread, Work};
use crate::parking::{ParkedPacket, Place};
use crate::query::{self, Admission};
use crate::{reply, statistics};

/// How much longer than `timeout` a packet thread waits that cannot park its packet. The engine
/// itself keeps the time, so a thread that waits this long has met a bug.
const WAITING_SLACK: Duration = Duration::from_millis(100);

/// What becomes of a packet after its lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kea goes on with the packet.
    Continue,
    /// Kea drops the packet: the client gets no reply, and asks again.
    Drop,
}

impl Verdict {
    /// The verdict on a packet whose lookup ended so.
    pub fn on(outcome: &Outcome, on_error: OnError) -> Self {
        match outcome {
            // A library that is being unloaded leaves its packets to Kea. (Parked packets, which
            // Kea cannot go on with then, have no verdict.)
            Outcome::Answered(..) | Outcome::LetGo => Verdict::Continue,
            Outcome::Failed | Outcome::Shed => match on_error {
                OnError::Continue => Verdict::Continue,
                OnError::Drop => Verdict::Drop,
            },
        }
    }
}

/// The statistic that counts this outcome; `None` for a packet that was let go.
fn statistic(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Answered(_, Source::Cached) => Some(statistics::CACHED),
        Outcome::Answered(_, Source::Asked) => Some(statistics::ASKED),
        Outcome::Answered(_, Source::Stale) => Some(statistics::STALE),
        Outcome::Failed => Some(statistics::FAILED),
        Outcome::Shed => Some(statistics::SHED),
        Outcome::LetGo => None,
    }
}

/// pkt4_receive: decides whether the query's client is looked up, makes the request, and keeps both
/// in the packet's callout context. Packet thread.
pub fn receive(query: &Packet, callout: &Callout) {
    let Some(instance) = instance::current() else {
        return;
    };
    match instance.queries.admission(query) {
        Ok(Admission::Admitted) => {}
        Ok(Admission::NotAdmitted) => return query::log_not_admitted(query),
        Ok(Admission::OtherMessageType) => return,
        Err(exception) => return log_exception("pkt4_receive", &exception),
    }
    step("pkt4_receive", callout, instance.on_error, || {
        match instance.queries.question(query)? {
            Some(question) => {
                callout.keep(Box::new(PacketLookup::new(&instance, question)))?;
            }
            None if REMOPTS_NOT_NAMED.debug_enabled() => {
                REMOPTS_NOT_NAMED.debug([&query::label(query)]);
            }
            None => {}
        }
        Ok(None)
    });
}

/// Runs one step of an admitted packet's lookup, and tells Kea to drop the packet where the step's
/// verdict says so. A step without a verdict leaves the packet as it is. A panic or an exception in
/// the step is a failed lookup.
fn step(
    callout_name: &str,
    callout: &Callout,
    on_error: OnError,
    step: impl FnOnce() -> Result<Option<Verdict>, cxx::Exception>,
) {
    let done = guard(Err(None), || step().map_err(Some));
    let verdict = done.unwrap_or_else(|failure| {
        // A panic has been reported already.
        if let Some(exception) = failure {
            log_exception(callout_name, &exception);
        }
        let verdict = Verdict::on(&Outcome::Failed, on_error);
        statistics::count(statistics::FAILED);
        if verdict == Verdict::Drop {
            statistics::count(statistics::DROPPED);
        }
        Some(verdict)
    });
    if verdict == Some(Verdict::Drop) {
        if let Err(exception) = callout.drop_packet() {
            log_exception(callout_name, &exception);
        }
    }
}

fn log_exception(callout_name: &str, exception: &cxx::Exception) {
    REMOPTS_EXCEPTION.error([&callout_name, exception]);
}

/// One packet's lookup, as Kea's callout context keeps it.
pub struct PacketLookup(Arc<Lookup>);

/// Shared by the packet's callouts and, while the packet is parked, by the engine.
struct Lookup {
    question: Question,
    /// Weak: a packet that Kea has not finished must not keep an instance alive that is unloaded,
    /// whose end lets the packet go.
    instance: Weak<Instance>,
    /// What it takes to edit the reply. A packet that was resumed just before the library is
    /// unloaded still gets its answer.
    editing: Arc<Editing>,
    /// What the lookup has found. Set before Kea goes on with the packet.
    outcome: OnceLock<Outcome>,
}

impl PacketLookup {
    fn new(instance: &Arc<Instance>, question: Question) -> Self {
        let (weak, editing) = (Arc::downgrade(instance), Arc::clone(&instance.editing));
        let outcome = OnceLock::new();
        PacketLookup(Arc::new(Lookup { question, instance: weak, editing, outcome }))
    }

    /// subnet4_select: finds the answer. Where a service must be asked, the packet is parked, or,
    /// if this Kea cannot park it, its thread waits. Packet thread.
    pub fn look_up(&self, query: &Packet, callout: &Callout) {
        // Without the instance of its pkt4_receive, the packet goes on as if there were no library.
        if let Some(instance) = self.0.instance.upgrade() {
            step("subnet4_select", callout, instance.on_error, || {
                self.find_answer(&instance, query, callout)
            });
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
            None if !ffi::can_park() => wait(instance, question.clone()),
            None => match instance.places.take(ffi::packet_threads()?) {
                Some(place) => {
                    self.park(instance, query, callout, place)?;
                    return Ok(None);
                }
                None => {
                    if let Some(held_back) = instance.parking_full.pass() {
                        let url = question.request.shown_at(&instance.editing.first_service);
                        REMOPTS_PARKING_FULL
                            .warn([&question.label, &format_args!("{url}{held_back}")]);
                    }
                    Outcome::Shed
                }
            },
        };
        Ok(Some(self.0.settle(instance, outcome, &|class| query.add_class(class))))
    }

    /// Parks the packet until the engine has the outcome.
    fn park(
        &self,
        instance: &Instance,
        query: &Packet,
        callout: &Callout,
        place: Place,
    ) -> Result<(), cxx::Exception> {
        let packet = ParkedPacket::park(callout, query, place)?;
        let (lookup, main_thread) = (Arc::clone(&self.0), Arc::clone(&instance.main_thread));
        let deliver = move |outcome| deliver(packet, lookup, outcome, &main_thread);
        instance.engine.wait(self.0.question.clone(), Box::new(deliver));
        Ok(())
    }

    /// pkt4_send: writes the answer into the reply. A reply without an answer stays as Kea made it.
    /// Packet thread.
    pub fn write(&self, query: &Packet, reply: &Packet) {
        let reply_type = match reply.message_type() {
            Ok(reply_type) => reply_type,
            Err(exception) => return log_exception("pkt4_send", &exception),
        };
        if is_edited(reply_type) {
            self.0.edit(query, reply);
        }
        // An ACK or a NAK ends the exchange.
        if reply_type != message_type::OFFER {
            if let Some(instance) = self.0.instance.upgrade() {
                instance.engine.exchange_over(&self.0.question.transaction.client);
            }
        }
    }
}

/// Waits for the outcome in this thread, on a Kea that cannot park the packet.
fn wait(instance: &Instance, question: Question) -> Outcome {
    let (sender, receiver) = mpsc::sync_channel(1);
    // The error says that the receiver has stopped waiting.
    let deliver = move |outcome| drop(sender.send(outcome));
    instance.engine.wait(question, Box::new(deliver));
    receiver.recv_timeout(instance.timeout + WAITING_SLACK).unwrap_or(Outcome::Failed)
}

/// Takes the outcome of a parked packet's lookup from the engine. Called in any thread, with
/// [`Outcome::LetGo`] only on Kea's main thread, where the library is unloaded.
fn deliver(packet: ParkedPacket, lookup: Arc<Lookup>, outcome: Outcome, main_thread: &MainThread) {
    match outcome {
        Outcome::LetGo => packet.let_go(),
        outcome => main_thread.give(Box::new(Settled { packet, lookup, outcome })),
    }
}

/// A parked packet whose lookup has an outcome, on its way to Kea's main thread.
struct Settled {
    packet: ParkedPacket,
    lookup: Arc<Lookup>,
    outcome: Outcome,
}

impl Work for Settled {
    fn run(self: Box<Self>) {
        let Settled { packet, lookup, outcome } = *self;
        let Some(instance) = lookup.instance.upgrade() else {
            return packet.let_go();
        };
        let failed = Verdict::on(&Outcome::Failed, instance.on_error);
        let verdict =
            guard(failed, || lookup.settle(&instance, outcome, &|class| packet.add_class(class)));
        match verdict {
            Verdict::Continue => packet.resume(),
            Verdict::Drop => packet.let_go(),
        }
    }

    fn let_go(self: Box<Self>) {
        self.packet.let_go();
    }
}

impl Lookup {
    /// Keeps, counts and logs the outcome, and puts a query that goes on into the answer's client
    /// classes. Returns the verdict on the packet.
    fn settle(
        &self,
        instance: &Instance,
        outcome: Outcome,
        add_class: &dyn Fn(&str) -> Result<bool, cxx::Exception>,
    ) -> Verdict {
        let verdict = Verdict::on(&outcome, instance.on_error);
        if let Some(statistic) = statistic(&outcome) {
            statistics::count(statistic);
        }
        match &outcome {
            Outcome::Answered(_, Source::Stale) => self.debug(&REMOPTS_STALE),
            Outcome::Answered(_, Source::Cached) => self.debug(&REMOPTS_CACHED),
            _ => {}
        }
        if let Outcome::Answered(answer, _) = &outcome {
            if answer.is_nothing() {
                self.debug(&REMOPTS_LOOKUP_EMPTY);
            }
        }
        if verdict == Verdict::Drop {
            statistics::count(statistics::DROPPED);
            self.debug(&REMOPTS_DROPPED);
        }
        // Set once: each packet has one outcome.
        let _ = self.outcome.set(outcome);
        self.add_classes(add_class);
        verdict
    }

    /// Puts the query into the answer's client classes, before Kea goes on with it.
    fn add_classes(&self, add_class: &dyn Fn(&str) -> Result<bool, cxx::Exception>) {
        let Some(Outcome::Answered(answer, _)) = self.outcome.get() else {
            return;
        };
        for class in &answer.client_classes {
            let refuse = |reason: &dyn Display| self.refuse(reason, &class_member(class));
            match add_class(class) {
                Ok(true) => {}
                Ok(false) => refuse(&Reason::UnknownClass),
                Err(exception) => refuse(&exception),
            }
        }
    }

    /// Writes the answer, if there is one, into the reply.
    fn edit(&self, query: &Packet, reply: &Packet) {
        let Some(Outcome::Answered(answer, _)) = self.outcome.get() else {
            return;
        };
        if answer.is_nothing() {
            return;
        }
        let refuse = |reason: &dyn Display, member: &Member| self.refuse(reason, member);
        let mut written = REMOPTS_EDITED.debug_enabled().then(Vec::new);
        reply::apply(answer, query, reply, &refuse, written.as_mut());
        if let Some(written) = written {
            let url = self.question.request.shown_at(&self.editing.first_service);
            REMOPTS_EDITED.debug([&self.question.label, &written.join(", "), &url]);
        }
    }

    /// Logs that one member of the answer is refused.
    fn refuse(&self, reason: &dyn Display, member: &Member) {
        if let Some(held_back) = self.editing.refusals.pass() {
            REMOPTS_EDIT_REFUSED
                .warn([&self.question.label, &format_args!("{reason}: {member}{held_back}")]);
        }
    }

    /// Logs a message about the packet and its request.
    fn debug(&self, message: &Message<2>) {
        let url = self.question.request.shown_at(&self.editing.first_service);
        message.debug([&self.question.label, &url]);
    }
}

#[cfg(test)]
mod tests {
    use remote_opts_core::answer::Answer;

    use super::*;

    /// All outcomes, each with what becomes of its packet where `on-error` is `drop`, and with the
    /// statistic that counts it.
    fn outcomes() -> Vec<(Outcome, Verdict, Option<&'static str>)> {
        let answered = |source| Outcome::Answered(Arc::new(Answer::default()), source);
        vec![
            (answered(Source::Cached), Verdict::Continue, Some("remote-opts-cached")),
            (answered(Source::Asked), Verdict::Continue, Some("remote-opts-asked")),
            (answered(Source::Stale), Verdict::Continue, Some("remote-opts-stale")),
            (Outcome::Failed, Verdict::Drop, Some("remote-opts-failed")),
            (Outcome::Shed, Verdict::Drop, Some("remote-opts-turned-away")),
            (Outcome::LetGo, Verdict::Continue, None),
        ]
    }

    #[test]
    fn only_a_lookup_without_an_answer_drops_a_packet_and_only_where_on_error_says_so() {
        for (outcome, verdict, _) in outcomes() {
            assert_eq!(Verdict::on(&outcome, OnError::Drop), verdict);
            assert_eq!(Verdict::on(&outcome, OnError::Continue), Verdict::Continue);
        }
    }

    #[test]
    fn each_outcome_has_its_statistic() {
        for (outcome, _, expected) in outcomes() {
            assert_eq!(statistic(&outcome), expected);
        }
    }
}
