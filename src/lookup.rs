//! The lookup engine: an answer from the cache, else from the request already under way for the same key, else from the
//! backends. Knows nothing of Kea: who waits for an answer leaves a function to be called with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::backends::{Backends, Fetch, Found};
use crate::bridge::guard;
use crate::cache::{Asker, Cache, Key, Reply};
use crate::messages::*;
use crate::request::Request;
use crate::throttle::Throttle;

/// One packet's question.
#[derive(Clone)]
pub struct Question {
    /// The key of the answer.
    pub key: Key,
    /// What to ask.
    pub request: Request,
    /// Who asks.
    pub asker: Asker,
    /// The packet, for the log.
    pub label: Label,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What the backends have for this client, and where it comes from.
    Answered(Reply, Source),
    /// No backend had an answer.
    Failed,
    /// Too many lookups are under way.
    TurnedAway,
    /// The library is being unloaded.
    LetGo,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was kept, and lives.
    Cached,
    /// A backend was asked.
    Asked,
    /// It was kept, and is past its life, while the backends fail.
    Stale,
}

/// Called once with the outcome: on the hook's own thread, or the calling one. Must not block.
pub type Deliver = Box<dyn FnOnce(Outcome) + Send>;

/// The lookups of one configuration. Any thread may ask.
pub struct Lookups<F>(Arc<Shared<F>>);

struct Shared<F> {
    /// Locked for a step at a time: nobody waits for anything while holding it.
    state: Mutex<State>,
    backends: Arc<Backends<F>>,
    thread: Handle,
    max_in_flight: usize,
    crowded: Throttle,
}

struct State {
    cache: Cache,
    /// Who waits for each request under way.
    in_flight: HashMap<Key, Vec<Waiting>>,
    /// Closed: nothing is looked up any more.
    closed: bool,
}

struct Waiting {
    asker: Asker,
    deliver: Deliver,
}

impl<F: Fetch> Lookups<F> {
    /// Nothing is looked up yet. Requests are made on `thread`, at most `max_in_flight` at once.
    pub fn new(backends: Arc<Backends<F>>, cache_size: usize, max_in_flight: usize, thread: Handle) -> Self {
        let state = State { cache: Cache::new(cache_size), in_flight: HashMap::new(), closed: false };
        let (state, crowded) = (Mutex::new(state), Throttle::default());
        Lookups(Arc::new(Shared { state, backends, thread, max_in_flight, crowded }))
    }

    /// The outcome, where it is known without waiting for a backend.
    pub fn at_once(&self, question: &Question) -> Option<Outcome> {
        let outcome = self.0.at_once(&mut self.0.state(), question)?;
        self.0.report(question, &outcome);
        Some(outcome)
    }

    /// Leaves `deliver` to be called with the outcome: soon, or when the request for this key has ended.
    pub fn wait(&self, question: Question, deliver: Deliver) {
        let mut state = self.0.state();
        if let Some(outcome) = self.0.at_once(&mut state, &question) {
            drop(state);
            self.0.report(&question, &outcome);
            return deliver(outcome);
        }
        let Question { key, request, asker, label } = question;
        let waiting = Waiting { asker, deliver };
        if let Some(others) = state.in_flight.get_mut(&key) {
            others.push(waiting);
            drop(state);
            REMOPTS_JOINED.debug([&label, &key]);
            return;
        }
        state.in_flight.insert(Arc::clone(&key), vec![waiting]);
        drop(state);
        let under_way = UnderWay { shared: Arc::clone(&self.0), key: Some(key) };
        self.0.thread.spawn(async move {
            let found = under_way.shared.backends.ask(&request, &label).await;
            under_way.end(found);
        });
    }

    /// The client's exchange is over: see [`Cache::over`].
    pub fn over(&self, client: &[u8]) {
        self.0.state().cache.over(client);
    }

    /// Lets go of all that wait, and takes no more questions.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.closed = true;
        let in_flight = std::mem::take(&mut state.in_flight);
        drop(state);
        in_flight.into_values().flatten().for_each(|waiting| (waiting.deliver)(Outcome::LetGo));
    }
}

impl<F: Fetch> Shared<F> {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves nothing half done here: each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_once(&self, state: &mut State, Question { key, asker, .. }: &Question) -> Option<Outcome> {
        if state.closed {
            return Some(Outcome::LetGo);
        }
        let now = Instant::now();
        if let Some(reply) = state.cache.find(key, asker, now) {
            return Some(Outcome::Answered(reply, Source::Cached));
        }
        if state.in_flight.contains_key(key) {
            return None;
        }
        if self.backends.all_given_up() {
            return Some(state.stale(key, asker, now));
        }
        (state.in_flight.len() >= self.max_in_flight).then_some(Outcome::TurnedAway)
    }

