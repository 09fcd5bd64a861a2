// SPDX-License-Identifier: MPL-2.0
//! Kea's process has few descriptors, or none left. A request that cannot be made for this reason
//! says nothing about the service.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use dhcproto::v4::MessageType;
use serde_json::json;
use tempfile::TempDir;

use crate::{about, assert_answered_at_last, in_both_modes, on_miss_for_many, port};
use remote_opts_test_support::certificates::Authority;
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup};
use remote_opts_test_support::service::{Answer, Request, Service, echo};
use remote_opts_test_support::{PATIENCE, wait_until};

/// How many descriptors Kea may have at first. Connections of the library get numbers from 1024 on.
const ALLOWED: usize = 4096;

/// The numbers of Kea's open descriptors.
fn descriptors(kea: &Kea) -> BTreeSet<usize> {
    let folder = fs::read_dir(format!("/proc/{}/fd", kea.pid())).expect("Kea's descriptors");
    let names = folder.map(|entry| entry.expect("a descriptor").file_name());
    names.map(|name| name.to_string_lossy().parse().expect("a number")).collect()
}

/// Lets Kea open descriptors below this number alone.
fn limit(kea: &Kea, number: usize) {
    let (pid, limit) = (kea.pid().to_string(), format!("--nofile={number}:"));
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(status.expect("prlimit of Debian's util-linux").success());
}

/// Takes every descriptor from Kea that is not open. No connection to a service is open.
fn take_all(kea: &Kea) {
    let mut open = BTreeSet::new();
    wait_until("the end of all connections", || {
        open = descriptors(kea);
        open.range(1024..).next().is_none()
    });
    // A new descriptor gets the lowest number that is free.
    limit(kea, (0..).find(|number| !open.contains(number)).unwrap());
}

/// Each answer ends its connection.
fn echo_and_close(request: &Request) -> Answer {
    echo(request).header("Connection", "close")
}

#[test]
fn without_a_descriptor_no_service_is_given_up_and_the_next_packet_asks_again() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let authority = Authority::new("authority");
        let anchor = folder.path().join("authority.pem");
        fs::write(&anchor, authority.certificate_pem()).expect("a file");
        let identity = authority.server("127.0.0.1");
        let plain = || Service::scripted(echo_and_close);
        let tls = Service::tls_scripted(&identity, echo_and_close);
        // The resolver opens files.
        for (service, host) in [(plain(), "127.0.0.1"), (plain(), "localhost"), (tls, "127.0.0.1")]
        {
            let url = service.url("/").replace("127.0.0.1", host);
            let parameters = json!({"url": url, "cache-ttl": 0, "trust-anchor": anchor});
            let kea = Setup::new(threads)
                .hook(parameters)
                .debug(HOOK_LOGGER)
                .under(&["prlimit", &format!("--nofile={ALLOWED}:{ALLOWED}")])
                .start();
            let known = kea.client().with(82, port(1));
            let [_, ack] = known.exchange();
            assert_eq!(ack.chain(), Some(about(1)));
            take_all(&kea);

            let clients: Vec<_> =
                (10..20).map(|number| kea.client().with(82, port(number))).collect();
            for client in &clients {
                client.send_discover();
                kea.logged(&["REMOPTS_DROPPED", &client.tid()]);
            }
            let line = kea.logged(&["REMOPTS_CONGESTED", "Too many open files"]);
            assert!(line.starts_with("WARN"), "{line}");
            assert!(!clients.iter().any(Client::has_reply), "a reply without an answer");
            // A renewal is never met with silence. Who had an answer keeps it.
            for (number, chain) in [(1, Some(about(1))), (99, None)] {
                let client = known.twin().with(82, port(number));
                client.send_renewal(&ack);
                let renewed = client.reply_within(PATIENCE).expect("an ACK");
                assert_eq!((renewed.kind(), renewed.chain()), (MessageType::Ack, chain));
            }
            assert_eq!(known.discover().chain(), Some(about(1)));
            assert_eq!(service.asked(), 1);

            limit(&kea, ALLOWED);
            for (number, client) in (10..).zip(&clients) {
                assert_answered_at_last(client, number);
            }
            assert_eq!(service.asked(), 11, "one request for each client");
            assert_eq!(kea.statistic("remote-opts-congested"), Some(11));
            assert!(kea.statistic("remote-opts-failures-congestion") > Some(0));
            assert_eq!(kea.statistic("remote-opts-url[0].failures"), Some(0));
            assert_eq!(kea.statistic("remote-opts-stale"), Some(2));
            for id in ["REMOPTS_SERVICE_DOWN", "REMOPTS_LOOKUP_FAILED"] {
                assert_eq!(kea.count(id), 0, "{id}");
            }
            assert!(kea.stop().status.success());
        }
    });
}

/// The library leaves descriptors to Kea: past its share, lookups stand in line.
#[test]
fn more_clients_than_descriptors_all_get_their_answers() {
    const DESCRIPTORS: u32 = 128;
    const CLIENTS: u32 = 300;
    in_both_modes(|threads| {
        let service = Service::echo();
        service.hold();
        let parameters = json!({
            "url": service.url("/"), "timeout": 60_000, "cache-ttl": 600, "on-miss": on_miss_for_many(),
        });
        let kea = Setup::new(threads)
            .set("parked-packet-limit", json!(1000))
            .hook(parameters)
            .under(&["prlimit", &format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")])
            .start();
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| kea.client().with(82, port(number))).collect();
        let mut sent = 0;
        for some in clients.chunks(25) {
            for client in some {
                client.send_discover();
            }
            sent += some.len() as i64;
            wait_until("the DISCOVERs in Kea", || {
                kea.statistic("pkt4-discover-received") == Some(sent)
            });
        }
        kea.logged(&["REMOPTS_TOO_MANY_LOOKUPS"]);
        service.wait_until_open(DESCRIPTORS as usize / 2);
        assert_eq!(service.open(), DESCRIPTORS as usize / 2, "the library's share");
        // Kea has a descriptor for its control socket.
        assert_eq!(kea.statistic("remote-opts-congested"), Some(0));
        service.release();
        for (number, client) in (0..).zip(&clients) {
            assert_answered_at_last(client, number);
        }
        assert_eq!(service.asked() as u32, CLIENTS, "one request for each client");
        for id in ["REMOPTS_SERVICE_DOWN", "REMOPTS_LOOKUP_FAILED", "REMOPTS_CONGESTED"] {
            assert_eq!(kea.count(id), 0, "{id}");
        }
        assert!(kea.stop().status.success());
    });
}
