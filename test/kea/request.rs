//! What the backend is asked.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::kea::Setup;
use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes};

#[test]
fn option_82_names_the_client() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/boot")})).start();
        let cases: &[(&[u8], &str)] = &[
            (FOO_BAR, FOO_BAR_QUERY),
            (b"\x01\x03foo", "sub82_1=666F6F"),
            (b"\x02\x03bar", "sub82_2=626172"),
            (b"\x09\x04\x00\xff\x80\x0a", "sub82_9=00FF800A"),
            // Any bytes, in upper case.
            (b"\x01\x06\x00\x04\x00\x64\x01\x1f\x02\x08\x00\x06\xab\xcd\xef\xff\x00\x80", {
                "sub82_1=00040064011F&sub82_2=0006ABCDEFFF0080"
            }),
            // One order, whatever the relay's.
            (b"\x09\x01c\x02\x01b\x01\x01a", "sub82_1=61&sub82_2=62&sub82_9=63"),
            // Nothing of the other sub-options.
            (b"\x06\x01x\x02\x01b\x97\x02\x00y", "sub82_2=62"),
        ];
        for (relay_information, query) in cases {
            let offer = kea.client().with(82, relay_information).discover();
            assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
            assert_eq!(backend.targets().last(), Some(&format!("/boot?{query}")));
        }
        assert_eq!(backend.asked(), cases.len());
        kea.stop().assert_clean();
    });
}

#[test]
fn a_long_sub_option_arrives_whole() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        let circuit = [0x9c; 250];
        kea.client().with(82, [&[1, 250], &circuit[..]].concat()).discover();
        assert_eq!(backend.targets(), [format!("/?sub82_1={}", "9C".repeat(250))]);
    });
}

#[test]
fn a_client_without_a_name_makes_no_request() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        let [offer, ack] = kea.client().exchange();
        assert_eq!((offer.option(224), ack.option(224)), (None, None));
        // A subscriber id alone.
        let [offer, ack] = kea.client().with(82, b"\x06\x03foo").exchange();
        assert_eq!((offer.option(224), ack.option(224)), (None, None));
        assert_eq!(backend.targets(), [""; 0]);
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
            let backend = Backend::json(json!({}));
            let kea = Setup::new(threads).hook(json!({"url": backend.url(path)})).start();
            kea.client().with(82, FOO_BAR).discover();
            assert_eq!(backend.targets(), [format!("{target}{FOO_BAR_QUERY}")], "{path}");
        }
    });
}

#[test]
fn the_request_is_a_get_for_json() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        kea.client().with(82, FOO_BAR).discover();
        let requests = backend.requests();
        assert_eq!(requests[0].method, "GET");
        assert_eq!(requests[0].header("Accept"), Some("application/json"));
        assert_eq!(requests[0].header("Host").map(|host| format!("http://{host}")), Some(backend.url("")));
    });
}

#[test]
fn a_proxy_in_the_environment_is_not_asked() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let proxy = Backend::json(json!({"224": "by the proxy"}));
        let mut setup = Setup::new(threads).hook(json!({"url": backend.url("/")}));
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
fn connections_are_kept() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        for number in 0..30 {
            kea.client().with(82, [2, 1, number]).exchange();
        }
        let asked = backend.targets().into_iter().collect::<HashSet<_>>();
        assert_eq!(asked.len(), 30, "each client is asked about");
        // One, but for what a busy machine may do between two requests.
        assert!(backend.connections() <= 4, "{} connections", backend.connections());
        kea.stop().assert_clean();
    });
}

#[test]
fn only_discover_request_and_inform_are_looked_up() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        let client = kea.client().with(82, FOO_BAR);
        let [_, ack] = client.exchange();
        let asked = backend.asked();
        assert!(asked > 0);

        client.release(&ack);
        kea.logged(&["DHCP4_RELEASE ", &client.hwaddr()]);
        assert_eq!(backend.asked(), asked);

        let [_, ack] = client.exchange();
        let asked = backend.asked();
        client.decline(&ack);
        kea.logged(&["DHCP4_DECLINE_LEASE ", &client.hwaddr()]);
        assert_eq!(backend.asked(), asked);
        // Ends when both are dealt with.
        let end = kea.stop();
        end.assert_clean();
        assert_eq!(backend.asked(), asked);
    });
}

/// Kea drops it after all.
#[test]
fn a_packet_without_a_subnet_is_not_looked_up() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let elsewhere = json!([{
            "id": 1,
            "subnet": "10.77.0.0/16",
            "relay": { "ip-addresses": ["192.0.2.1"] },
        }]);
        let setup = Setup::new(threads).set("subnet4", elsewhere).debug("kea-dhcp4");
        let kea = setup.hook(json!({"url": backend.url("/")})).start();
        kea.client().with(82, FOO_BAR).send_discover();
        kea.logged(&["DHCP4_SUBNET_SELECTION_FAILED"]);
        assert_eq!(backend.asked(), 0);
        kea.stop().assert_clean();
    });
}

/// Descriptors that Kea's select() takes are left to Kea, where the process may have others.
#[test]
fn connections_have_high_descriptors() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let setup = Setup::new(threads).under(&["prlimit", "--nofile=4096:4096"]);
        let kea = setup.hook(json!({"url": backend.url("/")})).start();
        kea.client().with(82, FOO_BAR).discover();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", kea.pid())).expect("descriptors");
        let high = descriptors.filter(|entry| {
            let name = entry.as_ref().expect("a descriptor").file_name();
            name.to_str().is_some_and(|name| name.parse::<u32>().is_ok_and(|number| number >= 1024))
        });
        assert_eq!(high.count(), backend.connections());
        kea.stop().assert_clean();
    });
}
