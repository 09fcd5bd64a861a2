// SPDX-License-Identifier: MPL-2.0
//! Values of every data type of Kea: the hook writes the same bytes as Kea does for the same value
//! in `option-data`.

use serde_json::{Value, json};

use crate::{FOO_BAR, in_both_modes};
use remote_opts_test_support::kea::{Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};

/// One data type.
struct Row {
    /// The `option-def`.
    definition: Value,
    /// A value in `option-data`.
    data: &'static str,
    /// The same value in each form that an answer may have.
    answers: Vec<Value>,
}

fn row(kind: &str, data: &'static str, answers: Value) -> Row {
    let Value::Array(answers) = answers else { unreachable!() };
    Row { definition: json!({ "type": kind }), data, answers }
}

fn array(kind: &str, data: &'static str, answers: Value) -> Row {
    let mut row = row(kind, data, answers);
    row.definition["array"] = json!(true);
    row
}

fn record(fields: &str, array: bool, data: &'static str, answers: Value) -> Row {
    let mut row = row("record", data, answers);
    row.definition["record-types"] = json!(fields);
    row.definition["array"] = json!(array);
    row
}

/// Every data type except arrays of IPv6 addresses, which Kea writes with the header of a DHCPv6
/// option.
fn rows() -> Vec<Row> {
    vec![
        row("empty", "", json!([""])),
        row("binary", "0a0bFF", json!(["0a0bFF", {"hex": "0A0bff"}])),
        row("boolean", "true", json!(["true", true, "1", 1])),
        row("int8", "-5", json!(["-5", -5])),
        row("int16", "-300", json!(["-300", -300])),
        row("int32", "-70000", json!(["-70000", -70000])),
        row("uint8", "200", json!(["200", 200])),
        row("uint16", "60000", json!(["60000", 60000])),
        row("uint32", "4000000000", json!(["4000000000", 4_000_000_000_u32])),
        row("ipv4-address", "192.0.2.1", json!(["192.0.2.1", ["192.0.2.1"]])),
        row("ipv6-address", "2001:db8::1", json!(["2001:db8::1"])),
        row("ipv6-prefix", "2001:db8::/48", json!(["2001:db8::/48"])),
        row("psid", "3/4", json!(["3/4"])),
        row("string", "some text", json!(["some text", ["some text"]])),
        row("string", "with\\, comma", json!(["with, comma", ["with, comma"]])),
        row("fqdn", "host.example.org", json!(["host.example.org"])),
        row("tuple", "some text", json!(["some text"])),
        record("uint16, string", false, "5, text", json!(["5, text", [5, "text"], ["5", "text"]])),
        record(
            "ipv4-address, boolean, uint8",
            false,
            "192.0.2.1, true, 7",
            json!([["192.0.2.1", true, 7]]),
        ),
        record(
            "uint8, ipv4-address",
            true,
            "1, 192.0.2.1, 192.0.2.2",
            json!(["1, 192.0.2.1, 192.0.2.2", [1, "192.0.2.1", "192.0.2.2"]]),
        ),
        array("boolean", "true, false", json!(["true, false", [true, false]])),
        array("int8", "-1, 1", json!([[-1, 1]])),
        array("int16", "-1, 1", json!([[-1, 1]])),
        array("int32", "-1, 1", json!([[-1, 1]])),
        array("uint8", "1, 2, 3", json!(["1,2,3", [1, 2, 3]])),
        array("uint16", "1, 2, 3", json!(["1, 2, 3", [1, 2, 3]])),
        array("uint32", "1, 2, 3", json!([[1, 2, 3]])),
        array(
            "ipv4-address",
            "192.0.2.1, 192.0.2.2",
            json!(["192.0.2.1, 192.0.2.2", ["192.0.2.1", "192.0.2.2"]]),
        ),
        array(
            "ipv6-prefix",
            "2001:db8::/48, 2001:db8:1::/48",
            json!([["2001:db8::/48", "2001:db8:1::/48"]]),
        ),
        array("psid", "3/4, 5/6", json!([["3/4", "5/6"]])),
        array("fqdn", "a.example.org, b.example.org", json!([["a.example.org", "b.example.org"]])),
        array("tuple", "one, two", json!(["one, two", ["one", "two"]])),
    ]
}

