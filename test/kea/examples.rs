// SPDX-License-Identifier: MPL-2.0
//! The configurations under examples/. Each runs in a real Kea, and the client comes that the
//! example is for. A test uses the whole file, except what names the machine: interfaces, sockets,
//! files, logs, and the hosts in `url`.

use std::fs;
use std::slice;

use serde_json::{Value, json};

use dhcproto::v4::MessageType;

use crate::example_services::{Running, command_of};
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

/// A machine in the table of the example of a rack.
const NODE: &str = "02:00:00:00:00:07";

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

/// The example's own service answers, from the example's table.
#[test]
fn rack() {
    let folder = project().join("examples/rack");
    let readme = fs::read_to_string(folder.join("README.md")).expect("README.md");
    let command = command_of(&folder.join("rack.py"));
    assert!(readme.lines().any(|line| line == format!("    {command}")), "no {command}");
    let service = Running::start_in(&folder, &command);
    let target = format!("/api/dhcp?mac={NODE}");
    assert!(readme.contains(&format!("    curl -i 'http://127.0.0.1:8080{target}'\n")));
    let (_, body) = service.get(&target);
    assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), answer("rack"));

    // Without a relay agent, the reply comes back to the test only with this variable.
    let kea = setup("rack", &[service.origin()], &json!({}))
        .env("KEA_TEST_SEND_RESPONSES_TO_SOURCE", "1")
        .start();
    let (node, unknown) = (kea.client(), kea.client());
    let change = |from: &str, to: &str| {
        let table = service.folder().join("rack.csv");
        let lines = fs::read_to_string(&table).expect("a table");
        assert!(lines.contains(from), "{lines}");
        fs::write(table, lines.replace(from, to)).expect("a table");
    };
    let boots = |address: &str, name: &str| {
        let [offer, ack] = node.exchange();
        for reply in [&offer, &ack] {
            assert_eq!(reply.address().to_string(), address);
            assert_eq!(text(reply, 12), name);
            assert_eq!(text(reply, 224), "http://boot.example.net/rescue.ipxe");
        }
        ack
    };
    change(NODE, &node.hwaddr());
    let ack = boots("192.0.2.17", "node7");
    assert_eq!(node.renew_without_relay(&ack).address(), ack.address());
    for reply in unknown.exchange() {
        assert!((200..250).contains(&reply.address().octets()[3]), "{reply:?}");
        assert_eq!([12, 224].map(|code| reply.option(code)), [None, None], "{reply:?}");
    }
    change("192.0.2.17,node7", "192.0.2.27,db1");
    assert_eq!(node.renew_without_relay(&ack).kind(), MessageType::Nak);
    boots("192.0.2.27", "db1");
    kea.stop().assert_clean();
}

/// The lines of the example that are for who takes the comment signs away. Each is a whole setting.
#[test]
fn rack_with_names_in_dns() {
    let service = Service::json(answer("rack"));
    let file = project().join("examples/rack/kea-dhcp4.conf");
    let lines = fs::read_to_string(file).expect("kea-dhcp4.conf");
    let settings = lines.lines().filter_map(|line| line.trim_start().strip_prefix("// \""));
    let settings = settings.map(|line| format!("{{\"{}}}", line.trim_end_matches(',')));
    let settings: Vec<Value> =
        settings.map(|setting| serde_json::from_str(&setting).expect("JSON")).collect();
    assert_eq!(settings.len(), 2);
    let settings = settings.iter().flat_map(|setting| setting.as_object().expect("a map"));
    let setup = setup("rack", &[service.url("")], &json!({}));
    let kea = settings.fold(setup, |setup, (name, value)| setup.set(name, value.clone())).start();
    // Without a lease there is nothing to tell DNS: no kea-dhcp-ddns runs here.
    assert_eq!(text(&kea.client().discover(), 12), "node7.rack1.example.net");
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

/// As [`setup`], with services of the test. Starts Kea.
fn start_with(name: &str, services: &[Service], files: &Value) -> Kea {
    let origins: Vec<_> = services.iter().map(|service| service.url("")).collect();
    setup(name, &origins, files).start()
}

/// The configuration of an example. `origins` take the place of scheme and host in its `url`, and
/// `files` the place of the files in its parameters.
fn setup(name: &str, origins: &[String], files: &Value) -> Setup {
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
    assert_eq!(urls.len(), origins.len());
    for (url, origin) in urls.into_iter().zip(origins) {
        let (_, path) = [".example.net", "127.0.0.1:8080"]
            .iter()
            .find_map(|host| url.as_str()?.split_once(host))
            .expect("an URL");
        *url = format!("{origin}{path}").into();
    }
    let entries = dhcp4.as_object().expect("a map").iter();
    let entries = entries.filter(|(name, _)| !OF_THE_MACHINE.contains(&name.as_str()));
    let setup = entries
        .fold(Setup::new(Threads::Four), |setup, (name, value)| setup.set(name, value.clone()));
    setup.hook(parameters)
}
