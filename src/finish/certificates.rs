//! Authorities that the image must trust: Ironic's `%post` calls back over TLS, and nothing can be
//! injected later.

use anyhow::Context;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::sandbox::{InstallRoot, Kind};

/// How a distribution takes local authorities: their directory, the program that rebuilds the
/// bundle, and the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustStore {
    /// Directory of the local authorities.
    pub anchors: &'static str,
    /// Suffix that the program looks for.
    pub suffix: &'static str,
    /// The program with its arguments.
    pub command: &'static [&'static str],
    /// Bundles, one of which must hold the authority afterwards.
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
/// When the image has none, with the package to install.
pub fn store(root: &InstallRoot) -> Result<TrustStore> {
    for store in STORES {
        let program = store.command.first().copied().unwrap_or_default();
        if matches!(root.kind(Path::new(program))?, Some(Kind::File | Kind::Link)) {
            return Ok(store);
        }
    }
    Err(Failure::new(
        ExitCode::Transaction,
        "the image cannot take certificates: it has neither update-ca-trust nor update-ca-certificates",
    )
    .hint("add ca-certificates to the recipe")
    .into())
}

/// Puts the certificates into the image's directory for them; the store's command must be run
/// afterwards, inside the sandbox.
///
/// # Errors
/// When a file is no PEM certificate, or cannot be written.
pub fn place(root: &InstallRoot, store: TrustStore, certificates: &[PathBuf]) -> Result<Vec<String>> {
    let mut bodies = Vec::new();
    root.directory(Path::new(store.anchors), 0o755)?;
    for path in certificates {
        let text = files::read_text(path, files::TEXT).with_context(|| format!("reading certificate {}", path.display()))?;
        let body = first_certificate(&text).ok_or_else(|| {
            Failure::new(ExitCode::Recipe, format!("{} holds no PEM certificate", path.display()))
                .hint("it must have a line -----BEGIN CERTIFICATE-----")
        })?;
        bodies.push(body.to_owned());
        let stem = path.file_stem().map_or_else(|| "authority".into(), |s| s.to_string_lossy().into_owned());
        root.write(&Path::new(store.anchors).join(format!("{stem}.{}", store.suffix)), text.as_bytes(), 0o644)?;
    }
    Ok(bodies)
}

/// Checks that the bundle which programs read holds every certificate.
///
/// # Errors
/// When one is missing in spite of the store's command.
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
    Err(Failure::new(ExitCode::Transaction, "a certificate of the settings is not in the image's bundle after its own tool rebuilt it")
        .hint("it may have expired, or be no authority (CA:TRUE)")
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
    fn only_pem_certificates_are_taken() {
        assert_eq!(first_certificate("x\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), Some("AAAA"));
        assert_eq!(first_certificate("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), None);
    }
}
