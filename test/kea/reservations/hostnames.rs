// SPDX-License-Identifier: MPL-2.0
//! A host name of the service is what a host name in a reservation of the configuration is: in the
//! reply, in the lease, and in DNS.

use std::net::Ipv4Addr;
use std::sync::Arc;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use super::{OUT_OF_POOL, assert_gets, assert_renews, client, saying, setup, subnet, without_hook};
use crate::in_both_modes;
use remote_opts_test_support::ddns::Ddns;
use remote_opts_test_support::dhcp::{Client, Relay, Reply, port};
use remote_opts_test_support::kea::{Kea, Setup};
use remote_opts_test_support::service::Service;

/// Option 81 (RFC 4702) with a name without a domain, as a client sends it: the server shall change
/// DNS (S), and the name is in the form of DNS (E).
const OWN_FQDN: &[u8] = b"\x05\0\0\x04mine";

/// DDNS, as far as a DHCP server is concerned.
fn with_ddns(setup: Setup, ddns: &Ddns) -> Setup {
    setup.set("dhcp-ddns", ddns.configuration()).set("ddns-qualifying-suffix", json!("example.org"))
}

#[test]
fn a_host_name_is_in_the_reply_and_in_the_lease() {
    in_both_modes(|threads| {
        let answer = json!({"ip-address": OUT_OF_POOL, "hostname": "Node7"});
        let service = Service::scripted(saying(&[(1, answer), (2, json!({"hostname": "node8"}))]));
        let kea = setup(threads, &service).start();
        let node7 = client(&kea, 1).with(12, "mine");
        let ack = assert_gets(&node7, OUT_OF_POOL);
        // Kea writes all names in lower case.
        assert_eq!(ack.option(12).as_deref(), Some(&b"node7"[..]));
        assert_eq!(kea.lease(OUT_OF_POOL).expect("a lease")["hostname"], "node7");
        let line = kea.logged(&["REMOPTS_ACKED", &node7.hwaddr()]);
        for member in ["ip-address 10.77.251.1", "hostname Node7"] {
            assert!(line.contains(member), "{line}");
        }
        // A client that does not name itself, and has no address of its own.
        let [offer, ack] = client(&kea, 2).exchange();
        for reply in [&offer, &ack] {
            assert_eq!(reply.option(12).as_deref(), Some(&b"node8"[..]));
        }
        assert_eq!(kea.lease(ack.address()).expect("a lease")["hostname"], "node8");
        // A client that the service does not know has the name that it gives itself.
        let [_, ack] = client(&kea, 3).with(12, "mine").exchange();
        assert_eq!(kea.lease(ack.address()).expect("a lease")["hostname"], "mine");
        kea.stop().assert_clean();
    });
}

#[test]
fn a_host_name_goes_into_dns() {
    in_both_modes(|threads| {
        let ddns = Ddns::listen();
        let answer = json!({"ip-address": OUT_OF_POOL, "hostname": "node7"});
        let service = Service::scripted(saying(&[(1, answer)]));
        let kea = with_ddns(setup(threads, &service), &ddns).start();
        let client = client(&kea, 1).with(12, "mine");
        let ack = assert_gets(&client, OUT_OF_POOL);
        assert_eq!(ack.option(12).as_deref(), Some(&b"node7.example.org"[..]));
        let lease = kea.lease(OUT_OF_POOL).expect("a lease");
        let in_lease = ["hostname", "fqdn-fwd", "fqdn-rev"].map(|name| lease[name].clone());
        assert_eq!(in_lease, [json!("node7.example.org"), json!(true), json!(true)]);
        let added = ddns.request();
        assert_change(&added, 0, "node7.example.org.");
        assert_renews(&client, &ack);
        client.release(&ack);
        assert_change(&ddns.request(), 1, "node7.example.org.");
        kea.stop().assert_clean();
    });
}

/// Checks a request for a change in DNS: 0 adds the client, and 1 removes it.
#[track_caller]
fn assert_change(request: &Value, kind: u8, name: &str) {
    assert_eq!(request["change-type"], kind, "{request}");
    assert_eq!(request["fqdn"], name, "{request}");
    assert_eq!(request["ip-address"], json!(OUT_OF_POOL), "{request}");
    assert_eq!(request["forward-change"], true, "{request}");
    assert_eq!(request["reverse-change"], true, "{request}");
}

