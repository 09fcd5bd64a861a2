// SPDX-License-Identifier: MPL-2.0
//! Which service is asked, when it is down, and when it is up again.

use tokio::time::{advance, sleep};

use super::scripted::{Heard, Says, Scripted, label, request, services};
use super::*;

const TIMEOUT: Duration = Duration::from_secs(1);

struct Asked {
    fetch: Arc<Scripted>,
    heard: Arc<Heard>,
    failover: Arc<Failover<Arc<Scripted>>>,
}

/// Services of these hosts that do what the script says.
fn asked(hosts: &[&str], script: impl Fn(&str) -> Says + Send + Sync + 'static) -> Asked {
    let (fetch, heard) = (Scripted::new(script), Arc::<Heard>::default());
    let listener: Arc<dyn Listener> = heard.clone();
    let failover = Failover::new(services(hosts), Arc::clone(&fetch), TIMEOUT, listener);
    Asked { fetch, heard, failover }
}

impl Asked {
    async fn ask(&self, client: u8) -> Result<Found, Unanswered> {
        self.failover.ask(&request(client), &label(), || false).await
    }

    /// Whether nobody is asked about the client of this number.
    fn all_down(&self) -> bool {
        self.failover.readiness(&request(99)) == Readiness::NoServiceUp
    }
}

