// SPDX-License-Identifier: MPL-2.0
//! The policy for the URLs of services: which URLs the parameter `url` takes.

use std::collections::BTreeMap;
use std::slice;

use serde_json::Value;
use url::Url;

use super::error::ConfigError;
use super::given::Given;
use super::kea_text;
use super::parameter::{Takes, URL};
use crate::request::ServiceUrl;

/// Takes the parameter `url`: at least one service. A placeholder `{name}` must name an expression
/// of the parameter `query`.
pub fn take(
    given: &mut Given,
    query: &BTreeMap<String, String>,
) -> Result<Vec<ServiceUrl>, ConfigError> {
    let Takes::Urls { most } = URL.takes else {
        unreachable!("url takes URLs");
    };
    let Some(value) = given.take(&URL) else {
        return Err(ConfigError::missing(&URL));
    };
    let list = match &value {
        Value::Array(list) if (1..=most).contains(&list.len()) => list.as_slice(),
        // The error does not show the list, which may be long and hold passwords.
        Value::Array(list) => {
            return Err(ConfigError::refused(&URL, format!("a list of {}", list.len()), ""));
        }
        one => slice::from_ref(one),
    };
    let mut services = Vec::new();
    for value in list {
        let service = service(value, query).map_err(|why| refused(value, &why))?;
        if services.contains(&service) {
            return Err(refused(value, "(it is in the list twice)"));
        }
        services.push(service);
    }
    Ok(services)
}

/// One service's URL. The error says what is wrong, or nothing where that is plain.
fn service(value: &Value, query: &BTreeMap<String, String>) -> Result<ServiceUrl, String> {
    let text = value.as_str().ok_or_else(String::new)?;
    let text = kea_text::utf8(text).ok_or("(not UTF-8)")?;
    let url = Url::parse(&text).map_err(|error| format!("({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(String::new());
    }
    if url.host_str().is_some_and(|host| host.contains('{')) {
        return Err("(a {name} can stand in the path and the query alone)".to_owned());
    }
    let service = ServiceUrl::new(url);
    if let Some(name) = service.names().find(|name| !query.contains_key(*name)) {
        return Err(format!("({{{name}}} is no name in \"query\")"));
    }
    Ok(service)
}

fn refused(value: &Value, why: &str) -> ConfigError {
    ConfigError::refused(&URL, without_credentials(kea_text::shown(value)), why)
}

/// The JSON of a URL, well-formed or not, less everything that may be a user name or password.
fn without_credentials(shown: String) -> String {
    match shown.rfind('@') {
        Some(at) => format!("\"…{}", &shown[at..]),
        None => shown,
    }
}
