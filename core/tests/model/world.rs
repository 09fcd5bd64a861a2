// SPDX-License-Identifier: MPL-2.0
//! What the scenarios have in common: Kea's side of the engine, services without a network, and a
//! ledger of what happens.
//!
//! The ledger is locked by std's mutex, so that its entries are no steps of a schedule. A fault is
//! an entry, and no panic: the code under test catches panics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remote_opts_core::answer::Answer;
use remote_opts_core::cache::{Cache, Freshness, Transaction};
use remote_opts_core::event::{Event, Listener};
use remote_opts_core::failover::Failover;
use remote_opts_core::fetch::{Failure, Fetch, Found, Stage};
use remote_opts_core::lookup::{LookupEngine, Outcome, Question};
use remote_opts_core::parking::{Ending, Parked, ParkingPlaces, Place};
use remote_opts_core::request::{Request, ServiceUrl};
use remote_opts_core::sync::{Handle, Instant, break_off, sleep_until, yield_now};
use remote_opts_core::work::{Queue, Wake};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex as ShuttleMutex};
use shuttle::thread::{self, ThreadId};
use url::Url;

/// The threads that work on packets.
pub const PACKET_THREADS: usize = 2;

/// The requests of all clients. A service is down after three different ones, and the probes of such
/// a service are not in the model.
const REQUESTS: u8 = 2;

/// A number from 0 to `below` - 1, chosen by Shuttle.
pub fn any(below: usize) -> usize {
    thread_rng().gen_range(0..below)
}

/// How far the life of the library has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Loaded,
    Closing,
    Closed,
    Unloaded,
}

/// What became of a parked packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Parked,
    Resumed,
    LetGo,
}

/// What has happened.
pub struct Ledger {
    pub phase: Phase,
    main_thread: ThreadId,
    /// Whether other threads than the main thread may resume packets.
    at_once: bool,
    packet_threads: Vec<ThreadId>,
    fates: Vec<Fate>,
    /// How many lookups of parked packets are in memory.
    lookups: usize,
    /// How many requests the service works on.
    at_service: usize,
    max_in_flight: usize,
    faults: Vec<String>,
}

impl Ledger {
    pub fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// Notes the end of a packet's waiting. False where it has ended before.
    fn end(&mut self, packet: usize, fate: Fate) -> bool {
        let (before, phase) = (self.fates[packet], self.phase);
        if before != Fate::Parked {
            self.fault(format!("packet {packet} is {fate:?}, and was {before:?}"));
        }
        let is_late = match fate {
            Fate::Resumed => phase != Phase::Loaded,
            _ => phase == Phase::Unloaded,
        };
        if is_late {
            self.fault(format!("packet {packet} is {fate:?} by a library that is {phase:?}"));
        }
        if fate == Fate::Resumed && !self.at_once && thread::current().id() != self.main_thread {
            self.fault(format!("packet {packet} is resumed while the main thread forbids it"));
        }
        self.fates[packet] = fate;
        before == Fate::Parked
    }
}

/// The ledger, as everybody has it.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What Kea's main thread waits for.
#[derive(Default)]
pub struct Bell {
    state: ShuttleMutex<BellState>,
    rung: Condvar,
}

#[derive(Default)]
struct BellState {
    is_woken: bool,
    /// How many packet threads still run.
    threads: usize,
    /// How many packets are parked.
    parked: usize,
}

impl Bell {
    fn change(&self, change: impl FnOnce(&mut BellState)) {
        change(&mut self.state.lock().unwrap());
        self.rung.notify_all();
    }

    /// Waits until there is work. False when there will be none any more. A lost wake-up waits for
    /// ever, which Shuttle reports as a deadlock.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        loop {
            if state.is_woken {
                return true;
            }
            if state.threads == 0 && state.parked == 0 {
                return false;
            }
            state = self.rung.wait(state).unwrap();
        }
    }
}

/// What wakes the main thread.
#[derive(Clone)]
pub struct Ring(Arc<Bell>);

impl Wake for Ring {
    fn wake(&self) {
        self.0.change(|state| state.is_woken = true);
    }

    fn has_room(&self) -> bool {
        any(3) > 0
    }

    fn awake(&self) {
        self.0.state.lock().unwrap().is_woken = false;
    }
}

/// A packet in the lot.
pub struct ModelPacket {
    number: usize,
    ledger: Shared,
    bell: Arc<Bell>,
    place: Option<Place>,
}

impl ModelPacket {
    fn end(mut self, fate: Fate) {
        // Kea needs time for it.
        thread::yield_now();
        let is_parked = self.ledger.lock().end(self.number, fate);
        self.place = None;
        if is_parked {
            self.bell.change(|state| state.parked -= 1);
        }
    }
}

impl Parked for ModelPacket {
    fn let_go(self) {
        {
            // The client's next packet ends the waiting, or the unloading does.
            let mut ledger = self.ledger.lock();
            let is_packet_thread = ledger.packet_threads.contains(&thread::current().id());
            if !is_packet_thread && ledger.phase == Phase::Loaded {
                ledger.fault(format!("packet {} is let go without an outcome", self.number));
            }
        }
        self.end(Fate::LetGo);
    }
}

