// SPDX-License-Identifier: MPL-2.0
//! The lookup engine: an answer from the cache, else from the request already under way for the
//! same client, else from a new request.
//!
//! A new request is made at once, or stands in line where as many requests are in flight as
//! allowed. A packet waits for it, or leaves: then the lookup goes on without the packet, and the
//! client's next packet finds the answer. A stale answer serves wherever no fresh one can be had.
//!
//! The Kea adapter asks. The engine knows no packet: who waits for an answer leaves a function that
//! is called with the outcome.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::mem;
use std::net::Ipv4Addr;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, PoisonError};

use crate::answer::Answer;
use crate::cache::{self, Cache, Fill, Freshness, Known, Numbered, Transaction};
use crate::event::{Event, Label, Listener};
use crate::failover::{Failover, Readiness, Retried, ServiceStatus, Unanswered};
use crate::fetch::{Fetch, Found};
use crate::guard::guard;
use crate::request::{Request, SubOptions};
use crate::sync::{Handle, Instant, Mutex, MutexGuard, sleep_until, yield_now};

/// The most lookups that stand in line.
pub(crate) const MOST_IN_LINE: usize = 250_000;

/// The most bytes of requests that stand in line.
pub(crate) const MOST_BYTES_IN_LINE: usize = 128 * 1024 * 1024;

/// The most clients remembered that left one lookup.
pub(crate) const MOST_LEFT: usize = 32;

/// The most lookups in line that end in one step, while the state is locked.
const BATCH: usize = 100;

/// The most kept answers that one step looks at or removes, while the state is locked.
const ANSWERS_AT_ONCE: usize = 500;

/// What an engine does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// The services, in the order of the parameter `url`.
    pub services: Vec<ServiceStatus>,
    /// How many requests back off.
    pub back_offs: usize,
    /// How many lookups are in flight.
    pub in_flight: usize,
    /// How many lookups stand in line.
    pub in_line: usize,
    /// How full the cache is.
    pub fill: Fill,
}

/// One packet's question.
#[derive(Clone)]
pub struct Question {
    /// What to ask about the packet's client.
    pub request: Arc<Request>,
    /// The packet's place in its DHCP exchange.
    pub transaction: Transaction,
    /// The packet's name in the log.
    pub label: Label,
    /// Whether the client gets no reply to a packet that finds no answer, and so asks again. An
    /// answer that comes later is kept for the client's next packet, whatever the service lets
    /// others use it for.
    pub asks_again: bool,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is an answer.
    Answered(Arc<Answer>, Source),
    /// No service had an answer, or no service is asked for this request now.
    Failed,
    /// The exchange's OFFER went out without an answer, because its lookup failed. The ACK does,
    /// too.
    FailedBefore,
    /// The packet does not wait, or a later packet of its client waits in its place. The lookup
    /// goes on, and the client's next packet finds the answer.
    Shed,
    /// The request could not be made, for a reason that lies on this machine. The client's next
    /// packet has it made again.
    Congested,
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

impl<F> Clone for LookupEngine<F> {
    fn clone(&self) -> Self {
        LookupEngine(Arc::clone(&self.0))
    }
}

struct Shared<F> {
    /// Locked for one step at a time. Nobody waits for anything while holding the lock.
    state: Mutex<State>,
    failover: Arc<Failover<F>>,
    /// Where requests are made.
    runtime: Handle,
    /// The concurrency limit.
    max_in_flight: usize,
    /// How many addresses the kept answers reserve. Kea asks by address for many an address, and
    /// most services reserve none.
    addresses: Arc<AtomicUsize>,
    listener: Arc<dyn Listener>,
}

struct State {
    cache: Cache,
    /// The lookups under way: in flight, or in line.
    lookups: HashMap<Arc<Request>, Lookup>,
    /// How many of the lookups are in flight.
    in_flight: usize,
    /// The most lookups in flight at once: see [`LookupEngine::take_most_in_flight`].
    most_in_flight: usize,
    line: Line,
    /// Whether the engine is closed. A closed engine looks nothing up.
    closed: bool,
}

/// One lookup under way.
struct Lookup {
    /// When its first packet came.
    begun: Instant,
    /// Whether the lookup is in flight. Else it stands in line.
    in_flight: bool,
    /// Whether [`Line::patience`] has an entry for it.
    is_watched: bool,
    /// The packets that wait for it.
    waiting: Vec<WaitingPacket>,
    /// The clients whose packets have left it, and when. Their next packets get the answer.
    left: Vec<(Arc<[u8]>, Instant)>,
}

/// A packet that waits for a lookup.
struct WaitingPacket {
    transaction: Transaction,
    /// As in [`Question`].
    asks_again: bool,
    /// Until when the packet waits while the lookup stands in line.
    until: Instant,
    deliver: Deliver,
}

/// The lookups that stand in line, first come, first served.
#[derive(Default)]
struct Line {
    lookups: VecDeque<(Arc<Request>, Label)>,
    /// The bytes of the requests in `lookups`.
    bytes: usize,
    /// When to look next at the packets that wait for a lookup in line: one entry for each such
    /// lookup.
    patience: BinaryHeap<Patience>,
}

/// When the patience of a packet ends that waits for a lookup in line. The earliest time is the
/// greatest value.
struct Patience {
    until: Instant,
    request: Arc<Request>,
}

impl PartialEq for Patience {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}

impl Eq for Patience {}

impl PartialOrd for Patience {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Patience {
    fn cmp(&self, other: &Self) -> Ordering {
        other.until.cmp(&self.until)
    }
}

impl Line {
    /// Puts a lookup at the end. False where the line is full.
    fn push(&mut self, request: &Arc<Request>, label: &Label) -> bool {
        let bytes = self.bytes + request.bytes();
        if self.lookups.len() >= MOST_IN_LINE || bytes > MOST_BYTES_IN_LINE {
            return false;
        }
        self.bytes = bytes;
        self.lookups.push_back((Arc::clone(request), Arc::clone(label)));
        true
    }

