//! TLS material, and the bearer token, from the files that the parameters name. Read once, at load.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use native_tls::{Certificate, Identity};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::parameters::{BEARER_TOKEN_FILE, CERT_FILE, KEY_FILE, ParameterError, TRUST_ANCHOR};

/// How https backends are checked, and what they are shown.
#[derive(Default)]
pub struct Tls {
    /// The only certificate authorities trusted; `None`: those of the system.
    pub anchors: Option<Vec<Certificate>>,
    /// The client certificate with its key.
    pub identity: Option<Identity>,
}

/// Reads what `trust-anchor` names: a PEM file of certificates, or a folder of such files.
pub fn trust_anchors(path: &Path) -> Result<Vec<Certificate>, ParameterError> {
    let refused = |why: &dyn std::fmt::Display| {
        refused(TRUST_ANCHOR, path, why, "a PEM file of CA certificates, or a folder of such files")
    };
    let mut anchors = Vec::new();
    for file in files(path).map_err(|error| refused(&error))? {
        let pem = fs::read(&file).map_err(|error| refused(&format_args!("{}: {error}", file.display())))?;
        // A folder may hold other files beside.
        let certificates = X509::stack_from_pem(&pem).unwrap_or_default();
        anchors.extend(
            certificates
                .iter()
                .filter_map(|certificate| Certificate::from_der(&certificate.to_der().ok()?).ok()),
        );
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
    let mut files: Vec<_> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.is_file());
    Ok(files)
}

/// Reads the client certificate, with those between it and its CA, and its key. Any unencrypted PEM key is taken.
pub fn identity(cert_file: &Path, key_file: &Path) -> Result<Identity, ParameterError> {
    let refused_cert = |why: &dyn std::fmt::Display| {
        refused(CERT_FILE, cert_file, why, "a PEM file with the client certificate")
    };
    let refused_key = |why: &dyn std::fmt::Display| {
        refused(KEY_FILE, key_file, why, "a PEM file with the unencrypted key of \"cert-file\"")
    };
    let pem = fs::read(cert_file).map_err(|error| refused_cert(&error))?;
    let chain = X509::stack_from_pem(&pem).unwrap_or_default();
    let own = chain.first().ok_or_else(|| refused_cert(&"no PEM certificate is in it"))?;
    let certificate_key = own.public_key().map_err(|_| refused_cert(&"its certificate has no usable key"))?;

    let pem = fs::read(key_file).map_err(|error| refused_key(&error))?;
    let key = private_key(&pem).ok_or_else(|| refused_key(&"no PEM key without a password is in it"))?;
    if !certificate_key.public_eq(&key) {
        return Err(refused_key(&"it is not the key of the certificate in \"cert-file\""));
    }
    let chain: Vec<_> = chain.iter().filter_map(|certificate| certificate.to_pem().ok()).flatten().collect();
    let key = key.private_key_to_pem_pkcs8().map_err(|error| refused_key(&error))?;
    Identity::from_pkcs8(&chain, &key).map_err(|error| refused_cert(&error))
}

fn private_key(pem: &[u8]) -> Option<PKey<Private>> {
    // Without this, OpenSSL would ask for the password on Kea's terminal.
    PKey::private_key_from_pem_callback(pem, |_| Ok(0)).ok()
}

/// Reads the token, and makes the value of the Authorization header of it (RFC 6750, section 2.1). The token is in no
/// error.
pub fn bearer(path: &Path) -> Result<HeaderValue, ParameterError> {
    let refused = |why: &dyn std::fmt::Display| {
        refused(BEARER_TOKEN_FILE, path, why, "a file with a bearer token, of letters, digits and -._~+/=")
    };
    let file = fs::read(path).map_err(|error| refused(&error))?;
    let token = file.trim_ascii();
    let accepted = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.is_empty() || !token.iter().all(accepted) {
        return Err(refused(&if token.is_empty() { "it is empty" } else { "what it holds is no token" }));
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| refused(&"what it holds is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn refused(
    name: &'static str,
    path: &Path,
    why: &dyn std::fmt::Display,
    accepted: &'static str,
) -> ParameterError {
    ParameterError::NotAccepted { name, value: format!("{path:?}"), why: format!(" ({why})"), accepted }
}
