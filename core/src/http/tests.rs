// SPDX-License-Identifier: MPL-2.0
//! The HTTP client against a service on loopback that says what the test wants, byte for byte.
//! (Real HTTP services, HTTP/2 and TLS are in the tests against a real Kea.)

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use openssl::base64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config;
use crate::fetch::Blame;

/// A service that gives each connection one response, and keeps the requests.
struct Raw {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    /// Gives the connections these responses in turn, the last one for ever. An empty response
    /// closes the connection.
    async fn saying(responses: &[&[u8]]) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let responses: Vec<_> = responses.iter().map(|response| response.to_vec()).collect();
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = head(&mut stream).await;
                kept.lock().unwrap().push(head);
                let response = &responses[number.min(responses.len() - 1)];
                stream.write_all(response).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Raw { address, requests }
    }

    /// The requests so far, each with its header fields.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request up to the end of its header fields.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A client of one service, with more parameters (JSON members).
fn client(url: &str, parameters: &str) -> Result<Arc<Client>, SetupError> {
    let settings = config::parse(&format!(r#"{{"url": "{url}"{parameters}}}"#)).unwrap();
    Client::new(&settings, 1).map(Arc::new)
}

async fn get(url: &str, parameters: &str) -> Result<Found, Failure> {
    client(url, parameters).unwrap().get(0, &Url::parse(url).unwrap()).await
}

const NOTHING: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn user_and_password_of_a_url_become_a_header() {
    let users: [(&str, &[u8]); 5] = [
        ("u:p@", b"u:p"),
        ("u@", b"u:"),
        (":p@", b":p"),
        ("u:p%3A%40@", b"u:p:@"),
        ("u:%FC@", b"u:\xfc"),
    ];
    for (credentials, user) in users {
        for parameters in ["", r#", "headers": {"Authorization": "Bearer token"}"#] {
            let service = Raw::saying(&[NOTHING]).await;
            let url = format!("http://{credentials}{}/x?y=@", service.address);
            assert!(get(&url, parameters).await.unwrap().answer.is_nothing());
            let request = service.requests().remove(0).to_lowercase();
            assert!(request.starts_with("get /x?y=@ http/1.1\r\n"), "{request}");
            let basic = format!("\r\nauthorization: basic {}", base64::encode_block(user));
            assert!(request.contains(&basic.to_lowercase()), "{request}");
            assert_eq!(request.matches("authorization").count(), 1, "{request}");
            assert!(request.contains(&format!("\r\nhost: {}\r\n", service.address)), "{request}");
        }
    }
}

#[tokio::test]
async fn a_request_whose_connection_closes_is_sent_once_more() {
    let service = Raw::saying(&[b"", NOTHING]).await;
    assert!(get(&format!("http://{}/", service.address), "").await.is_ok());
    assert_eq!(service.requests().len(), 2);

    let service = Raw::saying(&[b""]).await;
    let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
    assert!(matches!(failure, Failure::Connection(..)), "{failure}");
    assert_eq!(service.requests().len(), 2);
}

#[tokio::test]
async fn a_compressed_body_is_read() {
    let body = include_bytes!("squeezed.json.gz");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let service = Raw::saying(&[&[head.as_bytes(), body].concat()]).await;
    let found = get(&format!("http://{}/", service.address), "").await.unwrap();
    assert_eq!(*found.answer.client_classes, ["squeezed"]);

    // A file of gzip may have several members (RFC 1952, section 2.2).
    let member = |text: &'static str| {
        let mut member = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(text.as_bytes(), Default::default());
        encoder.read_to_end(&mut member).unwrap();
        member
    };
    let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
    let body = [member("{\"client-classes\": "), member("[\"rpi4\"]}")].concat();
    let service = Raw::saying(&[&[&head[..], &body].concat(), head]).await;
    let found = get(&format!("http://{}/", service.address), "").await.unwrap();
    assert_eq!(*found.answer.client_classes, ["rpi4"]);
    let found = get(&format!("http://{}/", service.address), "").await.unwrap();
    assert!(found.answer.is_nothing(), "an empty body");
}

/// The bytes on the wire are few, the bytes of the answer are too many.
#[tokio::test]
async fn the_limit_counts_bytes_after_decompression() {
    let body = include_bytes!("bomb.json.gz");
    assert!(body.len() < MAX_BODY / 10);
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".as_bytes();
    let service = Raw::saying(&[&[head, body].concat()]).await;
    let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
    assert!(matches!(failure, Failure::TooLong), "{failure}");
}

/// The most bytes that the HTTP library reads of the head of a response by HTTP/1.1. It refuses a
/// head that is incomplete when it has read half of them, and reads up to as many in one step. It
/// cannot be told another limit.
pub const LONGEST_HEAD: usize = 816 * 1024;

#[tokio::test]
async fn the_head_of_a_response_is_bounded() {
    let head = |fields: usize, length: usize| {
        let fields: String = (1..fields).map(|number| format!("X-{number}: x\r\n")).collect();
        let mut head = format!("HTTP/1.1 204 No Content\r\n{fields}X-Last: ");
        head.extend(std::iter::repeat_n('x', length.saturating_sub(head.len() + 4)));
        head + "\r\n\r\n"
    };
    let (fields, length) = (connection::MOST_FIELDS, LONGEST_HEAD);
    for good in [head(fields, 0), head(1, length / 2 - 1)] {
        let service = Raw::saying(&[good.as_bytes()]).await;
        get(&format!("http://{}/", service.address), "").await.unwrap();
    }
    for bad in [head(fields + 1, 0), head(1, length + 1)] {
        let service = Raw::saying(&[bad.as_bytes()]).await;
        let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
        assert!(matches!(failure, Failure::Connection(..)), "{failure}");
    }
}

#[tokio::test]
async fn a_status_says_whose_fault_it_is() {
    for (status, words, blame) in [
        ("500 Internal Server Error", "status 500 Internal Server Error", Blame::Service),
        ("503 Service Unavailable", "status 503 Service Unavailable", Blame::Service),
        ("429 Too Many Requests", "status 429 Too Many Requests", Blame::Service),
        ("403 Forbidden", "status 403 Forbidden", Blame::Request),
        ("201 Created", "status 201 Created", Blame::Request),
        (
            "307 Temporary Redirect",
            "status 307 Temporary Redirect to http://b/boot/, and redirects are not followed",
            Blame::Request,
        ),
    ] {
        let response =
            format!("HTTP/1.1 {status}\r\nLocation: http://b/boot/\r\nContent-Length: 0\r\n\r\n");
        let service = Raw::saying(&[response.as_bytes()]).await;
        let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
        assert!(failure.to_string().starts_with(words), "{failure}");
        assert_eq!(failure.blame(), blame, "{failure}");
        assert_eq!(service.requests().len(), 1, "a redirect is not followed");
    }
}

#[tokio::test]
async fn a_service_says_when_it_wants_to_be_asked_again() {
    let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    for (status, retry_after, least, most) in [
        ("429", "7", Some(7), 7),
        ("503", "7", Some(7), 7),
        ("503", in_a_minute.as_str(), Some(50), 60),
        ("503", "Thu, 01 Jan 1970 00:00:00 GMT", Some(0), 0),
        ("503", "soon", None, 0),
        ("503", "-1", None, 0),
        ("500", "7", None, 0),
    ] {
        let response = format!(
            "HTTP/1.1 {status} x\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n"
        );
        let service = Raw::saying(&[response.as_bytes()]).await;
        let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
        let Failure::Unavailable { retry_after: said, .. } = failure else { panic!("{failure}") };
        assert_eq!(said.is_some(), least.is_some(), "{status} {retry_after}");
        let said = said.map_or(0, |said| said.as_secs());
        assert!(said >= least.unwrap_or(0) && said <= most, "{status} {retry_after}: {said}");
    }
}

#[tokio::test]
async fn too_few_descriptors_say_nothing_of_the_service() {
    let error = io::Error::from_raw_os_error(Errno::EMFILE as i32);
    assert_eq!(failure(&io::Error::other(error)).blame(), Blame::Congestion);
    let error = io::Error::from_raw_os_error(Errno::ECONNREFUSED as i32);
    assert_eq!(failure(&io::Error::other(error)).blame(), Blame::Service);
    // Ports are left: the machine has no address of the service's family.
    let error = io::Error::from_raw_os_error(Errno::EADDRNOTAVAIL as i32);
    assert_eq!(failure(&io::Error::other(error)).blame(), Blame::Service);
    // One connection is allowed. A second request does not wait for it.
    let (address, _) = accepting(keep_silent).await;
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let client = client(url.as_str(), "").unwrap();
    let first = client.get(0, &url);
    let second = async {
        tokio::task::yield_now().await;
        client.get(0, &url).await
    };
    tokio::select! {
        biased;
        answer = first => panic!("{answer:?}"),
        failure = second => {
            let failure = failure.unwrap_err();
            assert_eq!(failure.blame(), Blame::Congestion, "{failure}");
        }
    }
}

#[tokio::test]
async fn a_failure_ends_in_the_system_s_own_words() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = get(&format!("http://u:secret@{closed}/"), "").await.unwrap_err().to_string();
    assert!(failure.contains("Connection refused"), "{failure}");
    assert!(!failure.contains("secret") && !failure.contains("http://"), "{failure}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_named() {
    let service = Raw::saying(&[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]).await;
    let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
    let words = failure.to_string();
    assert!(words.contains("body") && words.contains("end of file"), "{words}");
}

#[tokio::test]
async fn a_url_that_is_no_uri_is_refused() {
    let Err(error) = client("http://u:secret@b}c/", "") else { panic!("the client was set up") };
    let error = error.to_string();
    assert!(error.starts_with("parameter \"url\" cannot be \"http://b}c/\" ("), "{error}");
    // A value of the request may make a URL too long.
    let client = client("http://127.0.0.1:1/", "").unwrap();
    let url = Url::parse(&format!("http://127.0.0.1:1/{}", "x".repeat(70_000))).unwrap();
    let failure = client.get(0, &url).await.unwrap_err();
    assert!(matches!(failure, Failure::Connection(..)), "{failure}");
    assert!(failure.to_string().len() < 200, "{failure}");
}

/// Accepts connections, counts them, and gives each to `serve`.
async fn accepting<S>(serve: impl Fn(TcpStream) -> S + Send + 'static) -> (String, Arc<AtomicUsize>)
where
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream));
        }
    });
    (address, accepted)
}

