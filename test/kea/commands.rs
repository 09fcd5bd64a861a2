// SPDX-License-Identifier: MPL-2.0
//! The library's commands on Kea's control socket: each one good and bad.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{FOO_BAR, about, in_both_modes, median, on_miss_for_many, port, size};
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::wait_until;

/// A server that asks this service. Answers are fresh for a long time.
fn setup(threads: Threads, service: &Service, parameters: Value) -> Setup {
    let mut all = json!({"url": service.url("/"), "cache-ttl": 600});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    Setup::new(threads).hook(all)
}

/// The response to a command of the library: its result, text and arguments.
fn run(kea: &Kea, command: &str, arguments: Value) -> (i64, String, Value) {
    let name = format!("remote-opts-{command}");
    let response = kea.command_with(&name, arguments).expect("a response");
    let text = response["text"].as_str().unwrap_or_else(|| panic!("no text: {response}"));
    let result = response["result"].as_i64().expect("a result");
    (result, text.to_owned(), response["arguments"].clone())
}

/// The arguments of the response to a command that must succeed.
#[track_caller]
fn good(kea: &Kea, command: &str, arguments: Value) -> Value {
    let (result, text, arguments) = run(kea, command, arguments);
    assert_eq!(result, 0, "{command}: {text}");
    arguments
}

/// Checks that a command finds nothing.
#[track_caller]
fn assert_empty(kea: &Kea, command: &str, arguments: Value) {
    let (result, text, _) = run(kea, command, arguments);
    assert_eq!(result, 3, "{command}: {text}");
}

/// Checks that a command is refused, and that the text has these words.
#[track_caller]
fn assert_refused(kea: &Kea, command: &str, arguments: Value, words: &[&str]) {
    let (result, text, none) = run(kea, command, arguments.clone());
    assert_eq!(result, 1, "{command} {arguments}: {text}");
    assert_eq!(none, Value::Null, "{command}");
    for words in words {
        assert!(text.contains(words), "{command} {arguments}: {text}");
    }
}

/// The argument `sub-options` for a client behind this [`port`].
fn at_port(number: u32) -> Value {
    json!({"sub-options": {"1": format!("{number:08x}")}})
}

/// The arguments of `remote-opts-cache-insert` for a client behind this [`port`].
fn inserted(number: u32, answer: Value) -> Value {
    let mut arguments = at_port(number);
    arguments["answer"] = answer;
    arguments["fresh-for"] = json!(600);
    arguments
}

