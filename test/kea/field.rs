// SPDX-License-Identifier: MPL-2.0
//! What real machines, switches and services send: cases that were found in public, each as the
//! kind that it stands for.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{FOO_BAR, in_both_modes};
use remote_opts_test_support::dhcp::{Client, Reply, port};
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, about, echo};

/// A server that asks this service about every client, each time anew.
fn asking(threads: Threads, service: &Service, more: Value) -> Kea {
    let mut parameters = json!({"url": service.url("/"), "cache-ttl": 0});
    parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Setup::new(threads).hook(parameters).start()
}

/// The OFFER and the ACK of a client behind a port, for this answer.
fn replies_to(kea: &Kea, service: &Service, answer: impl Into<Vec<u8>>) -> [Reply; 2] {
    service.answer(Answer::text(answer));
    kea.client().with(82, FOO_BAR).exchange()
}

#[test]
fn a_number_or_a_boolean_without_a_definition_is_its_text() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": 5, "225": true, "226": -1.5, "43": {"1": 7}}));
        let kea = asking(threads, &service, json!({}));
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(224).as_deref(), Some(&b"5"[..]));
            assert_eq!(reply.option(225).as_deref(), Some(&b"true"[..]));
            assert_eq!(reply.option(226).as_deref(), Some(&b"-1.5"[..]));
            assert_eq!(reply.option(43).as_deref(), Some(&b"\x01\x017"[..]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn hexadecimal_in_each_form_of_option_data() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = asking(threads, &service, json!({}));
        for digits in [
            "0104c0000263",
            "0x0104c0000263",
            "01:04:c0:00:02:63",
            "01 04 c0 00 02 63",
            "1:4:c0:0:2:63",
        ] {
            for reply in replies_to(&kea, &service, json!({"43": {"hex": digits}}).to_string()) {
                assert_eq!(reply.option(43), Some(vec![1, 4, 192, 0, 2, 99]), "{digits}");
            }
        }
        kea.stop().assert_clean();
    });
}

/// Each is what some framework sends for a record that does not exist.
#[test]
fn a_service_has_many_words_for_nothing() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = asking(threads, &service, json!({}));
        for (number, body) in
            ["", " \r\n", "null", "[]", "{}", "\u{feff}", "\u{feff}{}"].iter().enumerate()
        {
            service.answer(Answer::text(*body));
            let unknown = kea.client().with(82, port(number as u32));
            for reply in unknown.exchange() {
                assert_eq!(reply.option(224), None, "{body:?}");
            }
        }
        // The service is not given up, and no client waits.
        for reply in replies_to(&kea, &service, r#"{"224": "known"}"#) {
            assert_eq!(reply.chain().as_deref(), Some("known"));
        }
        assert_eq!(kea.statistic("remote-opts-failed"), Some(0));
        kea.stop().assert_clean();
    });
}

#[test]
fn a_refusal_of_some_clients_costs_others_nothing() {
    in_both_modes(|threads| {
        let service = Service::scripted(|request| match request.target.as_str() {
            "/?sub82_1=00000064" => echo(request),
            target if target.ends_with('1') => Answer::status(422, r#"{"detail": "no port"}"#),
            _ => Answer::status(403, ""),
        });
        let kea = asking(threads, &service, json!({}));
        for number in 1..=6 {
            assert_eq!(kea.client().with(82, port(number)).discover().chain(), None);
        }
        assert_eq!(kea.client().with(82, port(100)).discover().chain(), Some(about(100)));
    });
}

#[test]
fn a_byte_order_mark_is_skipped() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = asking(threads, &service, json!({}));
        for reply in replies_to(&kea, &service, "\u{feff}{\"224\": \"marked\"}") {
            assert_eq!(reply.chain().as_deref(), Some("marked"));
        }
        kea.stop().assert_clean();
    });
}