    /// Says what an outcome means that was known at once, with nothing locked.
    fn report(&self, Question { key, request, label, .. }: &Question, outcome: &Outcome) {
        match outcome {
            Outcome::Failed | Outcome::Answered(_, Source::Stale) => {
                self.backends.want(request);
                REMOPTS_NO_BACKEND.debug([label, key]);
            }
            Outcome::TurnedAway => {
                if let Some(held_back) = self.crowded.pass() {
                    let limit = self.max_in_flight;
                    REMOPTS_TOO_MANY_LOOKUPS.warn([label, &format_args!("{limit}{held_back}")]);
                }
            }
            Outcome::Answered(..) | Outcome::LetGo => {}
        }
    }

    /// Ends the request for `key`, and tells all who wait for it.
    fn end(&self, key: &Key, found: Option<Found>) {
        let now = Instant::now();
        let mut state = self.state();
        let waiting = state.in_flight.remove(key).unwrap_or_default();
        if let Some(Found { reply, freshness }) = &found {
            state.cache.keep(key, reply, *freshness, now);
        }
        let told: Vec<_> = waiting
            .into_iter()
            .map(|Waiting { asker, deliver }| {
                let outcome = match &found {
                    Some(Found { reply, .. }) => {
                        state.cache.hold(key, &asker, reply, now);
                        Outcome::Answered(reply.clone(), Source::Asked)
                    }
                    None => state.stale(key, &asker, now),
                };
                (deliver, outcome)
            })
            .collect();
        drop(state);
        // A bug in one costs that one alone.
        told.into_iter().for_each(|(deliver, outcome)| guard((), || deliver(outcome)));
    }
}

impl State {
    /// The outcome where the backends fail: a stale answer, if one may serve.
    fn stale(&mut self, key: &Key, asker: &Asker, now: Instant) -> Outcome {
        match self.cache.stale(key, now) {
            Some(reply) => {
                self.cache.hold(key, asker, &reply, now);
                Outcome::Answered(reply, Source::Stale)
            }
            None => Outcome::Failed,
        }
    }
}

/// A request under way. However its work ends, by a panic too, those who wait for it are told.
struct UnderWay<F: Fetch> {
    shared: Arc<Shared<F>>,
    key: Option<Key>,
}

impl<F: Fetch> UnderWay<F> {
    fn end(mut self, found: Option<Found>) {
        if let Some(key) = self.key.take() {
            self.shared.end(&key, found);
        }
    }
}