#[test]
fn kea_lists_the_commands_and_takes_them_after_a_reload() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        for _ in 0..2 {
            let list = kea.command("list-commands").unwrap()["arguments"].clone();
            let list = list.as_array().expect("a list");
            let ours = list.iter().filter_map(Value::as_str);
            assert_eq!(ours.filter(|name| name.starts_with("remote-opts-")).count(), 9, "{list:?}");
            good(&kea, "status", json!({}));
            kea.reload().unwrap();
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn status_shows_the_services_and_what_is_kept() {
    in_both_modes(|threads| {
        let (service, second) = (Service::echo(), Service::echo());
        let parameters = json!({"url": [service.url("/"), second.url("/")]});
        let kea = setup(threads, &service, parameters).start();
        let status = good(&kea, "status", json!({}));
        assert_eq!(status["version"], "0.1.0");
        assert_eq!(status["services"][0]["url"], service.url("/"));
        assert_eq!(status["services"][0]["state"], "up");
        assert_eq!(status["services"][0].get("last-answer-ago"), None);
        assert_eq!(status["files"]["paths"], json!([]));
        assert!(status["files"]["read-ago"].is_u64(), "{status}");

        kea.client().with(82, FOO_BAR).discover();
        second.answer(Answer::status(404, ""));
        service.answer(Answer::status(500, ""));
        for number in 0..3 {
            kea.client().with(82, port(number)).discover();
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        let status = good(&kea, "status", json!({}));
        let [first, other] = [0, 1].map(|index| status["services"][index].clone());
        assert_eq!((&first["state"], &other["state"]), (&json!("down"), &json!("up")), "{status}");
        assert_eq!(first["last-failure"]["reason"], "status 500 Internal Server Error");
        assert!(first["last-failure"]["ago"].is_u64(), "{status}");
        assert!(first["last-answer-ago"].is_u64(), "{status}");
        assert!(other["last-answer-ago"].is_u64(), "{status}");
        assert_eq!(other.get("last-failure"), None);
        let cache = &status["cache"];
        assert_eq!((&cache["answers"], &cache["answers-with-nothing"]), (&json!(1), &json!(3)));
        assert!(cache["bytes"].as_u64() > Some(0) && cache["unfinished-exchanges"] == 4, "{cache}");

        second.answer(Answer::status(503, "").header("Retry-After", "200"));
        kea.client().with(82, port(9)).discover();
        let status = good(&kea, "status", json!({}));
        assert_eq!(status["services"][1]["state"], "paused", "{status}");
        let left = status["services"][1]["paused-for"].as_u64().expect("seconds");
        assert!((150..=200).contains(&left), "{left}");
        assert_eq!(status["back-offs"], 1, "{status}");
        assert_refused(&kea, "status", json!({"verbose": true}), &["\"verbose\"", "no arguments"]);
    });
}

#[test]
fn status_shows_what_is_under_way_at_once() {
    in_both_modes(|threads| {
        let service = Service::echo();
        service.hold();
        let parameters =
            json!({"max-in-flight": 2, "timeout": 60_000, "on-miss": on_miss_for_many()});
        let kea = setup(threads, &service, parameters).set("parked-packet-limit", json!(0)).start();
        let clients: Vec<_> = (0..20).map(|number| kea.client().with(82, port(number))).collect();
        for client in &clients {
            client.send_discover();
        }
        let mut status = Value::Null;
        wait_until("twenty lookups under way", || {
            status = good(&kea, "status", json!({}));
            status["in-flight"] == 2 && status["in-line"] == 18
        });
        let parked = if on_miss_for_many() == "wait" { 20 } else { 0 };
        assert_eq!(status["parked"], parked, "{status}");
        service.release();
    });
}

/// The median of the processor time that Kea takes for a command, with the time of every thread for
/// whose lock the command waits. The time on a clock would say more of what else the machine does.
fn time_of(kea: &Kea, command: &str, arguments: &Value) -> Duration {
    let run = || {
        let before = kea.processor_time();
        run(kea, command, arguments.clone());
        kea.processor_time() - before
    };
    median((0..9).map(|_| run()).collect())
}

#[test]
fn commands_answer_quickly_while_thousands_of_lookups_stand_in_line() {
    const QUICK: Duration = Duration::from_millis(100);
    let (lookups, answers) = (size("REMOPTS_CLIENTS", 5000), size("REMOPTS_ANSWERS", 2000));
    in_both_modes(|threads| {
        let service = Service::echo();
        let parameters =
            json!({"max-in-flight": 2, "timeout": 600_000, "on-miss": on_miss_for_many()});
        let limit = json!(lookups + 1000);
        let kea = setup(threads, &service, parameters).set("parked-packet-limit", limit).start();
        for number in 0..answers {
            good(&kea, "cache-insert", inserted(1_000_000 + number, json!({"224": "x"})));
        }
        service.hold();
        for number in 0..lookups {
            kea.client().with(82, port(number)).send_discover();
            // Kea's socket and queue have no room for all at once.
            if number % 25 == 24 {
                wait_until("the lookups under way", || {
                    let status = good(&kea, "status", json!({}));
                    let under_way = status["in-flight"].as_u64().zip(status["in-line"].as_u64());
                    under_way.map(|(in_flight, in_line)| in_flight + in_line)
                        == Some(u64::from(number) + 1)
                });
            }
        }
        let prefix = json!({"url-prefix": "http://no-such-service/"});
        for (command, arguments) in [
            ("status", json!({})),
            ("retry", json!({})),
            ("cache-get", at_port(1_000_000)),
            ("cache-list", json!({"limit": 500, "from": "start"})),
            ("cache-insert", inserted(9_000_000, json!({"224": "x"}))),
            ("cache-remove", prefix),
            ("cache-clear", json!({})),
        ] {
            let time = time_of(&kea, command, &arguments);
            println!("{command} {time:?} with {lookups} lookups under way and {answers} answers");
            assert!(time < QUICK, "{command}: {time:?}");
        }
        service.release();
    });
}

#[test]
fn a_client_gets_an_inserted_answer_and_no_service_is_asked() {
    in_both_modes(|threads| {
        let mut service = Service::echo();
        service.stop();
        let kea = setup(threads, &service, json!({})).start();
        let answer = json!({"options": {"224": "é", "0": "x"}});
        let reply = good(&kea, "cache-insert", inserted(7, answer.clone()));
        assert_eq!(reply["url"], service.url(&about(7)));
        let refused = reply["refused"].as_array().expect("a list");
        assert_eq!(refused.len(), 1, "{reply}");
        kea.logged(&["INFO", "REMOPTS_CACHE_CHANGED", "remote-opts-cache-insert", &about(7)]);
        let [offer, ack] = kea.client().with(82, port(7)).exchange();
        for reply in [offer, ack] {
            assert_eq!(reply.option(224).as_deref(), Some("é".as_bytes()));
        }
        assert_eq!(kea.statistic("remote-opts-cached"), Some(2));
        assert_eq!(service.asked(), 0);
        // Kea writes the text of responses byte by byte.
        let kept = good(&kea, "cache-get", at_port(7));
        assert_eq!(kept["answer"]["options"]["224"], "Ã©");
        // A later answer takes the place.
        good(&kea, "cache-insert", inserted(7, Value::Null));
        assert_eq!(kea.client().with(82, port(7)).discover().chain(), None);
    });
}

#[test]
fn a_parked_packet_gets_an_inserted_answer_at_once() {
    in_both_modes(|threads| {
        let service = Service::echo();
        service.hold();
        let parameters = json!({"timeout": 60_000, "on-miss": on_miss_for_many()});
        let kea = setup(threads, &service, parameters).start();
        let client = kea.client().with(82, port(1));
        client.send_discover();
        service.wait_until_open(1);
        good(&kea, "cache-insert", inserted(1, json!({"224": "inserted"})));
        // Where no packet waits, the client's next one finds the answer.
        if on_miss_for_many() == "retry" {
            client.send_discover_again();
        }
        assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("inserted"));
        service.release();
    });
}

#[test]
fn an_insert_that_cannot_be_is_refused() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let url = service.url("/{mac}/boot");
        let parameters = json!({"url": url, "query": {"mac": "hexstring(pkt4.mac, ':')"}});
        let kea = setup(threads, &service, parameters).start();
        let refused = |change: Value, words: &[&str]| {
            let mut arguments = inserted(1, json!({"224": "x"}));
            arguments["query"] = json!({"mac": "02:00"});
            for (name, value) in change.as_object().unwrap() {
                match value {
                    Value::String(text) if text == "absent" => {
                        arguments.as_object_mut().unwrap().remove(name);
                    }
                    value => arguments[name] = value.clone(),
                }
            }
            assert_refused(&kea, "cache-insert", arguments, words);
        };
        refused(json!({"answer": "absent"}), &["\"answer\"", "missing"]);
        refused(json!({"answer": "text"}), &["\"answer\"", "not an object"]);
        refused(json!({"answer": {"224": "x".repeat(65_536)}}), &["\"answer\"", "65536 bytes"]);
        refused(json!({"fresh-for": "absent"}), &["\"fresh-for\"", "missing", "1 to 31536000"]);
        for wrong in [json!(0), json!(-1), json!(31_536_001), json!("60"), json!(1.5)] {
            refused(json!({"fresh-for": wrong}), &["\"fresh-for\"", "from 1 to 31536000"]);
        }
        refused(json!({"stale-for": -1}), &["\"stale-for\"", "from 0 to 31536000"]);
        refused(json!({"sub-options": {"6": "00"}}), &["\"sub-options\"", "1, 2 and 9"]);
        refused(json!({"query": {"name": "x"}}), &["\"name\"", "mac"]);
        refused(json!({"query": {"mac": ".."}}), &["another path"]);
        refused(json!({"sub-options": {}, "query": {}}), &["name nobody"]);
        refused(json!({"ttl": 60}), &["\"ttl\"", "unknown", "\"fresh-for\""]);
        assert_empty(&kea, "cache-list", json!({"limit": 10, "from": "start"}));
        let kea =
            setup(threads, &service, json!({"url": service.url("/"), "cache-size": 0})).start();
        assert_refused(&kea, "cache-insert", inserted(1, json!({})), &["cache-size"]);
    });
}