/// The library offers gzip, and reads it also from a service that did not look.
#[test]
fn a_compressed_answer_is_read_and_an_unknown_coding_is_named() {
    in_both_modes(|threads| {
        let body = &include_bytes!("../../core/src/http/squeezed.json.gz")[..];
        let service = Service::answering(Answer::text(body).header("Content-Encoding", "gzip"));
        let classes = json!([{"name": "squeezed", "option-data": [
            {"name": "boot-file-name", "data": "squeezed.ipxe", "always-send": true},
        ]}]);
        let parameters = json!({"url": service.url("/"), "cache-ttl": 0});
        let kea = Setup::new(threads).set("client-classes", classes).hook(parameters).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(67).as_deref(), Some(&b"squeezed.ipxe"[..]));
        }
        service.answer(Answer::text(body).header("Content-Encoding", "br"));
        kea.client().with(82, FOO_BAR).discover();
        kea.logged(&["REMOPTS_LOOKUP_FAILED", "Content-Encoding is br, and only gzip is known"]);
    });
}

#[test]
fn a_redirect_names_where_the_service_is() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::redirect("/api/dhcp/?sub82_1=666F6F".to_owned()));
        let kea = asking(threads, &service, json!({}));
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
        let location =
            "status 302 Found to /api/dhcp/?sub82_1=666F6F, and redirects are not followed";
        kea.logged(&["REMOPTS_LOOKUP_FAILED", location]);
        assert_eq!(service.asked(), 1);
    });
}

/// A packet or a service cannot write a line of its own into Kea's log.
#[test]
fn text_from_outside_enters_the_log_escaped() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::redirect("/\u{85}REMOPTS_UNLOADED".to_owned()));
        let parameters = json!({
            "query": {"host": "option[12].hex", "vendor": "option[60].hex"}, "user-class": "test",
            "url": service.url("/{host}/"), "cache-ttl": 0,
        });
        let kea = Setup::new(threads).debug("remote-opts-hooks").hook(parameters).start();
        let client = |host: &str| kea.client().with(82, FOO_BAR).with(77, "test").with(12, host);
        client("a").discover();
        kea.logged(&["REMOPTS_LOOKUP_FAILED", r"to /\u{85}REMOPTS_UNLOADED"]);
        // The words of Kea's own parser of expressions, of a path, and of a filter.
        client("..").with(60, "x\r\nREMOPTS_UNLOADED\n").discover();
        kea.logged(&["REMOPTS_PATH_VALUE", r#"the value of "host" is "..""#]);
        kea.client().with(82, FOO_BAR).with(77, "x\nREMOPTS_UNLOADED \x1b[0m").discover();
        kea.logged(&["REMOPTS_NOT_ADMITTED", r"x\nREMOPTS_UNLOADED \x1b[0m"]);
        // Kea looks for its placeholders in what a line says, too.
        client("<2>").with(60, "=").discover();
        kea.logged(&["REMOPTS_LOOKUP ", "/<2>/", "vendor=="]);
        client("02:0c").discover();
        kea.logged(&["REMOPTS_LOOKUP ", "/02:0c/"]);
        let log = kea.log();
        assert!(!log.iter().any(|line| line.starts_with("REMOPTS") || line.contains('\x1b')));
        assert!(!log.iter().any(|line| line.contains("@@")), "{log:#?}");
    });
}

/// A service that gives each of these responses once, and then begins again: a whole response as it
/// is on the wire, and whether the service closes the connection after it. Ends with the process.
fn raw_service(responses: &'static [(&'static str, bool)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let next = Arc::new(AtomicUsize::new(0));
    let serve = move |mut stream: TcpStream| {
        let requests = BufReader::new(stream.try_clone()?).lines();
        for line in requests {
            // A request ends with an empty line.
            if !line?.is_empty() {
                continue;
            }
            let (response, closes) =
                responses[next.fetch_add(1, Ordering::SeqCst) % responses.len()];
            stream.write_all(response.as_bytes())?;
            if closes {
                break;
            }
        }
        io::Result::Ok(())
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            // The error says that Kea has closed the connection.
            thread::spawn(move || drop(serve(stream)));
        }
    });
    url
}

