//! A backend that fails, each lookup by itself: the client gets the reply that Kea would have sent without the hook, in time, and the log
//! says why.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::backend::{Answer, Backend};
use crate::support::dhcp::Reply;
use crate::support::kea::{Setup, Threads};
use crate::{FOO_BAR, in_both_modes, port};

/// What a backend says that would change the reply, were it listened to.
const OVERRIDES: &str = r#"{"224": "somestring", "66": "from the backend"}"#;

/// The parameter `timeout` of these tests.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How much later than `TIMEOUT` a reply may be. The contract says 100 ms; this leaves room for a busy machine, and is
/// less than what a second timeout inside a lookup would add.
const SLACK: Duration = Duration::from_millis(1400);

/// A server whose own replies carry option 66, and which asks this backend about every exchange.
fn setup(threads: Threads, url: String) -> Setup {
    Setup::new(threads)
        .option("tftp-server-name", "from the configuration")
        .hook(json!({"url": url, "timeout": TIMEOUT.as_millis(), "cache-ttl": 0}))
}

/// Compares an exchange whose lookups fail with one that the backend left alone, and looks for the reason, any of
/// these words, in an ERROR about this client.
#[track_caller]
fn assert_unchanged(threads: Threads, backend: &Backend, answer: Answer, reasons: &[&str]) {
    backend.answer(Answer::status(204, ""));
    let kea = setup(threads, backend.url("/")).start();
    let client = kea.client().with(82, FOO_BAR);
    client.exchange(); // From here on the client has a lease, and its replies do not vary.
    let plain = client.exchange();
    assert_plain(&plain);

    backend.answer(answer);
    let asked = backend.asked();
    let start = Instant::now();
    let replies = client.exchange();
    let spent = start.elapsed();
    assert_eq!(replies, plain);
    assert!(backend.asked() > asked, "the backend was not asked");
    assert!(spent < (TIMEOUT + SLACK) * 2, "OFFER and ACK took {spent:?}");

    let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), "tid="]);
    assert!(line.starts_with("ERROR"), "{line}");
    assert!(reasons.iter().any(|reason| line.contains(reason)), "{line} says none of {reasons:?}");
    assert!(line.contains(&backend.url("/")), "{line} does not say which URL failed");
    // Kea lives on: the next answer counts.
    backend.answer(Answer::text(OVERRIDES));
    assert_eq!(client.discover().option(224).as_deref(), Some(&b"somestring"[..]));
    assert!(kea.stop().status.success());
}

fn assert_plain(replies: &[Reply; 2]) {
    assert_eq!(replies.each_ref().map(Reply::kind), [MessageType::Offer, MessageType::Ack]);
    for reply in replies {
        assert_eq!(reply.option(224), None);
        assert_eq!(reply.option(66).as_deref(), Some(&b"from the configuration"[..]));
    }
}

/// Each of these answers is a failure.
fn fails(answers: &[Answer], reasons: &[&str]) {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({}));
        for answer in answers {
            assert_unchanged(threads, &backend, answer.clone(), reasons);
        }
    });
}

#[test]
fn refused_connection() {
    in_both_modes(|threads| {
        // A port that is taken, and that nobody listens at.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        let kea = setup(threads, format!("http://127.0.0.1:{port}/")).start();
        let client = kea.client().with(82, FOO_BAR);
        let start = Instant::now();
        assert_plain(&client.exchange());
        assert!(start.elapsed() < (TIMEOUT + SLACK) * 2, "OFFER and ACK took {:?}", start.elapsed());
        let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), "tid=", "refused"]);
        assert!(line.starts_with("ERROR"), "{line}");
    });
}

/// Kea does not ignore SIGPIPE, so a write to a connection that the backend has closed and reset would end it. Which
/// of many writes comes late enough is chance. Every third connection is a good one, or the backend would be given up.
#[test]
fn connection_reset_while_the_request_is_written() {
    in_both_modes(|threads| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        // Ends with the program.
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
        assert!(said("REMOPTS_LOOKUP_FAILED") && !said("REMOPTS_BACKEND_GIVEN_UP"), "{:#?}", end.log);
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
    fails(&[Answer::text(OVERRIDES).after(TIMEOUT * 2)], LATE);
}

#[test]
fn body_that_stops_halfway() {
    fails(&[Answer::Stalled(OVERRIDES.into())], LATE);
}

/// The head comes late, the body never: both share one timeout.
#[test]
fn late_head_and_a_body_that_stops_halfway() {
    fails(&[Answer::Stalled(OVERRIDES.into()).after(TIMEOUT * 9 / 10)], LATE);
}

/// Each byte comes in time; all of them do not.
#[test]
fn body_that_trickles() {
    fails(&[Answer::Trickle], LATE);
}

const LATE: &[&str] = &["no answer within"];

/// As when the backend closes a connection that it has kept open just when it is used again.
#[test]
fn a_request_whose_connection_is_closed_is_repeated_once() {
    in_both_modes(|threads| {
        let asked = AtomicUsize::new(0);
        let backend = Backend::scripted(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Answer::HangUp,
            _ => Answer::text(OVERRIDES),
        });
        let kea = setup(threads, backend.url("/")).start();
        for reply in kea.client().with(82, FOO_BAR).exchange() {
            assert_eq!(reply.option(224).as_deref(), Some(&b"somestring"[..]));
        }
        assert_eq!(backend.asked(), 2);
        kea.stop().assert_clean();
    });
}

