// SPDX-License-Identifier: MPL-2.0
//! Parameters that cannot work: Kea does not start, and the log names the parameter and what the
//! parameter takes.

use std::fs;
use std::os::unix::fs::symlink;

use openssl::symm::Cipher;
use serde_json::{Value, json};
use tempfile::TempDir;

use remote_opts_test_support::certificates::{Authority, elliptic_key};
use remote_opts_test_support::kea::{End, Setup, Threads, parks};
use remote_opts_test_support::library;

/// Starts Kea with these parameters. Looks for all of `parts` in the one message that tells why Kea
/// did not start.
#[track_caller]
fn assert_refused(parameters: Value, parts: &[&str]) -> End {
    let end = Setup::new(Threads::One).hook(parameters.clone()).refused();
    let log = end.log.join("\n");
    assert_eq!(end.status.code(), Some(1), "{parameters}:\n{log}");
    let mut lines = end.log.iter().filter(|line| line.contains("REMOPTS_LOAD_ERROR"));
    let line =
        lines.next().unwrap_or_else(|| panic!("{parameters}: no REMOPTS_LOAD_ERROR in\n{log}"));
    assert!(line.starts_with("ERROR"), "{line}");
    assert!(
        parts.iter().all(|part| line.contains(part)),
        "{parameters}: not all of {parts:?} are in {line}"
    );
    assert_eq!(lines.next(), None);
    end
}

const URL: &str = "http://127.0.0.1:1/";

/// docs/daily-work.md says which of Kea's checks read the parameters.
#[test]
fn only_kea_s_full_check_reads_the_parameters() {
    let good = Setup::new(Threads::One).hook_as_given(with_url("timeout", json!(1000)));
    let bad = Setup::new(Threads::One).hook_as_given(with_url("timeout", json!("fast")));
    assert!(bad.check_syntax().status.success());
    let full = bad.check();
    // Kea 2.2 has no full check.
    assert_eq!(full.status.success(), !parks(), "{}", full.log.join("\n"));
    assert_eq!(full.log.iter().any(|line| line.contains("REMOPTS_LOAD_ERROR")), parks());
    assert!(good.check().status.success());

    let kea = good.start();
    let mut configuration = kea.configuration();
    configuration["Dhcp4"]["hooks-libraries"][0]["parameters"]["timeout"] = json!("fast");
    let response = kea.command_with("config-test", configuration).expect("a response");
    assert_eq!(response["result"], 0, "{response}");
    kea.stop().assert_clean();
}

/// This parameter, and a `url` that works.
fn with_url(name: &str, value: Value) -> Value {
    json!({"url": URL, name: value})
}

/// The library would rename a folder or a device, to put the file in its place.
#[test]
fn a_cache_file_that_is_no_file() {
    let folder = TempDir::new().expect("a folder");
    for path in [folder.path().to_str().expect("UTF-8"), "/dev/null"] {
        assert_refused(with_url("cache-file", json!(path)), &["\"cache-file\"", path, "no file"]);
    }
}

#[test]
fn missing_url() {
    assert_refused(json!({}), &["\"url\"", "missing", "http"]);
    assert_refused(json!({"user-class": "test"}), &["\"url\"", "missing", "http"]);
    let end = Setup::new(Threads::One).hook(Value::Null).refused();
    assert!(!end.status.success(), "no parameters at all");
}

#[test]
fn the_library_listed_twice() {
    let folder = TempDir::new().expect("a folder");
    let again = folder.path().join("libremote_opts_again.so");
    symlink(library::path(), &again).expect("a link");
    let end = Setup::new(Threads::One)
        .hook(json!({"url": URL}))
        .library(&again, json!({"url": URL}))
        .refused();
    let log = end.log.join("\n");
    assert_eq!(end.status.code(), Some(1), "{log}");
    assert!(
        log.contains("REMOPTS_LOAD_ERROR") && log.contains("\"hooks-libraries\" twice"),
        "{log}"
    );
}

#[test]
fn url_of_a_wrong_type() {
    for value in [json!(7), json!(true), json!({"a": "b"}), json!([]), json!([7]), json!([[URL]])] {
        assert_refused(json!({"url": value}), &["\"url\"", "http", "https"]);
    }
}

