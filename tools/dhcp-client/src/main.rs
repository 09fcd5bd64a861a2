// SPDX-License-Identifier: MPL-2.0
//! A small DHCPv4 client that shows a server's replies.
//!
//! The client plays DISCOVER, OFFER, REQUEST, ACK and prints both replies with every option
//! decoded. It configures nothing. Use it to see what a server gives to a client that sends certain
//! options: by hand, or with `--expect` in a script.
//!
//! As a client on the link of `eth0` (the ports below 1024 and the interface need root):
//!
//! ```text
//! dhcp-client -i eth0
//! dhcp-client -i eth0 -m 52:54:00:12:34:56 -c 60,str,PXEClient -c 77,str,iPXE
//! ```
//!
//! As the relay agent 10.0.0.1, with option 82 for the port `foo` of the switch `bar`:
//!
//! ```text
//! dhcp-client --server 192.0.2.1 --giaddr 10.0.0.1 -c 82,hex,0103666f6f0203626172
//! ```
//!
//! Against a test server on this machine, without root (`kea-dhcp4 -c kea.conf -p 10067 -P 10068`).
//! The client fails unless both replies carry options 66 and 224 with these values:
//!
//! ```text
//! dhcp-client --server 127.0.0.1:10067 --giaddr 127.0.0.1 --relay-port 10068 \
//!     -c 82,hex,0103666f6f0203626172 --expect 224=somestring --expect 66=0.0.0.0
//! ```
//!
//! The client uses plain UDP sockets. This has two effects. On an interface without an address, a
//! kernel that filters strictly by reverse path (`net.ipv4.conf.*.rp_filter`) drops the replies. On
//! an interface with an address, packets come from this address instead of 0.0.0.0.
//!
//! Flags are named as in `dhtest` where they mean the same. Exit status: 0 for success; 1 when
//! there is no reply, a NAK, or a reply without a value of `--expect`; 2 for a mistake on the
//! command line.

mod arguments;
mod exchange;
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
