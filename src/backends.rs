//! The backends in the order of `url`: each lookup asks the first that works. One that keeps failing is given up, and
//! tried in the background until it works again. Runs on the hook's own thread, but for what says otherwise.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use url::Url;

use crate::backend::Failure;
use crate::cache::Reply;
use crate::freshness::Freshness;
use crate::messages::*;
use crate::request::{Request, Target};
use crate::throttle::Throttle;

/// Failures in a row at which a backend is given up.
const GIVEN_UP_AFTER: u32 = 3;
/// From one trial of a backend given up to the next.
const TRIAL_EVERY: Duration = Duration::from_secs(1);
/// Trials of one backend under way at once, where `timeout` is longer than [`TRIAL_EVERY`].
const MOST_TRIALS: usize = 10;

/// Requests kept for trials.
const MOST_WANTED: usize = 8;

/// What a backend said.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it has for the client.
    pub reply: Reply,
    /// How long that may be used.
    pub freshness: Freshness,
}

/// How a backend is asked.
pub trait Fetch: Send + Sync + 'static {
    /// Asks `url`. Whoever waits too long drops the future, which ends the request.
    fn get(&self, url: &str) -> impl Future<Output = Result<Found, Failure>> + Send;
}

/// The backends of one configuration.
pub struct Backends<F> {
    backends: Vec<Backend>,
    fetch: F,
    timeout: Duration,
    /// What was wanted lately and could not be had, for the trials: not one request over and over, whose record may be all
    /// that is wrong.
    wanted: Mutex<VecDeque<Request>>,
}

struct Backend {
    target: Target,
    up: AtomicBool,
    failures: Mutex<Failures>,
    /// How often it was up: a failure of a request begun before it came back says nothing of it now.
    life: AtomicU32,
    errors: Throttle,
}

/// Failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    /// The request that failed last.
    last: Option<String>,
}

impl Failures {
    /// Counts one more, but for a bad answer to the same request again: that may be one client's record, and the others
    /// are not to suffer for it. Returns the count.
    fn add(&mut self, failure: &Failure, url: &str) -> u32 {
        let again = self.last.as_deref() == Some(url);
        if !(again && failure.is_of_the_answer()) {
            self.count += 1;
        }
        self.last = Some(url.to_owned());
        self.count
    }
}

