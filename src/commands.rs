// SPDX-License-Identifier: MPL-2.0
//! The library's commands on Kea's control socket: JSON in, JSON out.
//!
//! Kea hands a command over on its main thread, where no packet goes on without multi-threading. (A
//! command that comes to the listener of libdhcp_ha runs in a thread of that library.) So no command
//! waits for a service, and none holds the engine's lock for long. docs/operating.md,
//! chapter "Commands", has each command's request and response.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cxx::UniquePtr;
use remote_opts_core::answer::{self, Answer, Given, Refusal};
use remote_opts_core::cache::{Entry, Freshness, Numbered};
use remote_opts_core::config::kea_text;
use remote_opts_core::event::Label;
use remote_opts_core::failover::{Availability, ServiceStatus};
use remote_opts_core::fetch::MAX_BODY;
use remote_opts_core::guard::guard;
use remote_opts_core::hexadecimal;
use remote_opts_core::request::{Request, SUB_OPTIONS, ServiceUrl};
use serde_json::{Map, Value, json};

use crate::encode::{EncodedEdit, Encoder};
use crate::ffi::{self, Packet};
use crate::instance::{self, Instance};
use crate::log::{REMOPTS_CACHE_CHANGED, REMOPTS_RETRIED};
use crate::query::{self, Admission};

/// The result of a command that succeeded (Kea's CONTROL_RESULT_SUCCESS).
const SUCCESS: u8 = 0;
/// The result of a command that failed (Kea's CONTROL_RESULT_ERROR).
const ERROR: u8 = 1;
/// The result of a command that succeeded and has found nothing (Kea's CONTROL_RESULT_EMPTY).
const EMPTY: u8 = 3;

/// The longest page of `remote-opts-cache-list`. Kea reads and writes the text of a page on its main
/// thread: a page of 1,000 answers took up to 45 ms on a busy machine.
pub(crate) const LONGEST_PAGE: u64 = 500;

/// The longest life of an answer that `remote-opts-cache-insert` brings, in seconds: a year, as for
/// the parameter `cache-ttl`.
pub(crate) const LONGEST_LIFE: u64 = 365 * 24 * 3600;

/// The arguments of commands.
const SUB_OPTIONS_NAME: &str = "sub-options";
const QUERY: &str = "query";
const WITH_SUB_OPTIONS: &str = "with-sub-options";
const URL_PREFIX: &str = "url-prefix";
const LIMIT: &str = "limit";
const FROM: &str = "from";
const ANSWER: &str = "answer";
const FRESH_FOR: &str = "fresh-for";
const STALE_FOR: &str = "stale-for";
const PACKET: &str = "packet";
const FRESH: &str = "fresh";

/// What arguments take, in the words of errors.
const TAKES_SUB_OPTIONS: &str =
    "a map of the codes 1, 2 and 9 to hexadecimal digits, for example {\"1\": \"666F6F\"}";
const TAKES_QUERY: &str = "a map of names to their text, for example {\"mac\": \"02:00:0c\"}, or to \
                           their bytes, as {\"mac\": {\"hex\": \"0A0B\"}}";
const TAKES_PREFIX: &str = "the beginning of a URL, as text that is not empty";
const TAKES_LIMIT: &str = "a whole number of answers from 1 to 500";
const TAKES_FROM: &str = "\"start\", or the \"id\" of the last answer of the page before";
const TAKES_ANSWER: &str = "an answer as a service gives it";
const TAKES_PACKET: &str = "the bytes of a whole DHCPv4 message in hexadecimal digits";
const TAKES_FRESH: &str = "true or false";
const TAKES_FRESH_FOR: &str = "a whole number of seconds from 1 to 31536000";
const TAKES_STALE_FOR: &str = "a whole number of seconds from 0 to 31536000";

/// One command.
struct Command {
    name: &'static str,
    /// The arguments that the command takes.
    takes: &'static [&'static str],
    run: fn(&Instance, &mut Arguments) -> Result<Reply, String>,
}

