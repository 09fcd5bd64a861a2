// SPDX-License-Identifier: MPL-2.0
//! What the service's answer does to the DHCP reply.

use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::{FOO_BAR, in_both_modes};
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};

#[test]
fn options_are_added_to_offer_and_ack() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring", "66": "0.0.0.0"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(224).as_deref(), Some(&b"somestring"[..]));
            assert_eq!(reply.option(66).as_deref(), Some(&b"0.0.0.0"[..]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn an_option_that_kea_sends_already_is_replaced_and_there_once() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"66": "from the service"}));
        let setup = Setup::new(threads).option("tftp-server-name", "from the configuration");
        let kea = setup.hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().exchange() {
            assert_eq!(reply.option(66).as_deref(), Some(&b"from the configuration"[..]));
        }
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(66).as_deref(), Some(&b"from the service"[..]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn nothing_else_of_the_reply_is_touched() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let setup = Setup::new(threads).option("domain-name", "example.org");
        let kea = setup.hook(json!({"url": service.url("/"), "cache-ttl": 0})).start();
        let client = kea.client().with(82, FOO_BAR);
        client.exchange(); // From now on the client has a lease, and its replies do not vary.
        let plain = client.exchange();
        service.answer(Answer::json(json!({"224": "somestring"})));
        for (plain, reply) in plain.iter().zip(client.exchange()) {
            assert_eq!(reply.address(), plain.address());
            let mut options = reply.options();
            options.retain(|(code, _)| *code != 224);
            assert_eq!(options, plain.options());
            assert_eq!(reply.option(224).as_deref(), Some(&b"somestring"[..]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn values_arrive_byte_for_byte() {
    in_both_modes(|threads| {
        let long = "0123456789".repeat(40);
        let service = Service::json(json!({
            "224": long,
            "225": "größer, 大きい, \u{1f967}",
            "226": "\"quotes\", \\ and \u{0}\u{7f}\n",
            // Commas and backslashes are part of the text. Sub-options may come in one piece.
            "12": "a, b",
            "67": " c\\,d ",
            "43": "\u{6}\u{1}x",
        }));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(224).as_deref(), Some(long.as_bytes()));
            assert_eq!(reply.option(225).as_deref(), Some("größer, 大きい, \u{1f967}".as_bytes()));
            assert_eq!(reply.option(226).as_deref(), Some(&b"\"quotes\", \\ and \0\x7f\n"[..]));
            assert_eq!(reply.option(12).as_deref(), Some(&b"a, b"[..]));
            assert_eq!(reply.option(67).as_deref(), Some(&b" c\\,d "[..]));
            assert_eq!(reply.option(43).as_deref(), Some(&b"\x06\x01x"[..]));
        }
        kea.stop().assert_clean();
    });
}

/// Kea's raw sockets, its default, send one Ethernet frame: a longer reply would be lost as a
/// whole.
#[test]
fn a_value_that_does_not_fit_into_an_ethernet_frame_costs_only_itself() {
    in_both_modes(|threads| {
        let fits = "x".repeat(1000);
        let service = Service::json(
            json!({"224": "x".repeat(1500), "225": fits, "226": fits, "66": "short"}),
        );
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let client = kea.client().with(82, FOO_BAR);
        for reply in client.exchange() {
            assert_eq!(reply.option(224), None);
            assert_eq!(reply.option(225).as_deref(), Some(fits.as_bytes()));
            assert_eq!(reply.option(226), None);
            assert_eq!(reply.option(66).as_deref(), Some(&b"short"[..]));
        }
        for key in ["224", "226"] {
            kea.logged(&[
                "REMOPTS_EDIT_REFUSED",
                &client.hwaddr(),
                &format!("\"{key}\": \"xxx"),
                "frame",
            ]);
        }
        assert!(kea.stop().status.success());
    });
}

/// The limit is exact, and an option that is replaced or removed makes room.
#[test]
fn a_reply_may_fill_an_ethernet_frame() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let configured = "configured/".repeat(60);
        let kea = Setup::new(threads)
            .option("boot-file-name", &configured)
            .hook(json!({"url": service.url("/"), "cache-ttl": 0}))
            .start();
        let client = kea.client().with(82, FOO_BAR);
        service.answer(Answer::json(json!({"67": null})));
        let room = 1472 - client.discover().length();
        // Each 253 bytes of a value have a header of two bytes.
        let fits = room - 2 * room.div_ceil(255);
        for (key, rest) in [("224", json!({"67": null})), ("67", json!({}))] {
            for (length, there) in [(fits, true), (fits + 1, false)] {
                let (mut answer, value) = (rest.clone(), "y".repeat(length));
                answer[key] = json!(value);
                service.answer(Answer::json(answer));
                let offer = client.discover();
                let written =
                    offer.option(key.parse().unwrap()).as_deref() == Some(value.as_bytes());
                assert_eq!(written, there, "{key}: {length} bytes");
                assert_eq!(offer.length() == 1472, there, "{key}: {} bytes", offer.length());
            }
        }
        assert!(kea.stop().status.success());
    });
}

#[test]
fn a_long_value_of_the_configuration_is_replaced_as_a_whole() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"67": "short"}));
        let setup = Setup::new(threads).option("boot-file-name", &"configured/".repeat(40));
        let kea = setup.hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(67).as_deref(), Some(&b"short"[..]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn an_inform_is_answered_with_edits() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let reply = kea.client().with(82, FOO_BAR).inform();
        assert_eq!(reply.kind(), MessageType::Ack);
        assert_eq!(reply.option(224).as_deref(), Some(&b"somestring"[..]));
        kea.stop().assert_clean();
    });
}