/// A packet's lookup: what stands in for the adapter's.
struct ModelLookup {
    ledger: Shared,
}

impl ModelLookup {
    fn new(ledger: &Shared) -> Arc<Self> {
        ledger.lock().lookups += 1;
        Arc::new(ModelLookup { ledger: ledger.clone() })
    }
}

impl Drop for ModelLookup {
    fn drop(&mut self) {
        self.ledger.lock().lookups -= 1;
    }
}

impl Ending<ModelPacket> for ModelLookup {
    fn end(&self, outcome: Outcome, packet: ModelPacket) {
        match outcome {
            Outcome::Answered(..) | Outcome::Failed | Outcome::FailedBefore => {
                packet.end(Fate::Resumed);
            }
            Outcome::Shed | Outcome::Congested => packet.end(Fate::LetGo),
            Outcome::LetGo => {
                self.ledger.lock().fault("an outcome is LetGo, and is given as work".to_owned());
                packet.let_go();
            }
        }
    }
}

/// A service that answers as Shuttle chooses.
pub struct Service(Shared);

/// A request that the service works on.
struct AtService(Shared);

impl AtService {
    fn new(ledger: &Shared) -> Self {
        let mut entries = ledger.lock();
        entries.at_service += 1;
        if entries.at_service > entries.max_in_flight {
            entries.fault("more requests are in flight than allowed".to_owned());
        }
        if entries.phase == Phase::Unloaded {
            entries.fault("a service is asked by a library that is unloaded".to_owned());
        }
        drop(entries);
        AtService(ledger.clone())
    }
}

impl Drop for AtService {
    fn drop(&mut self) {
        self.0.lock().at_service -= 1;
    }
}

impl Fetch for Service {
    async fn get(&self, _service: usize, _url: &Url) -> Result<Found, Failure> {
        let at_service = AtService::new(&self.0);
        for _ in 0..any(3) {
            yield_now().await;
        }
        let found = |seconds| {
            let fresh_for = Duration::from_secs(seconds);
            let freshness = Freshness { fresh_for, stale_for: fresh_for };
            Ok(Found { answer: Arc::default(), freshness })
        };
        let end = match any(9) {
            0 | 1 => found(10),
            2 | 3 => found(0),
            4 => Err(Failure::Connection(Stage::Connect, String::new())),
            5 => {
                let retry_after = Some(Duration::from_millis(1));
                Err(Failure::Unavailable { status: String::new(), retry_after })
            }
            6 => Err(Failure::Congested(String::new())),
            // The time of the lookup ends it.
            7 => std::future::pending().await,
            // A bug.
            _ => {
                break_off().await;
                found(0)
            }
        };
        drop(at_service);
        end
    }
}

/// Listens to the engine, and asks it something: no lock of the engine is held, or the schedule ends
/// in a deadlock.
#[derive(Default)]
struct Curious(Mutex<Option<LookupEngine<Service>>>);

impl Listener for Curious {
    fn notice(&self, _event: &Event<'_>) {
        let engine = self.0.lock().unwrap().clone();
        if let Some(engine) = engine {
            engine.under_way();
        }
    }
}

/// One loaded library, and Kea around it.
pub struct World {
    pub engine: LookupEngine<Service>,
    pub ledger: Shared,
    runtime: Handle,
    places: Arc<ParkingPlaces<ModelPacket>>,
    queue: Arc<Queue<Ring>>,
    bell: Arc<Bell>,
    listener: Arc<Curious>,
}

impl World {
    /// Called on Kea's main thread.
    pub fn load(max_in_flight: usize) -> Arc<Self> {
        let ledger = Shared(Arc::new(Mutex::new(Ledger {
            phase: Phase::Loaded,
            main_thread: thread::current().id(),
            at_once: true,
            packet_threads: Vec::new(),
            fates: Vec::new(),
            lookups: 0,
            at_service: 0,
            max_in_flight,
            faults: Vec::new(),
        })));
        let listener = Arc::new(Curious::default());
        let url = ServiceUrl::new(Url::parse("http://boot/").unwrap());
        let timeout = Duration::from_secs(1);
        let service = Service(ledger.clone());
        let failover = Failover::new(vec![url], service, timeout, listener.clone());
        let runtime = Handle::default();
        let engine = LookupEngine::new(
            failover,
            Cache::new(10),
            max_in_flight,
            runtime.clone(),
            listener.clone(),
        );
        *listener.0.lock().unwrap() = Some(engine.clone());
        let bell = Arc::<Bell>::default();
        let places = Arc::<ParkingPlaces<_>>::default();
        // One place is free sometimes, and three at other times.
        places.set_limit(PACKET_THREADS as i64 + [1, 3][any(2)]);
        let queue = Queue::new(Ring(Arc::clone(&bell)));
        Arc::new(World { engine, ledger, runtime, places, queue, bell, listener })
    }

