// SPDX-License-Identifier: MPL-2.0
//! A real nginx as the service, by each version of HTTP. The scripted service of the other tests
//! speaks HTTP/1.1 alone; here it stands behind nginx where a test needs a slow service, or wants
//! to see the header fields of a request.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use remote_opts_test_support::certificates::Authority;
use remote_opts_test_support::dhcp::Reply;
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::load;
use remote_opts_test_support::nginx::{Access, Nginx};
use remote_opts_test_support::service::Service;
use remote_opts_test_support::wait_until;

use crate::{FOO_BAR, about, discover_all, in_both_modes, port};

/// How the hook and nginx come to a version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// HTTP/1.1 on an http URL.
    Http1,
    /// HTTP/1.1 on an https URL: nginx does not offer HTTP/2.
    Http1OverTls,
    /// HTTP/2 on an https URL, negotiated by ALPN (RFC 7301).
    Http2OverTls,
    /// HTTP/2 on an http URL without negotiation (RFC 9113, section 3.3): the parameter `http2`.
    Http2,
}

use Version::{Http1, Http1OverTls, Http2, Http2OverTls};

impl Version {
    const ALL: [Version; 4] = [Http1, Http1OverTls, Http2OverTls, Http2];

    fn is_2(self) -> bool {
        matches!(self, Http2OverTls | Http2)
    }

    fn over_tls(self) -> bool {
        matches!(self, Http1OverTls | Http2OverTls)
    }

    /// The name in nginx's access log.
    fn name(self) -> &'static str {
        if self.is_2() { "HTTP/2.0" } else { "HTTP/1.1" }
    }
}

/// An nginx that speaks one version of HTTP.
struct Site {
    nginx: Nginx,
    version: Version,
    trust_anchor: PathBuf,
    _folder: TempDir,
}

impl Site {
    /// Starts an nginx whose `server` block has these directives besides `listen`. `files` (name,
    /// content) are in the folder that the directives name `FOLDER`.
    fn start(version: Version, directives: &str, files: &[(&str, &[u8])]) -> Site {
        let authority = Authority::new("authority");
        let server = authority.server("127.0.0.1");
        let (certificate, key) = (server.certificate_pem(), server.key_pem());
        let folder = TempDir::new().expect("a folder");
        let trust_anchor = folder.path().join("authority.pem");
        fs::write(&trust_anchor, authority.certificate_pem()).expect("a file");

        let mut listen = "listen ADDRESS backlog=1024".to_owned();
        if version.over_tls() {
            listen += " ssl";
        }
        if version.is_2() {
            listen += " http2";
        }
        listen += ";\n";
        if version.over_tls() {
            listen += "ssl_certificate FOLDER/server.pem; ssl_certificate_key FOLDER/server.key;\n";
        }
        let mut files = files.to_vec();
        files.extend([("server.pem", &certificate[..]), ("server.key", &key[..])]);
        let nginx = Nginx::start(&format!("server {{\n{listen}{directives}\n}}"), &files);
        let nginx = nginx.unwrap_or_else(|error| panic!("{error:#}"));
        Site { nginx, version, trust_anchor, _folder: folder }
    }

    /// An nginx before a scripted service.
    fn before(version: Version, service: &Service) -> Site {
        Site::start(version, &format!("location / {{ proxy_pass {}; }}", service.url("")), &[])
    }

