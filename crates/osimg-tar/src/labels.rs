//! Labels and owners that an archive gets instead of those of the tree.

use std::collections::HashMap;
use std::fmt;

use nix::sys::stat::FileStat;

/// The source of the labels of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelSource {
    /// [`Labels::label`] is called for every member.
    Computed,
    /// The labels of the tree's file system are kept.
    Tree,
    /// No member carries a label.
    Nowhere,
}

/// The labels of an image's files.
pub trait Labels: Sync {
    /// The label of a file, without a final NUL; `None` when the policy gives it none.
    ///
    /// `path` is absolute inside the image (`/` is its root) and `mode` is `st_mode` with the bits
    /// of the type.
    fn label(&self, path: &[u8], mode: u32) -> Option<Vec<u8>>;

    /// Whether [`Labels::label`] is called at all.
    fn source(&self) -> LabelSource {
        LabelSource::Computed
    }
}

/// No labels: the members carry no label records, whatever labels the tree's file system has.
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

/// The file capabilities that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capabilities {
    /// All, as they are.
    #[default]
    All,
    /// Only those without the root id of a user namespace: the others have no effect outside of the
    /// container that set them.
    OfHost,
}

/// User and group ids by a file's device and inode.
pub type Owners = HashMap<(u64, u64), (u32, u32)>;

/// Labels and owners of the tree's files, instead of those that the file system has.
#[derive(Clone, Copy)]
pub struct Overrides<'a> {
    /// Their labels.
    pub labels: &'a dyn Labels,
    /// Their owners, for a tree whose file system gives all files one owner. A file that is
    /// missing here belongs to root.
    pub owners: Option<&'a Owners>,
}

impl fmt::Debug for Overrides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides").field("owners", &self.owners.is_some()).finish_non_exhaustive()
    }
}

impl<'a, L: Labels> From<&'a L> for Overrides<'a> {
    fn from(labels: &'a L) -> Self {
        Self { labels, owners: None }
    }
}

impl Overrides<'_> {
    /// The owner of a file in the archive.
    pub(crate) fn owner(&self, stat: &FileStat) -> (u32, u32) {
        match self.owners {
            Some(owners) => owners.get(&(stat.st_dev, stat.st_ino)).copied().unwrap_or((0, 0)),
            None => (stat.st_uid, stat.st_gid),
        }
    }
}
