// SPDX-License-Identifier: MPL-2.0
//! The request: what the hook asks the service.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes};
use remote_opts_test_support::kea::Setup;
use remote_opts_test_support::service::Service;

#[test]
fn option_82_names_the_client() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/boot")})).start();
        let cases: &[(&[u8], &str)] = &[
            (FOO_BAR, FOO_BAR_QUERY),
            (b"\x01\x03foo", "sub82_1=666F6F"),
            (b"\x02\x03bar", "sub82_2=626172"),
            (b"\x09\x04\x00\xff\x80\x0a", "sub82_9=00FF800A"),
            // Any bytes. Hexadecimal is in upper case.
            (b"\x01\x06\x00\x04\x00\x64\x01\x1f\x02\x08\x00\x06\xab\xcd\xef\xff\x00\x80", {
                "sub82_1=00040064011F&sub82_2=0006ABCDEFFF0080"
            }),
            // The order is always the same, whatever the order of the relay agent.
            (b"\x09\x01c\x02\x01b\x01\x01a", "sub82_1=61&sub82_2=62&sub82_9=63"),
            // Other sub-options are not in the request.
            (b"\x06\x01x\x02\x01b\x97\x02\x00y", "sub82_2=62"),
        ];
        for (relay_information, query) in cases {
            let offer = kea.client().with(82, relay_information).discover();
            assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
            assert_eq!(service.targets().last(), Some(&format!("/boot?{query}")));
        }
        assert_eq!(service.asked(), cases.len());
        kea.stop().assert_clean();
    });
}

#[test]
fn a_long_sub_option_arrives_whole() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let circuit = [0x9c; 250];
        kea.client().with(82, [&[1, 250], &circuit[..]].concat()).discover();
        assert_eq!(service.targets(), [format!("/?sub82_1={}", "9C".repeat(250))]);
    });
}

#[test]
fn a_client_without_a_name_makes_no_request() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let [offer, ack] = kea.client().exchange();
        assert_eq!((offer.option(224), ack.option(224)), (None, None));
        // This option 82 has only a subscriber id, which names nobody.
        let [offer, ack] = kea.client().with(82, b"\x06\x03foo").exchange();
        assert_eq!((offer.option(224), ack.option(224)), (None, None));
        assert_eq!(service.targets(), [""; 0]);
        kea.stop().assert_clean();
    });
}

#[test]
fn the_url_keeps_its_own_path_and_query() {
    in_both_modes(|threads| {
        for (path, target) in [
            ("", "/?"),
            ("/", "/?"),
            ("/a/b%2Fc", "/a/b%2Fc?"),
            ("/boot?key=a%20b", "/boot?key=a%20b&"),
            ("/boot?key=a+b&empty=&c", "/boot?key=a+b&empty=&c&"),
        ] {
            let service = Service::json(json!({}));
            let kea = Setup::new(threads).hook(json!({"url": service.url(path)})).start();
            kea.client().with(82, FOO_BAR).discover();
            assert_eq!(service.targets(), [format!("{target}{FOO_BAR_QUERY}")], "{path}");
        }
    });
}

#[test]
fn the_request_is_a_get_for_json() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        kea.client().with(82, FOO_BAR).discover();
        let requests = service.requests();
        assert_eq!(requests[0].method, "GET");
        assert_eq!(requests[0].header("Accept"), Some("application/json"));
        assert_eq!(
            requests[0].header("Host").map(|host| format!("http://{host}")),
            Some(service.url(""))
        );
    });
}

#[test]
fn a_proxy_in_the_environment_is_not_asked() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let proxy = Service::json(json!({"224": "by the proxy"}));
        let mut setup = Setup::new(threads).hook(json!({"url": service.url("/")}));
        for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            setup = setup.env(variable, &proxy.url(""));
        }
        let kea = setup.env("no_proxy", "").env("NO_PROXY", "").start();
        let offer = kea.client().with(82, FOO_BAR).discover();
        assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
        assert_eq!(proxy.connections(), 0);
    });
}

#[test]
fn connections_are_used_again() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        for number in 0..30 {
            kea.client().with(82, [2, 1, number]).exchange();
        }
        let asked = service.targets().into_iter().collect::<HashSet<_>>();
        assert_eq!(asked.len(), 30, "each client is asked about");
        // One connection is enough. On a busy machine the service may seem to close it now and
        // then.
        assert!(service.connections() <= 4, "{} connections", service.connections());
        kea.stop().assert_clean();
    });
}

#[test]
fn only_discover_request_and_inform_are_looked_up() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        let client = kea.client().with(82, FOO_BAR);
        let [_, ack] = client.exchange();
        let asked = service.asked();
        assert!(asked > 0);

        client.release(&ack);
        kea.logged(&["DHCP4_RELEASE ", &client.hwaddr()]);
        assert_eq!(service.asked(), asked);

        let [_, ack] = client.exchange();
        let asked = service.asked();
        client.decline(&ack);
        kea.logged(&["DHCP4_DECLINE_LEASE ", &client.hwaddr()]);
        assert_eq!(service.asked(), asked);
        // Kea ends after it has finished with both packets.
        let end = kea.stop();
        end.assert_clean();
        assert_eq!(service.asked(), asked);
    });
}

/// Kea drops such a packet.
#[test]
fn a_packet_without_a_subnet_is_not_looked_up() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let elsewhere = json!([{
            "id": 1,
            "subnet": "10.77.0.0/16",
            "relay": { "ip-addresses": ["192.0.2.1"] },
        }]);
        let setup = Setup::new(threads).set("subnet4", elsewhere).debug("kea-dhcp4");
        let kea = setup.hook(json!({"url": service.url("/")})).start();
        kea.client().with(82, FOO_BAR).send_discover();
        kea.logged(&["DHCP4_SUBNET_SELECTION_FAILED"]);
        assert_eq!(service.asked(), 0);
        kea.stop().assert_clean();
    });
}

/// Kea's select() takes only descriptors below 1024. The hook leaves them to Kea where the process
/// may have more descriptors.
#[test]
fn connections_have_high_descriptors() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let setup = Setup::new(threads).under(&["prlimit", "--nofile=4096:4096"]);
        let kea = setup.hook(json!({"url": service.url("/")})).start();
        kea.client().with(82, FOO_BAR).discover();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", kea.pid())).expect("descriptors");
        let high = descriptors.filter(|entry| {
            let name = entry.as_ref().expect("a descriptor").file_name();
            name.to_str().is_some_and(|name| name.parse::<u32>().is_ok_and(|number| number >= 1024))
        });
        assert_eq!(high.count(), service.connections());
        kea.stop().assert_clean();
    });
}
