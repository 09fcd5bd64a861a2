// SPDX-License-Identifier: MPL-2.0
//! Which clients are looked up, by `user-class`, by `machine-guid`, and by both.

use serde_json::{Value, json};

use crate::{FOO_BAR, in_both_modes};
use remote_opts_test_support::kea::{Setup, Threads};
use remote_opts_test_support::service::Service;

const USER_CLASS: u8 = 77;
const MACHINE_ID: u8 = 97;

/// The GUID of a Raspberry Pi 4: type 0, "RPi4", board and serial number.
const RPI4: &[u8] = b"\x00\x52\x50\x69\x34\x11\x03\xd0\x00\xde\xad\xbe\xef\x00\x01\x02\x03";

/// A client's options, and whether the client must be looked up.
type Case<'a> = (&'a [(u8, &'a [u8])], bool);

/// Has each client of `cases` send a DISCOVER to a server with these filters.
#[track_caller]
fn assert_admits(threads: Threads, filters: Value, cases: &[Case]) {
    let service = Service::json(json!({"224": "somestring"}));
    let mut parameters = json!({"url": service.url("/"), "cache-ttl": 0});
    parameters.as_object_mut().unwrap().extend(filters.as_object().unwrap().clone());
    let kea = Setup::new(threads).hook(parameters).start();
    for (options, looked_up) in cases {
        let client =
            options.iter().fold(kea.client(), |client, (code, value)| client.with(*code, value));
        let before = service.asked();
        let offer = client.with(82, FOO_BAR).discover();
        let case = format!("{filters}, client with {options:?}");
        assert_eq!(offer.option(224).is_some(), *looked_up, "{case}");
        assert_eq!(service.asked() - before, usize::from(*looked_up), "requests: {case}");
    }
    kea.stop().assert_clean();
}

#[test]
fn without_filters_everyone_is_looked_up() {
    in_both_modes(|threads| {
        assert_admits(
            threads,
            json!({}),
            &[(&[], true), (&[(USER_CLASS, b"any")], true), (&[(MACHINE_ID, RPI4)], true)],
        );
    });
}

#[test]
fn user_class_matches_the_whole_option_or_an_rfc_3004_instance() {
    in_both_modes(|threads| {
        let cases: &[Case] = &[
            (&[(USER_CLASS, b"test")], true),
            (&[(USER_CLASS, b"\x04test")], true),
            (&[(USER_CLASS, b"\x03foo\x04test")], true),
            (&[(USER_CLASS, b"\x03foo\x04test\x03bar")], true),
            (&[], false),
            (&[(USER_CLASS, b"tes")], false),
            (&[(USER_CLASS, b"testing")], false),
            (&[(USER_CLASS, b"TEST")], false),
            (&[(USER_CLASS, b"\x05test2")], false),
            (&[(USER_CLASS, b"\x03foo\x03bar")], false),
            // Lengths that point past the end of the option.
            (&[(USER_CLASS, b"\x09test")], false),
            (&[(USER_CLASS, b"\x03foo\xfftest")], false),
            // The right bytes, in another option.
            (&[(MACHINE_ID, b"test"), (60, b"test")], false),
        ];
        assert_admits(threads, json!({"user-class": "test"}), cases);
    });
}

/// Kea hands parameters over as JSON in which each byte outside of ASCII is escaped by itself.
#[test]
fn user_class_is_any_text() {
    in_both_modes(|threads| {
        for text in ["größer \u{1f967}", "\"quoted\" and \\u0041", "a\tb%1/"] {
            let instance = [&[text.len() as u8], text.as_bytes()].concat();
            let cases: &[Case] = &[
                (&[(USER_CLASS, text.as_bytes())], true),
                (&[(USER_CLASS, &instance)], true),
                (&[(USER_CLASS, b"test")], false),
            ];
            assert_admits(threads, json!({"user-class": text}), cases);
        }
    });
}

#[test]
fn machine_guid_matches_as_text_and_as_hexadecimal() {
    in_both_modes(|threads| {
        let cases: &[Case] = &[
            (&[(MACHINE_ID, RPI4)], true),
            (&[(MACHINE_ID, b"\x00RPi5\x11\x03\xd0\x00\xde\xad\xbe\xee\x00\x01\x02\x03")], false),
            (&[(MACHINE_ID, b"\x00RPi")], false),
            (&[], false),
            // The right bytes, in another option.
            (&[(USER_CLASS, RPI4)], false),
        ];
        for guid in ["RPi4", "52506934", "deadbeef", "DEADbeef"] {
            assert_admits(threads, json!({"machine-guid": guid}), cases);
        }
        // A value that looks like hexadecimal matches as text too.
        let spelled: &[Case] =
            &[(&[(MACHINE_ID, b"\x00:52506934:")], true), (&[(MACHINE_ID, b"\x005250693")], false)];
        assert_admits(threads, json!({"machine-guid": "52506934"}), spelled);
    });
}

#[test]
fn either_of_two_filters_admits() {
    in_both_modes(|threads| {
        let cases: &[Case] = &[
            (&[(USER_CLASS, b"test")], true),
            (&[(MACHINE_ID, RPI4)], true),
            (&[(USER_CLASS, b"test"), (MACHINE_ID, b"\x00other")], true),
            (&[(USER_CLASS, b"other"), (MACHINE_ID, RPI4)], true),
            (&[(USER_CLASS, b"test"), (MACHINE_ID, RPI4)], true),
            (&[(USER_CLASS, b"other"), (MACHINE_ID, b"\x00other")], false),
            (&[], false),
        ];
        assert_admits(threads, json!({"user-class": "test", "machine-guid": "RPi4"}), cases);
    });
}

#[test]
fn every_spelling_of_the_filters() {
    in_both_modes(|threads| {
        for name in ["machine-guid", "machine_guid", "machine-id", "machine_id"] {
            assert_admits(
                threads,
                json!({name: "RPi4"}),
                &[(&[(MACHINE_ID, RPI4)], true), (&[], false)],
            );
        }
        let cases: &[Case] = &[(&[(USER_CLASS, b"test")], true), (&[], false)];
        assert_admits(threads, json!({"user_class": "test"}), cases);
    });
}
