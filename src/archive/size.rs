//! Sizes on the command line.

use crate::error::{ExitCode, Failure, Result};

/// Reads a size such as `512M` or `2G`: a whole number of bytes, or of KiB, MiB, GiB or TiB with a
/// letter.
///
/// # Errors
/// Fails for anything else.
pub(crate) fn parse_size(text: &str) -> Result<u64> {
    let wrong = || {
        Failure::new(
            ExitCode::Usage,
            format!("reading the size `{text}`: it is not a whole number with K, M, G or T"),
        )
        .hint("write it as 512M or 2G")
    };
    let upper = text.to_ascii_uppercase();
    let trimmed = upper.strip_suffix("IB").unwrap_or(&upper);
    let (digits, unit) = match trimmed.char_indices().next_back() {
        Some((at, letter @ ('K' | 'M' | 'G' | 'T'))) => {
            (trimmed.get(..at).unwrap_or_default(), letter)
        }
        _ => (text, 'B'),
    };
    let shift = match unit {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => 0,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong().into());
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| wrong().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        for (text, size) in [
            ("0", 0),
            ("1024", 1024),
            ("4k", 4096),
            ("512M", 512 << 20),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text).unwrap(), size, "{text}");
        }
        for text in ["", "M", "-1", "+1", "1.5G", "2 G", "12X", "99999999999T", "\u{b5}M"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
