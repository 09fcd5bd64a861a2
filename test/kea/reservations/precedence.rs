// SPDX-License-Identifier: MPL-2.0
//! Reservations of the configuration come before those of the service.

use std::net::Ipv4Addr;
use std::sync::Arc;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use super::{
    IN_POOL, OUT_OF_POOL, assert_counts, assert_gets, assert_gets_dynamic, assert_not_given,
    assert_renews, client, saying, setup, subnet,
};
use crate::in_both_modes;
use remote_opts_test_support::dhcp::{Client, Relay, port};
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::service::Service;

/// The address that the configuration reserves for the client behind port 1.
const CONFIGURED: Ipv4Addr = Ipv4Addr::new(10, 77, 251, 99);

/// What the service says about that client.
fn answer() -> Value {
    json!({"ip-address": OUT_OF_POOL, "hostname": "remote", "options": {"224": "somestring"}})
}

/// Where Kea's configuration has a reservation.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    /// In the relay agent's subnet.
    Subnet,
    /// For all subnets, which use such reservations beside their own.
    Global,
    /// For all subnets, which do not use their own.
    GlobalAlone,
    /// In another subnet on the same wire.
    OtherSubnet,
}

impl Place {
    fn configure(self, setup: Setup, reservation: Value) -> Setup {
        let reservations = json!([reservation]);
        let global = |setup: Setup, in_subnet: bool| {
            setup
                .set("reservations", reservations.clone())
                .set("reservations-global", json!(true))
                .set("reservations-in-subnet", json!(in_subnet))
        };
        match self {
            Place::Subnet => {
                setup.set("subnet4", json!([subnet(json!({"reservations": reservations}))]))
            }
            Place::Global => global(setup, true),
            Place::GlobalAlone => global(setup, false),
            Place::OtherSubnet => {
                let other = json!({
                    "id": 2,
                    "subnet": "10.78.0.0/16",
                    "reservations": reservations,
                    "relay": {"ip-addresses": ["127.0.0.1"]},
                });
                let network = json!({"name": "wire", "subnet4": [subnet(json!({})), other]});
                setup.set("shared-networks", json!([network])).set("subnet4", json!([]))
            }
        }
    }
}

/// Starts a server with a reservation of these members for a client that this identifier names: a
/// name and a value. Kea may look for the client by its hardware address, its circuit, and its own
/// identifier, in this order. Returns the client, too.
fn start(
    threads: Threads,
    service: &Service,
    place: Place,
    identifier: &str,
    members: Value,
) -> (Kea, Client) {
    let relay = Arc::new(Relay::bind());
    let client = Client::new(Arc::clone(&relay)).with(82, port(1)).with(61, b"\xff\0\0\0\x01duid");
    let mut reservation = members;
    reservation[identifier] = match identifier {
        "hw-address" => client.hwaddr().into(),
        "circuit-id" => "00000001".into(),
        "client-id" => "FF0000000164756964".into(),
        "duid" => "64756964".into(),
        other => panic!("{other}"),
    };
    let setup = place.configure(setup(threads, service), reservation);
    (setup.behind(&relay).start(), client)
}

/// Each identifier that Kea looks for by default, the first one and the last one alike.
#[test]
fn a_reservation_of_the_configuration_counts_whole() {
    in_both_modes(|threads| {
        for (place, identifier) in [
            (Place::Subnet, "hw-address"),
            (Place::Subnet, "duid"),
            (Place::Subnet, "circuit-id"),
            (Place::Subnet, "client-id"),
            (Place::Global, "hw-address"),
            (Place::Global, "client-id"),
            (Place::GlobalAlone, "circuit-id"),
            (Place::OtherSubnet, "circuit-id"),
        ] {
            let address = match place {
                Place::OtherSubnet => Ipv4Addr::new(10, 78, 0, 99),
                _ => CONFIGURED,
            };
            let service = Service::scripted(saying(&[(1, answer())]));
            let members = json!({"ip-address": address, "hostname": "configured"});
            let (kea, client) = start(threads, &service, place, identifier, members);
            let ack = assert_gets(&client, address);
            let name = ack.option(12).expect("a host name");
            assert_eq!(name.escape_ascii().to_string(), "configured", "{place:?}, {identifier}");
            // The rest of the answer is the client's all the same.
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            assert_not_given(&kea, &client, OUT_OF_POOL, address);
            assert_renews(&client, &ack);
            assert_counts(&kea, 0, 3, 1);
            assert!(kea.stop().status.success());
        }
    });
}