#[test]
fn services_that_bend_http_are_read() {
    const RESPONSES: &[(&str, bool)] = &[
        ("HTTP/1.0 200 OK\r\n\r\n{\"224\": \"read\"}", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"224\": \"read\"}", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nnull", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n", true),
    ];
    in_both_modes(|threads| {
        let parameters = json!({"url": raw_service(RESPONSES), "cache-ttl": 0});
        let kea = Setup::new(threads).hook(parameters).start();
        for _ in 0..3 {
            for (response, _) in RESPONSES {
                let [offer, ack] = kea.client().with(82, FOO_BAR).exchange();
                let expected = response.contains("read").then_some("read");
                assert_eq!(offer.chain().as_deref(), expected, "{response}");
                assert_eq!(ack.chain().as_deref(), expected, "{response}");
            }
        }
        assert_eq!(kea.statistic("remote-opts-failed"), Some(0));
        kea.stop().assert_clean();
    });
}

#[test]
fn an_option_beside_the_structured_members_is_applied_by_its_code_alone() {
    in_both_modes(|threads| {
        let service = Service::json(json!({
            "224": "beside", "next-server": "192.0.2.1", "routers": "192.0.2.2",
            "options": {"66": "inside"}, "66": "beside",
        }));
        let kea = asking(threads, &service, json!({}));
        let client = kea.client().with(82, FOO_BAR);
        for reply in client.exchange() {
            assert_eq!(reply.chain().as_deref(), Some("beside"));
            assert_eq!(reply.option(66).as_deref(), Some(&b"inside"[..]));
            assert_eq!((reply.next_server(), reply.option(3)), ([192, 0, 2, 1], None));
        }
        for (key, reason) in [("routers", "structured form"), ("66", "has this option already")] {
            kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), &format!("\"{key}\""), reason]);
        }
    });
}

#[test]
fn a_service_may_have_a_client_get_nothing() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "good"}));
        let parameters = json!({"url": service.url("/"), "cache-ttl": 600});
        let kea = Setup::new(threads).debug("remote-opts-hooks").hook(parameters).start();
        let known = kea.client().with(82, FOO_BAR);
        let [_, ack] = known.exchange();
        service.answer(Answer::json(json!({"drop": true, "options": {"224": "never"}})));
        let client = kea.client().with(82, port(1));
        assert!(client.discover_within(Duration::from_millis(300)).is_none());
        client.send_discover();
        // By the kept answer.
        kea.logged(&["REMOPTS_DROPPED_BY_SERVICE", &client.hwaddr(), &client.tid()]);
        assert_eq!(service.asked(), 2);
        // A client that renews gets nothing, either: the service has said so.
        let renewing = known.without(82).with(82, port(1));
        renewing.send_renewal(&ack);
        kea.logged(&["REMOPTS_DROPPED_BY_SERVICE", &renewing.hwaddr(), &renewing.tid()]);
        // What is answered later has its reply: both clients would have had theirs.
        known.discover();
        assert!(!renewing.has_reply() && !client.has_reply());
        assert_eq!(kea.statistic("remote-opts-dropped-by-service"), Some(3));
        assert_eq!(kea.statistic("remote-opts-dropped"), Some(0));
        assert_eq!(kea.statistic("remote-opts-failed"), Some(0));
        kea.stop().assert_clean();
    });
}

