// SPDX-License-Identifier: MPL-2.0
//! The scenarios. Each is run once for each schedule.

use remote_opts_core::lookup::Outcome;
use shuttle::sync::mpsc;
use shuttle::thread;

use crate::world::{PACKET_THREADS, Phase, World, any};

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    /// What holds in every schedule.
    pub shows: &'static str,
    pub run: fn(),
}

pub const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "outcomes",
        shows: "each parked packet has one outcome",
        run: each_parked_packet_has_one_outcome,
    },
    Scenario {
        name: "unload",
        shows: "nothing is left and nothing is used after unload",
        run: nothing_is_used_after_unload,
    },
    Scenario {
        name: "threads",
        shows: "each thread that waits has one outcome",
        run: each_thread_that_waits_has_one_outcome,
    },
];

/// Packets of few clients come, are superseded and repeated, while commands are given. The main
/// thread works until no packet is parked.
fn each_parked_packet_has_one_outcome() {
    let (world, clients) = (World::load(1 + any(2)), 1 + any(2));
    let mut threads: Vec<_> = (0..PACKET_THREADS)
        .map(|_| world.packet_thread(move |world| packets(world, clients)))
        .collect();
    threads.push(world.packet_thread(move |world| world.command(clients)));
    for _ in 0..any(3) {
        // Kea configures something.
        world.allow_at_once(false);
        thread::yield_now();
        world.allow_at_once(true);
    }
    world.run_until_all_have_outcomes();
    join(threads);
    world.unload();
}

/// The library is unloaded while packets are parked, requests are in flight or in line, and work
/// waits for the main thread.
fn nothing_is_used_after_unload() {
    let (world, clients) = (World::load(1 + any(2)), 1 + any(2));
    let threads: Vec<_> = (0..PACKET_THREADS)
        .map(|_| world.packet_thread(move |world| packets(world, clients)))
        .collect();
    for _ in 0..any(3) {
        thread::yield_now();
        world.run_work();
    }
    // Kea stops its packet threads first.
    join(threads);
    world.unload();
}

/// Threads wait for their packets, as on a Kea that cannot park. In half of the schedules the engine
/// is closed meanwhile.
fn each_thread_that_waits_has_one_outcome() {
    let world = World::load(1 + any(2));
    let mut threads: Vec<_> = (0..PACKET_THREADS)
        .map(|_| world.packet_thread(|world| (0..1 + any(2)).for_each(|_| wait(world))))
        .collect();
    threads.push(world.packet_thread(|world| world.command(2)));
    if any(2) == 0 {
        world.close();
    }
    join(threads);
    world.unload();
}

fn packets(world: &World, clients: usize) {
    (0..1 + any(3)).for_each(|_| world.packet(world.question(clients)));
}

fn wait(world: &World) {
    let (sender, receiver) = mpsc::channel();
    let engine = world.engine.clone();
    let deliver = move |outcome| {
        // No lock of the engine is held, or the schedule ends in a deadlock.
        engine.under_way();
        let _ = sender.send(outcome);
    };
    let phase = world.ledger.lock().phase;
    world.engine.wait(world.question(2), Box::new(deliver));
    // A function that is called twice does not compile: it is an `FnOnce`.
    let fault = match receiver.recv() {
        Err(_) => "a function given to `wait` is dropped uncalled",
        Ok(outcome) if phase == Phase::Closed && outcome != Outcome::LetGo => {
            "a closed engine has an outcome"
        }
        Ok(_) => return,
    };
    world.ledger.lock().fault(fault.to_owned());
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