/// Keeps a connection open and says nothing.
async fn keep_silent(stream: TcpStream) {
    let _stream = stream;
    std::future::pending().await
}

#[tokio::test]
async fn an_http_2_connection_without_a_response_is_passed_over() {
    let (address, accepted) = accepting(keep_silent).await;
    let url = format!("http://{address}/");
    let client = client(&url, r#", "http2": true"#).unwrap();
    for expected in 1..=3 {
        let service = Url::parse(&url).unwrap();
        let answer = client.get(0, &service);
        assert!(timeout(Duration::from_millis(100), answer).await.is_err());
        assert_eq!(accepted.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn requests_share_one_attempt_to_negotiate() {
    // The service closes each connection when it gets the first bytes of TLS.
    let (address, accepted) = accepting(|mut stream| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    let url = format!("https://{address}/");
    let client = client(&url, "").unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, url) = (Arc::clone(&client), Url::parse(&url).unwrap());
        asked.spawn(async move { client.get(0, &url).await });
    }
    while let Some(failure) = asked.join_next().await {
        assert!(matches!(failure.unwrap(), Err(Failure::Connection(..))));
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_attempt_to_negotiate_outlives_the_request_that_began_it() {
    let (address, accepted) = accepting(keep_silent).await;
    let url = format!("https://{address}/");
    let client = client(&url, "").unwrap();
    for _ in 0..3 {
        let service = Url::parse(&url).unwrap();
        let answer = client.get(0, &service);
        assert!(timeout(Duration::from_millis(50), answer).await.is_err());
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_body_that_cannot_be_decompressed_is_a_bad_answer() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{}{}";
    let service = Raw::saying(&[response]).await;
    let failure = get(&format!("http://{}/", service.address), "").await.unwrap_err();
    assert_eq!(failure.blame(), Blame::Request, "{failure}");
}

/// A service may name any content coding, and any number of them.
#[tokio::test]
async fn a_content_coding_is_gzip_once_and_an_unknown_one_is_cut_in_the_log() {
    let squeezed = include_bytes!("squeezed.json.gz");
    for (coding, good) in [
        ("gzip", true),
        ("identity, , X-GZIP", true),
        ("gzip, gzip", false),
        ("br", false),
        (&*"gzip, ".repeat(10_000), false),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n");
        let service = Raw::saying(&[&[head.as_bytes(), squeezed].concat()]).await;
        match get(&format!("http://{}/", service.address), "").await {
            Ok(_) => assert!(good, "{coding}"),
            Err(failure) => {
                assert!(!good && failure.blame() == Blame::Request, "{failure}");
                let text = failure.to_string();
                assert!(text.len() < 400 && text.contains("and only gzip is known"), "{text}");
            }
        }
    }
}

/// A service that takes one token, and another one later.
#[tokio::test]
async fn a_token_file_that_has_changed_is_read_again_on_a_401() {
    const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first").unwrap();
    let service = Raw::saying(&[NOTHING, UNAUTHORIZED, UNAUTHORIZED, NOTHING]).await;
    let url = Url::parse(&format!("http://{}/", service.address)).unwrap();
    let parameters = format!(r#", "bearer-token-file": "{}""#, file.display());
    let client = client(url.as_str(), &parameters).unwrap();
    assert!(client.get(0, &url).await.is_ok());
    // The file is the same: the request is not repeated.
    assert!(client.get(0, &url).await.is_err());
    assert_eq!(service.requests().len(), 2);
    std::fs::write(&file, "second-token").unwrap();
    assert!(client.get(0, &url).await.is_ok());
    let tokens = service.requests();
    let tokens: Vec<_> = tokens.iter().map(|request| request.contains("second-token")).collect();
    assert_eq!(tokens, [false, false, false, true]);
}

#[tokio::test]
async fn files_are_read_again_when_they_have_changed_and_stay_in_use_when_they_are_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first").unwrap();
    let service = Raw::saying(&[NOTHING]).await;
    let url = Url::parse(&format!("http://{}/", service.address)).unwrap();
    let parameters = format!(r#", "bearer-token-file": "{}""#, file.display());
    let client = client(url.as_str(), &parameters).unwrap();
    assert!(client.refresh().is_none());
    std::fs::remove_file(&file).unwrap();
    let error = client.refresh().unwrap().unwrap_err().to_string();
    assert!(error.contains("bearer-token-file"), "{error}");
    assert!(client.refresh().is_none(), "each change is looked at once");
    assert!(client.get(0, &url).await.is_ok());
    std::fs::write(&file, "second").unwrap();
    assert!(client.refresh().unwrap().is_ok());
    assert!(client.get(0, &url).await.is_ok());
    let requests = service.requests();
    assert!(requests[0].contains("Bearer first") && requests[1].contains("Bearer second"));
}

#[test]
fn sockets_are_counted_with_the_idle_ones() {
    for sockets in [0, 1, 5, 768, 1_000_000] {
        let one = Http1Limits::new(sockets, 1);
        assert_eq!((one.in_use, one.idle), (sockets.max(1), sockets));
        for services in 2..=16 {
            let Http1Limits { in_use, idle } = Http1Limits::new(sockets, services);
            assert!(in_use >= 1 && in_use + services * idle <= sockets.max(1), "{services}");
        }
    }
}
