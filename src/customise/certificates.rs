//! `cacerts`: authorities that the image must trust. Ironic's `%post` calls back over TLS, and
//! nothing can be injected later.

use sha2::{Digest, Sha256};

use super::image::Image;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::customizations::CaCertificates;
use crate::{files, pem};

const KEY: &str = "customizations.cacerts";

/// How a distribution takes local authorities: their directory, the program that rebuilds the
/// bundle, and the bundle.
struct TrustStore {
    /// Directory of the local authorities.
    anchors: &'static str,
    /// Suffix that the program looks for.
    suffix: &'static str,
    /// The program with its arguments.
    command: &'static [&'static str],
    /// Bundles, one of which must hold the authority afterwards.
    bundles: &'static [&'static str],
}

/// EL and Fedora (update-ca-trust(8)), then Debian's layout (update-ca-certificates(8)).
const STORES: [TrustStore; 2] = [
    TrustStore {
        anchors: "/etc/pki/ca-trust/source/anchors",
        suffix: "pem",
        command: &["/usr/bin/update-ca-trust", "extract"],
        bundles: &[
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
            "/etc/pki/tls/certs/ca-bundle.crt",
        ],
    },
    TrustStore {
        anchors: "/usr/local/share/ca-certificates",
        suffix: "crt",
        command: &["/usr/sbin/update-ca-certificates"],
        bundles: &["/etc/ssl/certs/ca-certificates.crt"],
    },
];

/// Checks that every file is a certificate.
pub(super) fn check(settings: &CaCertificates) -> Result<()> {
    read(settings).map(drop)
}

/// Each certificate's text with the stem of its file in the image.
fn read(settings: &CaCertificates) -> Result<Vec<(String, String)>> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for text in &settings.pem_certs {
        // Named by what it is, so that the order in the settings does not matter.
        let digest = hex::encode(Sha256::digest(pem::decode(text, "CERTIFICATE").concat()));
        texts.push((
            format!("osimg-{}", digest.get(..16).unwrap_or_default()),
            format!("{}\n", text.trim()),
        ));
    }
    for path in &settings.files {
        let text = files::read_text(path, files::TEXT)
            .or_fail(ExitCode::Recipe, format!("reading certificate {}", path.display()))?;
        if pem::decode(&text, "CERTIFICATE").is_empty() {
            return Err(Failure::new(
                ExitCode::Recipe,
                format!("{} holds no PEM certificate", path.display()),
            )
            .hint("it must have a line -----BEGIN CERTIFICATE-----")
            .into());
        }
        let stem = path
            .file_stem()
            .map_or_else(|| "authority".into(), |stem| stem.to_string_lossy().into_owned());
        texts.push((stem, text));
    }
    Ok(texts)
}

pub(super) fn apply(image: &Image<'_>, settings: &CaCertificates) -> Result<()> {
    let texts = read(settings)?;
    if texts.is_empty() {
        return Ok(());
    }
    let store = store(image)?;
    let mut bodies = Vec::new();
    for (stem, text) in &texts {
        bodies.extend(pem::decode(text, "CERTIFICATE"));
        image.write(
            &format!("{}/{stem}.{}", store.anchors, store.suffix),
            text.as_bytes(),
            0o644,
        )?;
    }
    image.run(KEY, store.command)?;
    // The tools leave out what they cannot read, in silence.
    for bundle in store.bundles {
        let held = pem::decode(&image.read(bundle)?.unwrap_or_default(), "CERTIFICATE");
        if bodies.iter().all(|body| held.contains(body)) {
            return Ok(());
        }
    }
    let message = format!(
        "applying {KEY}: a certificate is not in the image's bundle after its own tool rebuilt it"
    );
    Err(Failure::new(ExitCode::Transaction, message)
        .hint("it may have expired, or be no authority (CA:TRUE)")
        .into())
}

/// The image's trust store.
fn store(image: &Image<'_>) -> Result<TrustStore> {
    for store in STORES {
        if image.has_file(store.command.first().copied().unwrap_or_default())? {
            return Ok(store);
        }
    }
    let message =
        format!("applying {KEY}: the image has neither update-ca-trust nor update-ca-certificates");
    Err(Failure::new(ExitCode::Transaction, message)
        .hint("add ca-certificates to the recipe")
        .into())
}