static COMMANDS: [Command; 9] = [
    Command { name: "remote-opts-status", takes: &[], run: status },
    Command { name: "remote-opts-retry", takes: &[], run: retry },
    Command { name: "remote-opts-cache-get", takes: &[SUB_OPTIONS_NAME, QUERY], run: get },
    Command {
        name: "remote-opts-lookup",
        takes: &[SUB_OPTIONS_NAME, QUERY, PACKET, FRESH],
        run: lookup,
    },
    Command { name: "remote-opts-cache-list", takes: &[LIMIT, FROM], run: list },
    Command {
        name: "remote-opts-cache-insert",
        takes: &[SUB_OPTIONS_NAME, QUERY, ANSWER, FRESH_FOR, STALE_FOR],
        run: insert,
    },
    Command {
        name: "remote-opts-cache-remove",
        takes: &[SUB_OPTIONS_NAME, QUERY, WITH_SUB_OPTIONS, URL_PREFIX],
        run: remove,
    },
    Command { name: "remote-opts-cache-clear", takes: &[], run: clear },
    Command { name: "remote-opts-cache-write", takes: &[], run: write },
];

/// The names of all commands.
pub fn names() -> Vec<String> {
    COMMANDS.iter().map(|command| command.name.to_owned()).collect()
}

/// Runs a command, which is JSON text of Kea's `Element::str()`, and returns the response as JSON
/// text. Main thread.
pub fn run(command: &str) -> String {
    let failed = || Err("the library has met a bug, and its log says more".to_owned());
    let reply = guard(failed(), || answer_to(command));
    let reply = reply.unwrap_or_else(|text| Reply { result: ERROR, text, arguments: None });
    let mut response = json!({ "result": reply.result, "text": reply.text });
    if let Some(arguments) = reply.arguments {
        response["arguments"] = for_kea(arguments);
    }
    response.to_string()
}

/// What a command says.
struct Reply {
    result: u8,
    text: String,
    arguments: Option<Value>,
}

impl Reply {
    /// A success, or nothing found where `number` is 0.
    fn of(number: usize, text: String, arguments: Value) -> Self {
        let result = if number == 0 { EMPTY } else { SUCCESS };
        Reply { result, text, arguments: Some(arguments) }
    }
}

fn answer_to(command: &str) -> Result<Reply, String> {
    let command: Value = serde_json::from_str(command)
        .map_err(|error| format!("the command is no JSON: {error}"))?;
    let command = kea_text::decoded(command).ok_or("the command has text that is not UTF-8")?;
    let name = command["command"].as_str().unwrap_or_default();
    let known = COMMANDS.iter().find(|known| known.name == name);
    let known = known.ok_or_else(|| format!("the library has no command {name:?}"))?;
    let given = match command.get("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(given)) => given.clone(),
        Some(_) => return Err(format!("the arguments of {name} are no map")),
    };
    let unknown = given.keys().find(|argument| !known.takes.contains(&argument.as_str()));
    if let Some(unknown) = unknown {
        let takes: Vec<_> = known.takes.iter().map(|takes| format!("{takes:?}")).collect();
        let takes = if takes.is_empty() { "no arguments".to_owned() } else { takes.join(", ") };
        return Err(format!("argument {unknown:?} is unknown: {name} takes {takes}"));
    }
    let instance = instance::current().ok_or("the library is not loaded")?;
    (known.run)(&instance, &mut Arguments(given))
}

/// The arguments of one command that are not read yet.
struct Arguments(Map<String, Value>);

impl Arguments {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A whole number in this range. `None` where the argument is not given.
    fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
        takes: &str,
    ) -> Result<Option<u64>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| refused(name, &value, takes))
    }

    /// The request of the arguments `sub-options` and `query`. `None` where neither is given.
    fn request(&mut self) -> Result<Option<Arc<Request>>, String> {
        let (sub_options, query) = (self.take(SUB_OPTIONS_NAME), self.take(QUERY));
        if sub_options.is_none() && query.is_none() {
            return Ok(None);
        }
        let sub_options = sub_options.map(|value| sub_options_of(SUB_OPTIONS_NAME, &value));
        let values = query.map(|value| {
            let values = value.as_object().and_then(|members| {
                let value = |(name, value): (&String, &Value)| {
                    Some((Arc::from(name.as_str()), bytes(value)?))
                };
                members.iter().map(value).collect::<Option<Vec<_>>>()
            });
            values.ok_or_else(|| refused(QUERY, &value, TAKES_QUERY))
        });
        let sub_options = sub_options.transpose()?.unwrap_or_default();
        let request = Request::new(sub_options, values.transpose()?.unwrap_or_default());
        request.map(Arc::new).map(Some).ok_or_else(|| NAMES_NOBODY.to_owned())
    }

    /// As [`Arguments::request`], for a command that needs a request.
    fn needed_request(&mut self) -> Result<Arc<Request>, String> {
        self.request()?.ok_or_else(|| NAMES_NOBODY.to_owned())
    }
}

