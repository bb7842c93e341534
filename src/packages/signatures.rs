//! The signers of packages. rpm itself checks the signatures, with a database of only the pinned
//! keys, so that a lock, a build and its manifest agree with it. Some releases of rpm accept
//! expired keys and weak digests; these are refused in addition.

use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::CACHE;
use super::hints::CHANGED;
use super::keys::{self, PinnedKey};
use super::required::required_program;
use super::rpm_sandbox::{self, requires_signatures};
use super::{Job, digest};
use crate::error::{ExitCode, Failure, Result};
use crate::openpgp::Signature;
use crate::process::CommandLine;
use crate::sandbox::{Access, Mount, Network, OWN};

/// The time limit for checking the packages of one transaction.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);
/// The number of packages per run of rpmkeys.
const BATCH: usize = 1000;
/// The number of packages that a message lists.
const LISTED: usize = 10;

/// The issuer of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signer {
    /// A pinned key, by its fingerprint; rpm accepts the signature.
    Pinned(String),
    /// Another key, by its id.
    Unknown(String),
}

impl Signer {
    /// The fingerprint or key id.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Pinned(name) | Self::Unknown(name) => name,
        }
    }
}

/// A package file, by its path on this host.
#[derive(Debug, Clone)]
pub(super) struct PackageFile {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// The file.
    pub path: PathBuf,
}

/// An rpm database with the pinned keys.
#[derive(Debug)]
pub(super) struct Keyring {
    program: String,
    directory: PathBuf,
}

impl Keyring {
    /// Imports the job's keys. A key that rpm cannot import is skipped with a warning if it is
    /// optional, or with `verify = "digest-only"`.
    ///
    /// # Errors
    /// [`ExitCode::Trust`] with rpm's own message.
    pub(super) fn open(job: &mut Job<'_>) -> Result<Self> {
        let program =
            required_program(job.tools, "rpmkeys", "judge the signatures of packages", "rpm")?;
        // Next to the scratch directory, because each sandbox mounts its own over that.
        let directory = job.scratch.with_file_name("keyring");
        crate::sandbox::remove_tree(&directory)?;
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let keyring = Self { program: program.to_string_lossy().into_owned(), directory };
        let (_, files) = rpm_sandbox::key_files(job);
        let mut refused = Vec::new();
        for (key, file) in job.keys.iter().zip(&files) {
            if let Some(failure) = keyring.import(job, key, file)? {
                if requires_signatures(job) && !key.optional {
                    return Err(failure.into());
                }
                job.report.warn(&format!("{failure}; it is skipped"));
                refused.push(key.fingerprint.clone());
            }
        }
        job.keys.retain(|key| !refused.contains(&key.fingerprint));
        Ok(keyring)
    }

    /// Imports one key; returns the failure if rpm refuses it.
    fn import(&self, job: &Job<'_>, key: &PinnedKey, file: &str) -> Result<Option<Failure>> {
        let (outcome, _, output) = self.run(job, Vec::new(), &["--import", file])?;
        if outcome {
            return Ok(None);
        }
        let PinnedKey { origin, fingerprint, user_id, algorithm, .. } = key;
        let output = output.replace(file, origin);
        let message = format!(
            "rpm cannot import the key {origin} ({user_id}, {algorithm}, {fingerprint}): {}",
            output.trim()
        );
        Ok(Some(Failure::new(ExitCode::Trust, message).hint(
            "pin another key of the distribution that this rpm supports; or use the image's own \
             rpm: bootstrap = true under [packages]; or verify packages only by their checksums: \
             verify = \"digest-only\"",
        )))
    }

    /// Runs rpmkeys with this database; returns whether it succeeded, and its output.
    fn run(
        &self,
        job: &Job<'_>,
        mut mounts: Vec<Mount>,
        words: &[&str],
    ) -> Result<(bool, Vec<String>, String)> {
        let target = format!("{OWN}/keyring");
        mounts.extend(rpm_sandbox::key_files(job).0);
        mounts.push(Mount::Bind {
            source: self.directory.clone(),
            target: target.clone().into(),
            access: Access::ReadWrite,
        });
        let command = CommandLine::new(
            [self.program.as_str(), "--dbpath", &target].into_iter().chain(words.iter().copied()),
        );
        let (outcome, lines, output) = rpm_sandbox::run_captured(
            &rpm_sandbox::plan(job, Network::None, mounts, command),
            TIME_LIMIT,
        )?;
        Ok((outcome.success(), lines, output))
    }

