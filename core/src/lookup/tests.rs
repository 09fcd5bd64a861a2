// SPDX-License-Identifier: MPL-2.0
//! Who gets which outcome, under a clock that stands still.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::*;
use crate::failover::scripted::{Heard, Says, Scripted, label, request, services};

struct Engine {
    fetch: Arc<Scripted>,
    heard: Arc<Heard>,
    lookups: LookupEngine<Arc<Scripted>>,
}

/// An engine whose one service says this, with a timeout of a second, two requests in flight and
/// three answers kept at the most.
fn engine(says: Says) -> Engine {
    let fetch = Scripted::new(move |_| says.clone());
    let heard = Arc::<Heard>::default();
    let listener: Arc<dyn Listener> = heard.clone();
    let timeout = Duration::from_secs(1);
    let failover =
        Failover::new(services(&["a"]), Arc::clone(&fetch), timeout, Arc::clone(&listener));
    let lookups = LookupEngine::new(failover, Cache::new(3), 2, Handle::current(), listener);
    Engine { fetch, heard, lookups }
}

/// An answer that says: nothing for this client.
fn answered(source: Source) -> Outcome {
    Outcome::Answered(Arc::default(), source)
}

impl Engine {
    /// A question about the client of this number, in a transaction.
    fn question(client: u8, xid: u32) -> Question {
        let transaction = Transaction { client: Arc::new([client]), xid, continues: false };
        Question { request: request(client), transaction, label: label(), asks_again: true }
    }

    /// The question of another client, about the client of number 1.
    fn same_question(client: u8) -> Question {
        let transaction = Transaction { client: Arc::new([client]), xid: 7, continues: false };
        Question { transaction, ..Self::question(1, 7) }
    }

    fn ask(&self, question: Question) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.lookups.wait(question, Box::new(|outcome| sender.send(outcome).unwrap()));
        receiver
    }

    async fn outcome(&self, client: u8, xid: u32) -> Outcome {
        self.ask(Self::question(client, xid)).await.unwrap()
    }

    fn now(&self, client: u8, xid: u32) -> Option<Outcome> {
        self.lookups.answer_now(&Self::question(client, xid))
    }
}

fn after(milliseconds: u64, says: Says) -> Says {
    Says::After(milliseconds, Box::new(says))
}

