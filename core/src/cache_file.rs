// SPDX-License-Identifier: MPL-2.0
//! The file in which kept answers survive a restart, a crash and a power failure.
//!
//! Text, one JSON value a line: first a head with the version of the format, then one answer a
//! line. An answer is kept as the service sent it, so that every version of the library reads it
//! with its own parser. The file is written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::answer::{self, Answer, Given};
use crate::cache::{Cache, Entry, Freshness, Origin};
use crate::config::ConfigError;
use crate::config::parameter::CACHE_FILE;
use crate::request::{Request, SubOptions};

/// The member of the head that tells this format from every other file.
const FORMAT: &str = "remote-opts-cache";

/// The version of the format.
const VERSION: u64 = 1;

/// The longest line that is read, in bytes. A line holds one answer in hexadecimal, with its
/// request.
pub(crate) const LONGEST_LINE: u64 = 256 * 1024;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system's reason.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The first line is not the head of such a file.
    #[error("it is no file of kept answers")]
    Foreign,
    /// A later version of the library has written the file.
    #[error("its format has version {0}, and this library reads version {VERSION}")]
    Newer(u64),
    /// A line is not as the library writes it.
    #[error("line {0} is damaged")]
    Damaged(usize),
}

/// Checks that a path is free, or names a file. A folder or a device would be renamed to make place
/// for the file. What only the system can say, as whether there is room, is no error here: it may
/// change, and the log says it when the file is written. Any thread; blocks.
pub fn check(path: &Path) -> Result<(), ConfigError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(ConfigError::refused(&CACHE_FILE, format!("{path:?}"), "(that is no file)"))
        }
        _ => Ok(()),
    }
}

/// Writes the answers into a new file, which takes the place of `path` when it is safe on the disk.
/// Only the present user may read it. An answer whose line would be too long to be read is left
/// out. Returns the number of answers in the file. Any thread; blocks. The error is the system's.
pub fn write(path: &Path, origin: &Origin, entries: &[Entry]) -> io::Result<usize> {
    let temporary = beside(path, "new");
    let written = write_new(&temporary, origin, entries)
        .and_then(|number| fs::rename(&temporary, path).map(|()| number))
        // The first error says more than an error of this call.
        .inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    // The new name is safe when the folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new("."))) {
        // AppArmor may allow the file and not its folder.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        folder => folder?.sync_all()?,
    }
    Ok(written)
}

fn write_new(path: &Path, origin: &Origin, entries: &[Entry]) -> io::Result<usize> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file = BufWriter::new(file);
    let head = json!({
        FORMAT: VERSION,
        "written": millis(SystemTime::now()),
        "services": origin.services,
        "query": origin.query,
    });
    writeln!(file, "{head}")?;
    let mut number = 0;
    // A line that cannot be read back would cost the whole file.
    for line in entries.iter().map(line).filter(|line| (line.len() as u64) < LONGEST_LINE) {
        writeln!(file, "{line}")?;
        number += 1;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(number)
}

/// One answer as a line of the file, without its end.
fn line(entry: &Entry) -> String {
    let sub_options = entry.request.sub_options();
    let sub_options =
        sub_options.map(|(code, value)| (code.to_string(), hex::encode(value).into()));
    let values = entry.request.values();
    let values = values.map(|(name, value)| (name.to_string(), hex::encode(value).into()));
    let given = match &entry.answer.given {
        Given::Unknown => Value::Null,
        Given::By { by, at } => json!({ "by": &**by, "at": millis(*at) }),
    };
    json!({
        "sub-options": sub_options.collect::<Map<_, Value>>(),
        "query": values.collect::<Map<_, Value>>(),
        "body": hex::encode(&entry.answer.body),
        "fresh-for": whole_millis(entry.freshness.fresh_for),
        "stale-for": whole_millis(entry.freshness.stale_for),
        "given": given,
        "client": entry.client.as_deref().map(hex::encode),
    })
    .to_string()
}

/// A time as the file has it: milliseconds since 1970.
fn millis(time: SystemTime) -> u64 {
    whole_millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A life of an answer as the file has it. A file from elsewhere may make a life longer than a file
/// can say.
fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a file into an empty cache, and returns the number of the answers. `None` where there is
/// no file. A file that cannot be read leaves the cache empty. Answers of another origin are stale.
/// Main thread; blocks.
pub fn read(path: &Path, origin: &Origin, cache: &mut Cache) -> Result<Option<usize>, ReadError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut lines = BufReader::new(file);
    let head = next(&mut lines)?.ok_or(ReadError::Foreign)?;
    let head: Value = serde_json::from_slice(&head).map_err(|_| ReadError::Foreign)?;
    match head[FORMAT].as_u64() {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(ReadError::Newer(version)),
        _ => return Err(ReadError::Foreign),
    }
    // A clock that was set back takes no time from an answer, and adds none.
    let written = Duration::from_millis(head["written"].as_u64().ok_or(ReadError::Foreign)?);
    let age = SystemTime::now().duration_since(UNIX_EPOCH + written).unwrap_or_default();
    let now = Instant::now();
    let number = read_entries(&mut lines, age, now, cache).inspect_err(|_| drop(cache.clear()))?;
    if (&head["services"], &head["query"]) != (&json!(origin.services), &json!(origin.query)) {
        cache.expire(now);
    }
    Ok(Some(number))
}

