//! Paths inside an image: one spelling for each, and symbolic links followed as the booted system
//! would.

/// A member's name or a link's target as a path inside the image: no empty and no `.` components;
/// `..` goes up, at most to the root.
#[must_use]
pub(crate) fn normal(name: &[u8]) -> Vec<u8> {
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

pub(super) fn parts(path: &[u8]) -> Vec<Vec<u8>> {
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