/// The service does not fill in what the configuration leaves out.
#[test]
fn a_reservation_without_an_address_or_a_name_counts_whole_too() {
    in_both_modes(|threads| {
        for place in [Place::Subnet, Place::Global] {
            let service = Service::scripted(saying(&[(1, answer())]));
            let members = json!({"hostname": "configured"});
            let (kea, client) = start(threads, &service, place, "circuit-id", members);
            let ack = assert_gets_dynamic(&client, &[]);
            assert_eq!(ack.option(12).as_deref(), Some(&b"configured"[..]));
            assert_not_given(&kea, &client, OUT_OF_POOL, ack.address());
            assert!(kea.stop().status.success());

            let members = json!({"ip-address": CONFIGURED});
            let (kea, client) = start(threads, &service, place, "client-id", members);
            let ack = assert_gets(&client, CONFIGURED);
            assert_eq!(ack.option(12), None);
            assert!(kea.stop().status.success());

            let members = json!({"option-data": [
                {"name": "tftp-server-name", "data": "configured", "always-send": true},
            ]});
            let (kea, client) = start(threads, &service, place, "circuit-id", members);
            let ack = assert_gets_dynamic(&client, &[]);
            assert_eq!(ack.option(66).as_deref(), Some(&b"configured"[..]));
            assert_eq!(ack.option(12), None);
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            assert!(kea.stop().status.success());
        }
    });
}

/// Kea would not look there for the client either.
#[test]
fn a_reservation_that_kea_does_not_look_for_does_not_count() {
    in_both_modes(|threads| {
        let members = json!({"ip-address": CONFIGURED, "hostname": "configured"});
        let relay = Arc::new(Relay::bind());
        let client = || Client::new(Arc::clone(&relay)).with(82, port(1));
        let service = Service::scripted(saying(&[(1, answer())]));
        let setup = || setup(threads, &service).behind(&relay);
        let reservation = |identifier: &str, value: &str| {
            let mut reservation = members.clone();
            reservation[identifier] = value.into();
            reservation
        };
        // By an identifier that Kea does not ask for.
        let by_circuit = reservation("circuit-id", "00000001");
        let by_circuit = Place::Subnet.configure(setup(), by_circuit);
        let by_circuit = by_circuit.set("host-reservation-identifiers", json!(["hw-address"]));
        // For all subnets, which use their own reservations alone.
        let known = client();
        let global =
            setup().set("reservations", json!([reservation("hw-address", &known.hwaddr())]));
        for (setup, client) in [(by_circuit, client()), (global, known)] {
            let kea = setup.start();
            let ack = assert_gets(&client, OUT_OF_POOL);
            assert_eq!(ack.option(12).as_deref(), Some(&b"remote"[..]));
            assert_renews(&client, &ack);
            kea.stop().assert_clean();
        }
    });
}

/// Without care, Kea would offer the address and then refuse the client, for ever.
#[test]
fn an_address_that_the_configuration_reserves_for_another_client_is_not_offered() {
    in_both_modes(|threads| {
        for address in [IN_POOL, OUT_OF_POOL] {
            for place in [Place::Subnet, Place::Global] {
                let answer = json!({
                    "ip-address": address,
                    "hostname": "remote",
                    "options": {"224": "somestring"},
                });
                let service = Service::scripted(saying(&[(1, answer)]));
                let relay = Arc::new(Relay::bind());
                let [client, other] =
                    [1, 2].map(|number| Client::new(Arc::clone(&relay)).with(82, port(number)));
                let members = json!({"hw-address": other.hwaddr(), "ip-address": address});
                let setup = place.configure(setup(threads, &service), members);
                let kea = setup.behind(&relay).start();
                let ack = assert_gets_dynamic(&client, &[address]);
                assert_eq!(ack.chain().as_deref(), Some("somestring"));
                assert_eq!(ack.option(12).as_deref(), Some(&b"remote"[..]));
                assert_not_given(&kea, &client, address, ack.address());
                assert_renews(&client, &ack);
                let others = assert_gets(&other, address);
                assert_renews(&other, &others);
                assert_renews(&client, &ack);
                assert_counts(&kea, 0, 4, 1);
                assert!(kea.stop().status.success());
            }
        }
    });
}

/// The service's address is free again when the configuration's reservation is gone.
#[test]
fn a_reservation_that_leaves_the_configuration_makes_room_for_the_service_s_one() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, answer())]));
        let members = json!({"ip-address": CONFIGURED});
        let (kea, client) = start(threads, &service, Place::Subnet, "circuit-id", members);
        let ack = assert_gets(&client, CONFIGURED);
        let mut configuration = kea.configuration();
        configuration["Dhcp4"]["subnet4"] = json!([subnet(json!({}))]);
        kea.set_configuration(configuration).unwrap();
        assert_eq!(client.renew(&ack).kind(), MessageType::Nak);
        assert_gets(&client, OUT_OF_POOL);
        assert!(kea.stop().status.success());
    });
}

/// A stranger to the service has the configuration's reservation as ever.
#[test]
fn a_client_without_an_answer_gets_its_reservation_of_the_configuration() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[]));
        let members = json!({"ip-address": CONFIGURED, "hostname": "configured"});
        let (kea, known) = start(threads, &service, Place::Subnet, "hw-address", members);
        let ack = assert_gets(&known, CONFIGURED);
        assert_eq!(ack.option(12).as_deref(), Some(&b"configured"[..]));
        assert_gets_dynamic(&client(&kea, 2), &[CONFIGURED]);
        kea.stop().assert_clean();
    });
}
