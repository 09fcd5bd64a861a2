// SPDX-License-Identifier: MPL-2.0
//! A short life of the library with something of everything, for the tools of test/sanitize: one of
//! them makes Kea fifty times as slow.

use serde_json::json;

use crate::{in_both_modes, port};
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{self, Kea, Setup};
use remote_opts_test_support::service::{Answer, Service};

/// Has a client send a DISCOVER that waits for its answer.
fn waiting_client(kea: &Kea, service: &Service, number: u32) -> Client {
    service.hold();
    let client = kea.client().with(82, port(number));
    client.send_discover();
    service.wait_until_open(1);
    client
}

#[test]
fn an_exchange_a_reload_and_a_stop_while_packets_wait() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::json(json!({
            "options": {
                "224": "somestring",
                "boot-file-name": "a-name",
                "3": ["10.77.0.1", "10.77.0.2"],
                "43": {"6": 3, "10": {"hex": "00505845"}},
                "67": null,
                // An option of the protocol: this edit is refused.
                "53": 1,
            },
            "next-server": "192.0.2.1",
            "client-classes": ["a-class"],
            "ip-address": "10.77.251.9",
            "hostname": "node9",
        })));
        let kea = Setup::new(threads)
            .hook(json!({
                "url": service.url("/{class}"),
                "timeout": 60_000,
                "cache-ttl": 0,
                "query": {"class": "'a' + hexstring(pkt4.mac, '')"},
            }))
            .start();
        let client = waiting_client(&kea, &service, 1);
        service.release();
        let offer = client.reply("DISCOVER");
        let ack = client.request(&offer);
        for reply in [&offer, &ack] {
            assert_eq!(reply.chain().as_deref(), Some("somestring"));
            assert_eq!(reply.address().octets(), [10, 77, 251, 9]);
        }
        assert_eq!(kea.command("remote-opts-status").unwrap()["result"], 0);

        // A Kea that cannot park would wait for the service at the reload and at the stop.
        let waits = kea::parks().then(|| waiting_client(&kea, &service, 2));
        kea.reload().unwrap();
        service.release();
        assert!(!waits.is_some_and(|client| client.has_reply()), "a packet of before the reload");
        assert_eq!(client.discover().chain().as_deref(), Some("somestring"));
        let waits = kea::parks().then(|| waiting_client(&kea, &service, 3));
        assert!(kea.stop().status.success());
        assert!(!waits.is_some_and(|client| client.has_reply()), "a packet of before the stop");
    });
}