#[test]
fn a_kept_answer_is_shown_with_its_life() {
    in_both_modes(|threads| {
        let service = Service::answering(
            Answer::json(json!({"224": "somestring"}))
                .cache_control("max-age=500, stale-if-error=100"),
        );
        let parameters = json!({"query": {"mac": "hexstring(pkt4.mac, ':')", "raw": "pkt4.mac"}});
        let kea = setup(threads, &service, parameters).start();
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        let list = good(&kea, "cache-list", json!({"limit": 1, "from": "start"}));
        let [kept] = list["answers"].as_array().unwrap().as_slice() else { panic!("{list}") };
        assert_eq!(kept["sub-options"], json!({"1": "666F6F", "2": "626172"}));
        let named = json!({"sub-options": kept["sub-options"], "query": kept["query"]});
        let shown = good(&kea, "cache-get", named);
        assert_eq!(shown["answer"], json!({"224": "somestring"}));
        let fresh_for = shown["fresh-for"].as_u64().unwrap();
        assert!((400..=500).contains(&fresh_for), "{shown}");
        assert_eq!(shown["stale-for"], 100);
        assert!(shown["bytes"].as_u64() > Some(0), "{shown}");
        assert!(shown["url"].as_str().unwrap().starts_with(&service.url("/?sub82_1=666F6F")));
        // Without the values it is another request.
        assert_empty(&kea, "cache-get", json!({"sub-options": kept["sub-options"]}));
        assert_refused(&kea, "cache-get", json!({}), &["\"sub-options\"", "\"query\""]);
        assert_refused(&kea, "cache-get", json!({"url": "x"}), &["\"url\"", "\"sub-options\""]);
        assert_refused(&kea, "cache-get", json!({"query": {"mac": 7}}), &["\"query\"", "map"]);
    });
}

