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
    async fn ask(&self, client: u8) -> Option<Found> {
        self.failover.ask(&request(client), &label()).await
    }
}

#[tokio::test(start_paused = true)]
async fn in_order_inside_one_deadline() {
    let script = |url: &str| if url.contains("c") { Says::Nothing(1) } else { Says::Never };
    let asked = asked(&["a", "b", "c"], script);
    let start = Instant::now();
    assert!(asked.ask(1).await.is_some());
    assert_eq!(start.elapsed().as_millis(), 2 * 1000 / 3 + 1);
    assert_eq!(asked.fetch.asked().len(), 3);
    asked.fetch.says(Says::Never);
    let start = Instant::now();
    assert!(asked.ask(1).await.is_none());
    assert_eq!(start.elapsed().as_millis(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_keeps_failing_is_down_and_probed_until_it_is_up() {
    let script = |url: &str| if url.contains("a/") { Says::Fails } else { Says::Nothing(1) };
    let asked = asked(&["a", "b"], script);
    for client in 0..4 {
        assert!(asked.ask(client).await.is_some());
    }
    let urls = asked.fetch.asked();
    assert_eq!(urls.iter().filter(|url| url.contains("//a/")).count(), 3, "{urls:?}");
    assert!(!asked.failover.all_down());
    assert!(asked.heard.events().contains(&"0 down, 3".to_owned()));

    // Once a second, with the requests that were wanted lately, the newest first, each in turn.
    sleep(Duration::from_millis(4500)).await;
    let probed = [2, 1, 0, 2].map(|client| format!("http://a/?sub82_1=0{client}"));
    assert_eq!(asked.fetch.asked(), probed);
    asked.fetch.says(Says::Nothing(1));
    sleep(Duration::from_millis(600)).await;
    assert_eq!(asked.heard.events(), ["0 up"]);
    asked.fetch.asked();
    asked.ask(1).await;
    assert_eq!(asked.fetch.asked(), ["http://a/?sub82_1=01"]);
    // The probes have ended.
    advance(5 * probe::INTERVAL).await;
    sleep(probe::INTERVAL).await;
    assert_eq!(asked.fetch.asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_count() {
    let asked = asked(&["a"], |_| Says::Fails);
    for _ in 0..5 {
        for says in [Says::Fails, Says::Fails, Says::Nothing(1)] {
            asked.fetch.says(says);
            asked.ask(1).await;
            assert!(!asked.failover.all_down());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_record_is_not_a_bad_service() {
    let asked = asked(&["a"], |_| Says::Garbage);
    for _ in 0..10 {
        asked.ask(1).await;
    }
    assert!(!asked.failover.all_down());
    asked.ask(2).await;
    asked.ask(1).await;
    assert!(asked.failover.all_down());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_an_earlier_generation_does_not_count() {
    let asked = asked(&["a"], |_| Says::Fails);
    let failed = |generation| {
        let url = services(&["a"])[0].url().clone();
        for _ in 0..DOWN_AFTER {
            let failure = Failure::Late(TIMEOUT);
            asked.failover.failed(0, generation, &failure, &request(1), &label(), &url);
        }
        asked.failover.all_down()
    };
    assert!(failed(0));
    asked.fetch.says(Says::Nothing(1));
    asked.failover.want(&request(1));
    sleep(2 * probe::INTERVAL).await;
    assert!(!asked.failover.all_down());
    assert!(!failed(0), "a failure of the earlier generation");
    assert!(failed(1), "a failure of the present generation");
}
