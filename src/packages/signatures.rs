//! Who signed packages. rpm itself judges, with a database that has the pinned keys and no others,
//! so that a lock, a build and its manifest agree with it; what rpm of some releases lets pass
//! (keys that ended, weak digests) is refused on top of that.

use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::CACHE;
use super::hints::CHANGED;
use super::keys::{self, PinnedKey};
use super::workbench::{self, insists_on_signatures};
use super::{Job, digest};
use crate::error::{ExitCode, Failure, Result};
use crate::openpgp::Signature;
use crate::process::CommandLine;
use crate::sandbox::{Access, Mount, Network, OWN};

/// The limit on looking at the packages of one transaction.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Packages that one run of rpmkeys looks at.
const AT_ONCE: usize = 1000;
/// Packages that a message names.
const NAMED: usize = 10;

/// The maker of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signer {
    /// A pinned key, by its fingerprint; rpm finds that the signature holds.
    Pinned(String),
    /// Another one, by the id of its key.
    Unknown(String),
}

impl Signer {
    /// The fingerprint or key id.
    pub fn name(&self) -> &str {
        match self {
            Self::Pinned(name) | Self::Unknown(name) => name,
        }
    }
}

/// A package's file, as this host sees it.
#[derive(Debug, Clone)]
pub(super) struct PackageFile {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// The file.
    pub path: PathBuf,
}

/// rpm's database of the pinned keys.
#[derive(Debug)]
pub(super) struct Keyring {
    program: String,
    directory: PathBuf,
}

impl Keyring {
    /// Imports the job's keys. One that rpm cannot import is left out with a warning if it is
    /// optional, or with `verify = "digest-only"`.
    ///
    /// # Errors
    /// [`ExitCode::Trust`] with rpm's own words.
    pub(super) fn open(job: &mut Job<'_>) -> Result<Self> {
        let program = super::need(job.tools, "rpmkeys", "judge the signatures of packages", "rpm")?;
        // Next to the scratch directory, over which each sandbox mounts its own.
        let directory = job.scratch.with_file_name("keyring");
        crate::sandbox::remove_tree(&directory)?;
        std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        let keyring = Self { program: program.to_string_lossy().into_owned(), directory };
        let (_, files) = workbench::key_files(job);
        let mut refused = Vec::new();
        for (key, file) in job.keys.iter().zip(&files) {
            if let Some(failure) = keyring.import(job, key, file)? {
                if insists_on_signatures(job) && !key.optional {
                    return Err(failure.into());
                }
                job.report.warn(&format!("{failure}; it is left out"));
                refused.push(key.fingerprint.clone());
            }
        }
        job.keys.retain(|key| !refused.contains(&key.fingerprint));
        Ok(keyring)
    }

    /// Imports one key; returns why rpm does not take it.
    fn import(&self, job: &Job<'_>, key: &PinnedKey, file: &str) -> Result<Option<Failure>> {
        let (outcome, _, said) = self.run(job, Vec::new(), &["--import", file])?;
        if outcome {
            return Ok(None);
        }
        let PinnedKey { origin, fingerprint, user_id, algorithm, .. } = key;
        let said = said.replace(file, origin);
        let message = format!("rpm cannot import the key {origin} ({user_id}, {algorithm}, {fingerprint}): {}", said.trim());
        Ok(Some(Failure::new(ExitCode::Trust, message).hint(
            "pin another key of the distribution that this rpm supports; or use the image's own rpm: bootstrap = true under [packages]; \
             or let packages in by their checksums only: verify = \"digest-only\"",
        )))
    }

    /// Runs rpmkeys with this database; whether it succeeded, and what it printed.
    fn run(&self, job: &Job<'_>, mut mounts: Vec<Mount>, words: &[&str]) -> Result<(bool, Vec<String>, String)> {
        let target = format!("{OWN}/keyring");
        mounts.extend(workbench::key_files(job).0);
        mounts.push(Mount::Bind { source: self.directory.clone(), target: target.clone().into(), access: Access::ReadWrite });
        let command = CommandLine::new([self.program.as_str(), "--dbpath", &target].into_iter().chain(words.iter().copied()));
        let (outcome, lines, said) = workbench::hear(&workbench::plan(job, Network::None, mounts, command), PATIENCE)?;
        Ok((outcome.success(), lines, said))
    }