/// The error of a request that names no client.
const NAMES_NOBODY: &str = "the arguments \"sub-options\" and \"query\" name nobody: one of them \
                            needs a value that is not empty";

/// Sub-options in the order of a request, of the argument of this name.
fn sub_options_of(name: &str, value: &Value) -> Result<Vec<(u8, Vec<u8>)>, String> {
    let refused = || refused(name, value, TAKES_SUB_OPTIONS);
    let members = value.as_object().ok_or_else(refused)?;
    let read = |code: &u8| {
        let digits = members.get(&code.to_string())?;
        Some((*code, digits.as_str().and_then(hexadecimal::decode)))
    };
    let found: Vec<_> = SUB_OPTIONS.iter().filter_map(read).collect();
    if found.len() != members.len() {
        return Err(refused());
    }
    found
        .into_iter()
        .map(|(code, payload)| Some((code, payload?)))
        .collect::<Option<_>>()
        .ok_or_else(refused)
}

/// A value of the argument `query`: text, or bytes in hexadecimal.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(members) if members.len() == 1 => {
            hexadecimal::decode(members.get("hex")?.as_str()?)
        }
        _ => None,
    }
}

/// The error of an argument.
fn refused(name: &str, value: &Value, takes: &str) -> String {
    format!("argument {name:?} cannot be {}: it takes {takes}", start_of(&value.to_string()))
}

/// The start of a text: an error needs no more of an argument.
fn start_of(text: &str) -> &str {
    const MOST: usize = 200;
    text.char_indices().nth(MOST).map_or(text, |(end, _)| &text[..end])
}

/// The error of an argument that is not there.
fn missing(name: &str, takes: &str) -> String {
    format!("argument {name:?} is missing: it takes {takes}")
}

fn status(instance: &Instance, _: &mut Arguments) -> Result<Reply, String> {
    let status = instance.engine.status();
    let (files, read) = instance.client.files();
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let up = |service: &&ServiceStatus| service.availability == Availability::Up;
    let (up, all) = (status.services.iter().filter(up).count(), status.services.len());
    let arguments = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "services": status.services.iter().map(service_status).collect::<Vec<_>>(),
        "back-offs": status.back_offs,
        "parked": instance.places.taken(),
        "in-flight": status.in_flight,
        "in-line": status.in_line,
        "cache": {
            "answers": status.fill.answers,
            "answers-with-nothing": status.fill.nothings,
            "bytes": status.fill.bytes,
            "unfinished-exchanges": status.fill.exchanges,
        },
        "files": { "paths": files, "read-ago": read.as_secs() },
    });
    let text = format!("{up} of {all} services are up.");
    Ok(Reply { result: SUCCESS, text, arguments: Some(arguments) })
}

fn service_status(service: &ServiceStatus) -> Value {
    let mut shown = json!({ "url": service.url });
    shown["state"] = match service.availability {
        Availability::Up => "up",
        Availability::Down => "down",
        Availability::Paused(left) => {
            shown["paused-for"] = seconds(left).into();
            "paused"
        }
    }
    .into();
    if let Some((words, ago)) = &service.last_failure {
        shown["last-failure"] = json!({ "reason": words, "ago": ago.as_secs() });
    }
    if let Some(ago) = service.last_answer {
        shown["last-answer-ago"] = ago.as_secs().into();
    }
    shown
}

fn retry(instance: &Instance, _: &mut Arguments) -> Result<Reply, String> {
    let retried = instance.engine.retry();
    REMOPTS_RETRIED.info([&retried.back_offs, &retried.pauses, &retried.probes]);
    let text = format!(
        "{} back-offs and {} pauses are ended, {} services are probed.",
        retried.back_offs, retried.pauses, retried.probes
    );
    let arguments = json!({
        "back-offs": retried.back_offs,
        "pauses": retried.pauses,
        "probes": retried.probes,
    });
    Ok(Reply { result: SUCCESS, text, arguments: Some(arguments) })
}