    fn pop(&mut self) -> Option<(Arc<Request>, Label)> {
        let first = self.lookups.pop_front()?;
        self.bytes -= first.0.bytes();
        Some(first)
    }
}

/// What becomes of a lookup that begins.
enum Begun {
    /// It is in flight.
    Asked,
    /// It stands in line.
    InLine,
    /// Another packet has begun it.
    Before,
    /// The line is full with so many lookups, so there is no lookup.
    Shed(usize),
}

impl<F: Fetch> LookupEngine<F> {
    /// An engine that keeps its answers in `cache`, and makes at most `max_in_flight` requests at
    /// once, on the thread of `runtime`.
    pub fn new(
        failover: Arc<Failover<F>>,
        cache: Cache,
        max_in_flight: usize,
        runtime: Handle,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let addresses = cache.addresses();
        let state = Mutex::new(State {
            cache,
            lookups: HashMap::new(),
            in_flight: 0,
            most_in_flight: 0,
            line: Line::default(),
            closed: false,
        });
        let shared = Shared { state, failover, runtime, max_in_flight, addresses, listener };
        LookupEngine(Arc::new(shared))
    }

    /// The outcome, where it is known without waiting for a service.
    pub fn answer_now(&self, question: &Question) -> Option<Outcome> {
        let shared = &self.0;
        let mut state = shared.state();
        let outcome = match shared.answer_now(&mut state, question) {
            Some(outcome) => outcome,
            None => {
                // In a storm the stale answer serves, and the fresh one is fetched for the next
                // packet.
                if !state.would_stand_in_line(&question.request, shared.max_in_flight) {
                    return None;
                }
                let outcome = state.stale(&question.request, &question.transaction)?;
                let begun = shared.begin(&mut state, question);
                drop(state);
                shared.report_begun(begun, question);
                return Some(outcome);
            }
        };
        drop(state);
        shared.report(question, &outcome);
        Some(outcome)
    }