    /// Who signed each of the packages, by NEVRA; those that are not signed are left out.
    ///
    /// # Errors
    /// [`ExitCode::Trust`] with all packages that may not come in, and why.
    pub(super) fn judge(&self, job: &Job<'_>, packages: &[PackageFile]) -> Result<BTreeMap<String, Signer>> {
        let (mut signers, mut wrong) = (BTreeMap::new(), Vec::new());
        for packages in packages.chunks(AT_ONCE) {
            for (package, verdict) in packages.iter().zip(self.verdicts(job, packages)?) {
                match signer(job, package, &verdict)? {
                    Ok(signer) => signers.extend(signer.map(|signer| (package.nevra.clone(), signer))),
                    Err(why) => wrong.push(format!("{} {why}", package.nevra.replacen("-0:", "-", 1))),
                }
            }
        }
        if wrong.is_empty() {
            return Ok(signers);
        }
        let others = wrong.len().saturating_sub(NAMED);
        wrong.truncate(NAMED);
        let more = if others == 0 { String::new() } else { format!("\n  and {others} more") };
        let (what, hint) = if wrong.iter().any(|why| why.contains(RPM)) {
            ("rpm refuses packages that are not as they were signed: ", CHANGED)
        } else {
            ("", "pin the repository's signing key with [[packages.key]]; a package that nobody signed cannot enter")
        };
        let message = format!("checking signatures: {what}{}{more}", wrong.join("\n  "));
        Err(Failure::new(ExitCode::Trust, message).hint(hint).into())
    }

    /// rpm's verdict on each package.
    fn verdicts(&self, job: &Job<'_>, packages: &[PackageFile]) -> Result<Vec<Verdict>> {
        let (mounts, paths) = self.files(job, packages)?;
        let words = |first: &[&'static str]| [first, &paths.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let (all, lines, said) = self.run(job, mounts.clone(), &words(&["--checksig", "--verbose"]))?;
        // The details do not say whether rpm takes a package, and the whole run only whether it
        // takes all.
        let short = if all { Vec::new() } else { self.run(job, mounts, &words(&["--checksig"]))?.1 };
        let verdict = |path: &String| {
            let (name, prefix) = (format!("{path}:"), format!("{path}: "));
            let details = lines.iter().skip_while(|line| **line != name).skip(1).take_while(|line| line.starts_with(' '));
            let details: Vec<String> = details.map(|line| line.trim().to_owned()).collect();
            let holds = all || short.iter().any(|line| line.starts_with(&prefix) && line.ends_with("OK") && !line.ends_with("NOT OK"));
            Verdict { holds, details: if details.is_empty() { vec![said.clone()] } else { details } }
        };
        Ok(paths.iter().map(verdict).collect())
    }

    /// The mounts by which the sandbox sees the files, and their paths there.
    fn files(&self, job: &Job<'_>, packages: &[PackageFile]) -> Result<(Vec<Mount>, Vec<String>)> {
        let (mut mounts, mut paths) = (vec![job.cache.packages_mount()?], Vec::new());
        for (number, package) in packages.iter().enumerate() {
            let target = match package.path.strip_prefix(job.cache.directory()) {
                Ok(below) => Path::new(CACHE).join(below),
                Err(_) => {
                    let target = PathBuf::from(format!("{OWN}/packages/{number}.rpm"));
                    mounts.push(Mount::Bind { source: package.path.clone(), target: target.clone(), access: Access::ReadOnly });
                    target
                }
            };
            paths.push(target.display().to_string());
        }
        Ok((mounts, paths))
    }
}

/// What rpm says of a package.
#[derive(Debug)]
struct Verdict {
    /// Whether it takes the package, by the level of checks that the build asks for.
    holds: bool,
    /// A line for each digest and signature.
    details: Vec<String>,
}

impl Verdict {
    /// The pinned keys whose signatures hold, with the digest that was signed.
    fn signers<'a>(&self, keys: &'a [PinnedKey]) -> Vec<(&'a PinnedKey, String)> {
        let holds = |line: &String| {
            // `Header V4 RSA/SHA512 Signature, key ID 74bc80b0: OK`; rpm 6 has `signature, key
            // fingerprint:` and the primary key's.
            let name = line.strip_suffix(": OK")?.rsplit_once(", key ")?.1.rsplit(' ').next()?;
            let digest = line.split(' ').find_map(|word| word.split_once('/'))?.1;
            Some((keys.iter().find(|key| key.is_called(name))?, digest.to_owned()))
        };
        self.details.iter().filter_map(holds).collect()
    }
}

