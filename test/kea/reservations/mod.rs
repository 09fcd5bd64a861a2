// SPDX-License-Identifier: MPL-2.0
//! The service gives a client its address and its host name, as a reservation in Kea's
//! configuration would.

mod addresses;
mod changes;
mod crowd;
mod hostnames;
mod identifiers;
mod pair;
mod precedence;
mod refused;
mod reload;
mod renewals;

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use remote_opts_test_support::dhcp::{Client, Reply, port};
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Request, Service, about};
use remote_opts_test_support::{PATIENCE, wait_until, wait_until_within};

/// The logger of Kea that says why Kea does not reply.
const BAD_PACKETS: &str = "kea-dhcp4.bad-packets";

/// An address of the pool that Kea would give to nobody before it has given away thousands.
const IN_POOL: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 1);

/// An address of the subnet that is in no pool.
const OUT_OF_POOL: Ipv4Addr = Ipv4Addr::new(10, 77, 251, 1);

/// Another address of the subnet that is in no pool.
const ANOTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 251, 2);

/// An address of no subnet.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// The first address of the pool that [`in_small_pool`] makes.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// The second address of that pool, which has no third one.
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// The answers about clients behind these ports. About all others the service knows nothing.
fn saying(answers: &[(u32, Value)]) -> impl Fn(&Request) -> Answer + Send + Sync + use<> {
    let answers: Vec<_> =
        answers.iter().map(|(port, answer)| (about(*port), Answer::json(answer.clone()))).collect();
    move |request| {
        let answer = answers.iter().find(|(target, _)| *target == request.target);
        answer.map_or(Answer::status(404, ""), |(_, answer)| answer.clone())
    }
}

/// A server that asks this service for each exchange, and that takes the commands about leases.
fn setup(threads: Threads, service: &Service) -> Setup {
    setup_with(threads, service, json!({}))
}

/// As [`setup`], with more parameters.
fn setup_with(threads: Threads, service: &Service, parameters: Value) -> Setup {
    let mut all = json!({"url": service.url("/"), "cache-ttl": 0});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    without_hook(threads).hook(all).debug(HOOK_LOGGER).debug(BAD_PACKETS)
}

/// The same server without the hook.
fn without_hook(threads: Threads) -> Setup {
    Setup::new(threads).lease_commands()
}

/// The subnet of [`Setup::new`] with other entries beside.
fn subnet(more: Value) -> Value {
    let mut subnet = json!({
        "id": 1,
        "subnet": "10.77.0.0/16",
        "pools": [{"pool": "10.77.1.0-10.77.250.255"}],
        "relay": {"ip-addresses": ["127.0.0.1"]},
    });
    subnet.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    subnet
}

/// The server with two addresses for clients: [`FIRST`] and [`SECOND`].
fn in_small_pool(setup: Setup) -> Setup {
    let pool = format!("{FIRST}-{SECOND}");
    setup.set("subnet4", json!([subnet(json!({"pools": [{"pool": pool}]}))]))
}

/// A client behind the port of this number.
fn client(kea: &Kea, number: u32) -> Client {
    kea.client().with(82, port(number))
}

/// Checks that the client gets this address, in the OFFER and in the ACK. Returns the ACK.
#[track_caller]
fn assert_gets(client: &Client, address: Ipv4Addr) -> Reply {
    let [offer, ack] = client.exchange();
    assert_eq!([offer.address(), ack.address()], [address; 2]);
    ack
}

/// Checks that the client gets an address of the pool of [`Setup::new`], the same in the OFFER and
/// in the ACK, and none of `others`. Returns the ACK.
#[track_caller]
fn assert_gets_dynamic(client: &Client, others: &[Ipv4Addr]) -> Reply {
    let [offer, ack] = client.exchange();
    assert!(is_dynamic(ack.address()), "{ack:?}");
    assert_eq!(offer.address(), ack.address());
    assert!(!others.contains(&ack.address()), "{ack:?}");
    ack
}

/// Whether the address is one of the pool of [`Setup::new`].
fn is_dynamic(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    (a, b) == (10, 77) && (1..=250).contains(&c)
}

/// Checks that the client renews its lease and keeps its address.
#[track_caller]
fn assert_renews(client: &Client, ack: &Reply) {
    let renewed = client.renew(ack);
    assert_eq!((renewed.kind(), renewed.address()), (MessageType::Ack, ack.address()));
}

/// Checks that the server refuses to renew the lease.
#[track_caller]
fn assert_refused(client: &Client, ack: &Reply) {
    let reply = client.renew(ack);
    assert_eq!(reply.kind(), MessageType::Nak, "{reply:?}");
}

/// Checks that the client's renewal gets no reply: the address is in no pool, and Kea does not know
/// it any more. (Kea refuses an address of a pool alone. As long as the client's lease lasts, it may
/// use the address.)
#[track_caller]
fn assert_ignored(kea: &Kea, client: &Client, ack: &Reply) {
    client.send_renewal(ack);
    kea.logged(&["DHCP4_UNKNOWN_ADDRESS_REQUESTED", &client.tid()]);
    assert!(!client.has_reply());
}

/// Checks that a line in the log says why Kea gives the client another address than the service.
#[track_caller]
fn assert_not_given(kea: &Kea, client: &Client, service: Ipv4Addr, given: Ipv4Addr) {
    let what = format!("the service gives {service}, and Kea gives {given}: ");
    let line = kea.logged(&["REMOPTS_ADDRESS_NOT_GIVEN", &client.hwaddr(), &what]);
    assert!(line.starts_with("WARN"), "{line}");
    assert!(line.contains("in the answer to http://"), "{line}");
}

/// The counters of addresses that Kea gave and did not give, and the gauge of addresses that are
/// kept.
fn counts(kea: &Kea) -> [Option<i64>; 3] {
    ["given", "not-given", "kept"]
        .map(|name| kea.statistic(&format!("remote-opts-addresses-{name}")))
}

/// Waits until [`counts`] says this. A reply may be at its client before it is counted.
#[track_caller]
fn assert_counts(kea: &Kea, given: i64, not_given: i64, kept: i64) {
    let expected = [given, not_given, kept].map(Some);
    let mut last = [None; 3];
    wait_until_within(PATIENCE, || {
        last = counts(kea);
        last == expected
    });
    assert_eq!(last, expected, "addresses given, not given and kept");
}

/// Waits until nobody has a lease of the address.
#[track_caller]
fn wait_until_free(kea: &Kea, address: Ipv4Addr) {
    wait_until("the end of a lease", || kea.lease(address).is_none());
}
