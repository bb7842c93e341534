//! Follows symbolic links inside an image.

use super::list::Contents;
use super::member::Member;
use super::paths::parts;
use crate::archive::read::Kind;

/// As many links as Linux follows in one path.
const MOST_LINKS: usize = 40;

/// What becomes of a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Followed,
    Taken,
}

fn resolve<'a>(contents: &'a Contents, path: &[u8], last: Last) -> Option<&'a Member> {
    // The components still to go, the next one last.
    let mut rest: Vec<Vec<u8>> = parts(path);
    let mut place: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part.as_slice() {
            b".." => {
                let end = place.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                place.truncate(end);
                continue;
            }
            part => {
                if !place.is_empty() {
                    place.push(b'/');
                }
                place.extend_from_slice(part);
            }
        }
        let Some(member) = contents.find(&place) else {
            // A directory that has no member of its own, but whose files have.
            continue;
        };
        if member.kind != Kind::Symlink || (rest.is_empty() && last == Last::Taken) {
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        if member.link.first() == Some(&b'/') {
            place.clear();
        } else {
            let end = place.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            place.truncate(end);
        }
        rest.extend(parts(&member.link));
    }
    contents.find(&place)
}

impl Contents {
    /// The member that a program of the image would find under this path: symbolic links are
    /// followed inside the image, the last too.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Option<&Member> {
        resolve(self, path.as_ref(), Last::Followed)
    }

    /// As [`Contents::resolve`], but a link at the end is the answer.
    #[must_use]
    pub(crate) fn resolve_parents(&self, path: impl AsRef<[u8]>) -> Option<&Member> {
        resolve(self, path.as_ref(), Last::Taken)
    }
}
