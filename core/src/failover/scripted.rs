// SPDX-License-Identifier: MPL-2.0
//! Services that do what a script says, for the tests of the failover and of the lookup engine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

use crate::cache::Freshness;
use crate::event::{Event, Label, Listener};
use crate::fetch::{Failure, Fetch, Found, Stage};
use crate::request::{Request, ServiceUrl};

pub type Script = Box<dyn Fn(&str) -> Says + Send + Sync>;

/// What becomes of a request.
#[derive(Clone)]
pub enum Says {
    /// Nothing for this client, fresh for so many seconds and stale for five times as many.
    Nothing(u64),
    /// The connection fails.
    Fails,
    /// A bad answer.
    Garbage,
    /// The service has no time, and wants to be asked again after so many seconds.
    Busy(u64),
    /// This machine has too much to do.
    Congested,
    /// No answer.
    Never,
    /// What follows, after so many milliseconds.
    After(u64, Box<Says>),
    /// A bug.
    Panics,
}

/// Asks nobody, and remembers what was asked.
pub struct Scripted {
    /// What the services say. A test may change it.
    pub script: Mutex<Script>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub fn new(script: impl Fn(&str) -> Says + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Scripted { script: Mutex::new(Box::new(script)), asked: Mutex::default() })
    }

    /// Changes the script: every service says the same.
    pub fn says(&self, says: Says) {
        *self.script.lock().unwrap() = Box::new(move |_| says.clone());
    }

    /// The URLs asked since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Fetch for Arc<Scripted> {
    async fn get(&self, _service: usize, url: &Url) -> Result<Found, Failure> {
        self.asked.lock().unwrap().push(url.to_string());
        let mut says = (self.script.lock().unwrap())(url.as_str());
        loop {
            says = match says {
                Says::Nothing(seconds) => {
                    let fresh_for = Duration::from_secs(seconds);
                    let freshness = Freshness { fresh_for, stale_for: 5 * fresh_for };
                    return Ok(Found { answer: Arc::default(), freshness });
                }
                Says::Fails => {
                    return Err(Failure::Connection(Stage::Connect, "on purpose".into()));
                }
                Says::Garbage => return Err(Failure::TooLong),
                Says::Busy(seconds) => {
                    let retry_after = Some(Duration::from_secs(seconds));
                    return Err(Failure::Unavailable { status: "429".into(), retry_after });
                }
                Says::Congested => return Err(Failure::Congested("on purpose".into())),
                Says::Never => std::future::pending().await,
                Says::After(milliseconds, says) => {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    *says
                }
                Says::Panics => panic!("on purpose"),
            }
        }
    }
}

/// Remembers the events of services, in words.
#[derive(Default)]
pub struct Heard(Mutex<Vec<String>>);

impl Heard {
    /// The events since the last call.
    pub fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Listener for Heard {
    fn notice(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(match event {
            Event::Asking { url, .. } => format!("asking {url}"),
            Event::Failed { service, next, .. } => format!("{service} failed, {next:?}"),
            // Each request has one. The tests of the failover count requests by the script.
            Event::Responded { .. } | Event::LookupEnded { .. } => return,
            Event::ServiceStillDown { service, down_for, failure } => {
                format!("{service} still down after {down_for:?}: {failure}")
            }
            Event::ServiceDown { service, failures, .. } => format!("{service} down, {failures}"),
            Event::ServiceUp { service, down_for } => format!("{service} up after {down_for:?}"),
            Event::Coalesced { .. } => "coalesced".to_owned(),
            Event::NoServiceUp { .. } => "no service up".to_owned(),
            Event::Paused { service, pause, .. } => format!("{service} paused, {pause:?}"),
            Event::BackingOff { .. } => "backing off".to_owned(),
            Event::Congested { .. } => "congested".to_owned(),
            Event::InLine { limit, .. } => format!("in line, {limit}"),
            Event::Shed { .. } => "shed".to_owned(),
        });
    }
}

/// A packet's name.
pub fn label() -> Label {
    Arc::new("")
}

/// The request about a client with this number.
pub fn request(client: u8) -> Arc<Request> {
    Arc::new(Request::new(vec![(1, vec![client])], Vec::new()).unwrap())
}

/// One service for each host.
pub fn services(hosts: &[&str]) -> Vec<ServiceUrl> {
    let url = |host: &&str| Url::parse(&format!("http://{host}/")).unwrap();
    hosts.iter().map(|host| ServiceUrl::new(url(host))).collect()
}
