//! Adds certificate authorities that the image must trust. Ironic's `%post` calls back over TLS,
//! and nothing can be added later.

use anyhow::Context;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::sandbox::{InstallRoot, Kind};

/// How a distribution accepts local authorities: their directory, the program that rebuilds the
/// bundle, and the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustStore {
    /// The directory of local authorities.
    pub anchors: &'static str,
    /// The file name suffix that the program expects.
    pub suffix: &'static str,
    /// The program with its arguments.
    pub command: &'static [&'static str],
    /// The possible bundles; one of them must contain the authority afterwards.
    pub bundles: &'static [&'static str],
}

/// EL and Fedora (update-ca-trust(8)), then Debian's layout (update-ca-certificates(8)).
const STORES: [TrustStore; 2] = [
    TrustStore {
        anchors: "etc/pki/ca-trust/source/anchors",
        suffix: "pem",
        command: &["/usr/bin/update-ca-trust", "extract"],
        bundles: &["etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/pki/tls/certs/ca-bundle.crt"],
    },
    TrustStore {
        anchors: "usr/local/share/ca-certificates",
        suffix: "crt",
        command: &["/usr/sbin/update-ca-certificates"],
        bundles: &["etc/ssl/certs/ca-certificates.crt"],
    },
];

/// The image's trust store.
///
/// # Errors
/// If the image has none; the hint names the package to install.
pub fn store(root: &InstallRoot) -> Result<TrustStore> {
    for store in STORES {
        let program = store.command.first().copied().unwrap_or_default();
        if matches!(root.kind(Path::new(program))?, Some(Kind::File | Kind::Link)) {
            return Ok(store);
        }
    }
    Err(Failure::new(
        ExitCode::Transaction,
        "the image cannot import certificates: update-ca-trust and update-ca-certificates are \
         missing",
    )
    .hint("add ca-certificates to the recipe")
    .into())
}

/// Copies the certificates into the image's directory for them. The store's command must run
/// afterwards, inside the sandbox.
///
/// # Errors
/// If a file is not a PEM certificate, or cannot be written.
pub fn add(root: &InstallRoot, store: TrustStore, certificates: &[PathBuf]) -> Result<Vec<String>> {
    let mut bodies = Vec::new();
    root.directory(Path::new(store.anchors), 0o755)?;
    for path in certificates {
        let text = files::read_text(path, files::TEXT).with_context(|| format!("reading certificate {}", path.display()))?;
        let body = first_certificate(&text).ok_or_else(|| {
            Failure::new(ExitCode::Recipe, format!("{} does not contain a PEM certificate", path.display()))
                .hint("it must have a line -----BEGIN CERTIFICATE-----")
        })?;
        bodies.push(body.to_owned());
        let stem = path.file_stem().map_or_else(|| "authority".into(), |s| s.to_string_lossy().into_owned());
        root.write(&Path::new(store.anchors).join(format!("{stem}.{}", store.suffix)), text.as_bytes(), 0o644)?;
    }
    Ok(bodies)
}

/// Checks that the bundle contains every certificate.
///
/// # Errors
/// If one is missing although the store's command ran.
pub fn check(root: &InstallRoot, store: TrustStore, bodies: &[String]) -> Result<()> {
    let strip = |text: &str| text.split_whitespace().collect::<String>();
    for bundle in store.bundles {
        if let Some(bytes) = root.read(Path::new(bundle), 64 << 20)? {
            let bundle_text = strip(&String::from_utf8_lossy(&bytes));
            if bodies.iter().all(|body| bundle_text.contains(&strip(body))) {
                return Ok(());
            }
        }
    }
    Err(Failure::new(ExitCode::Transaction, "a certificate from the settings is missing in the image's bundle after the rebuild")
        .hint("it may have expired, or is not an authority (CA:TRUE)")
        .into())
}

/// The base64 between the first certificate's markers.
fn first_certificate(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    Some(body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pem_certificates_are_accepted() {
        assert_eq!(first_certificate("x\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), Some("AAAA"));
        assert_eq!(first_certificate("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), None);
    }
}
