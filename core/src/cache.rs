// SPDX-License-Identifier: MPL-2.0
//! The answers kept: by request, and for each client until its exchange is over.
//!
//! The engine owns the cache and tells it the time. Every operation is short: the engine holds its
//! lock for one operation at a time.

use std::collections::BTreeMap;
use std::mem;
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::answer::Answer;
use crate::request::{Request, ServiceUrl, SubOptions};
use crate::reserved::ReservedAddresses;

/// The longest time that an exchange keeps its answer.
pub(crate) const EXCHANGE: Duration = Duration::from_secs(10);

/// The longest time that an answer waits for the next packet of a client that got no reply. A
/// client asks again after 4, 8, 16, 32 and 64 seconds (RFC 2131, section 4.1).
pub(crate) const AWAITED: Duration = Duration::from_secs(70);

/// The most bytes of answers kept, about. One answer may have 64 KiB, and takes more when it is
/// read. 100,000 answers with a URL and a server each have room.
pub(crate) const MOST_BYTES: usize = 96 * 1024 * 1024;

/// The most unfinished exchanges remembered: as many as there may be lookups in line, whose clients
/// ask again.
pub(crate) const MOST_EXCHANGES: usize = 250_000;

/// The most exchanges that are over and forgotten when one is remembered.
const FORGOTTEN_AT_ONCE: usize = 16;

/// The most bytes of unfinished exchanges, about.
pub(crate) const MOST_EXCHANGE_BYTES: usize = 256 * 1024 * 1024;

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
    /// Whether the packet goes on with an exchange that an earlier packet began. A REQUEST does,
    /// but for one that renews a lease.
    pub continues: bool,
}

/// What kept answers are answers to: the services that were asked, and the parameter `query`. Where
/// either is another one now, the answers do not count as fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The services, without credentials, in the order of the parameter `url`.
    pub services: Vec<String>,
    /// The parameter `query`.
    pub query: BTreeMap<String, String>,
}

impl Origin {
    /// The origin of the answers that these services give.
    pub fn new(services: &[ServiceUrl], query: &BTreeMap<String, String>) -> Self {
        let services = services.iter().map(ServiceUrl::to_string).collect();
        Origin { services, query: query.clone() }
    }
}

/// An answer kept for a request, as the file of kept answers and the commands show it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The request.
    pub request: Arc<Request>,
    /// The answer.
    pub answer: Arc<Answer>,
    /// How long the answer may be used, from now on.
    pub freshness: Freshness,
    /// The client to which an ACK has carried the answer: see [`Cache::note_client`].
    pub client: Option<Arc<[u8]>>,
}

impl Entry {
    /// How many bytes the answer takes with its request, about: they count against the bound of the
    /// cache.
    pub fn bytes(&self) -> usize {
        bytes(&self.request, Some(&self.answer))
    }
}

/// An answer of a page: see [`Cache::page`].
#[derive(Debug, Clone)]
pub struct Numbered {
    /// The number of the answer. An answer that was stored later has a higher number.
    pub number: u64,
    /// The answer.
    pub entry: Entry,
}

/// How full a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// The answers that say something.
    pub answers: usize,
    /// The answers that say "nothing for this client".
    pub nothings: usize,
    /// The bytes of all these answers with their requests, about.
    pub bytes: usize,
    /// The exchanges remembered: those that are not over, and those that had their ACK lately.
    pub exchanges: usize,
    /// The addresses that the answers reserve.
    pub addresses: usize,
}

/// What [`Cache::clear`] has taken out. To drop it takes time where it holds many answers.
pub struct Cleared(Answers, Answers);

impl Cleared {
    /// How many answers were taken out.
    pub fn len(&self) -> usize {
        self.0.kept.len() + self.1.kept.len()
    }

    /// Whether there was no answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An answer kept for a request.
struct Kept {
    answer: Arc<Answer>,
    /// The number of the answer: see [`Numbered::number`].
    number: u64,
    /// Until here the answer is fresh: it serves without a request.
    fresh_until: Instant,
    /// Until here the answer may serve while no fresh answer can be had.
    stale_until: Instant,
    /// As in [`Entry`].
    client: Option<Arc<[u8]>>,
}

/// What a packet gets without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// This answer.
    Answer(Arc<Answer>),
    /// No answer, because the exchange's OFFER went out without one.
    Failure,
    /// The lookup of the client's last packet, which got no reply, has failed since.
    LookupFailed,
}

/// An exchange that is not over.
struct Exchange {
    /// The request that the exchange's answer belongs to.
    request: Arc<Request>,
    /// The transaction id of the packet that the answer was for. `None` where the packet got no
    /// reply: the client's next packet begins the exchange anew, with any transaction id.
    xid: Option<u32>,
    /// `None` where the lookup failed.
    answer: Option<Arc<Answer>>,
    /// When the exchange began.
    begun: Instant,
    /// Whether the client has its ACK: see [`Cache::reopen_exchange`].
    over: bool,
    /// When the exchange is forgotten, over or not.
    until: Instant,
}

/// How many bytes an answer takes with its request, about.
fn bytes(request: &Request, answer: Option<&Arc<Answer>>) -> usize {
    /// What an entry takes beside its request and its answer.
    const EACH: usize = 300;
    /// What a text takes that was read from a body, beside its bytes. A comma parts two texts.
    const TEXT: usize = 128;
    let body = answer.map_or(&[][..], |answer| &answer.body);
    let texts = body.iter().filter(|byte| **byte == b',').count();
    EACH + request.bytes() + 3 * body.len() + TEXT * texts
}

impl Exchange {
    /// Whether a packet with these sub-options is a REQUEST of this exchange.
    fn is_of(&self, transaction: &Transaction, sub_options: &SubOptions, now: Instant) -> bool {
        let is_of_transaction = transaction.continues && self.xid == Some(transaction.xid);
        is_of_transaction && self.request.has(sub_options) && now < self.until
    }

