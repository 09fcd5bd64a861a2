// SPDX-License-Identifier: MPL-2.0
//! TLS and credentials: the hook checks who the service is, shows who it is itself, and keeps its
//! secrets out of the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use openssl::pkey::{PKey, Private};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{FOO_BAR, in_both_modes, preloaded};
use remote_opts_test_support::certificates::{Authority, Identity, elliptic_key, rsa_key};
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Request, Service};
use remote_opts_test_support::wait_until;

fn answer() -> Answer {
    Answer::json(json!({"224": "somestring"}))
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("tls-").tempdir().expect("a folder")
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    path
}

/// A server that asks this service, with these parameters and the `url`.
fn setup(threads: Threads, service: &Service, mut parameters: Value) -> Setup {
    parameters["url"] = service.url("/").into();
    Setup::new(threads).hook(parameters)
}

#[track_caller]
fn assert_answered(threads: Threads, service: &Service, parameters: Value) {
    let kea = setup(threads, service, parameters).start();
    for reply in kea.client().with(82, FOO_BAR).exchange() {
        assert_eq!(reply.chain().as_deref(), Some("somestring"));
    }
    kea.stop().assert_clean();
}

/// Checks that no request reaches the service, and that one of `reasons` is in the log.
#[track_caller]
fn assert_not_asked(threads: Threads, service: &Service, parameters: Value, reasons: &[&str]) {
    let kea = setup(threads, service, parameters).start();
    let client = kea.client().with(82, FOO_BAR);
    for reply in client.exchange() {
        assert_eq!(reply.chain(), None);
    }
    assert_eq!(service.asked(), 0);
    let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), &service.url("/")]);
    assert!(reasons.iter().any(|reason| line.contains(reason)), "{line} says none of {reasons:?}");
}

#[test]
fn a_private_authority_is_trusted_if_the_operator_says_so() {
    in_both_modes(|threads| {
        let folder = folder();
        let [authority, other] = ["authority", "other"].map(Authority::new);
        let service = Service::tls(&authority.server("127.0.0.1"), None, answer());
        let [own, others] = [("own.pem", &authority), ("others.pem", &other)]
            .map(|(name, authority)| write(&folder, name, authority.certificate_pem()));
        assert_answered(threads, &service, json!({"trust-anchor": own}));
        assert!(service.asked() > 0);

        let service = Service::tls(&authority.server("127.0.0.1"), None, answer());
        assert_not_asked(threads, &service, json!({"trust-anchor": others}), &["certificate"]);
        assert_not_asked(threads, &service, json!({}), &["certificate"]);
    });
}

#[test]
fn a_load_without_an_authority_for_an_https_service_says_what_to_do() {
    static UNREADABLE: OnceLock<String> = OnceLock::new();
    let closed = || UNREADABLE.get_or_init(|| preloaded("unreadable"));
    in_both_modes(|threads| {
        let folder = folder();
        let authority = Authority::new("authority");
        let anchor = write(&folder, "authority.pem", authority.certificate_pem());
        let service = Service::tls(&authority.server("127.0.0.1"), None, answer());

        let without = setup(threads, &service, json!({})).env("LD_PRELOAD", closed());
        let kea = without.start();
        let line = kea.logged(&["WARN", "REMOPTS_NO_AUTHORITY"]);
        // Where OpenSSL's own package is, the first file is a link to the other one.
        let named = ["/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/cert.pem"]
            .iter()
            .any(|file| line.contains(&format!("{file}: Permission denied")));
        assert!(named, "{line}");
        // The request fails indeed.
        let client = kea.client().with(82, FOO_BAR);
        client.exchange();
        kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), "certificate"]);
        // At a reload, too.
        kea.reload().unwrap();
        wait_until("the warning of the reload", || kea.count("REMOPTS_NO_AUTHORITY") == 2);
        drop(kea);

        // Nobody needs the system's authorities beside `trust-anchor`, or without https.
        let own = setup(threads, &service, json!({"trust-anchor": anchor}));
        let plain = setup(threads, &Service::answering(answer()), json!({}));
        // The authorities of this machine can be read.
        let systems = setup(threads, &service, json!({}));
        for setup in [own.env("LD_PRELOAD", closed()), plain.env("LD_PRELOAD", closed()), systems] {
            let kea = setup.start();
            kea.logged(&["REMOPTS_LOADED"]);
            assert_eq!(kea.stop().complaints(), Vec::<&str>::new());
        }
    });
}

