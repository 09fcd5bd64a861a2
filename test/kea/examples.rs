// SPDX-License-Identifier: MPL-2.0
//! The configurations under examples/. Each runs in a real Kea, and the client comes that the
//! example is for. A test uses the whole file, except what names the machine: interfaces, sockets,
//! files, logs, and the hosts in `url`.

use std::fs;
use std::slice;

use serde_json::{Value, json};

use crate::{FOO_BAR, FOO_BAR_QUERY};
use remote_opts_test_support::certificates::Authority;
use remote_opts_test_support::dhcp::Reply;
use remote_opts_test_support::examples;
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::project;
use remote_opts_test_support::schema::{is_good, json_file};
use remote_opts_test_support::service::{Answer, Service};

/// The entries of `Dhcp4` that name the machine, and `hooks-libraries`, which the test sets itself.
const OF_THE_MACHINE: [&str; 5] =
    ["interfaces-config", "control-socket", "lease-database", "loggers", "hooks-libraries"];

#[test]
fn switch_port() {
    let service = Service::json(answer("switch-port"));
    let kea = start("switch-port", slice::from_ref(&service));
    for reply in kea.client().with(82, FOO_BAR).with(77, "iPXE").exchange() {
        assert_eq!(text(&reply, 224), "http://boot.example.net/rescue.ipxe");
        assert_eq!(text(&reply, 66), "192.0.2.10");
    }
    assert_eq!(kea.client().with(82, FOO_BAR).discover().option(224), None);
    assert_eq!(service.targets(), [format!("/api/dhcp?{FOO_BAR_QUERY}")]);
    kea.stop().assert_clean();
}

/// The example of the package: test/package has it in Debian's Kea, as it is.
#[test]
fn debian() {
    let service = Service::json(answer("debian"));
    let kea = start("debian", slice::from_ref(&service));
    for reply in kea.client().with(82, FOO_BAR).with(77, "iPXE").exchange() {
        assert_eq!(text(&reply, 224), "http://boot.example.net/rescue.ipxe");
    }
    kea.stop().assert_clean();
}

#[test]
fn mac_address() {
    let service = Service::json(answer("mac-address"));
    let kea = start("mac-address", slice::from_ref(&service));
    let (client, unknown) = (kea.client(), kea.client());
    for reply in client.exchange() {
        assert_eq!(text(&reply, 12), "node1");
        assert_eq!(reply.option(3), Some(vec![192, 0, 2, 1, 192, 0, 2, 2]));
        assert_eq!(reply.option(26), Some(9000_u16.to_be_bytes().into()));
        assert_eq!(text(&reply, 224), "http://boot.example.net/node1.ipxe");
        assert_eq!(reply.next_server(), [192, 0, 2, 10]);
        assert_eq!(reply.boot_file_name(), b"node1/boot.img");
    }
    service.answer(Answer::status(404, ""));
    assert_eq!(unknown.discover().option(224), None);
    let path = |hwaddr: String| format!("/machines/{}", hwaddr.replace(':', "%3A"));
    assert_eq!(service.targets(), [path(client.hwaddr()), path(unknown.hwaddr())]);
    kea.stop().assert_clean();
}

#[test]
fn raspberry_pi() {
    let service = Service::json(answer("raspberry-pi"));
    let kea = start("raspberry-pi", slice::from_ref(&service));
    let pi = kea
        .client()
        .with(82, FOO_BAR)
        .with(97, b"\x00RPi4\x14\x11\x03\0\0\0\0\0\x01\x23\x45\x67")
        .with(93, [0, 0])
        .with(94, [1, 2, 1])
        .with(60, "PXEClient:Arch:00000:UNDI:002001");
    for reply in pi.exchange() {
        assert_eq!(text(&reply, 60), "PXEClient");
        assert_eq!(
            reply.option(43).as_deref(),
            Some(&b"\x06\x01\x03\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE"[..])
        );
        assert_eq!(text(&reply, 66), "192.0.2.10");
        assert_eq!(reply.next_server(), [192, 0, 2, 10]);
    }
    assert_eq!(kea.client().with(82, FOO_BAR).discover().option(43), None);
    assert_eq!(service.targets(), [format!("/api/dhcp?{FOO_BAR_QUERY}")]);
    kea.stop().assert_clean();
}