#[test]
fn connection_that_ends_early() {
    fails(&[Answer::HangUp, Answer::CutShort(OVERRIDES.into())], &["connection", "body", "message", "eof"]);
}

#[test]
fn status_500_with_valid_json() {
    fails(&[Answer::status(500, OVERRIDES)], &["500"]);
}

#[test]
fn other_statuses_with_valid_json() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({}));
        for status in [201, 206, 400, 401, 403, 503] {
            assert_unchanged(threads, &backend, Answer::status(status, OVERRIDES), &[&status.to_string()]);
        }
    });
}

#[test]
fn redirect() {
    in_both_modes(|threads| {
        let elsewhere = Backend::answering(Answer::text(OVERRIDES));
        let backend = Backend::json(json!({}));
        assert_unchanged(threads, &backend, Answer::redirect(elsewhere.url("/")), &["302"]);
        assert_eq!(elsewhere.connections(), 0, "the redirect was followed");
        assert_unchanged(threads, &backend, Answer::redirect("/elsewhere".into()), &["302"]);
        assert!(
            !backend.targets().iter().any(|target| target.contains("elsewhere")),
            "the redirect was followed"
        );
    });
}

#[test]
fn body_that_is_no_json() {
    let bodies =
        ["", "no JSON", "{\"224\": \"somestring\"", "{\"224\": \"somestring\"} and more", "<html></html>"];
    let not_utf8 = Answer::text(*b"{\"224\": \"somestring\", \"225\": \"\xff\"}");
    fails(&[&bodies.map(Answer::text)[..], &[not_utf8]].concat(), &["JSON"]);
}

#[test]
fn json_that_is_no_object() {
    let bodies = [r#"[{"224": "somestring"}]"#, r#""somestring""#, "224", "true", "null"];
    fails(&bodies.map(Answer::text), &["object"]);
}

#[test]
fn nesting() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({}));
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            // The answer itself is the first level.
            let nested = |levels: usize| {
                let inner = levels - 1;
                Answer::text(format!(
                    r#"{{"224": "somestring", "225": {}"inner"{}}}"#,
                    open.repeat(inner),
                    close.repeat(inner)
                ))
            };
            assert_unchanged(threads, &backend, nested(33), &["32 levels"]);
            assert_unchanged(threads, &backend, nested(5000), &["levels", "recursion"]);

            backend.answer(nested(32));
            let kea = setup(threads, backend.url("/")).start();
            let client = kea.client().with(82, FOO_BAR);
            assert_eq!(client.discover().option(224).as_deref(), Some(&b"somestring"[..]));
            kea.logged(&["REMOPTS_EDIT_REFUSED", "225"]);
        }
    });
}

/// An answer of `length` bytes.
fn padded(length: usize) -> Vec<u8> {
    let mut body = OVERRIDES.as_bytes().to_vec();
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
            let backend = Backend::answering(answer);
            let kea = setup(threads, backend.url("/")).start();
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
            kea.stop().assert_clean();
        }
    });
}

/// Not read to their end.
#[test]
fn bodies_of_10_mb() {
    const LENGTH: usize = 10_000_000;
    in_both_modes(|threads| {
        for answer in [Answer::text(padded(LENGTH)), Answer::Chunked(padded(LENGTH))] {
            let backend = Backend::json(json!({}));
            assert_unchanged(threads, &backend, answer, TOO_LONG);
            // For OFFER and ACK together; most of it never left the system's buffers.
            let taken = backend.body_bytes();
            assert!(taken > 0 && taken < LENGTH, "{taken} bytes were taken");
        }
    });
}

/// What says itself that it is longer is not waited for.
#[test]
fn bodies_that_are_too_long_by_their_own_account() {
    fails(&[Answer::Stalled(padded(100_000))], TOO_LONG);
}

const TOO_LONG: &[&str] = &["65536", "64 KiB"];

/// Nothing for this client, and no error.
#[test]
fn statuses_404_and_204_leave_the_reply_alone() {
    in_both_modes(|threads| {
        for (status, body) in [(204, ""), (404, "not found"), (404, OVERRIDES)] {
            let backend = Backend::answering(Answer::status(status, body));
            let kea = setup(threads, backend.url("/")).start();
            assert_plain(&kea.client().with(82, FOO_BAR).exchange());
            assert!(backend.asked() > 0);
            kea.stop().assert_clean();
        }
    });
}

/// With several threads, a client that is not looked up need not wait for one that is.
#[test]
fn a_hanging_backend_does_not_hold_up_other_clients() {
    let mut backend = Backend::answering(Answer::Never);
    let parameters = json!({"url": backend.url("/"), "timeout": 60_000, "user-class": "test"});
    let kea = Setup::new(Threads::Four).hook(parameters).start();
    let waiting = kea.client().with(82, FOO_BAR).with(77, "test");
    waiting.send_discover();
    assert_eq!(kea.client().with(82, FOO_BAR).discover().option(224), None);
    // The one that waits gets its reply when the backend goes away.
    backend.stop();
    assert_eq!(waiting.reply("DISCOVER").option(224), None);
}