#[tokio::test(start_paused = true)]
async fn in_order_inside_one_deadline() {
    let script = |url: &str| if url.contains("c") { Says::Nothing(1) } else { Says::Never };
    let asked = asked(&["a", "b", "c"], script);
    let start = Instant::now();
    assert!(asked.ask(1).await.is_ok());
    assert_eq!(start.elapsed().as_millis(), 2 * 1000 / 3 + 1);
    assert_eq!(asked.fetch.asked().len(), 3);
    asked.fetch.says(Says::Never);
    let start = Instant::now();
    assert!(asked.ask(1).await.is_err());
    assert_eq!(start.elapsed().as_millis(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_keeps_failing_is_down_and_probed_until_it_is_up() {
    let script = |url: &str| if url.contains("a/") { Says::Fails } else { Says::Nothing(1) };
    let asked = asked(&["a", "b"], script);
    for client in 0..4 {
        assert!(asked.ask(client).await.is_ok());
    }
    let urls = asked.fetch.asked();
    assert_eq!(urls.iter().filter(|url| url.contains("//a/")).count(), 3, "{urls:?}");
    assert!(!asked.all_down());
    assert!(asked.heard.events().contains(&"0 down, 3".to_owned()));

    // Once a second, with the requests that were wanted lately, the newest first, each in turn.
    // (None has succeeded at this service.)
    sleep(Duration::from_millis(4500)).await;
    let probed = [2, 1, 0, 2].map(|client| format!("http://a/?sub82_1=0{client}"));
    assert_eq!(asked.fetch.asked(), probed);
    asked.fetch.says(Says::Nothing(1));
    sleep(Duration::from_millis(600)).await;
    assert_eq!(asked.heard.events(), ["0 up after 5s"]);
    asked.fetch.asked();
    let _ = asked.ask(1).await;
    assert_eq!(asked.fetch.asked(), ["http://a/?sub82_1=01"]);
    // The probes have ended.
    advance(5 * probe::INTERVAL).await;
    sleep(probe::INTERVAL).await;
    assert_eq!(asked.fetch.asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn different_requests_in_a_row_count() {
    let asked = asked(&["a"], |_| Says::Fails);
    for _ in 0..5 {
        for (client, says) in [(1, Says::Fails), (2, Says::Fails), (3, Says::Nothing(1))] {
            asked.fetch.says(says);
            let _ = asked.ask(client).await;
            assert!(!asked.all_down());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_record_is_not_a_bad_service() {
    let asked = asked(&["a"], |url| match url.ends_with("01") {
        true => Says::Fails,
        false => Says::Nothing(1),
    });
    for _ in 0..10 {
        let _ = asked.ask(1).await;
    }
    assert!(!asked.all_down());
    assert!(asked.ask(2).await.is_ok());
}

/// A service that answers everybody badly, and then well again, was out of order: no client waits
/// for its back-off.
#[tokio::test(start_paused = true)]
async fn a_service_that_was_out_of_order_ends_the_back_offs_of_its_bad_answers() {
    for (clients, ends) in [(9, false), (10, true)] {
        let asked = asked(&["a"], |_| Says::Garbage);
        for client in 0..clients {
            assert!(asked.ask(client).await.is_err());
            assert!(asked.ask(client).await.is_err());
        }
        assert_eq!(asked.failover.readiness(&request(0)), Readiness::BackingOff);
        asked.fetch.says(Says::Nothing(1));
        assert!(asked.ask(50).await.is_ok());
        let readiness = asked.failover.readiness(&request(0));
        assert_eq!(readiness == Readiness::Ready, ends, "{clients} clients");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_responds_is_never_given_up() {
    let asked = asked(&["a"], |_| Says::Garbage);
    for client in 0..10 {
        assert_eq!(asked.ask(client).await.unwrap_err(), Unanswered::Failed);
    }
    assert!(!asked.all_down());
    // A bad answer between failures shows that the service works.
    for (client, says) in [(1, Says::Fails), (2, Says::Fails), (3, Says::Garbage), (4, Says::Fails)]
    {
        asked.fetch.says(says);
        let _ = asked.ask(client).await;
    }
    assert!(!asked.all_down());
}

#[tokio::test(start_paused = true)]
async fn congestion_says_nothing_of_the_service_and_nothing_of_the_request() {
    let asked = asked(&["a"], |_| Says::Congested);
    for client in 0..10 {
        assert_eq!(asked.ask(client).await.unwrap_err(), Unanswered::Congested);
        assert_eq!(asked.failover.readiness(&request(client)), Readiness::Ready);
    }
    assert!(
        asked.heard.events().iter().all(|event| event.contains("asking") || event == "congested")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_failed_backs_off() {
    let asked = asked(&["a"], |_| Says::Fails);
    let _ = asked.ask(1).await;
    assert_eq!(asked.failover.readiness(&request(1)), Readiness::BackingOff);
    assert_eq!(asked.failover.readiness(&request(2)), Readiness::Ready);
    advance(Duration::from_secs(1)).await;
    assert_eq!(asked.failover.readiness(&request(1)), Readiness::Ready);
}

/// The probes of a service that is down ask for the last request that succeeded there, too: the
/// requests that clients want may all be bad.
#[tokio::test(start_paused = true)]
async fn the_last_request_that_succeeded_brings_a_service_back() {
    let asked = asked(&["a"], |_| Says::Nothing(1));
    assert!(asked.ask(9).await.is_ok());
    asked.fetch.says(Says::Fails);
    for client in 1..=3 {
        let _ = asked.ask(client).await;
    }
    assert!(asked.all_down());
    *asked.fetch.script.lock().unwrap() = Box::new(|url| match url.ends_with("09") {
        true => Says::Nothing(1),
        false => Says::Fails,
    });
    sleep(Duration::from_millis(2500)).await;
    assert!(!asked.all_down());
}

#[tokio::test(start_paused = true)]
async fn any_answer_brings_a_service_back() {
    let asked = asked(&["a"], |_| Says::Fails);
    for client in 1..=3 {
        let _ = asked.ask(client).await;
    }
    assert!(asked.all_down());
    asked.fetch.says(Says::Garbage);
    sleep(Duration::from_millis(1500)).await;
    assert!(!asked.all_down());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_wants_to_be_left_alone_is_not_asked() {
    let script = |url: &str| if url.contains("//a/") { Says::Busy(20) } else { Says::Nothing(1) };
    let asked = asked(&["a", "b"], script);
    for client in 1..=5 {
        assert!(asked.ask(client).await.is_ok());
    }
    let urls = asked.fetch.asked();
    assert_eq!(urls.iter().filter(|url| url.contains("//a/")).count(), 1, "{urls:?}");
    assert!(asked.heard.events().contains(&"0 paused, 20s".to_owned()));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(asked.fetch.asked(), [""; 0], "no probe");
    assert!(asked.ask(6).await.is_ok());
    assert!(asked.fetch.asked()[0].contains("//a/"));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_wants_to_be_left_alone_meanwhile_is_not_asked() {
    let script = |url: &str| if url.contains("//a/") { Says::Never } else { Says::Busy(20) };
    let asked = asked(&["a", "b"], script);
    let (first, second) = tokio::join!(asked.ask(1), async {
        sleep(TIMEOUT / 4).await;
        asked.ask(2).await
    });
    assert!(first.is_err() && second.is_err());
    let urls = asked.fetch.asked();
    assert_eq!(urls.iter().filter(|url| url.contains("//a/")).count(), 2, "{urls:?}");
    assert_eq!(urls.iter().filter(|url| url.contains("//b/")).count(), 1, "{urls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_after_five_minutes_whatever_the_service_says() {
    let asked = asked(&["a"], |_| Says::Busy(100_000));
    let _ = asked.ask(1).await;
    assert!(asked.all_down());
    sleep(LONGEST_PAUSE).await;
    assert!(!asked.all_down());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_an_earlier_generation_does_not_count() {
    let asked = asked(&["a"], |_| Says::Fails);
    let failed = |generation| {
        let url = services(&["a"])[0].url().clone();
        for client in 0..3 {
            let failure = Failure::Late(TIMEOUT);
            let (label, next) = (&label(), Next::NoAnswer);
            let from = super::Asked { index: 0, generation, label, url: &url, next };
            asked.failover.failed(&from, &failure, &request(client));
        }
        asked.all_down()
    };
    assert!(failed(0));
    asked.fetch.says(Says::Nothing(1));
    asked.failover.want(&request(1));
    sleep(2 * probe::INTERVAL).await;
    assert!(!asked.all_down());
    assert!(!failed(0), "a failure of the earlier generation");
    assert!(failed(1), "a failure of the present generation");
}

#[tokio::test(start_paused = true)]
async fn a_retry_probes_a_service_that_is_down_at_once_and_it_comes_up_once() {
    let asked = asked(&["a"], |_| Says::Fails);
    for client in 0..3 {
        assert!(asked.ask(client).await.is_err());
    }
    assert!(asked.all_down());
    let retry = || asked.failover.retry(&Handle::current());
    assert_eq!(retry(), Retried { back_offs: 3, pauses: 0, probes: 1 });
    sleep(Duration::from_millis(1)).await;
    assert!(asked.all_down(), "the probe failed");
    asked.fetch.says(Says::Nothing(1));
    retry();
    sleep(Duration::from_millis(1)).await;
    assert!(!asked.all_down());
    // The regular probes end, and do not bring the service back a second time.
    asked.fetch.asked();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(asked.fetch.asked(), [""; 0]);
    let events = asked.heard.events();
    assert_eq!(events.iter().filter(|event| event.starts_with("0 up")).count(), 1, "{events:?}");
    // When the service is down again, regular probes bring it back.
    asked.fetch.says(Says::Fails);
    for client in 0..3 {
        assert!(asked.ask(client).await.is_err());
    }
    assert!(asked.all_down());
    asked.fetch.says(Says::Nothing(1));
    sleep(Duration::from_secs(2)).await;
    assert!(!asked.all_down());
}

#[tokio::test(start_paused = true)]
async fn a_status_tells_what_a_service_did_lately() {
    let asked = asked(&["a", "u:p@b"], |url| match url.contains("//a/") {
        true => Says::Busy(60),
        false => Says::Nothing(1),
    });
    assert!(asked.ask(1).await.is_ok());
    advance(Duration::from_secs(5)).await;
    let [first, second] = asked.failover.statuses().try_into().unwrap();
    let five_seconds = Duration::from_secs(5);
    assert_eq!(first.availability, Availability::Paused(Duration::from_secs(55)));
    assert_eq!(first.last_failure, Some(("status 429".to_owned(), five_seconds)));
    assert_eq!(first.last_answer, None);
    assert_eq!((second.url.as_str(), second.availability), ("http://b/", Availability::Up));
    assert_eq!((second.last_failure, second.last_answer), (None, Some(five_seconds)));
    let retried = asked.failover.retry(&Handle::current());
    assert_eq!(retried, Retried { back_offs: 0, pauses: 1, probes: 0 });
    assert_eq!(asked.failover.statuses()[0].availability, Availability::Up);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_of_every_ten_minutes_and_when_its_reason_changes() {
    let asked = asked(&["a"], |_| Says::Fails);
    for client in 0..3 {
        assert!(asked.ask(client).await.is_err());
    }
    asked.heard.events();
    sleep(REMINDER - Duration::from_millis(1)).await;
    assert_eq!(asked.heard.events(), [""; 0]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.heard.events(), ["0 still down after 600s: on purpose"]);
    asked.fetch.says(Says::Busy(700));
    sleep(Duration::from_secs(2)).await;
    let events = ["0 paused, 300s", "0 still down after 601s: status 429"];
    assert_eq!(asked.heard.events(), events);
    // Reasons that change all the time are no news for a minute.
    asked.failover.services[0].record().paused_until = None;
    let number = AtomicU32::new(0);
    *asked.fetch.script.lock().unwrap() =
        Box::new(move |_| match number.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Says::Fails,
            _ => Says::Busy(0),
        });
    sleep(Duration::from_secs(50)).await;
    let told = |events: Vec<String>| {
        events.into_iter().filter(|event| event.contains("still down")).collect::<Vec<_>>()
    };
    assert_eq!(told(asked.heard.events()), [""; 0]);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(told(asked.heard.events()).len(), 1);
    // No probe is made in a pause, and the reminder comes nevertheless.
    asked.fetch.says(Says::Nothing(1));
    asked.failover.services[0].record().paused_until = Some(Instant::now() + 2 * REMINDER);
    sleep(REMINDER).await;
    assert_eq!(told(asked.heard.events()).len(), 1);
    sleep(REMINDER + Duration::from_secs(2)).await;
    let up = asked.heard.events();
    assert!(up.last().unwrap().starts_with("0 up after 18"), "{up:?}");
}

#[tokio::test(start_paused = true)]
async fn the_listener_learns_what_comes_after_a_failure() {
    let asked = asked(&["a", "b"], |_| Says::Fails);
    let failed = |events: Vec<String>| {
        events.into_iter().filter(|event| event.contains("failed")).collect::<Vec<_>>()
    };
    assert!(asked.ask(1).await.is_err());
    assert_eq!(failed(asked.heard.events()), ["0 failed, NextService", "1 failed, NoAnswer"]);
    let found = asked.failover.ask(&request(2), &label(), || true).await;
    assert!(found.is_err());
    assert_eq!(failed(asked.heard.events()), ["0 failed, NextService", "1 failed, LastAnswer"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_who_gave_it() {
    let asked = asked(&["u:p@a"], |_| Says::Nothing(1));
    let found = asked.ask(1).await.unwrap();
    assert_eq!(found.answer.given.known(SystemTime::now()).unwrap().0, "http://a/");
}
