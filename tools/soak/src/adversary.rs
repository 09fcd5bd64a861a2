// SPDX-License-Identifier: MPL-2.0
//! The adversary: what it does to the services, to Kea's process and to the disk, and the commands
//! and reloads of an operator who cannot leave it alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::clients::{MACHINES, answer, discover_in_hex};
use crate::service::Mode;
use crate::services::Service;
use crate::shared::Shared;
use remote_opts_test_support::holdings::Holdings;
use remote_opts_test_support::kea::Kea;
use remote_opts_test_support::service::about;

/// How often Kea is reloaded.
const RELOAD: Duration = Duration::from_secs(1);

/// After how many reloads http URLs change between HTTP/1.1 and HTTP/2.
const OTHER_HTTP: usize = 5;

/// No file may be longer than this while the disk is full. Kea's log files and its leases stay below
/// it, the file of kept answers does not.
const FULL: u64 = 1000 * 1024;

/// The name of the service at [`NAMED`].
pub const NAME: &str = "boot.test";

/// The service that is reached by its name, and the one that is reached by TLS.
const NAMED: usize = 1;
const SECURE: usize = 2;

/// What the adversary does to services.
#[derive(Clone, Copy)]
enum Fault {
    /// Gives a service this mode.
    Mode(Mode),
    Kill,
    Freeze,
    Cut,
    Expire,
    NameFails,
    NameHangs,
}
use Fault::{Cut, Expire, Freeze, Kill, NameFails, NameHangs};

const FAULTS: [(&str, Fault); 25] = [
    ("service killed and restarted", Kill),
    ("service frozen (SIGSTOP)", Freeze),
    ("connections cut", Cut),
    ("certificate expires", Expire),
    ("name stops resolving", NameFails),
    ("resolver hangs for the name", NameHangs),
    ("slow answers", Fault::Mode(Mode::Slow)),
    ("status 500", Fault::Mode(Mode::Error)),
    ("status 503 with Retry-After", Fault::Mode(Mode::Unavailable)),
    ("redirects", Fault::Mode(Mode::Redirect)),
    ("garbage", Fault::Mode(Mode::Garbage)),
    ("no JSON", Fault::Mode(Mode::NoJson)),
    ("half answers", Fault::Mode(Mode::Half)),
    ("half answers, then silence", Fault::Mode(Mode::Stalled)),
    ("wrong lengths", Fault::Mode(Mode::WrongLength)),
    ("endless headers", Fault::Mode(Mode::EndlessHeaders)),
    ("bodies by the byte", Fault::Mode(Mode::ByTheByte)),
    ("bodies too long", Fault::Mode(Mode::Huge)),
    ("no answers", Fault::Mode(Mode::Silent)),
    ("connections reset (RST)", Fault::Mode(Mode::Reset)),
    ("new connections reset (RST)", Fault::Mode(Mode::ResetAtOnce)),
    ("connections closed", Fault::Mode(Mode::HangUp)),
    ("GOAWAY after an answer", Fault::Mode(Mode::GoAway)),
    ("GOAWAY in the place of an answer", Fault::Mode(Mode::GoAwayAtOnce)),
    ("streams reset", Fault::Mode(Mode::StreamReset)),
];

/// What the adversary does to Kea's process and files.
const LOCAL_FAULTS: [&str; 4] =
    ["descriptor limit reached", "disk full", "disk read-only", "log rotated"];

/// What the adversary works on.
pub struct Adversary<'a> {
    pub shared: &'a Shared,
    /// What chance begins with.
    pub seed: u64,
    pub kea: &'a Kea,
    pub services: [Service; 3],
    /// What the resolver says: see test/kea/names.cc.
    pub names: PathBuf,
    /// The folder of the file of kept answers.
    pub folder: PathBuf,
    /// Held for writing while Kea has no descriptor left: without one, Kea itself can take no
    /// command and open no socket.
    pub descriptors: RwLock<()>,
    /// What Kea held before each reload. (In the middle of one it has no threads for packets.)
    pub samples: Mutex<Vec<(Instant, Holdings)>>,
    /// Whether the file of kept answers cannot be written.
    pub unwritable: AtomicBool,
}

