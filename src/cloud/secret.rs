//! A text that is never shown.

use std::fmt;

/// A password or token. It is written into requests, and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text; what services and tools print is from now on shown without it.
    #[must_use]
    pub fn new(text: String) -> Self {
        crate::secrets::conceal(&text);
        Self(text)
    }

    /// The text, for a request.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