    /// The signer of each package, by NEVRA; unsigned packages are left out.
    ///
    /// # Errors
    /// [`ExitCode::Trust`] with all packages that are refused, and the reasons.
    pub(super) fn judge(
        &self,
        job: &Job<'_>,
        packages: &[PackageFile],
    ) -> Result<BTreeMap<String, Signer>> {
        let (mut signers, mut wrong) = (BTreeMap::new(), Vec::new());
        for packages in packages.chunks(BATCH) {
            for (package, verdict) in packages.iter().zip(self.verdicts(job, packages)?) {
                match signer(job, package, &verdict)? {
                    Ok(signer) => {
                        signers.extend(signer.map(|signer| (package.nevra.clone(), signer)))
                    }
                    Err(why) => {
                        wrong.push(format!("{} {why}", package.nevra.replacen("-0:", "-", 1)))
                    }
                }
            }
        }
        if wrong.is_empty() {
            return Ok(signers);
        }
        let others = wrong.len().saturating_sub(LISTED);
        wrong.truncate(LISTED);
        let more = if others == 0 { String::new() } else { format!("\n  and {others} more") };
        let (what, hint) = if wrong.iter().any(|why| why.contains(RPM)) {
            ("rpm refuses packages that were changed after signing: ", CHANGED)
        } else {
            (
                "",
                "pin the repository's signing key with [[packages.key]]; an unsigned package \
                 cannot be installed",
            )
        };
        let message = format!("checking signatures: {what}{}{more}", wrong.join("\n  "));
        Err(Failure::new(ExitCode::Trust, message).hint(hint).into())
    }

    /// rpm's verdict on each package.
    fn verdicts(&self, job: &Job<'_>, packages: &[PackageFile]) -> Result<Vec<Verdict>> {
        let (mounts, paths) = self.files(job, packages)?;
        let words = |first: &[&'static str]| {
            [first, &paths.iter().map(String::as_str).collect::<Vec<_>>()].concat()
        };
        let (all, lines, output) =
            self.run(job, mounts.clone(), &words(&["--checksig", "--verbose"]))?;
        // The details do not show whether rpm accepts a package, and the exit status only whether
        // it accepts all.
        let short =
            if all { Vec::new() } else { self.run(job, mounts, &words(&["--checksig"]))?.1 };
        let verdict = |path: &String| {
            let (name, prefix) = (format!("{path}:"), format!("{path}: "));
            let details = lines
                .iter()
                .skip_while(|line| **line != name)
                .skip(1)
                .take_while(|line| line.starts_with(' '));
            let details: Vec<String> = details.map(|line| line.trim().to_owned()).collect();
            let holds = all
                || short.iter().any(|line| {
                    line.starts_with(&prefix) && line.ends_with("OK") && !line.ends_with("NOT OK")
                });
            Verdict {
                holds,
                details: if details.is_empty() { vec![output.clone()] } else { details },
            }
        };
        Ok(paths.iter().map(verdict).collect())
    }

    /// The mounts for the files, and their paths in the sandbox.
    fn files(&self, job: &Job<'_>, packages: &[PackageFile]) -> Result<(Vec<Mount>, Vec<String>)> {
        let (mut mounts, mut paths) = (vec![job.cache.packages_mount()?], Vec::new());
        for (number, package) in packages.iter().enumerate() {
            let target = match package.path.strip_prefix(job.cache.directory()) {
                Ok(below) => Path::new(CACHE).join(below),
                Err(_) => {
                    let target = PathBuf::from(format!("{OWN}/packages/{number}.rpm"));
                    mounts.push(Mount::Bind {
                        source: package.path.clone(),
                        target: target.clone(),
                        access: Access::ReadOnly,
                    });
                    target
                }
            };
            paths.push(target.display().to_string());
        }
        Ok((mounts, paths))
    }
}

