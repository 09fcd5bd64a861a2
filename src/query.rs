// SPDX-License-Identifier: MPL-2.0
//! Packet → facts → admitted? → request.
//!
//! [`crate::packet_lookup`] calls it at pkt4_receive, in packet threads. Kea has classified the
//! query by then, and, from Kea 2.5.8 on, put a stashed option 82 back into it. Nothing of the
//! query is changed here.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use cxx::UniquePtr;
use remote_opts_core::cache::Transaction;
use remote_opts_core::config::{ConfigError, parameter};
use remote_opts_core::event::Label;
use remote_opts_core::filter::{self, Filter, message_type};
use remote_opts_core::hexadecimal;
use remote_opts_core::request::{self, Request, ServiceUrl, SubOptions};
use remote_opts_core::throttle::Throttle;

use crate::ffi::{self, Expression, Packet};
use crate::log::{
    REMOPTS_NOT_ADMITTED, REMOPTS_NOT_EVALUATED, REMOPTS_NOT_NAMED, REMOPTS_PATH_VALUE,
};

/// The code of the client identifier option (RFC 2132, section 9.14).
pub const CLIENT_IDENTIFIER: u8 = 61;

/// Whether a query's client is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A filter admits the client.
    Admitted,
    /// No filter admits the client.
    NotAdmitted,
    /// No client is looked up for a query of this message type.
    OtherMessageType,
}

/// Reads queries as one configuration says. Any packet thread.
pub struct QueryReader {
    filter: Filter,
    /// The parameter `match`.
    expression: Option<ParsedExpression>,
    /// The parameter `query`: the names of the values and their expressions.
    values: Vec<(Arc<str>, ParsedExpression)>,
    /// The parameter `require-relay`.
    require_relay: bool,
    /// The services, whose paths may have placeholders.
    services: Vec<ServiceUrl>,
    /// For lines about expressions that cannot be evaluated.
    not_evaluated: Throttle,
    /// For lines about values that would lead to another path.
    path_values: Throttle,
}

/// The expression of a parameter.
struct ParsedExpression {
    expression: UniquePtr<Expression>,
    /// Whether the expression reads option 82.
    reads_relay: bool,
}

impl ParsedExpression {
    /// Parses the expression of the parameter `name`. The error is Kea's, and says where the text
    /// goes wrong.
    fn new(name: &str, text: &str, boolean: bool) -> Result<Self, ConfigError> {
        let parsed = ffi::parse_expression(text, boolean);
        let expression = parsed.map_err(|exception| ConfigError::Expression {
            name: name.to_owned(),
            text: text.to_owned(),
            why: exception.what().to_owned(),
        })?;
        Ok(ParsedExpression { expression, reads_relay: reads_relay(text) })
    }
}

/// Whether an expression names option 82 in one of the ways of Kea's language. A client class that it
/// names may read option 82, too: this is not looked into.
fn reads_relay(expression: &str) -> bool {
    let dense: String = expression.split_whitespace().collect();
    let options = dense.split("option[").skip(1).filter_map(|rest| rest.split(']').next());
    let is_relay =
        |name: &str| name.trim_start_matches('0') == "82" || name == "dhcp-agent-options";
    dense.contains("relay4[") || options.into_iter().any(is_relay)
}

impl QueryReader {
    /// Parses the expressions of the parameters `match` (in `filter`) and `query`. `services` are
    /// the services that are asked, `require_relay` is the parameter of this name. The error names
    /// the parameter and says what Kea does not take. Only while Kea loads its configuration.
    pub fn new(
        filter: Filter,
        query: &BTreeMap<String, String>,
        services: Vec<ServiceUrl>,
        require_relay: bool,
    ) -> Result<Self, ConfigError> {
        let expression = filter.expression.as_deref();
        let expression = expression
            .map(|text| ParsedExpression::new(parameter::MATCH.name, text, true))
            .transpose()?;
        let values = query.iter().map(|(name, text)| {
            let expression = ParsedExpression::new(&value_parameter(name), text, false)?;
            Ok((name.as_str().into(), expression))
        });
        let values = values.collect::<Result<_, ConfigError>>()?;
        let (not_evaluated, path_values) = (Throttle::default(), Throttle::default());
        Ok(QueryReader {
            filter,
            expression,
            values,
            require_relay,
            services,
            not_evaluated,
            path_values,
        })
    }

    /// Whether this query's client is looked up. The error is an exception of Kea's.
    pub fn admission(&self, query: &Packet) -> Result<Admission, cxx::Exception> {
        if !filter::is_looked_up(query.message_type()?) {
            return Ok(Admission::OtherMessageType);
        }
        let read =
            |is_compared: bool, code| if is_compared { option(query, code) } else { Ok(None) };
        let user_class = read(!self.filter.user_class.is_empty(), filter::USER_CLASS)?;
        let machine_id = read(!self.filter.machine_guid.is_empty(), filter::MACHINE_ID)?;
        let admitted = self.filter.admits(user_class.as_deref(), machine_id.as_deref())
            || self.matches(query)?;
        Ok(if admitted { Admission::Admitted } else { Admission::NotAdmitted })
    }