    /// A question about one of `clients` clients, in one of two exchanges, with one of two requests.
    pub fn question(&self, clients: usize) -> Question {
        let client = any(clients) as u8;
        let request = Request::new(vec![(1, vec![any(REQUESTS as usize) as u8])], Vec::new());
        Question {
            request: Arc::new(request.unwrap()),
            transaction: transaction(client, any(2) as u32),
            label: Arc::new(""),
            asks_again: any(2) == 0,
        }
    }

    /// Starts a packet thread.
    pub fn packet_thread(
        self: &Arc<Self>,
        run: impl FnOnce(&World) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        self.bell.change(|state| state.threads += 1);
        let world = Arc::clone(self);
        thread::spawn(move || {
            world.ledger.lock().packet_threads.push(thread::current().id());
            run(&world);
            world.bell.change(|state| state.threads -= 1);
        })
    }

    /// A packet at its callouts, as `packet_lookup` of the adapter has them.
    pub fn packet(&self, question: Question) {
        if self.places.has(&question.transaction) {
            return;
        }
        if let Some(outcome) = self.engine.answer_now(&question) {
            if outcome == Outcome::LetGo {
                self.ledger.lock().fault("a packet is let go by a library that is loaded".into());
            }
            return;
        }
        self.places.supersede(&self.engine, &question.transaction.client);
        let Some(place) = self.places.take(PACKET_THREADS) else {
            self.engine.leave(&question, true);
            return;
        };
        let number = {
            let mut ledger = self.ledger.lock();
            ledger.fates.push(Fate::Parked);
            ledger.fates.len() - 1
        };
        self.bell.change(|state| state.parked += 1);
        let (ledger, bell) = (self.ledger.clone(), Arc::clone(&self.bell));
        let packet = ModelPacket { number, ledger, bell, place: Some(place) };
        let lookup = ModelLookup::new(&self.ledger);
        self.places.wait(&self.engine, question, packet, lookup, &self.queue, true);
    }

    /// A command, or the end of an exchange.
    pub fn command(&self, clients: usize) {
        let Question { request, transaction, label, .. } = self.question(clients);
        let engine = &self.engine;
        match any(8) {
            0 => {
                let life = Duration::from_secs(10);
                let life = Freshness { fresh_for: life, stale_for: life };
                engine.insert(&request, &Arc::<Answer>::default(), life);
            }
            1 => drop(engine.ask_anew(&request, &label)),
            2 => drop(engine.clear()),
            3 => drop(engine.retry()),
            4 => drop(engine.status()),
            5 => engine.expire(),
            6 => drop(engine.remove_all(|_| true)),
            _ => engine.exchange_over(&transaction.client),
        }
    }

    /// Does what there is to do for the main thread. Main thread.
    pub fn run_work(&self) {
        if self.queue.run() {
            let queue = Arc::clone(&self.queue);
            let again = Instant::now() + Duration::from_millis(1);
            self.runtime.spawn(async move {
                sleep_until(again).await;
                queue.wake().wake();
            });
        }
    }

    /// Does the main thread's work until no packet is parked and none comes any more. Main thread.
    pub fn run_until_all_have_outcomes(&self) {
        while self.bell.wait() {
            self.run_work();
        }
        // Nobody waits, and yet lookups may be under way.
        self.runtime.drain();
        assert_eq!(self.engine.under_way(), (0, 0), "lookups are under way that nobody ends");
    }

    /// Allows or forbids that other threads than the main thread resume packets. Main thread.
    pub fn allow_at_once(&self, allowed: bool) {
        if allowed {
            self.ledger.lock().at_once = true;
        }
        self.queue.allow_at_once(allowed);
        if !allowed {
            self.ledger.lock().at_once = false;
        }
    }

    /// Closes the engine, at any time. Main thread.
    pub fn close(&self) {
        self.ledger.lock().phase = Phase::Closing;
        drop(self.engine.close());
        self.ledger.lock().phase = Phase::Closed;
    }

    /// Ends the library in the order in which `instance::unload` of the adapter ends it, and sees
    /// whether something is left. Kea's packet threads have ended. Main thread.
    pub fn unload(self: Arc<Self>) {
        self.allow_at_once(false);
        self.close();
        self.runtime.end();
        self.queue.let_go();
        self.ledger.lock().phase = Phase::Unloaded;
        *self.listener.0.lock().unwrap() = None;
        // What comes late comes now.
        (0..3).for_each(|_| thread::yield_now());
        self.queue.run();
        assert_eq!(self.places.taken(), 0, "places are taken");
        for (client, xid) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert!(!self.places.has(&transaction(client, xid)), "a client has a parked packet");
        }
        let ledger = self.ledger.clone();
        drop(self);
        let ledger = ledger.lock();
        assert!(ledger.faults.is_empty(), "{}", ledger.faults.join("; "));
        let is_parked = |fate: &&Fate| **fate == Fate::Parked;
        assert_eq!(ledger.fates.iter().filter(is_parked).count(), 0, "packets are in the lot");
        assert_eq!(ledger.lookups, 0, "lookups are in memory");
        assert_eq!(ledger.at_service, 0, "requests are at the service");
    }
}

fn transaction(client: u8, xid: u32) -> Transaction {
    Transaction { client: Arc::new([client]), xid, continues: false }
}
