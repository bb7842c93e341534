//! Checks the contents of a lock. A lock comes from a source repository, and contains file names
//! and addresses.

use std::collections::BTreeSet;

use super::model::{GIVEN, LOCK_VERSION, Lock, LockedPackage};
use crate::nevra::Nevra;

/// The digest algorithms for packages, and their number of hexadecimal digits. MD5 and SHA-1 are
/// not collision-resistant.
const DIGESTS: [(&str, usize); 4] =
    [("sha224", 56), ("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Checks the lock; the error describes the problem.
pub(super) fn lock(lock: &Lock) -> Result<(), String> {
    if lock.version != LOCK_VERSION {
        return Err(format!(
            "its version is {}, but this osimg reads version {LOCK_VERSION}",
            lock.version
        ));
    }
    for transaction in &lock.transactions {
        let mut seen = BTreeSet::new();
        for package in &transaction.packages {
            self::package(package)
                .map_err(|why| format!("the package {:?}: {why}", package.nevra))?;
            if !seen.insert(&package.nevra) {
                return Err(format!("the package {:?} is listed twice", package.nevra));
            }
        }
        if let Some(gone) = transaction.remove.iter().find(|nevra| Nevra::parse(nevra).is_none()) {
            return Err(format!("{gone:?} under remove is not a name-epoch:version-release.arch"));
        }
    }
    Ok(())
}

/// Checks the entry of a package.
pub(super) fn package(package: &LockedPackage) -> Result<(), String> {
    let plain =
        |text: &str| text.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '/');
    if Nevra::parse(&package.nevra).is_none() || !plain(&package.nevra) {
        return Err("it is not a name-epoch:version-release.arch".to_owned());
    }
    location(&package.location)?;
    checksum(&package.checksum)?;
    if package.size == 0 {
        return Err("its size is 0".to_owned());
    }
    if package.repository == GIVEN {
        // A path on the build host is in the recipe; the lock has only the file's name.
        if !package.location.contains("://") && package.location.contains('/') {
            return Err("its location is not the name of a package file".to_owned());
        }
    } else {
        crate::recipe::checked_repository_id(&package.repository)?;
    }
    Ok(())
}

/// Checks a location: a relative path that stays below the repository, or an address.
pub(super) fn location(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("its location {text:?} {why}"));
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return wrong("is not a path");
    }
    let path = match text.split_once("://") {
        Some(("http" | "https" | "file" | "ftp", rest)) => rest,
        Some(_) => return wrong("has an unknown scheme"),
        None if text.starts_with('/') => return wrong("is not relative to the repository"),
        None => text,
    };
    if path.split('/').any(|part| part == "..") {
        return wrong("leaves the repository");
    }
    if path
        .rsplit('/')
        .next()
        .is_none_or(|name| name.is_empty() || name.starts_with('.') || name.starts_with('-'))
    {
        return wrong("has no file name");
    }
    Ok(())
}

/// Checks `algorithm:hex`; the algorithm must be collision-resistant.
pub(super) fn checksum(text: &str) -> Result<(), String> {
    let (kind, digits) = text.split_once(':').unwrap_or((text, ""));
    let Some((_, length)) = DIGESTS.iter().find(|(name, _)| *name == kind) else {
        return Err(format!(
            "its checksum algorithm is {kind:?}; allowed are {}",
            DIGESTS.map(|(name, _)| name).join(", ")
        ));
    };
    if digits.len() != *length
        || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return Err(format!("its checksum is not {length} lower-case hexadecimal digits"));
    }
    Ok(())
}
