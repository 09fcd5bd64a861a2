// SPDX-License-Identifier: MPL-2.0
//! `match` and `query`: Kea's expressions choose the clients that are looked up, and name them to
//! the service.

use serde_json::json;

use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes};
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Setup, Threads};
use remote_opts_test_support::service::Service;

#[test]
fn match_admits_clients() {
    in_both_modes(|threads| {
        for (expression, admitted) in [
            ("option[77].hex == 'test'", true),
            ("option[77].hex == 'other'", false),
            ("substring(option[60].hex, 0, 9) == 'PXEClient'", true),
            ("option[60].text == 'PXEClient:Arch:00007'", true),
            ("relay4[1].hex == 'foo'", true),
            ("relay4[9].exists", false),
            ("pkt4.mac == 0x000000000000", false),
            ("member('pxe') and not member('other')", true),
            ("member('other')", false),
        ] {
            let service = Service::json(json!({"224": "somestring"}));
            let kea = Setup::new(threads)
                .set(
                    "client-classes",
                    json!([
                        { "name": "pxe", "test": "option[60].exists" },
                        { "name": "other", "test": "option[60].hex == 'other'" },
                    ]),
                )
                .debug(HOOK_LOGGER)
                .hook(json!({"url": service.url("/"), "match": expression}))
                .start();
            let client =
                kea.client().with(82, FOO_BAR).with(77, "test").with(60, "PXEClient:Arch:00007");
            for reply in client.exchange() {
                assert_eq!(reply.option(224).is_some(), admitted, "{expression}");
            }
            assert_eq!(service.requests().len(), usize::from(admitted), "{expression}");
            if !admitted {
                kea.logged(&["REMOPTS_NOT_ADMITTED", &client.hwaddr()]);
            }
            kea.stop().assert_clean();
        }
    });
}

#[test]
fn match_is_one_filter_of_several() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let parameters = json!({
            "url": service.url("/"),
            "user-class": "test",
            "match": "option[60].hex == 'yes'",
        });
        let kea = Setup::new(threads).hook(parameters).start();
        let client = || kea.client().with(82, FOO_BAR);
        assert!(client().with(77, "test").discover().option(224).is_some());
        assert!(client().with(77, "x").with(60, "yes").discover().option(224).is_some());
        assert!(client().with(77, "x").with(60, "no").discover().option(224).is_none());
        kea.stop().assert_clean();
    });
}

#[test]
fn query_names_the_client() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads)
            .hook(json!({
                "url": service.url("/?site=fra1"),
                "query": {
                    "mac": "hexstring(pkt4.mac, ':')",
                    "arch": "option[93].hex",
                    "vendor": "option[60].text",
                    "start": "substring(option[60].hex, 0, 3)",
                    "port": "concat('port ', relay4[1].hex)",
                    "none": "option[12].hex",
                },
            }))
            .start();
        let client = kea.client().with(82, FOO_BAR).with(60, "PXE Client/é").with(93, [0, 7]);
        for reply in client.exchange() {
            assert_eq!(reply.option(224).as_deref(), Some(&b"somestring"[..]));
        }
        let mac = client.hwaddr().replace(':', "%3A");
        assert_eq!(
            service.targets(),
            [format!(
                "/?site=fra1&{FOO_BAR_QUERY}&arch=%00%07&mac={mac}&port=port%20foo&start=PXE\
                 &vendor=PXE%20Client%2F%C3%A9"
            )]
        );
        // Without option 82, the values of `query` alone name the client.
        let bare = kea.client();
        assert!(bare.discover().option(224).is_some());
        let mac = bare.hwaddr().replace(':', "%3A");
        assert_eq!(service.targets()[1], format!("/?site=fra1&mac={mac}&port=port%20"));
        kea.stop().assert_clean();
    });
}

#[test]
fn a_client_without_any_value_is_not_looked_up() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let parameters = json!({"url": service.url("/"), "query": {"vendor": "option[60].hex"}});
        let kea = Setup::new(threads).hook(parameters).start();
        assert_eq!(kea.client().discover().option(224), None);
        assert_eq!(service.targets(), [""; 0]);
        assert!(kea.client().with(60, "x").discover().option(224).is_some());
        assert_eq!(service.targets(), ["/?vendor=x"]);
        kea.stop().assert_clean();
    });
}