#[test]
fn ipxe() {
    let service = Service::json(answer("ipxe"));
    let kea = start("ipxe", slice::from_ref(&service));
    for (architecture, program) in [([0, 0], "undionly.kpxe"), ([0, 7], "ipxe.efi")] {
        for reply in kea.client().with(82, FOO_BAR).with(93, architecture).exchange() {
            assert_eq!(reply.boot_file_name(), program.as_bytes());
            assert_eq!(reply.next_server(), [192, 0, 2, 10]);
            assert_eq!(reply.option(224), None);
        }
    }
    assert_eq!(service.asked(), 0);
    for reply in kea.client().with(82, FOO_BAR).with(93, [0, 7]).with(77, "iPXE").exchange() {
        assert_eq!(reply.boot_file_name(), b"http://boot.example.net/boot.ipxe");
        assert_eq!(text(&reply, 224), "http://boot.example.net/debian-installer.ipxe");
    }
    assert_eq!(service.targets(), [format!("/api/dhcp?{FOO_BAR_QUERY}")]);
    kea.stop().assert_clean();
}

#[test]
fn uefi_http() {
    let service = Service::json(answer("uefi-http"));
    let kea = start("uefi-http", slice::from_ref(&service));
    let firmware = kea.client().with(60, "HTTPClient:Arch:00016:UNDI:003001").with(93, [0, 16]);
    for reply in firmware.exchange() {
        assert_eq!(text(&reply, 60), "HTTPClient");
        assert_eq!(text(&reply, 67), "http://boot.example.net/efi/x86-64/debian-installer.efi");
    }
    let other = kea.client().with(60, "PXEClient:Arch:00007:UNDI:003016").with(93, [0, 7]);
    assert_eq!(other.discover().option(67), None);
    let mac = firmware.hwaddr().replace(':', "%3A");
    assert_eq!(service.targets(), [format!("/api/dhcp?arch=0010&mac={mac}")]);
    kea.stop().assert_clean();
}

#[test]
fn two_data_centres() {
    let name = "two-data-centres";
    // An answer serves one exchange only, so that each exchange makes a request.
    let once = Answer::json(answer(name)).cache_control("max-age=0");
    let mut services = [once.clone(), once].map(Service::answering);
    let kea = start(name, &services);
    let boot = || {
        for reply in kea.client().with(82, FOO_BAR).with(77, "iPXE").exchange() {
            assert_eq!(text(&reply, 224), "http://boot.fra.example.net/rescue.ipxe");
        }
    };
    boot();
    assert_eq!(services.each_ref().map(Service::asked), [1, 0]);
    assert_eq!(services[0].requests()[0].header("X-Site"), Some("fra"));
    services[0].stop();
    boot();
    assert_eq!(services.each_ref().map(Service::asked), [1, 1]);
    services[1].stop();
    boot();
    assert!(kea.stop().status.success());
}

#[test]
fn first_hour() {
    let service = Service::json(answer("first-hour"));
    let kea = start("first-hour", slice::from_ref(&service));
    for reply in kea.client().with(82, b"\x01\x0dswitch1:port7").exchange() {
        assert_eq!(text(&reply, 224), "http://boot.example.net/rescue.ipxe");
    }
    assert_eq!(service.targets(), ["/api/dhcp?sub82_1=737769746368313A706F727437"]);
    kea.stop().assert_clean();
}

