// SPDX-License-Identifier: MPL-2.0
//! The table of the library's parameters. Each parameter stands here once: the readers, the errors,
//! the documentation and the JSON Schema are made of this table.

use std::ops::RangeInclusive;

use crate::answer::length::FRAME;

/// One parameter of the library (`hooks-libraries[].parameters` in Kea's configuration).
#[derive(Debug)]
pub struct Parameter {
    /// The name, in kebab-case. A configuration may write `_` for `-`.
    pub name: &'static str,
    /// Another name of the parameter.
    pub alias: Option<&'static str>,
    /// The values that the parameter takes.
    pub takes: Takes,
    /// What the parameter is for, in Markdown, for the table of the documentation.
    pub meaning: &'static str,
}

/// The values that a parameter takes.
#[derive(Debug)]
pub enum Takes {
    /// URLs of services: one, or a list. Required.
    Urls {
        /// The longest list.
        most: usize,
    },
    /// Text that is not empty, or a list of such texts.
    Texts {
        /// The longest list.
        most: usize,
        /// A regular expression for each text, for the JSON Schema, where not every text can work.
        pattern: Option<&'static str>,
    },
    /// A Kea expression, as a client class has it.
    Expression,
    /// A map of names to Kea expressions.
    Expressions,
    /// A map of names of header fields to their values.
    Headers,
    /// The path of a file. The text says of which file, for errors.
    File(&'static str),
    /// A whole number.
    Number {
        /// What the number counts.
        unit: &'static str,
        /// The numbers accepted.
        range: RangeInclusive<u64>,
        /// The number where the configuration has none.
        default: u64,
    },
    /// One of several words. The first is the default.
    Choice(&'static [&'static str]),
    /// true or false. The default is false.
    Flag,
}

/// The most services that `url` names.
pub const MOST_SERVICES: usize = 16;

/// Seconds in a day.
const DAY: u64 = 24 * 3600;

/// Seconds in a year: the longest time that an answer may be kept.
const YEAR: u64 = 365 * 24 * 3600;

/// The services.
pub static URL: Parameter = Parameter {
    name: "url",
    alias: None,
    takes: Takes::Urls { most: MOST_SERVICES },
    meaning: "the service, http or https; or a list of up to 16 services, asked in this order. \
              `{name}` in it takes a value of `query`",
};
/// Admits clients by option 77.
pub static USER_CLASS: Parameter = Parameter {
    name: "user-class",
    alias: None,
    takes: Takes::Texts { most: 64, pattern: None },
    meaning: "look up clients whose option 77 equals this text, or one of these: the raw value, or \
              one of its RFC 3004 instances. A zero byte at the end of the client's value is ignored",
};
/// The values of `machine-guid`: up to 17 bytes as text, which does not begin with 0x, or as
/// hexadecimal digits.
const GUID: &str = "^([^0][\\s\\S]{0,16}|0([^xX][\\s\\S]{0,15})?|(0x)?([0-9A-Fa-f]{2}){1,17}\
                    |[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){0,16}\
                    |[0-9A-Fa-f]{1,2}( [0-9A-Fa-f]{1,2}){0,16}|-*([0-9A-Fa-f]{2}-*){1,17})$";

