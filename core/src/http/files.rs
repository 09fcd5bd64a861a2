// SPDX-License-Identifier: MPL-2.0
//! The files of TLS and the token file, which the parameters name. The client reads them at load,
//! and again when they have changed.
//!
//! An error names the parameter and the file, and never shows what the file holds.

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use native_tls::{Certificate, Identity};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use reqwest::header::HeaderValue;

use crate::config::parameter::{BEARER_TOKEN_FILE, CERT_FILE, KEY_FILE, Parameter, TRUST_ANCHOR};
use crate::config::{ConfigError, Settings};

/// How a file looked at one time. A file that was replaced or written looks otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    /// Device and file number, length, and the time of the last change in nanoseconds. `None` where
    /// there is no such file.
    seen: Option<[u64; 5]>,
}

/// How the files of the settings look now.
pub fn stamps(settings: &Settings) -> Vec<Stamp> {
    let certificate = settings.client_certificate.iter();
    let mut paths: Vec<_> =
        certificate.flat_map(|files| [files.cert_file.clone(), files.key_file.clone()]).collect();
    paths.extend(settings.bearer_token_file.clone());
    if let Some(anchor) = &settings.trust_anchor {
        let mut anchors = files(anchor).unwrap_or_else(|_| vec![anchor.clone()]);
        anchors.sort();
        paths.extend(anchors);
    }
    let stamp = |path: PathBuf| Stamp { seen: seen(&path), path };
    paths.into_iter().map(stamp).collect()
}

fn seen(path: &Path) -> Option<[u64; 5]> {
    let file = fs::metadata(path).ok()?;
    let (seconds, nanoseconds) = (file.mtime() as u64, file.mtime_nsec() as u64);
    Some([file.dev(), file.ino(), file.len(), seconds, nanoseconds])
}

/// Reads the certificate authorities of `trust-anchor`: a PEM file, or a folder of such files.
pub fn trust_anchors(path: &Path) -> Result<Vec<Certificate>, ConfigError> {
    let refused = |why: &dyn Display| refused(&TRUST_ANCHOR, path, why);
    let mut anchors = Vec::new();
    for file in files(path).map_err(|error| refused(&error))? {
        let pem = fs::read(&file)
            .map_err(|error| refused(&format_args!("{}: {error}", file.display())))?;
        // A folder may hold other files too.
        let certificates = X509::stack_from_pem(&pem).unwrap_or_default();
        let certificates = certificates
            .iter()
            .filter_map(|certificate| Certificate::from_der(&certificate.to_der().ok()?).ok());
        anchors.extend(certificates);
    }
    if anchors.is_empty() {
        return Err(refused(&"no PEM certificate is in it"));
    }
    Ok(anchors)
}

/// The path itself, or the files in it where it is a folder.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.is_file());
    Ok(files)
}

/// Whether one certificate authority of the system can be read, at least. The error says why not, in
/// the system's words where it has some. Looks where native-tls looks, which ignores what it cannot
/// read.
pub fn system_authority() -> Result<(), String> {
    let places = openssl_probe::probe();
    let in_file = places.cert_file.as_deref().map(one_authority);
    // OpenSSL finds an authority in a folder by a file name that is a hash, a dot and a number.
    let is_hashed = |file: &PathBuf| {
        file.extension()
            .is_some_and(|number| number.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    let in_folder = places.cert_dir.iter().map(|folder| {
        let files = files(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let found = files.iter().filter(|file| is_hashed(file)).map(|file| one_authority(file));
        first_good(found, || format!("{}: no certificate is in it", folder.display()))
    });
    first_good(in_file.into_iter().chain(in_folder), || "there are none".to_owned())
}

/// Whether a file begins with a certificate that can be read.
fn one_authority(file: &Path) -> Result<(), String> {
    let read = fs::read(file).and_then(|pem| Ok(X509::from_pem(&pem)?));
    read.map(drop).map_err(|error| format!("{}: {error}", file.display()))
}

/// Good if one of `all` is, else the first error. The error of no results is `nothing`.
fn first_good(
    all: impl Iterator<Item = Result<(), String>>,
    nothing: impl FnOnce() -> String,
) -> Result<(), String> {
    let mut first_error = None;
    for result in all {
        match result {
            Ok(()) => return Ok(()),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(nothing))
}

/// Reads the client certificate, with the certificates between it and its CA, and its key. Takes
/// every unencrypted PEM key.
pub fn identity(cert_file: &Path, key_file: &Path) -> Result<Identity, ConfigError> {
    let refused_cert = |why: &dyn Display| refused(&CERT_FILE, cert_file, why);
    let refused_key = |why: &dyn Display| refused(&KEY_FILE, key_file, why);
    let pem = fs::read(cert_file).map_err(|error| refused_cert(&error))?;
    let chain = X509::stack_from_pem(&pem).unwrap_or_default();
    let own = chain.first().ok_or_else(|| refused_cert(&"no PEM certificate is in it"))?;
    let certificate_key =
        own.public_key().map_err(|_| refused_cert(&"its certificate has no usable key"))?;

    let pem = fs::read(key_file).map_err(|error| refused_key(&error))?;
    let key =
        private_key(&pem).ok_or_else(|| refused_key(&"no PEM key without a password is in it"))?;
    if !certificate_key.public_eq(&key) {
        return Err(refused_key(&"it is not the key of the certificate in \"cert-file\""));
    }
    let chain: Vec<_> =
        chain.iter().filter_map(|certificate| certificate.to_pem().ok()).flatten().collect();
    let key = key.private_key_to_pem_pkcs8().map_err(|error| refused_key(&error))?;
    Identity::from_pkcs8(&chain, &key).map_err(|error| refused_cert(&error))
}

/// The unencrypted key of a PEM file.
fn private_key(pem: &[u8]) -> Option<PKey<Private>> {
    // Without a callback OpenSSL would ask for the key's password on Kea's terminal.
    PKey::private_key_from_pem_callback(pem, |_| Ok(0)).ok()
}

/// Reads the token, and makes it the value of the Authorization header (RFC 6750, section 2.1).
pub fn bearer(path: &Path) -> Result<HeaderValue, ConfigError> {
    let refused = |why: &dyn Display| refused(&BEARER_TOKEN_FILE, path, why);
    let file = fs::read(path).map_err(|error| refused(&error))?;
    let token = file.trim_ascii();
    let accepted = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.is_empty() {
        return Err(refused(&"it is empty"));
    }
    if !token.iter().all(accepted) {
        return Err(refused(&"what it holds is no token"));
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| refused(&"what it holds is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn refused(parameter: &Parameter, path: &Path, why: &dyn Display) -> ConfigError {
    ConfigError::refused(parameter, format!("{path:?}"), format_args!("({why})"))
}
