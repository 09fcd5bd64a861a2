//! The way of a packet: from a callout to the edits of its reply. Called by the shim through the bridge.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use cxx::UniquePtr;
use http::header::AUTHORIZATION;
use nix::sys::resource::{Resource, getrlimit};
use url::Url;

use crate::answer::{self, Member, Reason};
use crate::backend::Http;
use crate::backends::{Backends, shown};
use crate::bridge::{self, Callout, Expression, Packet, Parked};
use crate::cache::{Asker, Key};
use crate::edits;
use crate::filter::{self, Filter, message_type};
use crate::lookup::{Lookups, Outcome, Question, Source};
use crate::main_thread::MainThread;
use crate::messages::{self, *};
use crate::parameters::{self, MATCH, OnError, ParameterError, Parameters, QUERY};
use crate::request::{self, Request, Target};
use crate::runtime::Runtime;
use crate::statistics;
use crate::throttle::Throttle;
use crate::tls::{self, Tls};

/// Lines about members of answers in ten seconds: more than a few, since one answer may have many.
const REFUSALS: u32 = 100;

/// The code of the client identifier option (RFC 2132, section 9.14).
const CLIENT_IDENTIFIER: u8 = 61;

/// The hook as one configuration sets it up.
struct Hook {
    /// Dropped first: when its thread has ended, nothing more is given to the main thread.
    _runtime: Runtime,
    filter: Filter,
    /// `match`, parsed.
    expression: Option<UniquePtr<Expression>>,
    /// `query`, parsed.
    query: Vec<(Arc<str>, UniquePtr<Expression>)>,
    /// The first backend, less a password: requests to it are the keys of the cache, which logs show.
    backend: Target,
    timeout: Duration,
    on_error: OnError,
    lookups: Lookups<Http>,
    main_thread: Arc<MainThread>,
    /// How many packets are parked.
    parked: Arc<AtomicUsize>,
    /// The most that may be: see [`configured`].
    park_limit: AtomicUsize,
    /// Keeps the log from filling with those that may not.
    full: Throttle,
    /// And with expressions that cannot be evaluated.
    not_evaluated: Throttle,
    /// And with members of answers that are left out.
    refusals: Arc<Throttle>,
}

/// What `load` set up. Kea loads and unloads while no callout is under way; the lock is held for a copy of the `Arc` only.
static HOOK: RwLock<Option<Arc<Hook>>> = RwLock::new(None);

