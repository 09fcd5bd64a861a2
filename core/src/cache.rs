// SPDX-License-Identifier: MPL-2.0
//! The answers kept: by request, and for each client until its exchange is over.
//!
//! The engine owns the cache and tells it the time. Every operation is short: the engine holds its
//! lock for one operation at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::answer::Answer;
use crate::request::Request;

/// The longest time that an exchange keeps its answer.
const EXCHANGE: Duration = Duration::from_secs(10);

/// The unfinished exchanges remembered where `cache-size` is smaller.
const MIN_EXCHANGES: usize = 1000;

/// How long one answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// How long the answer is fresh, from its arrival on: no request is made for it.
    pub fresh_for: Duration,
    /// How long the answer may serve after it has become stale, while no fresh one can be had.
    pub stale_for: Duration,
}

/// One packet's place in a DHCP exchange: DISCOVER, OFFER, REQUEST, ACK (RFC 2131, section 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The hardware address and the client identifier: no two clients have the same.
    pub client: Arc<[u8]>,
    /// The transaction id. A retransmission has the id of its first packet, a new exchange has not.
    pub xid: u32,
    /// Whether the packet goes on with an exchange that an earlier packet began. A REQUEST does.
    pub continues: bool,
}

/// An answer kept for a request.
struct Kept {
    answer: Arc<Answer>,
    /// Until here the answer is fresh: it serves without a request.
    fresh_until: Instant,
    /// Until here the answer may serve while no fresh answer can be had.
    stale_until: Instant,
}

/// An exchange that is not over.
struct Exchange {
    /// The request that the exchange's answer belongs to.
    request: Arc<Request>,
    /// The transaction id of the packet that the answer was for.
    xid: u32,
    answer: Arc<Answer>,
    /// When the exchange is forgotten, over or not.
    until: Instant,
}

/// The answers kept for requests, and the answers of unfinished exchanges. Each of the two is
/// bounded in number, and the entry that was unused for longest goes first.
pub struct Cache {
    /// The most answers kept for requests.
    size: usize,
    answers: LruCache<Arc<Request>, Kept>,
    /// By client.
    exchanges: LruCache<Arc<[u8]>, Exchange>,
}

impl Cache {
    /// An empty cache of at most `size` answers.
    pub fn new(size: usize) -> Self {
        // `store` and `begin_exchange` keep the bounds: LruCache would allocate a bound at once.
        Cache { size, answers: LruCache::unbounded(), exchanges: LruCache::unbounded() }
    }

    /// The answer to use without a request: the answer of the packet's exchange, else a fresh one.
    /// A fresh answer becomes the answer of the exchange.
    pub fn fresh(
        &mut self,
        request: &Arc<Request>,
        transaction: &Transaction,
        now: Instant,
    ) -> Option<Arc<Answer>> {
        if let Some(exchange) = self.exchanges.peek(&transaction.client) {
            let same_exchange = transaction.continues || exchange.xid == transaction.xid;
            if same_exchange && exchange.request == *request && now < exchange.until {
                return Some(Arc::clone(&exchange.answer));
            }
        }
        let kept = self.answers.get(request)?;
        if now >= kept.fresh_until {
            return None;
        }
        let answer = Arc::clone(&kept.answer);
        self.begin_exchange(request, transaction, &answer, now);
        Some(answer)
    }

    /// An answer that may serve while no fresh answer can be had, though it is stale.
    pub fn stale(&mut self, request: &Arc<Request>, now: Instant) -> Option<Arc<Answer>> {
        let kept = self.answers.get(request)?;
        (now < kept.stale_until).then(|| Arc::clone(&kept.answer))
    }

    /// Stores an answer that has just arrived, in the place of an earlier one, for as long as
    /// `freshness` says.
    pub fn store(
        &mut self,
        request: &Arc<Request>,
        answer: &Arc<Answer>,
        freshness: Freshness,
        now: Instant,
    ) {
        let fresh_until = now + freshness.fresh_for;
        let stale_until = fresh_until + freshness.stale_for;
        if stale_until == now {
            self.answers.pop(request);
            return;
        }
        let kept = Kept { answer: Arc::clone(answer), fresh_until, stale_until };
        self.answers.put(Arc::clone(request), kept);
        while self.answers.len() > self.size {
            self.answers.pop_lru();
        }
    }

    /// Makes `answer` the answer of the packet's exchange, until [`Cache::end_exchange`], or for 10
    /// seconds.
    pub fn begin_exchange(
        &mut self,
        request: &Arc<Request>,
        transaction: &Transaction,
        answer: &Arc<Answer>,
        now: Instant,
    ) {
        let exchange = Exchange {
            request: Arc::clone(request),
            xid: transaction.xid,
            answer: Arc::clone(answer),
            until: now + EXCHANGE,
        };
        self.exchanges.put(Arc::clone(&transaction.client), exchange);
        // The exchanges are in the order in which they began: `fresh` only peeks at them.
        while self.exchanges.len() > self.size.max(MIN_EXCHANGES)
            || self.exchanges.peek_lru().is_some_and(|(_, oldest)| oldest.until <= now)
        {
            self.exchanges.pop_lru();
        }
    }

