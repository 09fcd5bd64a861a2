// SPDX-License-Identifier: MPL-2.0
//! What the hook writes to Kea's log, and at which severity.

use serde_json::json;

use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes, port};
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{HOOK_LOGGER, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::wait_until;

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

/// At INFO, a lookup without trouble logs one line for each ACK. A line has the text that messages/
/// gives it.
#[test]
fn the_log_is_quiet_when_all_is_well() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        kea.client().with(82, FOO_BAR).exchange();
        let end = kea.stop();
        let ours = end.log.iter().filter(|line| line.contains(HOOK_LOGGER)).collect::<Vec<_>>();
        assert_eq!(ours.len(), 3, "{ours:#?}");
        assert!(ours[0].contains("REMOPTS_LOADED remote-opts hook library"), "{}", ours[0]);
        assert!(ours[1].contains("REMOPTS_ACKED "), "{}", ours[1]);
        assert!(ours[2].contains("REMOPTS_UNLOADED remote-opts hook library"), "{}", ours[2]);
    });
}

/// Which machine got what, from whom.
#[test]
fn each_ack_has_a_line_that_says_what_it_carries() {
    in_both_modes(|threads| {
        let service = Service::scripted(|request| match request.target.as_str() {
            "/?sub82_1=4769302F31" => Answer::json(json!({
                "options": {"224": "http://boot/a\nb", "66": "tftp1", "67": null},
                "next-server": "192.0.2.9",
            }))
            .cache_control("max-age=1, stale-if-error=600"),
            "/?sub82_2=0001FF" => Answer::json(json!({"225": "x".repeat(250)})),
            "/?sub82_1=72" => Answer::json(json!({"client-classes": ["rack", "unknown"]})),
            "/?sub82_1=62616400" => Answer::status(500, ""),
            _ => Answer::status(404, ""),
        });
        let kea = Setup::new(threads)
            .option("boot-file-name", "pxelinux.0")
            .set("client-classes", json!([{"name": "rack"}]))
            .hook(json!({"url": service.url("/")}))
            .start();
        let sub_option = |code: u8, value: &[u8]| [&[code, value.len() as u8], value].concat();
        let line = |client: &Client| kea.logged(&["REMOPTS_ACKED", &client.hwaddr()]);
        let url = service.url("/");

        let client = kea.client().with(82, sub_option(1, b"Gi0/1"));
        client.exchange();
        let expected = format!(
            ": circuit-id \"Gi0/1\" gets an ACK with -67, 66 \"tftp1\", 224 \"http://boot/a\\nb\", \
             next-server \"192.0.2.9\", from {url}, "
        );
        let acked = line(&client);
        assert!(acked.starts_with("INFO") && acked.contains("tid="), "{acked}");
        let sorted = |text: &str| {
            let mut parts: Vec<_> = text.split(", ").map(str::to_owned).collect();
            parts.sort();
            parts
        };
        let (_, what) = acked.split_once(" with ").expect("what the ACK carries");
        let (_, wanted) = expected.split_once(" with ").unwrap();
        let (edits, from) = what.split_once(", from ").expect("who gave the answer");
        assert_eq!(sorted(edits), sorted(wanted.split_once(", from ").unwrap().0), "{acked}");
        assert!(acked.contains(": circuit-id \"Gi0/1\" gets an ACK with "), "{acked}");
        let age = from.strip_prefix(&url).and_then(|rest| rest.strip_prefix(", "));
        assert!(age.is_some_and(|age| age.ends_with(" s old")), "{acked}");

        // Bytes that are no text; a long value is cut.
        let client = kea.client().with(82, sub_option(2, &[0, 1, 0xff]));
        client.exchange();
        let acked = line(&client);
        assert!(acked.contains(": remote-id 0x0001FF gets an ACK with 225 \"xxx"), "{acked}");
        assert!(acked.contains("xxx… (252 bytes), from "), "{acked}");

        let client = kea.client().with(82, sub_option(1, b"r"));
        client.exchange();
        let acked = line(&client);
        assert!(acked.contains("gets an ACK with client-classes [\"rack\"], from "), "{acked}");

        let client = kea.client().with(82, sub_option(1, b"nobody"));
        client.exchange();
        let acked = line(&client);
        assert!(
            acked.contains("with nothing, as the service has nothing for this client"),
            "{acked}"
        );

        let client = kea.client().with(82, sub_option(1, b"bad\0"));
        client.exchange();
        let acked = line(&client);
        assert!(
            acked.contains("circuit-id 0x62616400 gets an ACK with nothing, as the lookup failed")
        );
        let failed = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr()]);
        assert!(failed.ends_with("(the client gets a reply without edits)"), "{failed}");

        // A client that is not looked up has no line.
        let nameless = kea.client();
        nameless.exchange();
        let end = kea.stop();
        let has_line =
            |line: &String| line.contains("REMOPTS_ACKED") && line.contains(&nameless.hwaddr());
        assert!(!end.log.iter().any(has_line));
    });
}

