// SPDX-License-Identifier: MPL-2.0
//! The header fields of every request: the hook's own, and the fields of the parameters `headers`
//! and `bearer-token-file`.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use openssl::base64;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use super::files;
use crate::config::parameter::{BEARER_TOKEN_FILE, HEADERS};
use crate::config::{ConfigError, Settings};

/// Header fields that the HTTP client itself writes (RFC 9110, sections 7.6.1 and 8.6).
const CONNECTION: [&str; 5] =
    ["connection", "content-length", "te", "transfer-encoding", "upgrade"];

/// The product token of the User-Agent header (RFC 9110, section 10.1.5).
const PRODUCT: &str = concat!("kea-hook-remote-opts/", env!("CARGO_PKG_VERSION"));

/// The header fields of every request. Reads the token file. Errors show the names of header
/// fields, and never their values.
pub fn of_requests(settings: &Settings) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/json")),
        (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        (USER_AGENT, HeaderValue::from_static(PRODUCT)),
    ]);
    let given = checked(settings)?;
    if let Some(file) = &settings.bearer_token_file {
        if given.contains_key(AUTHORIZATION) {
            let other = "headers: Authorization".to_owned();
            return Err(ConfigError::Twice(BEARER_TOKEN_FILE.name.to_owned(), other));
        }
        headers.insert(AUTHORIZATION, files::bearer(file)?);
    }
    headers.extend(given);
    Ok(headers)
}

/// The Authorization header of the user name and password in a URL, byte for byte as the URL
/// encodes them (RFC 7617, section 2). `None` for a URL without either.
pub fn basic(url: &Url) -> Option<HeaderValue> {
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return None;
    }
    let user = percent_decode_str(user);
    let password = percent_decode_str(password.unwrap_or_default());
    let both: Vec<_> = user.chain([b':']).chain(password).collect();
    let mut value = HeaderValue::try_from(format!("Basic {}", base64::encode_block(&both))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The fields of the parameter `headers`.
fn checked(settings: &Settings) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (spelling, value) in &settings.headers {
        let shown = || format!("{{{}: …}}", Value::from(spelling.as_str()));
        let refused = |why: &str| ConfigError::refused(&HEADERS, shown(), why);
        let name = HeaderName::from_bytes(spelling.as_bytes())
            .map_err(|_| refused("(that is no name of a header)"))?;
        if CONNECTION.contains(&name.as_str()) {
            return Err(refused("(this header belongs to the connection)"));
        }
        let mut value = HeaderValue::from_bytes(value)
            .map_err(|_| refused("(its value holds characters that no header may hold)"))?;
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            return Err(refused("(this header is there twice)"));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings(parameters: &str) -> Settings {
        config::parse(&format!(r#"{{"url": "http://h/", {parameters}}}"#)).unwrap()
    }

    fn headers(fields: &str) -> Result<HeaderMap, ConfigError> {
        of_requests(&settings(&format!(r#""headers": {fields}"#)))
    }

    #[test]
    fn fields_are_checked_and_never_shown() {
        let good = headers(r#"{"X-Site": "fra1", "authorization": "Basic c2VjcmV0"}"#).unwrap();
        assert_eq!(good["x-site"], "fra1");
        assert!(good["x-site"].is_sensitive() && good["authorization"].is_sensitive());
        for (fields, words) in [
            (r#"{"X Site": "secret"}"#, "{\"X Site\": …} (that is no name of a header)"),
            (r#"{"X-Site": "sec\nret"}"#, "{\"X-Site\": …} (its value holds characters"),
            (r#"{"X-Site": "secret", "x-site": "secret"}"#, "twice"),
            (r#"{"Content-Length": "7"}"#, "belongs to the connection"),
        ] {
            let error = headers(fields).unwrap_err().to_string();
            assert!(error.starts_with("parameter \"headers\" cannot be "), "{error}");
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn one_authorization_is_enough() {
        let both = r#""bearer-token-file": "/t", "headers": {"Authorization": "x"}"#;
        let error = of_requests(&settings(both)).unwrap_err().to_string();
        assert!(error.contains("\"bearer-token-file\" is there twice"), "{error}");
    }

    #[test]
    fn fields_replace_the_hook_s_own() {
        let fields = headers(r#"{"user-agent": "kea", "accept": "text/plain"}"#).unwrap();
        assert_eq!(
            (&fields["user-agent"], &fields["accept"]),
            (&"kea".parse().unwrap(), &"text/plain".parse().unwrap())
        );
        let fields = headers("{}").unwrap();
        assert_eq!(fields["accept"], "application/json");
        assert!(fields["user-agent"].to_str().unwrap().starts_with("kea-hook-remote-opts/"));
    }
}