fn get(instance: &Instance, arguments: &mut Arguments) -> Result<Reply, String> {
    let request = arguments.needed_request()?;
    let Some(entry) = instance.engine.kept(&request) else {
        return Ok(Reply { result: EMPTY, text: "No answer is kept.".to_owned(), arguments: None });
    };
    let mut arguments = shown(instance, &entry);
    arguments["answer"] = body(&entry.answer);
    let text = state_of(&entry).to_owned();
    Ok(Reply { result: SUCCESS, text, arguments: Some(arguments) })
}

/// Says what becomes of a client's lookup now. Nothing waits for a service: a request that is asked
/// for is made in the background.
fn lookup(instance: &Instance, arguments: &mut Arguments) -> Result<Reply, String> {
    let is_fresh = match arguments.take(FRESH) {
        None => false,
        Some(Value::Bool(fresh)) => fresh,
        Some(value) => return Err(refused(FRESH, &value, TAKES_FRESH)),
    };
    let packet = arguments.take(PACKET);
    let mut shown = json!({});
    let (query, request) = match (packet, arguments.request()?) {
        (Some(packet), None) => {
            let query = parse(&packet)?;
            let (verdict, request) = admitted(instance, &query).map_err(exception)?;
            shown["packet"] = verdict;
            (query, request)
        }
        (None, Some(request)) => (ffi::empty_query().map_err(exception)?, Some(request)),
        (Some(_), Some(_)) => {
            return Err("\"packet\" names the client, so there must be no \"sub-options\" and no \
                        \"query\" beside it"
                .to_owned());
        }
        (None, None) => return Err(format!("{NAMES_NOBODY}, or \"packet\" has it")),
    };
    let Some(request) = request else {
        let text = "The client is not looked up.".to_owned();
        return Ok(Reply { result: SUCCESS, text, arguments: Some(shown) });
    };
    add_request(&mut shown, &request);
    let services = instance.queries.services().iter();
    let at = |service: &ServiceUrl| match request.url(service) {
        Ok(_) => {
            json!({ "service": service.to_string(), "url": request.shown_at(service).to_string() })
        }
        Err(error) => json!({ "service": service.to_string(), "error": error.to_string() }),
    };
    shown["services"] = services.map(at).collect();
    let mut text = "No answer is kept.".to_owned();
    if let Some(entry) = instance.engine.kept(&request) {
        text = state_of(&entry).to_owned();
        add_life(&mut shown, &entry);
        shown["answer"] = body(&entry.answer);
        shown["edits"] = edits(instance, &query, &entry.answer).into();
    }
    if is_fresh {
        if let Some(error) = instance.queries.path_error(&request) {
            return Err(format!("no service is asked: {error}"));
        }
        let label: Label = Arc::new("command remote-opts-lookup");
        if !instance.engine.ask_anew(&request, &label) {
            return Err("no service is asked, because the line of lookups is full".to_owned());
        }
        text += " A service is being asked, and the next call shows its answer.";
    }
    Ok(Reply { result: SUCCESS, text, arguments: Some(shown) })
}

/// The query with the bytes of the argument `packet`.
fn parse(packet: &Value) -> Result<UniquePtr<Packet>, String> {
    let bytes = packet.as_str().and_then(hexadecimal::decode);
    let bytes = bytes.ok_or_else(|| refused(PACKET, packet, TAKES_PACKET))?;
    ffi::parse_query(&bytes)
        .map_err(|exception| format!("{} ({exception})", refused(PACKET, packet, TAKES_PACKET)))
}

/// Whether the client of a query is looked up, or why not, and what names it.
fn admitted(
    instance: &Instance,
    query: &Packet,
) -> Result<(Value, Option<Arc<Request>>), cxx::Exception> {
    let not = |reason: String| (json!({ "looked-up": false, "reason": reason }), None);
    match instance.queries.admission(query)? {
        Admission::Admitted => {}
        Admission::NotAdmitted => {
            return Ok(not(format!("no filter admits the client: {}", query::compared(query))));
        }
        Admission::OtherMessageType => {
            let kind = query.message_type()?;
            return Ok(not(format!("no client is looked up for a message of type {kind}")));
        }
    }
    let sub_options = instance.queries.sub_options(query)?;
    let Some(request) = instance.queries.request(query, sub_options)? else {
        return Ok(not("nothing names the client: no sub-option 1, 2 or 9 of option 82 that \
                       counts, and no value of \"query\""
            .to_owned()));
    };
    if let Some(error) = instance.queries.path_error(&request) {
        return Ok(not(error.to_string()));
    }
    Ok((json!({ "looked-up": true }), Some(request)))
}