/// Who reads the log at night finds out what clients get while a service is down, and afterwards
/// whom it touched.
#[test]
fn an_outage_is_told_with_what_clients_got_instead() {
    in_both_modes(|threads| {
        let good = Answer::json(json!({"224": "somestring"}));
        let service = Service::answering(good.clone().cache_control("max-age=1"));
        let kea =
            Setup::new(threads).hook(json!({"url": service.url("/"), "on-error": "drop"})).start();
        let old = kea.client().with(82, port(1));
        old.exchange();
        // Until its answer is stale.
        let is_stale = || {
            let kept = kea
                .command_with("remote-opts-cache-get", json!({"sub-options": {"1": "00000001"}}));
            kept.unwrap()["arguments"]["fresh-for"] == 0
        };
        wait_until("a stale answer", is_stale);
        service.answer(Answer::status(500, ""));
        old.exchange();
        let failed = kea.logged(&["REMOPTS_LOOKUP_FAILED", &old.hwaddr()]);
        assert!(failed.ends_with("(the client gets its last answer)"), "{failed}");
        for number in 2..4 {
            let new = kea.client().with(82, port(number));
            new.send_discover();
            let failed = kea.logged(&["REMOPTS_LOOKUP_FAILED", &new.hwaddr()]);
            assert!(failed.ends_with("(a new client gets no reply)"), "{failed}");
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        // Another reason is worth a line.
        service.answer(Answer::status(503, ""));
        let line = kea.logged(&["REMOPTS_SERVICE_STILL_DOWN", "503", &service.url("/")]);
        assert!(line.starts_with("WARN") && line.contains(" a service is down for "), "{line}");
        old.exchange();
        kea.client().with(82, port(9)).send_discover();
        wait_until("a packet without a reply", || {
            kea.statistic("remote-opts-failures-no-service-up") >= Some(2)
        });
        service.answer(good);
        let line = kea.logged(&["REMOPTS_SERVICE_UP", &service.url("/")]);
        let words = " seconds; meanwhile packets that got their last answer: 1, a reply without edits: 0, \
                     no reply: ";
        assert!(line.contains(words), "{line}");
    });
}

/// The line at load names what an operator asks first.
#[test]
fn the_line_at_load_names_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let cache = folder.path().join("cache");
    let plain = Setup::new(Threads::One).hook(json!({"url": "http://127.0.0.1:1/"})).start();
    let line = plain.logged(&["REMOPTS_LOADED"]);
    for words in [
        "on-error is continue, on-miss is wait; up to 10000 answers are kept, fresh for 10 s and \
         stale for 86400 s where the service does not say, in memory alone",
        "without a token and without a client certificate",
    ] {
        assert!(line.contains(words), "{line}");
    }
    let parameters = json!({
        "url": "http://127.0.0.1:1/", "on-error": "drop", "on-miss": "retry", "cache-ttl": 60,
        "cache-size": 5, "stale-if-error": 7, "cache-file": cache, "bearer-token-file": token,
    });
    let line = Setup::new(Threads::One).hook(parameters).start().logged(&["REMOPTS_LOADED"]);
    let in_file = format!("in {}; with a token", cache.display());
    for words in [
        "on-error is drop, on-miss is retry; up to 5 answers are kept, fresh for 60 s and stale for \
         7 s where the service does not say, ",
        &in_file,
    ] {
        assert!(line.contains(words), "{line}");
    }
}
