//! A document next to the tarballs.

/// A file next to the tarballs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// The suffix after the artifact's `NAME-VERSION` or after a full file name: see
    /// [`Document::name`].
    pub suffix: String,
    /// The file that it describes; `None` if it describes the whole artifact. For
    /// `NAME-VERSION.tgz.minisig` this is `NAME-VERSION.tgz`.
    pub of: Option<String>,
    /// Its content.
    pub content: Vec<u8>,
}

impl Document {
    /// Its file name; `stem` is the artifact's `NAME-VERSION`.
    #[must_use]
    pub(crate) fn name(&self, stem: &str) -> String {
        format!("{}.{}", self.of.as_deref().unwrap_or(stem), self.suffix)
    }
}