/// Who signed a package, or why it may not come in.
fn signer(job: &Job<'_>, package: &PackageFile, verdict: &Verdict) -> Result<Result<Option<Signer>, String>> {
    let header = digest::header(&package.path)?;
    if header.nevra != package.nevra {
        return Ok(Err(format!("is not in its file, which has {}", header.nevra)));
    }
    let signers = verdict.signers(&job.keys);
    let strict = insists_on_signatures(job);
    let bad = verdict.details.iter().any(|line| line.contains(": BAD"));
    // Without the demand for a signature rpm calls one by an unknown key wrong and takes the
    // package.
    let taken = verdict.holds || (!strict && !bad);
    if taken && let Some((key, _)) = signers.iter().find(|(_, digest)| !strict || !WEAK.contains(&digest.as_str())) {
        return Ok(Ok(Some(Signer::Pinned(key.fingerprint.clone()))));
    }
    if taken && !strict {
        return Ok(Ok(header.signatures.first().map(|signature| Signer::Unknown(signature.key_id.to_ascii_uppercase()))));
    }
    if let (true, Some((_, digest))) = (taken, signers.first()) {
        return Ok(Err(format!("is signed over the weak digest {digest}; verify = \"digest-only\" under [packages] lets it in")));
    }
    let claims = |signature: &Signature| keys::signer(&job.keys, &signature.key_id).is_some();
    if bad || header.signatures.iter().any(claims) {
        let wrong = |line: &&str| !line.ends_with(": OK") && !line.ends_with(": NOTFOUND");
        let words: Vec<&str> = verdict.details.iter().map(String::as_str).filter(wrong).collect();
        return Ok(Err(format!("{RPM}{}", words.join("; "))));
    }
    let ended = |signature: &Signature| {
        let id = signature.key_id.to_ascii_uppercase();
        let of_key = |key: &PinnedKey| Some((key.fingerprint.clone(), key.ended.iter().find(|(ended, _)| *ended == id)?.1.clone()));
        let (fingerprint, why) = job.keys.iter().find_map(of_key)?;
        Some(format!("is signed by the subkey {id} of the key {fingerprint}, and that subkey {why}"))
    };
    Ok(Err(header.signatures.iter().find_map(ended).unwrap_or_else(|| {
        let by = header.signatures.first().map_or_else(
            || "nobody".to_owned(),
            |Signature { key_id, algorithm, digest }| format!("the key {} ({algorithm}/{digest})", key_id.to_ascii_uppercase()),
        );
        format!("is signed by {by}, and no pinned key signed it")
    })))
}

/// Digests for which others than the signer can make another document, as rpm calls them.
const WEAK: [&str; 3] = ["MD5", "SHA1", "RIPEMD160"];
/// The beginning of what rpm found wrong.
const RPM: &str = "is refused by rpm: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_read_from_the_words_of_every_rpm() {
        let key = PinnedKey {
            fingerprint: "6F3E4CBAD1541A78B211BEADF71F94479246E3F6".into(),
            key_ids: vec!["F71F94479246E3F6".into(), "0123456728B802C2".into()],
            ..PinnedKey::default()
        };
        let signers = |line: &str| {
            let verdict = Verdict { holds: true, details: vec![line.to_owned()] };
            verdict.signers(std::slice::from_ref(&key)).into_iter().map(|(_, digest)| digest).next()
        };
        for (line, digest) in [
            ("Header V4 RSA/SHA512 Signature, key ID 28b802c2: OK", Some("SHA512")),
            ("V3 RSA/SHA1 Signature, key ID 9246e3f6: OK", Some("SHA1")),
            ("Header V4 EdDSA/SHA256 Signature, key ID f71f94479246e3f6: OK", Some("SHA256")),
            ("Header OpenPGP V4 RSA/SHA512 signature, key fingerprint: 6f3e4cbad1541a78b211beadf71f94479246e3f6: OK", Some("SHA512")),
            ("Header V4 RSA/SHA512 Signature, key ID 28b802c2: BAD", None),
            ("Header V4 RSA/SHA512 Signature, key ID 28b802c2: NOKEY", None),
            ("Header V4 RSA/SHA512 Signature, key ID 28b802c3: OK", None),
            ("Header SHA256 digest: OK", None),
            ("Header RSA signature: NOTFOUND", None),
        ] {
            assert_eq!(signers(line).as_deref(), digest, "{line}");
        }
    }
}