/// How many rows fit into one configuration: each needs two codes from 225 on, one for the option
/// that Kea sends and one for the option that the hook writes.
const PAIRS: usize = 14;

#[test]
fn the_bytes_on_the_wire_are_those_of_option_data() {
    for rows in rows().chunks(PAIRS) {
        let code = |index: usize, of_the_hook: bool| 225 + 2 * index as u8 + u8::from(of_the_hook);
        let name = |code: u8| format!("option-{code}");
        let (mut definitions, mut data) = (Vec::new(), Vec::new());
        for (index, row) in rows.iter().enumerate() {
            for of_the_hook in [false, true] {
                let mut definition = row.definition.clone();
                let code = code(index, of_the_hook);
                definition["code"] = json!(code);
                definition["name"] = json!(name(code));
                definitions.push(definition);
            }
            data.push(
                json!({ "name": name(code(index, false)), "data": row.data, "always-send": true }),
            );
        }
        let service = Service::json(json!({}));
        let kea = Setup::new(Threads::Four)
            .set("option-def", json!(definitions))
            .set("option-data", json!(data))
            .hook(json!({"url": service.url("/"), "cache-ttl": 0}))
            .start();
        for variant in 0..4 {
            for by_name in [false, true] {
                let mut options = json!({});
                for (index, row) in rows.iter().enumerate() {
                    let code = code(index, true);
                    let key = if by_name { name(code) } else { code.to_string() };
                    options[key] = row.answers[variant % row.answers.len()].clone();
                }
                service.answer(Answer::json(if by_name {
                    json!({ "options": options })
                } else {
                    options
                }));
                for reply in kea.client().with(82, FOO_BAR).exchange() {
                    for (index, row) in rows.iter().enumerate() {
                        let [kea, hook] =
                            [false, true].map(|of_the_hook| reply.option(code(index, of_the_hook)));
                        assert!(kea.is_some(), "{}", row.definition);
                        let value = &row.answers[variant % row.answers.len()];
                        assert_eq!(hook, kea, "{} {value}", row.definition);
                    }
                }
            }
        }
        kea.stop().assert_clean();
    }
}

