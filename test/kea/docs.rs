// SPDX-License-Identifier: MPL-2.0
//! Holds the documents against the library. (Each answer of a test goes through the schema of
//! answers too: see [`Answer::json`](remote_opts_test_support::service::Answer::json).)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use remote_opts_bench::{results, tables};
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::project;
use remote_opts_test_support::schema::{is_good, json_file};
use remote_opts_test_support::service::{Answer, Service};
use serde_json::{Value, json};
use url::Url;

use crate::FOO_BAR;

/// `make bench-report` writes the numbers into the documents.
#[test]
fn numbers_of_the_benchmark_come_from_its_files() {
    let folder = fs::read_dir(project().join("docs/benchmark")).expect("docs/benchmark");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("a file").path()).collect();
    // As `make bench-report`. The results beside another library have a page of their own.
    files.retain(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("kea-") && name.ends_with(".json")
    });
    files.sort();
    assert!(!files.is_empty(), "no results in docs/benchmark");
    for (document, figures) in tables::documents(&results::read(&files).unwrap()) {
        let text = fs::read_to_string(project().join(document)).expect(document);
        let expected = format!("{}\n\n{figures}{}", tables::BEGIN, tables::END);
        assert!(text.contains(&expected), "{document} should have\n{expected}");
    }
}

#[test]
fn each_statement_about_failures_has_its_tests() {
    let rows = statements_with_tests(&chapter("When the service fails"));
    assert!(rows > 25, "{rows} rows");
}

#[test]
fn each_statement_about_addresses_has_its_tests() {
    let rows = statements_with_tests(&chapter("Addresses and host names from the service"));
    assert!(rows > 20, "{rows} rows");
}

/// Whether the figures are those of the code is the matter of `core::limits` and `adapter::limits`.
#[test]
fn each_statement_about_security_has_its_tests() {
    let rows = statements_with_tests(&security());
    assert!(rows > 50, "{rows} rows");
}

#[test]
fn security_md_names_what_ci_runs() {
    let text = security();
    let (_, section) = text.split_once("\n## What CI checks\n").expect("the chapter");
    let (section, _) = section.split_once("\n## ").expect("the next chapter");
    let (checks, not) = section.split_once("\nCI does not run").expect("what CI does not run");
    let script = fs::read_to_string(project().join(".ci/run")).expect(".ci/run");
    let steps = script.lines().filter(|line| line.trim_start().starts_with("step make "));
    let steps = steps.collect::<Vec<_>>().join("\n");
    let run = make_targets(&steps);
    assert_eq!(make_targets(checks), run);
    assert!(!make_targets(not).is_empty() && make_targets(not).is_disjoint(&run));
}

/// What stands after the word "make" in a text.
fn make_targets(text: &str) -> BTreeSet<&str> {
    let words =
        text.split_whitespace().map(|word| word.trim_matches(['`', '(', ')', ';', ',', '.', ':']));
    let words: Vec<_> = words.collect();
    words.windows(2).filter(|pair| pair[0] == "make").map(|pair| pair[1]).collect()
}

fn security() -> String {
    fs::read_to_string(project().join("SECURITY.md")).expect("SECURITY.md")
}

/// Checks that each row names its tests last, in the tables of a text that say so. Returns how many
/// rows there are.
fn statements_with_tests(text: &str) -> usize {
    let mut rows = 0;
    let tables = text.split("\n\n").filter(|block| block.trim_start().starts_with('|'));
    for table in tables {
        let mut cells = table.trim().lines().map(|line| {
            let cells = line.trim_matches('|').rsplit('|');
            (line, cells.map(str::trim).next().expect("a cell"))
        });
        let (_, heading) = cells.next().expect("a heading");
        if !heading.starts_with("shown by") && !heading.starts_with("held by") {
            continue;
        }
        for (line, last) in cells.skip(1) {
            rows += 1;
            for name in last.split(", ") {
                let path = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
                let path = path.unwrap_or_else(|| panic!("no test's name in {line}"));
                let (module, test) = path.rsplit_once("::").unwrap_or_else(|| panic!("{path}"));
                let (folder, module) = match module.split_once("::") {
                    Some(("core", module)) => ("core/src", module),
                    Some(("adapter", module)) => ("src", module),
                    _ => ("test/kea", module),
                };
                let file = format!("{folder}/{}.rs", module.replace("::", "/"));
                let source = fs::read_to_string(project().join(&file)).expect(&file);
                let (before, _) = source
                    .split_once(&format!("fn {test}() {{"))
                    .unwrap_or_else(|| panic!("{file} has no test {path}"));
                let attribute = before.trim_end_matches("async ").trim_end().lines().next_back();
                let attribute = attribute.expect("an attribute").trim();
                let is_test = attribute == "#[test]" || attribute.starts_with("#[tokio::test");
                assert!(is_test, "{file}: {path} is no test");
            }
        }
    }
    rows
}

