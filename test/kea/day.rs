// SPDX-License-Identifier: MPL-2.0
//! A day of 500 machines, pressed into a minute: the services die one by one and all, hang, answer
//! 500 and garbage, and return. Kea is reloaded twice and killed once. Whatever happens, a machine
//! that had its answer keeps its answer and its address.
//!
//! The environment variable `REMOPTS_DAY` sets how many seconds the day has. With 240 seconds each
//! failure lasts for most of a lease's time, or longer.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::json;
use tempfile::TempDir;

use crate::{about, port, size};
use remote_opts_test_support::dhcp::{Client, Relay, Reply};
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::load;
use remote_opts_test_support::service::{Answer, Request, Service};
use remote_opts_test_support::{PATIENCE, wait_until_within};

/// How many machines there are. The first ones come at once, the rest one by one until the evening.
const MACHINES: u32 = 500;
const FIRST_MACHINES: u32 = 300;

/// The time of a lease, in seconds.
const LEASE: u32 = 20;

/// How soon a machine that boots sends a packet again. RFC 2131 has longer pauses: with them a
/// machine's wait would show its own pauses, and not how soon it could have had its answer.
const AGAIN: Duration = Duration::from_millis(500);

/// A new machine gets its answer within this time, where a service is up or has come up.
const SOON: Duration = Duration::from_secs(3);

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Up,
    Down,
    Hangs,
    Fails,
    TalksGarbage,
}
use State::{Down, Fails, Hangs, TalksGarbage, Up};

/// What happens to Kea in a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Nothing,
    Reload,
    ReloadAndKill,
}
use Change::{Nothing, Reload, ReloadAndKill};

