//! The answers kept: by request URL while they live, and for each client until its exchange is over. Pure: told
//! the time, it knows neither Kea nor HTTP. Every operation is short; who shares it holds the lock for one at a time.

use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::freshness::Freshness;

/// What a backend has for a client; `None` where it has nothing.
pub type Reply = Option<Arc<Answer>>;

/// The key of an answer: the request URL, as the first backend is asked.
pub type Key = Arc<str>;

/// The longest that an answer is kept for the exchange it was first used in.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Unfinished exchanges remembered, where `cache-size` is less.
const MIN_EXCHANGES: usize = 1000;

/// Who asks, and in which exchange (RFC 2131, section 3.1: DISCOVER, OFFER, REQUEST, ACK).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// What tells this client from every other: its hardware address and client identifier.
    pub client: Arc<[u8]>,
    /// The transaction id, by which a retransmission is known from a new exchange.
    pub transaction: u32,
    /// Whether this message goes on with an exchange that another one began: a REQUEST does.
    pub continues: bool,
}

struct Kept {
    reply: Reply,
    fresh_until: Instant,
    stale_until: Instant,
}

struct Exchange {
    key: Key,
    transaction: u32,
    reply: Reply,
    until: Instant,
}

/// The answers kept, and those of unfinished exchanges: each no more than a bound, the longest unused ones go first.
pub struct Cache {
    size: usize,
    answers: LruCache<Key, Kept>,
    exchanges: LruCache<Arc<[u8]>, Exchange>,
}

impl Cache {
    /// An empty cache of at most `size` answers.
    pub fn new(size: usize) -> Self {
        // Bounded by `keep` and `hold`: a bound given here would be allocated at once.
        Cache { size, answers: LruCache::unbounded(), exchanges: LruCache::unbounded() }
    }

    /// The answer to give without asking, if there is one: that of the asker's exchange, or one that lives. The latter
    /// becomes the answer of the exchange.
    pub fn find(&mut self, key: &Key, asker: &Asker, now: Instant) -> Option<Reply> {
        if let Some(exchange) = self.exchanges.peek(&asker.client) {
            let same = asker.continues || exchange.transaction == asker.transaction;
            if same && exchange.key == *key && now < exchange.until {
                return Some(exchange.reply.clone());
            }
        }
        let kept = self.answers.get(key)?;
        if now >= kept.fresh_until {
            return None;
        }
        let reply = kept.reply.clone();
        self.hold(key, asker, &reply, now);
        Some(reply)
    }

    /// An answer past its life that may serve while the backends fail.
    pub fn stale(&mut self, key: &Key, now: Instant) -> Option<Reply> {
        let kept = self.answers.get(key)?;
        (now < kept.stale_until).then(|| kept.reply.clone())
    }

    /// Keeps an answer that has just arrived, for as long as `freshness` says, in the place of an earlier one.
    pub fn keep(&mut self, key: &Key, reply: &Reply, freshness: Freshness, now: Instant) {
        let fresh_until = now + freshness.life;
        let stale_until = fresh_until + freshness.stale;
        if stale_until == now {
            self.answers.pop(key);
            return;
        }
        self.answers.put(Arc::clone(key), Kept { reply: reply.clone(), fresh_until, stale_until });
        while self.answers.len() > self.size {
            self.answers.pop_lru();
        }
    }

    /// Makes `reply` the answer of the asker's exchange, until [`over`](Self::over), or for 10 seconds.
    pub fn hold(&mut self, key: &Key, asker: &Asker, reply: &Reply, now: Instant) {
        let exchange = Exchange {
            key: Arc::clone(key),
            transaction: asker.transaction,
            reply: reply.clone(),
            until: now + EXCHANGE,
        };
        self.exchanges.put(Arc::clone(&asker.client), exchange);
        // In the order in which they were put: nothing else counts as a use.
        while self.exchanges.len() > self.size.max(MIN_EXCHANGES)
            || self.exchanges.peek_lru().is_some_and(|(_, oldest)| oldest.until <= now)
        {
            self.exchanges.pop_lru();
        }
    }