#[test]
fn values_take_their_places_in_the_url() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads)
            .hook(json!({
                "url": service.url("/machines/{mac}/boot?v={vendor}"),
                "query": {
                    "mac": "hexstring(pkt4.mac, '-')",
                    "vendor": "option[60].hex",
                    "user": "option[77].hex",
                },
            }))
            .start();
        let client = kea.client().with(60, "a/b&c").with(77, "x");
        assert!(client.discover().option(224).is_some());
        let mac = client.hwaddr().replace(':', "-");
        assert_eq!(service.targets(), [format!("/machines/{mac}/boot?v=a%2Fb%26c&user=x")]);
        kea.stop().assert_clean();
    });
}

/// An option may have another length than a conversion needs.
#[test]
fn an_expression_that_cannot_be_evaluated_has_no_value() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads)
            .hook(json!({
                "url": service.url("/"),
                "user-class": "test",
                "match": "uint16totext(option[60].hex) == '263'",
                "query": {"arch": "uint16totext(option[60].hex)"},
            }))
            .start();
        let client = kea.client().with(82, FOO_BAR).with(60, [7]);
        assert_eq!(client.discover().option(224), None);
        let line = kea.logged(&["REMOPTS_NOT_EVALUATED", &client.hwaddr(), "match: "]);
        assert!(line.starts_with("WARN"), "{line}");
        let client = kea.client().with(82, FOO_BAR).with(60, [7]).with(77, "test");
        assert!(client.discover().option(224).is_some());
        kea.logged(&["REMOPTS_NOT_EVALUATED", &client.hwaddr(), "query: arch: "]);
        assert!(kea.client().with(82, FOO_BAR).with(60, [1, 7]).discover().option(224).is_some());
        assert_eq!(
            service.targets(),
            [format!("/?{FOO_BAR_QUERY}"), format!("/?{FOO_BAR_QUERY}&arch=263")]
        );
        assert!(kea.stop().status.success());
    });
}

/// The message carries Kea's own words about the place of the mistake.
#[test]
fn invalid_expressions_stop_the_configuration() {
    for (parameters, parts) in [
        (
            json!({"match": "option[77].hex = 'x'"}),
            vec!["\"match\"", "option[77].hex = 'x'", "1.16"],
        ),
        (json!({"match": "option[77].hex"}), vec!["\"match\"", "syntax error"]),
        (json!({"match": "member('no-such-class')"}), vec!["\"match\"", "no-such-class"]),
        (json!({"query": {"mac": "pkt4.mac == 'x'"}}), vec!["\"query: mac\"", "syntax error"]),
        (json!({"query": {"mac": "hexstring(pkt4.mac"}}), vec!["\"query: mac\"", "1.19"]),
        (json!({"query": {"m c": "pkt4.mac"}}), vec!["\"query\"", "m c"]),
        (json!({"url": "http://127.0.0.1:1/{mac}"}), vec!["\"url\"", "{mac}", "query"]),
    ] {
        let mut all = json!({"url": "http://127.0.0.1:1/"});
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        let end = Setup::new(Threads::One).hook(all).refused();
        let line = end.log.iter().find(|line| line.contains("REMOPTS_LOAD_ERROR"));
        let line = line.unwrap_or_else(|| panic!("{parameters}: {:#?}", end.log));
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
        assert_eq!(end.status.code(), Some(1));
    }
}

/// A client renews its lease without its relay agent. Kea has kept the relay agent's option 82.
#[test]
fn a_renewal_is_looked_up_by_the_stashed_option_82() {
    in_both_modes(|threads| {
        if !kea::parks() {
            println!("this Kea has no stash-agent-options");
            return;
        }
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads)
            .set("stash-agent-options", json!(true))
            .set("store-extended-info", json!(true))
            // Without a relay agent, the reply comes back to the test only with this variable.
            .env("KEA_TEST_SEND_RESPONSES_TO_SOURCE", "1")
            .hook(json!({"url": service.url("/"), "cache-ttl": 0}))
            .start();
        let client = kea.client().with(82, FOO_BAR);
        let [_, ack] = client.exchange();
        let renewed = client.renew_without_relay(&ack);
        assert_eq!(renewed.option(224).as_deref(), Some(&b"somestring"[..]));
        assert_eq!(service.targets(), vec![format!("/?{FOO_BAR_QUERY}"); 2]);
        kea.stop().assert_clean();
    });
}