#[test]
fn a_new_host_name_takes_the_old_one_s_place_in_dns() {
    in_both_modes(|threads| {
        let ddns = Ddns::listen();
        let answer =
            |name: &str| saying(&[(1, json!({"ip-address": OUT_OF_POOL, "hostname": name}))]);
        let service = Service::scripted(answer("old"));
        let kea = with_ddns(setup(threads, &service), &ddns).start();
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        assert_change(&ddns.request(), 0, "old.example.org.");
        service.script(answer("new"));
        assert_renews(&client, &ack);
        assert_change(&ddns.request(), 1, "old.example.org.");
        assert_change(&ddns.request(), 0, "new.example.org.");
        assert_eq!(kea.lease(OUT_OF_POOL).expect("a lease")["hostname"], "new.example.org");
        kea.stop().assert_clean();
    });
}

/// A client, what is reserved for it, and which options its queries carry.
struct Case {
    client: Client,
    members: Value,
    options: Vec<u8>,
}

impl Case {
    /// Every reservation with every way in which a client may name itself.
    fn all(relay: &Arc<Relay>) -> Vec<Case> {
        let mut all = Vec::new();
        for (address, hostname) in [
            (false, "node7"),
            (false, "node7.example.net"),
            (false, "node7.example.net."),
            (true, ""),
            (true, "Node_7"),
        ] {
            for options in [vec![], vec![12], vec![81], vec![12, 81]] {
                let mut members = json!({});
                if address {
                    members["ip-address"] = json!(Ipv4Addr::new(10, 77, 251, all.len() as u8));
                }
                if !hostname.is_empty() {
                    members["hostname"] = json!(hostname);
                }
                let client = Client::new(Arc::clone(relay)).with(82, port(all.len() as u32));
                let client = options.iter().fold(client, |client, code| match code {
                    12 => client.with(12, "mine"),
                    _ => client.with(81, OWN_FQDN),
                });
                all.push(Case { client, members, options });
            }
        }
        all
    }

    /// The reservation in Kea's configuration.
    fn reservation(&self) -> Value {
        let mut reservation = self.members.clone();
        reservation["hw-address"] = self.client.hwaddr().into();
        reservation
    }

    /// What becomes of the client behind the port of this number.
    fn outcome(&self, number: usize, kea: &Kea, ddns: Option<&Ddns>) -> Outcome {
        // The client has a wish: Kea's threads do not choose the same address in each run.
        let offer = self.client.discover_address([10, 77, 1, number as u8].into());
        let ack = self.client.request(&offer);
        assert_eq!(ack.kind(), MessageType::Ack, "{ack:?}");
        let lease = without_times(kea.lease(ack.address()).expect("a lease"));
        let is_named = !self.options.is_empty() || self.members["hostname"].is_string();
        let dns = ddns.filter(|_| is_named).map(|ddns| without_times(ddns.request()));
        let renewed = self.client.renew(&ack);
        Outcome { replies: [offer, ack, renewed], lease, dns }
    }
}

/// What becomes of a client: its replies, its lease, and what is said to DNS.
#[derive(PartialEq, Debug)]
struct Outcome {
    replies: [Reply; 3],
    lease: Value,
    dns: Option<Value>,
}

/// The same without the times of two runs.
fn without_times(mut value: Value) -> Value {
    for time in ["cltt", "lease-expires-on"] {
        value.as_object_mut().expect("an object").remove(time);
    }
    value
}

/// The same clients at a server whose configuration has their reservations, and at a server whose
/// service gives them.
#[test]
fn clients_get_what_reservations_of_the_configuration_would_give_them() {
    in_both_modes(|threads| {
        for has_ddns in [false, true] {
            let ddns = has_ddns.then(Ddns::listen);
            let relay = Arc::new(Relay::bind());
            let cases = Case::all(&relay);
            let outcomes = |setup: Setup| {
                let setup = ddns.iter().fold(setup, with_ddns).behind(&relay);
                let kea = setup.start();
                let cases = cases.iter().enumerate();
                let outcomes: Vec<_> =
                    cases.map(|(number, case)| case.outcome(number, &kea, ddns.as_ref())).collect();
                kea.stop().assert_clean();
                outcomes
            };
            let reservations: Vec<_> = cases.iter().map(Case::reservation).collect();
            let configured = json!([subnet(json!({"reservations": reservations}))]);
            let configured = outcomes(without_hook(threads).set("subnet4", configured));
            let answers: Vec<_> =
                (0..).zip(&cases).map(|(number, case)| (number, case.members.clone())).collect();
            let service = Service::scripted(saying(&answers));
            let given = outcomes(setup(threads, &service));
            for ((configured, given), case) in configured.iter().zip(&given).zip(&cases) {
                assert_eq!(given, configured, "{}, options {:?}", case.members, case.options);
            }
        }
    });
}