#[test]
fn pages_go_through_all_answers() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        for number in 0..250 {
            let answer = if number % 3 == 0 { json!({}) } else { json!({"224": "x"}) };
            good(&kea, "cache-insert", inserted(number, answer));
        }
        let (mut from, mut seen, mut pages) = (json!("start"), Vec::new(), 0);
        loop {
            let arguments = json!({"limit": 100, "from": from});
            let (result, text, page) = run(&kea, "cache-list", arguments);
            let answers = page["answers"].as_array().expect("a list").clone();
            assert_eq!(page["count"], answers.len());
            let Some(last) = answers.last() else {
                assert_eq!(result, 3, "{text}");
                break;
            };
            (from, pages) = (last["id"].clone(), pages + 1);
            seen.extend(answers.iter().map(|answer| answer["sub-options"]["1"].clone()));
        }
        let all: Vec<_> = (0..250).map(|number| json!(format!("{number:08X}"))).collect();
        assert_eq!((seen, pages), (all, 3));
        for (wrong, words) in [
            (json!({"from": "start"}), ["\"limit\"", "from 1 to 500"]),
            (json!({"from": "start", "limit": 0}), ["\"limit\"", "from 1 to 500"]),
            (json!({"from": "start", "limit": 501}), ["\"limit\"", "from 1 to 500"]),
            (json!({"limit": 10}), ["\"from\"", "\"start\""]),
            (json!({"limit": 10, "from": "end"}), ["\"from\"", "\"start\""]),
            (json!({"limit": 10, "from": -1}), ["\"from\"", "\"start\""]),
        ] {
            assert_refused(&kea, "cache-list", wrong, &words);
        }
    });
}