    /// How many bytes the exchange takes, about.
    fn bytes(&self) -> usize {
        bytes(&self.request, self.answer.as_ref())
    }
}

/// Answers kept for requests, bounded in number and in bytes. The answer that was unused for
/// longest goes first.
struct Answers {
    kept: LruCache<Arc<Request>, Kept>,
    /// The requests by the numbers of their answers, for pages: the order of `kept` changes with
    /// each use.
    numbers: BTreeMap<u64, Arc<Request>>,
    /// The addresses that the answers reserve.
    reserved: ReservedAddresses,
    bytes: usize,
}

impl Kept {
    /// The answer with the time that is left to it.
    fn entry(&self, request: &Arc<Request>, now: Instant) -> Entry {
        Entry {
            request: Arc::clone(request),
            answer: Arc::clone(&self.answer),
            freshness: Freshness {
                fresh_for: self.fresh_until.saturating_duration_since(now),
                stale_for: self.stale_until - self.fresh_until.max(now),
            },
            client: self.client.clone(),
        }
    }
}

impl Answers {
    fn new() -> Self {
        // `put` keeps the bounds: LruCache would allocate a bound at once.
        Answers {
            kept: LruCache::unbounded(),
            numbers: BTreeMap::new(),
            reserved: ReservedAddresses::default(),
            bytes: 0,
        }
    }

    fn put(&mut self, request: &Arc<Request>, kept: Kept, size: usize) {
        self.bytes += bytes(request, Some(&kept.answer));
        self.numbers.insert(kept.number, Arc::clone(request));
        self.reserved.add(request, &kept.answer);
        if let Some(earlier) = self.kept.put(Arc::clone(request), kept) {
            self.gone(request, &earlier);
        }
        self.shrink(size);
    }

    /// Forgets what is known of an answer that was taken out of `kept`.
    fn gone(&mut self, request: &Arc<Request>, gone: &Kept) {
        self.bytes -= bytes(request, Some(&gone.answer));
        self.numbers.remove(&gone.number);
        self.reserved.remove(request, &gone.answer);
    }

    /// Makes every answer stale, and forgets answers that must not serve stale.
    fn expire(&mut self, now: Instant) {
        let is_strict = |(_, kept): &(&Arc<Request>, &Kept)| kept.stale_until <= kept.fresh_until;
        let strict = self.kept.iter().filter(is_strict);
        let strict: Vec<_> = strict.map(|(request, _)| Arc::clone(request)).collect();
        for request in &strict {
            self.remove(request);
        }
        self.kept.iter_mut().for_each(|(_, kept)| kept.fresh_until = now);
    }

    /// Forgets the answer for a request. False where there is none.
    fn remove(&mut self, request: &Arc<Request>) -> bool {
        let Some(kept) = self.kept.pop(request) else { return false };
        self.gone(request, &kept);
        true
    }

    /// Forgets answers until at most `size` are left.
    fn shrink(&mut self, size: usize) {
        while self.kept.len() > size || self.bytes > MOST_BYTES {
            let Some((request, kept)) = self.kept.pop_lru() else { return };
            self.gone(&request, &kept);
        }
    }
}

/// The answers kept for requests, and the answers of unfinished exchanges. Each kind is bounded in
/// number, and the entry that was unused for longest goes first.
pub struct Cache {
    /// The most answers kept for requests: of those that say something, and of those that say
    /// "nothing for this client".
    size: usize,
    answers: Answers,
    /// The answers that say nothing. They push no other answers out, however many machines there
    /// are that the service does not know.
    nothings: Answers,
    /// By client.
    exchanges: LruCache<Arc<[u8]>, Exchange>,
    /// The bytes of the exchanges, as if no two had the same answer.
    exchange_bytes: usize,
    /// When the last of the exchanges ends. Not all last equally long.
    last_until: Option<Instant>,
    /// How often an answer was stored or removed.
    changes: u64,
    /// How many addresses the answers reserve.
    addresses: Arc<AtomicUsize>,
    /// The failures of lookups that began no later are forgotten.
    forgotten: Option<Instant>,
}

impl Cache {
    /// An empty cache of at most `size` answers.
    pub fn new(size: usize) -> Self {
        // `insert_exchange` keeps the bound of the exchanges.
        let (answers, nothings) = (Answers::new(), Answers::new());
        let exchanges = LruCache::unbounded();
        Cache {
            size,
            answers,
            nothings,
            exchanges,
            exchange_bytes: 0,
            last_until: None,
            changes: 0,
            addresses: Arc::default(),
            forgotten: None,
        }
    }

    /// Has the cache keep at most `size` answers.
    pub fn resize(&mut self, size: usize) {
        self.size = size;
        self.answers.shrink(size);
        self.nothings.shrink(size);
        self.count_addresses();
    }

    /// Makes every answer stale: it serves only where no fresh one can be had. The services that
    /// gave the answers are no longer the ones that are asked.
    pub fn expire(&mut self, now: Instant) {
        for answers in [&mut self.answers, &mut self.nothings] {
            answers.expire(now);
        }
        self.exchanges.clear();
        self.exchange_bytes = 0;
        self.last_until = None;
        self.count_addresses();
    }

