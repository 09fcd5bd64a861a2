// SPDX-License-Identifier: MPL-2.0
//! Any bytes as a packet, from pkt4_receive to pkt4_send, and any bytes as the service's answer.
//!
//! The input: flags, the message type, the length of an answer in two bytes, the answer, and the
//! packet's options.
#![no_main]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::str;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use fuzz_kea::{Served, Way, forget, load, serve};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// The packet is the input's own, header and all.
const WHOLE: u8 = 1;
/// The service gives the input's answer. Else it says who was asked for.
const GIVEN: u8 = 2;
/// The client goes on with a REQUEST, and renews.
const GOES_ON: u8 = 4;
/// Kea refuses the client its address.
const REFUSED: u8 = 8;
/// The client has an address.
const RENEWS: u8 = 16;
/// The packet comes through a relay agent.
const RELAYED: u8 = 32;
/// Kea has no subnet for the client.
const WITHOUT_SUBNET: u8 = 64;
/// The service says 404.
const NOT_FOUND: u8 = 128;

const DHCPREQUEST: u8 = 3;

/// Where the options of a message begin: behind the fixed fields and the magic cookie.
const OPTIONS: usize = 240;

/// The options that no answer may edit.
const OF_THE_PROTOCOL: [u8; 11] = [50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 82];

/// The option in which the service says who was asked for.
const ASKED: u8 = 224;

/// The address that the service has for each client.
const RESERVED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// The longest reply that the library may make: the default of the parameter max-reply-size.
const LONGEST: usize = 1472;

/// How many inputs there were. The library remembers an exchange for ten seconds, so each input is
/// another client's.
static INPUTS: AtomicU32 = AtomicU32::new(0);

/// What the service answers. `None`: who was asked for.
static ANSWER: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fuzz_target!(
    init: {
        let service = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = service.local_addr().expect("an address").port();
        thread::spawn(move || {
            for connection in service.incoming() {
                thread::spawn(|| answer(connection.expect("a connection")));
            }
        });
        load(&json!({
            "url": format!("http://127.0.0.1:{port}/boot"),
            "query": { "mac": "hexstring(pkt4.mac, '')", "vendor": "option[60].text" },
            "user-class": ["iPXE", "PXEClient"],
            "machine-guid": "RPi4",
            "match": "relay4[1].exists or option[93].hex == 0x0007",
        }));
    },
    |input: &[u8]| {
        let [flags, message_type, high, low, rest @ ..] = input else { return };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (given, packet) = rest.split_at(length);
        let is = |flag| flags & flag != 0;

        let body = is(GIVEN).then_some(given);
        *ANSWER.lock().unwrap() = body.map(|body| response(is(NOT_FOUND), body));
        let way = Way { without_subnet: is(WITHOUT_SUBNET), refuses: is(REFUSED) };
        let whole = |message_type, renews| match is(WHOLE) {
            true => packet.to_vec(),
            false => message(message_type, renews, is(RELAYED), packet),
        };
        let mut packets = vec![whole(*message_type, is(RENEWS))];
        if is(GOES_ON) {
            packets.extend([whole(DHCPREQUEST, false), whole(DHCPREQUEST, true)]);
        }
        let client = INPUTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for packet in &mut packets {
            // The last four bytes of the hardware address.
            if let Some(address) = packet.get_mut(30..34) {
                address.copy_from_slice(&client);
            }
            check(&serve(packet, way), body.is_none());
        }
        forget();
    }
);

/// A client's message with these options.
fn message(message_type: u8, renews: bool, is_relayed: bool, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; OPTIONS];
    // Request, Ethernet, six bytes of hardware address, one hop.
    message[..4].copy_from_slice(&[1, 1, 6, u8::from(is_relayed)]);
    // Transaction id.
    message[4..8].copy_from_slice(b"fuzz");
    if renews {
        message[12..16].copy_from_slice(&RESERVED.octets());
    }
    if is_relayed {
        message[24..28].copy_from_slice(&[192, 0, 2, 2]);
    }
    message[28..34].copy_from_slice(&[0xdc, 0xa6, 0x32, 0, 0, 1]);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, message_type]);
    message.extend(options);
    message
}