/// Standard options by code and by name, whose bytes are known.
#[test]
fn standard_options_are_encoded_by_their_definitions() {
    in_both_modes(|threads| {
        let service = Service::json(json!({
            "3": "10.0.0.1",
            "ntp-servers": ["10.0.0.2", "10.0.0.3"],
            "26": 1500,
            "ip-forwarding": true,
            "12": "a, b",
            "domain-search": "example.org",
        }));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(3), Some(vec![10, 0, 0, 1]));
            assert_eq!(reply.option(42), Some(vec![10, 0, 0, 2, 10, 0, 0, 3]));
            assert_eq!(reply.option(26), Some(vec![5, 220]));
            assert_eq!(reply.option(19), Some(vec![1]));
            assert_eq!(reply.option(12).as_deref(), Some(&b"a, b"[..]));
            assert_eq!(reply.option(119).as_deref(), Some(&b"\x07example\x03org\0"[..]));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn a_value_that_kea_refuses_costs_only_itself() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"options": {
            "3": "no address",
            "26": 70000,
            "19": "perhaps",
            "42": ["10.0.0.1", "no address"],
            "no-such-option": "x",
            "dhcp-lease-time": 60,
            "240": [7],
            "244": {"6": [3]},
            "241": ["a"],
            "6": [],
            "7": ",",
            "9": "2001:db8::1",
            "10": ["10.0.0.1", "2001:db8::1"],
            "13": [7, 8],
            "14": ["one", "two"],
            "81": [0, 0, 0, "host.example.org.", "more"],
            "125": {"1": "x"},
            "243": {"hex": ""},
            "67": "by code",
            "boot-file-name": "by name",
            "43": {"6": {"hex": "00".repeat(251)}},
            "242": {"6": {"7": "x".repeat(252)}},
            "66": "0.0.0.0",
        }}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(offer.option(43), Some([&[6, 251][..], &[0; 251]].concat()));
        assert_eq!(offer.option(66).as_deref(), Some(&b"0.0.0.0"[..]));
        assert_eq!(offer.option(51), Some(vec![255; 4]), "Kea's own lease time");
        for (key, reason) in [
            ("3", "no address"),
            ("26", "70000"),
            ("19", "perhaps"),
            ("42", "no address"),
            ("no-such-option", "no option of this name is defined"),
            ("dhcp-lease-time", "carries the DHCP protocol"),
            ("240", "no definition"),
            ("241", "no definition"),
            ("244", "sub-option 6: the option has no definition"),
            ("242", "sub-option 6: longer than 253 bytes"),
            ("6", "empty"),
            ("7", "empty"),
            ("9", "no IPv4 address"),
            ("10", "no IPv4 address"),
            ("13", "the list has 2 values, and the option takes 1"),
            ("14", "the list has 2 values, and the option takes 1"),
            ("81", "the list has 5 values, and the option takes 4"),
            ("125", "a value of its own"),
            ("243", "empty"),
            ("boot-file-name", "already"),
        ] {
            kea.logged(&[
                "REMOPTS_EDIT_REFUSED",
                &client.hwaddr(),
                &format!("\"{key}\": "),
                reason,
            ]);
            if let Ok(code) = key.parse() {
                assert_eq!(offer.option(code), None, "{key}");
            }
        }
        let end = kea.stop();
        assert!(end.status.success());
        assert_eq!(offer.option(67).as_deref(), Some(&b"by code"[..]));
        assert_eq!(end.complaints().len(), 20, "{:#?}", end.complaints());
    });
}

#[test]
fn null_removes_an_option_that_kea_sends() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"66": null, "67": null}));
        let setup = Setup::new(threads).option("tftp-server-name", "from the configuration");
        let kea = setup.hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(66), None);
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn the_header_fields_are_set() {
    in_both_modes(|threads| {
        let service = Service::json(json!({
            "next-server": "192.0.2.1",
            "server-hostname": "tftp1",
            "boot-file-name": "pxelinux.0",
            "options": {"boot-file-name": "by option 67"},
        }));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.next_server(), [192, 0, 2, 1]);
            assert_eq!(reply.server_hostname(), b"tftp1");
            assert_eq!(reply.boot_file_name(), b"pxelinux.0");
            assert_eq!(reply.option(67).as_deref(), Some(&b"by option 67"[..]));
        }
        kea.stop().assert_clean();
    });
}

/// A Raspberry Pi needs these sub-options to boot from the network.
#[test]
fn sub_options_of_option_43_are_those_of_kea_s_own_configuration() {
    in_both_modes(|threads| {
        let space = "vendor-encapsulated-options-space";
        let definitions = json!([
            { "name": "discovery-control", "code": 6, "space": space, "type": "uint8" },
            {
                "name": "boot-menu", "code": 9, "space": space,
                "type": "record", "record-types": "uint16, uint8, string",
            },
            {
                "name": "menu-prompt", "code": 10, "space": space,
                "type": "record", "record-types": "uint8, string",
            },
        ]);
        let data = json!([
            { "name": "vendor-encapsulated-options", "always-send": true },
            { "name": "discovery-control", "space": space, "data": "3" },
            { "name": "boot-menu", "space": space, "data": "0, 17, Raspberry Pi Boot" },
            { "name": "menu-prompt", "space": space, "data": "0, PXE" },
        ]);
        let setup = Setup::new(threads).set("option-def", definitions);
        let expected =
            setup.clone().set("option-data", data).start().client().discover().option(43);
        assert_eq!(
            expected.as_deref(),
            Some(&b"\x06\x01\x03\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE"[..])
        );
        let service = Service::json(json!({}));
        let kea = setup.hook(json!({"url": service.url("/"), "cache-ttl": 0})).start();
        for answer in [
            json!({"43": {"6": 3, "9": [0, 17, "Raspberry Pi Boot"], "10": [0, "PXE"]}}),
            json!({"options": {"vendor-encapsulated-options": {
                "discovery-control": "3",
                "boot-menu": "0, 17, Raspberry Pi Boot",
                "menu-prompt": {"hex": "00505845"},
            }}}),
        ] {
            service.answer(Answer::json(answer));
            for reply in kea.client().with(82, FOO_BAR).exchange() {
                assert_eq!(reply.option(43), expected);
            }
        }
        kea.stop().assert_clean();
    });
}