    /// An nginx that says by itself which switch port a request is about.
    fn echo(version: Version, directives: &str) -> Site {
        let location = r#"location / {
            default_type application/json;
            return 200 '{"224": "/?sub82_1=$arg_sub82_1"}';
        }"#;
        Site::start(version, &format!("{directives}\n{location}"), &[])
    }

    fn url(&self, path: &str) -> String {
        let url = self.nginx.url(path);
        if self.version.over_tls() { url.replacen("http", "https", 1) } else { url }
    }

    /// Parameters for this site, and those of `more`.
    fn parameters(&self, path: &str, more: Value) -> Value {
        let mut parameters = json!({"url": self.url(path), "trust-anchor": self.trust_anchor});
        if self.version == Http2 {
            parameters["http2"] = json!(true);
        }
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parameters
    }

    /// The requests that nginx has answered, each by the version of this site. nginx writes a
    /// request to its log when the client has the answer already, so this function waits until the
    /// log has `expected` requests.
    #[track_caller]
    fn accesses(&self, expected: usize) -> Vec<Access> {
        wait_until(&format!("{expected} requests in the log of nginx"), || {
            self.nginx.accesses().expect("the access log").len() >= expected
        });
        let accesses = self.nginx.accesses().expect("the access log");
        for access in &accesses {
            assert_eq!(access.protocol, self.version.name(), "{:?}: {access:?}", self.version);
        }
        accesses
    }

    /// How many connections carried the requests in the log of nginx, which must become at least
    /// `expected` requests.
    #[track_caller]
    fn connections_used(&self, expected: usize) -> usize {
        self.accesses(expected)
            .into_iter()
            .map(|access| access.connection)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

/// Runs a test with each version of HTTP, and each of Kea's modes.
fn with_each_version(test: impl Fn(Version, Threads) + Sync) {
    in_both_modes(|threads| Version::ALL.into_iter().for_each(|version| test(version, threads)));
}

/// How many TCP connections to this address are established, as the kernel of this machine sees it.
fn connections_to(address: SocketAddr) -> usize {
    const ESTABLISHED: &str = "01";
    let SocketAddr::V4(address) = address else { panic!("no IPv4 address") };
    // The kernel shows the bytes of an address as one number of this machine's byte order.
    let host = u32::from_ne_bytes(address.ip().octets());
    let peer = format!("{host:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    let mut columns = table.lines().map(|line| line.split_whitespace().skip(2));
    let mut count = 0;
    for columns in &mut columns {
        let [remote, state] = columns.take(2).collect::<Vec<_>>()[..] else { continue };
        count += usize::from(remote == peer && state == ESTABLISHED);
    }
    count
}

/// How many clients come at once.
const CLIENTS: u32 = 2000;

/// The most connections that a storm of lookups may hold by HTTP/2.
const MOST_CONNECTIONS: usize = 32;

#[test]
fn two_thousand_clients_at_once_by_http_1() {
    storm(Http1);
}

#[test]
fn two_thousand_clients_at_once_by_http_2_over_tls() {
    storm(Http2OverTls);
}

#[test]
fn two_thousand_clients_at_once_by_http_2_without_negotiation() {
    storm(Http2);
}

/// Has all clients wait for their lookups at the same time, where Kea can park. Then each client
/// must get its own answer, in OFFER and ACK.
fn storm(version: Version) {
    let _turn = load::turn();
    let service = Service::echo();
    let site = Site::before(version, &service);
    // On a slow machine, the last ACK may come later than an unfinished exchange keeps its answer.
    let parameters = json!({"timeout": 60_000, "max-in-flight": 2 * CLIENTS, "cache-ttl": 600});
    let kea = Setup::new(Threads::Four)
        .set("parked-packet-limit", json!(2 * CLIENTS))
        // By HTTP/1.1, each lookup has a connection of its own.
        .under(&["prlimit", "--nofile=8192:8192"])
        .hook(site.parameters("/", parameters))
        .start();
    if kea::parks() {
        storm_of_parked_clients(&kea, &service, &site);
    } else {
        storm_of_waiting_threads(&kea);
    }
    let asked = service.asked();
    assert_eq!(site.accesses(asked).len(), asked);
    let used = site.connections_used(asked);
    println!("{version:?}: {used} connections carried {asked} requests");
    if version.is_2() {
        assert!(used <= MOST_CONNECTIONS, "{used} connections were used");
    }
    kea.stop().assert_clean();
}

fn storm_of_parked_clients(kea: &Kea, service: &Service, site: &Site) {
    let clients = (0..CLIENTS).map(|number| kea.client().with(82, port(number)));
    let clients = clients.collect::<Vec<_>>();
    service.hold();
    discover_all(&clients, service);
    service.wait_until_open(clients.len());
    let connections = connections_to(site.nginx.address());
    println!("{:?}: {connections} connections hold {CLIENTS} lookups", site.version);
    if site.version.is_2() {
        assert!(connections <= MOST_CONNECTIONS, "{connections} connections");
    } else {
        assert_eq!(connections, clients.len());
    }
    service.release();
    let offers = clients.iter().map(|client| client.reply("DISCOVER")).collect::<Vec<_>>();
    let pairs = clients.iter().zip(&offers).collect::<Vec<_>>();
    let mut acks = Vec::new();
    // Kea's socket and queue have no room for all REQUESTs at once.
    for some in pairs.chunks(25) {
        some.iter().for_each(|(client, offer)| client.send_request(offer));
        acks.extend(some.iter().map(|(client, _)| client.reply("REQUEST")));
    }
    for (number, (offer, ack)) in (0..).zip(offers.iter().zip(&acks)) {
        let own = Some(about(number));
        assert_eq!([offer, ack].map(Reply::chain), [own.clone(), own], "client {number}");
    }
    assert_eq!(service.asked(), clients.len(), "an exchange costs one request");
}

/// A Kea that cannot park looks up as many clients at once as it has threads.
fn storm_of_waiting_threads(kea: &Kea) {
    const RATE: u32 = 300;
    let client = |number| kea.client().with(82, port(number));
    let exchanges = load::during(kea, RATE, client, |load| load.wait_for_more(CLIENTS as usize));
    let mut answers = BTreeSet::new();
    for exchange in &exchanges {
        let [offer, ack] = [&exchange.offer, &exchange.ack].map(Reply::chain);
        assert_eq!(offer, ack, "OFFER and ACK");
        answers.insert(offer.expect("an answer"));
    }
    assert_eq!(answers.len(), exchanges.len(), "each client has its own answer");
}

#[test]
fn connections_are_used_again() {
    with_each_version(|version, threads| {
        let site = Site::echo(version, "");
        let kea = Setup::new(threads).hook(site.parameters("/", json!({}))).start();
        for number in 0..20 {
            let offer = kea.client().with(82, port(number)).discover();
            assert_eq!(offer.chain(), Some(about(number)), "{version:?}");
        }
        assert_eq!(site.accesses(20).len(), 20);
        // One connection is enough. A busy machine may make nginx close it now and then.
        let used = site.connections_used(20);
        assert!(used <= 3, "{version:?}: {used}");
        kea.stop().assert_clean();
    });
}

/// By default nginx closes a connection after 1000 requests; by HTTP/2 it announces the end by
/// GOAWAY. No client may lose its answer by it.
#[test]
fn connections_that_nginx_closes_cost_no_answer() {
    with_each_version(|version, threads| {
        let site = Site::echo(version, "keepalive_requests 50;");
        let kea = Setup::new(threads)
            .set("parked-packet-limit", json!(1000))
            .hook(site.parameters("/", json!({})))
            .start();
        let clients = (0..500).map(|number| kea.client().with(82, port(number)));
        let clients = clients.collect::<Vec<_>>();
        for (chunk, some) in (0..).zip(clients.chunks(25)) {
            for client in some {
                client.send_discover();
            }
            for (number, client) in (chunk * 25..).zip(some) {
                assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)), "{version:?}");
            }
        }
        let used = site.connections_used(clients.len());
        assert!(used >= 10, "{version:?}: {used}");
        kea.stop().assert_clean();
    });
}

