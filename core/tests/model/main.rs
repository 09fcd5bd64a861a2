// SPDX-License-Identifier: MPL-2.0
//! The engine, the parking places and the main thread's work under Shuttle, which runs them in one
//! order of steps after the other. `make model` builds and runs the model, docs/decisions/model.md
//! says what it shows. In any other build the program does nothing.

#[cfg(shuttle)]
mod run;
#[cfg(shuttle)]
mod scenarios;
#[cfg(shuttle)]
mod world;

fn main() {
    #[cfg(shuttle)]
    run::run();
}