#[test]
fn a_removed_answer_is_asked_for_anew() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        let discover = |number| kea.client().with(82, port(number)).discover();
        let option_82 = |first: &str, second: u8| {
            [&[1, first.len() as u8], first.as_bytes(), &[2, 1, second]].concat()
        };
        (0..3).for_each(|number| drop(discover(number)));
        for second in [b'a', b'b'] {
            kea.client().with(82, option_82("sw1", second)).discover();
        }
        assert_eq!(service.asked(), 5);
        (0..3).for_each(|number| drop(discover(number)));
        assert_eq!(service.asked(), 5, "the answers are fresh");

        assert_eq!(good(&kea, "cache-remove", at_port(1)), json!({"count": 1}));
        kea.logged(&["INFO", "REMOPTS_CACHE_CHANGED", "remote-opts-cache-remove", "1 answers"]);
        assert_empty(&kea, "cache-remove", at_port(1));
        (0..3).for_each(|number| drop(discover(number)));
        assert_eq!(service.asked(), 6);

        let with = json!({"with-sub-options": {"1": "737731"}});
        assert_eq!(good(&kea, "cache-remove", with.clone()), json!({"count": 2}));
        assert_empty(&kea, "cache-remove", with);
        let prefix = json!({"url-prefix": service.url("/?sub82_1=0000000")});
        assert_eq!(good(&kea, "cache-remove", prefix.clone()), json!({"count": 3}));
        assert_empty(&kea, "cache-remove", prefix);
        assert_eq!(service.asked(), 6);
        discover(0);
        assert_eq!(service.asked(), 7);

        for (wrong, words) in [
            (json!({}), "\"url-prefix\""),
            (json!({"url-prefix": "x", "sub-options": {"1": "00"}}), "\"with-sub-options\""),
            (json!({"url-prefix": ""}), "\"url-prefix\""),
            (json!({"url-prefix": 7}), "\"url-prefix\""),
            (json!({"with-sub-options": {}}), "\"with-sub-options\""),
            (json!({"with-sub-options": {"1": "x"}}), "\"with-sub-options\""),
            (json!({"all": true}), "\"all\""),
        ] {
            assert_refused(&kea, "cache-remove", wrong, &[words]);
        }
    });
}

#[test]
fn a_cleared_cache_is_asked_for_anew() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        for number in 0..20 {
            kea.client().with(82, port(number)).discover();
        }
        assert_eq!(good(&kea, "cache-clear", json!({})), json!({"count": 20}));
        kea.logged(&["INFO", "REMOPTS_CACHE_CHANGED", "remote-opts-cache-clear", "20 answers"]);
        assert_empty(&kea, "cache-clear", json!({}));
        kea.client().with(82, port(3)).discover();
        assert_eq!(service.asked(), 21);
        assert_refused(&kea, "cache-clear", json!({"force": 1}), &["\"force\"", "no arguments"]);
    });
}

#[test]
fn answers_that_were_written_are_there_after_a_kill() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("answers");
        let mut service = Service::echo();
        let kea = setup(threads, &service, json!({"cache-file": file})).start();
        for number in 0..20 {
            kea.client().with(82, port(number)).discover();
        }
        assert!(!file.exists());
        let written = good(&kea, "cache-write", json!({}));
        assert_eq!(written, json!({"count": 20, "file": file}));
        kea.kill();
        kea.wait();
        service.stop();
        let kea = setup(threads, &service, json!({"cache-file": file})).start();
        kea.logged(&["REMOPTS_CACHE_FILE_READ", "20 kept answers"]);
        let offer = kea.client().with(82, port(3)).discover();
        assert_eq!(offer.chain(), Some(about(3)));
    });
}

#[test]
fn answers_that_cannot_be_written_are_an_error() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        assert_refused(&kea, "cache-write", json!({}), &["\"cache-file\""]);
        assert_refused(&kea, "cache-write", json!({"file": "x"}), &["\"file\"", "no arguments"]);
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("missing").join("answers");
        let kea = setup(threads, &service, json!({"cache-file": file})).start();
        assert_refused(&kea, "cache-write", json!({}), &["missing/answers", "No such file"]);
        kea.logged(&["ERROR", "REMOPTS_CACHE_FILE_NOT_WRITTEN"]);
    });
}

