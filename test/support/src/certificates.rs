// SPDX-License-Identifier: MPL-2.0
//! Certificates for services and for their clients. Each test makes its own.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod, SslRef, SslVerifyMode};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

/// A certificate and its key.
pub struct Identity {
    certificate: X509,
    /// The key of the certificate.
    pub key: PKey<Private>,
}

impl Identity {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("PEM")
    }

    /// The key as PEM, in the form of PKCS#8.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().expect("PEM")
    }
}

/// A certificate authority: signs the certificates of servers and clients.
pub struct Authority(Identity);

impl Authority {
    /// A new authority, whose certificate has this common name.
    pub fn new(name: &str) -> Authority {
        let key = elliptic_key();
        let mut builder = builder(name, &key);
        builder.set_issuer_name(&subject(name)).expect("an issuer");
        let authority = BasicConstraints::new().critical().ca().build().expect("basic constraints");
        builder.append_extension(authority).expect("an extension");
        let usage =
            KeyUsage::new().critical().key_cert_sign().crl_sign().build().expect("a key usage");
        builder.append_extension(usage).expect("an extension");
        builder.sign(&key, MessageDigest::sha256()).expect("a signature");
        Authority(Identity { certificate: builder.build(), key })
    }

    /// The authority's own certificate as PEM: what a `trust-anchor` holds.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.0.certificate_pem()
    }

    /// A certificate for a server. `host` is the host of its URL: an address or a name.
    pub fn server(&self, host: &str) -> Identity {
        let key = elliptic_key();
        self.server_of(builder("server", &key), key, host)
    }

    /// A certificate for a server that has expired a minute ago.
    pub fn expired_server(&self, host: &str) -> Identity {
        let key = elliptic_key();
        let mut builder = builder("server", &key);
        let minute_ago = Asn1Time::from_unix(now() - 60).expect("a time");
        builder.set_not_after(&minute_ago).expect("a time");
        self.server_of(builder, key, host)
    }

    fn server_of(&self, mut builder: X509Builder, key: PKey<Private>, host: &str) -> Identity {
        let mut names = SubjectAlternativeName::new();
        match host.parse::<IpAddr>() {
            Ok(_) => names.ip(host),
            Err(_) => names.dns(host),
        };
        let names =
            names.build(&builder.x509v3_context(Some(&self.0.certificate), None)).expect("names");
        builder.append_extension(names).expect("an extension");
        self.signed(builder, key)
    }

    /// A certificate for a client, of this common name and this key.
    pub fn client(&self, name: &str, key: PKey<Private>) -> Identity {
        self.signed(builder(name, &key), key)
    }

    fn signed(&self, mut builder: X509Builder, key: PKey<Private>) -> Identity {
        builder.set_issuer_name(self.0.certificate.subject_name()).expect("an issuer");
        builder.sign(&self.0.key, MessageDigest::sha256()).expect("a signature");
        Identity { certificate: builder.build(), key }
    }
}

/// A new key on the curve P-256.
pub fn elliptic_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

/// A new RSA key of 2048 bits.
pub fn rsa_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key")
}

fn subject(name: &str) -> X509Name {
    let mut subject = X509Name::builder().expect("a name");
    subject.append_entry_by_nid(Nid::COMMONNAME, name).expect("a common name");
    subject.build()
}

/// A certificate of this subject, valid for a day and not signed yet.
fn builder(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut serial = BigNum::new().expect("a number");
    serial.rand(127, MsbOption::MAYBE_ZERO, false).expect("a random number");
    let mut builder = X509::builder().expect("a certificate");
    builder.set_version(2).expect("version 3");
    builder
        .set_serial_number(&serial.to_asn1_integer().expect("a number"))
        .expect("a serial number");
    builder.set_subject_name(&subject(name)).expect("a subject");
    builder.set_pubkey(key).expect("a public key");
    // The clock may go back a little before the certificate is used.
    let hour_ago = Asn1Time::from_unix(now() - 3600).expect("a time");
    builder.set_not_before(&hour_ago).expect("a time");
    builder.set_not_after(&Asn1Time::days_from_now(1).expect("a time")).expect("a time");
    builder
}

fn now() -> i64 {
    let since = UNIX_EPOCH.elapsed().expect("a clock past 1970");
    since.as_secs().try_into().expect("a time")
}

/// The TLS of a server that shows the certificate of `identity`. With `clients`, the server takes
/// only clients that have a certificate of this authority.
pub(crate) fn acceptor(identity: &Identity, clients: Option<&Authority>) -> SslAcceptor {
    let mut builder =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("OpenSSL");
    builder.set_certificate(&identity.certificate).expect("a certificate");
    builder.set_private_key(&identity.key).expect("a key");
    builder.set_session_id_context(b"test").expect("a context for sessions");
    if let Some(Authority(clients)) = clients {
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        builder.cert_store_mut().add_cert(clients.certificate.clone()).expect("an authority");
    }
    builder.build()
}

/// The common name in the client's certificate. `None` where the client has shown none.
pub(crate) fn peer(ssl: &SslRef) -> Option<String> {
    let certificate = ssl.peer_certificate()?;
    let name = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next()?;
    name.data().to_string().ok()
}