#[test]
fn url_that_cannot_work() {
    for value in [
        "",
        " ",
        "not a url",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "127.0.0.1:80",
        "//host/",
        "http://",
    ] {
        assert_refused(json!({"url": value}), &["\"url\"", value, "http", "https"]);
    }
}

#[test]
fn list_of_urls_that_cannot_work() {
    let different = |number| (0..number).map(|port| format!("http://127.0.0.1:{}/", port + 1));
    for list in [
        json!([URL, "ftp://127.0.0.1/"]),
        json!(["", URL]),
        json!([URL, URL]),
        json!(different(17).collect::<Vec<_>>()),
    ] {
        assert_refused(json!({"url": list}), &["\"url\"", "http", "https"]);
    }
    let list = different(16).collect::<Vec<_>>();
    let end = Setup::new(Threads::One).hook(json!({"url": list})).start().stop();
    end.assert_clean();
    let loaded = end.log.iter().find(|line| line.contains("REMOPTS_LOADED")).unwrap();
    assert!(list.iter().all(|url| loaded.contains(url)), "{loaded}");
}

#[test]
fn unknown_parameter() {
    for name in ["tiemout", "URL", "user class", "größe"] {
        assert_refused(
            with_url(name, json!(1000)),
            &["unknown", "url", "user-class", "machine-guid", "timeout"],
        );
    }
    assert_refused(with_url("tiemout", json!(1000)), &["\"tiemout\""]);
}

#[test]
fn timeout_that_cannot_work() {
    for value in
        [json!("1000"), json!(0), json!(-5), json!(1.5), json!(true), json!([1000]), json!({})]
    {
        let text = value.to_string();
        assert_refused(
            with_url("timeout", value),
            &["\"timeout\"", text.trim_matches(['[', ']', '{', '}']), "milliseconds"],
        );
    }
}

#[test]
fn filter_that_cannot_work() {
    for name in ["user-class", "machine-guid"] {
        for value in
            [json!(5), json!(""), json!(true), json!([]), json!(["test", 5]), json!({"a": "b"})]
        {
            assert_refused(with_url(name, value), &[&format!("\"{name}\""), "text"]);
        }
    }
}

#[test]
fn one_parameter_given_twice() {
    for (one, other) in [
        ("user-class", "user_class"),
        ("machine-guid", "machine_guid"),
        ("machine-guid", "machine-id"),
        ("machine_guid", "machine_id"),
    ] {
        assert_refused(json!({"url": URL, one: "test", other: "test"}), &[one, other]);
    }
}

#[test]
fn number_that_cannot_work() {
    for (name, too_small, too_large) in [
        ("cache-ttl", -1, 31_536_001),
        ("cache-size", -1, 10_000_001),
        ("stale-if-error", -1, 31_536_001),
        ("max-in-flight", 0, 1_000_001),
        ("timeout", 0, 600_001),
    ] {
        let others = [json!("10"), json!(1.5), json!(true), json!([10])];
        for value in [json!(too_small), json!(too_large)].into_iter().chain(others) {
            let largest = (too_large - 1).to_string();
            let text = value.to_string();
            let parts = [&format!("\"{name}\""), text.trim_matches(['[', ']']), &largest];
            assert_refused(with_url(name, value), &parts);
        }
        for value in [too_small + 1, too_large - 1] {
            Setup::new(Threads::One)
                .hook(with_url(name, json!(value)))
                .start()
                .stop()
                .assert_clean();
        }
    }
}

#[test]
fn on_error_that_cannot_work() {
    for value in [json!("ignore"), json!("Drop"), json!(""), json!(5), json!(true)] {
        let text = value.to_string();
        assert_refused(
            with_url("on-error", value),
            &["\"on-error\"", &text, "\"continue\"", "\"drop\""],
        );
    }
}

/// A secret, which must not be in the log.
const SECRET: &str = "hidden-value";

/// As [`assert_refused`]. Checks also that [`SECRET`] is not in the log.
#[track_caller]
fn assert_refused_silently(parameters: Value, parts: &[&str]) {
    let end = assert_refused(parameters.clone(), parts);
    assert_eq!(end.log.iter().find(|line| line.contains(SECRET)), None, "{parameters}");
}

