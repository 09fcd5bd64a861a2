// SPDX-License-Identifier: MPL-2.0
//! One loaded configuration of the library: load, unload, and what lives between them.
//!
//! Kea loads and unloads on its main thread while no callout runs. In between, callouts of all
//! packet threads share the instance.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use remote_opts_core::cache::{Cache, Entry, Origin};
use remote_opts_core::cache_file;
use remote_opts_core::config::{self, OnError, OnMiss, Settings};
use remote_opts_core::failover::Failover;
use remote_opts_core::guard::{guard, report_panics};
use remote_opts_core::http;
use remote_opts_core::lookup::LookupEngine;
use remote_opts_core::request::ServiceUrl;
use remote_opts_core::runtime::Runtime;
use remote_opts_core::throttle::Throttle;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::encode::{AddressesAsText, Latest};
use crate::ffi;
use crate::listener::LogListener;
use crate::log::{
    self, REMOPTS_CACHE_FILE_NOT_WRITTEN, REMOPTS_CACHE_FILE_READ, REMOPTS_CACHE_FILE_UNREADABLE,
    REMOPTS_FILES_NOT_READ, REMOPTS_FILES_READ, REMOPTS_LET_GO, REMOPTS_LOAD_ERROR, REMOPTS_LOADED,
    REMOPTS_NO_AUTHORITY, REMOPTS_PANIC, REMOPTS_UNLOADED,
};
use crate::main_thread::MainThread;
use crate::parking::ParkingPlaces;
use crate::query::QueryReader;
use crate::reservations;
use crate::statistics::{self, Gauges};

/// Lines about refused members of answers in ten seconds. One answer may have many such members,
/// and the operator needs them all.
pub(crate) const REFUSALS: u32 = 100;

/// The time from one look at the files of tokens and certificates to the next.
pub(crate) const LOOK_AT_FILES: Duration = Duration::from_secs(5);

/// The time from one writing of the kept answers to the next.
pub(crate) const FILE_INTERVAL: Duration = Duration::from_secs(60);

/// The descriptors that Kea needs for itself: sockets of interfaces and of control, databases,
/// logs.
pub(crate) const KEA_DESCRIPTORS: usize = 256;

/// What one configuration sets up.
pub struct Instance {
    /// The first field, so that it is dropped first: when its thread has ended, nothing is given to
    /// the main thread any more.
    _runtime: Runtime,
    /// Reads queries as the configuration says.
    pub queries: QueryReader,
    /// The longest time of one lookup.
    pub timeout: Duration,
    /// What a new client gets whose lookup failed.
    pub on_error: OnError,
    /// What a client gets whose answer is not there yet.
    pub on_miss: OnMiss,
    /// How long an answer serves stale where nobody says: the parameter `stale-if-error`.
    pub stale_for: Duration,
    /// Asks services. The engine does so through it.
    pub client: Arc<http::Client>,
    /// Finds answers.
    pub engine: LookupEngine<Arc<http::Client>>,
    /// Where packets are resumed.
    pub main_thread: Arc<MainThread>,
    /// The places for packets that wait.
    pub places: Arc<ParkingPlaces>,
    /// For lines about packets that find no place.
    pub parking_full: Throttle,
    /// What it takes to edit a reply.
    pub editing: Arc<Editing>,
    /// What the answers of this configuration's services are answers to.
    origin: Origin,
    /// What the answers of an earlier configuration are answers to, until this configuration comes
    /// into force.
    kept_origin: Mutex<Option<Origin>>,
    /// The parameter `cache-file`.
    cache_file: Option<PathBuf>,
    /// Whether the file of kept answers could not be read, and is still where it was.
    unreadable: Arc<AtomicBool>,
    /// How often the kept answers had changed when they were read from the file.
    in_file: Option<u64>,
    /// Whether the configuration came into force.
    is_configured: AtomicBool,
}

/// Locked while the file of kept answers is written. The number says how often an instance has
/// ended: no older answers are written after that.
static FILE: Mutex<u64> = Mutex::new(0);

