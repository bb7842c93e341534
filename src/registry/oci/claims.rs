//! Claims: the publishers of a repository compare and write its tags one after another.
//!
//! An OCI registry replaces a tag without comparing what was there. Therefore a publisher writes a
//! tag of its own, a claim, before it compares, and goes on only when it then sees no other claim.
//! Of two publishers at least one sees the other. The one with the older claim waits, the other
//! removes its claim first.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::connection::Oci;
use super::documents::{CLAIM, Document, RELEASED, digest_of, text};
use super::entries;
use super::undo::{Claim, Undo};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;
use crate::set::Set;

const PREFIX: &str = "osimg-claim-";
/// A publisher holds its claim for a few calls.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

impl Oci {
    /// Waits until no other publisher has a claim.
    pub(super) fn claim(&self, set: &Set, undo: &mut Vec<Undo>) -> Result<Claim> {
        let end = Instant::now() + LONGEST_WAIT;
        let mut claim = self.announce(set, undo)?;
        loop {
            let tags = entries::tags(self)?;
            let listed = tags.contains(&claim.tag);
            let mut others = Vec::new();
            for tag in tags.into_iter().filter(|tag| is_claim_tag(tag) && *tag != claim.tag) {
                if self.is_claim(&tag)? {
                    others.push(tag);
                }
            }
            match others.into_iter().min() {
                None if listed => return Ok(claim),
                // The registry lists a new tag late.
                None => wait(self, &claim.tag, end)?,
                Some(older) if older < claim.tag => {
                    self.release(&claim)?;
                    while self.is_claim(&older)? {
                        wait(self, &older, end)?;
                    }
                    claim = self.announce(set, undo)?;
                }
                Some(newer) => wait(self, &newer, end)?,
            }
        }
    }

    /// Refuses to go on when someone removed the claim.
    pub(super) fn check_claim(&self, claim: &Claim) -> Result<()> {
        if self.manifest(&claim.tag)?.is_some_and(|text| digest_of(&text) == claim.digest) {
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::Locked,
            format!(
                "publishing to {}: someone removed the tag {} while it was being published",
                self.repository, claim.tag
            ),
        )
        .hint("publish it again")
        .into())
    }

    /// Removes a claim. In a registry that deletes nothing, its tag stays but is not a claim.
    pub(super) fn release(&self, claim: &Claim) -> Result<()> {
        if self.delete_manifest(&claim.digest)?.is(&[202, 404]) {
            return Ok(());
        }
        self.put_manifest(&claim.tag, &text(&Document::from_claim(RELEASED, "", &claim.tag))?)
    }

    fn announce(&self, set: &Set, undo: &mut Vec<Undo>) -> Result<Claim> {
        let tag = new_tag()?;
        let title = format!("{} of {}", set.stem(), calendar::rfc3339(calendar::now()));
        let text = text(&Document::from_claim(CLAIM, &title, &tag))?;
        let claim = Claim { tag, digest: digest_of(&text) };
        undo.push(Undo::Release(claim.clone()));
        self.put_manifest(&claim.tag, &text)?;
        Ok(claim)
    }

    fn is_claim(&self, tag: &str) -> Result<bool> {
        let document = self.manifest(tag)?.map(|text| serde_json::from_slice::<Document>(&text));
        Ok(matches!(document, Some(Ok(document)) if document.artifact_type == CLAIM))
    }
}

fn wait(oci: &Oci, other: &str, end: Instant) -> Result<()> {
    if Instant::now() < end {
        return process::pause(PAUSE);
    }
    let digest = oci.manifest(other)?.map_or_else(|| "DIGEST".to_owned(), |text| digest_of(&text));
    let registry = format!("oci:{}/{}", oci.repository.host, oci.repository.name);
    Err(Failure::new(
        ExitCode::Locked,
        format!("publishing to {registry}: another osimg is publishing there (the tag {other})"),
    )
    .hint("try again later")
    .hint(format!(
        "if none is running, remove the tag: osimg images --registry {registry} --remove {digest}"
    ))
    .into())
}

fn is_claim_tag(tag: &str) -> bool {
    tag.strip_prefix(PREFIX)
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A tag that no one else has: the time in milliseconds, and random digits.
fn new_tag() -> Result<String> {
    let mut random = [0_u8; 10];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .or_fail(ExitCode::Unexpected, "reading /dev/urandom")?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Ok(format!("{PREFIX}{:012x}{}", time & 0xFFFF_FFFF_FFFF, hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_recognised_by_its_tag() {
        let tag = new_tag().expect("random digits");
        assert!(is_claim_tag(&tag), "{tag}");
        assert!(super::super::reference::Repository::parse(&format!("r.example/a:{tag}")).is_ok());
        for other in ["osimg-claim-1.tgz", "osimg-claim-", "claim"] {
            assert!(!is_claim_tag(other), "{other}");
        }
    }
}
