//! Texts as they are written, with their places.

use toml::Spanned;

/// A text that may be missing.
pub(super) type Text = Option<Spanned<String>>;
/// A list of texts that may be missing.
pub(super) type Texts = Option<Vec<Spanned<String>>>;
