//! What is really installed: the rpmdb of the image, asked through rpm inside the sandbox.

use serde::Serialize;

use crate::error::{ExitCode, Failure, Result};

/// A package that the rpmdb says is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledPackage {
    /// `name-epoch:version-release.arch`, the epoch written out.
    pub nevra: String,
    /// Name.
    pub name: String,
    /// Bytes of its files.
    pub size: u64,
    /// Key id of its signature, in hex, when it has one.
    pub key_id: Option<String>,
    /// The digest that was signed, such as `SHA256`, when it has a signature.
    #[serde(skip)]
    pub signed_digest: Option<String>,
    /// Its licence.
    pub license: String,
    /// The source package it was built from.
    pub source: String,
    /// Who made it, when it says so.
    pub vendor: Option<String>,
    /// Its home page, when it says so.
    pub url: Option<String>,
    /// What it is, in a line.
    pub summary: Option<String>,
}

/// What rpm is asked for each package; one line each, fields apart by tabs.
pub(super) const QUERY: &str = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{LONGSIZE}\\t\
%|DSAHEADER?{%{DSAHEADER:pgpsig}}:{%|RSAHEADER?{%{RSAHEADER:pgpsig}}:{%|SIGGPG?{%{SIGGPG:pgpsig}}:{%|SIGPGP?{%{SIGPGP:pgpsig}}:{none}|}|}|}|\\t\
%{LICENSE}\\t%{SOURCERPM}\\t%{VENDOR}\\t%{URL}\\t%{SUMMARY}\\n";

/// Reads rpm's answer; keys, which rpm keeps as pseudo-packages, come second as their key ids.
///
/// # Errors
/// When a line is not of the form asked for.
pub(super) fn parse(lines: &[String]) -> Result<(Vec<InstalledPackage>, Vec<String>)> {
    let (mut packages, mut keys) = (Vec::new(), Vec::new());
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, epoch, version, release, arch, size, signature, license, source, vendor, url, summary] = fields.as_slice() else {
            return Err(Failure::new(ExitCode::Transaction, format!("reading the image's rpmdb: rpm said {line:?}"))
                .hint(super::answers::LOOK)
                .into());
        };
        if *name == "gpg-pubkey" {
            keys.push((*version).to_owned());
            continue;
        }
        // `RSA/SHA256, Sun Nov 22 13:30:00 2026, Key ID 0123456789abcdef`
        let key_id = signature.rsplit_once("Key ID ").map(|(_, id)| id.trim().to_owned());
        let signed_digest = key_id.as_ref().and_then(|_| signature.split(',').next()?.rsplit_once('/')).map(|(_, name)| name.to_owned());
        packages.push(InstalledPackage {
            nevra: format!("{name}-{epoch}:{version}-{release}.{arch}"),
            name: (*name).to_owned(),
            size: size.parse().unwrap_or(0),
            key_id,
            signed_digest,
            license: (*license).to_owned(),
            source: (*source).to_owned(),
            vendor: said(vendor),
            url: said(url),
            summary: said(summary),
        });
    }
    packages.sort_by(|a, b| a.nevra.cmp(&b.nevra));
    Ok((packages, keys))
}

fn said(value: &str) -> Option<String> {
    Some(value.trim()).filter(|value| !value.is_empty() && *value != "(none)").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_keys_are_told_apart() {
        let lines = [
            "gpg-pubkey\t0\td4c2a1f0\t65b1c0de\t(none)\t0\tnone\tpubkey\t(none)\t(none)\t(none)\tkey".to_owned(),
            "bash\t0\t5.2\t1\tx86_64\t7\tRSA/SHA256, Sun Nov 22 13:30:00 2026, Key ID 0123456789abcdef\tGPL\tbash-5.2-1.src.rpm\tMaker\t(none)\tA shell".to_owned(),
        ];
        let (packages, keys) = parse(&lines).expect("parsed");
        assert_eq!(keys, ["d4c2a1f0"]);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].nevra, "bash-0:5.2-1.x86_64");
        assert_eq!(packages[0].key_id.as_deref(), Some("0123456789abcdef"));
        assert_eq!(packages[0].signed_digest.as_deref(), Some("SHA256"));
        assert_eq!((packages[0].vendor.as_deref(), packages[0].url.as_deref()), (Some("Maker"), None));
        assert!(parse(&["nonsense".to_owned()]).is_err());
    }
}
