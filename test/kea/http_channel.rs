// SPDX-License-Identifier: MPL-2.0
//! The library's commands over Kea's HTTP control channel.

use std::sync::Arc;

use serde_json::json;

use crate::{in_both_modes, port};
use remote_opts_test_support::kea::Setup;
use remote_opts_test_support::port::Port;
use remote_opts_test_support::service::{Answer, Service};

#[test]
fn commands_come_over_http_too() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(500, ""));
        let kea = Setup::new(threads)
            .hook(json!({"url": service.url("/")}))
            .http_channel(&Arc::new(Port::reserve()))
            .start();
        let run = |command: &str, arguments| {
            let name = format!("remote-opts-{command}");
            kea.command_over_http(&name, arguments).expect("a response")
        };

        let status = run("status", json!({}));
        assert_eq!(status["result"], 0, "{status}");
        assert_eq!(status["arguments"]["services"][0]["url"], service.url("/"), "{status}");
        // What the control socket says, the HTTP channel says.
        let wrong = json!({"limit": 0, "from": "start"});
        let refused = run("cache-list", wrong.clone());
        assert_eq!(refused["result"], 1, "{refused}");
        assert!(refused["text"].as_str().unwrap_or_default().contains("\"limit\""), "{refused}");
        assert_eq!(refused, kea.command_with("remote-opts-cache-list", wrong).unwrap());

        let answer = json!({"224": "http://192.0.2.1/boot.ipxe"});
        let client = json!({"sub-options": {"1": "00000007"}, "answer": answer, "fresh-for": 600});
        let inserted = run("cache-insert", client);
        assert_eq!(inserted["result"], 0, "{inserted}");
        for reply in kea.client().with(82, port(7)).exchange() {
            assert_eq!(reply.chain().as_deref(), Some("http://192.0.2.1/boot.ipxe"));
        }
        assert_eq!(service.asked(), 0);
        kea.stop().assert_clean();
    });
}