    /// Leaves `deliver` to be called with the outcome: at once where it is known, else when the
    /// lookup has ended, or when the packet has waited in line for as long as one lookup may take.
    pub fn wait(&self, question: Question, deliver: Deliver) {
        let shared = &self.0;
        let mut state = shared.state();
        if let Some(outcome) = shared.answer_now(&mut state, &question) {
            drop(state);
            shared.report(&question, &outcome);
            return deliver(outcome);
        }
        let begun = shared.begin(&mut state, &question);
        let until = Instant::now() + shared.failover.timeout();
        let (transaction, asks_again) = (question.transaction.clone(), question.asks_again);
        let waiting = WaitingPacket { transaction, asks_again, until, deliver };
        // A lookup that found no place in line is over already.
        let shed = match state.lookups.get_mut(&question.request) {
            None => Some(waiting),
            Some(lookup) => {
                let superseded = lookup.wait(waiting);
                if !lookup.in_flight && !mem::replace(&mut lookup.is_watched, true) {
                    shared.keep_patience(&mut state.line, until, &question.request);
                }
                superseded
            }
        };
        drop(state);
        shared.report_begun(begun, &question);
        tell(shed.map(|waiting| (waiting.deliver, Outcome::Shed)));
    }

    /// Has the lookup go on without the packet. While the lookup is in flight the client's next
    /// packet will find a fresh answer, so a stale answer is the outcome only where `takes_stale`
    /// says so. While the lookup stands in line, a stale answer serves in any case, where there is
    /// one.
    pub fn leave(&self, question: &Question, takes_stale: bool) -> Outcome {
        let shared = &self.0;
        let Question { request, transaction, .. } = question;
        let mut state = shared.state();
        if let Some(outcome) = shared.answer_now(&mut state, question) {
            drop(state);
            shared.report(question, &outcome);
            return outcome;
        }
        let begun = shared.begin(&mut state, question);
        let in_flight = state.lookups.get(request).is_some_and(|lookup| lookup.in_flight);
        let outcome =
            if in_flight && !takes_stale { None } else { state.stale(request, transaction) };
        let mut waited = None;
        if let Some(lookup) = state.lookups.get_mut(request) {
            // The packet may have waited in vain.
            waited = lookup.take(&transaction.client);
            if outcome.is_none() && question.asks_again {
                lookup.leave(&transaction.client);
            }
        }
        drop(state);
        shared.report_begun(begun, question);
        tell(waited.map(|waiting| (waiting.deliver, Outcome::Shed)));
        outcome.unwrap_or(Outcome::Shed)
    }

    /// An OFFER goes out without an answer, because the lookup failed. The exchange's ACK will do
    /// the same.
    pub fn offered_without_answer(&self, question: &Question) {
        let (request, transaction) = (&question.request, &question.transaction);
        let now = Instant::now().into_std();
        self.0.state().cache.begin_exchange(request, transaction, None, now);
    }

    /// Whether a packet may go on with a DHCP exchange: see [`Cache::has_exchanges`].
    pub fn has_exchanges(&self) -> bool {
        self.0.state().cache.has_exchanges(Instant::now().into_std())
    }

    /// The request of the DHCP exchange that a packet goes on with: see [`Cache::exchange_of`].
    pub fn exchange_of(
        &self,
        transaction: &Transaction,
        sub_options: &SubOptions,
    ) -> Option<Arc<Request>> {
        // Without the lock: a DISCOVER goes on with no exchange.
        if !transaction.continues {
            return None;
        }
        let now = Instant::now().into_std();
        self.0.state().cache.exchange_of(transaction, sub_options, now)
    }

    /// The request of the DHCP exchange that a packet goes on with, which makes another request by
    /// itself, or none: see [`Cache::reopen_exchange`].
    pub fn reopen_exchange(
        &self,
        transaction: &Transaction,
        sub_options: &SubOptions,
        own: Option<&Request>,
    ) -> Option<Arc<Request>> {
        if !transaction.continues {
            return None;
        }
        let now = Instant::now().into_std();
        self.0.state().cache.reopen_exchange(transaction, sub_options, own, now)
    }

    /// The client has its ACK: see [`Cache::close_exchange`].
    pub fn exchange_over(&self, client: &[u8]) {
        self.0.state().cache.close_exchange(client);
    }

    /// The client is refused its address: see [`Cache::end_exchange`].
    pub fn exchange_refused(&self, client: &[u8]) {
        self.0.state().cache.end_exchange(client);
    }

