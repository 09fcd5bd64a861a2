// SPDX-License-Identifier: MPL-2.0
//! Kept answers survive the end of a Kea that has no time for anything: `cache-file` is whole, or
//! the one before.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::{about, in_both_modes, port};
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::{PATIENCE, wait_until_within};

/// A `cache-file`, in a folder of its own.
struct File {
    _folder: TempDir,
    path: PathBuf,
    /// The new file, until it takes the place of the old one.
    new: PathBuf,
}

impl File {
    fn new() -> File {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("answers");
        File { new: path.with_extension("new"), path, _folder: folder }
    }

    fn read(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the file")
    }
}

/// A server whose answers survive in this file. Answers are not fresh for any time.
fn setup(threads: Threads, service: &Service, file: &Path) -> Setup {
    Setup::new(threads).hook(json!({"url": service.url("/"), "cache-ttl": 0, "cache-file": file}))
}

#[track_caller]
fn assert_served(kea: &Kea, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let offer = kea.client().with(82, port(number)).discover();
        assert_eq!(offer.chain(), Some(about(number)));
    }
}

/// Kills Kea. A new one serves the clients of the first ports, though the service is down.
#[track_caller]
fn assert_survived(threads: Threads, kea: Kea, mut service: Service, file: &File, number: u32) {
    kea.kill();
    assert_eq!(kea.wait().status.signal(), Some(9));
    service.stop();
    let kea = setup(threads, &service, &file.path).start();
    kea.logged(&["REMOPTS_CACHE_FILE_READ", &format!(" {number} kept answers")]);
    assert_served(&kea, 0..number);
    assert!(kea.stop().status.success());
}

#[test]
fn kept_answers_survive_a_kill_after_a_reload() {
    in_both_modes(|threads| {
        let (file, service) = (File::new(), Service::echo());
        let kea = setup(threads, &service, &file.path).start();
        assert_served(&kea, 0..20);
        kea.reload().unwrap();
        assert_survived(threads, kea, service, &file, 20);
    });
}

/// Without a reload, the file is written once a minute.
#[test]
fn kept_answers_survive_a_kill_after_a_minute() {
    in_both_modes(|threads| {
        let (file, service) = (File::new(), Service::echo());
        let kea = setup(threads, &service, &file.path).start();
        assert_served(&kea, 0..20);
        assert!(wait_until_within(Duration::from_secs(60) + PATIENCE, || file.path.exists()));
        assert_survived(threads, kea, service, &file, 20);
    });
}

/// The kernel ends a process that writes more into a file than it may (SIGXFSZ). So Kea ends in the
/// middle of the file.
#[test]
fn a_kea_that_ends_in_the_middle_of_the_file_leaves_the_one_before() {
    in_both_modes(|threads| {
        let (file, service) = (File::new(), Service::echo());
        let kea = setup(threads, &service, &file.path).start();
        assert_served(&kea, 0..20);
        assert!(kea.stop().status.success());
        let before = file.read();

        let most = format!("--fsize={0}:{0}", before.len() / 2);
        let kea = setup(threads, &service, &file.path).under(&["prlimit", &most]).start();
        assert_served(&kea, 20..25);
        assert!(kea.reload().is_err());
        let end = kea.wait();
        assert_eq!(end.status.signal(), Some(25), "SIGXFSZ: {}", end.log.join("\n"));
        assert_eq!(fs::read(&file.new).expect("half of a file").len(), before.len() / 2);
        assert_eq!(file.read(), before);

        // The half file is in nobody's way.
        let kea = setup(threads, &service, &file.path).start();
        kea.logged(&["REMOPTS_CACHE_FILE_READ", " 20 kept answers"]);
        assert_served(&kea, 20..25);
        kea.reload().unwrap();
        assert!(!file.new.exists());
        assert_survived(threads, kea, service, &file, 25);
    });
}

/// Wherever in the writing Kea is killed, the next Kea finds a whole file.
#[test]
fn a_kea_that_is_killed_while_it_writes_leaves_a_whole_file() {
    const ANSWERS: u32 = 100;
    in_both_modes(|threads| {
        // Long answers, so that the writing takes some time.
        let service = Service::scripted(|request| {
            let Answer::Whole { mut body, .. } = echo(request) else { unreachable!() };
            body.resize(10_000, b' ');
            Answer::text(body)
        });
        let file = File::new();
        let mut kea = setup(threads, &service, &file.path).start();
        assert_served(&kea, 0..ANSWERS);
        kea.reload().unwrap();
        for round in 0..8 {
            let start = Instant::now();
            thread::scope(|scope| {
                // A Kea that is gone takes no command.
                scope.spawn(|| while start.elapsed() < PATIENCE && kea.reload().is_ok() {});
                while !file.new.exists() {
                    assert!(start.elapsed() < PATIENCE, "no new file");
                    std::hint::spin_loop();
                }
                // At another point of the writing in each round.
                thread::sleep(Duration::from_micros(300 * round));
                kea.kill();
            });
            kea.wait();
            kea = setup(threads, &service, &file.path).start();
            kea.logged(&["REMOPTS_CACHE_FILE_READ", &format!(" {ANSWERS} kept answers")]);
        }
        assert_survived(threads, kea, service, &file, ANSWERS);
    });
}