#[tokio::test(start_paused = true)]
async fn packets_that_ask_the_same_share_one_request() {
    let engine = engine(after(100, Says::Nothing(0)));
    let asked: Vec<_> = (0..4).map(|client| engine.ask(Engine::same_question(client))).collect();
    for outcome in asked {
        assert_eq!(outcome.await.unwrap(), answered(Source::Asked));
    }
    assert_eq!(engine.fetch.asked().len(), 1);
    let events = engine.heard.events();
    assert_eq!(events.iter().filter(|event| *event == "coalesced").count(), 3, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_again_while_it_is_fresh() {
    let engine = engine(Says::Nothing(20));
    assert_eq!(engine.now(1, 1), None);
    assert_eq!(engine.outcome(1, 1).await, answered(Source::Asked));
    assert_eq!(engine.now(1, 2), Some(answered(Source::Cached)));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(engine.now(1, 3), None);
    assert_eq!(engine.outcome(1, 3).await, answered(Source::Asked));
    assert_eq!(engine.fetch.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_must_not_be_kept_serves_its_own_exchange() {
    let engine = engine(Says::Nothing(0));
    engine.outcome(1, 1).await;
    assert_eq!(engine.now(1, 1), Some(answered(Source::Cached)));
    assert_eq!(engine.now(1, 2), None);
    engine.lookups.exchange_over(&[1]);
    assert_eq!(engine.now(1, 1), None);
    engine.outcome(2, 1).await;
    engine.lookups.exchange_refused(&[2]);
    assert_eq!(engine.now(2, 1), None);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_serves_while_the_service_fails() {
    let engine = engine(Says::Nothing(20));
    engine.outcome(1, 1).await;
    engine.fetch.says(Says::Fails);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(engine.outcome(1, 2).await, answered(Source::Stale));
    // The request backs off.
    engine.fetch.asked();
    assert_eq!(engine.now(1, 3), Some(answered(Source::Stale)));
    assert_eq!(engine.fetch.asked(), [""; 0]);
    for client in 2..5 {
        assert_eq!(engine.outcome(client, 1).await, Outcome::Failed);
    }
    // The service is down.
    engine.fetch.asked();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(engine.now(1, 9), Some(answered(Source::Stale)));
    assert_eq!(engine.now(5, 9), Some(Outcome::Failed));
    assert_eq!(engine.fetch.asked(), [""; 0]);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(engine.now(1, 10), Some(Outcome::Failed));
    engine.fetch.says(Says::Nothing(20));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.outcome(1, 11).await, answered(Source::Asked));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_for_its_back_off_alone() {
    let engine = engine(Says::Fails);
    assert_eq!(engine.outcome(1, 1).await, Outcome::Failed);
    engine.fetch.says(Says::Nothing(1));
    assert_eq!(engine.now(1, 2), Some(Outcome::Failed));
    assert!(engine.heard.events().contains(&"backing off".to_owned()));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.outcome(1, 2).await, answered(Source::Asked));
}

#[tokio::test(start_paused = true)]
async fn an_ack_carries_what_its_offer_carried() {
    let engine = engine(Says::Fails);
    assert_eq!(engine.outcome(1, 1).await, Outcome::Failed);
    engine.lookups.offered_without_answer(&Engine::question(1, 1));
    engine.fetch.says(Says::Nothing(60));
    sleep(Duration::from_secs(2)).await;
    // Another client with the same request brings the answer.
    assert_eq!(engine.ask(Engine::same_question(9)).await.unwrap(), answered(Source::Asked));
    let mut request = Engine::question(1, 1);
    request.transaction.continues = true;
    assert_eq!(engine.lookups.answer_now(&request), Some(Outcome::FailedBefore));
    engine.lookups.exchange_over(&[1]);
    assert_eq!(engine.lookups.answer_now(&request), Some(answered(Source::Cached)));
}

#[tokio::test(start_paused = true)]
async fn one_packet_of_a_client_waits_for_a_lookup() {
    let engine = engine(after(100, Says::Nothing(0)));
    let mut last = engine.ask(Engine::question(1, 0));
    for xid in 1..100 {
        let later = engine.ask(Engine::question(1, xid));
        assert_eq!(last.await.unwrap(), Outcome::Shed);
        last = later;
    }
    assert_eq!(last.await.unwrap(), answered(Source::Asked));
    assert_eq!(engine.fetch.asked().len(), 1);
}

/// The client's next packet may have another request: its answer is the exchange's.
#[tokio::test(start_paused = true)]
async fn a_superseded_packet_leaves_the_exchange_alone() {
    let engine = engine(after(100, Says::Nothing(0)));
    let superseded = engine.ask(Engine::question(1, 1));
    let next = Question { request: request(2), ..Engine::question(1, 2) };
    engine.lookups.forget(&request(1), &Engine::question(1, 1).transaction.client);
    assert_eq!(superseded.await.unwrap(), Outcome::Shed);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(engine.ask(next.clone()).await.unwrap(), answered(Source::Asked));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.lookups.answer_now(&next), Some(answered(Source::Cached)));
}

/// An earlier exchange is no reason to ask again.
#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_a_client_that_had_a_reply_before() {
    let engine = engine(after(100, Says::Nothing(0)));
    assert_eq!(engine.outcome(1, 1).await, answered(Source::Asked));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.lookups.leave(&Engine::question(1, 2), true), Outcome::Shed);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.now(1, 3), Some(answered(Source::Cached)));
    assert_eq!(engine.fetch.asked().len(), 2);
}

/// A client that is left to its retransmission, again and again, is answered although its lookups
/// fail: else its packets and the back-off could take turns for ever.
#[tokio::test(start_paused = true)]
async fn a_failed_lookup_is_known_to_the_next_packet_of_a_client_that_left_it() {
    let engine = engine(Says::Nothing(1));
    engine.outcome(1, 1).await;
    engine.fetch.says(after(10, Says::Fails));
    sleep(Duration::from_secs(3)).await;
    let stale = Engine::question(1, 2);
    assert_eq!(engine.lookups.leave(&stale, false), Outcome::Shed);
    let new = Engine::question(2, 1);
    assert_eq!(engine.lookups.leave(&new, false), Outcome::Shed);
    // Longer than the back-off.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.now(1, 2), Some(answered(Source::Stale)));
    assert_eq!(engine.now(2, 1), Some(Outcome::Failed));
    engine.fetch.asked();
    assert_eq!(engine.lookups.leave(&new, false), Outcome::Shed);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(engine.fetch.asked().len(), 1, "the next one asks again");
}