/// Each edit of an answer with what it becomes in a reply to this query.
fn edits(instance: &Instance, query: &Packet, answer: &Answer) -> Vec<Value> {
    let mut shown: Vec<_> = answer.refused.iter().map(refusal).collect();
    let editing = &instance.editing;
    let encoder = Encoder {
        query,
        configuration: editing.configuration(),
        addresses_as_text: &editing.addresses_as_text,
        latest: &editing.latest,
    };
    encoder.with_encoded(answer, |encoded| {
        for (edit, encoded) in answer.edits.iter().zip(encoded) {
            let mut one = json!({ "member": edit.member().to_string() });
            match encoded {
                EncodedEdit::HeaderField => one["header-field"] = true.into(),
                EncodedEdit::Removal(code) => one["removed"] = (*code).into(),
                EncodedEdit::Refused(reason) => one["reason"] = (&**reason).into(),
                EncodedEdit::Option(..) | EncodedEdit::Text(_) => {
                    if let Some((code, payload)) = encoded.option(edit) {
                        one["code"] = code.into();
                        one["hex"] = hexadecimal::encode(payload).into();
                    }
                }
            }
            shown.push(one);
        }
    });
    shown
}

/// The error of a command in which Kea's code has thrown an exception.
fn exception(exception: cxx::Exception) -> String {
    format!("Kea has thrown an exception: {exception}")
}

fn list(instance: &Instance, arguments: &mut Arguments) -> Result<Reply, String> {
    let limit = arguments.number(LIMIT, 1..=LONGEST_PAGE, TAKES_LIMIT)?;
    let limit = limit.ok_or_else(|| missing(LIMIT, TAKES_LIMIT))? as usize;
    let after = match arguments.take(FROM) {
        None => return Err(missing(FROM, TAKES_FROM)),
        Some(Value::String(start)) if start == "start" => 0,
        Some(value) => value.as_u64().ok_or_else(|| refused(FROM, &value, TAKES_FROM))?,
    };
    let page = instance.engine.page(after, limit);
    let shown = |Numbered { number, entry }: &Numbered| {
        let mut shown = shown(instance, entry);
        shown["id"] = (*number).into();
        shown
    };
    let answers: Vec<_> = page.iter().map(shown).collect();
    let number = answers.len();
    let arguments = json!({ "count": number, "answers": answers });
    Ok(Reply::of(number, format!("{number} answers found."), arguments))
}

fn insert(instance: &Instance, arguments: &mut Arguments) -> Result<Reply, String> {
    let given = arguments.take(ANSWER).ok_or_else(|| missing(ANSWER, TAKES_ANSWER))?;
    let body = given.to_string();
    if body.len() > MAX_BODY {
        return Err(format!("argument \"answer\" is longer than {MAX_BODY} bytes"));
    }
    let mut answer = answer::parse(body.as_bytes())
        .map_err(|error| format!("argument \"answer\" cannot be {}: {error}", start_of(&body)))?;
    let fresh_for = arguments.number(FRESH_FOR, 1..=LONGEST_LIFE, TAKES_FRESH_FOR)?;
    let fresh_for = fresh_for.ok_or_else(|| missing(FRESH_FOR, TAKES_FRESH_FOR))?;
    let stale_for = arguments.number(STALE_FOR, 0..=LONGEST_LIFE, TAKES_STALE_FOR)?;
    let request = arguments.needed_request()?;
    let known = instance.query_names();
    if let Some((name, _)) = request.values().find(|(name, _)| !known.contains(name)) {
        return Err(format!(
            "argument \"query\" has the name {name:?}, and the parameter \"query\" has {known:?}"
        ));
    }
    if let Some(error) = instance.queries.path_error(&request) {
        return Err(format!("no client is looked up with this request: {error}"));
    }
    let freshness = Freshness {
        fresh_for: Duration::from_secs(fresh_for),
        stale_for: stale_for.map_or(instance.stale_for, Duration::from_secs),
    };
    let by = "the command remote-opts-cache-insert".into();
    answer.given = Given::By { by, at: SystemTime::now() };
    let refused: Vec<_> = answer.refused.iter().map(refusal).collect();
    if !instance.engine.insert(&request, &Arc::new(answer), freshness) {
        return Err("the answer is not kept: \"cache-size\" has no room for it".to_owned());
    }
    let url = request.shown_at(&instance.editing.first_service).to_string();
    log_change("remote-opts-cache-insert", &format_args!("an answer for {fresh_for} s to {url}"));
    let arguments = json!({ "url": url, "refused": refused });
    Ok(Reply {
        result: SUCCESS,
        text: "The answer is kept.".to_owned(),
        arguments: Some(arguments),
    })
}

