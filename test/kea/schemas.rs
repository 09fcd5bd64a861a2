// SPDX-License-Identifier: MPL-2.0
//! Holds the JSON Schemas of docs/ against the library: what one refuses, the other refuses, as far
//! as it can be known without Kea.

use std::env;
use std::fs;
use std::process::Command;

use remote_opts_core::answer::{self, ParseError};
use remote_opts_test_support::kea::{Setup, Threads};
use remote_opts_test_support::project;
use remote_opts_test_support::schema::{self, are_good, is_good, json_file, validate};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The options that carry the DHCP protocol itself: code, name, and a payload in hexadecimal.
const PROTOCOL: [(u8, &str, &str); 11] = [
    (50, "dhcp-requested-address", "0a000001"),
    (51, "dhcp-lease-time", "00000e10"),
    (52, "dhcp-option-overload", "01"),
    (53, "dhcp-message-type", "01"),
    (54, "dhcp-server-identifier", "0a000001"),
    (55, "dhcp-parameter-request-list", "01"),
    (57, "dhcp-max-message-size", "0240"),
    (58, "dhcp-renewal-time", "00000e10"),
    (59, "dhcp-rebinding-time", "00000e10"),
    (61, "dhcp-client-identifier", "0102"),
    (82, "dhcp-agent-options", "010141"),
];

/// Answers of which the library refuses nothing.
fn good_answers() -> Vec<Value> {
    let values = [
        json!("text, with a comma"),
        json!(""),
        json!("é\u{0}"),
        json!(7),
        json!(-1.5),
        json!(4_000_000_000_u32),
        json!(true),
        json!(["a,b", 7, false]),
        json!({"hex": "00Ff"}),
        json!({"hex": ""}),
        json!({"hex": "0x00Ff"}),
        json!({"hex": "0:ff:1"}),
        json!({"hex": "00 ff"}),
        json!({"0": "x", "255": {"hex": ""}}),
        json!({"255": ""}),
        json!({"6": 3, "rpi-menu": {"hex": ""}, "9": [0, 17, "Raspberry Pi Boot"]}),
        json!({"10": {"1": {"2": "x"}, "255": "x"}}),
        json!({"Hex": "a name of one's own", "6": 3}),
        json!(null),
    ];
    let mut answers = vec![
        json!({}),
        json!({"224": "somestring", "66": "0.0.0.0"}),
        json!({"1": "x", "9": "x", "10": "x", "99": "x"}),
        json!({"100": "x", "199": "x", "249": "x", "254": "x"}),
        json!({"a": "x", "A_b-9": "x", "x1": "x", "dhcp-message": "x", "DHCP-lease-time": "x"}),
        json!({"125": {"255": "x"}, "224": {"43": {"255": "x"}}}),
        json!({"options": {}}),
        json!({
            "options": {"boot-file-name": "x"},
            "next-server": "0.0.0.0",
            "server-hostname": "",
        }),
        json!({"next-server": "192.0.2.255", "client-classes": []}),
        json!({"server-hostname": "x".repeat(63), "boot-file-name": "x".repeat(127)}),
        json!({"client-classes": ["rpi4", "rescue"]}),
        json!({"drop": true, "options": {"66": "x"}}),
        json!({"ip-address": "192.0.2.77", "hostname": "node7", "66": "x"}),
        json!({"ip-address": null, "hostname": null}),
        json!({"options": {}, "67": "x", "43": null}),
        json!(null),
        json!([]),
    ];
    answers.extend(values.iter().flat_map(|value| {
        [
            json!({ "43": value, "routers": value }),
            json!({ "options": { "43": value, "routers": value } }),
            json!({ "options": { "vendor-encapsulated-options": value }, "43": value }),
        ]
    }));
    let addresses = ["1.0.0.0", "99.1.22.133", "126.255.255.255", "128.0.0.1", "223.255.255.255"];
    answers.extend(addresses.map(|address| json!({ "ip-address": address })));
    let label = "a".repeat(63);
    let longest = longest_name();
    for name in ["7", "NODE-7.example.org", "_a_._b", "a--b", "node7.", &label, &longest] {
        answers.push(json!({ "hostname": name }));
    }
    answers.push(json!({ "hostname": format!("{longest}.") }));
    let examples = json_file(schema::ANSWERS)["examples"].take();
    answers.extend(examples.as_array().expect("examples").clone());
    answers
}

/// A host name of 253 bytes.
fn longest_name() -> String {
    let label = "a".repeat(63);
    format!("{label}.{label}.{label}.{}", "b".repeat(61))
}