#[test]
fn every_edit_of_the_answers_in_the_documents_is_applied() {
    let answers = answers_of("The answer");
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let service = Service::json(answer);
        let setup = Setup::new(Threads::Four).hook(json!({"url": service.url("/")}));
        let kea = setup.set("client-classes", json!([{"name": "rpi4"}])).start();
        let offer = kea.client().with(82, FOO_BAR).discover();
        assert!(offer.option(224).is_some() && offer.option(66).is_some());
        kea.stop().assert_clean();
    }
}

#[test]
fn every_address_and_host_name_of_the_answers_in_the_documents_is_given() {
    let answers = answers_of("The address and the host name");
    assert_eq!(answers.len(), 2);
    let service = Service::json(json!({}));
    let subnet = json!([{
        "id": 1,
        "subnet": "192.0.2.0/24",
        "pools": [{ "pool": "192.0.2.200-192.0.2.249" }],
        "relay": { "ip-addresses": ["127.0.0.1"] },
    }]);
    let setup = Setup::new(Threads::Four).set("subnet4", subnet);
    let kea = setup.hook(json!({"url": service.url("/"), "cache-ttl": 0})).start();
    for answer in answers {
        service.answer(Answer::json(answer.clone()));
        let [_, ack] = kea.client().with(82, FOO_BAR).exchange();
        let address = answer["ip-address"].as_str().unwrap_or("192.0.2.200");
        assert_eq!(ack.address().to_string(), address);
        let name = answer["hostname"].as_str().expect("a host name");
        assert_eq!(ack.option(12).as_deref(), Some(name.as_bytes()));
        assert_eq!(ack.option(224).is_some(), answer["options"].is_object());
    }
    kea.stop().assert_clean();
}

/// The answers in a chapter of docs/service.md.
fn answers_of(chapter: &str) -> Vec<Value> {
    let text = fs::read_to_string(project().join("docs/service.md")).expect("docs/service.md");
    let (_, text) = text.split_once(&format!("\n## {chapter}\n")).expect("the chapter");
    let (text, _) = text.split_once("\n## ").expect("the chapter's end");
    let blocks =
        text.split("\n\n").filter(|block| block.trim_start_matches('\n').starts_with("    {"));
    blocks.map(|block| serde_json::from_str(block).expect("JSON")).collect()
}

/// A chapter of docs/operating.md, without its heading.
fn chapter(name: &str) -> String {
    let text = fs::read_to_string(project().join("docs/operating.md")).expect("docs/operating.md");
    let (_, text) = text.split_once(&format!("\n## {name}\n")).expect("the chapter");
    text.split_once("\n## ").map_or(text, |(chapter, _)| chapter).to_owned()
}

/// The chapter "Statistics" has a row for each statistic of the library, and no other row. A
/// statistic of one service is there for each service: its row has `[i]` for the number.
#[test]
fn every_statistic_has_its_row() {
    let services = [Service::json(json!({})), Service::json(json!({}))];
    let urls = services.each_ref().map(|service| service.url("/"));
    let kea = Setup::new(Threads::Four).hook(json!({"url": urls})).start();
    let all = kea.command("statistic-get-all").expect("a response")["arguments"].clone();
    let names = all.as_object().expect("statistics").keys();
    let names = names.filter(|name| name.starts_with("remote-opts-"));
    let names: BTreeSet<_> =
        names.map(|name| name.replace("[0]", "[i]").replace("[1]", "[i]")).collect();
    let text = chapter("Statistics");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `remote-opts-"));
    let rows: Vec<_> = rows.map(|row| row.split('`').next().expect("a name")).collect();
    let rows: Vec<_> = rows.into_iter().map(|name| format!("remote-opts-{name}")).collect();
    assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), names);
    assert_eq!(rows.len(), names.len(), "a statistic has two rows");
}