    /// A DISCOVER of this transaction is not looked up: see [`Cache::end_exchange_of`].
    pub fn not_looked_up(&self, transaction: &Transaction) {
        if !transaction.continues {
            self.0.state().cache.end_exchange_of(transaction);
        }
    }

    /// Makes every kept answer stale: see [`Cache::expire`].
    pub fn expire(&self) {
        let now = Instant::now().into_std();
        self.0.state().cache.expire(now);
    }

    /// Has a packet of this client not wait any more for a lookup: the client's next packet has
    /// another request.
    pub fn forget(&self, request: &Arc<Request>, client: &Arc<[u8]>) {
        let mut state = self.0.state();
        let lookup = state.lookups.get_mut(request);
        let waiting = lookup.and_then(|lookup| lookup.take(client));
        drop(state);
        tell(waiting.map(|waiting| (waiting.deliver, Outcome::Shed)));
    }

    /// The answers kept, and how often they have changed. `None` where they have changed just as
    /// often as `changes` says.
    pub fn kept_since(&self, changes: Option<u64>) -> Option<(Vec<cache::Entry>, u64)> {
        let state = self.0.state();
        let now = Instant::now().into_std();
        let changed = state.cache.changes();
        (Some(changed) != changes && !state.closed).then(|| (state.cache.entries(now), changed))
    }

    /// What the engine does now.
    pub fn status(&self) -> EngineStatus {
        let failover = &self.0.failover;
        let (services, back_offs) = (failover.statuses(), failover.back_offs());
        let state = self.0.state();
        EngineStatus {
            services,
            back_offs,
            in_flight: state.in_flight,
            in_line: state.line.lookups.len(),
            fill: state.cache.fill(),
        }
    }

    /// The most lookups in flight at once since the last call.
    pub fn take_most_in_flight(&self) -> usize {
        let mut state = self.0.state();
        let in_flight = state.in_flight;
        mem::replace(&mut state.most_in_flight, in_flight)
    }

    /// The answer kept for a request: see [`Cache::entry`].
    pub fn kept(&self, request: &Arc<Request>) -> Option<cache::Entry> {
        self.0.state().cache.entry(request, Instant::now().into_std())
    }

    /// Whether a kept answer reserves an address.
    pub fn reserves_addresses(&self) -> bool {
        self.0.addresses.load(atomic::Ordering::Relaxed) > 0
    }

    /// The request whose kept answer reserves this address: see [`Cache::request_of`].
    pub fn request_of(&self, address: Ipv4Addr) -> Option<Arc<Request>> {
        let state = self.0.state();
        state.cache.request_of(address, Instant::now().into_std()).cloned()
    }

    /// An ACK has carried the kept answer to this request to this client: see
    /// [`Cache::note_client`].
    pub fn note_client(&self, request: &Arc<Request>, client: &Arc<[u8]>, has_address: bool) {
        self.0.state().cache.note_client(request, client, has_address);
    }

    /// The request whose kept answer reserves this address, where nobody knows for which client:
    /// see [`Cache::request_of_unknown_owner`].
    pub fn request_of_unknown_owner(&self, address: Ipv4Addr) -> Option<Arc<Request>> {
        let now = Instant::now().into_std();
        self.0.state().cache.request_of_unknown_owner(address, now).cloned()
    }

    /// The request whose kept answer reserves this address for the client: see
    /// [`Cache::request_of_client`].
    pub fn request_of_client(&self, address: Ipv4Addr, client: &[u8]) -> Option<Arc<Request>> {
        let now = Instant::now().into_std();
        self.0.state().cache.request_of_client(address, client, now).cloned()
    }