/// Answers of which the library refuses something.
fn bad_answers() -> Vec<Value> {
    let values = [
        json!({}),
        json!([]),
        json!({"hex": "0"}),
        json!({"hex": "zz"}),
        json!({"hex": "0x"}),
        json!({"hex": "0x0"}),
        json!({"hex": "00:"}),
        json!({"hex": "00 ff:00"}),
        json!({"hex": "00\n"}),
        json!({"hex": 0}),
        json!({"hex": null}),
        json!({"hex": "00", "6": 3}),
        json!({"hex": "a name of one's own", "6": 3}),
        json!([[1]]),
        json!([null]),
        json!([{"hex": "00"}]),
        json!({"6": null}),
        json!({"6": []}),
        json!({"6": {"hex": "0"}}),
        json!({"6": {"hex": "00", "7": 3}}),
        json!({"6": {}}),
        json!({"256": 1}),
        json!({"00": 1}),
        json!({"6\n": 1}),
        json!({"rpi menu": 1}),
        json!({"6": 1, "": 1}),
    ];
    let keys = [
        "",
        "0",
        "-1",
        "255",
        "256",
        "1000",
        "+66",
        " 66",
        "066",
        "66.0",
        "66\n",
        "٦٦",
        "é",
        "boot file",
        "routers ",
        "routers\n",
        "routers-",
        "_routers",
        "3com-",
        "röuters",
    ];
    let protocol = PROTOCOL.map(|(code, name, _)| [code.to_string(), name.to_owned()]);
    let mut answers = vec![
        json!({"options": []}),
        json!({"options": null}),
        json!({"options": {}, "routers": "192.0.2.1"}),
        json!({"options": {}, "67": {}}),
        json!({"43": {"255": "x"}}),
        json!({"43": {"255": 0}}),
        json!({"43": {"255": {"hex": "00"}}}),
        json!({"43": {"255": {"1": "x"}, "6": 3}}),
        json!({"vendor-encapsulated-options": {"255": "x"}}),
        json!({"options": {"43": {"255": "x"}}}),
        json!({"options": {}, "43": {"255": "x"}}),
        json!({"drop": "true"}),
        json!({"drop": null}),
        json!({"boot-file-name": "x", "no-such-member": "x"}),
        json!({"next-server": "tftp1"}),
        json!({"next-server": "192.0.2"}),
        json!({"next-server": "192.0.2.1.5"}),
        json!({"next-server": "192.0.2.256"}),
        json!({"next-server": "192.0.2.01"}),
        json!({"next-server": "192.0.2.1\n"}),
        json!({"next-server": ""}),
        json!({"next-server": 7}),
        json!({"server-hostname": "x".repeat(64)}),
        json!({"boot-file-name": "x".repeat(128)}),
        json!({"boot-file-name": null}),
        json!({"client-classes": "rpi4"}),
        json!({"client-classes": ["rpi4", 7]}),
        json!({"client-classes": [""]}),
        json!({"ip-address": 7, "options": {}}),
        json!({"hostname": ["node7"]}),
        json!({"ip-address": "192.0.2.77", "routers": "192.0.2.1"}),
        json!({"hostname": "node7", "ip_address": "192.0.2.77"}),
    ];
    for address in [
        "",
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "256.0.0.1",
        "192.0.2",
        "192.0.2.77.1",
        "192.0.2.256",
        "192.0.2.077",
        "010.0.0.1",
        "192.0.2.77 ",
        "192.0.2.77\n",
        "192.0.2.77/24",
        "2001:db8::1",
        "node7",
    ] {
        answers.push(json!({ "ip-address": address }));
    }
    let (long_label, too_long) = ("a".repeat(64), longest_name() + "b");
    let too_long_with_dot = format!("{too_long}.");
    for name in [
        "",
        ".",
        ".a",
        "a..b",
        "a..",
        "-a",
        "a-",
        "a.-b",
        "a-.b",
        "a b",
        "a,b",
        "a/b",
        "a\0",
        "node7\n",
        "knöten",
        &long_label,
        &too_long,
        &too_long_with_dot,
    ] {
        answers.push(json!({ "hostname": name }));
    }
    answers.extend(values.iter().flat_map(|value| {
        [
            json!({ "43": value }),
            json!({ "options": { "43": value } }),
            json!({ "options": { "routers": value } }),
            json!({ "options": {}, "43": value }),
        ]
    }));
    let keys = keys.map(str::to_owned).into_iter().chain(protocol.into_iter().flatten());
    answers.extend(keys.flat_map(|key| {
        let key = key.as_str();
        [
            json!({ key: "x" }),
            json!({ key: null }),
            json!({ "options": { key: "x" } }),
            json!({ "options": {}, key: "x" }),
        ]
    }));
    answers
}