/// The program of examples/monitoring prints each statistic that is a number.
#[test]
fn the_statistics_can_be_read_as_prometheus_reads_them() {
    let service = Service::json(json!({"224": "x"}));
    let kea = Setup::new(Threads::Four).hook(json!({"url": service.url("/")})).start();
    kea.client().with(82, FOO_BAR).exchange();
    let program = project().join("examples/monitoring/remote_opts_prometheus.py");
    let run = |kea: &Kea| {
        Command::new("python3").arg(&program).arg(kea.control_socket()).output().expect("python3")
    };
    let output = run(&kea);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for line in ["kea_remote_opts_asked 1", "kea_remote_opts_cached 1", "kea_remote_opts_failed 0"]
    {
        assert!(text.lines().any(|printed| printed == line), "no {line} in\n{text}");
    }
    // The alert rules name metrics that the program prints.
    let rules =
        fs::read_to_string(project().join("examples/monitoring/alerts.yml")).expect("rules");
    let words = rules.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let metrics: BTreeSet<_> = words.filter(|word| word.starts_with("kea_remote_opts_")).collect();
    assert!(metrics.len() >= 3, "{metrics:?}");
    for metric in metrics {
        let printed = |line: &str| line.split([' ', '{']).next() == Some(metric);
        assert!(text.lines().any(printed), "no {metric} in\n{text}");
    }
    let without = Setup::new(Threads::Four).start();
    assert!(!run(&without).status.success());
}

/// The list of messages takes the severity from the explanation of a message. The source logs the
/// message at this severity.
#[test]
fn every_message_is_logged_at_the_severity_of_its_explanation() {
    let page = fs::read_to_string(project().join("docs/messages.md")).expect("docs/messages.md");
    let severities: BTreeMap<_, _> = page
        .split("\n## ")
        .skip(1)
        .filter_map(|section| {
            let (id, text) = section.split_once('\n')?;
            let (_, severity) = text.split_once("\nSeverity: ")?;
            Some((id, severity.split_once('.')?.0.to_lowercase()))
        })
        .collect();
    let mut seen = BTreeSet::new();
    for file in fs::read_dir(project().join("src")).expect("src") {
        let source = fs::read_to_string(file.expect("a file").path()).expect("a source");
        for (at, _) in source.match_indices("REMOPTS_") {
            let (before, rest) = source.split_at(at);
            let end = rest.find(|char: char| !char.is_ascii_uppercase() && char != '_');
            let (id, after) = rest.split_at(end.unwrap_or(rest.len()));
            let Some((id, documented)) = severities.get_key_value(id) else { continue };
            for severity in ["debug", "info", "warn", "error"] {
                let calls = after.trim_start().starts_with(&format!(".{severity}("));
                if calls || before.ends_with(&format!("{severity}(&")) {
                    assert_eq!(documented, severity, "{id}");
                    seen.insert(*id);
                }
            }
        }
    }
    assert!(2 * seen.len() > severities.len(), "{seen:?}");
}

/// The commands that the pages give for a shell work as they stand there, but for the socket's path
/// and `sudo`.
#[test]
fn the_commands_for_a_shell_work_as_they_stand() {
    let service = Service::json(json!({"224": "x"}));
    let kea = Setup::new(Threads::Four).hook(json!({"url": service.url("/")})).start();
    let blocks: Vec<_> = ["docs/daily-work.md", "docs/troubleshooting.md"]
        .iter()
        .flat_map(|page| {
            let text = fs::read_to_string(project().join(page)).expect(page);
            text.split("\n\n").map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|block| block.starts_with("    "))
        .collect();
    let function = blocks.iter().find(|block| block.contains("keacmd() {")).expect("keacmd");
    let socket = kea.control_socket().to_str().expect("UTF-8");
    let function = function.replace("/run/kea/kea4-ctrl-socket", socket).replace("sudo ", "");
    assert!(function.contains(socket), "{function}");
    // Other programs stand before `keacmd` in a block.
    let commands: Vec<_> =
        blocks.iter().filter_map(|block| Some(&block[block.find("keacmd '")?..])).collect();
    assert!(commands.len() > 6, "{commands:?}");
    for command in commands {
        let script = format!("{function}\n{command}");
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh");
        assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        if let Ok(response) = serde_json::from_str::<Value>(&text) {
            // 3: nothing is kept about this machine.
            let result = &response["result"];
            assert!(*result == 0 || *result == 3, "{command}: {text}");
        } else {
            assert_eq!(text.trim(), "1 of 1 services are up.", "{command}");
        }
    }
    kea.stop().assert_clean();
}

/// The chapter "Commands" has a section for each command, with a request and a response.
#[test]
fn every_command_has_its_section() {
    let text = chapter("Commands");
    let service = Service::json(json!({}));
    let kea = Setup::new(Threads::Four).hook(json!({"url": service.url("/")})).start();
    let list = kea.command("list-commands").expect("a response")["arguments"].clone();
    let names = list.as_array().expect("a list").iter().filter_map(Value::as_str);
    let names: Vec<_> = names.filter(|name| name.starts_with("remote-opts-")).collect();
    let mut sections: Vec<_> = text.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), names.len(), "{names:?}");
    for name in names {
        let heading = format!("The `{name}` command\n");
        let found = sections.iter().position(|section| section.starts_with(&heading));
        let section = sections.remove(found.unwrap_or_else(|| panic!("no section {heading}")));
        let blocks = section.split("\n\n").filter(|block| block.starts_with("    {"));
        let blocks: Vec<Value> =
            blocks.map(|block| serde_json::from_str(block).expect("JSON")).collect();
        let [request, response] = blocks.as_slice() else {
            panic!("{name} needs a request and a response");
        };
        assert_eq!(request["command"], name);
        let arguments = request.get("arguments").cloned().unwrap_or(json!({}));
        let real = kea.command_with(name, arguments).expect("a response");
        assert!(!real["text"].to_string().contains("unknown"), "{name}: {real}");
        assert!(response["result"] == 0 && response["text"].is_string(), "{name}");
    }
}