impl Backend {
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fetch> Backends<F> {
    /// Backends that all work, as far as is known. `timeout` is for a whole lookup.
    pub fn new(targets: Vec<Target>, fetch: F, timeout: Duration) -> Arc<Self> {
        let backend = |target| Backend {
            target,
            up: AtomicBool::new(true),
            failures: Mutex::default(),
            life: AtomicU32::new(0),
            errors: Throttle::default(),
        };
        let backends = targets.into_iter().map(backend).collect();
        Arc::new(Backends { backends, fetch, timeout, wanted: Mutex::default() })
    }

    /// Whether all are given up: a lookup would fail. Any thread.
    pub fn all_given_up(&self) -> bool {
        !self.backends.iter().any(|backend| backend.up.load(Ordering::Relaxed))
    }

    /// Remembers a request that could not be made, for the next trial. Any thread.
    pub fn want(&self, request: &Request) {
        let mut wanted = self.wanted();
        if !wanted.contains(request) {
            wanted.truncate(MOST_WANTED - 1);
            // The newest is tried first, what has been tried goes to the end.
            wanted.push_front(request.clone());
        }
    }

    fn wanted(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the backends that are not given up, one after the other, inside one deadline: each gets an equal share of
    /// the time that is left. `None`, with the reasons in the log beside `label`, when none has an answer.
    pub async fn ask(self: &Arc<Self>, request: &Request, label: &Label) -> Option<Found> {
        let deadline = Instant::now() + self.timeout;
        let up: Vec<_> = (0..self.backends.len())
            .filter(|&index| self.backends[index].up.load(Ordering::Relaxed))
            .collect();
        for (&index, still) in up.iter().zip((1..=up.len() as u32).rev()) {
            let share = deadline.saturating_duration_since(Instant::now()) / still;
            let backend = &self.backends[index];
            let life = backend.life.load(Ordering::Relaxed);
            let url = request.url(&backend.target);
            if REMOPTS_LOOKUP.debug_enabled() {
                REMOPTS_LOOKUP.debug([label, &shown_text(&url)]);
            }
            match self.get(&url, share).await {
                Ok(found) => {
                    *backend.failures() = Failures::default();
                    return Some(found);
                }
                Err(failure) => {
                    self.want(request);
                    self.failed(index, life, &failure, label, &url);
                }
            }
        }
        None
    }

    async fn get(&self, url: &str, share: Duration) -> Result<Found, Failure> {
        timeout(share, self.fetch.get(url)).await.unwrap_or(Err(Failure::Late(share)))
    }

    fn failed(self: &Arc<Self>, index: usize, life: u32, failure: &Failure, label: &Label, url: &str) {
        let backend = &self.backends[index];
        if let Some(held_back) = backend.errors.pass() {
            REMOPTS_LOOKUP_FAILED.error([&label, &format_args!("{failure}: {}{held_back}", shown_text(url))]);
        }
        if life != backend.life.load(Ordering::Relaxed) {
            return;
        }
        let failures = backend.failures().add(failure, url);
        if failures >= GIVEN_UP_AFTER && backend.up.swap(false, Ordering::Relaxed) {
            REMOPTS_BACKEND_GIVEN_UP
                .warn([&failures, &format_args!("{failure}: {}", shown(backend.target.url()))]);
            tokio::spawn(Arc::clone(self).try_again(index));
        }
    }

    /// Tries a backend that was given up, until it works.
    async fn try_again(self: Arc<Self>, index: usize) {
        let backend = &self.backends[index];
        let mut trials = JoinSet::new();
        let mut next = Instant::now() + TRIAL_EVERY;
        loop {
            let ended = if trials.is_empty() {
                sleep_until(next).await;
                None
            } else {
                timeout_at(next, trials.join_next()).await.ok().flatten()
            };
            if matches!(ended, Some(Ok(true))) {
                break;
            }
            if Instant::now() >= next {
                next += TRIAL_EVERY;
                if trials.len() < MOST_TRIALS {
                    trials.spawn(Arc::clone(&self).works(index));
                }
            }
        }
        backend.life.fetch_add(1, Ordering::Relaxed);
        *backend.failures() = Failures::default();
        backend.up.store(true, Ordering::Relaxed);
        REMOPTS_BACKEND_BACK.info([&shown(backend.target.url())]);
    }

    /// Whether a backend answers a request that was wanted lately.
    async fn works(self: Arc<Self>, index: usize) -> bool {
        let request = {
            let mut wanted = self.wanted();
            let first = wanted.pop_front();
            wanted.extend(first.clone());
            first
        };
        let Some(request) = request else {
            return false;
        };
        self.get(&request.url(&self.backends[index].target), self.timeout).await.is_ok()
    }
}

/// The URL as logs show it: without a user name and password.
pub fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // Both fail only where an URL has no host, and http URLs have one.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown
}

/// The same, of an URL's text.
fn shown_text(url: &str) -> String {
    // It is made of one that could be parsed.
    Url::parse(url).map_or_else(|error| error.to_string(), |url| shown(&url).into())
}

/// Backends that do what a script says, for the tests of this module and of the engine.
#[cfg(test)]
pub(crate) mod scripted {
    use super::*;

    type Script = Box<dyn Fn(&str) -> Says + Send + Sync>;

    /// What becomes of a request.
    #[derive(Clone)]
    pub enum Says {
        /// Nothing for this client, kept for so many seconds.
        Nothing(u64),
        Fails,
        /// A bad answer.
        Garbage,
        Never,
        /// Something else, after so many milliseconds.
        After(u64, Box<Says>),
        Panics,
    }

    /// Asks nobody; remembers what was asked.
    pub struct Scripted {
        script: Mutex<Script>,
        asked: Mutex<Vec<String>>,
    }

    impl Scripted {
        pub fn new(script: impl Fn(&str) -> Says + Send + Sync + 'static) -> Arc<Self> {
            Arc::new(Scripted { script: Mutex::new(Box::new(script)), asked: Mutex::default() })
        }

        pub fn says(&self, says: Says) {
            *self.script.lock().unwrap() = Box::new(move |_| says.clone());
        }

        /// The requests so far, of which nobody is told again.
        pub fn asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    impl Fetch for Arc<Scripted> {
        async fn get(&self, url: &str) -> Result<Found, Failure> {
            self.asked.lock().unwrap().push(url.to_owned());
            let mut says = (self.script.lock().unwrap())(url);
            loop {
                says = match says {
                    Says::Nothing(life) => {
                        let life = Duration::from_secs(life);
                        let freshness = Freshness { life, stale: 5 * life };
                        return Ok(Found { reply: None, freshness });
                    }
                    Says::Fails => return Err(Failure::Connection("on purpose".into())),
                    Says::Garbage => return Err(Failure::TooLong),
                    Says::Never => std::future::pending().await,
                    Says::After(delay, says) => {
                        tokio::time::sleep(Duration::from_millis(delay)).await;
                        *says
                    }
                    Says::Panics => panic!("on purpose"),
                }
            }
        }
    }

