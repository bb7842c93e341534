//! Percent-encoding, RFC 3986: one function for each direction.

/// The characters, besides letters and digits, that every part of a URL may contain as they are.
pub(crate) const UNRESERVED: &[u8] = b"-._~";

/// Writes every byte as %XX unless it is a letter, a digit or one of `kept`.
#[must_use]
pub(crate) fn encoded(bytes: impl AsRef<[u8]>, kept: &[u8]) -> String {
    use std::fmt::Write;
    let bytes = bytes.as_ref();
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// The bytes of an encoded text; a % without two hexadecimal digits after it is kept.
#[must_use]
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|two| *first == b'%' && two.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_restores_what_was_encoded() {
        assert_eq!(encoded("a b/ü&c=1~", UNRESERVED), "a%20b%2F%C3%BC%26c%3D1~");
        assert_eq!(encoded("a b/c", b"/"), "a%20b/c");
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encoded(&all, b"")), all);
        assert_eq!(decoded("100%, %4 %zz"), b"100%, %4 %zz");
        assert_eq!(decoded("%+a%-1"), b"%+a%-1");
    }
}
