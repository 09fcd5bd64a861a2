// SPDX-License-Identifier: MPL-2.0
//! Any text as the arguments of the library's commands.
//!
//! The first byte of the input chooses the command, the others are its arguments.
#![no_main]

use fuzz_kea::{forget, load, run};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const COMMANDS: [&str; 9] = [
    "remote-opts-status",
    "remote-opts-retry",
    "remote-opts-cache-get",
    "remote-opts-lookup",
    "remote-opts-cache-list",
    "remote-opts-cache-insert",
    "remote-opts-cache-remove",
    "remote-opts-cache-clear",
    "remote-opts-cache-write",
];

/// The results of Kea's commands: Kea's CONTROL_RESULT_SUCCESS, _ERROR and _EMPTY.
const SUCCESS: i64 = 0;
const ERROR: i64 = 1;
const EMPTY: i64 = 3;

/// The arguments that name a request.
const REQUEST: [&str; 2] = ["sub-options", "query"];

fuzz_target!(
    init: {
        // No service answers there: all answers come from commands.
        load(&json!({
            "url": "http://127.0.0.1:9/{mac}",
            "query": { "mac": "hexstring(pkt4.mac, '')", "vendor": "option[60].text" },
            "machine-guid": "RPi4",
            "match": "option[93].hex == 0x0007",
            // In memory: a disk would be the slowest part.
            "cache-file": format!("/dev/shm/fuzz-kea.{}", std::process::id()),
        }));
    },
    |input: &[u8]| {
        let Some((first, arguments)) = input.split_first() else { return };
        let name = COMMANDS[usize::from(*first) % COMMANDS.len()];
        forget();
        let response = run(name, arguments, &[]);
        if !response.is_json {
            return;
        }
        assert!([SUCCESS, ERROR, EMPTY].contains(&response.result));
        assert!(response.is_map || response.result == ERROR, "only a map holds arguments");
        if name == "remote-opts-cache-insert" && response.result == SUCCESS {
            let same = |name| run(name, arguments, &REQUEST).result;
            assert_eq!(same("remote-opts-cache-get"), SUCCESS, "what is inserted is found");
            let page = br#"{"limit": 1, "from": "start"}"#;
            assert_eq!(run("remote-opts-cache-list", page, &[]).result, SUCCESS);
            assert_eq!(same("remote-opts-lookup"), SUCCESS);
            assert_eq!(same("remote-opts-cache-remove"), SUCCESS, "it is removed");
            assert_eq!(same("remote-opts-cache-get"), EMPTY, "what is removed is not found");
        }
    }
);