/// A member of an answer that is refused.
fn refusal(refusal: &Refusal) -> Value {
    json!({ "member": refusal.member.to_string(), "reason": refusal.reason.to_string() })
}

fn remove(instance: &Instance, arguments: &mut Arguments) -> Result<Reply, String> {
    let request = arguments.request()?;
    let with = arguments.take(WITH_SUB_OPTIONS);
    let prefix = arguments.take(URL_PREFIX);
    let engine = &instance.engine;
    let number = match (request, with, prefix) {
        (Some(request), None, None) => usize::from(engine.remove(&request)),
        (None, Some(with), None) => {
            let wanted = sub_options_of(WITH_SUB_OPTIONS, &with)?;
            if wanted.is_empty() {
                return Err(refused(WITH_SUB_OPTIONS, &with, TAKES_SUB_OPTIONS));
            }
            let has = |request: &Request, (code, payload): &(u8, Vec<u8>)| {
                request.sub_options().any(|found| found == (*code, payload.as_slice()))
            };
            engine.remove_all(|request| wanted.iter().all(|one| has(request, one)))
        }
        (None, None, Some(prefix)) => {
            let text = prefix.as_str().filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| refused(URL_PREFIX, &prefix, TAKES_PREFIX))?;
            // Requests are shown so, too.
            let text = text.replace("%3A", ":");
            let service = &instance.editing.first_service;
            engine.remove_all(|request| request.shown_at(service).to_string().starts_with(&text))
        }
        _ => {
            return Err(
                "the arguments must name one request (by \"sub-options\" and \"query\"), or \
                        all with some sub-options (by \"with-sub-options\"), or all whose URL \
                        begins so (by \"url-prefix\")"
                    .to_owned(),
            );
        }
    };
    Ok(removed("remote-opts-cache-remove", number))
}

fn clear(instance: &Instance, _: &mut Arguments) -> Result<Reply, String> {
    Ok(removed("remote-opts-cache-clear", instance.engine.clear()))
}

/// The reply of a command that has removed answers, which the log shows.
fn removed(command: &str, number: usize) -> Reply {
    if number > 0 {
        log_change(command, &format_args!("{number} answers are removed"));
    }
    Reply::of(number, format!("{number} answers removed."), json!({ "count": number }))
}

fn log_change(command: &str, what: &dyn Display) {
    REMOPTS_CACHE_CHANGED.info([&command, &what]);
}

fn write(instance: &Instance, _: &mut Arguments) -> Result<Reply, String> {
    let file = instance.cache_file().ok_or("the parameter \"cache-file\" names no file")?;
    match instance.write_cache_file() {
        Ok(number) => {
            let text = format!("{number} answers are written to {}.", file.display());
            let arguments = json!({ "count": number, "file": file.display().to_string() });
            Ok(Reply { result: SUCCESS, text, arguments: Some(arguments) })
        }
        Err(error) => Err(format!("the answers cannot be written to {}: {error}", file.display())),
    }
}

/// In words: whether an answer is fresh.
fn state_of(entry: &Entry) -> &'static str {
    if entry.freshness.fresh_for.is_zero() {
        "The kept answer is stale."
    } else {
        "The kept answer is fresh."
    }
}

/// A kept answer, less what it says.
fn shown(instance: &Instance, entry: &Entry) -> Value {
    let request = &entry.request;
    let mut shown = json!({
        "url": request.shown_at(&instance.editing.first_service).to_string(),
        "bytes": entry.bytes(),
    });
    add_request(&mut shown, request);
    add_life(&mut shown, entry);
    shown
}

