// SPDX-License-Identifier: MPL-2.0
//! What the hook writes to Kea's log, and at which severity.

use serde_json::json;

use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes, port};
use remote_opts_test_support::kea::{HOOK_LOGGER, Setup};
use remote_opts_test_support::service::{Answer, Service};

/// An operator can follow a client through the debug messages.
#[test]
fn debug_messages_follow_a_client() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring", "66": "0.0.0.0"}));
        let parameters = json!({"url": service.url("/"), "user-class": "test", "cache-ttl": 0});
        let kea = Setup::new(threads).hook(parameters).debug(HOOK_LOGGER).start();
        let url = service.url(&format!("/?{FOO_BAR_QUERY}"));
        let assert_debug = |parts: &[&str]| {
            let line = kea.logged(parts);
            assert!(line.starts_with(&format!("DEBUG [{HOOK_LOGGER}] REMOPTS_")), "{line}");
        };

        let other = kea.client().with(82, FOO_BAR).with(77, "other");
        other.discover();
        assert_debug(&["REMOPTS_NOT_ADMITTED", &other.hwaddr(), "tid="]);

        let nameless = kea.client().with(77, "test");
        nameless.discover();
        assert_debug(&["REMOPTS_NOT_NAMED", &nameless.hwaddr(), "tid="]);

        let client = kea.client().with(82, FOO_BAR).with(77, "test");
        client.discover();
        assert_debug(&["REMOPTS_LOOKUP ", &client.hwaddr(), "tid=", &url]);
        assert_debug(&["REMOPTS_EDITED", &client.hwaddr(), "tid=", "66", "224", &url]);

        service.answer(Answer::status(404, ""));
        client.discover();
        assert_debug(&["REMOPTS_LOOKUP_EMPTY", &client.hwaddr(), "tid=", &url]);
        kea.stop().assert_clean();
    });
}

/// Clients with and without a client identifier.
#[test]
fn a_packet_is_named_as_kea_names_it() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let parameters = json!({"url": service.url("/"), "cache-ttl": 0});
        let kea = Setup::new(threads).hook(parameters).debug("kea-dhcp4").start();
        for (port, identifier) in (0..).zip([None, Some(2), Some(128)]) {
            // Each client is looked up by a request of its own.
            let client = kea.client().with(82, [1, 1, port]);
            let client = match identifier {
                None => client,
                Some(length) => client.with(61, vec![7; length]),
            };
            client.send_discover();
            let line = kea.logged(&["DHCP4_PACKET_RECEIVED ", &client.hwaddr()]);
            let label = &line[line.find("[hwtype").expect("a label")..];
            let (label, _) = label.split_once(": ").expect("more than a label");
            kea.logged(&[&format!("REMOPTS_LOOKUP {label}: ")]);
        }
        kea.stop().assert_clean();
    });
}

/// The HTTP client's own messages reach Kea's log, also after a reload. This test looks for the
/// message that the HTTP client connects.
#[test]
fn the_http_client_logs_through_kea() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea =
            Setup::new(threads).hook(json!({"url": service.url("/")})).debug(HOOK_LOGGER).start();
        kea.client().with(82, FOO_BAR).discover();
        kea.reload().unwrap();
        kea.client().with(82, port(1)).discover();
        let end = kea.stop();
        end.assert_clean();
        let lives = end.log.split(|line| line.contains("REMOPTS_LOADED")).skip(1);
        let connects = |life: &[String]| {
            let mut lines =
                life.iter().filter(|line| line.starts_with("DEBUG") && line.contains(HOOK_LOGGER));
            lines.any(|line| line.contains("REMOPTS_HTTP_LIBRARY") && line.contains("connect"))
        };
        assert_eq!(lives.map(connects).collect::<Vec<_>>(), [true, true], "{:#?}", end.log);
    });
}

/// At INFO, a lookup without trouble logs nothing. A line has the text that messages/ gives it.
#[test]
fn the_log_is_quiet_when_all_is_well() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        kea.client().with(82, FOO_BAR).exchange();
        let end = kea.stop();
        let ours = end.log.iter().filter(|line| line.contains(HOOK_LOGGER)).collect::<Vec<_>>();
        assert_eq!(ours.len(), 2, "{ours:#?}");
        assert!(ours[0].contains("REMOPTS_LOADED remote-opts hook library"), "{}", ours[0]);
        assert!(ours[1].contains("REMOPTS_UNLOADED remote-opts hook library"), "{}", ours[1]);
    });
}