/// JSON that is no answer at all.
fn no_answers() -> Vec<Value> {
    vec![json!([{}]), json!([null]), json!("x"), json!(7), json!(true)]
}

#[test]
fn the_schema_takes_what_the_library_takes() {
    for answer in good_answers() {
        assert!(is_good(&answer), "{answer}");
    }
}

#[test]
fn the_schema_refuses_what_the_library_refuses() {
    for answer in bad_answers() {
        assert!(!is_good(&answer), "{answer}");
    }
    for answer in no_answers() {
        assert!(validate(&answer).is_err(), "{answer}");
    }
}

/// What the fuzzer begins with. The schema says nothing of texts that are no JSON, nor of depth.
#[test]
fn the_schema_agrees_with_the_library_on_the_corpus_of_the_fuzzer() {
    let mut compared = 0;
    for entry in fs::read_dir(project().join("fuzz/corpus/answer")).expect("the corpus") {
        let body = fs::read(entry.expect("an entry").path()).expect("a file");
        let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
        let Ok(answer) = serde_json::from_slice(json) else { continue };
        match answer::parse(&body) {
            Ok(_) => {
                is_good(&answer);
            }
            Err(ParseError::NotAnObject) => assert!(validate(&answer).is_err(), "{answer}"),
            Err(ParseError::NotJson { .. } | ParseError::TooDeep) => continue,
        }
        compared += 1;
    }
    assert!(compared > 30, "only {compared} inputs are JSON");
}

/// The command of docs/service.md, and the two files that it names.
const CHECK: &str = "python3 -W ignore -m jsonschema -i answer.json answer.schema.json";

/// Runs a command in a folder with the schema and this answer. Returns whether the command
/// succeeded, and what it printed.
fn check_by_command(command: &str, answer: &Value) -> (bool, String) {
    let folder = TempDir::new().expect("a folder");
    let schema = project().join(schema::ANSWERS);
    fs::copy(schema, folder.path().join("answer.schema.json")).expect("a copy");
    fs::write(folder.path().join("answer.json"), answer.to_string()).expect("a file");
    // Debian's own Python has Debian's jsonschema. A developer's PATH may begin with another.
    let path = format!("/usr/bin:{}", env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(&folder).env("PATH", path);
    let output = shell.output().expect("sh");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).expect("UTF-8"))
}

#[test]
fn the_command_of_the_document_tells_a_good_answer_from_a_bad_one() {
    let text = fs::read_to_string(project().join("docs/service.md")).expect("docs/service.md");
    assert!(text.contains(&format!("\n    {CHECK}\n")), "docs/service.md should have {CHECK}");
    let good = json!({"options": {"224": "http://boot/rescue.ipxe"}, "next-server": "192.0.2.1"});
    assert_eq!(check_by_command(CHECK, &good), (true, String::new()));
    for (bad, words) in [
        (json!({"224": "x", "dhcp-lease-time": 60}), "'dhcp-lease-time' should not be valid under"),
        (json!({"3": []}), "[]"),
        (json!({"224": {"hex": "0g"}}), "'0g' does not match"),
        (json!({"224": {"hex": "00", "6": 3}}), "'6' was unexpected"),
        (json!({"server-hostname": "x".repeat(64)}), "is too long"),
    ] {
        let (success, printed) = check_by_command(CHECK, &bad);
        assert!(!success && printed.contains(words), "{bad}: {printed}");
    }
}