/// Admits clients by option 97.
pub static MACHINE_GUID: Parameter = Parameter {
    name: "machine-guid",
    alias: Some("machine-id"),
    takes: Takes::Texts { most: 64, pattern: Some(GUID) },
    meaning: "look up clients whose option 97 contains this, or one of these: as text (`RPi4`), in \
              hexadecimal (`52506934`, `0x52506934`, `52:50:69:34`, `52 50 69 34` or \
              `52-50-69-34`), or as a GUID with dashes, in either byte order",
};
/// Admits clients by an expression.
pub static MATCH: Parameter = Parameter {
    name: "match",
    alias: None,
    takes: Takes::Expression,
    meaning: "look up clients for which this Kea expression is true, in the language of \
              [client classes](https://kea.readthedocs.io/en/stable/arm/classify.html)",
};
/// Whether option 82 counts without a relay agent.
pub static REQUIRE_RELAY: Parameter = Parameter {
    name: "require-relay",
    alias: None,
    takes: Takes::Flag,
    meaning: "`true`: option 82 counts only in a packet that came through a relay agent (giaddr is \
              set), or where Kea has stashed it. See [Who may name a \
              client](#who-may-name-a-client)",
};
/// More values of the request.
pub static QUERY: Parameter = Parameter {
    name: "query",
    alias: None,
    takes: Takes::Expressions,
    meaning: "map of name → Kea expression: more values for the request",
};
/// The time of one lookup.
pub static TIMEOUT: Parameter = Parameter {
    name: "timeout",
    alias: None,
    // No DHCP client waits longer than ten minutes.
    takes: Takes::Number { unit: "milliseconds", range: 1..=600_000, default: 1000 },
    meaning: "milliseconds for one lookup, from the request to the end of the answer, all services \
              of `url` together",
};
/// Header fields of every request.
pub static HEADERS: Parameter = Parameter {
    name: "headers",
    alias: None,
    takes: Takes::Headers,
    meaning: "map of header fields that go with every request, for example `{\"X-Site\": \
              \"fra1\"}`. A field replaces the hook's own User-Agent or Accept. The values are \
              never logged",
};
/// The file of the bearer token.
pub static BEARER_TOKEN_FILE: Parameter = Parameter {
    name: "bearer-token-file",
    alias: None,
    takes: Takes::File("a file with a bearer token, of letters, digits and -._~+/="),
    meaning: "file with a token, sent as `Authorization: Bearer …` with every request and never \
              logged",
};
/// The certificate authorities that services are checked against.
pub static TRUST_ANCHOR: Parameter = Parameter {
    name: "trust-anchor",
    alias: None,
    takes: Takes::File("a PEM file of CA certificates, or a folder of such files"),
    meaning: "PEM file, or folder of such files, with the certificate authorities that https \
              services are checked against, in the place of the system's",
};
/// The client certificate.
pub static CERT_FILE: Parameter = Parameter {
    name: "cert-file",
    alias: None,
    takes: Takes::File("a PEM file with the client certificate of the key in \"key-file\""),
    meaning: "PEM file with the client certificate, and the certificates between it and its CA",
};
/// The key of the client certificate.
pub static KEY_FILE: Parameter = Parameter {
    name: "key-file",
    alias: None,
    takes: Takes::File("a PEM file with the unencrypted key of \"cert-file\""),
    meaning: "PEM file with the unencrypted key of the client certificate",
};
/// HTTP/2 to http URLs.
pub static HTTP2: Parameter = Parameter {
    name: "http2",
    alias: None,
    takes: Takes::Flag,
    meaning: "`true`: speak HTTP/2 to http URLs at once, without negotiation. With https the \
              service and the hook negotiate HTTP/2 in any case",
};
/// How long an answer is fresh.
pub static CACHE_TTL: Parameter = Parameter {
    name: "cache-ttl",
    alias: None,
    takes: Takes::Number { unit: "seconds", range: 0..=YEAR, default: 10 },
    meaning: "seconds that an answer is fresh, and used again, when the service does not say",
};
/// How many answers are kept.
pub static CACHE_SIZE: Parameter = Parameter {
    name: "cache-size",
    alias: None,
    takes: Takes::Number { unit: "answers", range: 0..=10_000_000, default: 10_000 },
    meaning: "answers kept, and as many answers with nothing for their client, each kind up to \
              about 96 MiB; the answer that was unused for longest is forgotten first",
};
/// Where kept answers survive a restart.
pub static CACHE_FILE: Parameter = Parameter {
    name: "cache-file",
    alias: None,
    takes: Takes::File("a file that Kea's user may write, in a folder that it may write"),
    meaning: "file in which kept answers survive a restart of Kea, a crash and a power failure. \
              Written on unload, and once a minute where the answers have changed",
};
/// How long a stale answer may serve.
pub static STALE_IF_ERROR: Parameter = Parameter {
    name: "stale-if-error",
    alias: None,
    takes: Takes::Number { unit: "seconds", range: 0..=YEAR, default: DAY },
    meaning: "seconds that a stale answer may serve wherever no fresh one can be had, when the \
              service does not say",
};
/// What a client gets whose lookup failed.
pub static ON_ERROR: Parameter = Parameter {
    name: "on-error",
    alias: None,
    takes: Takes::Choice(&["continue", "drop"]),
    meaning: "what a new client gets whose lookup failed: `continue`, its DHCP reply without \
              edits; `drop`, no reply, so that it asks again. A client that renews its lease gets \
              its reply in any case",
};
/// What a client gets whose answer is not there yet.
pub static ON_MISS: Parameter = Parameter {
    name: "on-miss",
    alias: None,
    takes: Takes::Choice(&["wait", "retry"]),
    meaning: "what a client gets whose answer is not there yet: `wait`, its packet waits for the \
              answer, parked, or, on a Kea that cannot park, in its thread; `retry`, no reply to \
              this DISCOVER: the client's next one finds the answer. A REQUEST is then answered \
              from what is known",
};
/// The concurrency limit.
pub static MAX_IN_FLIGHT: Parameter = Parameter {
    name: "max-in-flight",
    alias: None,
    takes: Takes::Number { unit: "lookups", range: 1..=1_000_000, default: 1024 },
    meaning: "concurrency limit: requests in flight at once; past it lookups stand in line",
};

