//! The source of an archive's labels: a policy, the tree, or none.

use std::path::Path;

use crate::archive;
use crate::error::{ExitCode, Result, ResultExt};
use crate::recipe::SelinuxChoice;
use crate::report::Report;
use crate::selinux;

/// Where the labels of an archive come from, ready for the archiver.
#[derive(Debug)]
pub(crate) struct ChosenLabels {
    source: Chosen,
    /// Its description in the manifest.
    pub description: String,
}

#[derive(Debug)]
enum Chosen {
    Policy(Box<Policy>),
    Tree(archive::FromTree),
    Nowhere(archive::NoLabels),
}

impl ChosenLabels {
    /// For the archiver.
    #[must_use]
    pub(crate) fn as_labels(&self) -> &dyn archive::Labels {
        match &self.source {
            Chosen::Policy(contexts) => contexts.as_ref(),
            Chosen::Tree(tree) => tree,
            Chosen::Nowhere(none) => none,
        }
    }
}

/// The labels of a policy.
#[derive(Debug)]
struct Policy(selinux::FileContexts);

impl archive::Labels for Policy {
    fn label(&self, path: &[u8], mode: u32) -> Option<Vec<u8>> {
        match self.0.lookup(path, mode) {
            selinux::Lookup::Context(context) => Some(context.to_vec()),
            selinux::Lookup::Excluded | selinux::Lookup::NoMatch => None,
        }
    }
}

/// Checks the policy that the user chose, before the build.
///
/// # Errors
/// [`ExitCode::Recipe`] if it cannot be read.
pub(super) fn check(choice: &SelinuxChoice) -> Result<()> {
    match choice {
        SelinuxChoice::Policy(file) => load(file).map(drop),
        SelinuxChoice::Auto | SelinuxChoice::FromTree | SelinuxChoice::None => Ok(()),
    }
}

fn load(file: &Path) -> Result<selinux::FileContexts> {
    selinux::load(file)
        .or_fail(ExitCode::Recipe, format!("reading the SELinux policy {}", file.display()))
}

/// Reads the policy of the choice.
///
/// # Errors
/// When a policy is there and cannot be read.
pub(crate) fn labels(choice: &SelinuxChoice, root: &Path, report: &Report) -> Result<ChosenLabels> {
    let policy = |contexts: selinux::FileContexts, from: &str| ChosenLabels {
        description: format!("computed from {from} ({} specs)", contexts.specs()),
        source: Chosen::Policy(Box::new(Policy(contexts))),
    };
    Ok(match choice {
        SelinuxChoice::Auto => match selinux::load_from_tree(root)? {
            Some(contexts) => policy(contexts, "the image's own policy"),
            None => {
                report.note("the image has no SELinux policy: its files get no labels");
                ChosenLabels {
                    source: Chosen::Nowhere(archive::NoLabels),
                    description: "none: the image has no policy".into(),
                }
            }
        },
        SelinuxChoice::Policy(file) => policy(load(file)?, &file.display().to_string()),
        SelinuxChoice::FromTree => ChosenLabels {
            source: Chosen::Tree(archive::FromTree),
            description: "taken from the tree".into(),
        },
        SelinuxChoice::None => ChosenLabels {
            source: Chosen::Nowhere(archive::NoLabels),
            description: "none: as asked".into(),
        },
    })
}