/// The payloads of options that one of the versions of Kea, or each of them, has no definition of.
#[test]
fn well_known_options_leave_as_their_standards_say() {
    in_both_modes(|threads| {
        let service = Service::json(json!({
            "150": "192.0.2.10",
            "121": "10.0.0.0/8 - 192.0.2.1, 0.0.0.0/0 - 192.0.2.254",
            "120": ["192.0.2.3"],
            "142": "192.0.2.4, 192.0.2.5",
            "143": ["https://b.example"],
            "145": [1],
            "147": "dots.example",
            "148": ["192.0.2.6"],
            "152": 258,
            "211": "60",
        }));
        let kea = asking(threads, &service, json!({}));
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            for (code, payload) in [
                (150, &[192, 0, 2, 10][..]),
                (121, &[8, 10, 192, 0, 2, 1, 0, 192, 0, 2, 254]),
                (120, &[1, 192, 0, 2, 3]),
                (142, &[192, 0, 2, 4, 192, 0, 2, 5]),
                (143, b"\0\x11https://b.example"),
                (145, &[1]),
                (147, b"\x04dots\x07example\0"),
                (148, &[192, 0, 2, 6]),
                (152, &[0, 0, 1, 2]),
                (211, &[0, 0, 0, 60]),
            ] {
                assert_eq!(reply.option(code).as_deref(), Some(payload), "{code}");
            }
        }
        service.answer(Answer::json(json!({"options": {
            "classless-static-route": ["10.0.0.0/8 - 192.0.2.1"],
            "tftp-server-address": {"hex": "c000020b"},
            "120": "sip.example",
            "152": "soon",
            "148": "no address",
        }})));
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(offer.option(121), Some(vec![8, 10, 192, 0, 2, 1]));
        assert_eq!(offer.option(150), Some(vec![192, 0, 2, 11]));
        assert_eq!(offer.option(120).as_deref(), Some(&b"\0\x03sip\x07example\0"[..]));
        for code in [148, 152] {
            assert_eq!(offer.option(code), None);
            kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), &format!("\"{code}\"")]);
        }
    });
}

#[test]
fn a_definition_of_the_configuration_counts_before_a_well_known_one() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"150": "192.0.2.10"}));
        let kea = Setup::new(threads)
            .set("option-def", json!([{ "name": "tftp", "code": 150, "type": "string" }]))
            .hook(json!({"url": service.url("/")}))
            .start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(150).as_deref(), Some(&b"192.0.2.10"[..]));
        }
    });
}

#[test]
fn option_43_begins_and_ends_as_switches_and_raspberry_pis_need() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = asking(threads, &service, json!({}));
        for (sub_options, payload) in [
            (
                json!({"6": {"hex": "03"}, "10": {"hex": "00505845"}, "255": {"hex": ""}}),
                &b"\x06\x01\x03\x0a\x04\x00PXE\xff"[..],
            ),
            (json!({"0": "/images/j.tgz", "3": "http"}), b"\x00\x0d/images/j.tgz\x03\x04http"),
            (json!({"255": "", "1": "x"}), b"\x01\x01x\xff"),
        ] {
            let answer = json!({ "43": sub_options });
            service.answer(Answer::json(answer));
            for reply in kea.client().with(82, FOO_BAR).exchange() {
                assert_eq!(reply.option(43).as_deref(), Some(payload));
            }
        }
        // A sub-option 43 of another option is not option 43.
        service.answer(Answer::json(json!({"225": {"43": {"255": "x"}}})));
        let offer = kea.client().with(82, FOO_BAR).discover();
        assert_eq!(offer.option(225).as_deref(), Some(&b"\x2b\x03\xff\x01x"[..]));
        service.answer(Answer::json(json!({"43": {"255": "x"}})));
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.discover().option(43), None);
        kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), "sub-option 255 ends the option"]);
    });
}

#[test]
fn many_sub_options_take_as_few_options_as_their_bytes_need() {
    in_both_modes(|threads| {
        let sub_options = (1..=60_u8).map(|code| (code.to_string(), json!({"hex": "00010203"})));
        let service = Service::json(json!({"43": Value::Object(sub_options.collect())}));
        let kea = asking(threads, &service, json!({}));
        let without = kea.client().discover().length();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            let expected: Vec<_> = (1..=60).flat_map(|code| [code, 4, 0, 1, 2, 3]).collect();
            assert_eq!(reply.option(43), Some(expected));
        }
        let relay_information = 2 + FOO_BAR.len();
        let offer = kea.client().with(82, FOO_BAR).discover();
        assert_eq!(offer.length() - without - relay_information, 360 + 2 * 2, "two options");
        kea.stop().assert_clean();
    });
}