impl Adversary<'_> {
    /// Runs `soak` while the adversary works.
    pub fn during<T>(&self, soak: impl FnOnce() -> T) -> T {
        thread::scope(|threads| {
            type Work<'a> = fn(&Adversary<'a>) -> Result<()>;
            let works: [(&str, Work); 4] = [
                ("torment of services", Adversary::torment_services),
                ("torment of the process", Adversary::torment_process),
                ("reloads", Adversary::reload),
                ("commands", Adversary::command),
            ];
            for (number, (name, work)) in (1..).zip(works) {
                threads.spawn(move || {
                    fastrand::seed(self.seed + number);
                    if let Err(error) = work(self) {
                        self.shared.wrong(&format!("{name} ended: {error:#}"));
                        self.shared.end();
                    }
                });
            }
            let over = Over(self.shared);
            let done = soak();
            drop(over);
            done
        })
    }

    /// Waits, at most until the soak is over.
    fn pause(&self, milliseconds: u64) {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while !self.shared.is_over() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20).min(end - Instant::now().min(end)));
        }
    }

    /// Does each thing to services in turn, in an order of chance, to one of them or to all.
    fn torment_services(&self) -> Result<()> {
        let mut faults = Vec::new();
        while !self.shared.is_over() {
            if faults.is_empty() {
                faults.extend(0..FAULTS.len());
                fastrand::shuffle(&mut faults);
            }
            let (name, fault) = FAULTS[faults.pop().unwrap_or_default()];
            let victims: Vec<_> = match (fault, fastrand::u8(..3)) {
                (NameFails | NameHangs, _) => vec![&self.services[NAMED]],
                (Expire, _) => vec![&self.services[SECURE]],
                (_, 0) => vec![&self.services[0]],
                (_, 1) => self.services[..2].iter().collect(),
                _ => self.services.iter().collect(),
            };
            // Those before them are out of order, too, so that these are asked.
            if let Expire | NameFails | NameHangs = fault {
                self.services[0].set(Mode::Error)?;
            }
            let who: Vec<_> = victims.iter().map(|victim| victim.name).collect();
            self.shared.note(&format!("{}: {name}", who.join(", ")));
            self.shared.count(name);
            for victim in &victims {
                self.begin(fault, victim)?;
            }
            self.pause(fastrand::u64(1000..3500));
            self.shared.note(&format!("{}: well again", who.join(", ")));
            for victim in &victims {
                self.end(fault, victim)?;
            }
            self.services[0].set(Mode::Good)?;
            self.pause(fastrand::u64(100..1500));
        }
        Ok(())
    }

    fn begin(&self, fault: Fault, victim: &Service) -> Result<()> {
        match fault {
            Fault::Mode(mode) => victim.set(mode)?,
            Kill => victim.signal(Signal::SIGKILL),
            Freeze => victim.signal(Signal::SIGSTOP),
            Cut => {}
            Expire => victim.set(Mode::Expired)?,
            NameFails => fs::write(&self.names, format!("{NAME}=fails"))?,
            NameHangs => fs::write(&self.names, format!("{NAME}=hangs"))?,
        }
        // What is done to new connections is done to all.
        match fault {
            Fault::Mode(Mode::Garbage | Mode::ResetAtOnce) => victim.cut(),
            Cut | Expire | NameFails | NameHangs => victim.cut(),
            _ => Ok(()),
        }
    }

    fn end(&self, fault: Fault, victim: &Service) -> Result<()> {
        match fault {
            Kill => victim.restart(),
            Freeze => {
                victim.signal(Signal::SIGCONT);
                Ok(())
            }
            Cut => Ok(()),
            NameFails | NameHangs => Ok(fs::write(&self.names, format!("{NAME}=127.0.0.1"))?),
            Fault::Mode(_) | Expire => victim.set(Mode::Good),
        }
    }

    fn torment_process(&self) -> Result<()> {
        let mut next = 0;
        while !self.shared.is_over() {
            self.pause(fastrand::u64(500..2500));
            let name = LOCAL_FAULTS[next % LOCAL_FAULTS.len()];
            next += 1;
            self.shared.count(name);
            self.shared.note(name);
            match name {
                "descriptor limit reached" => self.without_descriptors()?,
                "log rotated" => {
                    // As logrotate does it: another name, and then a reload.
                    let file = self.kea.log_file();
                    let _ = fs::rename(&file, file.with_extension("old"));
                }
                _ => {
                    self.unwritable.store(true, Ordering::SeqCst);
                    let full = name == "disk full";
                    if full {
                        self.limit("fsize", &FULL.to_string())?;
                    } else {
                        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o500))?;
                    }
                    self.pause(fastrand::u64(1500..4000));
                    if full {
                        self.limit("fsize", "unlimited")?;
                    } else {
                        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
                    }
                    self.unwritable.store(false, Ordering::SeqCst);
                    self.shared.note("the disk is well again");
                }
            }
        }
        Ok(())
    }

    fn without_descriptors(&self) -> Result<()> {
        let _no_commands = self.descriptors.write().unwrap();
        let open: Vec<usize> = fs::read_dir(format!("/proc/{}/fd", self.kea.pid()))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // A new descriptor gets the lowest number that is free.
        let lowest = (0..).find(|number| !open.contains(number)).unwrap_or_default();
        self.limit("nofile", &lowest.to_string())?;
        self.pause(fastrand::u64(500..1500));
        self.limit("nofile", "4096")?;
        self.shared.note("there are descriptors again");
        Ok(())
    }

    /// Sets Kea's soft limit.
    fn limit(&self, what: &str, limit: &str) -> Result<()> {
        let pid = self.kea.pid().to_string();
        let limit = format!("--{what}={limit}:");
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
        ensure!(status.success(), "prlimit {limit}");
        Ok(())
    }

    /// Reloads Kea every second. Now and then the configuration changes between HTTP/1.1 and
    /// HTTP/2.
    fn reload(&self) -> Result<()> {
        let mut configuration = self.kea.configuration();
        let mut number = 0;
        let mut next = Instant::now();
        while !self.shared.is_over() {
            next = (next + RELOAD).max(Instant::now());
            self.pause(next.saturating_duration_since(Instant::now()).as_millis() as u64);
            let _descriptors = self.descriptors.read().unwrap();
            number += 1;
            if number % OTHER_HTTP == 0 {
                let http2 = number / OTHER_HTTP % 2 == 1;
                set_parameter(&mut configuration, "http2", json!(http2));
                self.kea.write_configuration(&configuration)?;
                self.shared.note(if http2 { "HTTP/2" } else { "HTTP/1.1" });
            }
            self.samples.lock().unwrap().push((Instant::now(), Holdings::of(self.kea.pid())));
            self.shared.note("config-reload");
            self.shared.reloading(|| self.kea.reload())?;
            self.shared.count("config-reload");
        }
        set_parameter(&mut configuration, "http2", json!(false));
        self.kea.write_configuration(&configuration)
    }

    /// Sends the library's commands.
    fn command(&self) -> Result<()> {
        let mut number: u32 = 0;
        let mut from = json!("start");
        while !self.shared.is_over() {
            self.pause(fastrand::u64(10..80));
            let _descriptors = self.descriptors.read().unwrap();
            number += 1;
            let machine = fastrand::u32(..MACHINES);
            let request = json!({"sub-options": {"1": format!("{machine:08X}")}});
            let with = |more: Value| {
                let mut arguments = request.clone();
                if let (Some(all), Value::Object(more)) = (arguments.as_object_mut(), more) {
                    all.extend(more);
                }
                arguments
            };
            let command = |name: &str, arguments: Value| {
                let unwritable = || self.unwritable.load(Ordering::SeqCst);
                let before = unwritable();
                let said = self.kea.command_with(name, arguments)?;
                let file_fails = name.ends_with("write") && (before || unwritable());
                let good = matches!(said["result"].as_i64(), Some(0 | 3));
                if !good && !file_fails {
                    self.shared.wrong(&format!("{name}: {said}"));
                }
                anyhow::Ok(said)
            };
            match number % 10 {
                0 => command("remote-opts-status", json!({})).map(drop),
                1 => command("remote-opts-cache-get", request.clone()).map(drop),
                2 => command("remote-opts-lookup", with(json!({"fresh": true}))).map(drop),
                3 => {
                    let packet = discover_in_hex(machine);
                    command("remote-opts-lookup", json!({"packet": packet})).map(drop)
                }
                4 => {
                    let page = json!({"limit": 200, "from": from.clone()});
                    let page = command("remote-opts-cache-list", page)?;
                    let answers = page["arguments"]["answers"].as_array();
                    let last = answers.and_then(|answers| answers.last());
                    from = last.map_or(json!("start"), |last| last["id"].clone());
                    Ok(())
                }
                5 => {
                    let answer = answer(&about(machine), &format!("inserted{number}"));
                    let more = json!({"answer": answer, "fresh-for": 3, "stale-for": 86400});
                    command("remote-opts-cache-insert", with(more)).map(drop)
                }
                6 => self.shared.forgetting(Some(machine), || {
                    command("remote-opts-cache-remove", request.clone()).map(drop)
                }),
                7 if number % 50 == 7 => command("remote-opts-retry", json!({})).map(drop),
                8 if number % 600 == 8 => {
                    self.shared.note("remote-opts-cache-clear");
                    self.shared.forgetting(None, || {
                        command("remote-opts-cache-clear", json!({})).map(drop)
                    })
                }
                9 if number % 30 == 9 => command("remote-opts-cache-write", json!({})).map(drop),
                _ => continue,
            }?;
            self.shared.count("commands of the library");
        }
        Ok(())
    }
}

/// Ends the soak also when a thread panics.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Sets a parameter of the library.
pub fn set_parameter(configuration: &mut Value, name: &str, value: Value) {
    configuration["Dhcp4"]["hooks-libraries"][0]["parameters"][name] = value;
}
