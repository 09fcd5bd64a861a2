// SPDX-License-Identifier: MPL-2.0
//! Two servers in hot standby (libdhcp_ha), both with the library: nothing that a client gets
//! depends on which of them is alive.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{about, in_both_modes, port};
use remote_opts_test_support::dhcp::{Client, Reply};
use remote_opts_test_support::kea::{Kea, Setup, Threads, packaged_hooks};
use remote_opts_test_support::nginx::Nginx;
use remote_opts_test_support::port::Port;
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::{project, wait_until};

/// Where the library stands in `hooks-libraries`.
#[derive(Clone, Copy)]
pub enum Place {
    BeforeHa,
    AfterHa,
}

/// Two servers in hot standby. One relay agent sends each query to both.
pub struct Pair {
    pub primary: Kea,
    pub standby: Kea,
}

impl Pair {
    /// Starts both servers. Returns when the primary serves clients and the standby waits.
    pub fn start(threads: Threads, place: Place, service: &Service) -> Pair {
        let channels = two_ports();
        // With multi-threading libdhcp_ha listens at ports of its own. Without, the servers speak
        // to each other over the HTTP control channels.
        let listeners = match threads {
            Threads::One => channels.clone(),
            Threads::Four => two_ports(),
        };
        let peer = |name: &str, listener: &Port| {
            json!({
                "name": name,
                "role": name,
                "url": format!("http://{}/", listener.address()),
            })
        };
        let peers = json!([peer("primary", &listeners[0]), peer("standby", &listeners[1])]);
        let setup = |name: &str, identifier: &str, channel: &Arc<Port>| {
            let multi_threading = threads == Threads::Four;
            let ha = json!({"high-availability": [{
                "this-server-name": name,
                "mode": "hot-standby",
                "heartbeat-delay": 300,
                // A busy machine must not look like a dead one.
                "max-response-delay": 6000,
                "max-ack-delay": 6000,
                "max-unacked-clients": 0,
                "multi-threading": {
                    "enable-multi-threading": multi_threading,
                    "http-dedicated-listener": multi_threading,
                    "http-client-threads": 2,
                    "http-listener-threads": 2,
                },
                "peers": peers,
            }]});
            let library = |setup: Setup, name: &str, parameters: Value| {
                setup.library(&packaged_hooks().join(name), parameters)
            };
            let hook = |setup: Setup| setup.hook(json!({"url": service.url("/"), "cache-ttl": 1}));
            let ha = |setup| library(setup, "libdhcp_ha.so", ha.clone());
            let setup = library(Setup::new(threads), "libdhcp_lease_cmds.so", json!({}));
            let setup = match place {
                Place::BeforeHa => ha(hook(setup)),
                Place::AfterHa => hook(ha(setup)),
            };
            setup.option("dhcp-server-identifier", identifier).http_channel(channel)
        };
        let primary = setup("primary", "127.0.0.1", &channels[0]).start();
        let standby = setup("standby", "127.0.0.2", &channels[1]).behind_relay_of(&primary).start();
        wait_until("hot standby", || {
            [&primary, &standby].iter().all(|kea| state(kea) == "hot-standby")
        });
        Pair { primary, standby }
    }

    /// Kills the primary. Returns the standby once it serves all clients.
    pub fn fail_over(self) -> Kea {
        self.primary.kill();
        drop(self.primary);
        wait_until("a standby that has taken over", || state(&self.standby) == "partner-down");
        self.standby
    }
}

fn two_ports() -> [Arc<Port>; 2] {
    [Arc::new(Port::reserve()), Arc::new(Port::reserve())]
}

/// The state of a server of the pair.
fn state(kea: &Kea) -> String {
    let heartbeat = kea.command("ha-heartbeat").expect("a response");
    heartbeat["arguments"]["state"].as_str().unwrap_or_default().to_owned()
}

/// Checks that this server sent the reply, and that the reply has the answer of the service.
#[track_caller]
fn assert_reply(reply: &Reply, number: u32, identifier: [u8; 4]) {
    assert_eq!(reply.chain(), Some(about(number)), "{reply:?}");
    assert_eq!(reply.option(54), Some(identifier.to_vec()), "{reply:?}");
}

/// Renews a client's lease through the relay agent. Returns the ACK.
fn renew(client: &Client, ack: &Reply) -> Reply {
    client.send_renewal(ack);
    let renewed = client.reply("REQUEST");
    assert_eq!(renewed.address(), ack.address());
    renewed
}

/// Checks that no packet waits in this server any more, neither for its answer nor for the other
/// server.
#[track_caller]
fn assert_nobody_waits(kea: &Kea) {
    let status = kea.command("remote-opts-status").unwrap()["arguments"].clone();
    let waiting = ["parked", "in-flight", "in-line"].map(|name| status[name].clone());
    assert_eq!(waiting, [0, 0, 0].map(Value::from), "{status}");
}