#[test]
fn the_space_of_option_43_of_a_class_is_used_for_a_class_of_the_configuration() {
    in_both_modes(|threads| {
        let service = Service::json(
            json!({"options": {"43": {"1": "192.0.2.98"}}, "client-classes": ["ubnt"]}),
        );
        let kea = Setup::new(threads)
            .set(
                "option-def",
                json!([{
                    "name": "unifi-address", "code": 1, "space": "ubnt", "type": "ipv4-address",
                }]),
            )
            .set(
                "client-classes",
                json!([{"name": "ubnt", "option-def": [{
                    "name": "vendor-encapsulated-options", "code": 43, "type": "empty",
                    "encapsulate": "ubnt",
                }]}]),
            )
            .hook(json!({"url": service.url("/")}))
            .start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(43), Some(vec![1, 4, 192, 0, 2, 98]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn an_address_in_a_sub_option_without_a_definition_is_text_and_a_line_says_so_once() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"43": {"1": "192.0.2.98", "2": "tftp"}}));
        let kea = asking(threads, &service, json!({}));
        for _ in 0..2 {
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.option(43).as_deref(), Some(&b"\x01\x0a192.0.2.98\x02\x04tftp"[..]));
        }
        kea.logged(&["REMOPTS_ADDRESS_AS_TEXT", "sub-option 1 of option 43", "192.0.2.98"]);
        assert_eq!(kea.count("REMOPTS_ADDRESS_AS_TEXT"), 1);
        kea.stop().assert_clean();
    });
}

const PXE: &str = "PXEClient:Arch:00000:UNDI:002001";

/// Raspberry Pis name themselves in the DISCOVER alone.
#[test]
fn an_ack_carries_what_its_offer_carried() {
    in_both_modes(|threads| {
        let service = Service::scripted(echo);
        let filters = [
            json!({"match": "substring(option[60].hex, 0, 9) == 'PXEClient'"}),
            // Without a filter, and the value of the request is missing.
            json!({"query": {"vendor": "option[60].hex"}}),
            // The value is needed for the path.
            json!({"query": {"vendor": "option[60].hex"}, "url": service.url("/{vendor}/")}),
        ];
        for more in filters {
            let kea = asking(threads, &service, more.clone());
            let client = kea.client().with(82, port(7)).with(60, PXE);
            let asked = service.asked();
            let offer = client.discover();
            assert!(offer.chain().is_some(), "{more}");
            let bare = client.without(60);
            let ack = bare.request(&offer);
            assert_eq!(ack.chain(), offer.chain(), "{more}");
            // The ACK may have been lost: the client sends its REQUEST again.
            assert_eq!(bare.request(&offer).chain(), offer.chain(), "{more}");
            assert_eq!(service.asked() - asked, 1, "{more}");
            // The exchange is over: what follows is a packet like any other.
            if more.get("match").is_some() {
                bare.send_renewal(&ack);
                assert_eq!(bare.reply("REQUEST").chain(), None, "{more}");
            }
            // A client behind another port, or behind no relay agent's port, is another client.
            let offer = client.discover();
            let moved = client.without(60).without(82);
            assert_eq!(moved.request(&offer).chain(), None, "{more}");
            let moved = client.without(82).with(82, port(8));
            assert_ne!(moved.request(&offer).chain(), offer.chain(), "{more}");
            // A DISCOVER of the same transaction that is not looked up has an OFFER without an
            // answer. So has the ACK.
            if more.get("match").is_some() {
                assert!(client.discover().chain().is_some());
                let bare = client.without(60);
                let offer = bare.discover_again();
                assert_eq!(offer.chain(), None);
                assert_eq!(bare.request(&offer).chain(), None, "{more}");
            }
            kea.stop();
        }
    });
}

