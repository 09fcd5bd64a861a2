// SPDX-License-Identifier: MPL-2.0
//! A small DHCPv4 client that shows a server's replies.
//!
//! The client plays DISCOVER, OFFER, REQUEST, ACK and prints both replies with every option
//! decoded. It configures nothing. Use it to see what a server gives to a client that sends certain
//! options: by hand, or with `--expect` in a script.
//!
//! `remote-opts-client --help` shows the options, with examples.
//!
//! The client uses plain UDP sockets. This has two effects. On an interface without an address, a
//! kernel that filters strictly by reverse path (`net.ipv4.conf.*.rp_filter`) drops the replies. On
//! an interface with an address, packets come from this address instead of 0.0.0.0.
//!
//! Flags are named as in `dhtest` where they mean the same.

mod arguments;
mod exchange;
mod identity;
mod packet;
mod value;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use arguments::Args;
use exchange::Client;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(mistake) = args.check() {
        Args::command().error(ErrorKind::ArgumentConflict, mistake).exit();
    }
    match Client::new(&args).and_then(|mut client| client.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