/// The lookup has failed before the retry, or fails after it.
#[tokio::test(start_paused = true)]
async fn after_a_retry_a_failed_lookup_is_made_again() {
    for lookup in [10, 200] {
        let engine = engine(after(lookup, Says::Fails));
        let question = Engine::question(1, 1);
        assert_eq!(engine.lookups.leave(&question, false), Outcome::Shed);
        sleep(Duration::from_millis(100)).await;
        engine.fetch.says(Says::Nothing(0));
        engine.lookups.retry();
        // Longer than the back-off of a failure after the retry.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(engine.outcome(1, 2).await, answered(Source::Asked), "{lookup}");
    }
}

/// The time of each packet counts, not the time of the first one that waits for the lookup.
#[tokio::test(start_paused = true)]
async fn packets_that_wait_for_one_lookup_in_line_are_patient_each() {
    let engine = engine(after(900, Says::Nothing(0)));
    let _in_flight = [11, 12, 13, 14].map(|client| engine.ask(Engine::question(client, 1)));
    let first = engine.ask(Engine::same_question(1));
    sleep(Duration::from_millis(950)).await;
    let second = engine.ask(Engine::same_question(2));
    assert_eq!(first.await.unwrap(), Outcome::Shed);
    assert_eq!(second.await.unwrap(), answered(Source::Asked));
}

/// A client that had a reply does not get an answer that must not be kept.
#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_next_packet_of_clients_that_ask_again_alone() {
    let engine = engine(after(100, Says::Nothing(0)));
    let had_reply = Question { asks_again: false, ..Engine::question(1, 1) };
    for question in [Engine::same_question(2), had_reply] {
        assert_eq!(engine.lookups.leave(&question, true), Outcome::Shed);
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.now(1, 2), None);
    let again = engine.lookups.answer_now(&Engine::same_question(2));
    assert_eq!(again, Some(answered(Source::Cached)));
}

#[tokio::test(start_paused = true)]
async fn requests_past_the_concurrency_limit_stand_in_line() {
    let engine = engine(after(100, Says::Nothing(0)));
    let start = Instant::now();
    let asked: Vec<_> = (1..=6).map(|client| engine.ask(Engine::question(client, 1))).collect();
    assert_eq!(engine.lookups.under_way(), (2, 4));
    assert!(engine.heard.events().contains(&"in line, 2".to_owned()));
    for (number, outcome) in (0..).zip(asked) {
        assert_eq!(outcome.await.unwrap(), answered(Source::Asked));
        assert_eq!(start.elapsed().as_millis() / 100, number / 2 + 1, "first come, first served");
    }
    assert_eq!(engine.lookups.under_way(), (0, 0));
}

#[test]
fn the_line_is_bounded_in_number_and_in_bytes() {
    let mut line = Line::default();
    let (small, label) = (request(1), label());
    assert!((0..MOST_IN_LINE).all(|_| line.push(&small, &label)));
    assert!(!line.push(&small, &label));
    let mut line = Line::default();
    let large = Request::new(vec![(1, vec![7; 64 * 1024])], Vec::new()).map(Arc::new).unwrap();
    while line.push(&large, &label) {}
    assert!(line.bytes <= MOST_BYTES_IN_LINE);
    assert!(line.bytes + large.bytes() > MOST_BYTES_IN_LINE);
    assert!(line.pop().is_some() && line.push(&large, &label));
}

/// A client past the limit asks again, and its packet makes a lookup of its own.
#[tokio::test(start_paused = true)]
async fn the_clients_that_have_left_a_lookup_are_bounded() {
    let engine = engine(Says::Never);
    for client in 0..=MOST_LEFT as u8 {
        engine.lookups.leave(&Engine::same_question(client), false);
    }
    let state = engine.lookups.0.state();
    assert_eq!(state.lookups[&request(1)].left.len(), MOST_LEFT);
}

