// SPDX-License-Identifier: MPL-2.0
//! Other hook libraries that stand before the hook in `hooks-libraries`: the hook respects what
//! they decide, and reports what they break.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;

use crate::{FOO_BAR, in_both_modes};
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::library::of_source;
use remote_opts_test_support::service::Service;
use remote_opts_test_support::wait_until;

/// The library of earlier_library.cc, which gets in the hook's way as its parameters say. The first
/// call builds it.
fn earlier_library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("earlier_library.cc");
        of_source(&source, Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a hook library")
    })
}

/// A server whose earlier library does `deed` at the hook point `point`. Its log tells everything
/// about packets.
fn start(threads: Threads, service: &Service, point: &str, deed: &str) -> Kea {
    Setup::new(threads)
        .library(earlier_library(), json!({point: deed}))
        .hook(json!({"url": service.url("/"), "user-class": "test"}))
        .debug("kea-dhcp4")
        .start()
}

/// A client that is looked up: the filter admits it, and it has option 82.
fn admitted(kea: &Kea) -> Client {
    kea.client().with(82, FOO_BAR).with(77, "test")
}

#[test]
fn a_library_that_does_nothing_changes_nothing() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = start(threads, &service, "pkt4_send", "nothing");
        let offer = admitted(&kea).discover();
        assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
        kea.stop().assert_clean();
    });
}

#[test]
fn a_packet_dropped_or_skipped_before_it_has_a_subnet_is_not_looked_up() {
    in_both_modes(|threads| {
        for (point, deed, message) in [
            ("pkt4_receive", "drop", "DHCP4_HOOK_PACKET_RCVD_SKIP"),
            ("pkt4_receive", "skip", "DHCP4_HOOK_PACKET_RCVD_SKIP"),
            ("subnet4_select", "drop", "DHCP4_HOOK_SUBNET4_SELECT_DROP"),
            ("subnet4_select", "skip", "DHCP4_HOOK_SUBNET4_SELECT_SKIP"),
        ] {
            let service = Service::json(json!({"224": "somestring"}));
            let kea = start(threads, &service, point, deed);
            // The filter refuses the second client. The hook logs it where it looks at the packet.
            let clients = [admitted(&kea), kea.client().with(82, FOO_BAR).with(77, "other")];
            for client in &clients {
                client.send_discover();
                kea.logged(&[message, &client.hwaddr()]);
            }
            let end = kea.stop();
            assert_eq!(service.asked(), 0, "{point}: {deed}");
            let ours = |line: &&String| {
                line.contains(HOOK_LOGGER)
                    && clients.iter().any(|client| line.contains(&client.hwaddr()))
            };
            let lines = end.log.iter().filter(ours).collect::<Vec<_>>();
            match point {
                "pkt4_receive" => assert_eq!(lines, [""; 0], "{deed}"),
                _ => assert!(lines.iter().all(|line| line.contains("NOT_ADMITTED")), "{lines:#?}"),
            }
            end.assert_clean();
        }
    });
}

#[test]
fn an_exception_before_there_is_a_subnet_is_logged_and_the_reply_goes_out_unchanged() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = start(threads, &service, "subnet4_select", "spoil");
        for reply in admitted(&kea).exchange() {
            assert_eq!(reply.option(224), None);
        }
        assert_exception_logged(kea, "subnet4_select");
        assert_eq!(service.asked(), 0);
    });
}

/// A lookup in which an exception is thrown counts as a failed lookup.
#[test]
fn an_exception_in_a_lookup_is_answered_as_on_error_says() {
    in_both_modes(|threads| {
        for on_error in ["continue", "drop"] {
            let service = Service::json(json!({"224": "somestring"}));
            let kea = Setup::new(threads)
                .library(earlier_library(), json!({"pkt4_receive": "unreadable"}))
                .hook(json!({"url": service.url("/"), "user-class": "test", "on-error": on_error}))
                // Otherwise Kea reads the unreadable option for the reply.
                .set("echo-client-id", json!(false))
                .start();
            let client = admitted(&kea);
            if on_error == "continue" {
                assert_eq!(client.discover().option(224), None);
            } else {
                client.send_discover();
            }
            kea.logged(&["REMOPTS_EXCEPTION", "pkt4_receive", "unreadable"]);
            wait_until("the failure", || kea.statistic("remote-opts-failed") == Some(1));
            assert_eq!(kea.statistic("remote-opts-dropped"), Some(i64::from(on_error == "drop")));
            // The hook does not read the options of a client that is not looked up.
            assert_eq!(
                kea.client().with(82, FOO_BAR).with(77, "other").discover().option(224),
                None
            );
            assert!(!client.has_reply());
            assert!(kea.stop().status.success());
            assert_eq!(service.asked(), 0);
        }
    });
}

#[test]
fn a_dropped_reply_stays_dropped() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = start(threads, &service, "pkt4_send", "drop");
        let client = admitted(&kea);
        client.send_discover();
        kea.logged(&["DHCP4_HOOK_PACKET_SEND_DROP", &client.hwaddr()]);
        let end = kea.stop();
        end.assert_clean();
        assert!(!client.has_reply());
        assert_eq!(service.asked(), 1);
        assert!(!end.log.iter().any(|line| line.contains("REMOPTS_EDITED")), "{:#?}", end.log);
    });
}

/// The earlier library has packed the reply itself: the hook cannot edit it any more.
#[test]
fn a_reply_that_is_packed_already_goes_out_as_it_is() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = start(threads, &service, "pkt4_send", "skip");
        for reply in admitted(&kea).exchange() {
            assert_eq!(reply.option(224), None);
        }
        let line = kea.logged(&["REMOPTS_NOT_EDITED"]);
        assert!(line.starts_with("WARN"), "{line}");
        let end = kea.stop();
        assert!(end.status.success());
        assert_eq!(service.asked(), 1);
        assert!(!end.log.iter().any(|line| line.contains("REMOPTS_EDITED")), "{:#?}", end.log);
    });
}

#[test]
fn an_exception_on_sending_is_logged_and_the_reply_goes_out_unchanged() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = start(threads, &service, "pkt4_send", "spoil");
        for reply in admitted(&kea).exchange() {
            assert_eq!(reply.option(224), None);
        }
        assert_exception_logged(kea, "pkt4_send");
        assert_eq!(service.asked(), 1);
    });
}

#[track_caller]
fn assert_exception_logged(kea: Kea, callout: &str) {
    let line = kea.logged(&["REMOPTS_EXCEPTION", callout]);
    assert!(line.starts_with("ERROR"), "{line}");
    let end = kea.stop();
    assert!(end.status.success());
    let caught_by_kea = end.log.iter().find(|line| line.contains("HOOKS_CALLOUT_EXCEPTION"));
    assert_eq!(caught_by_kea, None);
}