/// Adds how long an answer may be used.
fn add_life(shown: &mut Value, entry: &Entry) {
    shown["fresh-for"] = seconds(entry.freshness.fresh_for).into();
    shown["stale-for"] = seconds(entry.freshness.stale_for).into();
}

/// Adds a request as commands take it.
fn add_request(shown: &mut Value, request: &Request) {
    let sub_options = request.sub_options();
    let sub_options =
        sub_options.map(|(code, payload)| (code.to_string(), hexadecimal::encode(payload).into()));
    let values = request.values().map(|(name, value)| (name.to_owned(), text(value)));
    shown["sub-options"] = Value::Object(sub_options.collect());
    shown["query"] = Value::Object(values.collect());
}

/// A value of a request as the argument `query` takes it.
fn text(value: &[u8]) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        _ => json!({ "hex": hexadecimal::encode(value) }),
    }
}

/// What an answer says, as its service sent it.
fn body(answer: &Answer) -> Value {
    // An empty body stands for a status that says "nothing for this client".
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!({}))
}

/// Whole seconds, rounded up: 0 says that no time is left.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A value as Kea can read it: Kea has no whole numbers past 63 bits.
fn for_kea(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(for_kea).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, for_kea(value)));
            Value::Object(members.collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: Value) -> Arguments {
        let Value::Object(given) = given else { panic!("no map") };
        Arguments(given)
    }

    #[test]
    fn a_request_is_read_in_the_order_of_its_sub_options() {
        let request = arguments(json!({
            "sub-options": {"9": "", "1": "66:6f:6f", "2": "0x6261"},
            "query": {"mac": "é", "raw": {"hex": "00FF"}, "none": ""},
        }));
        let request = { request }.needed_request().unwrap();
        let expected: [(u8, &[u8]); 3] = [(1, b"foo"), (2, b"ba"), (9, b"")];
        assert_eq!(request.sub_options().collect::<Vec<_>>(), expected);
        let values: Vec<_> = request.values().map(|(name, value)| (name, text(value))).collect();
        assert_eq!(values, [("mac", json!("é")), ("raw", json!({"hex": "00FF"}))]);
    }

    #[test]
    fn a_request_that_cannot_be_is_refused_with_what_is_accepted() {
        for (given, words) in [
            (json!({}), "name nobody"),
            (json!({"sub-options": {}}), "name nobody"),
            (json!({"sub-options": {"1": ""}}), "name nobody"),
            (json!({"query": {"mac": ""}}), "name nobody"),
            (json!({"sub-options": []}), "the codes 1, 2 and 9"),
            (json!({"sub-options": {"3": "00"}}), "the codes 1, 2 and 9"),
            (json!({"sub-options": {"1": "0"}}), "the codes 1, 2 and 9"),
            (json!({"sub-options": {"1": 7}}), "the codes 1, 2 and 9"),
            (json!({"query": "mac"}), "a map of names"),
            (json!({"query": {"mac": 7}}), "a map of names"),
            (json!({"query": {"mac": {"hex": "0"}}}), "a map of names"),
        ] {
            let error = arguments(given.clone()).needed_request().unwrap_err();
            assert!(error.contains(words), "{given}: {error}");
        }
    }

    #[test]
    fn a_command_without_an_instance_is_an_error_and_a_wrong_one_says_why() {
        for (command, words) in [
            ("no JSON", "no JSON"),
            (r#"{"command": "remote-opts-x"}"#, "no command"),
            (r#"{"command": "remote-opts-status", "arguments": []}"#, "no map"),
            (r#"{"command": "remote-opts-status", "arguments": {"a": 1}}"#, "takes no arguments"),
            (
                r#"{"command": "remote-opts-cache-list", "arguments": {"a": 1}}"#,
                "\"limit\", \"from\"",
            ),
            (r#"{"command": "remote-opts-status"}"#, "not loaded"),
        ] {
            let response: Value = serde_json::from_str(&run(command)).unwrap();
            assert_eq!(response["result"], 1, "{response}");
            assert!(response["text"].as_str().unwrap().contains(words), "{response}");
        }
    }

    #[test]
    fn numbers_fit_into_kea_s() {
        let shown = for_kea(json!({"a": [u64::MAX, i64::MAX, -1, 1.5]}));
        assert_eq!(shown, json!({"a": [u64::MAX as f64, i64::MAX, -1, 1.5]}));
    }
}