    /// Forgets the client's exchange, which is over.
    pub fn end_exchange(&mut self, client: &[u8]) {
        self.exchanges.pop(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A DISCOVER of the client with this number.
    fn discover(client: u8, xid: u32) -> Transaction {
        Transaction { client: Arc::new([client]), xid, continues: false }
    }

    /// A REQUEST of the client with this number.
    fn request(client: u8, xid: u32) -> Transaction {
        Transaction { continues: true, ..discover(client, xid) }
    }

    fn about(number: u32) -> Arc<Request> {
        Arc::new(Request::new(vec![(1, number.to_be_bytes().to_vec())], Vec::new()).unwrap())
    }

    fn nothing() -> Arc<Answer> {
        Arc::default()
    }

    fn something() -> Arc<Answer> {
        Arc::new(Answer { client_classes: vec!["rpi4".into()], ..Answer::default() })
    }

    fn lasting(fresh: u64, stale: u64) -> Freshness {
        Freshness { fresh_for: Duration::from_secs(fresh), stale_for: Duration::from_secs(stale) }
    }

    const NO_STORE: Freshness = Freshness { fresh_for: Duration::ZERO, stale_for: Duration::ZERO };

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        assert_eq!(cache.fresh(&key, &discover(1, 1), start), None);
        cache.store(&key, &nothing(), lasting(2, 3), start);
        assert_eq!(cache.fresh(&key, &discover(1, 1), start + SECOND), Some(nothing()));
        assert_eq!(cache.fresh(&key, &discover(2, 1), start + 2 * SECOND), None);
        assert_eq!(cache.stale(&key, start + 4 * SECOND), Some(nothing()));
        assert_eq!(cache.stale(&key, start + 5 * SECOND), None);
    }

    #[test]
    fn one_exchange_has_one_answer() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        cache.store(&key, &something(), NO_STORE, start);
        cache.begin_exchange(&key, &discover(1, 7), &something(), start);
        // A retransmission; and a REQUEST with any transaction id.
        assert_eq!(cache.fresh(&key, &discover(1, 7), start + SECOND), Some(something()));
        assert_eq!(cache.fresh(&key, &request(1, 8), start + 9 * SECOND), Some(something()));
        // Another exchange, another client, another request; and the exchange is too old.
        assert_eq!(cache.fresh(&key, &discover(1, 8), start + SECOND), None);
        assert_eq!(cache.fresh(&key, &request(2, 7), start + SECOND), None);
        assert_eq!(cache.fresh(&about(2), &request(1, 7), start + SECOND), None);
        assert_eq!(cache.fresh(&key, &request(1, 7), start + EXCHANGE), None);
        cache.end_exchange(&[1]);
        assert_eq!(cache.fresh(&key, &request(1, 7), start + SECOND), None);
    }

    #[test]
    fn a_fresh_answer_becomes_the_answer_of_its_exchange() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        cache.store(&key, &nothing(), lasting(1, 0), start);
        assert_eq!(cache.fresh(&key, &discover(1, 7), start), Some(nothing()));
        cache.store(&key, &something(), lasting(9, 0), start + SECOND);
        assert_eq!(cache.fresh(&key, &request(1, 7), start + 2 * SECOND), Some(nothing()));
        assert_eq!(cache.fresh(&key, &request(2, 7), start + 2 * SECOND), Some(something()));
    }

    #[test]
    fn the_number_of_answers_and_exchanges_is_bounded() {
        let (mut cache, start) = (Cache::new(3), Instant::now());
        let keys: Vec<_> = (0..5000).map(about).collect();
        for (number, key) in (0u32..).zip(&keys) {
            cache.store(key, &nothing(), lasting(60, 0), start);
            let client = Arc::new(number.to_be_bytes());
            let transaction = Transaction { client, ..discover(0, 0) };
            cache.begin_exchange(key, &transaction, &nothing(), start);
            assert!(cache.answers.len() <= 3 && cache.exchanges.len() <= MIN_EXCHANGES);
        }
        // The answer that was unused for longest goes first.
        assert!(cache.fresh(&keys[4997], &discover(1, 1), start).is_some());
        cache.store(&keys[0], &nothing(), lasting(60, 0), start);
        assert!(cache.fresh(&keys[4997], &discover(2, 1), start).is_some());
        assert!(cache.fresh(&keys[4998], &discover(3, 1), start).is_none());
        // Exchanges that were never finished do not stay.
        cache.begin_exchange(&keys[0], &discover(9, 9), &nothing(), start + EXCHANGE);
        assert_eq!(cache.exchanges.len(), 1);
    }

    #[test]
    fn an_answer_that_must_not_be_kept_ends_an_earlier_one() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        cache.store(&key, &nothing(), lasting(60, 60), start);
        cache.store(&key, &something(), NO_STORE, start);
        assert_eq!(cache.stale(&key, start), None);
    }
}