impl<F: Fetch> Drop for UnderWay<F> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.end(&key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::sleep;

    use super::*;
    use crate::backends::scripted::{Says, Scripted, label, request, targets};

    struct Engine {
        fetch: Arc<Scripted>,
        lookups: Lookups<Arc<Scripted>>,
    }

    /// An engine whose backend does this, with a timeout of a second, two lookups at once and three answers kept.
    fn engine(says: Says) -> Engine {
        let fetch = Scripted::new(move |_| says.clone());
        let backends = Backends::new(targets(&["a"]), Arc::clone(&fetch), Duration::from_secs(1));
        Engine { fetch, lookups: Lookups::new(backends, 3, 2, Handle::current()) }
    }

    const NOTHING: Reply = None;

    impl Engine {
        /// A question about the client of this number, in a transaction.
        fn question(client: u8, transaction: u32) -> Question {
            let asker = Asker { client: Arc::new([client]), transaction, continues: false };
            let request = request(client);
            let key = request.url(&targets(&["a"])[0]).into();
            Question { key, request, asker, label: label() }
        }

        fn ask(&self, question: Question) -> oneshot::Receiver<Outcome> {
            let (sender, receiver) = oneshot::channel();
            self.lookups.wait(question, Box::new(|outcome| sender.send(outcome).unwrap()));
            receiver
        }

        async fn answer(&self, client: u8, transaction: u32) -> Outcome {
            self.ask(Self::question(client, transaction)).await.unwrap()
        }

        fn at_once(&self, client: u8, transaction: u32) -> Option<Outcome> {
            self.lookups.at_once(&Self::question(client, transaction))
        }
    }

    fn after(milliseconds: u64, says: Says) -> Says {
        Says::After(milliseconds, Box::new(says))
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_for_all_who_wait_for_the_same() {
        let engine = engine(after(100, Says::Nothing(0)));
        let mut asked: Vec<_> = (0..3).map(|_| engine.ask(Engine::question(1, 7))).collect();
        // Another client with the same key.
        let asker = Asker { client: Arc::new([9]), transaction: 7, continues: false };
        asked.push(engine.ask(Question { asker, ..Engine::question(1, 7) }));
        for answer in asked {
            assert_eq!(answer.await.unwrap(), Outcome::Answered(NOTHING, Source::Asked));
        }
        assert_eq!(engine.fetch.asked().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_again_until_its_life_ends() {
        let engine = engine(Says::Nothing(20));
        assert_eq!(engine.at_once(1, 1), None);
        assert_eq!(engine.answer(1, 1).await, Outcome::Answered(NOTHING, Source::Asked));
        assert_eq!(engine.at_once(1, 2), Some(Outcome::Answered(NOTHING, Source::Cached)));
        sleep(Duration::from_secs(20)).await;
        assert_eq!(engine.at_once(1, 3), None);
        assert_eq!(engine.answer(1, 3).await, Outcome::Answered(NOTHING, Source::Asked));
        assert_eq!(engine.fetch.asked().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_must_not_be_kept_serves_its_own_exchange() {
        let engine = engine(Says::Nothing(0));
        engine.answer(1, 1).await;
        assert_eq!(engine.at_once(1, 1), Some(Outcome::Answered(NOTHING, Source::Cached)));
        assert_eq!(engine.at_once(1, 2), None);
        engine.lookups.over(&[1]);
        assert_eq!(engine.at_once(1, 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_answer_serves_while_the_backends_fail() {
        let engine = engine(Says::Nothing(20));
        engine.answer(1, 1).await;
        engine.fetch.says(Says::Fails);
        sleep(Duration::from_secs(30)).await;
        for transaction in 2..5 {
            assert_eq!(engine.answer(1, transaction).await, Outcome::Answered(NOTHING, Source::Stale));
        }
        // Given up by now.
        engine.fetch.asked();
        assert_eq!(engine.at_once(1, 9), Some(Outcome::Answered(NOTHING, Source::Stale)));
        assert_eq!(engine.at_once(2, 9), Some(Outcome::Failed));
        assert_eq!(engine.fetch.asked(), [""; 0]);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(engine.at_once(1, 10), Some(Outcome::Failed));
        engine.fetch.says(Says::Nothing(20));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(engine.answer(1, 11).await, Outcome::Answered(NOTHING, Source::Asked));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_not_kept() {
        let engine = engine(Says::Fails);
        assert_eq!(engine.answer(1, 1).await, Outcome::Failed);
        engine.fetch.says(Says::Nothing(1));
        assert_eq!(engine.answer(1, 1).await, Outcome::Answered(NOTHING, Source::Asked));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_at_once() {
        let engine = engine(after(100, Says::Nothing(0)));
        let under_way = [1, 2].map(|client| engine.ask(Engine::question(client, 1)));
        assert_eq!(engine.answer(3, 1).await, Outcome::TurnedAway);
        assert_eq!(engine.at_once(3, 1), Some(Outcome::TurnedAway));
        // One more for a request under way is none more.
        assert_eq!(engine.answer(1, 2).await, Outcome::Answered(NOTHING, Source::Asked));
        for answer in under_way {
            assert_eq!(answer.await.unwrap(), Outcome::Answered(NOTHING, Source::Asked));
        }
        assert_eq!(engine.answer(3, 1).await, Outcome::Answered(NOTHING, Source::Asked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure() {
        let engine = engine(Says::Panics);
        assert_eq!(engine.answer(1, 1).await, Outcome::Failed);
        engine.fetch.says(Says::Nothing(1));
        assert_eq!(engine.answer(1, 1).await, Outcome::Answered(NOTHING, Source::Asked));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_go_at_the_end() {
        let engine = engine(Says::Never);
        let waiting = [1, 1, 2].map(|client| engine.ask(Engine::question(client, 1)));
        engine.lookups.close();
        for answer in waiting {
            assert_eq!(answer.await.unwrap(), Outcome::LetGo);
        }
        assert_eq!(engine.answer(1, 1).await, Outcome::LetGo);
        sleep(Duration::from_secs(2)).await;
    }
}