/// Reads the lines behind the head into the cache, and returns their number. Each answer is stored
/// when it is read, so that the cache bounds the answers of a file that has too many.
fn read_entries(
    lines: &mut impl BufRead,
    age: Duration,
    now: Instant,
    cache: &mut Cache,
) -> Result<usize, ReadError> {
    for number in 0.. {
        let Some(line) = next(lines)? else { return Ok(number) };
        // The head is line 1.
        let entry = entry(&line, age).ok_or(ReadError::Damaged(number + 2))?;
        let Some(Entry { request, answer, freshness, client }) = entry else { continue };
        cache.store(&request, &answer, freshness, now);
        if let Some(client) = client {
            cache.note_client(&request, &client, true);
        }
    }
    unreachable!("a file has an end")
}

/// The next line, without its end. A line without an end was cut off, and is damaged.
fn next(lines: &mut impl BufRead) -> Result<Option<Vec<u8>>, ReadError> {
    let mut line = Vec::new();
    io::Read::take(lines, LONGEST_LINE).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        // No JSON, so that the caller names the line.
        Some(_) => Ok(Some(Vec::new())),
    }
}

/// Reads one line; its answer is older by `age` now. `None` where the line is damaged, `Some(None)`
/// where this version of the library does not take the request or the body: another version has
/// written the file.
fn entry(line: &[u8], age: Duration) -> Option<Option<Entry>> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let bytes = |value: &Value| hex::decode(value.as_str()?).ok();
    let sub_options = line["sub-options"].as_object()?.iter();
    let sub_options = sub_options.map(|(code, value)| Some((code.parse().ok()?, bytes(value)?)));
    let values = line["query"].as_object()?.iter();
    let values = values.map(|(name, value)| Some((Arc::from(name.as_str()), bytes(value)?)));
    let sub_options: SubOptions = sub_options.collect::<Option<_>>()?;
    let request = Request::new(sub_options, values.collect::<Option<_>>()?);
    let fresh_for = Duration::from_millis(line["fresh-for"].as_u64()?);
    let stale_for = Duration::from_millis(line["stale-for"].as_u64()?);
    let freshness = Freshness {
        fresh_for: fresh_for.saturating_sub(age),
        stale_for: stale_for.saturating_sub(age.saturating_sub(fresh_for)),
    };
    let body = bytes(&line["body"])?;
    // An earlier version took empty sub-options for a name.
    let Some(request) = request.map(Arc::new) else { return Some(None) };
    // An empty body stands for a status that says "nothing for this client".
    let answer = if body.is_empty() { Ok(Answer::default()) } else { answer::parse(&body) };
    // Files of earlier versions do not say who gave an answer.
    let at = line["given"]["at"].as_u64();
    let at = at.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at)));
    let given = match (line["given"]["by"].as_str(), at) {
        (Some(by), Some(at)) => Given::By { by: by.into(), at },
        _ => Given::Unknown,
    };
    // Nor do they have clients.
    let client = bytes(&line["client"]).map(Arc::from);
    Some(answer.ok().map(|answer| {
        let answer = Arc::new(Answer { given, ..answer });
        Entry { request, answer, freshness, client }
    }))
}

