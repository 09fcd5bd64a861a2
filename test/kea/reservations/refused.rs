// SPDX-License-Identifier: MPL-2.0
//! Addresses and host names that cannot be used cost only themselves.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{assert_gets, assert_gets_dynamic, client, saying, setup};
use crate::in_both_modes;
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::Kea;
use remote_opts_test_support::service::Service;
use remote_opts_test_support::wait_until;

/// Checks that a line of the log refuses the member of the client's answer.
#[track_caller]
fn assert_member_refused(kea: &Kea, client: &Client, name: &str, value: &Value) {
    // The log has the begin of a long value, and writes some characters in its own way.
    let value = value.to_string();
    let plain: String =
        value.chars().take(20).take_while(|one| (' '..='~').contains(one)).collect();
    let member = format!("\"{name}\": {}", plain.trim_end_matches('\\'));
    let line = kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), &member]);
    assert!(line.starts_with("WARN"), "{line}");
}

/// Waits until as many edits have been refused, each in an OFFER and an ACK.
#[track_caller]
fn assert_refused(kea: &Kea, members: usize) {
    let refused = || kea.statistic("remote-opts-edits-refused").expect("a counter");
    wait_until("refused members", || refused() == 2 * members as i64);
}

#[test]
fn an_address_that_no_client_can_have_is_refused_alone() {
    let addresses = [
        json!("10.77.251"),
        json!("10.77.251.256"),
        json!("10.77.251.1/16"),
        json!(""),
        json!("node7"),
        json!("2001:db8::1"),
        json!(7),
        json!(["10.77.251.1"]),
        json!("0.0.0.0"),
        json!("127.0.0.1"),
        json!("224.0.0.1"),
        json!("255.255.255.255"),
    ];
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[]));
        let kea = setup(threads, &service).start();
        for (number, address) in (1..).zip(&addresses) {
            let answer = json!({
                "ip-address": address,
                "hostname": "node7",
                "options": {"224": "somestring"},
            });
            service.script(saying(&[(number, answer)]));
            let client = client(&kea, number);
            let ack = assert_gets_dynamic(&client, &[]);
            assert_eq!(ack.option(12).as_deref(), Some(&b"node7"[..]), "{address}");
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            assert_member_refused(&kea, &client, "ip-address", address);
        }
        assert_refused(&kea, addresses.len());
        assert!(kea.stop().status.success());
    });
}

#[test]
fn a_name_that_is_no_host_name_is_refused_alone() {
    let names = [
        json!(""),
        json!("."),
        json!("a..b"),
        json!("a b"),
        json!("a,b"),
        json!("knüpfen"),
        json!("a\u{0}b"),
        json!("x".repeat(64)),
        json!(["x"; 127].join(".") + ".y"),
        json!(7),
        json!(["node7"]),
    ];
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[]));
        let kea = setup(threads, &service).start();
        for (number, name) in (1..).zip(&names) {
            let address = Ipv4Addr::new(10, 77, 251, number);
            let answer = json!({
                "ip-address": address,
                "hostname": name,
                "options": {"224": "somestring"},
            });
            service.script(saying(&[(number.into(), answer)]));
            let client = client(&kea, number.into());
            let ack = assert_gets(&client, address);
            assert_eq!(ack.option(12), None, "{name}");
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            assert_member_refused(&kea, &client, "hostname", name);
        }
        assert_refused(&kea, names.len());
        assert!(kea.stop().status.success());
    });
}

/// A service that reads a table has null for a machine without an address or a name.
#[test]
fn null_is_no_address_and_no_name() {
    in_both_modes(|threads| {
        let answer = json!({"ip-address": null, "hostname": null, "options": {"224": "x"}});
        let service = Service::scripted(saying(&[(1, answer)]));
        let kea = setup(threads, &service).start();
        let ack = assert_gets_dynamic(&client(&kea, 1), &[]);
        assert_eq!((ack.chain().as_deref(), ack.option(12)), (Some("x"), None));
        kea.stop().assert_clean();
    });
}
