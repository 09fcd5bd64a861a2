// SPDX-License-Identifier: MPL-2.0
//! A service that fails. The client gets, in time, the reply that Kea would send without the hook,
//! and the log says why. Each test looks at single lookups; services/ looks at services that go down.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use crate::{FOO_BAR, in_both_modes, port};
use remote_opts_test_support::dhcp::Reply;
use remote_opts_test_support::kea::{Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};

/// An answer that would change the reply if the hook used it.
const ANSWER: &str = r#"{"224": "somestring", "66": "from the service"}"#;

/// The parameter `timeout` of these tests.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How much later than `TIMEOUT` a reply may come. The contract says 100 ms. This is more, for a
/// busy machine, and less than a second timeout within a lookup would add.
const SLACK: Duration = Duration::from_millis(1400);

/// A server whose own replies carry option 66. It asks the service at `url` about every exchange.
fn setup(threads: Threads, url: String) -> Setup {
    Setup::new(threads)
        .option("tftp-server-name", "from the configuration")
        .hook(json!({"url": url, "timeout": TIMEOUT.as_millis(), "cache-ttl": 0}))
}

/// Compares an exchange whose lookups fail with an exchange for which the service has no edits.
/// Then looks for one of the words `reasons` in an ERROR about this client.
#[track_caller]
fn assert_unchanged(threads: Threads, service: &Service, answer: Answer, reasons: &[&str]) {
    service.answer(Answer::status(204, ""));
    let kea = setup(threads, service.url("/")).start();
    let client = kea.client().with(82, FOO_BAR);
    client.exchange(); // From now on the client has a lease, and its replies do not vary.
    let plain = client.exchange();
    assert_plain(&plain);

    service.answer(answer);
    let asked = service.asked();
    let start = Instant::now();
    let replies = client.exchange();
    let spent = start.elapsed();
    assert_eq!(replies, plain);
    // A request whose connection breaks is sent once more. The ACK carries what the OFFER carried.
    let more = service.asked() - asked;
    assert!(more == 1 || more == 2, "{more} requests");
    assert!(spent < (TIMEOUT + SLACK) * 2, "OFFER and ACK took {spent:?}");

    let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), "tid="]);
    assert!(line.starts_with("ERROR"), "{line}");
    assert!(reasons.iter().any(|reason| line.contains(reason)), "{line} says none of {reasons:?}");
    assert!(line.contains(&service.url("/")), "{line} does not say which URL failed");
    // Kea lives on, and uses the next answer. (The request that failed backs off.)
    service.answer(Answer::text(ANSWER));
    let other = kea.client().with(82, port(1));
    assert_eq!(other.discover().option(224).as_deref(), Some(&b"somestring"[..]));
    assert!(kea.stop().status.success());
}

fn assert_plain(replies: &[Reply; 2]) {
    assert_eq!(replies.each_ref().map(Reply::kind), [MessageType::Offer, MessageType::Ack]);
    for reply in replies {
        assert_eq!(reply.option(224), None);
        assert_eq!(reply.option(66).as_deref(), Some(&b"from the configuration"[..]));
    }
}

/// Checks that each of these answers is a failure, for one of these reasons.
fn fails(answers: &[Answer], reasons: &[&str]) {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        for answer in answers {
            assert_unchanged(threads, &service, answer.clone(), reasons);
        }
    });
}

#[test]
fn refused_connection() {
    in_both_modes(|threads| {
        // This port is taken, and nobody listens at it.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        let kea = setup(threads, format!("http://127.0.0.1:{port}/")).start();
        let client = kea.client().with(82, FOO_BAR);
        let start = Instant::now();
        assert_plain(&client.exchange());
        assert!(
            start.elapsed() < (TIMEOUT + SLACK) * 2,
            "OFFER and ACK took {:?}",
            start.elapsed()
        );
        let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), "tid=", "refused"]);
        assert!(line.starts_with("ERROR"), "{line}");
    });
}

