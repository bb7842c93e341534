//! The licence of a package: an SPDX expression, or a text that must not be used as one.

use sha2::{Digest, Sha256};

/// A package's licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Licence {
    /// A valid SPDX expression, as in Fedora and EL 10.
    Expression(String),
    /// Any other text, such as `GPLv2+ and LGPLv2+` in older distributions.
    Text(String),
    /// No licence.
    Unknown,
}

impl Licence {
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text == "(none)" {
            return Self::Unknown;
        }
        // SPDX 2.3 requires operators in capitals. A reference to a text that is in no document is
        // useless to readers of this one.
        let operators = text.split([' ', '(', ')']).all(|word| {
            !["and", "or", "with"]
                .iter()
                .any(|o| o.eq_ignore_ascii_case(word) && *word != o.to_uppercase())
        });
        let mode = spdx::ParseMode { allow_deprecated: true, ..spdx::ParseMode::STRICT };
        let known = operators
            && spdx::Expression::parse_mode(text, mode).is_ok_and(|parsed| {
                parsed.requirements().all(|requirement| {
                    matches!(requirement.req.license, spdx::LicenseItem::Spdx { .. })
                })
            });
        if known { Self::Expression(text.to_owned()) } else { Self::Text(text.to_owned()) }
    }

    /// Its representation in an SPDX document.
    pub(super) fn reference(&self) -> String {
        match self {
            Self::Expression(text) => text.clone(),
            Self::Text(text) => reference(text),
            Self::Unknown => "NOASSERTION".to_owned(),
        }
    }
}

/// A name for a text: its readable characters, and a digest that makes it unique.
fn reference(text: &str) -> String {
    let readable: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(40)
        .collect();
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(8);
    format!("LicenseRef-rpm-{}-{digest}", readable.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_spdx_is_an_expression() {
        for text in [
            "MIT",
            "GPL-2.0-or-later AND (MIT OR Apache-2.0)",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "GPL-2.0",
        ] {
            assert_eq!(Licence::parse(text), Licence::Expression(text.into()), "{text}");
        }
        for text in [
            "GPLv2+ and LGPLv2+",
            "Various",
            "MIT and",
            "mit licence",
            "LicenseRef-Callaway-BSD",
            "GPL-2.0-or-later and MIT",
        ] {
            assert_eq!(Licence::parse(text), Licence::Text(text.into()), "{text}");
        }
        assert_eq!(Licence::parse(" (none) "), Licence::Unknown);
        assert_eq!(Licence::Unknown.reference(), "NOASSERTION");
    }

    #[test]
    fn two_similar_texts_get_two_references() {
        let (one, two) = (
            Licence::parse("GPLv2+ and MIT!").reference(),
            Licence::parse("GPLv2+ and MIT?").reference(),
        );
        assert!(one.starts_with("LicenseRef-rpm-GPLv2--and-MIT-"), "{one}");
        assert_ne!(one, two);
    }
}