/// With nothing but the value of a query to name it by, the REQUEST names nobody, or somebody else.
#[test]
fn an_ack_carries_what_its_offer_carried_whatever_else_the_request_says() {
    in_both_modes(|threads| {
        let service = Service::scripted(echo);
        let kea = asking(
            threads,
            &service,
            json!({
                "query": {"vendor": "option[60].hex", "host": "option[12].hex"},
            }),
        );
        let client = kea.client().with(60, PXE);
        let offer = client.discover();
        assert!(offer.chain().is_some());
        assert_eq!(client.without(60).request(&offer).chain(), offer.chain());
        let client = kea.client().with(60, PXE);
        let offer = client.discover();
        assert_eq!(client.without(0).with(12, "node7").request(&offer).chain(), offer.chain());
        assert_eq!(service.asked(), 2);
        kea.stop().assert_clean();
    });
}

const RPI4: &[u8] = b"\x00RPi4\x14\x10\x00\x00\xaa\xbb\xcc\xdd\x00\x11\x22\x33";

#[test]
fn filters_take_lists_and_every_form_of_a_guid() {
    in_both_modes(|threads| {
        for (filters, admitted) in [
            (json!({"machine-guid": "0x52506934"}), RPI4),
            (json!({"machine-guid": "52:50:69:34"}), RPI4),
            (json!({"machine-guid": "52 50 69 34"}), RPI4),
            (json!({"machine-guid": ["RPi5", "RPi4"]}), RPI4),
            (json!({"machine-guid": "52506934-1410-0000-aabb-ccdd00112233"}), RPI4),
            (json!({"machine-guid": "34695052-1014-0000-AABB-CCDD00112233"}), RPI4),
        ] {
            let service = Service::json(json!({"224": "x"}));
            let kea = asking(threads, &service, filters.clone());
            let client = |guid: &[u8]| kea.client().with(82, FOO_BAR).with(97, guid).discover();
            assert!(client(admitted).chain().is_some(), "{filters}");
            assert_eq!(client(b"\x00RPi6").chain(), None, "{filters}");
            kea.stop().assert_clean();
        }
        let service = Service::json(json!({"224": "x"}));
        let kea = asking(threads, &service, json!({"user-class": ["iPXE", "HTTPClient"]}));
        for (class, admitted) in [
            (&b"iPXE"[..], true),
            (b"iPXE\0", true),
            (b"\x05iPXE\0", true),
            (b"\x0aHTTPClient", true),
            (b"iPXE\0\0", false),
            (b"gPXE", false),
        ] {
            let offer = kea.client().with(82, FOO_BAR).with(77, class).discover();
            assert_eq!(offer.chain().is_some(), admitted, "{class:?}");
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn a_guid_that_no_client_can_send_is_refused_at_load() {
    let service = Service::json(json!({}));
    for guid in ["0x5250693", "52506934-1410-0000-aabb-ccdd0011223", "0xRPi4"] {
        let parameters = json!({"url": service.url("/"), "machine-guid": ["RPi4", guid]});
        let end = Setup::new(Threads::One).hook(parameters).refused();
        let complaint = end.complaints().join("\n");
        assert!(complaint.contains("\"machine-guid\"") && complaint.contains(guid), "{complaint}");
    }
}

/// docs/operating.md shows this configuration.
#[test]
fn flex_option_sends_a_raspberry_pi_its_option_97_back() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "x"}));
        let echo = json!({"options": [{"code": 97, "add": "option[97].hex"}]});
        let kea = Setup::new(threads)
            .library(&kea::packaged_hooks().join("libdhcp_flex_option.so"), echo)
            .hook(json!({"url": service.url("/"), "machine-guid": "RPi4"}))
            .start();
        for reply in kea.client().with(82, FOO_BAR).with(97, RPI4).exchange() {
            assert_eq!(reply.option(97).as_deref(), Some(RPI4));
            assert_eq!(reply.chain().as_deref(), Some("x"));
        }
        kea.stop().assert_clean();
    });
}