/// Kea does not ignore SIGPIPE: a write to a connection that the service has closed and reset would
/// end Kea. It is chance which of many writes comes late enough. Every third connection works, so
/// that the service stays up.
#[test]
fn connection_reset_while_the_request_is_written() {
    in_both_modes(|threads| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        // The thread ends with the program.
        thread::spawn(move || {
            for (number, connection) in listener.incoming().flatten().enumerate() {
                if number % 3 == 2 {
                    let _ = answer_and_close(connection);
                } else {
                    let _ = connection.shutdown(Shutdown::Write);
                    let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
                }
            }
        });
        let kea = setup(threads, url).start();
        for number in 0..300 {
            assert_eq!(kea.client().with(82, port(number)).discover().kind(), MessageType::Offer);
        }
        let end = kea.stop();
        assert!(end.status.success());
        let said = |id| end.log.iter().any(|line| line.contains(id));
        assert!(said("REMOPTS_LOOKUP_FAILED") && !said("REMOPTS_SERVICE_DOWN"), "{:#?}", end.log);
    });
}

fn answer_and_close(mut connection: TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(TIMEOUT))?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        request.extend(byte);
    }
    connection.write_all(b"HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n")
}

#[test]
fn no_answer() {
    fails(&[Answer::Never], LATE);
}

#[test]
fn answer_past_the_timeout() {
    fails(&[Answer::text(ANSWER).after(TIMEOUT * 2)], LATE);
}

#[test]
fn body_that_stops_halfway() {
    fails(&[Answer::Stalled(ANSWER.into())], LATE);
}

/// The head comes late, and the body never ends: head and body share one timeout.
#[test]
fn late_head_and_a_body_that_stops_halfway() {
    fails(&[Answer::Stalled(ANSWER.into()).after(TIMEOUT * 9 / 10)], LATE);
}

/// Each byte comes in time. The whole body does not.
#[test]
fn body_that_trickles() {
    fails(&[Answer::Trickle], LATE);
}

const LATE: &[&str] = &["no answer within"];

/// A service may close a connection just when the hook uses it again.
#[test]
fn a_request_whose_connection_is_closed_is_repeated_once() {
    in_both_modes(|threads| {
        let asked = AtomicUsize::new(0);
        let service = Service::scripted(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Answer::HangUp,
            _ => Answer::text(ANSWER),
        });
        let kea = setup(threads, service.url("/")).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(224).as_deref(), Some(&b"somestring"[..]));
        }
        assert_eq!(service.asked(), 2);
        kea.stop().assert_clean();
    });
}

#[test]
fn connection_that_ends_early() {
    fails(
        &[Answer::HangUp, Answer::CutShort(ANSWER.into())],
        &["connection", "body", "message", "eof"],
    );
}

#[test]
fn status_500_with_valid_json() {
    fails(&[Answer::status(500, ANSWER)], &["500"]);
}

#[test]
fn other_statuses_with_valid_json() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        for status in [201, 206, 400, 401, 403, 503] {
            assert_unchanged(
                threads,
                &service,
                Answer::status(status, ANSWER),
                &[&status.to_string()],
            );
        }
    });
}

#[test]
fn redirect() {
    in_both_modes(|threads| {
        let elsewhere = Service::answering(Answer::text(ANSWER));
        let service = Service::json(json!({}));
        assert_unchanged(threads, &service, Answer::redirect(elsewhere.url("/")), &["302"]);
        assert_eq!(elsewhere.connections(), 0, "the redirect was followed");
        assert_unchanged(threads, &service, Answer::redirect("/elsewhere".into()), &["302"]);
        assert!(
            !service.targets().iter().any(|target| target.contains("elsewhere")),
            "the redirect was followed"
        );
    });
}

#[test]
fn body_that_is_no_json() {
    let bodies = [
        "no JSON",
        "{\"224\": \"somestring\"",
        "{\"224\": \"somestring\"} and more",
        "<html></html>",
    ];
    let not_utf8 = Answer::text(*b"{\"224\": \"somestring\", \"225\": \"\xff\"}");
    fails(&[&bodies.map(Answer::text)[..], &[not_utf8]].concat(), &["JSON"]);
}