/// Puts a file that cannot be read out of the way, for a look at it. Returns its new name. The
/// error is the system's.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, "unreadable");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// A path in the same folder, with one more extension.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cache::{Known, Transaction};

    const HOUR: Duration = Duration::from_secs(3600);
    const BODY: &[u8] = br#"{"client-classes": ["rpi4"]}"#;

    /// A path in a folder that ends with the value.
    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        (folder, path)
    }

    fn request(number: u8) -> Arc<Request> {
        let values = vec![(Arc::from("mac"), vec![number, 0, 255])];
        Arc::new(Request::new(vec![(1, vec![number]), (9, Vec::new())], values).unwrap())
    }

    fn entry_of(number: u8, fresh_for: Duration, stale_for: Duration) -> Entry {
        let freshness = Freshness { fresh_for, stale_for };
        let answer = Arc::new(answer::parse(BODY).unwrap());
        Entry { request: request(number), answer, freshness, client: None }
    }

    fn origin(service: &str) -> Origin {
        Origin { services: vec![service.to_owned()], query: BTreeMap::new() }
    }

    fn write(path: &Path, entries: &[Entry]) -> io::Result<usize> {
        super::write(path, &origin("http://a/"), entries)
    }

    fn read(path: &Path, cache: &mut Cache) -> Result<Option<usize>, ReadError> {
        super::read(path, &origin("http://a/"), cache)
    }

    fn transaction() -> Transaction {
        Transaction { client: Arc::new([1]), xid: 1, continues: false }
    }

    #[test]
    fn a_path_of_something_else_than_a_file_is_refused() {
        let (folder, path) = path();
        check(&path).unwrap();
        check(Path::new("/missing/cache")).unwrap();
        for other in [folder.path(), Path::new("/dev/null")] {
            let error = check(other).unwrap_err().to_string();
            assert!(
                error.contains("\"cache-file\" cannot be ") && error.contains("no file"),
                "{error}"
            );
        }
        write(&path, &[]).unwrap();
        check(&path).unwrap();
    }

    #[test]
    fn answers_survive_with_their_lives() {
        let (_folder, path) = path();
        let nothing = Entry { answer: Arc::default(), ..entry_of(3, HOUR, HOUR) };
        let stale = entry_of(2, Duration::ZERO, HOUR);
        write(&path, &[entry_of(1, HOUR, HOUR), stale, nothing]).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut cache = Cache::new(10);
        assert_eq!(read(&path, &mut cache).unwrap(), Some(3));
        let now = Instant::now();
        let Some(Known::Answer(answer)) = cache.known(&request(1), &transaction(), now) else {
            panic!("no fresh answer");
        };
        assert_eq!(*answer.client_classes, ["rpi4"]);
        assert!(cache.known(&request(1), &transaction(), now + HOUR).is_none());
        assert!(cache.known(&request(2), &transaction(), now).is_none());
        assert!(cache.stale(&request(2), now).is_some());
        assert!(cache.stale(&request(2), now + HOUR).is_none());
        assert!(cache.stale(&request(3), now).unwrap().is_nothing());
        // What was read can be written again.
        assert_eq!(cache.entries(now).len(), 3);
    }

    /// Writes a file that says it was written at another time.
    fn written_at(path: &Path, time: SystemTime, entries: &[Entry]) {
        write(path, entries).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        let written = time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let Origin { services, query } = origin("http://a/");
        let head =
            json!({FORMAT: VERSION, "written": written, "services": services, "query": query});
        fs::write(path, format!("{head}\n{rest}")).unwrap();
    }

    #[test]
    fn the_client_that_has_an_address_is_known_after_a_restart() {
        let (_folder, path) = path();
        let address = std::net::Ipv4Addr::new(192, 0, 2, 77);
        let answer = Arc::new(answer::parse(br#"{"ip-address": "192.0.2.77"}"#).unwrap());
        let client: Arc<[u8]> = Arc::new([1, 2, 255]);
        write(&path, &[Entry { answer, client: Some(client), ..entry_of(1, HOUR, HOUR) }]).unwrap();
        let mut cache = Cache::new(10);
        read(&path, &mut cache).unwrap();
        let found = cache.request_of_client(address, &[1, 2, 255], Instant::now());
        assert_eq!(found, Some(&request(1)));
    }

    #[test]
    fn lives_go_on_by_the_wall_clock() {
        let (_folder, path) = path();
        let earlier = SystemTime::now() - HOUR - HOUR / 2;
        written_at(&path, earlier, &[entry_of(1, HOUR, HOUR), entry_of(2, HOUR, HOUR / 4)]);
        let mut cache = Cache::new(10);
        read(&path, &mut cache).unwrap();
        let now = Instant::now();
        assert!(cache.known(&request(1), &transaction(), now).is_none());
        assert!(cache.stale(&request(1), now + HOUR / 3).is_some());
        assert!(cache.stale(&request(1), now + HOUR / 2).is_none());
        assert!(cache.stale(&request(2), now).is_none());
    }

    #[test]
    fn answers_of_other_services_are_stale() {
        let (_folder, path) = path();
        write(&path, &[entry_of(1, HOUR, HOUR)]).unwrap();
        let mut cache = Cache::new(10);
        super::read(&path, &origin("http://b/"), &mut cache).unwrap();
        let now = Instant::now();
        assert!(cache.known(&request(1), &transaction(), now).is_none());
        assert!(cache.stale(&request(1), now).is_some());
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_answer_immortal() {
        let (_folder, path) = path();
        let later = SystemTime::now() + 1000 * HOUR;
        written_at(&path, later, &[entry_of(1, HOUR, Duration::ZERO)]);
        let mut cache = Cache::new(10);
        read(&path, &mut cache).unwrap();
        let now = Instant::now();
        assert!(cache.known(&request(1), &transaction(), now).is_some());
        assert!(cache.known(&request(1), &transaction(), now + HOUR).is_none());
    }

    #[test]
    fn other_files_are_refused_and_leave_the_cache_alone() {
        let (_folder, path) = path();
        assert_eq!(read(&path, &mut Cache::new(10)).unwrap(), None);
        write(&path, &[entry_of(1, HOUR, HOUR), entry_of(2, HOUR, HOUR)]).unwrap();
        let good = fs::read(&path).unwrap();
        let cut = |bytes: usize| good[..good.len() - bytes].to_vec();
        let newer = String::from_utf8(good.clone()).unwrap();
        let newer =
            newer.replace("\"remote-opts-cache\":1", "\"remote-opts-cache\":2").into_bytes();
        for (text, words) in [
            (Vec::new(), "no file of kept answers"),
            (b"\x00\x01".to_vec(), "no file of kept answers"),
            (b"{}\n".to_vec(), "no file of kept answers"),
            (newer, "version 2"),
            (cut(1), "line 3 is damaged"),
            (cut(40), "line 3 is damaged"),
            ([&good[..], b"{}\n"].concat(), "line 4 is damaged"),
        ] {
            fs::write(&path, text).unwrap();
            let mut cache = Cache::new(10);
            let error = read(&path, &mut cache).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(cache.is_empty());
        }
        let aside = set_aside(&path).unwrap();
        assert!(aside.exists() && !path.exists());
    }

    #[test]
    fn a_line_that_is_too_long_is_damaged() {
        let (_folder, path) = path();
        write(&path, &[entry_of(1, HOUR, HOUR)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let [head, line] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        // JSON may have spaces at its end.
        for (length, is_good) in [(LONGEST_LINE, true), (LONGEST_LINE + 1, false)] {
            let spaces = " ".repeat(length as usize - 1 - line.len());
            fs::write(&path, format!("{head}\n{line}{spaces}\n")).unwrap();
            let read = read(&path, &mut Cache::new(10));
            assert_eq!(read.is_ok(), is_good, "{read:?}");
        }
    }

    #[test]
    fn a_life_for_ever_stays_one() {
        let (_folder, path) = path();
        let longest = Duration::from_millis(u64::MAX);
        write(&path, &[entry_of(1, Duration::ZERO, longest + longest)]).unwrap();
        let mut cache = Cache::new(10);
        read(&path, &mut cache).unwrap();
        let [entry] = cache.entries(Instant::now()).try_into().unwrap();
        assert!(entry.freshness.stale_for > longest - HOUR, "{entry:?}");
    }

    #[test]
    fn an_answer_too_long_for_its_line_costs_no_other_answer() {
        let (_folder, path) = path();
        // The request of a client may have values as long as its packets are, under many names.
        let values =
            |number: usize| (0..number).map(|name| (name.to_string().into(), vec![0; 9000]));
        for (number, expected) in [(14, 3), (15, 2)] {
            let long = Request::new(vec![(1, vec![1])], values(number).collect()).unwrap();
            let long = Entry { request: Arc::new(long), ..entry_of(2, HOUR, HOUR) };
            let entries = [entry_of(1, HOUR, HOUR), long, entry_of(3, HOUR, HOUR)];
            assert_eq!(write(&path, &entries).unwrap(), expected);
            assert_eq!(read(&path, &mut Cache::new(10)).unwrap(), Some(expected));
        }
    }

    #[test]
    fn a_line_of_an_earlier_version_that_names_nobody_costs_no_other_line() {
        let (_folder, path) = path();
        write(&path, &[entry_of(1, HOUR, HOUR), entry_of(2, HOUR, HOUR)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let nameless = text.replace("\"01\"", "\"\"").replace("\"0100ff\"", "\"\"");
        assert_ne!(nameless, text);
        fs::write(&path, nameless).unwrap();
        let mut cache = Cache::new(10);
        read(&path, &mut cache).unwrap();
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_earlier_one() {
        let (folder, path) = path();
        write(&path, &[entry_of(1, HOUR, HOUR)]).unwrap();
        // A folder with an entry stands in the way of the new file.
        fs::create_dir_all(beside(&path, "new").join("x")).unwrap();
        assert!(write(&path, &[]).is_err());
        assert_eq!(read(&path, &mut Cache::new(10)).unwrap(), Some(1));
        assert!(write(&folder.path().join("missing/cache"), &[]).is_err());
    }
}