/// How many configurations have been loaded.
static LOADED: AtomicU64 = AtomicU64::new(0);

/// What it takes to edit a reply, beside the answer. Any packet thread.
pub struct Editing {
    /// The number of the configuration. Another configuration may have other option definitions.
    configuration: u64,
    /// Whether a database has a part of the configuration: its option definitions change at any
    /// time.
    has_database: AtomicBool,
    /// The parameter `max-reply-size`, in bytes.
    pub max_reply_size: usize,
    /// The first service. Lines show a request's URL as this service gets it.
    pub first_service: ServiceUrl,
    /// For lines about refused members of answers.
    pub refusals: Throttle,
    /// For lines about sub-options that look like addresses and are text.
    pub addresses_as_text: AddressesAsText,
    /// What encoded answers share.
    pub latest: Latest,
    /// For lines about replies that another library has packed.
    pub not_edited: Throttle,
    /// For lines about DHCPNAKs that were not sent.
    pub naks_held_back: Throttle,
    /// For lines about clients that got another address than their answer says.
    pub addresses: Throttle,
}

impl Editing {
    /// The number of the configuration, where its option definitions stay as they are.
    pub fn configuration(&self) -> Option<u64> {
        (!self.has_database.load(Ordering::Relaxed)).then_some(self.configuration)
    }
}

/// The answers of the last configuration, and what they are answers to. They outlive a reload: Kea
/// unloads the library and loads it again.
static KEPT: Mutex<Option<(Cache, Origin)>> = Mutex::new(None);

/// What `load` set up. The lock is held only to copy or replace the `Arc`.
static INSTANCE: RwLock<Option<Arc<Instance>>> = RwLock::new(None);