#[test]
fn header_fields_and_credentials_are_sent() {
    with_each_version(|version, threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let site = Site::before(version, &service);
        let token = TempDir::new().expect("a folder");
        let token = (token.path().join("token"), token);
        fs::write(&token.0, "token-of-the-test\n").expect("a file");
        // nginx refuses a request by HTTP/2 that names its host twice.
        let headers = json!({"X-Api-Key": "key of the test", "Host": "boot.example.org"});
        let with_password = site.url("/").replace("//", "//user:open%20sesame@");
        for (more, authorization) in [
            (json!({"bearer-token-file": token.0}), "Bearer token-of-the-test"),
            (json!({"url": with_password}), "Basic dXNlcjpvcGVuIHNlc2FtZQ=="),
        ] {
            let mut parameters = site.parameters("/", more);
            parameters["headers"] = headers.clone();
            let kea = Setup::new(threads).hook(parameters).start();
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.chain().as_deref(), Some("somestring"), "{version:?}");
            let request = service.requests().pop().expect("a request");
            assert_eq!(request.method, "GET");
            assert_eq!(request.header("Accept"), Some("application/json"));
            assert_eq!(request.header("X-Api-Key"), Some("key of the test"));
            assert_eq!(request.header("Authorization"), Some(authorization));
            kea.stop().assert_clean();
        }
        site.accesses(service.asked());
    });
}

/// Answers of nginx: an edit of option 224, padded with spaces to this length.
fn padded(length: usize) -> Vec<u8> {
    let mut body = br#"{"224": "somestring"}"#.to_vec();
    body.resize(length, b' ');
    body
}

/// Serves answers of any length, as JSON. Compresses them for a client that takes gzip.
const FILES: &str = "root FOLDER;
    default_type application/json;
    gzip on;
    gzip_types application/json;
    gzip_min_length 1;
    location = /redirect { return 302 /short; }
    location = /plain-long { gzip off; alias FOLDER/long; }";

/// The longest body that the hook reads.
const LIMIT: usize = 0x10000;

