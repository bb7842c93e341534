//! Text between `-----BEGIN LABEL-----` and `-----END LABEL-----`: RFC 7468.

use base64::Engine;

/// The blocks with this label, without their markers; none if one is not closed.
#[must_use]
pub(crate) fn blocks<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&begin) {
        let Some((body, more)) = after.split_once(&end) else { return Vec::new() };
        blocks.push(body.trim());
        rest = more;
    }
    blocks
}

/// What the blocks with this label encode; none if one is damaged.
#[must_use]
pub(crate) fn decode(text: &str, label: &str) -> Vec<Vec<u8>> {
    let bare = |block: &str| block.split_whitespace().collect::<String>();
    let decode = |block: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(bare(block))
            .ok()
            .filter(|bytes| !bytes.is_empty())
    };
    blocks(text, label).into_iter().map(decode).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_the_label_count() {
        let text = "x\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN \
                    CERTIFICATE-----\nAAAB\n-----END CERTIFICATE-----\n";
        assert_eq!(blocks(text, "CERTIFICATE"), ["AAAA", "AAAB"]);
        assert_eq!(decode(text, "CERTIFICATE"), [vec![0, 0, 0], vec![0, 0, 1]]);
        assert!(blocks("-----BEGIN CERTIFICATE-----\nAAAA\n", "CERTIFICATE").is_empty());
        assert!(
            blocks("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "CERTIFICATE")
                .is_empty()
        );
        assert!(
            decode("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "CERTIFICATE")
                .is_empty()
        );
    }
}