/// Checks a reply against what Kea made. `says_who`: the service said who was asked for.
fn check(served: &Served, says_who: bool) {
    let (made, sent) = (&served.made, &served.sent);
    if sent.is_empty() {
        return;
    }
    // All but siaddr, sname and file.
    assert_eq!(made[..20], sent[..20]);
    assert_eq!(made[24..44], sent[24..44]);
    assert!(sent.len() <= made.len().max(LONGEST), "{} bytes", sent.len());
    let sent_address = &sent[16..20];
    // Kea itself writes an option 82 that has a sub-option 53 with a wrong length.
    let Some(made) = options(made) else { return };
    let sent = options(sent).expect("options as Kea makes them");
    for code in OF_THE_PROTOCOL {
        assert_eq!(made.get(&code), sent.get(&code), "option {code} is as Kea made it");
    }
    // A service may give any bytes for an option, also bytes that Kea itself would not send.
    assert!(served.is_readable || !says_who);
    if let (true, Some(asked)) = (says_who, sent.get(&ASKED)) {
        let asked = str::from_utf8(asked).expect("text");
        let asked = asked.trim_start_matches("/boot?").split('&').collect::<Vec<_>>();
        let names = ["sub82_1", "sub82_2", "sub82_9"].iter().zip(&served.sub_options);
        for (name, value) in names.chain([(&"mac", &served.hardware)]) {
            let digits: String = value.iter().map(|byte| format!("{byte:02X}")).collect();
            let own = format!("{name}={digits}");
            let is_own = |pair: &&str| pair.eq_ignore_ascii_case(&own);
            assert!(value.is_empty() || asked.iter().any(is_own), "{own} in {asked:?}");
        }
        if served.has_lease && !served.hardware.is_empty() {
            assert_eq!(sent_address, RESERVED.octets(), "the address of the answer");
        }
    }
}

/// The payload of each option; `None` where one is longer than the message.
fn options(message: &[u8]) -> Option<BTreeMap<u8, Vec<u8>>> {
    let mut options = BTreeMap::<_, Vec<_>>::new();
    let mut rest = &message[OPTIONS..];
    loop {
        rest = match rest {
            [0, next @ ..] => next,
            [255, ..] | [] => return Some(options),
            [code, length, next @ ..] => {
                let (payload, next) = next.split_at_checked(usize::from(*length))?;
                // An option that is longer than 255 bytes is there in parts (RFC 3396).
                options.entry(*code).or_default().extend(payload);
                next
            }
            [_] => return None,
        };
    }
}

/// The service: answers one request after the other.
fn answer(mut connection: TcpStream) {
    let mut lines = BufReader::new(connection.try_clone().expect("a descriptor")).lines();
    while let Some(Ok(request)) = lines.next() {
        // The headers, up to an empty line.
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let target = request.split(' ').nth(1).unwrap_or_default();
        let answer = ANSWER.lock().unwrap().clone();
        let answer = answer.unwrap_or_else(|| response(false, who(target).to_string().as_bytes()));
        if connection.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Says who was asked for, and makes use of each kind of edit.
fn who(target: &str) -> Value {
    json!({
        "options": {
            ASKED.to_string(): target,
            "vendor-class-identifier": "PXEClient",
            "boot-file-name": "pxelinux.0",
            "3": ["192.0.2.3", "192.0.2.4"],
            "43": { "6": 3, "10": { "hex": "00505845" } },
            "66": null,
        },
        "next-server": "192.0.2.9",
        "server-hostname": "tftp1",
        "client-classes": ["rpi4"],
        "ip-address": RESERVED,
        "hostname": "node7",
    })
}

fn response(not_found: bool, body: &[u8]) -> Vec<u8> {
    let status = if not_found { "404 Not Found" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
