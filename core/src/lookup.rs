// SPDX-License-Identifier: MPL-2.0
//! The lookup engine: an answer from the cache, else from the request already in flight for the
//! same client, else from a new request.
//!
//! The Kea adapter asks. The engine knows no packet: who waits for an answer leaves a function that
//! is called with the outcome.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::cache::{Cache, Transaction};
use crate::event::{Event, Label, Listener};
use crate::failover::Failover;
use crate::fetch::{Fetch, Found};
use crate::guard::guard;
use crate::request::Request;

/// One packet's question.
#[derive(Clone)]
pub struct Question {
    /// What to ask about the packet's client.
    pub request: Arc<Request>,
    /// The packet's place in its DHCP exchange.
    pub transaction: Transaction,
    /// The packet's name in the log.
    pub label: Label,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is an answer.
    Answered(Arc<Answer>, Source),
    /// No service had an answer.
    Failed,
    /// No request was made, because as many as allowed are in flight.
    Shed,
    /// The engine is closed: the library is being unloaded.
    LetGo,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From the cache, fresh, or from the packet's own exchange.
    Cached,
    /// From a service.
    Asked,
    /// From the cache, stale, since no fresh answer can be had.
    Stale,
}

/// Called once with the outcome, on the runtime's thread or the calling one. Must not block.
pub type Deliver = Box<dyn FnOnce(Outcome) + Send>;

/// The lookups of one configuration. Every function may be called from any thread.
pub struct LookupEngine<F>(Arc<Shared<F>>);

struct Shared<F> {
    /// Locked for one step at a time. Nobody waits for anything while holding the lock.
    state: Mutex<State>,
    failover: Arc<Failover<F>>,
    /// Where requests are made.
    runtime: Handle,
    /// The concurrency limit.
    max_in_flight: usize,
    listener: Arc<dyn Listener>,
}

struct State {
    cache: Cache,
    /// Who waits for each request in flight.
    in_flight: HashMap<Arc<Request>, Vec<WaitingPacket>>,
    /// Whether the engine is closed. A closed engine looks nothing up.
    closed: bool,
}

/// A packet that waits for a request in flight.
struct WaitingPacket {
    transaction: Transaction,
    deliver: Deliver,
}

impl<F: Fetch> LookupEngine<F> {
    /// An engine without answers and requests. It keeps at most `cache_size` answers, and makes at
    /// most `max_in_flight` requests at once, on the thread of `runtime`.
    pub fn new(
        failover: Arc<Failover<F>>,
        cache_size: usize,
        max_in_flight: usize,
        runtime: Handle,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let cache = Cache::new(cache_size);
        let state = Mutex::new(State { cache, in_flight: HashMap::new(), closed: false });
        LookupEngine(Arc::new(Shared { state, failover, runtime, max_in_flight, listener }))
    }

    /// The outcome, where it is known without waiting for a service.
    pub fn answer_now(&self, question: &Question) -> Option<Outcome> {
        let outcome = self.0.answer_now(&mut self.0.state(), question)?;
        self.0.report(question, &outcome);
        Some(outcome)
    }

    /// Leaves `deliver` to be called with the outcome: at once where it is known, else when the
    /// request for this client has ended.
    pub fn wait(&self, question: Question, deliver: Deliver) {
        let mut state = self.0.state();
        if let Some(outcome) = self.0.answer_now(&mut state, &question) {
            drop(state);
            self.0.report(&question, &outcome);
            return deliver(outcome);
        }
        let Question { request, transaction, label } = question;
        let waiting = WaitingPacket { transaction, deliver };
        if let Some(others) = state.in_flight.get_mut(&request) {
            others.push(waiting);
            drop(state);
            self.0.listener.notice(&Event::Coalesced { label: &label, request: &request });
            return;
        }
        state.in_flight.insert(Arc::clone(&request), vec![waiting]);
        drop(state);
        let mut in_flight = InFlight { shared: Arc::clone(&self.0), request, ended: false };
        self.0.runtime.spawn(async move {
            let found = in_flight.shared.failover.ask(&in_flight.request, &label).await;
            in_flight.end(found);
        });
    }