/// Debian's python3-jsonschema takes the same view of each answer as the library. It has another
/// engine for regular expressions than the program that the other tests use.
#[test]
fn the_schema_means_the_same_in_python() {
    let answers = [(good_answers(), true), (bad_answers(), false), (no_answers(), false)];
    let answers = answers.into_iter().flat_map(|(answers, is_good)| {
        answers.into_iter().map(move |answer| json!([answer, is_good]))
    });
    let program = "python3 -c '
import json, jsonschema
validator = jsonschema.Draft202012Validator(json.load(open(\"answer.schema.json\")))
for answer, is_good in json.load(open(\"answer.json\")):
    assert validator.is_valid(answer) == is_good, answer
print(\"agreed\")'";
    let agreed = check_by_command(program, &answers.collect());
    assert_eq!(agreed, (true, "agreed\n".to_owned()));
}

/// Kea's own configuration takes these names for these codes, and refuses another name.
#[test]
fn the_options_of_the_protocol_have_kea_s_names() {
    let option = |code: u8, name: &str, data: &str| {
        let option = json!({ "code": code, "name": name, "data": data, "csv-format": false });
        json!([option])
    };
    for (code, name, data) in PROTOCOL {
        let with = |name: &str| {
            Setup::new(Threads::One).set("option-data", option(code, name, data)).try_start()
        };
        with(name).unwrap_or_else(|error| panic!("{name}: {error:#}")).stop().assert_clean();
        assert!(with("no-such-name").is_err(), "Kea takes any name for option {code}");
    }
}

const GOOD_URL: &str = "http://192.0.2.1/boot";

#[test]
fn the_schema_of_the_parameters_takes_what_the_library_takes() {
    for parameters in [
        json!({"url": GOOD_URL}),
        json!({"url": ["HTTPS://b", "http:b/", "http:///c/", "http://u:p@[2001:db8::1]:80/{mac}?x"],
               "query": {"mac": "hexstring(pkt4.mac, ':')", "a.b-c_D1": "'x'"}}),
        json!({"url": GOOD_URL, "user-class": ["iPXE", "x"], "match": "member('x')"}),
        json!({"url": GOOD_URL, "machine-id": "RPi4", "timeout": 600_000}),
        json!({"url": GOOD_URL, "machine-guid": [
            "RPi4", "0", "00", "seventeen letters", "0x52506934", "52:50:69:4", "52 50 69 34",
            "52-50-69-34", "-", "line\nfeed", "0x000102030405060708090a0b0c0d0e0f10",
            "000102030405060708090a0b0c0d0e0f10", "4c4c4544-0051-3310-8057-b9c04f4e5931",
            "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10",
        ]}),
        json!({"url": GOOD_URL, "cert-file": "/c", "key-file": "/k", "trust-anchor": "/t",
               "bearer-token-file": "/b", "cache-file": "/f", "headers": {"X-Site": "a\tb"}}),
        json!({"url": GOOD_URL, "on-error": "drop", "on-miss": "retry", "http2": true,
               "require-relay": false, "cache-ttl": 0, "max-reply-size": 548}),
    ] {
        assert!(are_good(&parameters), "{parameters}");
    }
}

#[test]
fn the_schema_of_the_parameters_refuses_what_the_library_refuses() {
    let url = |url: Value| json!({ "url": url });
    for parameters in [
        json!({}),
        json!({"url": GOOD_URL, "tiemout": 5}),
        json!({"url": GOOD_URL, "machine-guid": "RPi4", "machine-id": "RPi4"}),
        json!({"url": GOOD_URL, "cert-file": "/c"}),
        json!({"url": GOOD_URL, "key-file": "/k"}),
        url(json!(7)),
        url(json!([])),
        url(json!("ftp://b/")),
        url(json!("http:")),
        url(json!("http://")),
        url(json!("http://:80/")),
        url(json!("http://?x")),
        url(json!("b/boot")),
        url(json!([GOOD_URL, GOOD_URL])),
        url(Value::from_iter((0..17).map(|number| format!("http://b/{number}")))),
    ] {
        assert!(!are_good(&parameters), "{parameters}");
    }
    for (name, values) in [
        ("user-class", json!(["", [], [""], [7], 7, null, vec!["x"; 65]])),
        (
            "machine-guid",
            json!([
                "",
                [],
                ["RPi4", ""],
                "0x",
                "0xRPi4",
                "0X52506934",
                "0x5250693",
                "eighteen bytes txt",
                "52506934-1400-00aa-bbcc-dd001122334",
                "52506934-1400-00aa-bbcc-dd001122334g",
                "000102030405060708090a0b0c0d0e0f1011",
                "0x52:50:69:34",
                "0x52-50",
            ]),
        ),
        ("match", json!(["", 7, true])),
        ("query", json!(["x", ["x"], {"a b": "'x'"}, {"": "'x'"}, {"a": 7}, {"a": ""}])),
        ("headers", json!(["x", ["x"], {"X-Site": 7}])),
        ("timeout", json!([0, 600_001, 1.5, "1000", -1, null])),
        ("on-error", json!(["Drop", "", true])),
        ("http2", json!([1, "true", null])),
        ("cache-file", json!(["", 7])),
    ] {
        for value in values.as_array().expect("a list") {
            assert!(!are_good(&json!({ "url": GOOD_URL, name: value })), "{name}: {value}");
        }
    }
}
