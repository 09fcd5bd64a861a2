// SPDX-License-Identifier: MPL-2.0
//! Many machines that power on within a second: every machine gets its own answer, in OFFER and
//! ACK, for one request. The machines ask again as RFC 2131 says, and some have to.

use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::{about, in_both_modes, port, size};
use remote_opts_test_support::PATIENCE;
use remote_opts_test_support::dhcp::{Client, Reply};
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::load;
use remote_opts_test_support::service::{Service, echo};

/// How many machines power on. `make bench` has five times as many.
fn machines() -> u32 {
    size("REMOPTS_STORM", 1000)
}

/// One machine that boots.
struct Machine {
    number: u32,
    client: Client,
    /// When the machine sends its next packet.
    next: Instant,
    /// The time from the next packet to the one after it.
    pause: Duration,
    offer: Option<Reply>,
    ack: Option<Reply>,
}

impl Machine {
    /// Asks again after 4, 8, 16 seconds, each a second more or less (RFC 2131, section 4.1).
    fn send(&mut self) {
        match &self.offer {
            None => {
                self.client.send_discover_again();
            }
            Some(offer) => self.client.send_request(offer),
        }
        let chance = u64::from(self.number.wrapping_mul(7919) % 2000);
        self.next += self.pause + Duration::from_millis(chance) - Duration::from_secs(1);
        self.pause *= 2;
    }

    /// Takes a reply. A second OFFER is for the machine's retransmission.
    fn receive(&mut self) {
        let reply = self.client.reply("the machine");
        match (&self.offer, reply.kind()) {
            (None, MessageType::Offer) => {
                self.offer = Some(reply);
                (self.next, self.pause) = (Instant::now(), Duration::from_secs(4));
                self.send();
            }
            (Some(_), MessageType::Ack) => self.ack = Some(reply),
            _ => {}
        }
    }
}

/// Powers the machines on within a second, and waits until all are bound. Returns how long it took.
fn power_on(kea: &Kea, number: u32) -> Duration {
    let start = Instant::now();
    let mut machines: Vec<_> = (0..number)
        .map(|number| Machine {
            number,
            client: kea.client().with(82, port(number)),
            next: start + Duration::from_secs(1) * number / machines(),
            pause: Duration::from_secs(4),
            offer: None,
            ack: None,
        })
        .collect();
    while machines.iter().any(|machine| machine.ack.is_none()) {
        for machine in machines.iter_mut().filter(|machine| machine.ack.is_none()) {
            if machine.client.has_reply() {
                machine.receive();
            } else if Instant::now() >= machine.next {
                machine.send();
            }
        }
        assert!(start.elapsed() < 3 * PATIENCE, "{} s", start.elapsed().as_secs());
        thread::sleep(Duration::from_millis(1));
    }
    for Machine { number, offer, ack, .. } in &machines {
        let chains = [offer, ack].map(|reply| reply.as_ref().and_then(Reply::chain));
        assert_eq!(chains, [Some(about(*number)), Some(about(*number))], "machine {number}");
    }
    start.elapsed()
}

/// A storm with the parking places and the concurrency limit that Kea and the library have by
/// default, and with `parameters`. A busy machine gets more time: lookups are not late, and an
/// answer is fresh until the last machine is bound.
fn storm(threads: Threads, delay: Duration, parameters: Value) {
    let service = Service::scripted(move |request| echo(request).after(delay));
    let mut all = json!({"url": service.url("/"), "cache-ttl": 600});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    let kea = Setup::new(threads).quiet().hook(all).start();
    let took = power_on(&kea, machines());
    println!("{threads:?}, {delay:?}: {} machines bound in {took:.1?}", machines());
    assert_eq!(service.asked() as u32, machines(), "one request for each machine");
    assert_eq!(kea.count("DHCP4_PACKET_NAK_0001"), 0, "Kea met its own limit");
    assert!(kea.stop().status.success());
}

#[test]
fn every_machine_that_powers_on_gets_its_own_answer() {
    let _turn = load::turn();
    for delay in [0, 100, 500].map(Duration::from_millis) {
        in_both_modes(|threads| {
            // A Kea that cannot park would have a thread wait for each machine.
            let on_miss = if kea::parks() { "wait" } else { "retry" };
            storm(threads, delay, json!({"on-miss": on_miss}));
        });
    }
}

/// With the service down, machines with kept answers boot as ever.
#[test]
fn every_machine_that_has_had_an_answer_gets_it_while_the_service_is_down() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut service = Service::echo();
        let parameters = json!({"url": service.url("/"), "cache-ttl": 0, "on-miss": "retry"});
        let kea = Setup::new(threads).quiet().hook(parameters).start();
        power_on(&kea, machines());
        service.stop();
        let took = power_on(&kea, machines());
        println!("{threads:?}: {} machines bound in {took:.1?}, service down", machines());
        assert!(kea.stop().status.success());
    });
}