#[test]
fn a_trust_anchor_may_hold_several_certificates() {
    in_both_modes(|threads| {
        let authorities = ["first", "second", "third"].map(Authority::new);
        let pem = authorities.each_ref().map(Authority::certificate_pem);
        let files = folder();
        let bundle = write(&files, "bundle.pem", pem.concat());
        let anchors = folder();
        for (name, pem) in ["first.pem", "second.pem", "third.pem"].iter().zip(&pem) {
            write(&anchors, name, pem);
        }
        for authority in &authorities {
            let service = Service::tls(&authority.server("127.0.0.1"), None, answer());
            for anchor in [&bundle, anchors.path()] as [&Path; 2] {
                assert_answered(threads, &service, json!({"trust-anchor": anchor}));
            }
        }
    });
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    in_both_modes(|threads| {
        let folder = folder();
        let authority = Authority::new("authority");
        let anchor = write(&folder, "authority.pem", authority.certificate_pem());
        for host in ["service.example", "127.0.0.2", "localhost"] {
            let service = Service::tls(&authority.server(host), None, answer());
            assert_not_asked(
                threads,
                &service,
                json!({"trust-anchor": anchor}),
                &["certificate", "mismatch"],
            );
        }
    });
}

/// Keys in the forms that tools write: PKCS#8, SEC1 and PKCS#1.
fn client_keys() -> [(PKey<Private>, Vec<u8>); 3] {
    let [elliptic, rsa] = [elliptic_key(), rsa_key()];
    let pkcs8 = elliptic.private_key_to_pem_pkcs8().expect("PEM");
    let sec1 = elliptic.ec_key().expect("an elliptic key").private_key_to_pem().expect("PEM");
    let pkcs1 = rsa.rsa().expect("an RSA key").private_key_to_pem().expect("PEM");
    [(elliptic.clone(), pkcs8), (elliptic, sec1), (rsa, pkcs1)]
}

#[test]
fn a_service_that_asks_for_a_certificate_gets_the_client_certificate() {
    in_both_modes(|threads| {
        let folder = folder();
        let [authority, clients] = ["authority", "clients"].map(Authority::new);
        let anchor = write(&folder, "authority.pem", authority.certificate_pem());
        for (key, pem) in client_keys() {
            let identity = clients.client("kea of the test", key);
            let certificate = write(&folder, "client.pem", identity.certificate_pem());
            let key = write(&folder, "client.key", pem);
            let service = Service::tls(&authority.server("127.0.0.1"), Some(&clients), answer());
            let parameters =
                json!({"trust-anchor": anchor, "cert-file": certificate, "key-file": key});
            assert_answered(threads, &service, parameters);
            assert_eq!(service.requests()[0].client.as_deref(), Some("kea of the test"));
        }
    });
}

#[test]
fn a_service_that_asks_for_a_certificate_is_not_asked_without_one() {
    in_both_modes(|threads| {
        let folder = folder();
        let [authority, clients] = ["authority", "clients"].map(Authority::new);
        let anchor = write(&folder, "authority.pem", authority.certificate_pem());
        let service = Service::tls(&authority.server("127.0.0.1"), Some(&clients), answer());
        assert_not_asked(
            threads,
            &service,
            json!({"trust-anchor": anchor}),
            &["ertificate", "onnection"],
        );

        // This certificate is of another authority than the service asks for.
        let stranger = authority.client("stranger", elliptic_key());
        let (certificate, key) = write_identity(&folder, "stranger", &stranger);
        let parameters = json!({"trust-anchor": anchor, "cert-file": certificate, "key-file": key});
        assert_not_asked(threads, &service, parameters, &["ertificate", "onnection", "ca"]);
    });
}

