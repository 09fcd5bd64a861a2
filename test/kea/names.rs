// SPDX-License-Identifier: MPL-2.0
//! Services by name: a name whose first address is dead, and a name for which the system's resolver
//! hangs. The resolver of these tests is in the place of the C library's: see names.cc.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::{about, assert_answered_at_last, in_both_modes, on_miss_for_many, port, preloaded};
use remote_opts_test_support::certificates::Authority;
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};

/// A server for which these names have these addresses.
pub fn setup(threads: Threads, names: &str) -> Setup {
    static RESOLVER: OnceLock<String> = OnceLock::new();
    let resolver = RESOLVER.get_or_init(|| preloaded("names"));
    Setup::new(threads).env("LD_PRELOAD", resolver).env("REMOPTS_TEST_NAMES", names)
}

/// The URL of a service by this name.
pub fn by_name(service: &Service, name: &str) -> String {
    service.url("/").replace("127.0.0.1", name)
}

/// An address that answers no packet: the queue of its listening socket is full, so that the kernel
/// drops the first packet of each further connection.
struct BlackHole {
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    /// At this address, and the port of the service.
    fn beside(service: &Service, address: Ipv4Addr) -> BlackHole {
        let url = url::Url::parse(&service.url("/")).expect("a URL");
        let address = SocketAddr::from((address, url.port().expect("a port")));
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
        listener.bind(&address.into()).expect("a port of 127.0.0.2");
        listener.listen(0).expect("a listening socket");
        let mut queue = Vec::new();
        // The first connection that is not made says that the queue is full.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
            queue.push(stream);
            assert!(queue.len() < 100, "the queue is never full");
        }
        BlackHole { _listener: listener, _queue: queue }
    }
}

#[test]
fn a_name_whose_first_address_is_dead_is_reached_by_the_next_one() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let authority = Authority::new("authority");
        let anchor = folder.path().join("authority.pem");
        fs::write(&anchor, authority.certificate_pem()).expect("a file");
        let identity = authority.server("two.test");
        for service in [Service::echo(), Service::tls_scripted(&identity, echo)] {
            let _dead = BlackHole::beside(&service, Ipv4Addr::new(127, 0, 0, 2));
            let parameters = json!({
                "url": by_name(&service, "two.test"), "timeout": 6000, "trust-anchor": anchor,
            });
            let kea = setup(threads, "two.test=127.0.0.2,127.0.0.1").hook(parameters).start();
            for number in 0..3 {
                let offer = kea.client().with(82, port(number)).discover();
                assert_eq!(offer.chain(), Some(about(number)), "{}", service.url("/"));
            }
            kea.stop().assert_clean();
        }
    });
}

/// Has clients of the first ports ask at once, and checks that each gets its answer.
#[track_caller]
fn assert_answered(clients: &[Client]) {
    for client in clients {
        client.send_discover();
    }
    for (number, client) in (0..).zip(clients) {
        assert_answered_at_last(client, number);
    }
}

/// How often the resolver was asked for a name.
fn resolved(kea: &Kea, name: &str) -> usize {
    kea.count(&format!("getaddrinfo: {name}"))
}

#[test]
fn a_resolver_that_hangs_for_one_name_delays_no_other_service() {
    in_both_modes(|threads| {
        let [hanging, good] = [(); 2].map(|()| {
            Service::scripted(|request| {
                // Each request needs a new connection, and each connection an address.
                echo(request).header("Connection", "close")
            })
        });
        let parameters = json!({
            "url": [by_name(&hanging, "hangs.test"), by_name(&good, "good.test")],
            "timeout": 4000,
            "cache-ttl": 0,
            "on-miss": on_miss_for_many(),
        });
        let kea = setup(threads, "hangs.test=hangs;good.test=127.0.0.1")
            .hook(parameters)
            .debug(HOOK_LOGGER)
            .start();
        // The first clients wait for their part of `timeout`.
        let first: Vec<_> = (0..12).map(|number| kea.client().with(82, port(number))).collect();
        assert_answered(&first);
        let down = kea.logged(&["REMOPTS_SERVICE_DOWN", "hangs.test"]);
        assert!(down.starts_with("WARN"), "{down}");
        // The probes hang, too.
        for number in 100..120 {
            assert_answered_at_last(&kea.client().with(82, port(number)), number);
        }
        assert_eq!(good.asked(), 32, "one request for each client");
        // The next configuration waits for the same look-up.
        kea.reload().unwrap();
        assert_answered_at_last(&kea.client().with(82, port(200)), 200);
        assert_eq!(resolved(&kea, "hangs.test"), 1, "one look-up under way for each name");
        assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 1);
        assert!(kea.stop().status.success());
    });
}

/// Files are read by threads of the runtime, too.
#[test]
fn a_resolver_that_hangs_keeps_no_token_from_being_read_again() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let token = folder.path().join("token");
        fs::write(&token, "first").expect("a file");
        let hanging = Service::echo();
        let good = Service::scripted(|request| match request.header("Authorization") {
            Some("Bearer first") => echo(request),
            _ => Answer::status(401, ""),
        });
        let parameters = json!({
            "url": [by_name(&hanging, "hangs.test"), good.url("/")],
            "timeout": 4000,
            "cache-ttl": 0,
            "on-miss": on_miss_for_many(),
            "bearer-token-file": token,
        });
        let kea = setup(threads, "hangs.test=hangs").hook(parameters).start();
        let clients: Vec<_> = (0..12).map(|number| kea.client().with(82, port(number))).collect();
        assert_answered(&clients);
        fs::write(&token, "second").expect("a file");
        good.script(|request| match request.header("Authorization") {
            Some("Bearer second") => echo(request),
            _ => Answer::status(401, ""),
        });
        assert_answered_at_last(&kea.client().with(82, port(50)), 50);
        assert!(kea.stop().status.success());
    });
}