#[test]
fn json_that_is_no_object() {
    let bodies = [r#"[{"224": "somestring"}]"#, r#""somestring""#, "224", "true", "[null]"];
    fails(&bodies.map(Answer::text), &["object"]);
}

#[test]
fn nesting() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            // The answer's own object is the first level.
            let nested = |levels: usize| {
                let inner = levels - 1;
                Answer::text(format!(
                    r#"{{"224": "somestring", "225": {}"inner"{}}}"#,
                    open.repeat(inner),
                    close.repeat(inner)
                ))
            };
            assert_unchanged(threads, &service, nested(33), &["32 levels"]);
            assert_unchanged(threads, &service, nested(5000), &["levels", "recursion"]);

            service.answer(nested(32));
            let kea = setup(threads, service.url("/")).start();
            let client = kea.client().with(82, FOO_BAR);
            assert_eq!(client.discover().option(224).as_deref(), Some(&b"somestring"[..]));
            kea.logged(&["REMOPTS_EDIT_REFUSED", "225"]);
        }
    });
}

/// An answer of `length` bytes.
fn padded(length: usize) -> Vec<u8> {
    let mut body = ANSWER.as_bytes().to_vec();
    body.resize(length, b' ');
    body
}

#[test]
fn bodies_past_64_kib() {
    let [long, longer] = [0x10001, 0x20000].map(padded);
    fails(
        &[
            Answer::text(long.clone()),
            Answer::Chunked(long),
            Answer::text(longer.clone()),
            Answer::Chunked(longer),
        ],
        TOO_LONG,
    );
}

#[test]
fn bodies_of_64_kib() {
    in_both_modes(|threads| {
        for answer in [Answer::text(padded(0x10000)), Answer::Chunked(padded(0x10000))] {
            let service = Service::answering(answer);
            let kea = setup(threads, service.url("/")).start();
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
            kea.stop().assert_clean();
        }
    });
}

/// The hook does not read such a body to its end.
#[test]
fn bodies_of_10_mb() {
    const LENGTH: usize = 10_000_000;
    in_both_modes(|threads| {
        for answer in [Answer::text(padded(LENGTH)), Answer::Chunked(padded(LENGTH))] {
            let service = Service::json(json!({}));
            assert_unchanged(threads, &service, answer, TOO_LONG);
            // This includes the system's buffers.
            let taken = service.body_bytes();
            assert!(taken > 0 && taken < LENGTH, "{taken} bytes were taken");
        }
    });
}

/// The hook does not wait for a body that announces a length past the limit.
#[test]
fn bodies_that_are_too_long_by_their_own_account() {
    fails(&[Answer::Stalled(padded(100_000))], TOO_LONG);
}

const TOO_LONG: &[&str] = &["65536", "64 KiB"];

/// These statuses mean that the service has nothing for this client. They are no errors.
#[test]
fn statuses_404_and_204_leave_the_reply_alone() {
    in_both_modes(|threads| {
        for (status, body) in [(204, ""), (404, "not found"), (404, ANSWER)] {
            let service = Service::answering(Answer::status(status, body));
            let kea = setup(threads, service.url("/")).start();
            assert_plain(&kea.client().with(82, FOO_BAR).exchange());
            assert!(service.asked() > 0);
            kea.stop().assert_clean();
        }
    });
}

/// With several threads, a client that is not looked up does not wait for a client that is.
#[test]
fn a_hanging_service_does_not_hold_up_other_clients() {
    let mut service = Service::answering(Answer::Never);
    let parameters = json!({"url": service.url("/"), "timeout": 60_000, "user-class": "test"});
    let kea = Setup::new(Threads::Four).hook(parameters).start();
    let waiting = kea.client().with(82, FOO_BAR).with(77, "test");
    waiting.send_discover();
    assert_eq!(kea.client().with(82, FOO_BAR).discover().option(224), None);
    // The client that waits gets its reply when the service goes away.
    service.stop();
    assert_eq!(waiting.reply("DISCOVER").option(224), None);
}