/// A part of the day: its name, its share of the day in fifteenths, what the services do, and what
/// happens to Kea.
struct Phase(&'static str, u32, [State; 3], Change);

/// All services are down for longer than a lease lasts, also on the shortest day: a machine that is
/// not served then loses its lease.
const DAY: [Phase; 10] = [
    Phase("all are up", 2, [Up; 3], Nothing),
    Phase("the first is down", 1, [Down, Up, Up], Nothing),
    Phase("two are down", 1, [Down, Down, Up], Reload),
    Phase("all are down", 5, [Down; 3], ReloadAndKill),
    Phase("the last is back", 1, [Down, Down, Up], Nothing),
    Phase("all hang", 1, [Hangs; 3], Nothing),
    Phase("all are back", 1, [Up; 3], Nothing),
    Phase("all answer 500", 1, [Fails; 3], Nothing),
    Phase("all answer garbage", 1, [TalksGarbage; 3], Nothing),
    Phase("all are back", 1, [Up; 3], Nothing),
];

impl Phase {
    /// Whether a new machine can have an answer.
    fn answers(&self) -> bool {
        self.2.contains(&Up)
    }
}

/// The rack of a machine: a class of the answer, and the pool that hangs on the class.
fn rack(number: u32) -> String {
    format!("rack-{}", number % 2)
}

/// The answer about a machine: its own option 224 and its class.
fn answer(request: &Request) -> Answer {
    let (_, port) = request.target.split_once('=').expect("a query");
    let number = u32::from_str_radix(port, 16).expect("a port in hexadecimal");
    let options = json!({"224": request.target});
    Answer::json(json!({"options": options, "client-classes": [rack(number)]}))
}

/// What the script of the day and the machines know of each other.
struct Shared {
    start: Instant,
    /// The present phase, as an index of [`DAY`].
    phase: AtomicUsize,
    over: AtomicBool,
    /// Offers that arrived before have been forgotten, by a reload or a kill.
    offers_forgotten: Mutex<Instant>,
    /// The machines that have had an answer.
    answered: Mutex<BTreeSet<u32>>,
    /// What must not have happened.
    failures: Mutex<Vec<String>>,
}

impl Shared {
    fn phase(&self) -> usize {
        self.phase.load(Ordering::SeqCst)
    }

    fn fail(&self, what: &str) {
        let (Phase(phase, ..), after) = (&DAY[self.phase()], self.start.elapsed());
        self.failures.lock().unwrap().push(format!("{after:.1?}, {phase}: {what}"));
    }
}

/// Ends the day also when a thread panics.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// What a machine does.
enum Doing {
    /// It is off, and boots at [`Machine::next`].
    Off,
    /// It has sent a DISCOVER.
    Discovering,
    /// It has sent a REQUEST for this OFFER.
    Requesting(Reply),
    /// It works, and renews its lease at [`Machine::next`].
    Bound,
    /// It has sent a REQUEST for its lease.
    Renewing,
}

/// One machine.
struct Machine {
    number: u32,
    client: Client,
    /// When the machine boots for the first time.
    comes: Instant,
    /// When the machine had its first answer.
    answered: Option<Instant>,
    /// The ACK of the present lease.
    lease: Option<Reply>,
    /// When the lease ends. A machine that has an answer and no lease yet must have one by then.
    ends: Option<Instant>,
    /// How many ACKs the machine has had.
    acks: u32,
    doing: Doing,
    /// When the present exchange began.
    begun: Instant,
    /// When the machine sends its next packet, if nothing arrives before.
    next: Instant,
}

impl Machine {
    fn new(number: u32, relay: &Arc<Relay>, comes: Instant) -> Machine {
        Machine {
            number,
            client: Client::new(Arc::clone(relay)).with(82, port(number)),
            comes,
            answered: None,
            lease: None,
            ends: None,
            acks: 0,
            doing: Doing::Off,
            begun: comes,
            next: comes,
        }
    }

    /// Sends the packet that is due.
    fn send(&mut self, counts: &mut Counts) {
        let now = Instant::now();
        if matches!(self.doing, Doing::Off | Doing::Bound) {
            self.begun = now;
        } else {
            counts.again += 1;
        }
        self.next = now + AGAIN;
        match (&self.doing, &self.lease) {
            (Doing::Off, lease) => {
                let kind = if lease.is_some() { &mut counts.reboots } else { &mut counts.new };
                *kind += 1;
                self.client.send_discover();
                self.doing = Doing::Discovering;
            }
            (Doing::Requesting(offer), _) => self.client.send_request(offer),
            (Doing::Bound | Doing::Renewing, Some(lease)) => {
                counts.renewals += usize::from(matches!(self.doing, Doing::Bound));
                self.client.send_renewal(lease);
                // The next one follows after half of the time that is left (RFC 2131, section
                // 4.4.5).
                let left = self.ends.map(|ends| ends.saturating_duration_since(now) / 2);
                self.next = now + left.unwrap_or_default().max(AGAIN);
                self.doing = Doing::Renewing;
            }
            _ => drop(self.client.send_discover_again()),
        }
    }

    /// Takes the lease of an ACK. One machine in four reboots next, and the others renew.
    fn bind(&mut self, ack: Reply) {
        let seconds = ack.option(51).expect("a lease time").try_into().expect("four bytes");
        // Kea 3.0 leaves a young lease as it is, and tells the rest of its time.
        let time = Duration::from_secs(u32::from_be_bytes(seconds).into());
        self.acks += 1;
        if (self.number + self.acks) % 4 == 0 {
            self.doing = Doing::Off;
            self.next = ack.arrived + time * (2 + self.number % 7) / 20;
        } else {
            self.doing = Doing::Bound;
            self.next = ack.arrived + time / 2;
        }
        self.ends = Some(ack.arrived + time);
        self.lease = Some(ack);
    }
}

/// What is counted in one phase.
#[derive(Clone, Default)]
struct Counts {
    new: usize,
    renewals: usize,
    reboots: usize,
    /// The OFFERs and ACKs with the machine's own answer.
    answers: usize,
    /// The packets that were sent again, because the packet before had no reply in time.
    again: usize,
    /// The longest time from the first packet of an exchange to its ACK, for a machine that had an
    /// answer before.
    longest: Duration,
}

/// All machines, and what they meet.
struct Machines<'a> {
    shared: &'a Shared,
    relay: Arc<Relay>,
    machines: Vec<Machine>,
    /// The machine of each transaction.
    transactions: HashMap<u32, usize>,
    counts: Vec<Counts>,
    /// How many OFFERs a reload or the kill has forgotten.
    forgotten: usize,
}