/// A class may define option 43 for its clients, with its own space of sub-options.
#[test]
fn the_space_of_option_43_is_that_of_the_client_s_class() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"43": {"6": 3}, "224": "somestring"}));
        let kea = Setup::new(threads)
            .set(
                "option-def",
                json!([{ "name": "control", "code": 6, "space": "rpi", "type": "uint32" }]),
            )
            .set(
                "client-classes",
                json!([{
                    "name": "rpi",
                    "test": "option[77].hex == 'rpi'",
                    "option-def": [{
                        "name": "vendor-encapsulated-options", "code": 43,
                        "type": "empty", "encapsulate": "rpi",
                    }],
                }]),
            )
            .hook(json!({"url": service.url("/")}))
            .start();
        // One answer serves both kinds of clients in turn.
        for _ in 0..2 {
            let offer = kea.client().with(82, FOO_BAR).with(77, "rpi").discover();
            assert_eq!(offer.option(43), Some(vec![6, 4, 0, 0, 0, 3]));
            // For other clients sub-option 6 has no definition: a number is its text.
            let other = kea.client().with(82, FOO_BAR);
            assert_eq!(other.discover().option(43), Some(vec![6, 1, b'3']));
        }
        assert_eq!(service.asked(), 1);
    });
}

/// A kept answer is encoded by the definitions of the configuration that is in force.
#[test]
fn a_reload_brings_new_definitions_to_kept_answers() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"225": "3"}));
        let define = |kind| json!([{ "name": "menu", "code": 225, "type": kind }]);
        let kea = Setup::new(threads)
            .set("option-def", define("uint8"))
            .hook(json!({"url": service.url("/"), "cache-ttl": 600}))
            .start();
        let value = || kea.client().with(82, FOO_BAR).discover().option(225);
        assert_eq!(value(), Some(vec![3]));
        for (kind, expected) in [("uint16", vec![0, 3]), ("string", b"3".to_vec())] {
            let mut configuration = kea.configuration();
            configuration["Dhcp4"]["option-def"] = define(kind);
            kea.set_configuration(configuration).unwrap();
            for _ in 0..2 {
                assert_eq!(value().as_ref(), Some(&expected));
            }
        }
        assert_eq!(service.asked(), 1);
    });
}

#[test]
fn client_classes_choose_the_pool_and_its_options() {
    in_both_modes(|threads| {
        let service = Service::json(
            json!({"client-classes": ["rescue", "no-such-class"], "options": {"66": "x"}}),
        );
        let kea = Setup::new(threads)
            .set(
                "client-classes",
                json!([
                    { "name": "rescue", "option-data": [
                        { "name": "boot-file-name", "data": "rescue.ipxe", "always-send": true },
                    ] },
                ]),
            )
            .add_pool("10.77.0.16-10.77.0.255", "rescue")
            .hook(json!({"url": service.url("/"), "user-class": "test"}))
            .start();
        let client = kea.client().with(82, FOO_BAR).with(77, "test");
        for reply in client.exchange() {
            assert_eq!(reply.address().octets()[2], 0, "{reply:?}");
            assert_eq!(reply.option(67).as_deref(), Some(&b"rescue.ipxe"[..]));
            assert_eq!(reply.option(66).as_deref(), Some(&b"x"[..]));
        }
        kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), "no client class", "no-such-class"]);
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_ne!(reply.address().octets()[2], 0, "{reply:?}");
            assert_eq!(reply.option(67), None);
        }
    });
}