    /// The number of addresses that kept answers reserve, for a look without a lock.
    pub fn addresses(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.addresses)
    }

    fn count_addresses(&self) {
        self.addresses.store(self.answers.reserved.len(), Ordering::Relaxed);
    }

    /// The answers kept, the one unused for longest first.
    pub fn entries(&self, now: Instant) -> Vec<Entry> {
        let entries = self.nothings.kept.iter().rev().chain(self.answers.kept.iter().rev());
        let entries = entries.filter(|(_, kept)| now < kept.stale_until);
        entries.map(|(request, kept)| kept.entry(request, now)).collect()
    }

    /// The answer kept for a request, fresh or stale. To look does not count as a use.
    pub fn entry(&self, request: &Arc<Request>, now: Instant) -> Option<Entry> {
        let kept = self.peek(request)?;
        (now < kept.stale_until).then(|| kept.entry(request, now))
    }

    /// The answers with the next higher numbers than `after`, in the order of their numbers: of at
    /// most `most` numbers, those that may still serve. Also returns the highest number that was
    /// looked at, `None` where there is no higher number than `after`.
    pub fn page(&self, after: u64, most: usize, now: Instant) -> (Vec<Numbered>, Option<u64>) {
        let next = |answers: &Answers| {
            let numbers = answers.numbers.range((Bound::Excluded(after), Bound::Unbounded));
            let numbered = numbers.take(most).map(|(number, request)| {
                let kept = answers.kept.peek(request).filter(|kept| now < kept.stale_until);
                (*number, kept.map(|kept| kept.entry(request, now)))
            });
            numbered.collect::<Vec<_>>()
        };
        let mut numbered = next(&self.answers);
        numbered.append(&mut next(&self.nothings));
        numbered.sort_by_key(|(number, _)| *number);
        numbered.truncate(most);
        let last = numbered.last().map(|(number, _)| *number);
        let numbered = numbered.into_iter();
        let numbered =
            numbered.filter_map(|(number, entry)| Some(Numbered { number, entry: entry? }));
        (numbered.collect(), last)
    }

    /// Forgets the answer for a request. False where there is none. An unfinished exchange keeps
    /// its answer.
    pub fn remove(&mut self, request: &Arc<Request>) -> bool {
        let removed = self.answers.remove(request) || self.nothings.remove(request);
        self.changes += u64::from(removed);
        self.count_addresses();
        removed
    }

    /// Takes all answers out. Unfinished exchanges keep their answers.
    pub fn clear(&mut self) -> Cleared {
        self.changes += 1;
        let answers = mem::replace(&mut self.answers, Answers::new());
        self.count_addresses();
        Cleared(answers, mem::replace(&mut self.nothings, Answers::new()))
    }

    /// How full the cache is.
    pub fn fill(&self) -> Fill {
        Fill {
            answers: self.answers.kept.len(),
            nothings: self.nothings.kept.len(),
            bytes: self.answers.bytes + self.nothings.bytes,
            exchanges: self.exchanges.len(),
            addresses: self.answers.reserved.len(),
        }
    }

    /// An ACK has carried the kept answer to this request to this client, with the address that the
    /// answer reserves (`has_address`), or without it. A client without the address does not take
    /// the place of another one: both may be behind one port. A client is named as in
    /// [`Transaction::client`].
    pub fn note_client(&mut self, request: &Arc<Request>, client: &Arc<[u8]>, has_address: bool) {
        let Some(kept) = self.answers.kept.peek_mut(request) else { return };
        if kept.client.is_none() || (has_address && kept.client.as_ref() != Some(client)) {
            kept.client = Some(Arc::clone(client));
            self.changes += 1;
        }
    }

    /// As [`Cache::request_of`], where no kept answer that reserves the address has a client yet:
    /// the answers came by a command, or no ACK has carried them.
    pub fn request_of_unknown_owner(
        &self,
        address: Ipv4Addr,
        now: Instant,
    ) -> Option<&Arc<Request>> {
        let mut requests = self.answers.reserved.requests(address);
        let is_known = requests.any(|request| {
            let kept = self.answers.kept.peek(request);
            kept.is_some_and(|kept| now < kept.stale_until && kept.client.is_some())
        });
        if is_known { None } else { self.request_of(address, now) }
    }

    /// As [`Cache::request_of`], where an ACK has carried that answer to the client.
    pub fn request_of_client(
        &self,
        address: Ipv4Addr,
        client: &[u8],
        now: Instant,
    ) -> Option<&Arc<Request>> {
        let mut requests = self.answers.reserved.requests(address);
        requests.find(|request| {
            let kept = self.answers.kept.peek(*request);
            kept.is_some_and(|kept| {
                now < kept.stale_until && kept.client.as_deref() == Some(client)
            })
        })
    }

    /// The request whose kept answer, fresh or stale, reserves this address: the latest one, where
    /// there are several.
    pub fn request_of(&self, address: Ipv4Addr, now: Instant) -> Option<&Arc<Request>> {
        // An answer that reserves an address is none that says nothing.
        let mut requests = self.answers.reserved.requests(address);
        requests.find(|request| self.has_stale(request, now))
    }

    /// How often an answer was stored or removed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.answers.kept.len() + self.nothings.kept.len()
    }

    /// Whether no answer is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn peek(&self, request: &Arc<Request>) -> Option<&Kept> {
        self.answers.kept.peek(request).or_else(|| self.nothings.kept.peek(request))
    }

    /// The answer kept for a request, fresh or stale.
    fn kept(&mut self, request: &Arc<Request>) -> Option<&Kept> {
        let Cache { answers, nothings, .. } = self;
        answers.kept.get(request).or_else(|| nothings.kept.get(request))
    }

    /// Whether a packet may go on with an exchange: one has begun lately.
    pub fn has_exchanges(&self, now: Instant) -> bool {
        self.last_until.is_some_and(|until| now < until)
    }

    /// The request of the exchange that the packet goes on with: a REQUEST whose client has got an
    /// OFFER with the same transaction id, and no ACK yet. The packet has the `sub_options` (code
    /// and payload) of the request: it comes from the same port.
    pub fn exchange_of(
        &self,
        transaction: &Transaction,
        sub_options: &SubOptions,
        now: Instant,
    ) -> Option<Arc<Request>> {
        let exchange = self.exchanges.peek(&transaction.client)?;
        let goes_on = !exchange.over && exchange.is_of(transaction, sub_options, now);
        goes_on.then(|| Arc::clone(&exchange.request))
    }

    /// As [`Cache::exchange_of`], for a REQUEST that makes another request by itself (`own`), or
    /// none. Its client may have lost its ACK and send the REQUEST again, so an exchange that is
    /// over goes on. A REQUEST that makes the same request needs no exchange.
    pub fn reopen_exchange(
        &mut self,
        transaction: &Transaction,
        sub_options: &SubOptions,
        own: Option<&Request>,
        now: Instant,
    ) -> Option<Arc<Request>> {
        let exchange = self.exchanges.peek_mut(&transaction.client)?;
        if !exchange.is_of(transaction, sub_options, now) || own == Some(&*exchange.request) {
            return None;
        }
        exchange.over = false;
        Some(Arc::clone(&exchange.request))
    }

    /// What the packet gets without a request: what its exchange has got before, else a fresh
    /// answer. A fresh answer becomes the answer of the exchange.
    pub fn known(
        &mut self,
        request: &Arc<Request>,
        transaction: &Transaction,
        now: Instant,
    ) -> Option<Known> {
        if let Some(exchange) = self.exchanges.peek_mut(&transaction.client) {
            let same_exchange = !exchange.over
                && (transaction.continues || exchange.xid.is_none_or(|xid| xid == transaction.xid));
            if same_exchange && exchange.request == *request && now < exchange.until {
                match &exchange.answer {
                    Some(answer) => {
                        exchange.xid.get_or_insert(transaction.xid);
                        return Some(Known::Answer(Arc::clone(answer)));
                    }
                    None if exchange.xid.is_none() => {
                        let begun = exchange.begun;
                        // Once: if the client asks again, its lookup is made again.
                        self.end_exchange(&transaction.client);
                        if !self.has_forgotten(begun) {
                            return Some(Known::LookupFailed);
                        }
                    }
                    // The ACK carries what the OFFER carried. A DISCOVER may find more.
                    None if transaction.continues => return Some(Known::Failure),
                    None => {}
                }
            }
        }
        let kept = self.kept(request)?;
        if now >= kept.fresh_until {
            return None;
        }
        let answer = Arc::clone(&kept.answer);
        self.begin_exchange(request, transaction, Some(&answer), now);
        Some(Known::Answer(answer))
    }

    /// Whether there is an answer that may serve stale. To look does not count as a use.
    pub fn has_stale(&self, request: &Arc<Request>, now: Instant) -> bool {
        self.peek(request).is_some_and(|kept| now < kept.stale_until)
    }

    /// An answer that may serve while no fresh answer can be had, though it is stale.
    pub fn stale(&mut self, request: &Arc<Request>, now: Instant) -> Option<Arc<Answer>> {
        let kept = self.kept(request)?;
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
        self.changes += 1;
        let fresh_until = now + freshness.fresh_for;
        let stale_until = fresh_until + freshness.stale_for;
        if stale_until == now {
            self.answers.remove(request);
            self.nothings.remove(request);
            self.count_addresses();
            return;
        }
        let number = self.changes;
        let client = self.peek(request).and_then(|kept| kept.client.clone());
        let kept = Kept { answer: Arc::clone(answer), number, fresh_until, stale_until, client };
        let (own, other) = if kept.answer.is_nothing() {
            (&mut self.nothings, &mut self.answers)
        } else {
            (&mut self.answers, &mut self.nothings)
        };
        other.remove(request);
        own.put(request, kept, self.size);
        self.count_addresses();
    }

    /// Makes `answer` what the packet's exchange carries, until [`Cache::end_exchange`], or for 10
    /// seconds. `None`: the lookup failed, and the exchange carries no answer.
    pub fn begin_exchange(
        &mut self,
        request: &Arc<Request>,
        transaction: &Transaction,
        answer: Option<&Arc<Answer>>,
        now: Instant,
    ) {
        self.insert_exchange(
            &transaction.client,
            Exchange {
                request: Arc::clone(request),
                xid: Some(transaction.xid),
                answer: answer.cloned(),
                begun: now,
                over: false,
                until: now + EXCHANGE,
            },
            now,
        );
    }

    /// Keeps `answer` for the next packet of a client whose packet got no reply at the time
    /// `since`, for 70 seconds, whatever the service lets others use it for. `None`: the lookup has
    /// failed, and the client's next packet gets what a failed lookup gets.
    pub fn await_retransmission(
        &mut self,
        request: &Arc<Request>,
        client: &Arc<[u8]>,
        answer: Option<&Arc<Answer>>,
        since: Instant,
        now: Instant,
    ) {
        // The client has had a reply since, and its ACK carries what its OFFER carried.
        let has_offer = |exchange: &Exchange| {
            exchange.xid.is_some() && exchange.begun > since && now < exchange.until
        };
        if self.exchanges.peek(client).is_some_and(has_offer) {
            return;
        }
        let (request, answer) = (Arc::clone(request), answer.cloned());
        self.insert_exchange(
            client,
            Exchange { request, xid: None, answer, begun: now, over: false, until: now + AWAITED },
            now,
        );
    }

    fn insert_exchange(&mut self, client: &Arc<[u8]>, exchange: Exchange, now: Instant) {
        self.exchange_bytes += exchange.bytes();
        self.last_until = self.last_until.max(Some(exchange.until));
        if let Some(earlier) = self.exchanges.put(Arc::clone(client), exchange) {
            self.exchange_bytes -= earlier.bytes();
        }
        // The exchanges are in the order in which they began: `known` only peeks at them.
        while self.exchanges.len() > MOST_EXCHANGES || self.exchange_bytes > MOST_EXCHANGE_BYTES {
            self.forget_oldest_exchange();
        }
        // A few that are over at a time, so that no packet pays for many.
        for _ in 0..FORGOTTEN_AT_ONCE {
            let is_over = |(_, oldest): (&Arc<[u8]>, &Exchange)| oldest.until <= now;
            if !self.exchanges.peek_lru().is_some_and(is_over) {
                return;
            }
            self.forget_oldest_exchange();
        }
    }

    fn forget_oldest_exchange(&mut self) {
        if let Some((_, exchange)) = self.exchanges.pop_lru() {
            self.exchange_bytes -= exchange.bytes();
        }
    }

    /// The client has its ACK, so its exchange is over.
    pub fn close_exchange(&mut self, client: &[u8]) {
        if let Some(exchange) = self.exchanges.peek_mut(client) {
            exchange.over = true;
        }
    }

    /// Forgets the client's exchange: what comes has nothing to do with it.
    pub fn end_exchange(&mut self, client: &[u8]) {
        if let Some(exchange) = self.exchanges.pop(client) {
            self.exchange_bytes -= exchange.bytes();
        }
    }

    /// Forgets which lookups have failed of clients that got no reply, and which lookups under way
    /// will fail. The next packets of these clients have their lookups made again.
    pub fn forget_failures(&mut self, now: Instant) {
        self.forgotten = Some(now);
    }

    /// Whether the failure of a lookup that began at this time is forgotten.
    pub fn has_forgotten(&self, begun: Instant) -> bool {
        self.forgotten.is_some_and(|forgotten| begun <= forgotten)
    }

    /// Forgets the exchange of this transaction: its client gets another OFFER, which no lookup has
    /// to do with.
    pub fn end_exchange_of(&mut self, transaction: &Transaction) {
        let exchange = self.exchanges.peek(&transaction.client);
        if exchange.is_some_and(|exchange| exchange.xid == Some(transaction.xid)) {
            self.end_exchange(&transaction.client);
        }
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

    fn sub_options(request: &Request) -> SubOptions {
        request.sub_options().collect()
    }

    fn first_payload(request: &Request) -> &[u8] {
        request.sub_options().next().unwrap().1
    }

    fn nothing() -> Arc<Answer> {
        Arc::default()
    }

    fn something() -> Arc<Answer> {
        Arc::new(Answer { client_classes: ["rpi4".into()].into(), ..Answer::default() })
    }

    fn lasting(fresh: u64, stale: u64) -> Freshness {
        Freshness { fresh_for: Duration::from_secs(fresh), stale_for: Duration::from_secs(stale) }
    }

    #[test]
    fn an_address_is_renewed_by_the_client_that_got_it() {
        let address = Ipv4Addr::new(192, 0, 2, 77);
        let reserving = Arc::new(Answer { ip_address: Some(address), ..Answer::default() });
        let (key, client, start) = (about(1), Arc::<[u8]>::from([1]), Instant::now());
        let mut cache = Cache::new(2);
        cache.note_client(&key, &client, true);
        cache.store(&key, &reserving, lasting(2, 3), start);
        assert_eq!(cache.request_of_client(address, &[1], start), None);
        assert_eq!(cache.request_of_unknown_owner(address, start), Some(&key));
        cache.note_client(&key, &client, true);
        assert_eq!(cache.request_of_unknown_owner(address, start), None);
        let changes = cache.changes();
        cache.note_client(&key, &client, true);
        assert_eq!(cache.changes(), changes, "the same client is no change");
        // The next answer to the same request is for the same client.
        cache.store(&key, &reserving, lasting(2, 3), start);
        assert_eq!(cache.request_of_client(address, &[1], start), Some(&key));
        assert_eq!(cache.request_of_client(address, &[2], start), None);
        assert_eq!(cache.request_of_client(address, &[1], start + 5 * SECOND), None);
        assert_eq!(cache.entry(&key, start).unwrap().client.as_deref(), Some(&[1][..]));
        // An answer that serves no more reserves no address.
        let other = Ipv4Addr::new(192, 0, 2, 78);
        for (address, at) in [(address, start + 5 * SECOND), (other, start)] {
            assert_eq!(cache.request_of_unknown_owner(address, at), None);
        }
    }

    #[test]
    fn a_client_that_did_not_get_the_address_is_noted_where_no_other_one_is() {
        let address = Ipv4Addr::new(192, 0, 2, 77);
        let reserving = Arc::new(Answer { ip_address: Some(address), ..Answer::default() });
        let client = |number: u8| Arc::<[u8]>::from([number]);
        let (key, start) = (about(1), Instant::now());
        let mut cache = Cache::new(2);
        cache.store(&key, &reserving, lasting(2, 3), start);
        for (number, has_address, noted) in [(1, false, 1), (2, false, 1), (2, true, 2)] {
            cache.note_client(&key, &client(number), has_address);
            assert_eq!(cache.request_of_client(address, &[noted], start), Some(&key));
        }
    }

    #[test]
    fn an_address_is_reserved_while_its_answer_serves() {
        let address = Ipv4Addr::new(192, 0, 2, 77);
        let reserving = Arc::new(Answer { ip_address: Some(address), ..Answer::default() });
        let (one, two, start) = (about(1), about(2), Instant::now());
        let mut cache = Cache::new(2);
        cache.store(&one, &reserving, lasting(2, 3), start);
        assert_eq!(cache.request_of(address, start + 4 * SECOND), Some(&one));
        assert_eq!(cache.request_of(address, start + 5 * SECOND), None);
        cache.store(&two, &reserving, lasting(2, 3), start);
        assert_eq!((cache.request_of(address, start), cache.fill().addresses), (Some(&two), 1));
        // Another answer, a removal, one answer too many: none leaves a reservation behind.
        cache.store(&two, &something(), lasting(2, 3), start);
        assert_eq!(cache.request_of(address, start), Some(&one));
        cache.remove(&one);
        assert_eq!(cache.request_of(address, start), None);
        cache.store(&one, &reserving, lasting(2, 3), start);
        cache.store(&about(3), &something(), lasting(2, 3), start);
        cache.store(&about(4), &something(), lasting(2, 3), start);
        assert_eq!((cache.request_of(address, start), cache.fill().addresses), (None, 0));
    }

    const NO_STORE: Freshness = Freshness { fresh_for: Duration::ZERO, stale_for: Duration::ZERO };

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        assert_eq!(cache.known(&key, &discover(1, 1), start), None);
        cache.store(&key, &nothing(), lasting(2, 3), start);
        assert_eq!(
            cache.known(&key, &discover(1, 1), start + SECOND),
            Some(Known::Answer(nothing()))
        );
        assert_eq!(cache.known(&key, &discover(2, 1), start + 2 * SECOND), None);
        assert_eq!(cache.stale(&key, start + 4 * SECOND), Some(nothing()));
        assert_eq!(cache.stale(&key, start + 5 * SECOND), None);
    }

    #[test]
    fn a_request_goes_on_with_the_exchange_of_its_transaction() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        assert!(!cache.has_exchanges(start));
        cache.begin_exchange(&key, &discover(1, 7), Some(&something()), start);
        assert!(cache.has_exchanges(start + 9 * SECOND));
        assert!(!cache.has_exchanges(start + 10 * SECOND));
        // A client that got no reply is awaited for longer than a later exchange lasts.
        let mut mixed = Cache::new(0);
        let (lost, answer) = (discover(2, 1).client, something());
        mixed.await_retransmission(&key, &lost, Some(&answer), start, start);
        mixed.begin_exchange(&key, &discover(1, 7), Some(&answer), start + SECOND);
        assert!(mixed.has_exchanges(start + 69 * SECOND));
        let found = cache.exchange_of(&request(1, 7), &sub_options(&key), start + 9 * SECOND);
        assert_eq!(found.as_ref(), Some(&key));
        // Another port.
        let port = about(2);
        assert_eq!(cache.exchange_of(&request(1, 7), &sub_options(&port), start), None);
        // A DISCOVER, another transaction, another client; and the exchange is too old.
        assert_eq!(cache.exchange_of(&discover(1, 7), &sub_options(&key), start), None);
        assert_eq!(cache.exchange_of(&request(1, 8), &sub_options(&key), start), None);
        assert_eq!(cache.exchange_of(&request(2, 7), &sub_options(&key), start), None);
        assert_eq!(
            cache.exchange_of(&request(1, 7), &sub_options(&key), start + 10 * SECOND),
            None
        );
        cache.end_exchange_of(&discover(1, 8));
        cache.end_exchange_of(&discover(2, 7));
        assert!(cache.exchange_of(&request(1, 7), &sub_options(&key), start).is_some());
        cache.end_exchange_of(&discover(1, 7));
        assert_eq!(cache.exchange_of(&request(1, 7), &sub_options(&key), start), None);
    }

    #[test]
    fn an_exchange_is_over_with_its_ack_and_goes_on_where_the_ack_was_lost() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        cache.begin_exchange(&key, &discover(1, 7), Some(&something()), start);
        cache.close_exchange(&[1]);
        assert_eq!(cache.known(&key, &request(1, 7), start + SECOND), None);
        assert_eq!(cache.exchange_of(&request(1, 7), &sub_options(&key), start + SECOND), None);
        // A DISCOVER, another transaction, another client; and the exchange is too old.
        assert_eq!(
            cache.reopen_exchange(&discover(1, 7), &sub_options(&key), None, start + SECOND),
            None
        );
        assert_eq!(
            cache.reopen_exchange(&request(1, 8), &sub_options(&key), None, start + SECOND),
            None
        );
        assert_eq!(
            cache.reopen_exchange(&request(2, 7), &sub_options(&key), None, start + SECOND),
            None
        );
        assert_eq!(
            cache.reopen_exchange(&request(1, 7), &sub_options(&key), None, start + 10 * SECOND),
            None
        );
        assert_eq!(
            cache.reopen_exchange(&request(1, 7), &sub_options(&key), None, start + SECOND),
            Some(Arc::clone(&key))
        );
        let answer = Some(Known::Answer(something()));
        assert_eq!(cache.known(&key, &request(1, 7), start + SECOND), answer);
        // The same request is made anew.
        cache.close_exchange(&[1]);
        let own = Some(&*key);
        assert_eq!(cache.reopen_exchange(&request(1, 7), &sub_options(&key), own, start), None);
    }

    #[test]
    fn one_exchange_has_one_answer() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        cache.store(&key, &something(), NO_STORE, start);
        cache.begin_exchange(&key, &discover(1, 7), Some(&something()), start);
        // A retransmission; and a REQUEST with any transaction id.
        assert_eq!(
            cache.known(&key, &discover(1, 7), start + SECOND),
            Some(Known::Answer(something()))
        );
        assert_eq!(
            cache.known(&key, &request(1, 8), start + 9 * SECOND),
            Some(Known::Answer(something()))
        );
        // Another exchange, another client, another request; and the exchange is too old.
        assert_eq!(cache.known(&key, &discover(1, 8), start + SECOND), None);
        assert_eq!(cache.known(&key, &request(2, 7), start + SECOND), None);
        assert_eq!(cache.known(&about(2), &request(1, 7), start + SECOND), None);
        assert_eq!(cache.known(&key, &request(1, 7), start + EXCHANGE), None);
        cache.end_exchange(&[1]);
        assert_eq!(cache.known(&key, &request(1, 7), start + SECOND), None);
    }

    #[test]
    fn a_fresh_answer_becomes_the_answer_of_its_exchange() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        cache.store(&key, &nothing(), lasting(1, 0), start);
        assert_eq!(cache.known(&key, &discover(1, 7), start), Some(Known::Answer(nothing())));
        cache.store(&key, &something(), lasting(9, 0), start + SECOND);
        assert_eq!(
            cache.known(&key, &request(1, 7), start + 2 * SECOND),
            Some(Known::Answer(nothing()))
        );
        assert_eq!(
            cache.known(&key, &request(2, 7), start + 2 * SECOND),
            Some(Known::Answer(something()))
        );
    }

    #[test]
    fn the_number_of_answers_is_bounded() {
        let (mut cache, start) = (Cache::new(3), Instant::now());
        let keys: Vec<_> = (0..5000).map(about).collect();
        for (number, key) in (0u32..).zip(&keys) {
            cache.store(key, &nothing(), lasting(60, 0), start);
            let client = Arc::new(number.to_be_bytes());
            let transaction = Transaction { client, ..discover(0, 0) };
            cache.begin_exchange(key, &transaction, Some(&nothing()), start);
            assert!(cache.len() <= 3);
        }
        // The answer that was unused for longest goes first.
        assert!(cache.known(&keys[4997], &discover(1, 1), start).is_some());
        cache.store(&keys[0], &nothing(), lasting(60, 0), start);
        assert!(cache.known(&keys[4997], &discover(2, 1), start).is_some());
        assert!(cache.known(&keys[4998], &discover(3, 1), start).is_none());
        // Exchanges that were never finished do not stay.
        for _ in 0..5000 / FORGOTTEN_AT_ONCE + 1 {
            cache.begin_exchange(&keys[0], &discover(9, 9), Some(&nothing()), start + EXCHANGE);
        }
        assert_eq!(cache.exchanges.len(), 1);
    }

    #[test]
    fn an_answer_that_must_not_be_kept_ends_an_earlier_one() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        cache.store(&key, &nothing(), lasting(60, 60), start);
        cache.store(&key, &something(), NO_STORE, start);
        assert_eq!(cache.stale(&key, start), None);
    }

    #[test]
    fn an_ack_carries_nothing_where_the_lookup_of_its_offer_failed() {
        let (mut cache, key, start) = (Cache::new(10), about(1), Instant::now());
        cache.begin_exchange(&key, &discover(1, 7), None, start);
        cache.store(&key, &something(), lasting(60, 0), start);
        assert_eq!(cache.known(&key, &request(1, 7), start), Some(Known::Failure));
        // A DISCOVER finds the answer, and the exchange carries it from then on.
        let found = Some(Known::Answer(something()));
        assert_eq!(cache.known(&key, &discover(1, 7), start), found);
        assert_eq!(cache.known(&key, &request(1, 7), start), found);
    }

    #[test]
    fn an_answer_waits_for_the_next_packet_of_its_client() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        cache.await_retransmission(&key, &discover(1, 0).client, Some(&something()), start, start);
        let later = start + Duration::from_secs(64);
        assert_eq!(cache.known(&key, &discover(2, 8), later), None);
        let found = Some(Known::Answer(something()));
        assert_eq!(cache.known(&key, &discover(1, 8), later), found);
        // The exchange is that packet's now.
        assert_eq!(cache.known(&key, &discover(1, 9), later), None);
        assert_eq!(cache.known(&key, &request(1, 8), later), found);
        assert_eq!(cache.known(&key, &request(1, 8), start + AWAITED), None);
    }

    #[test]
    fn the_next_packet_of_a_client_learns_once_that_its_lookup_failed() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        for next in [discover(1, 8), request(1, 8)] {
            cache.await_retransmission(&key, &next.client, None, start, start);
            assert_eq!(cache.known(&key, &discover(2, 8), start), None);
            assert_eq!(cache.known(&key, &next, start), Some(Known::LookupFailed));
            assert_eq!(cache.known(&key, &next, start), None);
        }
    }

    #[test]
    fn failures_of_clients_that_got_no_reply_can_be_forgotten() {
        let (mut cache, key, start) = (Cache::new(0), about(1), Instant::now());
        let answers = [None, Some(something())];
        for (client, answer) in (1..).zip(&answers) {
            let transaction = discover(client, 0);
            let answer = answer.as_ref();
            cache.await_retransmission(&key, &transaction.client, answer, start, start);
            cache.begin_exchange(&key, &discover(client + 2, 7), answer, start);
        }
        cache.forget_failures(start);
        let known = |cache: &mut Cache, transaction| cache.known(&key, &transaction, start);
        assert_eq!(known(&mut cache, discover(1, 8)), None);
        // An answer that waits, and what an OFFER carried.
        assert_eq!(known(&mut cache, discover(2, 8)), Some(Known::Answer(something())));
        assert_eq!(known(&mut cache, request(3, 7)), Some(Known::Failure));
        assert_eq!(known(&mut cache, request(4, 7)), Some(Known::Answer(something())));
    }

    #[test]
    fn answers_without_edits_push_no_other_answers_out() {
        let (mut cache, start) = (Cache::new(3), Instant::now());
        cache.store(&about(0), &something(), lasting(60, 0), start);
        for number in 1..100 {
            cache.store(&about(number), &nothing(), lasting(60, 0), start);
        }
        assert!(cache.known(&about(0), &discover(1, 1), start).is_some());
        assert_eq!(cache.len(), 4);
        // A record that is filled or emptied leaves one answer.
        cache.store(&about(99), &something(), lasting(60, 0), start);
        cache.store(&about(0), &nothing(), lasting(60, 0), start);
        assert_eq!(cache.stale(&about(0), start), Some(nothing()));
        assert_eq!(cache.stale(&about(99), start), Some(something()));
        assert_eq!(cache.len(), 4);
    }

    #[test]
    fn the_bytes_of_the_answers_are_bounded() {
        let (mut cache, start) = (Cache::new(usize::MAX), Instant::now());
        let body = vec![0; 64 * 1024].into();
        let long = Arc::new(Answer { body, ..Answer::clone(&something()) });
        for number in 0..1000 {
            cache.store(&about(number), &long, lasting(60, 0), start);
            assert!(cache.answers.bytes <= MOST_BYTES);
        }
        assert!(cache.len() > 450 && cache.len() < 520, "{}", cache.len());
        (0..1000).for_each(|number| {
            cache.store(&about(number), &long, NO_STORE, start);
        });
        assert_eq!((cache.len(), cache.answers.bytes), (0, 0));
    }

    /// The clients' numbers of a page, and the number to go on after.
    fn page(cache: &Cache, after: u64, most: usize, now: Instant) -> (Vec<u32>, Option<u64>) {
        let (numbered, last) = cache.page(after, most, now);
        let client = |Numbered { entry, .. }: Numbered| {
            u32::from_be_bytes(first_payload(&entry.request).try_into().unwrap())
        };
        (numbered.into_iter().map(client).collect(), last)
    }

    #[test]
    fn pages_show_each_answer_once_in_the_order_of_storing() {
        let (mut cache, start) = (Cache::new(10), Instant::now());
        for number in 1..=5 {
            let answer = if number % 2 == 0 { nothing() } else { something() };
            cache.store(&about(number), &answer, lasting(u64::from(number), 0), start);
        }
        let (first, last) = page(&cache, 0, 3, start);
        assert_eq!(first, [1, 2, 3]);
        // Neither a use nor the end of another answer moves an answer to another page.
        cache.known(&about(1), &discover(1, 1), start);
        assert!(cache.remove(&about(2)));
        assert_eq!(page(&cache, last.unwrap(), 3, start).0, [4, 5]);
        // An answer that is stored anew is the last one.
        cache.store(&about(1), &something(), lasting(9, 0), start);
        assert_eq!(page(&cache, 0, 9, start).0, [3, 4, 5, 1]);
        // Answers that are over are looked at and left out.
        let (shown, last) = page(&cache, 0, 2, start + 4 * SECOND);
        assert_eq!(shown, [0; 0]);
        assert_eq!(page(&cache, last.unwrap(), 2, start + 4 * SECOND).0, [5, 1]);
        assert_eq!(page(&cache, u64::MAX - 1, 2, start), (Vec::new(), None));
    }

    #[test]
    fn every_way_in_which_an_answer_ends_takes_its_number() {
        let (mut cache, start) = (Cache::new(3), Instant::now());
        for number in 0..10 {
            cache.store(&about(number), &something(), lasting(9, 9), start);
            cache.store(&about(number), &something(), lasting(9, 0), start);
        }
        assert_eq!(page(&cache, 0, 100, start).0, [7, 8, 9]);
        cache.store(&about(7), &something(), NO_STORE, start);
        cache.store(&about(8), &nothing(), lasting(9, 9), start);
        assert_eq!(page(&cache, 0, 100, start).0, [9, 8]);
        // The first one must not serve stale.
        cache.expire(start);
        assert_eq!(page(&cache, 0, 100, start).0, [8]);
        cache.resize(0);
        assert_eq!(page(&cache, 0, 100, start), (Vec::new(), None));
    }

    #[test]
    fn answers_that_are_removed_are_gone_and_count_as_a_change() {
        let (mut cache, start) = (Cache::new(10), Instant::now());
        for number in 1..=3 {
            cache.store(&about(number), &nothing(), lasting(9, 9), start);
        }
        cache.begin_exchange(&about(1), &discover(1, 1), Some(&something()), start);
        let Fill { answers, nothings, exchanges, .. } = cache.fill();
        assert_eq!((answers, nothings, exchanges), (0, 3, 1));
        let changes = cache.changes();
        assert!(cache.remove(&about(1)) && !cache.remove(&about(1)));
        assert_eq!(cache.changes(), changes + 1);
        assert!(cache.entry(&about(1), start).is_none());
        let kept = cache.entry(&about(2), start + 10 * SECOND).unwrap();
        assert_eq!(kept.freshness, lasting(0, 8));
        assert_eq!(cache.clear().len(), 2);
        let fill = Fill { answers: 0, nothings: 0, bytes: 0, exchanges: 1, addresses: 0 };
        assert_eq!(cache.fill(), fill);
        assert!(cache.changes() > changes + 1);
    }

    #[test]
    fn the_number_and_the_bytes_of_exchanges_are_bounded() {
        let (mut cache, start) = (Cache::new(0), Instant::now());
        let client = |number: u32| Arc::<[u8]>::from(number.to_be_bytes());
        for number in 0..=MOST_EXCHANGES as u32 {
            cache.await_retransmission(&about(1), &client(number), Some(&nothing()), start, start);
        }
        assert_eq!(cache.exchanges.len(), MOST_EXCHANGES);
        let body = vec![0; 64 * 1024].into();
        let long = Arc::new(Answer { body, ..Answer::clone(&something()) });
        for number in 0..2000 {
            cache.await_retransmission(&about(1), &client(number), Some(&long), start, start);
            assert!(cache.exchange_bytes <= MOST_EXCHANGE_BYTES);
        }
        (0..=MOST_EXCHANGES as u32).for_each(|number| cache.end_exchange(&client(number)));
        assert_eq!((cache.exchanges.len(), cache.exchange_bytes), (0, 0));
    }
}
