//! The settings of a recipe: the contents of the `.toml` next to it, checked and with absolute
//! paths.

mod blueprint;
mod check;
pub mod customizations;
mod fields;
mod install;
mod merge;
mod raw;
mod repository;
mod schema;
mod script;
mod selinux;
mod sources;
mod tables;
mod texts;
mod values;

pub(in crate::recipe) use check::{Checked, settings as checked};
pub use customizations::Customizations;
pub use install::{Disks, InstallSettings, Layout, SelinuxMode};
pub use osimg_tar::{Format, Level};
pub use repository::{Key, KeySource, Repository, RepositorySource};
pub use schema::schema;
pub use script::{ScriptSettings, ScriptSource, When};
pub use selinux::SelinuxChoice;
pub use sources::{Choices, Entry};
pub(in crate::recipe) use sources::{Source, Sources};
pub use tables::{
    Bootstrap, DeploySettings, FinishSettings, ImageSettings, Initramfs, MachineId, ManagerChoice,
    PackageSettings, RegistrySettings, SbomKind, Settings, Verify, Visibility,
};
pub use values::DurationError;
pub(crate) use values::{
    checked_dbpath, checked_fingerprint, checked_image_word, checked_repository_id, checked_url,
    parse_duration,
};

use super::diagnostic::SyntaxErrors;
use std::path::Path;

impl Settings {
    /// Parses the text of a settings file; `file` is its name in messages, and relative paths start
    /// at `directory`.
    ///
    /// # Errors
    /// Returns all errors in the text, each with its line and column.
    pub fn parse(text: &str, file: &str, directory: &Path) -> Result<Self, SyntaxErrors> {
        let sources = Sources::from_text(text, file, directory);
        Ok(check::settings(&sources, &Choices::default())?.settings)
    }
}