#[test]
fn a_nak_gets_no_edits() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring", "56": "a message"}));
        let setup = Setup::new(threads).set("authoritative", json!(true));
        let kea = setup.hook(json!({"url": service.url("/")})).start();
        let client = kea.client().with(82, FOO_BAR);
        let reply = client.request_address([192, 0, 2, 1].into());
        assert_eq!(reply.kind(), MessageType::Nak);
        assert_eq!((reply.option(224), reply.option(56)), (None, None));
        // Another reply to the same client does carry option 224.
        assert!(client.discover().option(224).is_some());
        kea.stop().assert_clean();
    });
}

/// Lookups of many clients are under way at once, and each has its own answer.
#[test]
fn clients_do_not_get_each_other_s_answers() {
    in_both_modes(|threads| {
        let service = Service::scripted(|request| {
            Answer::json(json!({"224": request.target})).after(Duration::from_millis(20))
        });
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let clients =
            (0..20).map(|number| kea.client().with(82, [1, 1, number])).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        for (number, client) in clients.iter().enumerate() {
            let own = format!("/?sub82_1={number:02X}");
            assert_eq!(client.reply("DISCOVER").option(224), Some(own.into_bytes()));
        }
        kea.stop().assert_clean();
    });
}

/// Each edit that is refused has a line in the log. All other edits are applied.
#[test]
fn an_edit_that_cannot_be_written_costs_only_itself() {
    let keys = [
        "bogus",
        "",
        "0",
        "-1",
        "255",
        "256",
        "65602",
        "4294967362",
        "66.0",
        "+66",
        " 66", // The keys up to here are no codes of options.
        "50",
        "51",
        "52",
        "53",
        "54",
        "55",
        "57",
        "58",
        "59",
        "61",
        "82", // The options from 50 on carry the protocol itself.
    ];
    let values = [
        json!([12345]),
        json!({"hex": "0"}),
        json!({"6": [1]}),
        json!(["a", "b"]),
        json!([true]),
        json!({}),
    ];
    in_both_modes(|threads| {
        let mut answer = json!({"224": "somestring", "66": "0.0.0.0"});
        for key in keys {
            answer[key] = json!(format!("for <{key}>"));
        }
        for (code, value) in (230..).zip(&values) {
            answer[code.to_string()] = value.clone();
        }
        let service = Service::json(json!({}));
        let kea =
            Setup::new(threads).hook(json!({"url": service.url("/"), "cache-ttl": 0})).start();
        let client = kea.client().with(82, FOO_BAR);
        client.exchange();
        let plain = client.discover();
        service.answer(Answer::json(answer));
        let offer = client.discover();

        let refused = |key: &str, value: &str| assert_refused(&kea, &client.hwaddr(), key, value);
        keys.iter().for_each(|key| refused(key, &json!(format!("for <{key}>")).to_string()));
        (230..)
            .zip(&values)
            .for_each(|(code, value)| refused(&code.to_string(), &value.to_string()));

        assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
        assert_eq!(offer.option(66).as_deref(), Some(&b"0.0.0.0"[..]));
        let mut options = offer.options();
        options.retain(|(code, _)| ![224, 66].contains(code));
        assert_eq!(options, plain.options());
        let end = kea.stop();
        assert!(end.status.success());
        assert_eq!(end.complaints().len(), keys.len() + values.len(), "{:#?}", end.complaints());
    });
}

/// Looks for the line of the log about one member of an answer that is refused.
fn assert_refused(kea: &Kea, hwaddr: &str, key: &str, value: &str) {
    let key = Value::from(key).to_string();
    let line = kea.logged(&["REMOPTS_EDIT_REFUSED", hwaddr, &key, value]);
    assert!(line.starts_with("WARN"), "{line}");
}

/// A key cannot forge lines of the log.
#[test]
fn a_refused_key_stays_on_its_line() {
    let service = Service::json(json!({"one\ntwo": "three\r\nfour"}));
    let kea = Setup::new(Threads::One).hook(json!({"url": service.url("/")})).start();
    kea.client().with(82, FOO_BAR).discover();
    let line = kea.logged(&["REMOPTS_EDIT_REFUSED", "one", "two", "three", "four"]);
    assert!(!line.contains('\r'), "{line}");
}

#[test]
fn an_empty_answer_is_an_answer() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        kea.client().with(82, FOO_BAR).exchange();
        assert_eq!(service.asked(), 1);
        kea.stop().assert_clean();
    });
}

/// The contract asks for status 200 and a JSON object. Many services send files with another type.
#[test]
fn the_content_type_of_an_answer_does_not_matter() {
    in_both_modes(|threads| {
        let headers = vec![("Content-Type".to_string(), "application/octet-stream".to_string())];
        let service = Service::answering(Answer::Whole {
            status: 200,
            headers,
            body: b" {\"224\":\n\"x\"}\n".to_vec(),
        });
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        assert_eq!(
            kea.client().with(82, FOO_BAR).discover().option(224).as_deref(),
            Some(&b"x"[..])
        );
        kea.stop().assert_clean();
    });
}
