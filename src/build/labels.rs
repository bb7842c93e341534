//! Which labels an archive gets: from a policy, from the tree, or none.

use std::path::Path;

use crate::archive;
use crate::error::Result;
use crate::report::Report;
use crate::selinux;

/// Where the labels of an archive come from, ready for the archiver.
#[derive(Debug)]
pub struct ChosenLabels {
    source: Chosen,
    /// What is said of it in the manifest.
    pub description: String,
}

#[derive(Debug)]
enum Chosen {
    Policy(Box<selinux::FileContexts>),
    Tree(archive::FromTree),
    Nowhere(archive::NoLabels),
}

impl ChosenLabels {
    /// For the archiver.
    #[must_use]
    pub fn as_labels(&self) -> &dyn archive::Labels {
        match &self.source {
            Chosen::Policy(contexts) => contexts.as_ref(),
            Chosen::Tree(tree) => tree,
            Chosen::Nowhere(none) => none,
        }
    }
}

impl archive::Labels for selinux::FileContexts {
    fn label(&self, path: &[u8], mode: u32) -> Option<Vec<u8>> {
        match self.lookup(path, mode) {
            selinux::Lookup::Context(context) => Some(context.to_vec()),
            selinux::Lookup::Excluded | selinux::Lookup::NoMatch => None,
        }
    }
}

/// Reads the policy that the mode names.
///
/// # Errors
/// When a policy is there and cannot be read.
pub fn labels(mode: &selinux::Mode, root: &Path, report: &Report) -> Result<ChosenLabels> {
    let policy = |contexts: selinux::FileContexts, from: &str| ChosenLabels {
        description: format!("computed from {from} ({} specs)", contexts.specs()),
        source: Chosen::Policy(Box::new(contexts)),
    };
    Ok(match mode {
        selinux::Mode::Auto => match selinux::load_from_tree(root)? {
            Some(contexts) => policy(contexts, "the image's own policy"),
            None => {
                report.note("the image has no SELinux policy: its files get no labels");
                ChosenLabels { source: Chosen::Nowhere(archive::NoLabels), description: "none: the image has no policy".into() }
            }
        },
        selinux::Mode::Policy(file) => policy(selinux::load(file)?, &file.display().to_string()),
        selinux::Mode::FromTree => ChosenLabels { source: Chosen::Tree(archive::FromTree), description: "taken from the tree".into() },
        selinux::Mode::None => ChosenLabels { source: Chosen::Nowhere(archive::NoLabels), description: "none: as asked".into() },
    })
}
