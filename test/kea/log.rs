//! What the hook says in Kea's log, and at which severity.

use serde_json::json;

use crate::support::backend::{Answer, Backend};
use crate::support::kea::{HOOK_LOGGER, Setup};
use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes};

/// The messages for an operator who looks for the reason of a client's reply.
#[test]
fn debug_messages_follow_a_client() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring", "66": "0.0.0.0"}));
        let parameters = json!({"url": backend.url("/"), "user-class": "test", "cache-ttl": 0});
        let kea = Setup::new(threads).hook(parameters).debug(HOOK_LOGGER).start();
        let url = backend.url(&format!("/?{FOO_BAR_QUERY}"));
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
        assert_debug(&["REMOPTS_OVERRIDDEN", &client.hwaddr(), "tid=", "66", "224", &url]);

        backend.answer(Answer::status(404, ""));
        client.discover();
        assert_debug(&["REMOPTS_LOOKUP_EMPTY", &client.hwaddr(), "tid=", &url]);
        kea.stop().assert_clean();
    });
}

/// With a client identifier, and without.
#[test]
fn a_packet_is_named_as_kea_names_it() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let parameters = json!({"url": backend.url("/"), "cache-ttl": 0});
        let kea = Setup::new(threads).hook(parameters).debug("kea-dhcp4").start();
        for (port, identifier) in (0..).zip([None, Some(2), Some(128)]) {
            // Each asks for itself.
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

/// What the HTTP client says is in the same log, after a reload too: here, that it connects.
#[test]
fn the_http_client_logs_through_kea() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).debug(HOOK_LOGGER).start();
        kea.client().with(82, FOO_BAR).discover();
        kea.reload().unwrap();
        kea.client().with(82, FOO_BAR).discover();
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

/// At INFO, a packet that goes well leaves no line of ours; each line has the text that messages/ gives it.
#[test]
fn the_log_is_quiet_when_all_is_well() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        kea.client().with(82, FOO_BAR).exchange();
        let end = kea.stop();
        let ours = end.log.iter().filter(|line| line.contains(HOOK_LOGGER)).collect::<Vec<_>>();
        assert_eq!(ours.len(), 2, "{ours:#?}");
        assert!(ours[0].contains("REMOPTS_LOADED remote-opts hook library"), "{}", ours[0]);
        assert!(ours[1].contains("REMOPTS_UNLOADED remote-opts hook library"), "{}", ours[1]);
    });
}