fn write_identity(folder: &TempDir, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
    let certificate = write(folder, &format!("{name}.pem"), identity.certificate_pem());
    (certificate, write(folder, &format!("{name}.key"), identity.key_pem()))
}

const HEADER: &str = "hidden header of the test";
const TOKEN: &str = "hidden-token.of~the+test/1==";

#[test]
fn headers_and_the_token_are_sent_with_every_request() {
    in_both_modes(|threads| {
        let folder = folder();
        let service = Service::answering(answer().cache_control("no-store"));
        // Editors and echo end a file with a line feed.
        for content in [TOKEN.to_string(), format!("{TOKEN}\n"), format!("{TOKEN}\r\n")] {
            let before = service.asked();
            let parameters = json!({
                "headers": {"X-Api-Key": HEADER, "X-Empty": "", "X-Site": "größer"},
                "bearer-token-file": write(&folder, "token", content),
            });
            let kea = setup(threads, &service, parameters).start();
            for _ in 0..2 {
                kea.client().with(82, FOO_BAR).exchange();
            }
            let requests = &service.requests()[before..];
            assert_eq!(requests.len(), 2);
            for request in requests {
                assert_eq!(request.header("X-Api-Key"), Some(HEADER));
                assert_eq!(request.header("X-Empty"), Some(""));
                assert_eq!(request.header("X-Site"), Some("größer"));
                assert_eq!(request.header("Authorization"), Some(&*format!("Bearer {TOKEN}")));
                assert_eq!(request.header("Accept"), Some("application/json"));
            }
            kea.stop().assert_clean();
        }
    });
}

#[test]
fn every_service_gets_the_headers() {
    in_both_modes(|threads| {
        let first = Service::answering(Answer::status(500, ""));
        let second = Service::answering(answer());
        let parameters =
            json!({"url": [first.url("/"), second.url("/")], "headers": {"X-Api-Key": HEADER}});
        let kea = Setup::new(threads).hook(parameters).start();
        assert!(kea.client().with(82, FOO_BAR).discover().chain().is_some());
        for service in [first, second] {
            assert_eq!(service.requests()[0].header("X-Api-Key"), Some(HEADER));
        }
    });
}

#[test]
fn the_token_is_read_again_at_each_reload() {
    in_both_modes(|threads| {
        let folder = folder();
        let service = Service::answering(answer().cache_control("no-store"));
        let parameters = json!({"bearer-token-file": write(&folder, "token", "first")});
        let kea = setup(threads, &service, parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        write(&folder, "token", "second");
        kea.reload().unwrap();
        kea.client().with(82, FOO_BAR).discover();
        let tokens = service.requests();
        let tokens = tokens.iter().map(|request| request.header("Authorization").unwrap());
        assert_eq!(tokens.collect::<Vec<_>>(), ["Bearer first", "Bearer second"]);
    });
}

/// What a service says that takes this token alone.
fn only(token: &'static str) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    move |request| match request.header("Authorization") {
        Some(given) if given == format!("Bearer {token}") => answer().cache_control("no-store"),
        _ => Answer::status(401, ""),
    }
}