#[test]
fn a_retry_ends_back_offs_and_pauses() {
    in_both_modes(|threads| {
        let busy = Answer::status(503, "").header("Retry-After", "300");
        let service = Service::answering(busy);
        let kea = setup(threads, &service, json!({})).start();
        assert_eq!(kea.client().with(82, port(1)).discover().chain(), None);
        kea.logged(&["REMOPTS_SERVICE_PAUSED"]);
        service.answer(Answer::json(json!({"224": "somestring"})));
        assert_eq!(kea.client().with(82, port(1)).discover().chain(), None);
        let retried = good(&kea, "retry", json!({}));
        assert_eq!(retried, json!({"back-offs": 1, "pauses": 1, "probes": 0}));
        kea.logged(&["INFO", "REMOPTS_RETRIED", "1 back-offs and 1 pauses"]);
        let offer = kea.client().with(82, port(1)).discover();
        assert_eq!(offer.chain().as_deref(), Some("somestring"));
        assert_eq!(service.asked(), 2);
        assert_refused(&kea, "retry", json!({"service": 0}), &["\"service\"", "no arguments"]);
    });
}

/// A service that is down and wants to be left alone for minutes gets no regular probe.
#[test]
fn a_retry_probes_a_service_that_is_down() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(503, "").header("Retry-After", "300"));
        service.hold();
        let parameters = json!({"timeout": 60_000, "on-miss": on_miss_for_many()});
        let kea = setup(threads, &service, parameters).start();
        let clients: Vec<_> = (0..3).map(|number| kea.client().with(82, port(number))).collect();
        for client in &clients {
            client.send_discover();
        }
        service.wait_until_open(3);
        service.release();
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        service.answer(Answer::json(json!({"224": "somestring"})));
        let retried = good(&kea, "retry", json!({}));
        assert_eq!(retried, json!({"back-offs": 3, "pauses": 1, "probes": 1}));
        let up = kea.logged(&["REMOPTS_SERVICE_UP"]);
        assert!(up.starts_with("INFO"), "{up}");
        assert_eq!(good(&kea, "status", json!({}))["services"][0]["state"], "up");
    });
}

#[test]
fn a_lookup_shows_urls_and_what_each_edit_becomes() {
    in_both_modes(|threads| {
        let (service, second) = (Service::echo(), Service::echo());
        let urls = [service.url("/a"), second.url("/{mac}")];
        let parameters = json!({"url": urls, "query": {"mac": "hexstring(pkt4.mac, ':')"}});
        let kea = setup(threads, &service, parameters).start();
        let named = json!({"sub-options": {"1": "666f6f"}, "query": {"mac": "02:0c"}});
        let at = |path: &str, service: &Service| service.url(path);
        let lookup = good(&kea, "lookup", named.clone());
        assert_eq!(lookup["sub-options"], json!({"1": "666F6F"}));
        assert_eq!(lookup["services"][0]["url"], at("/a?sub82_1=666F6F&mac=02:0c", &service));
        assert_eq!(lookup["services"][1]["url"], at("/02:0c?sub82_1=666F6F", &second));
        assert_eq!((lookup.get("answer"), lookup.get("edits")), (None, None), "{lookup}");

        let mut arguments = named.clone();
        arguments["fresh-for"] = json!(600);
        arguments["answer"] = json!({
            "options": {
                "3": ["192.0.2.1", "192.0.2.2"], "6": "no address", "66": "tftp", "67": null,
                "43": {"6": 3}, "53": 1, "no-such-option": "x",
            },
            "next-server": "192.0.2.9",
        });
        good(&kea, "cache-insert", arguments);
        let (_, text, lookup) = run(&kea, "lookup", named);
        assert!(text.contains("fresh"), "{text}");
        assert!(lookup["fresh-for"].as_u64() > Some(0) && lookup["answer"].is_object(), "{lookup}");
        let edits = lookup["edits"].as_array().expect("a list").clone();
        assert_eq!(edits.len(), 8, "{lookup}");
        let edit = |key: &str| {
            let is_of_key = |edit: &&Value| {
                edit["member"]
                    .as_str()
                    .is_some_and(|member| member.starts_with(&format!("{key:?}")))
            };
            edits.iter().find(is_of_key).unwrap_or_else(|| panic!("no {key}: {lookup}"))
        };
        assert_eq!(
            (&edit("3")["code"], &edit("3")["hex"]),
            (&json!(3), &json!("C0000201C0000202"))
        );
        assert_eq!((&edit("66")["code"], &edit("66")["hex"]), (&json!(66), &json!("74667470")));
        assert_eq!(edit("43")["hex"], "060133");
        assert_eq!(edit("67")["removed"], 67);
        assert_eq!(edit("next-server")["header-field"], true);
        for refused in ["6", "53", "no-such-option"] {
            let edit = edit(refused);
            assert!(edit["reason"].is_string() && edit.get("hex").is_none(), "{edit}");
        }
        assert_eq!(service.asked() + second.asked(), 0);
        kea.stop().assert_clean();
    });
}