/// The settings that the documentation recommends, with two https services and the files that the
/// settings name.
#[test]
fn production() {
    let name = "production";
    let files = tempfile::tempdir().expect("a folder");
    let [anchor, token, cache] =
        ["boot-ca.pem", "boot.token", "answers"].map(|name| files.path().join(name));
    let authority = Authority::new("authority");
    fs::write(&anchor, authority.certificate_pem()).expect("a file");
    fs::write(&token, "t0ken\n").expect("a file");
    let identity = authority.server("127.0.0.1");
    let service = || Service::tls(&identity, None, Answer::json(answer(name)));
    let mut services = [service(), service()];
    let kea = start_with(
        name,
        &services,
        &json!({"trust-anchor": anchor, "bearer-token-file": token, "cache-file": cache}),
    );
    let client = || kea.client().with(82, FOO_BAR).with(77, "iPXE");
    let chain = Some("http://boot.example.net/rescue.ipxe");
    for reply in client().exchange() {
        assert_eq!(reply.chain().as_deref(), chain);
    }
    assert_eq!(services.each_ref().map(Service::asked), [1, 0]);
    assert_eq!(services[0].requests()[0].header("Authorization"), Some("Bearer t0ken"));
    assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
    services.iter_mut().for_each(Service::stop);
    for reply in client().exchange() {
        assert_eq!(reply.chain().as_deref(), chain);
    }
    assert!(kea.stop().status.success());
    assert!(cache.is_file());
}

#[test]
fn each_example_has_an_answer_that_the_library_takes() {
    let folder = project().join("examples");
    let entries = fs::read_dir(folder).expect("the folder of examples");
    let folders = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    // The folder of services has tests of its own, in example_services.rs. The program that reads
    // the statistics has one in docs.rs, and the HTTP cache has one in high_availability.rs.
    let others = ["services", "monitoring", "http-cache"];
    for example in folders.filter(|path| !others.iter().any(|name| path.ends_with(name))) {
        assert!(is_good(&json_file(example.join("answer.json"))), "{}", example.display());
        assert!(example.join("kea-dhcp4.conf").is_file(), "{}", example.display());
    }
}

/// The answer of an example's service.
fn answer(name: &str) -> Value {
    json_file(format!("examples/{name}/answer.json"))
}

fn text(reply: &Reply, code: u8) -> String {
    let value = reply.option(code).unwrap_or_else(|| panic!("no option {code} in {reply:?}"));
    String::from_utf8(value).expect("text")
}

/// As [`start_with`], for an example that names no file.
fn start(name: &str, services: &[Service]) -> Kea {
    start_with(name, services, &json!({}))
}

/// Starts Kea with the configuration of an example. `services` take the place of the hosts in its
/// `url`, and `files` the place of the files in its parameters.
fn start_with(name: &str, services: &[Service], files: &Value) -> Kea {
    let mut dhcp4 = examples::dhcp4(name).expect("an example");
    for subnet in dhcp4["subnet4"].as_array_mut().expect("subnets") {
        subnet["relay"] = json!({ "ip-addresses": ["127.0.0.1"] });
    }
    let mut parameters = dhcp4["hooks-libraries"][0]["parameters"].take();
    for (file, path) in files.as_object().expect("a map") {
        assert!(parameters[file].is_string(), "{name} names no {file}");
        parameters[file] = path.clone();
    }
    if files["cache-file"].is_null() {
        parameters.as_object_mut().expect("a map").remove("cache-file");
    }
    let urls = match &mut parameters["url"] {
        Value::Array(urls) => urls.iter_mut().collect(),
        url => vec![url],
    };
    assert_eq!(urls.len(), services.len());
    for (url, service) in urls.into_iter().zip(services) {
        let (_, path) = [".example.net", "127.0.0.1:8080"]
            .iter()
            .find_map(|host| url.as_str()?.split_once(host))
            .expect("an URL");
        *url = service.url(path).into();
    }
    let entries = dhcp4.as_object().expect("a map").iter();
    let entries = entries.filter(|(name, _)| !OF_THE_MACHINE.contains(&name.as_str()));
    let setup = entries
        .fold(Setup::new(Threads::Four), |setup, (name, value)| setup.set(name, value.clone()));
    setup.hook(parameters).start()
}