fn files(version: Version) -> Site {
    let [short, limit, long] = [100, LIMIT, LIMIT + 1].map(padded);
    Site::start(version, FILES, &[("short", &short), ("limit", &limit), ("long", &long)])
}

#[test]
fn a_compressed_answer_is_read() {
    with_each_version(|version, threads| {
        let site = files(version);
        for path in ["/short", "/limit"] {
            let kea = Setup::new(threads).hook(site.parameters(path, json!({}))).start();
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.chain().as_deref(), Some("somestring"), "{version:?} {path}");
            kea.stop().assert_clean();
        }
        let encodings = site.accesses(2).into_iter().map(|access| access.encoding);
        assert_eq!(encodings.collect::<Vec<_>>(), ["gzip", "gzip"], "{version:?}");
    });
}

/// Looks for an ERROR with one of these reasons, after an exchange whose lookups fail.
#[track_caller]
fn assert_fails(site: &Site, threads: Threads, path: &str, reasons: &[&str]) {
    let kea = Setup::new(threads).hook(site.parameters(path, json!({}))).start();
    let client = kea.client().with(82, FOO_BAR);
    for reply in client.exchange() {
        assert_eq!(reply.chain(), None, "{:?} {path}", site.version);
    }
    let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), &site.url(path)]);
    assert!(line.starts_with("ERROR"), "{line}");
    assert!(reasons.iter().any(|reason| line.contains(reason)), "{line} has none of {reasons:?}");
    assert!(kea.stop().status.success());
}

/// The limit counts the bytes after decompression: a short response can be a long body.
#[test]
fn a_body_past_64_kib_is_a_failure() {
    with_each_version(|version, threads| {
        let site = files(version);
        for path in ["/long", "/plain-long"] {
            assert_fails(&site, threads, path, &["65536", "64 KiB"]);
        }
        let mut encodings = site.accesses(1).into_iter().map(|access| access.encoding);
        assert!(encodings.any(|encoding| encoding == "gzip"), "{version:?}");
    });
}

/// By HTTP/2 each field counts with its name and 32 bytes more (RFC 9113, section 6.5.2).
#[test]
fn header_fields_past_the_limit_are_a_failure() {
    let fields = |bytes: usize| {
        // nginx takes no longer word than 4 KiB.
        let lengths = (0..bytes / 2048).map(|_| 2048 - 32 - "x-more".len());
        let fields = lengths.map(|length| format!("add_header X-More {};", "x".repeat(length)));
        fields.collect::<String>()
    };
    in_both_modes(|threads| {
        for version in [Http2, Http2OverTls] {
            let site = Site::echo(version, &fields(15 * 1024));
            let kea = Setup::new(threads).hook(site.parameters("/", json!({}))).start();
            assert!(kea.client().with(82, FOO_BAR).discover().chain().is_some(), "{version:?}");
            kea.stop().assert_clean();
            let site = Site::echo(version, &fields(16 * 1024));
            assert_fails(&site, threads, "/", &["http2 error", "stream error"]);
        }
    });
}

#[test]
fn a_redirect_is_not_followed() {
    with_each_version(|version, threads| {
        let site = files(version);
        assert_fails(&site, threads, "/redirect", &["302"]);
        for access in site.accesses(1) {
            assert!(!access.request.contains("/short"), "{version:?}: {access:?}");
        }
    });
}

/// With `http2` the hook does not ask whether an http service speaks HTTP/2. A service that does
/// not is a failure, and the log says so.
#[test]
fn http_2_without_negotiation_needs_a_service_that_speaks_it() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads)
            .hook(json!({"url": service.url("/"), "http2": true, "timeout": 2000}))
            .start();
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.discover().chain(), None);
        kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), &service.url("/")]);
        assert!(kea.stop().status.success());
    });
}

/// An operator reloads nginx, for instance for a new certificate. The old worker process closes its
/// connections, by HTTP/2 with GOAWAY.
#[test]
fn reloads_of_nginx_cost_no_answer() {
    with_each_version(|version, threads| {
        let site = Site::echo(version, "");
        let kea = Setup::new(threads).hook(site.parameters("/", json!({}))).start();
        let mut number = 0;
        let mut ask = || {
            let offer = kea.client().with(82, port(number)).discover();
            assert_eq!(offer.chain(), Some(about(number)), "{version:?}");
            number += 1;
            number as usize
        };
        let mut asked = ask();
        for _ in 0..3 {
            let before = site.connections_used(asked);
            site.nginx.reload();
            wait_until("a connection to the new worker process", || {
                asked = ask();
                site.connections_used(asked) > before
            });
        }
        kea.stop().assert_clean();
    });
}