#[test]
fn headers_that_cannot_work() {
    for value in [json!(SECRET), json!([SECRET]), json!(5), json!(true)] {
        assert_refused_silently(with_url("headers", value), &["\"headers\""]);
    }
    for value in
        [json!(5), json!([SECRET]), json!({"a": SECRET}), json!(format!("{SECRET}\r\nX-Other: 1"))]
    {
        assert_refused_silently(
            with_url("headers", json!({"X-Api-Key": value})),
            &["\"headers\"", "X-Api-Key"],
        );
    }
    for name in ["", "X Api Key", "X-Api-Key:"] {
        assert_refused_silently(with_url("headers", json!({name: SECRET})), &["\"headers\"", name]);
    }
    // Some versions of Kea do not hand such a name over whole.
    assert_refused_silently(with_url("headers", json!({"größer": SECRET})), &["\"headers\""]);
}

/// A folder for the files that parameters name.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a folder"))
    }

    fn with(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }
}

#[test]
fn bearer_token_file_that_cannot_work() {
    let files = Files::new();
    for value in [json!(5), json!(""), json!([SECRET])] {
        assert_refused(with_url("bearer-token-file", value), &["\"bearer-token-file\""]);
    }
    for path in [
        files.path("missing"),
        files.path(""),
        files.with("empty", ""),
        files.with("blank", " \n"),
        files.with("two-lines", format!("{SECRET}\n{SECRET}\n")),
        files.with("control", format!("{SECRET}\0")),
    ] {
        assert_refused_silently(
            with_url("bearer-token-file", json!(path)),
            &["\"bearer-token-file\"", &path],
        );
    }
}

#[test]
fn trust_anchor_that_cannot_work() {
    let files = Files::new();
    for value in [json!(5), json!(""), json!([""])] {
        assert_refused(with_url("trust-anchor", value), &["\"trust-anchor\""]);
    }
    let key = elliptic_key().private_key_to_pem_pkcs8().unwrap();
    for path in [
        files.path("missing"),
        files.with("empty.pem", ""),
        files.with("text.pem", "no certificate"),
        files.with("key.pem", key),
        files.with(
            "broken.pem",
            "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n",
        ),
    ] {
        assert_refused(with_url("trust-anchor", json!(path)), &["\"trust-anchor\"", &path]);
    }
}

#[test]
fn client_certificate_that_cannot_work() {
    let files = Files::new();
    let authority = Authority::new("authority");
    let [one, other] = [(); 2].map(|()| authority.client("kea", elliptic_key()));
    let certificate = files.with("client.pem", one.certificate_pem());
    let key = files.with("client.key", one.key_pem());
    let refused = |cert: &str, key: &str, parts: &[&str]| {
        assert_refused(json!({"url": URL, "cert-file": cert, "key-file": key}), parts);
    };

    assert_refused(with_url("cert-file", json!(certificate)), &["\"cert-file\"", "\"key-file\""]);
    assert_refused(with_url("key-file", json!(key)), &["\"cert-file\"", "\"key-file\""]);
    let missing = files.path("missing");
    refused(&missing, &key, &["\"cert-file\"", &missing]);
    refused(&certificate, &missing, &["\"key-file\"", &missing]);
    let text = files.with("text", "no PEM");
    refused(&text, &key, &["\"cert-file\"", &text]);
    refused(&certificate, &text, &["\"key-file\"", &text]);
    // Each file stands in the place of the other.
    refused(&key, &certificate, &["-file\""]);

    let wrong = files.with("wrong.key", other.key_pem());
    refused(&certificate, &wrong, &["\"key-file\"", &wrong]);
    let encrypted =
        one.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"passphrase").unwrap();
    let encrypted = files.with("encrypted.key", encrypted);
    refused(&certificate, &encrypted, &["\"key-file\"", &encrypted]);
}

#[test]
fn a_good_configuration_is_loaded_and_says_so() {
    let kea = Setup::new(Threads::One)
        .hook(json!({
            "url": "https://user:secret@127.0.0.1:1/boot",
            "user-class": "test",
            "timeout": 1,
        }))
        .start();
    let line = kea.logged(&["REMOPTS_LOADED"]);
    assert!(line.starts_with("INFO") && line.contains("127.0.0.1:1/boot"), "{line}");
    let end = kea.stop();
    assert!(
        !end.log.iter().any(|line| line.contains("secret") && line.contains("REMOPTS_")),
        "a password in the log"
    );
    end.assert_clean();
}
