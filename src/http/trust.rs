//! Which servers are trusted: by a given authority, by `SSL_CERT_FILE` and `SSL_CERT_DIR`, or by
//! the host's trust store.

use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;

/// The files in which distributions keep the host's authorities.
const BUNDLES: [&str; 7] = [
    // Debian, Alpine, Arch, Gentoo
    "/etc/ssl/certs/ca-certificates.crt",
    // EL 7 and later, Fedora
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    // SUSE
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    // Alpine, and other systems
    "/etc/ssl/cert.pem",
];
/// The directory with one file per authority.
const DIRECTORY: &str = "/etc/ssl/certs";

/// How servers' certificates are checked.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// A PEM file with authorities, instead of the host's.
    pub ca: Option<PathBuf>,
    /// Whether certificates are not checked.
    pub insecure: bool,
    /// The client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Trust {
    /// Trusts the given authority, or else the host's authorities.
    #[must_use]
    pub fn named(ca: Option<&Path>) -> Self {
        Self { ca: ca.map(Path::to_owned), ..Self::default() }
    }

    pub(super) fn config(&self) -> Result<TlsConfig> {
        let mut builder = TlsConfig::builder().disable_verification(self.insecure);
        if !self.insecure {
            builder = builder.root_certs(self.roots()?);
        }
        if let Some((certificate, key)) = &self.client {
            let chain = certificates(certificate, ExitCode::Recipe)?;
            let key = items(key, ExitCode::Recipe)?
                .into_iter()
                .find_map(|item| if let PemItem::PrivateKey(key) = item { Some(key) } else { None })
                .ok_or_else(|| {
                    Failure::new(
                        ExitCode::Recipe,
                        format!("reading {}: it contains no private key", key.display()),
                    )
                })?;
            let key: PrivateKey<'static> = key;
            builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(builder.build())
    }

    fn roots(&self) -> Result<RootCerts> {
        if let Some(ca) = &self.ca {
            return Ok(RootCerts::new_with_certs(&certificates(ca, ExitCode::Recipe)?));
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let host = || BUNDLES.iter().map(Path::new).find(|path| path.is_file());
        let mut found = match (variable("SSL_CERT_FILE"), host()) {
            (Some(file), _) => certificates(Path::new(&file), ExitCode::Host)?,
            (None, Some(bundle)) => certificates(bundle, ExitCode::Host)?,
            (None, None) => certificates_in(Path::new(DIRECTORY)),
        };
        // In addition. As in OpenSSL, colons separate several directories.
        found.extend(
            variable("SSL_CERT_DIR")
                .iter()
                .flat_map(std::env::split_paths)
                .flat_map(|place| certificates_in(&place)),
        );
        // If the host has no authorities, as in a small container, use Mozilla's, which are
        // compiled in.
        Ok(if found.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&found) })
    }
}

/// The certificates of a directory. Like OpenSSL, reads the files with hashes as names; without
/// any such file, reads all.
fn certificates_in(place: &Path) -> Vec<Certificate<'static>> {
    let files: Vec<PathBuf> = std::fs::read_dir(place)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    let (hashed, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split_once('.')
            .is_some_and(|(hash, number)| hash.len() == 8 && number.parse::<u8>().is_ok())
    });
    let files = if hashed.is_empty() { others } else { hashed };
    files
        .iter()
        .filter(|path| path.is_file())
        .filter_map(|path| certificates(path, ExitCode::Host).ok())
        .flatten()
        .collect()
}

fn certificates(path: &Path, code: ExitCode) -> Result<Vec<Certificate<'static>>> {
    let found: Vec<Certificate<'static>> = items(path, code)?
        .into_iter()
        .filter_map(|item| {
            if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None }
        })
        .collect();
    if found.is_empty() {
        return Err(Failure::new(
            code,
            format!("reading the authorities {}: the file contains no certificate", path.display()),
        )
        .hint("the file must be PEM: lines between BEGIN CERTIFICATE and END CERTIFICATE")
        .into());
    }
    Ok(found)
}

fn items(path: &Path, code: ExitCode) -> Result<Vec<PemItem<'static>>> {
    let doing = || format!("reading the certificates {}", path.display());
    let text = files::read(path, files::TEXT).or_fail(code, doing())?;
    parse_pem(&text).collect::<std::result::Result<_, _>>().or_fail(code, doing())
}