/// The longest reply.
pub static MAX_REPLY_SIZE: Parameter = Parameter {
    name: "max-reply-size",
    alias: None,
    takes: Takes::Number { unit: "bytes", range: 548..=65_507, default: FRAME as u64 },
    meaning: "bytes of the longest DHCP message that edits may make. 1472 bytes fit into one \
              Ethernet frame. No reply gets longer than the client takes (its option 57)",
};

/// Every parameter, in the order of the documentation.
pub static PARAMETERS: [&Parameter; 21] = [
    &URL,
    &USER_CLASS,
    &MACHINE_GUID,
    &MATCH,
    &QUERY,
    &REQUIRE_RELAY,
    &TIMEOUT,
    &HEADERS,
    &BEARER_TOKEN_FILE,
    &TRUST_ANCHOR,
    &CERT_FILE,
    &KEY_FILE,
    &HTTP2,
    &CACHE_TTL,
    &CACHE_SIZE,
    &CACHE_FILE,
    &STALE_IF_ERROR,
    &ON_ERROR,
    &ON_MISS,
    &MAX_IN_FLIGHT,
    &MAX_REPLY_SIZE,
];

impl Parameter {
    /// In words: the values that the parameter takes. Ends an error that says "it takes …".
    pub fn accepted(&self) -> String {
        match &self.takes {
            Takes::Urls { most } => format!(
                "an http or https URL, or a list of 1 to {most} different ones, for example \
                 \"http://192.0.2.1/boot\""
            ),
            Takes::Texts { most, .. } => {
                format!("text that is not empty, or a list of 1 to {most} such texts")
            }
            Takes::Expression => "an expression of Kea's, as a client class has it".to_owned(),
            Takes::Expressions => "a map of names, of letters, digits and -._, to expressions, \
                                   for example {\"mac\": \"hexstring(pkt4.mac, ':')\"}"
                .to_owned(),
            Takes::Headers => "a map of header names to their text, for example {\"X-Site\": \
                               \"fra1\"}"
                .to_owned(),
            Takes::File(file) => (*file).to_owned(),
            Takes::Number { unit, range, .. } => {
                format!("a whole number of {unit} from {} to {}", range.start(), range.end())
            }
            Takes::Choice(words) => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Takes::Flag => "true or false".to_owned(),
        }
    }

    /// The value that counts where the configuration has none, as JSON. `None` where there is no
    /// such value: the parameter is required, or nothing happens without it.
    pub fn default(&self) -> Option<String> {
        match &self.takes {
            Takes::Number { default, .. } => Some(default.to_string()),
            Takes::Choice(words) => words.first().map(|word| format!("\"{word}\"")),
            Takes::Flag => Some("false".to_owned()),
            Takes::Expressions | Takes::Headers => Some("{}".to_owned()),
            Takes::Urls { .. } | Takes::Texts { .. } | Takes::Expression | Takes::File(_) => None,
        }
    }
}

/// The names of all parameters, for errors.
pub fn names() -> String {
    let named = |parameter: &&Parameter| match parameter.alias {
        Some(alias) => format!("{} (or {alias})", parameter.name),
        None => parameter.name.to_owned(),
    };
    PARAMETERS.iter().map(named).collect::<Vec<_>>().join(", ")
}