    /// No packet in particular.
    pub fn label() -> Label {
        Arc::new("")
    }

    pub fn request(client: u8) -> Request {
        Request::new(vec![(1, vec![client])], Default::default()).unwrap()
    }

    pub fn targets(hosts: &[&str]) -> Vec<Target> {
        hosts.iter().map(|host| Target::new(Url::parse(&format!("http://{host}/")).unwrap())).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::scripted::{Says, Scripted, label, request, targets};
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn backends(hosts: &[&str], fetch: &Arc<Scripted>) -> Arc<Backends<Arc<Scripted>>> {
        Backends::new(targets(hosts), Arc::clone(fetch), TIMEOUT)
    }

    #[tokio::test(start_paused = true)]
    async fn in_order_inside_one_deadline() {
        let fetch = Scripted::new(|url| if url.contains("c") { Says::Nothing(1) } else { Says::Never });
        let backends = backends(&["a", "b", "c"], &fetch);
        let start = Instant::now();
        assert!(backends.ask(&request(1), &label()).await.is_some());
        assert_eq!(start.elapsed().as_millis(), 2 * 1000 / 3 + 1);
        assert_eq!(fetch.asked().len(), 3);
        fetch.says(Says::Never);
        let start = Instant::now();
        assert!(backends.ask(&request(1), &label()).await.is_none());
        assert_eq!(start.elapsed().as_millis(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_keeps_failing_is_given_up_and_tried_until_it_works() {
        let fetch = Scripted::new(|url| if url.contains("a/") { Says::Fails } else { Says::Nothing(1) });
        let backends = backends(&["a", "b"], &fetch);
        for client in 0..4 {
            assert!(backends.ask(&request(client), &label()).await.is_some());
        }
        let asked = fetch.asked();
        assert_eq!(asked.iter().filter(|url| url.contains("//a/")).count(), 3, "{asked:?}");
        assert!(!backends.all_given_up());

        // Once a second, with what was wanted lately: the latest first, and not one over and over.
        sleep(Duration::from_millis(4500)).await;
        let tried = [2, 1, 0, 2].map(|client| format!("http://a/?sub82_1=0{client}"));
        assert_eq!(fetch.asked(), tried);
        fetch.says(Says::Nothing(1));
        sleep(Duration::from_millis(600)).await;
        fetch.asked();
        backends.ask(&request(1), &label()).await;
        assert_eq!(fetch.asked(), ["http://a/?sub82_1=01"]);
        // Nothing is tried any more.
        advance(5 * TRIAL_EVERY).await;
        sleep(TRIAL_EVERY).await;
        assert_eq!(fetch.asked(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_count() {
        let fetch = Scripted::new(|_| Says::Fails);
        let backends = backends(&["a"], &fetch);
        for _ in 0..5 {
            for says in [Says::Fails, Says::Fails, Says::Nothing(1)] {
                fetch.says(says);
                backends.ask(&request(1), &label()).await;
                assert!(!backends.all_given_up());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_bad_record_is_not_a_bad_backend() {
        let fetch = Scripted::new(|_| Says::Garbage);
        let backends = backends(&["a"], &fetch);
        for _ in 0..10 {
            backends.ask(&request(1), &label()).await;
        }
        assert!(!backends.all_given_up());
        backends.ask(&request(2), &label()).await;
        backends.ask(&request(1), &label()).await;
        assert!(backends.all_given_up());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_hangs_does_not_keep_the_next_ones_from_starting() {
        let fetch = Scripted::new(|_| Says::Fails);
        let backends = Backends::new(targets(&["a"]), Arc::clone(&fetch), Duration::from_secs(60));
        for _ in 0..3 {
            backends.ask(&request(1), &label()).await;
        }
        assert!(backends.all_given_up());
        fetch.says(Says::Never);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(fetch.asked().len(), 3 + MOST_TRIALS);
        assert!(backends.all_given_up());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_requests_begun_before_it_came_back_do_not_count() {
        let fetch = Scripted::new(|_| Says::Fails);
        let backends = backends(&["a"], &fetch);
        let failed = |life| {
            for _ in 0..GIVEN_UP_AFTER {
                backends.failed(
                    0,
                    life,
                    &Failure::Late(TIMEOUT),
                    &label(),
                    targets(&["a"])[0].url().as_str(),
                );
            }
            backends.all_given_up()
        };
        assert!(failed(0));
        fetch.says(Says::Nothing(1));
        backends.want(&request(1));
        sleep(2 * TRIAL_EVERY).await;
        assert!(!backends.all_given_up());
        assert!(!failed(0), "its earlier life");
        assert!(failed(1), "its present life");
    }
}
