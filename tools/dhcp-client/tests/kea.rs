// SPDX-License-Identifier: MPL-2.0
//! The client's program against a real kea-dhcp4 with the hook library and a real HTTP service.

use std::net::SocketAddr;
use std::process::Command;

use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Request, Service};
use serde_json::{Value, json};

/// The UUID of a machine as the machine prints it, and the digits of its option 97.
const UUID: &str = "4c4c4544-0051-3310-8057-b9c04f4e5931";
const UUID_SENT: &str = "0044454c4c510010338057b9c04f4e5931";

/// A Kea whose relay agent is the client's program.
struct Server {
    service: Service,
    kea: Kea,
    address: SocketAddr,
    relay: SocketAddr,
}

impl Server {
    /// Starts a Kea with these parameters beside `url`. The service answers for the port Gi0/1
    /// alone, and is asked anew in each exchange.
    fn start(mut parameters: Value) -> Server {
        let service = Service::scripted(|request: &Request| {
            let known = request.target.contains("sub82_1=4769302F31");
            Answer::json(if known { json!({"224": "http://boot/Gi0-1"}) } else { json!({}) })
        });
        parameters["url"] = service.url("/").into();
        parameters["cache-ttl"] = 0.into();
        let mut kea = Setup::new(Threads::Four).hook(parameters).start();
        let (address, relay) = kea.hand_over_relay();
        Server { service, kea, address, relay }
    }

    /// Runs the client. Returns whether it succeeded, what it printed, and the targets of the
    /// requests that it caused.
    fn ask(&self, arguments: &[&str]) -> (bool, String, Vec<String>) {
        let before = self.service.asked();
        let output = Command::new(env!("CARGO_BIN_EXE_remote-opts-client"))
            .args(["--server", &self.address.to_string(), "--giaddr", "127.0.0.1"])
            .args(["--relay-port", &self.relay.port().to_string(), "--timeout", "30"])
            .args(arguments)
            .output()
            .expect("the client's program");
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8(printed).expect("UTF-8");
        (output.status.success(), printed, self.service.targets().split_off(before))
    }
}

#[test]
fn a_circuit_id_gets_the_answer_of_the_service() {
    let server = Server::start(json!({}));
    let expect = ["--expect", "224=http://boot/Gi0-1"];
    let port = ["--circuit-id", "Gi0/1", "--remote-id", "0x737737", "--vendor-specific-info", "v"];
    let (success, printed, targets) = server.ask(&[&port[..], &expect].concat());
    assert!(success, "{printed}");
    assert_eq!(targets, ["/?sub82_1=4769302F31&sub82_2=737737&sub82_9=76"]);

    let other = ["--circuit-id", "Gi0/2", "--remote-id", "sw7"];
    let (success, printed, targets) = server.ask(&[&other[..], &expect].concat());
    assert!(!success && printed.contains("does not carry the option"), "{printed}");
    assert_eq!(targets, ["/?sub82_1=4769302F32&sub82_2=737737"]);
    server.kea.stop().assert_clean();
}

#[test]
fn the_filters_admit_whom_the_client_plays() {
    let filters = json!({"user-class": "iPXE", "machine-guid": [UUID, "52506934"]});
    let server = Server::start(filters);
    for (arguments, is_admitted) in [
        (&["--user-class", "iPXE"][..], true),
        (&["--user-class-instance", "x", "--user-class-instance", "iPXE"], true),
        (&["--guid", UUID], true),
        (&["--guid", UUID_SENT], true),
        (&["--guid", "RPi4"], true),
        (&["--guid", "52:50:69:34"], true),
        (&["--user-class", "PXE"], false),
        (&["--guid", "RPi5"], false),
        (&[], false),
    ] {
        let (success, printed, targets) =
            server.ask(&[&["--circuit-id", "Gi0/1"], arguments].concat());
        assert!(success, "{printed}");
        assert_eq!(!targets.is_empty(), is_admitted, "{arguments:?}: {printed}");
        assert_eq!(printed.contains("http://boot/Gi0-1"), is_admitted, "{arguments:?}: {printed}");
    }
    server.kea.stop().assert_clean();
}

#[test]
fn options_77_and_97_go_out_as_the_help_says() {
    let query = ["77", "97"].map(|code| (code, format!("hexstring(option[{code}].hex, '')")));
    let server = Server::start(json!({"query": Value::from_iter(query)}));
    for (arguments, class, id) in [
        (["--user-class", "iPXE", "--guid", UUID], "69505845", UUID_SENT),
        (["--user-class-instance", "iPXE", "--guid", "0x00"], "0469505845", &"00".repeat(17)),
    ] {
        let (success, printed, targets) = server.ask(&arguments);
        assert!(success, "{printed}");
        assert_eq!(targets, [format!("/?77={class}&97={id}")], "{arguments:?}");
    }
    server.kea.stop().assert_clean();
}
