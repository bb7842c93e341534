//! What a package says of its licence: an SPDX expression, or a text that must not pass for one.

use sha2::{Digest, Sha256};

/// A package's licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Licence {
    /// A valid SPDX expression, as Fedora and EL 10 write it.
    Expression(String),
    /// Anything else, such as `GPLv2+ and LGPLv2+` of older distributions.
    Text(String),
    /// Nothing.
    Unknown,
}

impl Licence {
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text == "(none)" {
            return Self::Unknown;
        }
        // SPDX 2.3 wants operators in capitals. A reference to a text that stands in no document
        // says nothing to a reader of this one.
        let operators = text
            .split([' ', '(', ')'])
            .all(|word| !["and", "or", "with"].iter().any(|o| o.eq_ignore_ascii_case(word) && *word != o.to_uppercase()));
        let mode = spdx::ParseMode { allow_deprecated: true, ..spdx::ParseMode::STRICT };
        let known = operators
            && spdx::Expression::parse_mode(text, mode).is_ok_and(|parsed| {
                parsed.requirements().all(|requirement| matches!(requirement.req.license, spdx::LicenseItem::Spdx { .. }))
            });
        if known { Self::Expression(text.to_owned()) } else { Self::Text(text.to_owned()) }
    }

    /// What stands for it in an SPDX document.
    pub fn reference(&self) -> String {
        match self {
            Self::Expression(text) => text.clone(),
            Self::Text(text) => reference(text),
            Self::Unknown => "NOASSERTION".to_owned(),
        }
    }
}

/// A name for a text: what can be read of it, and a digest that makes it unique.
fn reference(text: &str) -> String {
    let readable: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(40).collect();
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(8);
    format!("LicenseRef-rpm-{}-{digest}", readable.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_spdx_knows_is_an_expression() {
        for text in ["MIT", "GPL-2.0-or-later AND (MIT OR Apache-2.0)", "GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0"] {
            assert_eq!(Licence::of(text), Licence::Expression(text.into()), "{text}");
        }
        for text in ["GPLv2+ and LGPLv2+", "Various", "MIT and", "mit licence", "LicenseRef-Callaway-BSD", "GPL-2.0-or-later and MIT"] {
            assert_eq!(Licence::of(text), Licence::Text(text.into()), "{text}");
        }
        assert_eq!(Licence::of(" (none) "), Licence::Unknown);
        assert_eq!(Licence::Unknown.reference(), "NOASSERTION");
    }

    #[test]
    fn two_texts_that_read_alike_get_two_references() {
        let (one, two) = (Licence::of("GPLv2+ and MIT!").reference(), Licence::of("GPLv2+ and MIT?").reference());
        assert!(one.starts_with("LicenseRef-rpm-GPLv2--and-MIT-"), "{one}");
        assert_ne!(one, two);
    }
}