    /// At most `limit` kept answers with higher numbers than `after`, in the order of their
    /// numbers: see [`Cache::page`]. Fewer than `limit` are the last ones.
    pub fn page(&self, mut after: u64, limit: usize) -> Vec<Numbered> {
        let mut found = Vec::new();
        while found.len() < limit {
            let most = ANSWERS_AT_ONCE.min(limit - found.len());
            let now = Instant::now().into_std();
            let (mut numbered, last) = self.0.state().cache.page(after, most, now);
            found.append(&mut numbered);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        found
    }

    /// Forgets the answer kept for a request: see [`Cache::remove`].
    pub fn remove(&self, request: &Arc<Request>) -> bool {
        self.0.state().cache.remove(request)
    }

    /// Forgets the kept answers to the requests for which `is_meant` says so, and returns how many
    /// there were. Works in steps, so that packets do not wait long for the state. An answer that
    /// is stored meanwhile may stay.
    pub fn remove_all(&self, is_meant: impl Fn(&Request) -> bool) -> usize {
        let (mut after, mut removed) = (0, 0);
        // Answers with higher numbers come from now on. A busy cache would have no end of them.
        let end = self.0.state().cache.changes();
        while after < end {
            let now = Instant::now().into_std();
            let (numbered, last) = self.0.state().cache.page(after, ANSWERS_AT_ONCE, now);
            let requests = numbered.into_iter().map(|numbered| numbered.entry.request);
            let meant: Vec<_> = requests.filter(|request| is_meant(request)).collect();
            let mut state = self.0.state();
            removed += meant.iter().filter(|request| state.cache.remove(request)).count();
            drop(state);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        removed
    }

    /// Forgets all kept answers, and returns how many there were: see [`Cache::clear`].
    pub fn clear(&self) -> usize {
        let cleared = self.0.state().cache.clear();
        let number = cleared.len();
        // Many answers take time to drop, which the caller may not have.
        self.0.runtime.spawn_blocking(move || drop(cleared));
        number
    }

    /// Keeps an answer as if a service had just given it, and gives it to every packet that waits
    /// for it. Returns whether the answer is kept: the cache may have no room. A request in flight
    /// goes on, and its answer will take the place.
    pub fn insert(&self, request: &Arc<Request>, answer: &Arc<Answer>, life: Freshness) -> bool {
        let shared = &self.0;
        let now = Instant::now().into_std();
        let mut guard = shared.state();
        let state = &mut *guard;
        if state.closed {
            return false;
        }
        state.cache.store(request, answer, life, now);
        let is_kept = state.cache.entry(request, now).is_some();
        let mut told = Vec::new();
        if is_kept {
            let lookup = state.lookups.get_mut(request);
            let waiting = lookup.map(|lookup| {
                // The next packets of these clients find the answer, however the lookup ends.
                lookup.left.clear();
                mem::take(&mut lookup.waiting)
            });
            for WaitingPacket { transaction, deliver, .. } in waiting.unwrap_or_default() {
                state.cache.begin_exchange(request, &transaction, Some(answer), now);
                told.push((deliver, Outcome::Answered(Arc::clone(answer), Source::Cached)));
            }
        }
        drop(guard);
        if is_kept {
            shared.failover.end_back_off(request);
        }
        tell(told);
        is_kept
    }

    /// Has the services asked, whatever is kept and whatever backs off, if the request is not under
    /// way. Its answer is kept. Nobody waits for it. `label` names the request in the log. False
    /// where the line is full, or the engine is closed.
    pub fn ask_anew(&self, request: &Arc<Request>, label: &Label) -> bool {
        let shared = &self.0;
        // No packet is looked at here.
        let transaction = Transaction { client: Arc::new([]), xid: 0, continues: false };
        let (request, label) = (Arc::clone(request), Arc::clone(label));
        let question = Question { request, transaction, label, asks_again: false };
        let mut state = shared.state();
        if state.closed {
            return false;
        }
        let begun = shared.begin(&mut state, &question);
        drop(state);
        let is_under_way = !matches!(begun, Begun::Shed(_));
        // No packet has joined a lookup that was under way before.
        if !matches!(begun, Begun::Before) {
            shared.report_begun(begun, &question);
        }
        is_under_way
    }

    /// Ends all back-offs and pauses, and probes the services that are down: see
    /// [`Failover::retry`]. Forgets which lookups have failed: see [`Cache::forget_failures`].
    pub fn retry(&self) -> Retried {
        let retried = self.0.failover.retry(&self.0.runtime);
        // Last: a lookup that has failed meanwhile did so because of a back-off or a pause.
        self.0.state().cache.forget_failures(Instant::now().into_std());
        retried
    }

    /// How many lookups are in flight, and how many stand in line.
    pub fn under_way(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.in_flight, state.line.lookups.len())
    }

    /// Lets go of every packet that waits, and takes no more questions. Returns the cache, for the
    /// engine of the next configuration.
    pub fn close(&self) -> Cache {
        let mut state = self.0.state();
        state.closed = true;
        let lookups = mem::take(&mut state.lookups);
        state.line = Line::default();
        let cache = mem::replace(&mut state.cache, Cache::new(0));
        drop(state);
        let waiting = lookups.into_values().flat_map(|lookup| lookup.waiting);
        waiting.for_each(|waiting| (waiting.deliver)(Outcome::LetGo));
        cache
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
        match state.cache.known(request, transaction, Instant::now().into_std()) {
            Some(Known::Answer(answer)) => return Some(Outcome::Answered(answer, Source::Cached)),
            Some(Known::Failure) => return Some(Outcome::FailedBefore),
            // No wait for another lookup: the client has had no reply already.
            Some(Known::LookupFailed) => {
                return Some(state.without_fresh_answer(request, transaction));
            }
            None => {}
        }
        let is_under_way = state.lookups.contains_key(request);
        if is_under_way || self.failover.readiness(request) == Readiness::Ready {
            return None;
        }
        Some(state.without_fresh_answer(request, transaction))
    }

    /// Has the packet's lookup begin, if it is not under way. The state stays locked.
    fn begin(self: &Arc<Self>, state: &mut State, question: &Question) -> Begun {
        let Question { request, label, .. } = question;
        let State { lookups, line, .. } = state;
        let Entry::Vacant(entry) = lookups.entry(Arc::clone(request)) else {
            return Begun::Before;
        };
        let in_flight = state.in_flight < self.max_in_flight && line.lookups.is_empty();
        if !in_flight && !line.push(request, label) {
            return Begun::Shed(line.lookups.len());
        }
        let (waiting, left) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        entry.insert(Lookup { begun, in_flight, is_watched: false, waiting, left });
        if !in_flight {
            return Begun::InLine;
        }
        state.take_off();
        self.ask(Arc::clone(request), Arc::clone(label));
        Begun::Asked
    }

    /// Asks the services, in a task of its own.
    fn ask(self: &Arc<Self>, request: Arc<Request>, label: Label) {
        let mut in_flight = InFlight { shared: Arc::clone(self), request, ended: false };
        self.runtime.spawn(async move {
            let InFlight { shared, request, .. } = &in_flight;
            let has_last_answer =
                || shared.state().cache.has_stale(request, Instant::now().into_std());
            let found = shared.failover.ask(request, &label, has_last_answer).await;
            in_flight.end(found);
        });
    }

    /// Sees to it that a packet does not wait in line past `until`.
    fn keep_patience(self: &Arc<Self>, line: &mut Line, until: Instant, request: &Arc<Request>) {
        line.patience.push(Patience { until, request: Arc::clone(request) });
        if line.patience.len() == 1 {
            let shared = Arc::clone(self);
            self.runtime.spawn(async move {
                while let Some(until) = shared.end_patience() {
                    sleep_until(until).await;
                }
            });
        }
    }

    /// Ends the waiting of packets that have waited in line for long enough: for no more than
    /// [`BATCH`] lookups in one step. Returns when there is more to do.
    fn end_patience(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut told = Vec::new();
        let mut guard = self.state();
        let state = &mut *guard;
        for _ in 0..BATCH {
            if state.line.patience.peek().is_none_or(|patience| patience.until > now) {
                break;
            }
            let Some(Patience { request, .. }) = state.line.patience.pop() else { break };
            let Some(lookup) = state.lookups.get_mut(&request) else { continue };
            lookup.is_watched = false;
            // The services' own time ends a lookup in flight.
            if lookup.in_flight {
                continue;
            }
            let waiting = mem::take(&mut lookup.waiting).into_iter();
            let (over, waiting): (Vec<_>, _) = waiting.partition(|waiting| waiting.until <= now);
            lookup.waiting = waiting;
            if let Some(until) = lookup.waiting.iter().map(|waiting| waiting.until).min() {
                lookup.is_watched = true;
                state.line.patience.push(Patience { until, request: Arc::clone(&request) });
            }
            for WaitingPacket { transaction, asks_again, deliver, .. } in over {
                let outcome = state.stale(&request, &transaction);
                if outcome.is_none() && asks_again {
                    let lookup = state.lookups.get_mut(&request);
                    lookup.into_iter().for_each(|lookup| lookup.leave(&transaction.client));
                }
                told.push((deliver, outcome.unwrap_or(Outcome::Shed)));
            }
        }
        let next = state.line.patience.peek().map(|patience| patience.until);
        drop(guard);
        tell(told);
        next
    }

    /// Reports an outcome that was known at once. The state must not be locked.
    fn report(&self, question: &Question, outcome: &Outcome) {
        let Question { request, label, .. } = question;
        if !matches!(outcome, Outcome::Failed | Outcome::Answered(_, Source::Stale)) {
            return;
        }
        self.failover.want(request);
        self.listener.notice(&match self.failover.readiness(request) {
            Readiness::NoServiceUp => Event::NoServiceUp { label, request },
            // A service may have come up meanwhile.
            Readiness::BackingOff | Readiness::Ready => Event::BackingOff { label, request },
        });
    }

    /// Reports how a packet's lookup has begun. The state must not be locked.
    fn report_begun(&self, begun: Begun, question: &Question) {
        let Question { request, label, .. } = question;
        self.listener.notice(&match begun {
            Begun::Asked => return,
            Begun::Before => Event::Coalesced { label, request },
            Begun::InLine => Event::InLine { label, limit: self.max_in_flight },
            Begun::Shed(line) => Event::Shed { label, line },
        });
    }

    /// Ends a lookup in flight, tells every packet that waits for it, and asks for the next ones in
    /// line.
    fn end(self: &Arc<Self>, request: &Arc<Request>, found: Result<Found, Unanswered>) {
        let mut state = self.state();
        let mut told = state.end(request, found);
        let is_done = self.advance(&mut state, &mut told);
        drop(state);
        tell(told);
        if !is_done {
            let shared = Arc::clone(self);
            self.runtime.spawn(async move {
                while !shared.advance_further() {
                    yield_now().await
                }
            });
        }
    }

    /// Asks for the next lookups in line. While no service is asked, lookups end here: no more than
    /// [`BATCH`] of them in one step, so that packets do not wait long for the state. Returns
    /// whether there is no more to do.
    fn advance(self: &Arc<Self>, state: &mut State, told: &mut Vec<(Deliver, Outcome)>) -> bool {
        for _ in 0..BATCH {
            if state.in_flight >= self.max_in_flight {
                return true;
            }
            let Some((request, label)) = state.line.pop() else { return true };
            // While it stood in line, the services may have gone down.
            if self.failover.readiness(&request) != Readiness::Ready {
                self.failover.want(&request);
                told.extend(state.end(&request, Err(Unanswered::Failed)));
                continue;
            }
            let Some(lookup) = state.lookups.get_mut(&request) else { continue };
            lookup.in_flight = true;
            state.take_off();
            self.ask(request, label);
        }
        false
    }

    fn advance_further(self: &Arc<Self>) -> bool {
        let (mut state, mut told) = (self.state(), Vec::new());
        let is_done = self.advance(&mut state, &mut told);
        drop(state);
        tell(told);
        is_done
    }
}

/// Tells packets their outcomes. A bug in one packet's `deliver` costs no other packet its outcome.
fn tell(told: impl IntoIterator<Item = (Deliver, Outcome)>) {
    told.into_iter().for_each(|(deliver, outcome)| guard((), || deliver(outcome)));
}

impl Lookup {
    /// Has a packet wait, in the place of an earlier packet of its client, which is returned.
    fn wait(&mut self, waiting: WaitingPacket) -> Option<WaitingPacket> {
        let earlier = self.take(&waiting.transaction.client);
        // Nearly always the only one: room for more would be taken for thousands of lookups.
        self.waiting.reserve_exact(1);
        self.waiting.push(waiting);
        earlier
    }

