//! Paths inside an image: one spelling for each, and symbolic links followed as the booted system
//! would.

use super::{Contents, Kind, Member};

/// As many links as Linux follows in one path.
const MOST_LINKS: usize = 40;

/// A member's name or a link's target as a path inside the image: no empty and no `.` components;
/// `..` goes up, at most to the root.
#[must_use]
pub fn normal(name: &[u8]) -> Vec<u8> {
    let mut path: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.join(b"/".as_slice())
}

/// A path as a person is told it.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", crate::text::bytes(path))
}

/// What becomes of a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Followed,
    Taken,
}

pub(super) fn resolve<'a>(contents: &'a Contents, path: &[u8], last: Last) -> Option<&'a Member> {
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

fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for (name, path) in [
            ("./", ""),
            ("./a/b/", "a/b"),
            ("a//b/.", "a/b"),
            ("/a/../b", "b"),
            ("../x", "x"),
            ("", ""),
        ] {
            assert_eq!(normal(name.as_bytes()), path.as_bytes(), "{name}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown(b"a\x1b[2Jb\n"), "/a\\u{1b}[2Jb\\n");
    }
}