#[test]
fn a_token_that_was_replaced_is_read_again_within_seconds() {
    in_both_modes(|threads| {
        let folder = folder();
        let service = Service::answering(answer().cache_control("no-store"));
        let parameters = json!({"bearer-token-file": write(&folder, "token", "first")});
        let kea = setup(threads, &service, parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        write(&folder, "token", "second");
        kea.logged(&["INFO", "REMOPTS_FILES_READ"]);
        kea.client().with(82, FOO_BAR).discover();
        // A broken file leaves the token in use that was read before.
        write(&folder, "token", "");
        kea.logged(&["ERROR", "REMOPTS_FILES_NOT_READ", "bearer-token-file"]);
        kea.client().with(82, FOO_BAR).discover();
        let tokens = service.requests();
        let tokens = tokens.iter().map(|request| request.header("Authorization").unwrap());
        assert_eq!(tokens.collect::<Vec<_>>(), ["Bearer first", "Bearer second", "Bearer second"]);
    });
}

/// The first request that the service refuses brings the new token, and its client the answer.
#[test]
fn a_token_that_was_replaced_is_read_again_at_once_on_a_401() {
    in_both_modes(|threads| {
        let folder = folder();
        let service = Service::scripted(only("first"));
        let parameters = json!({"bearer-token-file": write(&folder, "token", "first")});
        let kea = setup(threads, &service, parameters).start();
        for token in ["second", "third", "fourth"] {
            assert!(kea.client().with(82, FOO_BAR).discover().chain().is_some());
            service.script(only(token));
            write(&folder, "token", token);
        }
        assert!(kea.client().with(82, FOO_BAR).discover().chain().is_some());
        assert_eq!(kea.count("REMOPTS_LOOKUP_FAILED"), 0);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_client_certificate_that_was_replaced_is_shown_within_seconds() {
    in_both_modes(|threads| {
        let folder = folder();
        let [authority, clients] = ["authority", "clients"].map(Authority::new);
        let anchor = write(&folder, "authority.pem", authority.certificate_pem());
        let replace = |name| {
            let identity = clients.client(name, elliptic_key());
            write_identity(&folder, "client", &identity)
        };
        let (certificate, key) = replace("first");
        let service = Service::tls(
            &authority.server("127.0.0.1"),
            Some(&clients),
            answer().cache_control("no-store"),
        );
        let parameters = json!({"trust-anchor": anchor, "cert-file": certificate, "key-file": key});
        let kea = setup(threads, &service, parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        replace("second");
        kea.logged(&["REMOPTS_FILES_READ"]);
        // The look at the files may have come between certificate and key.
        wait_until("the new certificate", || {
            assert!(kea.client().with(82, FOO_BAR).discover().chain().is_some());
            service.requests().last().unwrap().client.as_deref() == Some("second")
        });
        assert_eq!(service.requests()[0].client.as_deref(), Some("first"));
    });
}

/// Checks that none of `secrets` is in the log of this server. Lines of Kea's own that show the
/// whole configuration, with `headers`, are left out.
#[track_caller]
fn assert_secret(kea: Kea, secrets: &[&str]) {
    let end = kea.stop();
    let ours = format!("[{HOOK_LOGGER}]");
    let log =
        end.log.iter().filter(|line| line.contains(&ours) || !line.contains("hooks-libraries"));
    let log = log.collect::<Vec<_>>();
    // The HTTP client has logged something, so that the search means something.
    assert!(
        log.iter().any(|line| line.contains("REMOPTS_HTTP_LIBRARY")),
        "no line of the HTTP library"
    );
    for secret in secrets {
        let line = log.iter().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}

#[test]
fn nothing_secret_is_in_the_log_at_any_level() {
    in_both_modes(|threads| {
        let folder = folder();
        let [authority, clients] = ["authority", "clients"].map(Authority::new);
        let anchor = write(&folder, "authority.pem", authority.certificate_pem());
        let identity = clients.client("kea", elliptic_key());
        let (certificate, key) = write_identity(&folder, "client", &identity);
        let good = Service::tls(
            &authority.server("127.0.0.1"),
            Some(&clients),
            answer().cache_control("no-store"),
        );
        let bad = Service::tls(
            &authority.server("127.0.0.1"),
            Some(&clients),
            Answer::status(500, HEADER),
        );
        let stranger = Service::tls(&authority.server("service.example"), None, answer());
        let plain = Service::answering(Answer::HangUp);

        let parameters = json!({
            "url": [stranger.url("/"), bad.url("/"), plain.url("/"), good.url("/")],
            "trust-anchor": anchor,
            "cert-file": certificate,
            "key-file": key,
            "headers": {"X-Api-Key": HEADER},
            "bearer-token-file": write(&folder, "token", TOKEN),
        });
        let kea =
            Setup::new(threads).hook(parameters).debug("kea-dhcp4").debug(HOOK_LOGGER).start();
        // The services answer, fail and go down. Then everything begins anew.
        for _ in 0..2 {
            for _ in 0..5 {
                kea.client().with(82, FOO_BAR).exchange();
            }
            kea.reload().unwrap();
        }
        assert_eq!(good.asked(), 10);
        assert_eq!(good.requests()[0].header("Authorization"), Some(&*format!("Bearer {TOKEN}")));
        assert!(plain.asked() > 0 && bad.asked() > 0);
        let pem = String::from_utf8(identity.key_pem()).unwrap();
        assert_secret(kea, &[TOKEN, HEADER, pem.lines().nth(1).unwrap()]);
    });
}

#[test]
fn nothing_secret_is_in_the_responses_of_commands_or_in_the_file_of_kept_answers() {
    in_both_modes(|threads| {
        let folder = folder();
        let service = Service::answering(answer());
        let file = folder.path().join("answers");
        let parameters = json!({
            "url": service.url("/").replace("//", "//user:open%20sesame@"),
            "headers": {"X-Api-Key": HEADER},
            "cache-file": file,
        });
        let kea = Setup::new(threads).hook(parameters).start();
        kea.client().with(82, FOO_BAR).exchange();
        service.answer(Answer::status(500, HEADER));
        let client = json!({"sub-options": {"1": "666F6F", "2": "626172"}});
        let fresh = json!({"sub-options": {"1": "00"}, "fresh": true});
        for (command, arguments) in [
            ("remote-opts-lookup", client.clone()),
            ("remote-opts-lookup", fresh),
            ("remote-opts-cache-get", client),
            ("remote-opts-cache-list", json!({"limit": 10, "from": "start"})),
            ("remote-opts-cache-write", json!({})),
            ("remote-opts-status", json!({})),
        ] {
            let response = kea.command_with(command, arguments).expect("a response").to_string();
            assert!(response.contains("\"result\":0") || response.contains("\"result\":3"));
            for secret in ["sesame", "dXNlcjpvcGVuIHNlc2FtZQ", HEADER] {
                assert!(!response.contains(secret), "{command}: {response}");
            }
        }
        let sent = service.requests();
        assert_eq!(sent[0].header("X-Api-Key"), Some(HEADER));
        let text = fs::read_to_string(file).expect("the file");
        assert!(text.lines().count() > 1 && !text.contains("sesame") && !text.contains(HEADER));
    });
}

#[test]
fn the_password_in_an_url_is_sent_and_is_not_in_the_log() {
    in_both_modes(|threads| {
        let service = Service::answering(answer());
        let url = service.url("/").replace("//", "//user:open%20sesame@");
        let kea = Setup::new(threads)
            .hook(json!({"url": url, "cache-ttl": 0}))
            .debug("kea-dhcp4")
            .debug(HOOK_LOGGER)
            .start();
        kea.client().with(82, FOO_BAR).exchange();
        service.answer(Answer::status(500, ""));
        kea.client().with(82, FOO_BAR).exchange();
        let sent = service.requests()[0].header("Authorization").map(str::to_owned);
        assert_eq!(sent.as_deref(), Some("Basic dXNlcjpvcGVuIHNlc2FtZQ=="));
        assert_secret(kea, &["sesame", "dXNlcjpvcGVuIHNlc2FtZQ"]);
    });
}
