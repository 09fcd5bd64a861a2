//! Other hook libraries, listed before ours: what they decide holds, and what they break is reported.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::dhcp::Client;
use crate::support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use crate::support::wait_until;
use crate::{FOO_BAR, in_both_modes};

/// A library that gets in the way as its parameters say, built at its first use.
fn earlier_library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let headers = env::var_os("KEA_INCLUDE_DIR").unwrap_or_else(|| "/usr/include/kea".into());
        // Under its name only once it is whole: another test process may be at the same work.
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libearlier.so");
        let unfinished = library.with_extension(std::process::id().to_string());
        let mut compiler = Command::new("g++")
            .args(["-shared", "-fPIC", "-x", "c++", "-", "-o"])
            .arg(&unfinished)
            .arg("-I")
            .arg(headers)
            .stdin(Stdio::piped())
            .spawn()
            .expect("g++, which is in Debian's package g++");
        let source = include_bytes!("../support/earlier_library.cc");
        compiler.stdin.take().unwrap().write_all(source).expect("the source piped to g++");
        assert!(
            compiler.wait().expect("the status of g++").success(),
            "Kea's headers are in Debian's package kea-dev"
        );
        fs::rename(unfinished, &library).expect("the built library");
        library
    })
}

/// A server whose earlier library does this at that hook point, and whose log tells all about packets.
fn start(threads: Threads, backend: &Backend, point: &str, deed: &str) -> Kea {
    Setup::new(threads)
        .library(earlier_library(), json!({point: deed}))
        .hook(json!({"url": backend.url("/"), "user-class": "test"}))
        .debug("kea-dhcp4")
        .start()
}

/// A client that passes the filter and has a name.
fn admitted(kea: &Kea) -> Client {
    kea.client().with(82, FOO_BAR).with(77, "test")
}

#[test]
fn a_library_that_does_nothing_changes_nothing() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = start(threads, &backend, "pkt4_send", "nothing");
        let offer = admitted(&kea).discover();
        assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
        kea.stop().assert_clean();
    });
}

#[test]
fn a_packet_dropped_or_skipped_before_it_has_a_subnet_is_not_looked_up() {
    in_both_modes(|threads| {
        for (deed, message) in
            [("drop", "DHCP4_HOOK_SUBNET4_SELECT_DROP"), ("skip", "DHCP4_HOOK_SUBNET4_SELECT_SKIP")]
        {
            let backend = Backend::json(json!({"224": "somestring"}));
            let kea = start(threads, &backend, "subnet4_select", deed);
            // Had our library looked at the second, its filter would have said so in the log.
            let clients = [admitted(&kea), kea.client().with(82, FOO_BAR).with(77, "other")];
            for client in &clients {
                client.send_discover();
                kea.logged(&[message, &client.hwaddr()]);
            }
            let end = kea.stop();
            assert_eq!(backend.asked(), 0, "{deed}");
            let ours = |line: &&String| {
                line.contains(HOOK_LOGGER) && clients.iter().any(|client| line.contains(&client.hwaddr()))
            };
            assert_eq!(end.log.iter().find(ours), None, "{deed}");
            end.assert_clean();
        }
    });
}

#[test]
fn an_exception_before_there_is_a_subnet_is_logged_and_the_reply_goes_out_unchanged() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = start(threads, &backend, "subnet4_select", "spoil");
        for reply in admitted(&kea).exchange() {
            assert_eq!(reply.option(224), None);
        }
        assert_exception_logged(kea, "subnet4_select");
        assert_eq!(backend.asked(), 0);
    });
}

/// What goes wrong in a lookup is a lookup that failed.
#[test]
fn an_exception_in_a_lookup_is_answered_as_on_error_says() {
    in_both_modes(|threads| {
        for on_error in ["continue", "drop"] {
            let backend = Backend::json(json!({"224": "somestring"}));
            let kea = Setup::new(threads)
                .library(earlier_library(), json!({"subnet4_select": "unreadable"}))
                .hook(json!({"url": backend.url("/"), "user-class": "test", "on-error": on_error}))
                // The reply would have the option, too.
                .set("echo-client-id", json!(false))
                .start();
            let client = admitted(&kea);
            if on_error == "continue" {
                assert_eq!(client.discover().option(224), None);
            } else {
                client.send_discover();
            }
            kea.logged(&["REMOPTS_EXCEPTION", "subnet4_select", "unreadable"]);
            wait_until("the failure", || kea.statistic("remote-opts-failed") == Some(1));
            assert_eq!(kea.statistic("remote-opts-dropped"), Some(i64::from(on_error == "drop")));
            // Who is not looked up is not read, either.
            assert_eq!(kea.client().with(82, FOO_BAR).with(77, "other").discover().option(224), None);
            assert!(!client.has_reply());
            assert!(kea.stop().status.success());
            assert_eq!(backend.asked(), 0);
        }
    });
}

#[test]
fn a_dropped_reply_stays_dropped() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = start(threads, &backend, "pkt4_send", "drop");
        let client = admitted(&kea);
        client.send_discover();
        kea.logged(&["DHCP4_HOOK_PACKET_SEND_DROP", &client.hwaddr()]);
        let end = kea.stop();
        end.assert_clean();
        assert!(!client.has_reply());
        assert_eq!(backend.asked(), 1);
        assert!(!end.log.iter().any(|line| line.contains("REMOPTS_OVERRIDDEN")), "{:#?}", end.log);
    });
}

/// The earlier library has packed the reply by itself: it is out of our hands.
#[test]
fn a_reply_that_is_packed_already_goes_out_as_it_is() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = start(threads, &backend, "pkt4_send", "skip");
        for reply in admitted(&kea).exchange() {
            assert_eq!(reply.option(224), None);
        }
        let end = kea.stop();
        end.assert_clean();
        assert_eq!(backend.asked(), 1);
        assert!(!end.log.iter().any(|line| line.contains("REMOPTS_OVERRIDDEN")), "{:#?}", end.log);
    });
}

#[test]
fn an_exception_on_sending_is_logged_and_the_reply_goes_out_unchanged() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = start(threads, &backend, "pkt4_send", "spoil");
        for reply in admitted(&kea).exchange() {
            assert_eq!(reply.option(224), None);
        }
        assert_exception_logged(kea, "pkt4_send");
        assert_eq!(backend.asked(), 1);
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