/// rpm's result for a package.
#[derive(Debug)]
struct Verdict {
    /// Whether it accepts the package at the level of checks that the build requires.
    holds: bool,
    /// One line per digest and signature.
    details: Vec<String>,
}

impl Verdict {
    /// The pinned keys with valid signatures, and the signed digest.
    fn signers<'a>(&self, keys: &'a [PinnedKey]) -> Vec<(&'a PinnedKey, String)> {
        let holds = |line: &String| {
            // `Header V4 RSA/SHA512 Signature, key ID 74bc80b0: OK`; rpm 6 has `signature, key
            // fingerprint:` and the primary key's.
            let name = line.strip_suffix(": OK")?.rsplit_once(", key ")?.1.rsplit(' ').next()?;
            let digest = line.split(' ').find_map(|word| word.split_once('/'))?.1;
            Some((keys.iter().find(|key| key.has_id(name))?, digest.to_owned()))
        };
        self.details.iter().filter_map(holds).collect()
    }
}

/// The signer of a package, or why it is refused.
fn signer(
    job: &Job<'_>,
    package: &PackageFile,
    verdict: &Verdict,
) -> Result<Result<Option<Signer>, String>> {
    let header = digest::header(&package.path)?;
    if header.nevra != package.nevra {
        return Ok(Err(format!("does not match its file, which contains {}", header.nevra)));
    }
    let signers = verdict.signers(&job.keys);
    let strict = requires_signatures(job);
    let bad = verdict.details.iter().any(|line| line.contains(": BAD"));
    // If signatures are not required, rpm reports one by an unknown key as wrong but accepts the
    // package.
    let taken = verdict.holds || (!strict && !bad);
    if taken
        && let Some((key, _)) =
            signers.iter().find(|(_, digest)| !strict || !WEAK.contains(&digest.as_str()))
    {
        return Ok(Ok(Some(Signer::Pinned(key.fingerprint.clone()))));
    }
    if taken && !strict {
        return Ok(Ok(header
            .signatures
            .first()
            .map(|signature| Signer::Unknown(signature.key_id.to_ascii_uppercase()))));
    }
    if let (true, Some((_, digest))) = (taken, signers.first()) {
        return Ok(Err(format!(
            "has a signature with the weak digest {digest}; verify = \"digest-only\" under \
             [packages] allows it"
        )));
    }
    let claims = |signature: &Signature| keys::signer(&job.keys, &signature.key_id).is_some();
    if bad || header.signatures.iter().any(claims) {
        let wrong = |line: &&str| !line.ends_with(": OK") && !line.ends_with(": NOTFOUND");
        let words: Vec<&str> = verdict.details.iter().map(String::as_str).filter(wrong).collect();
        return Ok(Err(format!("{RPM}{}", words.join("; "))));
    }
    let invalid = |signature: &Signature| {
        let id = signature.key_id.to_ascii_uppercase();
        let of_key = |key: &PinnedKey| {
            Some((
                key.fingerprint.clone(),
                key.invalid.iter().find(|(subkey, _)| *subkey == id)?.1.clone(),
            ))
        };
        let (fingerprint, why) = job.keys.iter().find_map(of_key)?;
        Some(format!("is signed by the subkey {id} of the key {fingerprint}; the subkey {why}"))
    };
    Ok(Err(header.signatures.iter().find_map(invalid).unwrap_or_else(|| {
        let Some(Signature { key_id, algorithm, digest }) = header.signatures.first() else {
            return "is not signed by a pinned key".to_owned();
        };
        let key_id = key_id.to_ascii_uppercase();
        format!("is signed by the key {key_id} ({algorithm}/{digest}), but not by a pinned key")
    })))
}

/// Weak digests by rpm's names: others can create a different document with the same digest.
const WEAK: [&str; 3] = ["MD5", "SHA1", "RIPEMD160"];
/// The prefix of problems that rpm found.
const RPM: &str = "is refused by rpm: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_parsed_from_the_output_of_every_rpm() {
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
            (
                "Header OpenPGP V4 RSA/SHA512 signature, key fingerprint: \
                 6f3e4cbad1541a78b211beadf71f94479246e3f6: OK",
                Some("SHA512"),
            ),
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