    /// Takes out the packet of this client that waits.
    fn take(&mut self, client: &Arc<[u8]>) -> Option<WaitingPacket> {
        let is_of_client = |waiting: &WaitingPacket| waiting.transaction.client == *client;
        let found = self.waiting.iter().position(is_of_client)?;
        Some(self.waiting.swap_remove(found))
    }

    /// A client that got no reply asks again: its next packet gets the answer.
    fn leave(&mut self, client: &Arc<[u8]>) {
        let now = Instant::now();
        if let Some((_, since)) = self.left.iter_mut().find(|(other, _)| other == client) {
            *since = now;
        } else if self.left.len() < MOST_LEFT {
            self.left.push((Arc::clone(client), now));
        }
    }
}

impl State {
    /// Counts one more lookup in flight.
    fn take_off(&mut self) {
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
    }

    /// Whether a packet with this request would wait in line.
    fn would_stand_in_line(&self, request: &Arc<Request>, max_in_flight: usize) -> bool {
        match self.lookups.get(request) {
            Some(lookup) => !lookup.in_flight,
            None => self.in_flight >= max_in_flight || !self.line.lookups.is_empty(),
        }
    }

    /// Takes a lookup out that has ended, with the outcome of each packet that waits for it.
    fn end(
        &mut self,
        request: &Arc<Request>,
        found: Result<Found, Unanswered>,
    ) -> Vec<(Deliver, Outcome)> {
        let now = Instant::now().into_std();
        let Some(Lookup { begun, waiting, left, in_flight, .. }) = self.lookups.remove(request)
        else {
            return Vec::new();
        };
        if in_flight {
            self.in_flight -= 1;
        }
        if let Ok(Found { answer, freshness }) = &found {
            self.cache.store(request, answer, *freshness, now);
        }
        // A request that could not be made, or whose failure is forgotten, is made again for the
        // client's next packet.
        let awaited = match &found {
            Ok(Found { answer, .. }) => Some(Some(answer)),
            Err(Unanswered::Failed) if self.cache.has_forgotten(begun.into_std()) => None,
            Err(Unanswered::Failed) => Some(None),
            Err(Unanswered::Congested) => None,
        };
        if let Some(awaited) = awaited {
            for (client, since) in &left {
                self.cache.await_retransmission(request, client, awaited, since.into_std(), now);
            }
        }
        let outcome = |WaitingPacket { transaction, deliver, .. }| {
            let outcome = match &found {
                Ok(Found { answer, .. }) => {
                    self.cache.begin_exchange(request, &transaction, Some(answer), now);
                    Outcome::Answered(Arc::clone(answer), Source::Asked)
                }
                Err(Unanswered::Failed) => self.without_fresh_answer(request, &transaction),
                Err(Unanswered::Congested) => {
                    self.stale(request, &transaction).unwrap_or(Outcome::Congested)
                }
            };
            (deliver, outcome)
        };
        waiting.into_iter().map(outcome).collect()
    }