impl<'a> Machines<'a> {
    fn new(kea: &Kea, shared: &'a Shared, day: Duration) -> Machines<'a> {
        let comes = |number| match number {
            0..FIRST_MACHINES => day / 15 * number / FIRST_MACHINES,
            _ => day / 15 + day * 14 / 15 * (number - FIRST_MACHINES) / (MACHINES - FIRST_MACHINES),
        };
        let machine = |number| Machine::new(number, kea.relay(), shared.start + comes(number));
        Machines {
            shared,
            relay: Arc::clone(kea.relay()),
            machines: (0..MACHINES).map(machine).collect(),
            transactions: HashMap::new(),
            counts: vec![Counts::default(); DAY.len()],
            forgotten: 0,
        }
    }

    /// Drives the machines until the day is over.
    fn run(mut self) -> Self {
        while !self.shared.over.load(Ordering::SeqCst) {
            let mut patience = Duration::from_millis(5);
            while let Some(reply) = self.relay.receive(|_| true, patience) {
                self.receive(reply);
                patience = Duration::ZERO;
            }
            for index in 0..self.machines.len() {
                let machine = &mut self.machines[index];
                let now = Instant::now();
                if machine.ends.is_some_and(|ends| now >= ends) {
                    let what =
                        if machine.lease.is_some() { "loses its lease" } else { "gets no lease" };
                    (machine.lease, machine.ends) = (None, None);
                    (machine.doing, machine.next) = (Doing::Off, now);
                    self.fail(index, what);
                } else if now >= machine.next {
                    machine.send(&mut self.counts[self.shared.phase()]);
                    self.transactions.insert(machine.client.xid(), index);
                }
            }
        }
        self
    }

    fn fail(&self, index: usize, what: &str) {
        self.shared.fail(&format!("machine {} {what}", self.machines[index].number));
    }

    fn receive(&mut self, reply: Reply) {
        let index = self.transactions[&reply.xid()];
        let counts = &mut self.counts[self.shared.phase()];
        let machine = &mut self.machines[index];
        let (kind, address) = (reply.kind(), reply.address());
        if kind == MessageType::Nak {
            // Kea reserves no address for an OFFER. After a reload or a kill it offers the same
            // address again, whatever hook library it has.
            let forgotten = *self.shared.offers_forgotten.lock().unwrap();
            let is_keas_own = match (&machine.doing, &machine.lease) {
                (Doing::Requesting(offer), None) => offer.arrived < forgotten,
                _ => false,
            };
            (machine.doing, machine.lease) = (Doing::Discovering, None);
            machine.next = Instant::now();
            if is_keas_own {
                self.forgotten += 1;
            } else {
                self.fail(index, "gets a DHCPNAK");
            }
            return;
        }
        let mut wrong = Vec::new();
        let own = about(machine.number);
        if reply.chain().as_ref() == Some(&own) {
            counts.answers += 1;
            if machine.answered.is_none() {
                machine.answered = Some(reply.arrived);
                machine.ends = Some(reply.arrived + Duration::from_secs(LEASE.into()));
                self.shared.answered.lock().unwrap().insert(machine.number);
            }
        } else {
            // Every pool hangs on an answer, so no reply can be right without its answer.
            wrong.push(format!("gets the answer {:?} in {kind:?}", reply.chain()));
        }
        if u32::from(address.octets()[2] / 128) != machine.number % 2 {
            wrong.push(format!("gets {address}, of another rack, in {kind:?}"));
        }
        if let Some(had) = machine.lease.as_ref().map(Reply::address).filter(|had| *had != address)
        {
            wrong.push(format!("had {had}, and gets {address} in {kind:?}"));
        }
        // The reply to an earlier packet of the machine changes nothing.
        if reply.xid() == machine.client.xid() {
            match (&machine.doing, kind) {
                (Doing::Discovering, MessageType::Offer) => {
                    machine.client.send_request(&reply);
                    machine.next = Instant::now() + AGAIN;
                    machine.doing = Doing::Requesting(reply);
                }
                (Doing::Requesting(_) | Doing::Renewing, MessageType::Ack) => {
                    if machine.lease.is_some() {
                        counts.longest = counts.longest.max(reply.arrived - machine.begun);
                    }
                    machine.bind(reply);
                }
                _ => {}
            }
        }
        wrong.iter().for_each(|wrong| self.fail(index, wrong));
    }
}

/// When each phase began, and how many requests each service had by then. The last entry is the end
/// of the day.
type Hours = Vec<(Instant, [usize; 3])>;

/// Plays the day: what the services do, and what happens to Kea.
fn play(
    kea: &mut Kea,
    services: &mut [Service; 3],
    file: &Path,
    shared: &Shared,
    day: Duration,
) -> Hours {
    let mut states = [Up; 3];
    let mut hours = Hours::new();
    let mut ends = Instant::now();
    for (index, Phase(_, share, wanted, change)) in DAY.iter().enumerate() {
        shared.phase.store(index, Ordering::SeqCst);
        hours.push((Instant::now(), services.each_ref().map(Service::asked)));
        ends += day * *share / 15;
        for ((service, state), wanted) in services.iter_mut().zip(&mut states).zip(wanted) {
            match wanted {
                Up => service.script(answer),
                Down => service.stop(),
                Hangs => service.answer(Answer::Never),
                Fails => service.answer(Answer::status(500, "")),
                TalksGarbage => service.answer(Answer::text("<html>")),
            }
            if mem::replace(state, *wanted) == Down && *wanted != Down {
                service.start();
            }
        }
        let forget_offers = |until| *shared.offers_forgotten.lock().unwrap() = until;
        if *change != Nothing {
            sleep_until(ends - day * *share / 15 * 4 / 5);
            forget_offers(Instant::now() + day);
            kea.reload().unwrap();
            forget_offers(Instant::now());
        }
        if *change == ReloadAndKill {
            // The reload has written the file. No service is up, so there is no later answer.
            let text = fs::read_to_string(file).expect("the file of kept answers");
            let missing = |number: &u32| !text.contains(&format!("\"1\":\"{number:08x}\""));
            let missing = shared.answered.lock().unwrap().iter().filter(|one| missing(one)).count();
            if missing > 0 {
                shared.fail(&format!("the file lacks the answers of {missing} machines"));
            }
            forget_offers(Instant::now() + day);
            kea.kill_and_start().unwrap();
            forget_offers(Instant::now());
        }
        sleep_until(ends);
    }
    // Whoever came last, or backs off, has its answer a little after the day.
    let all = || shared.answered.lock().unwrap().len() == MACHINES as usize;
    wait_until_within(2 * PATIENCE, all);
    hours.push((Instant::now(), services.each_ref().map(Service::asked)));
    hours
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

/// Checks how long new machines waited where a service was up, and prints it.
fn judge_new(machines: &Machines, hours: &Hours) {
    let mut first = 0;
    for stretch in DAY.chunk_by(|one, next| one.answers() == next.answers()) {
        let (begins, ends) = (hours[first].0, hours[first + stretch.len()].0);
        let Phase(name, ..) = stretch[0];
        first += stretch.len();
        if !stretch[0].answers() {
            continue;
        }
        let (mut longest, mut number) = (Duration::ZERO, 0);
        for (index, &Machine { comes, answered, .. }) in machines.machines.iter().enumerate() {
            let from = comes.max(begins);
            let is_cut_short = first < DAY.len() && from + SOON > ends;
            if is_cut_short || answered.is_some_and(|answered| answered < begins) {
                continue;
            }
            // A machine that never had an answer waited at least until now.
            let wait = answered.unwrap_or_else(Instant::now) - from;
            (longest, number) = (longest.max(wait), number + 1);
            if wait > SOON {
                machines.fail(index, &format!("waits {wait:.1?} in: {name}"));
            }
        }
        println!("{name}: {number} new machines get answers within {longest:.1?}");
    }
}

fn print(machines: &Machines, hours: &Hours) {
    println!("phase                seconds  new renewals reboots answers again longest  requests");
    for ((Phase(name, ..), counts), times) in DAY.iter().zip(&machines.counts).zip(hours.windows(2))
    {
        let [begin, end] = [times[0].0, times[1].0];
        let asked = [0, 1, 2].map(|service| times[1].1[service] - times[0].1[service]);
        let Counts { new, renewals, reboots, answers, again, longest } = counts;
        let [seconds, longest] = [end - begin, *longest].map(|time| time.as_secs_f64());
        print!("{name:20} {seconds:7.1} {new:4} {renewals:8} {reboots:7} ");
        println!("{answers:7} {again:5} {longest:7.1}  {asked:?}");
    }
}

#[test]
fn no_machine_loses_its_answer_or_its_lease_whatever_its_services_do() {
    let _turn = load::turn();
    let day = Duration::from_secs(size("REMOPTS_DAY", 60).into());
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("answers");
    let mut services = [(); 3].map(|()| Service::scripted(answer));
    let urls = services.each_ref().map(|service| service.url("/"));
    let pools = ["10.77.0.16-10.77.127.255", "10.77.128.0-10.77.255.239"];
    let pool = |number| json!({"pool": pools[number as usize], "client-class": rack(number)});
    let mut kea = Setup::new(Threads::Four)
        .quiet()
        .set("valid-lifetime", json!(LEASE))
        .persistent_leases()
        .set("client-classes", json!([{"name": rack(0)}, {"name": rack(1)}]))
        .set(
            "subnet4",
            json!([{
                "id": 1,
                "subnet": "10.77.0.0/16",
                "pools": [pool(0), pool(1)],
                "relay": { "ip-addresses": ["127.0.0.1"] },
            }]),
        )
        .hook(json!({"url": urls, "timeout": 1500, "cache-ttl": 0, "cache-file": file}))
        .start();

    let start = Instant::now();
    let shared = Shared {
        start,
        phase: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        offers_forgotten: Mutex::new(start),
        answered: Mutex::default(),
        failures: Mutex::default(),
    };
    let machines = Machines::new(&kea, &shared, day);
    let (machines, hours) = thread::scope(|threads| {
        let driver = threads.spawn(|| machines.run());
        let over = Over(&shared);
        let hours = play(&mut kea, &mut services, &file, &shared, day);
        drop(over);
        let machines = driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (machines, hours)
    });

    print(&machines, &hours);
    judge_new(&machines, &hours);
    let held_back = kea.statistic("remote-opts-naks-held-back");
    println!("DHCPNAKs held back since the kill: {}", held_back.unwrap_or_default());
    println!("OFFERs that a reload or the kill has forgotten: {}", machines.forgotten);
    let failures = shared.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(kea.stop().status.success());
}
