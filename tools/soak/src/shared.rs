// SPDX-License-Identifier: MPL-2.0
//! What the load and the adversary know of each other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many actions of the adversary are printed beside a wrong reply.
const RECENT: usize = 12;

/// For how long the adversary's actions are known: longer than a packet is waited for.
const MEMORY: Duration = Duration::from_secs(30);

/// With more wrong replies than this the soak ends.
const MOST_WRONG: usize = 20;

/// How long after a `config-reload` Kea may still lose what it had received before.
const AFTER_RELOAD: Duration = Duration::from_millis(50);

/// What the load and the adversary know of each other.
pub struct Shared {
    pub start: Instant,
    over: AtomicBool,
    replies: AtomicUsize,
    /// The adversary's last actions.
    actions: Mutex<VecDeque<(Instant, String)>>,
    /// How often the adversary did each thing.
    faults: Mutex<BTreeMap<&'static str, usize>>,
    /// When reloads began and ended.
    reloads: Mutex<Vec<(Instant, Option<Instant>)>>,
    /// Until when a client's kept answer may have been forgotten, by its number; that of `None` is
    /// for every client.
    forgotten: Mutex<HashMap<Option<u32>, Instant>>,
    /// What must not have happened.
    wrong: Mutex<Vec<String>>,
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            start: Instant::now(),
            over: AtomicBool::new(false),
            replies: AtomicUsize::new(0),
            actions: Mutex::default(),
            faults: Mutex::default(),
            reloads: Mutex::default(),
            forgotten: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    /// Whether the soak is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the soak.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// A reply has come.
    pub fn replied(&self) {
        self.replies.fetch_add(1, Ordering::SeqCst);
    }

    /// How many replies there were.
    pub fn replies(&self) -> usize {
        self.replies.load(Ordering::SeqCst)
    }

    /// Notes an action of the adversary.
    pub fn note(&self, what: &str) {
        let mut actions = self.actions.lock().unwrap();
        let at = self.start.elapsed().as_secs_f64();
        actions.push_back((Instant::now(), format!("{at:8.3} s  {what}")));
        while actions.front().is_some_and(|(at, _)| at.elapsed() > MEMORY) {
            actions.pop_front();
        }
    }

    /// Counts a fault or another thing that the adversary did.
    pub fn count(&self, what: &'static str) {
        *self.faults.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn faults(&self) -> BTreeMap<&'static str, usize> {
        self.faults.lock().unwrap().clone()
    }

    /// Runs a reload.
    pub fn reloading<T>(&self, reload: impl FnOnce() -> T) -> T {
        self.reloads.lock().unwrap().push((Instant::now(), None));
        let done = reload();
        let mut reloads = self.reloads.lock().unwrap();
        if let Some((_, end)) = reloads.last_mut() {
            *end = Some(Instant::now() + AFTER_RELOAD);
        }
        done
    }

    pub fn reloads(&self) -> Vec<Duration> {
        let reloads = self.reloads.lock().unwrap();
        reloads.iter().filter_map(|(begin, end)| Some((*end)? - AFTER_RELOAD - *begin)).collect()
    }

    /// Whether a reload was under way at any time from `from` to `to`.
    pub fn reloaded(&self, from: Instant, to: Instant) -> bool {
        let reloads = self.reloads.lock().unwrap();
        reloads.iter().rev().any(|(begin, end)| *begin <= to && end.is_none_or(|end| end >= from))
    }

    /// Runs a command that has the library forget the kept answer of a client, or of all.
    pub fn forgetting<T>(&self, client: Option<u32>, command: impl FnOnce() -> T) -> T {
        let hour = Duration::from_secs(3600);
        self.forgotten.lock().unwrap().insert(client, Instant::now() + hour);
        let done = command();
        self.forgotten.lock().unwrap().insert(client, Instant::now());
        done
    }

    /// Whether the answer of this client may have been forgotten after `since`.
    pub fn may_be_forgotten(&self, client: u32, since: Instant) -> bool {
        let forgotten = self.forgotten.lock().unwrap();
        [None, Some(client)].iter().any(|who| forgotten.get(who).is_some_and(|end| *end > since))
    }

    /// Notes what must not happen, and prints it with what the adversary did last.
    pub fn wrong(&self, what: &str) {
        self.wrong_since(what, Instant::now());
    }

    /// As [`Shared::wrong`], for a packet that was sent then.
    pub fn wrong_since(&self, what: &str, sent: Instant) {
        let mut wrong = self.wrong.lock().unwrap();
        let at = self.start.elapsed().as_secs_f64();
        eprintln!("WRONG at {at:.3} s: {what}\n  what the adversary did last before and after it:");
        let actions = self.actions.lock().unwrap();
        let after = actions.partition_point(|(at, _)| *at <= sent);
        for (_, action) in
            actions.iter().take(after + RECENT / 4).skip(after.saturating_sub(RECENT))
        {
            eprintln!("    {action}");
        }
        wrong.push(what.to_owned());
        if wrong.len() > MOST_WRONG {
            eprintln!("That is enough.");
            self.end();
        }
    }

    pub fn wrongs(&self) -> usize {
        self.wrong.lock().unwrap().len()
    }
}
