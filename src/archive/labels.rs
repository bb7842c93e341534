//! Where the SELinux labels of an archive come from.

/// What an archive says about labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelSource {
    /// [`Labels::label`] is asked for every member.
    Computed,
    /// What the tree's file system says is kept.
    Tree,
    /// Nothing: no member carries a label.
    Nowhere,
}

/// The labels of an image's files.
pub trait Labels: Sync {
    /// The label of a file, without a final NUL; none when the policy gives it none.
    ///
    /// `path` is absolute inside the image (`/` is its root) and `mode` is `st_mode` with the bits
    /// of the type.
    fn label(&self, path: &[u8], mode: u32) -> Option<Vec<u8>>;

    /// Whether [`Labels::label`] is to be asked at all.
    fn source(&self) -> LabelSource {
        LabelSource::Computed
    }
}

/// No labels: the members carry no label records, whatever the tree's file system says.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLabels;

impl Labels for NoLabels {
    fn label(&self, _path: &[u8], _mode: u32) -> Option<Vec<u8>> {
        None
    }

    fn source(&self) -> LabelSource {
        LabelSource::Nowhere
    }
}

/// The labels found in the tree: right only when the tree was labelled for the image's own policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromTree;

impl Labels for FromTree {
    fn label(&self, _path: &[u8], _mode: u32) -> Option<Vec<u8>> {
        None
    }

    fn source(&self) -> LabelSource {
        LabelSource::Tree
    }
}