/// Serves many clients at once, kills the primary, and serves them again.
fn serve_and_fail_over(threads: Threads, place: Place) {
    const CLIENTS: u32 = 20;
    // Packets wait for the service, too, while packets wait for the standby's acknowledgement.
    let service = Service::scripted(|request| echo(request).after(Duration::from_millis(50)));
    let pair = Pair::start(threads, place, &service);
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| pair.primary.client().with(82, port(number))).collect();
    for client in &clients {
        client.send_discover();
    }
    for client in &clients {
        client.send_request(&client.reply("DISCOVER"));
    }
    let acks: Vec<_> = clients.iter().map(|client| client.reply("REQUEST")).collect();
    let assert_renewed = |identifier: [u8; 4]| {
        for (number, (client, ack)) in (0..).zip(clients.iter().zip(&acks)) {
            assert_reply(&renew(client, ack), number, identifier);
        }
    };
    for (number, ack) in (0..).zip(&acks) {
        assert_reply(ack, number, [127, 0, 0, 1]);
        let lease = json!({"ip-address": ack.address()});
        let lease = pair.standby.command_with("lease4-get", lease).unwrap();
        assert_eq!(lease["result"], 0, "{lease}");
    }
    assert_renewed([127, 0, 0, 1]);
    assert_eq!(pair.standby.statistic("remote-opts-asked"), Some(0));
    assert_nobody_waits(&pair.primary);
    assert_nobody_waits(&pair.standby);

    let standby = pair.fail_over();
    assert_renewed([127, 0, 0, 2]);
    for reply in standby.client().with(82, port(CLIENTS)).exchange() {
        assert_reply(&reply, CLIENTS, [127, 0, 0, 2]);
    }
    assert_nobody_waits(&standby);
    standby.stop().assert_clean();
}

#[test]
fn an_exchange_and_a_renewal_work_before_and_after_the_primary_is_killed() {
    in_both_modes(|threads| serve_and_fail_over(threads, Place::AfterHa));
}

#[test]
fn the_library_may_stand_before_libdhcp_ha() {
    in_both_modes(|threads| serve_and_fail_over(threads, Place::BeforeHa));
}

#[test]
fn an_answer_inserted_at_both_servers_outlives_the_service_and_the_primary() {
    in_both_modes(|threads| {
        let mut service = Service::echo();
        let pair = Pair::start(threads, Place::AfterHa, &service);
        let known = pair.primary.client().with(82, port(1));
        let [_, known_ack] = known.exchange();
        for kea in [&pair.primary, &pair.standby] {
            let arguments = json!({
                "sub-options": {"1": "00000002"},
                "answer": {"224": about(2)},
                "fresh-for": 600,
            });
            let inserted = kea.command_over_http("remote-opts-cache-insert", arguments).unwrap();
            assert_eq!(inserted["result"], 0, "{inserted}");
        }
        service.stop();

        let client = pair.primary.client().with(82, port(2));
        let [offer, ack] = client.exchange();
        assert_reply(&offer, 2, [127, 0, 0, 1]);
        assert_reply(&ack, 2, [127, 0, 0, 1]);
        let standby = pair.fail_over();
        assert_reply(&renew(&client, &ack), 2, [127, 0, 0, 2]);
        for reply in standby.client().with(82, port(2)).exchange() {
            assert_reply(&reply, 2, [127, 0, 0, 2]);
        }
        // Each server keeps its own answers: the primary's answers died with the primary.
        assert_eq!(renew(&known, &known_ack).chain(), None);
        assert_nobody_waits(&standby);
    });
}

/// The HTTP cache of examples/http-cache, in front of this service.
fn cache_before(service: &Service) -> Nginx {
    let file = project().join("examples/http-cache/nginx.conf");
    let mut servers = fs::read_to_string(file).expect("the example's configuration of nginx");
    for (name, value) in [
        ("/var/lib/nginx", "FOLDER"),
        ("listen 80", "listen ADDRESS"),
        ("http://192.0.2.10", &service.url("")),
    ] {
        assert!(servers.contains(name), "{name}");
        servers = servers.replace(name, value);
    }
    Nginx::start(&servers, &[]).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn an_http_cache_says_to_each_server_what_the_other_one_has_asked() {
    in_both_modes(|threads| {
        let answer = Answer::json(json!({"224": "kept"})).cache_control("max-age=1");
        let mut service = Service::answering(answer);
        let cache = cache_before(&service);
        let start = || Setup::new(threads).hook(json!({"url": cache.url("/")})).start();
        let (first, second) = (start(), start());
        let asked = Instant::now();
        assert_eq!(first.client().with(82, port(1)).discover().chain().as_deref(), Some("kept"));
        service.stop();
        wait_until("an answer that is stale", || asked.elapsed() > Duration::from_secs(3));
        assert_eq!(second.client().with(82, port(1)).discover().chain().as_deref(), Some("kept"));
        assert_eq!(service.asked(), 1);
        second.stop().assert_clean();
    });
}