    /// A stale answer, if one may serve.
    fn stale(&mut self, request: &Arc<Request>, transaction: &Transaction) -> Option<Outcome> {
        let now = Instant::now().into_std();
        let answer = self.cache.stale(request, now)?;
        self.cache.begin_exchange(request, transaction, Some(&answer), now);
        Some(Outcome::Answered(answer, Source::Stale))
    }

    /// The outcome where no fresh answer can be had: a stale answer, if one may serve.
    fn without_fresh_answer(
        &mut self,
        request: &Arc<Request>,
        transaction: &Transaction,
    ) -> Outcome {
        self.stale(request, transaction).unwrap_or(Outcome::Failed)
    }
}

/// A lookup in flight. However it ends, by a panic too, every packet that waits for it is told.
struct InFlight<F: Fetch> {
    shared: Arc<Shared<F>>,
    request: Arc<Request>,
    ended: bool,
}

impl<F: Fetch> InFlight<F> {
    fn end(&mut self, found: Result<Found, Unanswered>) {
        self.shared.end(&self.request, found);
        self.ended = true;
    }
}

impl<F: Fetch> Drop for InFlight<F> {
    fn drop(&mut self) {
        if !self.ended {
            guard((), || self.end(Err(Unanswered::Failed)));
        }
    }
}

#[cfg(test)]
mod tests;