/// The instance; `None` when the library is not loaded. Any thread.
pub fn current() -> Option<Arc<Instance>> {
    INSTANCE.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Puts `instance` in the place of the present one, which is returned.
fn replace(instance: Option<Arc<Instance>>) -> Option<Arc<Instance>> {
    std::mem::replace(&mut *INSTANCE.write().unwrap_or_else(PoisonError::into_inner), instance)
}

/// Sets the library up from the JSON text of its parameters. False, with the reason in the log,
/// when they cannot work. Main thread.
pub fn load(parameters: &str) -> bool {
    report_panics(|panic| REMOPTS_PANIC.error([&panic]));
    log::catch_library_log();
    match Instance::new(parameters) {
        Ok(instance) => {
            replace(Some(Arc::new(instance)));
            true
        }
        Err(reason) => {
            REMOPTS_LOAD_ERROR.error([&reason]);
            false
        }
    }
}

/// Ends what [`load`] set up: first the lookups, so that waiting packets are let go, then the rest.
/// Kea also calls it for a library whose configuration it refused. Main thread.
pub fn unload() {
    let Some(instance) = replace(None) else {
        return;
    };
    // From here on no other thread resumes a packet. In a critical section none does anyway.
    instance.main_thread.queue().allow_at_once(false);
    let waiting = instance.places.taken();
    statistics::IN_FLIGHT_MOST.note(instance.engine.take_most_in_flight());
    let cache = instance.engine.close();
    if let Some(path) = &instance.cache_file {
        let mut writer = FILE.lock().unwrap_or_else(PoisonError::into_inner);
        // A configuration that never came into force leaves the file alone. So does a mere check
        // (`kea-dhcp4 -T`, for which a configuration does come into force): it has no new answers.
        let is_in_force = instance.is_configured.load(Ordering::Relaxed);
        if is_in_force && Some(cache.changes()) != instance.in_file {
            let entries = cache.entries(Instant::now());
            // The log shows an error: nobody else is there to be told.
            let _ = write_answers(path, &instance.origin, &entries, &instance.unreadable);
        }
        // Older answers that still wait to be written are void.
        *writer += 1;
    }
    // A configuration that never came into force leaves the answers as they were.
    let kept_origin = instance.kept_origin.lock().unwrap_or_else(PoisonError::into_inner).take();
    let origin = kept_origin.unwrap_or_else(|| instance.origin.clone());
    drop(instance);
    // Nothing is parked or in flight any more, and nobody asks for the numbers before a next load.
    publish_statistics();
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some((cache, origin));
    if waiting > 0 {
        REMOPTS_LET_GO.info([&waiting]);
    }
    REMOPTS_UNLOADED.info([]);
}

/// The configuration that loaded the library is in force. `parked_packet_limit` is Kea's parameter
/// of this name, negative where the configuration does not say. `has_database` says whether a
/// database has a part of the configuration. Main thread.
pub fn configured(parked_packet_limit: i64, has_database: bool) {
    log::catch_library_log();
    if let Some(instance) = current() {
        instance.is_configured.store(true, Ordering::Relaxed);
        instance.editing.has_database.store(has_database, Ordering::Relaxed);
        instance.places.set_limit(parked_packet_limit);
        let kept_origin =
            instance.kept_origin.lock().unwrap_or_else(PoisonError::into_inner).take();
        if kept_origin.is_some_and(|kept_origin| kept_origin != instance.origin) {
            instance.engine.expire();
        }
    }
}

/// Does the work that waits for Kea's main thread. Called on that thread when it was woken.
pub fn run_main_thread_work() {
    reservations::forget_cached();
    if let Some(instance) = current() {
        instance.main_thread.run();
    }
}

/// Kea's main thread begins or has ended a critical section. In one, no packet is resumed by another
/// thread. Main thread.
pub fn critical_section(begins: bool) {
    if let Some(instance) = current() {
        instance.main_thread.queue().allow_at_once(!begins);
    }
}

impl Instance {
    fn new(parameters: &str) -> Result<Self, Box<dyn Error>> {
        // Kea unloads before it loads again, so this is a second entry in one configuration. Both
        // entries would be this one library, which has one instance.
        if current().is_some() {
            return Err("it is in \"hooks-libraries\" twice".into());
        }
        let settings = config::parse(parameters)?;
        settings.cache_file.as_deref().map_or(Ok(()), cache_file::check)?;
        let client = Arc::new(http::Client::new(&settings, sockets())?);
        let room = client.room();
        let queries = QueryReader::new(
            settings.filter.clone(),
            &settings.query,
            settings.services.clone(),
            settings.require_relay,
        )?;
        let listener = Arc::new(LogListener::new(&settings.services, settings.on_error));
        let runtime = Runtime::start()?;
        let failover = Failover::new(
            settings.services.clone(),
            client.clone(),
            settings.timeout,
            listener.clone(),
        );
        let origin = Origin::new(&settings.services, &settings.query);
        let main_thread = Arc::new(MainThread::watch(runtime.handle().clone())?);
        // Nothing fails from here on, so that no kept answer is lost.
        let kept = kept_answers(&settings, &origin);
        let unreadable = Arc::new(AtomicBool::new(kept.unreadable));
        let engine = LookupEngine::new(
            failover,
            kept.cache,
            settings.max_in_flight.min(room),
            runtime.handle().clone(),
            listener,
        );
        runtime.handle().spawn(read_files_again(Arc::clone(&client)));
        if let Some(path) = settings.cache_file.clone() {
            let own = *FILE.lock().unwrap_or_else(PoisonError::into_inner);
            let file = AnswersFile {
                path,
                origin: origin.clone(),
                unreadable: Arc::clone(&unreadable),
                own,
            };
            runtime.handle().spawn(keep_file(engine.clone(), file, kept.in_file));
        }
        let services: Vec<_> = settings.services.iter().map(ServiceUrl::to_string).collect();
        statistics::announce(&services);
        REMOPTS_LOADED.info([
            &env!("CARGO_PKG_VERSION"),
            &format_args!("{} {}", services.join(" or else "), in_words(&settings)),
        ]);
        if let Some(reason) = client.lacks_authority() {
            REMOPTS_NO_AUTHORITY.warn([&reason]);
        }
        Ok(Instance {
            _runtime: runtime,
            queries,
            timeout: settings.timeout,
            on_error: settings.on_error,
            on_miss: settings.on_miss,
            stale_for: settings.freshness.stale_for,
            client,
            engine,
            main_thread,
            places: Arc::default(),
            parking_full: Throttle::default(),
            editing: Arc::new(Editing {
                configuration: LOADED.fetch_add(1, Ordering::Relaxed),
                has_database: AtomicBool::new(true),
                max_reply_size: settings.max_reply_size,
                first_service: settings.services[0].clone(),
                refusals: Throttle::of(REFUSALS),
                addresses_as_text: AddressesAsText::default(),
                latest: Latest::default(),
                not_edited: Throttle::default(),
                naks_held_back: Throttle::default(),
                addresses: Throttle::default(),
            }),
            origin,
            cache_file: settings.cache_file,
            kept_origin: Mutex::new(kept.origin),
            unreadable,
            in_file: kept.in_file,
            is_configured: AtomicBool::new(false),
        })
    }
}

/// Brings Kea's statistics up to date. On a thread that runs Kea's commands.
pub fn publish_statistics() {
    statistics::publish(|| current().map(|instance| instance.gauges()).unwrap_or_default());
}

impl Instance {
    /// What goes up and down among the statistics.
    fn gauges(&self) -> Gauges {
        let status = self.engine.status();
        statistics::IN_FLIGHT_MOST.note(self.engine.take_most_in_flight());
        Gauges {
            parked: self.places.taken(),
            in_flight: status.in_flight,
            in_line: status.in_line,
            back_offs: status.back_offs,
            kept_answers: status.fill.answers + status.fill.nothings,
            kept_bytes: status.fill.bytes,
            addresses_kept: status.fill.addresses,
            services: status.services.into_iter().map(|service| service.availability).collect(),
        }
    }

    /// The names of the parameter `query`.
    pub fn query_names(&self) -> Vec<&str> {
        self.origin.query.keys().map(String::as_str).collect()
    }

    /// The file that the parameter `cache-file` names.
    pub fn cache_file(&self) -> Option<&Path> {
        self.cache_file.as_deref()
    }

    /// Writes the kept answers into `cache-file`, and returns how many there are: 0 also where
    /// there is no such parameter. The error is the system's. Main thread; blocks while the file is
    /// written.
    pub fn write_cache_file(&self) -> io::Result<usize> {
        let Some(path) = &self.cache_file else { return Ok(0) };
        let _writer = FILE.lock().unwrap_or_else(PoisonError::into_inner);
        // With the file locked: no thread writes older answers after these.
        let Some((entries, _)) = self.engine.kept_since(None) else { return Ok(0) };
        write_answers(path, &self.origin, &entries, &self.unreadable)
    }
}

/// What an operator asks first of the settings, beside the services.
fn in_words(settings: &Settings) -> String {
    let Settings { filter, timeout, cache_size, freshness, .. } = settings;
    let mut words = format!("about {filter}, for at most {} ms each", timeout.as_millis());
    words += match settings.on_error {
        OnError::Continue => "; on-error is continue",
        OnError::Drop => "; on-error is drop",
    };
    words += match settings.on_miss {
        OnMiss::Wait => ", on-miss is wait",
        OnMiss::Retry => ", on-miss is retry",
    };
    words += &format!(
        "; up to {cache_size} answers are kept, fresh for {} s and stale for {} s where the service \
         does not say",
        freshness.fresh_for.as_secs(),
        freshness.stale_for.as_secs()
    );
    match &settings.cache_file {
        Some(file) => words += &format!(", in {}", file.display()),
        None => words += ", in memory alone",
    }
    words += match (&settings.bearer_token_file, &settings.client_certificate) {
        (None, None) => "; without a token and without a client certificate",
        (Some(_), None) => "; with a token",
        (None, Some(_)) => "; with a client certificate",
        (Some(_), Some(_)) => "; with a token and a client certificate",
    };
    words
}

/// The answers that a configuration begins with.
struct KeptAnswers {
    cache: Cache,
    /// What the answers are answers to, where an earlier configuration has left them.
    origin: Option<Origin>,
    /// Whether the file of kept answers could not be read. Such a file never stops Kea.
    unreadable: bool,
    /// How often the answers have changed, where they are those of the file.
    in_file: Option<u64>,
}

/// The answers that an earlier configuration has left, else the answers of the file, else no
/// answers.
fn kept_answers(settings: &Settings, origin: &Origin) -> KeptAnswers {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((mut cache, kept_origin)) = kept {
        cache.resize(settings.cache_size);
        return KeptAnswers { cache, origin: Some(kept_origin), unreadable: false, in_file: None };
    }
    let mut cache = Cache::new(settings.cache_size);
    let mut unreadable = false;
    if let Some(path) = &settings.cache_file {
        match cache_file::read(path, origin, &mut cache) {
            Ok(None) => {}
            Ok(Some(number)) => REMOPTS_CACHE_FILE_READ.info([&number, &path.display()]),
            Err(error) => {
                REMOPTS_CACHE_FILE_UNREADABLE.warn([&path.display(), &error]);
                unreadable = true;
            }
        }
    }
    let in_file = Some(cache.changes());
    KeptAnswers { cache, origin: None, unreadable, in_file }
}

/// Looks every few seconds whether the files of tokens and certificates have changed, and reads
/// them again. On the runtime's thread; the reading itself is done on a thread that may block.
async fn read_files_again(client: Arc<http::Client>) {
    loop {
        sleep(LOOK_AT_FILES).await;
        let client = Arc::clone(&client);
        match spawn_blocking(move || guard(None, || client.refresh())).await {
            Ok(Some(Ok(()))) => REMOPTS_FILES_READ.info([]),
            Ok(Some(Err(reason))) => REMOPTS_FILES_NOT_READ.error([&reason]),
            // The error says that the runtime ends.
            Ok(None) | Err(_) => {}
        }
    }
}

/// Writes the answers into their file, with [`FILE`] locked, and returns their number. An error,
/// which is the system's, is logged, too. An earlier file that could not be read gets another name
/// first. Blocks.
fn write_answers(
    path: &Path,
    origin: &Origin,
    entries: &[Entry],
    unreadable: &AtomicBool,
) -> io::Result<usize> {
    let set_aside = || {
        if unreadable.load(Ordering::Relaxed) {
            cache_file::set_aside(path)?;
            unreadable.store(false, Ordering::Relaxed);
        }
        Ok(())
    };
    let written = set_aside().and_then(|()| cache_file::write(path, origin, entries));
    if let Err(error) = &written {
        REMOPTS_CACHE_FILE_NOT_WRITTEN.error([&path.display(), error]);
    }
    written
}

/// The file of kept answers, for the task that writes it.
#[derive(Clone)]
struct AnswersFile {
    path: PathBuf,
    origin: Origin,
    /// As in [`Instance`].
    unreadable: Arc<AtomicBool>,
    /// How many instances had ended when the task began: see [`FILE`].
    own: u64,
}

/// Writes the file of kept answers once a minute, where they have changed since `written`. On the
/// runtime's thread; the writing itself is done on a thread that may block.
async fn keep_file(
    engine: LookupEngine<Arc<http::Client>>,
    file: AnswersFile,
    mut written: Option<u64>,
) {
    loop {
        sleep(FILE_INTERVAL).await;
        if let Some((entries, changes)) = engine.kept_since(written) {
            let AnswersFile { path, origin, unreadable, own } = file.clone();
            let write = move || {
                let writer = FILE.lock().unwrap_or_else(PoisonError::into_inner);
                *writer == own && write_answers(&path, &origin, &entries, &unreadable).is_ok()
            };
            if let Ok(true) = spawn_blocking(move || guard(false, write)).await {
                written = Some(changes);
            }
        }
    }
}

/// The most connections to services at once, idle ones included: all descriptors that the process
/// may have, less the descriptors that Kea needs.
fn sockets() -> usize {
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(2);
    // Above the lowest socket of the library, the two do not compete for descriptors.
    debug_assert!(KEA_DESCRIPTORS < ffi::lowest_socket());
    allowed.saturating_sub(KEA_DESCRIPTORS).max(allowed / 2)
}