/// A switch that is not configured sends both sub-options without a byte, for all its ports.
#[test]
fn empty_sub_options_name_nobody() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "x"}));
        let kea = asking(threads, &service, json!({}));
        for empty in [&b"\x01\x00\x02\x00"[..], b"\x01\x00", b"\x09\x00"] {
            assert_eq!(kea.client().with(82, empty).discover().chain(), None);
        }
        assert_eq!(service.asked(), 0);
        let offer = kea.client().with(82, b"\x01\x00\x02\x03bar").discover();
        assert!(offer.chain().is_some());
        assert_eq!(service.targets(), ["/?sub82_1=&sub82_2=626172"]);
        kea.stop().assert_clean();
    });
}

/// Some of Mellanox' firmware has a user class of its own, and option 175 as iPXE has it.
#[test]
fn flexboot_is_told_by_its_option_175() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "x"}));
        let kea = asking(threads, &service, json!({"match": "option[175].exists"}));
        let flexboot = kea.client().with(82, FOO_BAR).with(175, b"\xb1\x05\x01\x15\xb3\x10\x17");
        assert!(flexboot.discover().chain().is_some());
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
        kea.stop().assert_clean();
    });
}

#[test]
fn an_inform_through_a_relay_agent_gets_its_options_and_no_address() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"66": "192.0.2.1", "67": "boot\\x64\\wdsnbp.com"}));
        let kea = asking(threads, &service, json!({}));
        let ack = kea.client().with(82, FOO_BAR).with(60, "PXEClient").inform();
        assert_eq!(ack.option(66).as_deref(), Some(&b"192.0.2.1"[..]));
        assert_eq!(ack.option(67).as_deref(), Some(&b"boot\\x64\\wdsnbp.com"[..]));
        assert!(ack.address().is_unspecified());
        assert_eq!(ack.option(51), None);
        kea.stop().assert_clean();
    });
}

/// Four options of 200 bytes.
fn long_answer() -> Value {
    json!({"224": "a".repeat(200), "225": "b".repeat(200), "226": "c".repeat(200), "227": "d".repeat(200)})
}

#[test]
fn a_reply_is_no_longer_than_its_client_takes() {
    /// The bytes of an IP header and a UDP header, which option 57 counts.
    const HEADERS: usize = 28;
    in_both_modes(|threads| {
        let service = Service::json(long_answer());
        let kea = asking(threads, &service, json!({}));
        let count =
            |reply: &Reply| (224..=227).filter(|code| reply.option(*code).is_some()).count();
        for (size, most, options) in [
            (&[2, 64][..], 576, 1),
            (&[0, 100], 576, 1),
            (&[3, 32], 800, 2),
            (&[255, 255], 1500, 4),
        ] {
            let client = kea.client().with(82, FOO_BAR).with(57, size);
            let offer = client.discover();
            assert!(offer.length() + HEADERS <= most, "{} bytes", offer.length());
            assert_eq!(count(&offer), options, "{size:?}");
            if options < 4 {
                let line = format!("the reply would be longer than {} bytes", most - HEADERS);
                kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), &line]);
            }
        }
        assert_eq!(count(&kea.client().with(82, FOO_BAR).discover()), 4);
    });
}

#[test]
fn a_reply_is_no_longer_than_max_reply_size() {
    in_both_modes(|threads| {
        let service = Service::json(long_answer());
        let length = |size: u32| {
            let kea = asking(threads, &service, json!({"max-reply-size": size}));
            kea.client().with(82, FOO_BAR).discover().length()
        };
        assert!(length(548) <= 548);
        assert!((549..=800).contains(&length(800)));
        for size in [547, 65_508] {
            let parameters = json!({"url": service.url("/"), "max-reply-size": size});
            let end = Setup::new(threads).hook(parameters).refused();
            let line = format!("parameter \"max-reply-size\" cannot be {size}");
            assert!(end.complaints().iter().any(|complaint| complaint.contains(&line)));
        }
    });
}