    /// Ends the client's DHCP exchange: see [`Cache::end_exchange`].
    pub fn exchange_over(&self, client: &[u8]) {
        self.0.state().cache.end_exchange(client);
    }

    /// Lets go of every packet that waits, and takes no more questions.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.closed = true;
        let in_flight = mem::take(&mut state.in_flight);
        drop(state);
        let waiting = in_flight.into_values().flatten();
        waiting.for_each(|waiting| (waiting.deliver)(Outcome::LetGo));
    }
}

impl<F: Fetch> Shared<F> {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves no half-done change behind: each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_now(&self, state: &mut State, question: &Question) -> Option<Outcome> {
        let Question { request, transaction, .. } = question;
        if state.closed {
            return Some(Outcome::LetGo);
        }
        let now = Instant::now().into_std();
        if let Some(answer) = state.cache.fresh(request, transaction, now) {
            return Some(Outcome::Answered(answer, Source::Cached));
        }
        if state.in_flight.contains_key(request) {
            return None;
        }
        if self.failover.all_down() {
            return Some(state.without_fresh_answer(request, transaction, now));
        }
        (state.in_flight.len() >= self.max_in_flight).then_some(Outcome::Shed)
    }

    /// Reports an outcome that was known at once. The state must not be locked.
    fn report(&self, question: &Question, outcome: &Outcome) {
        let Question { request, label, .. } = question;
        match outcome {
            Outcome::Failed | Outcome::Answered(_, Source::Stale) => {
                self.failover.want(request);
                self.listener.notice(&Event::NoServiceUp { label, request });
            }
            Outcome::Shed => {
                self.listener.notice(&Event::Shed { label, limit: self.max_in_flight });
            }
            Outcome::Answered(..) | Outcome::LetGo => {}
        }
    }

    /// Ends a request, and tells every packet that waits for it.
    fn end(&self, request: &Arc<Request>, found: Option<Found>) {
        let now = Instant::now().into_std();
        let mut state = self.state();
        let waiting = state.in_flight.remove(request).unwrap_or_default();
        if let Some(Found { answer, freshness }) = &found {
            state.cache.store(request, answer, *freshness, now);
        }
        let told: Vec<_> = waiting
            .into_iter()
            .map(|WaitingPacket { transaction, deliver }| {
                let outcome = match &found {
                    Some(Found { answer, .. }) => {
                        state.cache.begin_exchange(request, &transaction, answer, now);
                        Outcome::Answered(Arc::clone(answer), Source::Asked)
                    }
                    None => state.without_fresh_answer(request, &transaction, now),
                };
                (deliver, outcome)
            })
            .collect();
        drop(state);
        // A bug in one packet's `deliver` costs no other packet its outcome.
        told.into_iter().for_each(|(deliver, outcome)| guard((), || deliver(outcome)));
    }
}

impl State {
    /// The outcome where no fresh answer can be had: a stale answer, if one may serve.
    fn without_fresh_answer(
        &mut self,
        request: &Arc<Request>,
        transaction: &Transaction,
        now: std::time::Instant,
    ) -> Outcome {
        match self.cache.stale(request, now) {
            Some(answer) => {
                self.cache.begin_exchange(request, transaction, &answer, now);
                Outcome::Answered(answer, Source::Stale)
            }
            None => Outcome::Failed,
        }
    }
}

/// A request in flight. However it ends, by a panic too, every packet that waits for it is told.
struct InFlight<F: Fetch> {
    shared: Arc<Shared<F>>,
    request: Arc<Request>,
    ended: bool,
}

impl<F: Fetch> InFlight<F> {
    fn end(&mut self, found: Option<Found>) {
        self.ended = true;
        self.shared.end(&self.request, found);
    }
}

impl<F: Fetch> Drop for InFlight<F> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(None);
        }
    }
}

#[cfg(test)]
mod tests;