    /// Whether the parameter `match` is true of this query. An expression that cannot be evaluated
    /// counts as false, and so does one that reads an option 82 that does not count.
    fn matches(&self, query: &Packet) -> Result<bool, cxx::Exception> {
        let Some(ParsedExpression { expression, reads_relay }) = &self.expression else {
            return Ok(false);
        };
        if *reads_relay && !self.relay_counts(query)? {
            return Ok(false);
        }
        Ok(expression.is_true(query).unwrap_or_else(|exception| {
            self.log_not_evaluated(parameter::MATCH.name, query, &exception);
            false
        }))
    }

    /// Whether the query's option 82 counts, or the query has none: see the parameter
    /// `require-relay`. Without the parameter, it counts in any packet, as the first library of this
    /// kind had it.
    fn relay_counts(&self, query: &Packet) -> Result<bool, cxx::Exception> {
        Ok(!self.require_relay
            || query.has_relay_address()?
            || query.has_stashed_relay()?
            || !query.has_option(request::RELAY_AGENT_INFORMATION)?)
    }

    /// The sub-options of option 82 that name this query's client. The error is an exception of
    /// Kea's.
    pub fn sub_options(&self, query: &Packet) -> Result<SubOptions, cxx::Exception> {
        if self.relay_counts(query)? { sub_options(query) } else { Ok(SubOptions::default()) }
    }

    /// What to ask about this query's client, which these sub-options of option 82 name; `None` when
    /// nothing names it. The error is an exception of Kea's.
    pub fn request(
        &self,
        query: &Packet,
        sub_options: SubOptions,
    ) -> Result<Option<Arc<Request>>, cxx::Exception> {
        let relay_counts = self.relay_counts(query)?;
        let mut values = Vec::with_capacity(self.values.len());
        for (name, ParsedExpression { expression, reads_relay }) in &self.values {
            if *reads_relay && !relay_counts {
                continue;
            }
            let mut value = Vec::new();
            if let Err(exception) = expression.read(query, &mut value) {
                self.log_not_evaluated(&value_parameter(name), query, &exception);
            }
            // An expression that cannot be evaluated has an empty value, which the request leaves
            // out.
            values.push((Arc::clone(name), value));
        }
        Ok(Request::new(sub_options, values).map(Arc::new))
    }

    /// Logs why this query's client is not looked up: `request` must not be made, or nothing names
    /// the client. The error is an exception of Kea's.
    pub fn log_not_looked_up(
        &self,
        query: &Packet,
        request: Option<&Request>,
    ) -> Result<(), cxx::Exception> {
        match request {
            None => return self.log_not_named(query),
            Some(request) => {
                let error = self.path_error(request);
                if let (Some(error), Some(held_back)) = (error, self.path_values.pass()) {
                    REMOPTS_PATH_VALUE.warn([&label(query), &format_args!("{error}{held_back}")]);
                }
            }
        }
        Ok(())
    }

    /// Logs that nothing names this query's client, and what is missing. The error is an exception of
    /// Kea's.
    fn log_not_named(&self, query: &Packet) -> Result<(), cxx::Exception> {
        if !REMOPTS_NOT_NAMED.debug_enabled() {
            return Ok(());
        }
        let missing = if !self.relay_counts(query)? {
            "its option 82 came without a relay agent, and require-relay is true"
        } else if sub_options(query)?.is_empty() {
            "it has no sub-option 1, 2 or 9 of option 82"
        } else {
            "its sub-options 1, 2 and 9 of option 82 are empty"
        };
        let values = if self.values.is_empty() { "" } else { ", and no value of query" };
        REMOPTS_NOT_NAMED.debug([&label(query), &format_args!("{missing}{values}")]);
        Ok(())
    }

    /// The services, in the order of the parameter `url`.
    pub fn services(&self) -> &[ServiceUrl] {
        &self.services
    }

    /// Why no client is looked up with this request: see [`Request::path_error`]. Any thread.
    pub fn path_error(&self, request: &Request) -> Option<request::UrlError> {
        request.path_error(&self.services)
    }

    /// The query's place in its DHCP exchange, and its name in the log. The error is an exception of
    /// Kea's.
    pub fn transaction(&self, query: &Packet) -> Result<(Transaction, Label), cxx::Exception> {
        let mut client = Vec::with_capacity(32);
        query.read_hardware_address(&mut client)?;
        let hardware_length = client.len();
        let has_identifier = query.read_option(CLIENT_IDENTIFIER, &mut client)?;
        let (client, xid) = (Arc::<[u8]>::from(client), query.transaction_id()?);
        let label =
            PacketLabel { client: Arc::clone(&client), hardware_length, has_identifier, xid };
        let is_request = query.message_type()? == message_type::REQUEST;
        let continues = is_request && !query.has_client_address()?;
        Ok((Transaction { client, xid, continues }, Arc::new(label)))
    }

