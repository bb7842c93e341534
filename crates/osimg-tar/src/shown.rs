//! Paths in messages.

/// A path inside the tree for a message: absolute, and without control characters, which would
/// reach the terminal.
pub(super) fn shown(path: &[u8]) -> String {
    let mut text = String::from("/");
    for character in String::from_utf8_lossy(path).chars() {
        if character.is_control() {
            text.extend(character.escape_default())
        } else {
            text.push(character)
        }
    }
    text
}