#[tokio::test(start_paused = true)]
async fn a_packet_waits_in_line_for_the_time_of_one_lookup() {
    let engine = engine(after(900, Says::Nothing(0)));
    let start = Instant::now();
    let asked: Vec<_> = (1..=6).map(|client| engine.ask(Engine::question(client, 1))).collect();
    let mut outcomes = Vec::new();
    for outcome in asked {
        outcomes.push(outcome.await.unwrap());
    }
    let served = answered(Source::Asked);
    let [a, b, c, d] = [(); 4].map(|()| served.clone());
    assert_eq!(outcomes, [a, b, c, d, Outcome::Shed, Outcome::Shed]);
    assert!(start.elapsed().as_millis() <= 1801);
    // The lookup of a packet that has left goes on. The client's next packet finds the answer,
    // though the service forbids to keep it, whatever its transaction.
    sleep(Duration::from_secs(2)).await;
    engine.fetch.asked();
    assert_eq!(engine.now(5, 77), Some(answered(Source::Cached)));
    assert_eq!(engine.now(5, 78), None);
    assert_eq!(engine.fetch.asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_finds_no_place_leaves_its_lookup_behind() {
    let engine = engine(after(100, Says::Nothing(0)));
    for client in 1..=5 {
        for _ in 0..3 {
            assert_eq!(engine.lookups.leave(&Engine::question(client, 1), true), Outcome::Shed);
        }
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.fetch.asked().len(), 5);
    for client in 1..=5 {
        assert_eq!(engine.now(client, 2), Some(answered(Source::Cached)));
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_a_stale_answer_serves_at_once() {
    let engine = engine(Says::Nothing(20));
    engine.outcome(1, 1).await;
    engine.fetch.says(after(500, Says::Nothing(20)));
    sleep(Duration::from_secs(30)).await;
    let _in_flight = [2, 3].map(|client| engine.ask(Engine::question(client, 1)));
    assert_eq!(engine.now(1, 2), Some(answered(Source::Stale)));
    assert_eq!(engine.lookups.leave(&Engine::question(1, 3), true), answered(Source::Stale));
    // The fresh answer is fetched for the next packet.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.now(1, 4), Some(answered(Source::Cached)));
}

/// A service that is well and quick has the fresh answer for the client's next packet.
#[tokio::test(start_paused = true)]
async fn a_packet_that_leaves_a_lookup_in_flight_gets_no_stale_answer() {
    let engine = engine(Says::Nothing(20));
    engine.outcome(1, 1).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(engine.lookups.leave(&Engine::question(1, 2), false), Outcome::Shed);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(engine.now(1, 2), Some(answered(Source::Cached)));
}

#[tokio::test(start_paused = true)]
async fn lookups_in_line_end_when_the_services_go_down() {
    let engine = engine(after(100, Says::Fails));
    // More than end in one step.
    let asked: Vec<_> = (1..=250).map(|client| engine.ask(Engine::question(client, 1))).collect();
    for outcome in asked {
        assert_eq!(outcome.await.unwrap(), Outcome::Failed);
    }
    assert!(engine.fetch.asked().len() <= 5);
    assert_eq!(engine.lookups.under_way(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn congestion_leaves_a_packet_to_its_retransmission() {
    let engine = engine(Says::Congested);
    assert_eq!(engine.outcome(1, 1).await, Outcome::Congested);
    engine.fetch.says(Says::Nothing(1));
    assert_eq!(engine.outcome(1, 1).await, answered(Source::Asked));
}

#[tokio::test(start_paused = true)]
async fn answers_outlive_the_engine() {
    let engine = engine(Says::Nothing(20));
    engine.outcome(1, 1).await;
    let mut cache = engine.lookups.close();
    let now = Instant::now().into_std();
    assert!(cache.stale(&request(1), now).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure() {
    let engine = engine(Says::Panics);
    assert_eq!(engine.outcome(1, 1).await, Outcome::Failed);
    engine.fetch.says(Says::Nothing(1));
    assert_eq!(engine.outcome(1, 1).await, answered(Source::Asked));
    assert_eq!(engine.lookups.under_way(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn packets_that_wait_are_let_go_when_the_engine_closes() {
    let engine = engine(Says::Never);
    let mut waiting = vec![engine.ask(Engine::same_question(3))];
    waiting.extend([1, 2].map(|client| engine.ask(Engine::question(client, 1))));
    engine.lookups.close();
    for outcome in waiting {
        assert_eq!(outcome.await.unwrap(), Outcome::LetGo);
    }
    assert_eq!(engine.outcome(1, 1).await, Outcome::LetGo);
    sleep(Duration::from_secs(2)).await;
}

/// Whether an answer is kept about the client of this number.
fn is_kept(engine: &Engine, client: u8) -> bool {
    engine.lookups.kept(&request(client)).is_some()
}

const HOUR: Freshness =
    Freshness { fresh_for: Duration::from_secs(3600), stale_for: Duration::ZERO };

#[tokio::test(start_paused = true)]
async fn an_inserted_answer_serves_packets_that_wait_and_later_ones() {
    let engine = engine(after(500, Says::Nothing(20)));
    let waiting = engine.ask(Engine::question(1, 1));
    sleep(Duration::from_millis(1)).await;
    assert!(engine.lookups.insert(&request(1), &Arc::default(), HOUR));
    assert_eq!(waiting.await.unwrap(), answered(Source::Cached));
    // The packet's exchange carries the answer, and the request in flight ends without a packet.
    assert_eq!(engine.now(1, 1), Some(answered(Source::Cached)));
    assert_eq!(engine.now(1, 2), Some(answered(Source::Cached)));
    assert_eq!(engine.lookups.under_way(), (1, 0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.lookups.under_way(), (0, 0));
    // A cache without room, and an engine that is closed.
    assert!(!engine.lookups.insert(
        &request(1),
        &Arc::default(),
        Freshness { fresh_for: Duration::ZERO, stale_for: Duration::ZERO }
    ));
    engine.lookups.close();
    assert!(!engine.lookups.insert(&request(1), &Arc::default(), HOUR));
}

#[tokio::test(start_paused = true)]
async fn an_inserted_answer_ends_the_back_off_of_its_request() {
    let engine = engine(Says::Fails);
    engine.outcome(1, 1).await;
    assert_eq!(engine.lookups.status().back_offs, 1);
    assert!(engine.lookups.insert(&request(1), &Arc::default(), HOUR));
    assert_eq!(engine.lookups.status().back_offs, 0);
}

#[tokio::test(start_paused = true)]
async fn answers_are_removed_by_what_their_requests_say() {
    let engine = engine(Says::Nothing(20));
    for client in 1..=3 {
        engine.lookups.insert(&request(client), &Arc::default(), HOUR);
    }
    let is_second = |request: &Request| request.sub_options().next().unwrap().1 == [2];
    assert_eq!(engine.lookups.remove_all(is_second), 1);
    assert_eq!([1, 2, 3].map(|client| is_kept(&engine, client)), [true, false, true]);
    assert!(engine.lookups.remove(&request(1)));
    assert_eq!(engine.lookups.page(0, 10).len(), 1);
    assert_eq!(engine.lookups.clear(), 1);
    assert!(!is_kept(&engine, 3));
}

#[tokio::test(start_paused = true)]
async fn a_request_can_be_made_anew_whatever_is_kept() {
    let engine = engine(Says::Nothing(20));
    engine.outcome(1, 1).await;
    engine.fetch.asked();
    assert!(engine.lookups.ask_anew(&request(1), &label()));
    assert!(engine.lookups.ask_anew(&request(1), &label()), "it is under way already");
    assert_eq!(engine.lookups.under_way(), (1, 0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.fetch.asked().len(), 1);
    assert_eq!(engine.lookups.kept(&request(1)).unwrap().freshness.fresh_for.as_secs(), 19);
    // Also while the request backs off.
    engine.fetch.says(Says::Fails);
    engine.outcome(2, 1).await;
    engine.fetch.asked();
    assert!(engine.lookups.ask_anew(&request(2), &label()));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(engine.fetch.asked().len(), 1);
    engine.lookups.close();
    assert!(!engine.lookups.ask_anew(&request(1), &label()));
}

#[tokio::test(start_paused = true)]
async fn an_inserted_answer_is_fresh_for_a_client_that_has_left_a_lookup_that_fails() {
    let engine = engine(after(500, Says::Fails));
    assert_eq!(engine.lookups.leave(&Engine::question(1, 1), false), Outcome::Shed);
    assert!(engine.lookups.insert(&request(1), &Arc::default(), HOUR));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(engine.now(1, 2), Some(answered(Source::Cached)));
}