fn hook() -> Option<Arc<Hook>> {
    HOOK.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Puts `hook` in the place of what was set up before, and returns that.
fn replace_hook(hook: Option<Hook>) -> Option<Arc<Hook>> {
    std::mem::replace(&mut *HOOK.write().unwrap_or_else(PoisonError::into_inner), hook.map(Arc::new))
}

/// Sets the hook up from the JSON text of its parameters; false, with the reason in the log, when they cannot work.
pub(crate) fn configure(parameters: &str) -> bool {
    bridge::log_panics();
    messages::catch_library_log();
    match set_up(parameters) {
        Ok(hook) => {
            replace_hook(Some(hook));
            true
        }
        Err(reason) => {
            REMOPTS_LOAD_ERROR.error([&reason]);
            false
        }
    }
}

fn set_up(parameters: &str) -> Result<Hook, Box<dyn std::error::Error>> {
    // In a reload Kea unloads before it loads. Both entries would be this one library, which has one configuration.
    if hook().is_some() {
        return Err("it is in \"hooks-libraries\" twice".into());
    }
    let mut parameters = parameters::parse(parameters)?;
    let tls = Tls {
        anchors: parameters.trust_anchor.as_deref().map(tls::trust_anchors).transpose()?,
        identity: parameters.identity.as_ref().map(|(cert, key)| tls::identity(cert, key)).transpose()?,
    };
    if let Some(file) = &parameters.bearer_token_file {
        parameters.headers.insert(AUTHORIZATION, tls::bearer(file)?);
    }
    let expression = parameters.filter.expression.as_deref();
    let expression = expression.map(|text| expression_of(MATCH, text, true)).transpose()?;
    let query = parameters.query.iter().map(|(name, text)| {
        let named = format!("{QUERY}: {name}");
        Ok((name.as_str().into(), expression_of(&named, text, false)?))
    });
    let query = query.collect::<Result<_, ParameterError>>()?;
    let Parameters {
        targets, filter, timeout, headers, freshness, cache_size, on_error, max_in_flight, ..
    } = parameters;
    let runtime = Runtime::start()?;
    let backend = Target::new(shown(targets[0].url()));
    // As in the configuration: an URL encodes the braces of its path.
    let braces = |url: Url| url.as_str().replace("%7B", "{").replace("%7D", "}");
    let asked: Vec<_> = targets.iter().map(|target| braces(shown(target.url()))).collect();
    let backends = Backends::new(targets, Http::new(headers, tls, freshness, connections())?, timeout);
    let lookups = Lookups::new(backends, cache_size, max_in_flight, runtime.handle().clone());
    let main_thread = Arc::new(MainThread::watch(runtime.handle().clone())?);
    statistics::announce();
    REMOPTS_LOADED.info([
        &env!("CARGO_PKG_VERSION"),
        &format_args!(
            "{} about {filter}, for at most {} ms each",
            asked.join(" or else "),
            timeout.as_millis()
        ),
    ]);
    Ok(Hook {
        filter,
        expression,
        query,
        backend,
        timeout,
        on_error,
        lookups,
        main_thread,
        parked: Arc::default(),
        park_limit: AtomicUsize::new(PARKED_PACKET_LIMIT),
        full: Throttle::default(),
        not_evaluated: Throttle::default(),
        refusals: Arc::new(Throttle::of(REFUSALS)),
        _runtime: runtime,
    })
}

/// The most connections to backends at once: all descriptors that the process may have, but for those that Kea needs.
fn connections() -> usize {
    const KEA: usize = 256;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(2);
    // Below the lowest that select() does not take, the sockets of both are in each other's way.
    debug_assert!(KEA < bridge::lowest_socket());
    allowed.saturating_sub(KEA).max(allowed / 2)
}

/// A parameter's expression; the error is Kea's, and says where the text goes wrong.
fn expression_of(name: &str, text: &str, boolean: bool) -> Result<UniquePtr<Expression>, ParameterError> {
    bridge::parse_expression(text, boolean).map_err(|exception| ParameterError::Expression {
        name: name.to_owned(),
        text: text.to_owned(),
        why: exception.what().to_owned(),
    })
}

/// Lets go of all that [`configure`] set up, the packets that wait first. Kea calls it for a library whose configuration
/// it refused, too.
pub(crate) fn release() {
    let Some(hook) = replace_hook(None) else {
        return;
    };
    let let_go = hook.parked.load(Ordering::Relaxed);
    hook.lookups.close();
    drop(hook);
    if let_go > 0 {
        REMOPTS_LET_GO.info([&let_go]);
    }
    REMOPTS_UNLOADED.info([]);
}

/// Kea's default of `parked-packet-limit`.
const PARKED_PACKET_LIMIT: usize = 256;

/// Called when the configuration that loaded the hook is in force, with its `parked-packet-limit` (0: none; negative: not in
/// the configuration).
pub(crate) fn configured(parked_packet_limit: i64) {
    if let Some(hook) = hook() {
        let limit = match usize::try_from(parked_packet_limit) {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(_) => PARKED_PACKET_LIMIT,
        };
        hook.park_limit.store(limit, Ordering::Relaxed);
    }
}

/// Called by Kea's main thread when it was woken for work of ours.
pub(crate) fn run_on_main_thread() {
    if let Some(hook) = hook() {
        hook.main_thread.run();
    }
}

fn log_not_admitted(query: &Packet) {
    if REMOPTS_NOT_ADMITTED.debug_enabled() {
        let shown = |code| match option(query, code) {
            Ok(Some(value)) => format!("\"{}\"", value.escape_ascii()),
            _ => "none".to_owned(),
        };
        let (user_class, machine_id) = (shown(filter::USER_CLASS), shown(filter::MACHINE_ID));
        REMOPTS_NOT_ADMITTED
            .debug([&label(query), &format_args!("option 77 is {user_class}, option 97 is {machine_id}")]);
    }
}

/// One packet's lookup, from subnet4_select to pkt4_send.
pub struct Lookup(Arc<Asked>);

struct Asked {
    /// The request's URL.
    key: Key,
    client: Arc<[u8]>,
    label: Label,
    /// Set before Kea goes on with the packet.
    outcome: OnceLock<Outcome>,
    /// The hook's, for members that are left out.
    refusals: Arc<Throttle>,
}

/// Looks a client up that the filter admits. Where the answer has to be waited for, the packet is parked, or, on a Kea that
/// cannot park here, its thread waits. A bug on the way counts as a failed lookup.
pub(crate) fn look_up(query: &Packet, callout: &Callout) {
    let Some(hook) = hook() else {
        return;
    };
    let log = |exception: cxx::Exception| REMOPTS_EXCEPTION.error([&"subnet4_select", &exception]);
    match hook.admits(query) {
        Ok(true) => {}
        Ok(false) => return log_not_admitted(query),
        Err(exception) => return log(exception),
    }
    let done = bridge::guard(Err(None), || hook.look_up(query, callout).map_err(Some));
    if let Err(why) = done {
        why.into_iter().for_each(log);
        statistics::count(statistics::FAILED);
        if hook.on_error == OnError::Drop {
            statistics::count(statistics::DROPPED);
            callout.drop_packet().unwrap_or_else(log);
        }
    }
}

impl Hook {
    /// Looks a client up that is admitted.
    fn look_up(&self, query: &Packet, callout: &Callout) -> Result<(), cxx::Exception> {
        let Some(question) = self.question(query)? else {
            if REMOPTS_NOT_NAMED.debug_enabled() {
                REMOPTS_NOT_NAMED.debug([&label(query)]);
            }
            return Ok(());
        };
        let asked = Arc::new(Asked {
            key: Arc::clone(&question.key),
            client: Arc::clone(&question.asker.client),
            label: Arc::clone(&question.label),
            outcome: OnceLock::new(),
            refusals: Arc::clone(&self.refusals),
        });
        callout.keep(Box::new(Lookup(Arc::clone(&asked))))?;
        let outcome = match self.lookups.at_once(&question) {
            Some(outcome) => outcome,
            None if !callout.can_park() => {
                let (sender, receiver) = mpsc::sync_channel(1);
                // Nobody receives any more where the wait below has ended.
                let deliver = Box::new(move |outcome| drop(sender.send(outcome)));
                self.lookups.wait(question, deliver);
                receiver.recv_timeout(self.timeout + WAITING_SLACK).unwrap_or(Outcome::Failed)
            }
            None => match Place::take(&self.parked, self.places()?) {
                Some(place) => {
                    let (parked, on_error) = (callout.park(query)?, self.on_error);
                    let packet = ParkedPacket { parked, place, asked, on_error };
                    let main_thread = Arc::clone(&self.main_thread);
                    let deliver = Box::new(move |outcome| packet.resume(outcome, &main_thread));
                    self.lookups.wait(question, deliver);
                    return Ok(());
                }
                None => {
                    if let Some(held_back) = self.full.pass() {
                        REMOPTS_PARKING_FULL.warn([&asked.label, &format_args!("{}{held_back}", asked.key)]);
                    }
                    Outcome::TurnedAway
                }
            },
        };
        if asked.settle(outcome, self.on_error) == OnError::Drop {
            callout.drop_packet()?;
        } else {
            asked.classify(&|class| query.add_class(class));
        }
        Ok(())
    }

    /// Whether this query's client is to be looked up.
    fn admits(&self, query: &Packet) -> Result<bool, cxx::Exception> {
        // Kea comes here with these alone, so far.
        if !filter::is_looked_up(query.message_type()?) {
            return Ok(false);
        }
        let read = |wanted: bool, code| if wanted { option(query, code) } else { Ok(None) };
        let user_class = read(self.filter.user_class.is_some(), filter::USER_CLASS)?;
        let machine_id = read(!self.filter.machine_id.is_empty(), filter::MACHINE_ID)?;
        Ok(self.filter.admits(user_class.as_deref(), machine_id.as_deref()) || self.matches(query))
    }

    /// Whether `match` is true of this query. One that cannot be evaluated is not.
    fn matches(&self, query: &Packet) -> bool {
        let verdict = self.expression.as_ref().map(|expression| expression.is_true(query));
        verdict.is_some_and(|verdict| {
            verdict.unwrap_or_else(|exception| {
                self.log_not_evaluated(MATCH, query, &exception);
                false
            })
        })
    }

    fn log_not_evaluated(&self, expression: &str, query: &Packet, exception: &cxx::Exception) {
        if let Some(held_back) = self.not_evaluated.pass() {
            REMOPTS_NOT_EVALUATED
                .warn([&label(query), &format_args!("{expression}: {exception}{held_back}")]);
        }
    }

    /// What to ask about a client; `None` where there is nothing to name it by.
    fn question(&self, query: &Packet) -> Result<Option<Question>, cxx::Exception> {
        let mut sub_options = Vec::with_capacity(request::SUB_OPTIONS.len());
        for code in request::SUB_OPTIONS {
            let mut bytes = Vec::new();
            if query.read_sub_option(request::RELAY_AGENT_INFORMATION, code, &mut bytes)? {
                sub_options.push((code, bytes));
            }
        }
        let mut values = Vec::with_capacity(self.query.len());
        for (name, expression) in &self.query {
            let mut value = Vec::new();
            // One that cannot be evaluated has no value.
            if let Err(exception) = expression.read(query, &mut value) {
                self.log_not_evaluated(&format!("{QUERY}: {name}"), query, &exception);
            }
            values.push((Arc::clone(name), value));
        }
        let Some(request) = Request::new(sub_options, values) else {
            return Ok(None);
        };
        let mut client = Vec::with_capacity(32);
        query.read_hardware_address(&mut client)?;
        let hardware = client.len();
        let has_identifier = query.read_option(CLIENT_IDENTIFIER, &mut client)?;
        let (client, transaction) = (Arc::from(client), query.transaction()?);
        let label = Arc::new(Named { client: Arc::clone(&client), hardware, has_identifier, transaction });
        let continues = query.message_type()? == message_type::REQUEST;
        let asker = Asker { client, transaction, continues };
        Ok(Some(Question { key: request.url(&self.backend).into(), request, asker, label }))
    }

    /// The most packets that may be parked. Past its limit Kea refuses every packet, looked up or not, so that clients lose
    /// their leases; and a packet at this hook point counts, in each of Kea's threads.
    fn places(&self) -> Result<usize, cxx::Exception> {
        let threads = bridge::packet_threads()?.max(1);
        Ok(self.park_limit.load(Ordering::Relaxed).saturating_sub(threads))
    }
}

/// How much longer than `timeout` a Kea thread waits that cannot park its packet: the lookup itself keeps the time.
const WAITING_SLACK: Duration = Duration::from_millis(100);

/// A packet that waits in Kea's parking lot. Dropped, which only the main thread does, it is let go.
struct ParkedPacket {
    parked: UniquePtr<Parked>,
    place: Place,
    asked: Arc<Asked>,
    on_error: OnError,
}

/// One of the packets that are counted as parked.
struct Place(Arc<AtomicUsize>);

impl Place {
    /// A place, if fewer than `limit` are taken.
    fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let place = Place(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ParkedPacket {
    /// Has Kea's main thread go on with the packet, or drop it. Called with [`Outcome::LetGo`] on that thread alone.
    fn resume(self, outcome: Outcome, main_thread: &MainThread) {
        if outcome != Outcome::LetGo {
            main_thread.give(Box::new(move || self.resume_here(outcome)));
        }
    }

    fn resume_here(mut self, outcome: Outcome) {
        // Before Kea goes on: it may do so here and now.
        drop(self.place);
        // A bug here counts as a failed lookup.
        let settled = bridge::guard(self.on_error, || {
            let settled = self.asked.settle(outcome, self.on_error);
            if settled == OnError::Continue {
                self.asked.classify(&|class| self.parked.add_class(class));
            }
            settled
        });
        if settled == OnError::Continue {
            if let Err(exception) = self.parked.pin_mut().resume() {
                REMOPTS_EXCEPTION.error([&"subnet4_select", &exception]);
            }
        }
    }
}

impl Asked {
    /// Counts, logs and keeps the outcome, and tells what is to become of the packet.
    fn settle(&self, outcome: Outcome, on_error: OnError) -> OnError {
        let debug = |message: &Message<2>| message.debug([&self.label, &self.key]);
        let statistic = match &outcome {
            Outcome::Answered(reply, source) => {
                match (reply, source) {
                    (_, Source::Stale) => debug(&REMOPTS_STALE),
                    (_, Source::Cached) => debug(&REMOPTS_CACHED),
                    (_, Source::Asked) => {}
                }
                if reply.is_none() {
                    debug(&REMOPTS_LOOKUP_EMPTY);
                }
                match source {
                    Source::Cached => statistics::CACHED,
                    Source::Asked => statistics::ASKED,
                    Source::Stale => statistics::STALE,
                }
            }
            Outcome::Failed => statistics::FAILED,
            Outcome::TurnedAway => statistics::TURNED_AWAY,
            Outcome::LetGo => return OnError::Continue,
        };
        statistics::count(statistic);
        let dropped = on_error == OnError::Drop && !matches!(outcome, Outcome::Answered(..));
        if dropped {
            statistics::count(statistics::DROPPED);
            debug(&REMOPTS_DROPPED);
        }
        // Set once: each packet has one outcome.
        let _ = self.outcome.set(outcome);
        if dropped { OnError::Drop } else { OnError::Continue }
    }

    /// Logs that a member of the answer is left out.
    fn refuse(&self, reason: &dyn Display, member: &Member) {
        if let Some(held_back) = self.refusals.pass() {
            REMOPTS_EDIT_REFUSED.warn([&self.label, &format_args!("{reason}: {member}{held_back}")]);
        }
    }

    /// Puts the query into the answer's client classes, before Kea goes on with it.
    fn classify(&self, add_class: &dyn Fn(&str) -> Result<bool, cxx::Exception>) {
        let Some(Outcome::Answered(Some(answer), _)) = self.outcome.get() else {
            return;
        };
        for class in &answer.client_classes {
            let refused = |reason: &dyn Display| self.refuse(reason, &answer::class_member(class));
            match add_class(class) {
                Ok(true) => {}
                Ok(false) => refused(&Reason::UnknownClass),
                Err(exception) => refused(&exception),
            }
        }
    }
}

/// Writes what the lookup has found into the reply, which stays as it is where that is nothing. With an ACK or a NAK, the
/// exchange is over.
pub(crate) fn write_overrides(Lookup(asked): &Lookup, query: &Packet, response: &Packet) {
    let message_type = match response.message_type() {
        Ok(message_type) => message_type,
        Err(exception) => return REMOPTS_EXCEPTION.error([&"pkt4_send", &exception]),
    };
    if let Some(Outcome::Answered(Some(answer), _)) = asked.outcome.get() {
        if filter::is_overridden(message_type) {
            let refuse = |reason: &dyn Display, member: &Member| asked.refuse(reason, member);
            let mut words = REMOPTS_OVERRIDDEN.debug_enabled().then(Vec::new);
            edits::apply(answer, query, response, &refuse, words.as_mut());
            if let Some(words) = words {
                REMOPTS_OVERRIDDEN.debug([&asked.label, &words.join(", "), &asked.key]);
            }
        }
    }
    if message_type != message_type::OFFER {
        if let Some(hook) = hook() {
            hook.lookups.over(&asked.client);
        }
    }
}

fn option(packet: &Packet, code: u8) -> Result<Option<Vec<u8>>, cxx::Exception> {
    let mut value = Vec::new();
    Ok(packet.read_option(code, &mut value)?.then_some(value))
}

/// A packet, as Kea names it in its own log.
struct Named {
    /// Hardware type and address, and the client identifier.
    client: Arc<[u8]>,
    /// How long the former are.
    hardware: usize,
    has_identifier: bool,
    transaction: u32,
}

impl Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (hardware, identifier) = self.client.split_at(self.hardware);
        match bridge::label(hardware, self.has_identifier, identifier, self.transaction) {
            Ok(label) => formatter.write_str(&label),
            Err(exception) => write!(formatter, "[{exception}]"),
        }
    }
}

/// The same, where no lookup has been made of it.
fn label(packet: &Packet) -> String {
    packet.packet_label().unwrap_or_else(|exception| format!("[{exception}]"))
}