/// Each link of a document to a file, and to a heading of a file, leads there.
#[test]
fn every_link_leads_somewhere() {
    let mut pages: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(PathBuf::from).into();
    for folder in ["docs", "examples"] {
        pages_below(Path::new(folder), &mut pages);
    }
    assert!(pages.len() > 15, "{pages:?}");
    let read = |page: &Path| fs::read_to_string(project().join(page)).expect("a page");
    let mut broken = Vec::new();
    for page in &pages {
        for link in links(&read(page)) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let folder = page.parent().expect("a folder");
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            let there = if heading.is_empty() {
                project().join(&target).exists()
            } else {
                project().join(&target).is_file() && anchors(&read(&target)).contains(heading)
            };
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Adds the Markdown files below a folder of the project.
fn pages_below(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(project().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            pages_below(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

/// The links of a page that lead to no other machine.
fn links(page: &str) -> Vec<String> {
    let ends = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let links = ends.map(|(link, _)| link.to_owned());
    links.filter(|link| !link.contains("://")).collect()
}

/// The names that a page's headings have in links.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
        kept.map(|char| if char == ' ' { '-' } else { char }).collect()
    };
    headings.map(anchor).collect()
}

const OPEN_API: &str = "docs/service.openapi.json";

#[test]
fn the_description_of_the_service_has_the_answer_and_the_parameters() {
    let document = json_file(OPEN_API);
    let at = |pointer: &str| document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    assert_eq!(at("/components/schemas/answer"), &json!({ "$ref": "answer.schema.json" }));
    assert_eq!(
        at("/components/responses/answer/content/application~1json/schema"),
        &json!({ "$ref": "#/components/schemas/answer" })
    );
    let examples = at("/components/responses/answer/content/application~1json/examples");
    for (name, example) in examples.as_object().expect("examples") {
        assert!(is_good(&example["value"]), "{name}");
    }
    let sent = parameters_sent();
    for (path, item) in at("/paths").as_object().expect("paths") {
        let operation = &item["get"];
        let named: Vec<_> =
            operation["parameters"].as_array().expect("parameters").iter().collect();
        let named = named.into_iter().map(|parameter| resolve(&document, parameter));
        let named: Vec<_> = named.filter(|parameter| parameter["in"] == "query").collect();
        // The last parameter stands for all values of `query`.
        let (free, named) = named.split_last().expect("query parameters");
        let names: Vec<_> = named.iter().map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(json!(names), json!(sent), "{path}");
        assert_eq!(free["schema"]["additionalProperties"], json!({ "type": "string" }), "{path}");
        for (status, header) in [("200", true), ("204", true), ("404", true), ("default", false)] {
            let response = resolve(&document, &operation["responses"][status]);
            assert!(response["description"].is_string(), "{path} {status}");
            assert_eq!(
                response.pointer("/headers/Cache-Control").is_some(),
                header,
                "{path} {status}"
            );
        }
    }
}

/// The names of all parameters in a request that has no value of `query`.
fn parameters_sent() -> Vec<String> {
    let service = Service::json(json!({}));
    let kea = Setup::new(Threads::Four).hook(json!({"url": service.url("/")})).start();
    let sub_options = [1, 2, 6, 9, 12].map(|code| [code, 1, b'x']);
    kea.client().with(82, sub_options.concat()).discover();
    let [target] = service.targets().try_into().expect("one request");
    let url = Url::parse(&service.url(&target)).expect("an URL");
    url.query_pairs().map(|(name, _)| name.into_owned()).collect()
}

/// Resolves a reference within a document.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').expect("a reference within the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("no {reference}"))
}