    /// The client's exchange is over: its answer need not be kept for it any longer.
    pub fn over(&mut self, client: &[u8]) {
        self.exchanges.pop(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn asker(client: u8, transaction: u32) -> Asker {
        Asker { client: Arc::new([client]), transaction, continues: false }
    }

    fn request(client: u8, transaction: u32) -> Asker {
        Asker { continues: true, ..asker(client, transaction) }
    }

    fn reply() -> Reply {
        Some(Arc::default())
    }

    fn lasting(life: u64, stale: u64) -> Freshness {
        Freshness { life: Duration::from_secs(life), stale: Duration::from_secs(stale) }
    }

    const NO_STORE: Freshness = Freshness { life: Duration::ZERO, stale: Duration::ZERO };

    #[test]
    fn an_answer_is_used_for_its_life_and_may_serve_stale_after_it() {
        let (mut cache, key, start) = (Cache::new(10), Key::from("k"), Instant::now());
        assert_eq!(cache.find(&key, &asker(1, 1), start), None);
        cache.keep(&key, &None, lasting(2, 3), start);
        assert_eq!(cache.find(&key, &asker(1, 1), start + SECOND), Some(None));
        assert_eq!(cache.find(&key, &asker(2, 1), start + 2 * SECOND), None);
        assert_eq!(cache.stale(&key, start + 4 * SECOND), Some(None));
        assert_eq!(cache.stale(&key, start + 5 * SECOND), None);
    }

    #[test]
    fn one_exchange_has_one_answer() {
        let (mut cache, key, start) = (Cache::new(0), Key::from("k"), Instant::now());
        cache.keep(&key, &reply(), NO_STORE, start);
        cache.hold(&key, &asker(1, 7), &reply(), start);
        // A retransmission, and the REQUEST, whatever its transaction id.
        assert_eq!(cache.find(&key, &asker(1, 7), start + SECOND), Some(reply()));
        assert_eq!(cache.find(&key, &request(1, 8), start + 9 * SECOND), Some(reply()));
        // Not another exchange, another client, another key; and not for ever.
        assert_eq!(cache.find(&key, &asker(1, 8), start + SECOND), None);
        assert_eq!(cache.find(&key, &request(2, 7), start + SECOND), None);
        assert_eq!(cache.find(&Key::from("other"), &request(1, 7), start + SECOND), None);
        assert_eq!(cache.find(&key, &request(1, 7), start + EXCHANGE), None);
        cache.over(&[1]);
        assert_eq!(cache.find(&key, &request(1, 7), start + SECOND), None);
    }

    #[test]
    fn an_answer_of_the_cache_is_the_one_of_its_exchange_too() {
        let (mut cache, key, start) = (Cache::new(10), Key::from("k"), Instant::now());
        cache.keep(&key, &None, lasting(1, 0), start);
        assert_eq!(cache.find(&key, &asker(1, 7), start), Some(None));
        cache.keep(&key, &reply(), lasting(9, 0), start + SECOND);
        assert_eq!(cache.find(&key, &request(1, 7), start + 2 * SECOND), Some(None));
        assert_eq!(cache.find(&key, &request(2, 7), start + 2 * SECOND), Some(reply()));
    }

    #[test]
    fn no_more_than_its_size() {
        let (mut cache, start) = (Cache::new(3), Instant::now());
        let keys: Vec<_> = (0..5000).map(|number| Key::from(format!("{number}"))).collect();
        for (number, key) in keys.iter().enumerate() {
            cache.keep(key, &None, lasting(60, 0), start);
            cache.hold(
                key,
                &Asker { client: Arc::new((number as u32).to_be_bytes()), ..asker(0, 0) },
                &None,
                start,
            );
            assert!(cache.answers.len() <= 3 && cache.exchanges.len() <= MIN_EXCHANGES);
        }
        // The longest unused one goes first.
        assert!(cache.find(&keys[4997], &asker(1, 1), start).is_some());
        cache.keep(&keys[0], &None, lasting(60, 0), start);
        assert!(cache.find(&keys[4997], &asker(2, 1), start).is_some());
        assert!(cache.find(&keys[4998], &asker(3, 1), start).is_none());
        // Exchanges that were never finished do not stay.
        cache.hold(&keys[0], &asker(9, 9), &None, start + EXCHANGE);
        assert_eq!(cache.exchanges.len(), 1);
    }

    #[test]
    fn an_answer_that_must_not_be_kept_ends_an_earlier_one() {
        let (mut cache, key, start) = (Cache::new(10), Key::from("k"), Instant::now());
        cache.keep(&key, &None, lasting(60, 60), start);
        cache.keep(&key, &reply(), NO_STORE, start);
        assert_eq!(cache.stale(&key, start), None);
    }
}