/// Bytes in hexadecimal.
fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_lookup_of_a_packet_says_whether_its_client_is_looked_up_and_what_names_it() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let parameters = json!({"user-class": "iPXE", "match": "member('rack')"});
        let kea = setup(threads, &service, parameters)
            .set("client-classes", json!([{"name": "rack", "test": "option[60].text == 'rack'"}]))
            .start();
        let packet = |client: &Client| json!({"packet": digits(&client.discover_on_the_wire())});
        let lookup = |client: &Client| good(&kea, "lookup", packet(client));
        for (code, value) in [(77, "iPXE"), (60, "rack")] {
            let client = kea.client().with(code, value).with(82, FOO_BAR);
            let shown = lookup(&client);
            assert_eq!(shown["packet"], json!({"looked-up": true}), "{shown}");
            assert_eq!(shown["sub-options"], json!({"1": "666F6F", "2": "626172"}));
        }
        let refused = lookup(&kea.client().with(77, "other").with(82, FOO_BAR));
        assert_eq!(refused["packet"]["looked-up"], false);
        let reason = refused["packet"]["reason"].as_str().expect("a reason");
        assert!(reason.contains("no filter") && reason.contains("\"other\""), "{reason}");
        assert_eq!(refused.get("services"), None);
        let unnamed = lookup(&kea.client().with(77, "iPXE"));
        let reason = unnamed["packet"]["reason"].as_str().expect("a reason");
        assert!(reason.contains("nothing names"), "{reason}");
        let mut release = kea.client().with(82, FOO_BAR).discover_on_the_wire();
        // The value of option 53, which is the first option.
        release[242] = 7;
        let shown = good(&kea, "lookup", json!({"packet": digits(&release)}));
        assert!(shown["packet"]["reason"].to_string().contains("type 7"), "{shown}");
        assert_eq!(service.asked(), 0);
    });
}

#[test]
fn a_fresh_lookup_asks_in_the_background_and_the_next_one_shows_the_answer() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "old"}));
        let kea = setup(threads, &service, json!({"timeout": 60_000})).start();
        kea.client().with(82, port(1)).discover();
        service.answer(Answer::json(json!({"224": "new"})));
        service.hold();
        let mut fresh = at_port(1);
        fresh["fresh"] = json!(true);
        let (result, text, shown) = run(&kea, "lookup", fresh);
        assert_eq!((result, &shown["answer"]["224"]), (0, &json!("old")));
        assert!(text.contains("is being asked"), "{text}");
        service.wait_until_open(1);
        // Nobody waits: Kea answers clients from what is kept.
        assert_eq!(kea.client().with(82, port(1)).discover().chain().as_deref(), Some("old"));
        service.release();
        wait_until("the new answer", || good(&kea, "lookup", at_port(1))["answer"]["224"] == "new");
        assert_eq!(kea.client().with(82, port(1)).discover().chain().as_deref(), Some("new"));
        assert_eq!(service.asked(), 2);
    });
}

#[test]
fn a_lookup_that_cannot_be_is_refused() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        for (wrong, words) in [
            (json!({}), "\"packet\""),
            (json!({"packet": "00"}), "DHCPv4 message"),
            (json!({"packet": "x"}), "DHCPv4 message"),
            (json!({"packet": 7}), "DHCPv4 message"),
            (json!({"packet": "00", "sub-options": {"1": "00"}}), "beside it"),
            (json!({"sub-options": {"1": "00"}, "fresh": 1}), "\"fresh\""),
            (json!({"sub-options": {"1": "00"}, "wait": true}), "\"wait\""),
        ] {
            assert_refused(&kea, "lookup", wrong, &[words]);
        }
        assert_eq!(service.asked(), 0);
    });
}