#[test]
fn a_reply_that_kea_made_too_long_is_edited_without_growing() {
    in_both_modes(|threads| {
        let service = Service::json(json!({
            "67": "short", "17": "z".repeat(200), "224": "new", "66": null,
        }));
        let long = "y".repeat(200);
        let parameters = json!({"url": service.url("/"), "max-reply-size": 548});
        let names =
            ["boot-file-name", "root-path", "merit-dump", "tftp-server-name", "extensions-path"];
        let data = names.map(|name| json!({"name": name, "data": long, "always-send": true}));
        let kea = Setup::new(threads).set("option-data", json!(data)).hook(parameters).start();
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(offer.option(67).as_deref(), Some(&b"short"[..]));
        assert_eq!(offer.option(17).as_deref(), Some("z".repeat(200).as_bytes()));
        assert_eq!((offer.option(66), offer.option(224)), (None, None));
        kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), "\"224\"", "longer than 548 bytes"]);
    });
}

/// A client that is attached directly can send any option 82.
#[test]
fn option_82_counts_only_from_a_relay_agent_with_require_relay() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "x"}));
        let start = |more: Value| {
            let mut parameters = json!({"url": service.url("/"), "cache-ttl": 0});
            parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            // Without a relay agent, the reply comes back to the test only with this variable.
            let setup = Setup::new(threads).env("KEA_TEST_SEND_RESPONSES_TO_SOURCE", "1");
            setup.hook(parameters).start()
        };
        for (require, counts) in [(true, false), (false, true)] {
            let kea = start(json!({
                "require-relay": require,
                "query": {"port": "relay4[1].hex", "mac": "hexstring(pkt4.mac, ':')"},
            }));
            let client = kea.client().with(82, FOO_BAR);
            let [_, ack] = client.exchange();
            assert!(ack.chain().is_some());
            let renewal = client.renew_with_own_relay_information(&ack);
            assert!(renewal.chain().is_some(), "the other value still names the client");
            let target = service.targets().pop().unwrap();
            assert_eq!(target.contains("sub82_1") && target.contains("port="), counts, "{target}");
            kea.stop().assert_clean();
        }
        // A client without any option 82 has nothing that does not count.
        let kea = start(json!({
            "require-relay": true,
            "query": {"id": "ifelse(relay4[1].exists, relay4[1].hex, hexstring(pkt4.mac, ':'))"},
        }));
        let client = kea.client();
        let [_, ack] = client.exchange();
        assert!(client.renew_without_relay(&ack).chain().is_some());
        kea.stop().assert_clean();
        let kea = start(json!({"require-relay": true, "match": "relay4[1].hex == 'foo'"}));
        let client = kea.client().with(82, FOO_BAR);
        let [_, ack] = client.exchange();
        assert!(ack.chain().is_some());
        assert_eq!(client.renew_with_own_relay_information(&ack).chain(), None);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_value_that_would_lead_to_another_path_makes_no_request() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "x"}));
        let parameters = json!({
            "query": {"host": "option[12].hex"}, "url": [service.url("/first"), service.url("/m/{host}/boot")],
        });
        let kea = asking(threads, &service, parameters);
        let client = |host: Option<&str>| {
            let client = kea.client().with(82, FOO_BAR);
            host.map_or(client.without(0), |host| client.with(12, host))
        };
        for (host, shown) in [(Some(".."), "\"..\""), (Some("."), "\".\""), (None, "empty")] {
            let client: Client = client(host);
            assert_eq!(client.discover().chain(), None, "{host:?}");
            let line = format!("the value of \"host\" is {shown}");
            kea.logged(&["REMOPTS_PATH_VALUE", &client.hwaddr(), &line]);
        }
        assert_eq!(service.asked(), 0);
        assert!(client(Some("a")).discover().chain().is_some());
    });
}

#[test]
fn option_52_is_one_of_the_protocol_s_own() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"52": 3, "224": "x"}));
        let kea = asking(threads, &service, json!({}));
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!((offer.option(52), offer.chain().as_deref()), (None, Some("x")));
        kea.logged(&[
            "REMOPTS_EDIT_REFUSED",
            &client.hwaddr(),
            "\"52\"",
            "carries the DHCP protocol",
        ]);
    });
}