    fn log_not_evaluated(&self, parameter: &str, query: &Packet, exception: &cxx::Exception) {
        if let Some(held_back) = self.not_evaluated.pass() {
            REMOPTS_NOT_EVALUATED
                .warn([&label(query), &format_args!("{parameter}: {exception}{held_back}")]);
        }
    }
}

/// How errors and log lines name the expression of one value of the parameter `query`.
fn value_parameter(name: &str) -> String {
    format!("{}: {name}", parameter::QUERY.name)
}

/// The sub-options of option 82 that name a client.
fn sub_options(query: &Packet) -> Result<SubOptions, cxx::Exception> {
    let mut sub_options = SubOptions::default();
    for code in request::SUB_OPTIONS {
        let read = |payload: &mut _| {
            query.read_sub_option(request::RELAY_AGENT_INFORMATION, code, payload)
        };
        sub_options.add(code, read)?;
    }
    Ok(sub_options)
}

/// Logs that no filter admits this query's client, with the facts that the filters compare.
pub fn log_not_admitted(query: &Packet) {
    if REMOPTS_NOT_ADMITTED.debug_enabled() {
        REMOPTS_NOT_ADMITTED.debug([&label(query), &compared(query)]);
    }
}

/// The facts of a query that the filters compare, in words.
pub fn compared(query: &Packet) -> String {
    let shown = |code, show: fn(&[u8]) -> String| match option(query, code) {
        Ok(Some(value)) => show(&value),
        _ => "none".to_owned(),
    };
    let user_class = shown(filter::USER_CLASS, |value| format!("\"{}\"", value.escape_ascii()));
    // In digits that the parameter machine-guid takes.
    let machine_id = shown(filter::MACHINE_ID, hexadecimal::encode);
    format!("option 77 is {user_class}, option 97 is {machine_id}")
}

/// How Kea's own log names a packet. Costs a text, so it is for lines that are written.
pub fn label(packet: &Packet) -> String {
    packet.label().unwrap_or_else(|exception| format!("[{exception}]"))
}

/// The payload of an option; `None` when the packet does not have it.
fn option(packet: &Packet, code: u8) -> Result<Option<Vec<u8>>, cxx::Exception> {
    let mut payload = Vec::new();
    Ok(packet.read_option(code, &mut payload)?.then_some(payload))
}

/// How Kea's own log names a packet, for lines that are written when the packet is out of reach.
/// Shown, it becomes text; any thread.
struct PacketLabel {
    /// The hardware type and address, then the client identifier.
    client: Arc<[u8]>,
    /// How many bytes of `client` are the hardware type and address.
    hardware_length: usize,
    has_identifier: bool,
    /// The transaction id.
    xid: u32,
}

impl Display for PacketLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (hardware, identifier) = self.client.split_at(self.hardware_length);
        match ffi::packet_label(hardware, self.has_identifier, identifier, self.xid) {
            Ok(label) => formatter.write_str(&label),
            Err(exception) => write!(formatter, "[{exception}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_read_option_82() {
        for text in [
            "relay4[1].hex == 'a'",
            "option [ 082 ].exists",
            "not option[dhcp-agent-options].exists",
        ] {
            assert!(reads_relay(text), "{text}");
        }
        for text in ["option[182].hex", "option[60].hex == '82'", "pkt4.mac", "member('relay4')"] {
            assert!(!reads_relay(text), "{text}");
        }
    }

    #[test]
    fn a_packet_is_named_as_kea_names_it() {
        let client: Arc<[u8]> = Arc::new([1, 2, 0, 0, 0, 0, 9, 0xff, 1, 2]);
        let label = |has_identifier, length| {
            let client = client[..length].into();
            PacketLabel { client, hardware_length: 7, has_identifier, xid: 0x1234 }.to_string()
        };
        assert_eq!(label(true, 10), "[hwtype=1 02:00:00:00:00:09], cid=[ff:01:02], tid=0x1234");
        assert_eq!(label(false, 7), "[hwtype=1 02:00:00:00:00:09], cid=[no info], tid=0x1234");
    }

    #[test]
    fn an_error_names_the_expression_and_says_what_kea_does_not_take() {
        let filter = Filter { expression: Some("option[".into()), ..Filter::default() };
        let no_values = BTreeMap::new();
        let error = |filter, values| {
            QueryReader::new(filter, values, Vec::new(), false).err().unwrap().to_string()
        };
        let of_match = error(filter, &no_values);
        assert!(of_match.contains("\"match\"") && of_match.contains("option["), "{of_match}");
        let values = BTreeMap::from([("mac".to_owned(), "pkt4.mac ==".to_owned())]);
        let of_query = error(Filter::default(), &values);
        assert!(
            of_query.contains("\"query: mac\"") && of_query.contains("pkt4.mac =="),
            "{of_query}"
        );
    }
}
