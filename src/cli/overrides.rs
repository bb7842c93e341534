//! The options that build and plan share; they override the settings.

use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::archive::{Format, ImageFormat, Level};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::{
    Choices, Key, KeySource, ManagerChoice, Recipe, Repository, RepositorySource, SelinuxChoice,
    Settings, checked_fingerprint, checked_repository_id, checked_url, parse_duration,
};

/// The options that override the settings.
#[derive(Debug, Args)]
pub(super) struct Overrides {
    /// The recipe: a .yum file in dnf shell's language; `-` reads it from standard input
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Settings file, instead of the .toml next to the recipe
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// An image-builder blueprint: adds its packages, and uses its customizations as settings
    #[arg(long, value_name = "FILE")]
    pub blueprint: Option<PathBuf>,
    /// Lay the table [profile.NAME] of the settings over the rest (can be repeated)
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Set a variable of the settings and the recipe (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// Add a repository (can be repeated)
    #[arg(long = "repo", value_name = "ID=URL")]
    pub repositories: Vec<String>,
    /// Pin a signing key (can be repeated)
    #[arg(long = "key", value_name = "FILE=FINGERPRINT")]
    pub keys: Vec<String>,
    /// The value of $releasever in repositories' URLs
    #[arg(long, value_name = "VERSION")]
    pub releasever: Option<String>,
    /// The image's architecture
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Package manager: auto, dnf4 (or yum) or dnf5
    #[arg(long, value_name = "NAME")]
    pub package_manager: Option<ManagerChoice>,
    /// Format: tgz, tbz, txz, tar, img (a squashfs) or oci (a container image); can be repeated:
    /// several from one pass
    #[arg(long = "format", value_name = "FORMAT")]
    pub formats: Vec<ImageFormat>,
    /// Compression level: fast, default, best, or the format's own number
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<Level>,
    /// Source of SELinux labels: auto, from-tree, none or policy=FILE_CONTEXTS
    #[arg(long, value_name = "SOURCE")]
    pub selinux: Option<SelinuxChoice>,
    /// The latest time of a file, in seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    pub source_date_epoch: Option<i64>,
    /// Limit on each phase of a transaction, such as 30m
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
}

/// A recipe with its settings and options.
#[derive(Debug)]
pub(super) struct Decided {
    pub recipe: Recipe,
    pub formats: Vec<ImageFormat>,
    pub level: Level,
    pub selinux: SelinuxChoice,
    pub source_date_epoch: Option<i64>,
}

impl Overrides {
    /// Reads the recipe and its settings, and applies the options.
    pub(crate) fn decide(&self) -> Result<Decided> {
        let mut recipe = Recipe::load_with(
            &self.recipe,
            self.settings.as_deref(),
            self.blueprint.as_deref(),
            &self.choices()?,
        )?;
        self.repositories(&mut recipe.settings)?;
        self.keys(&mut recipe.settings)?;
        for file in
            recipe.settings.packages.repositories.iter().filter_map(|r| r.password_file.as_deref())
        {
            // A file that cannot be read is reported where it is needed.
            crate::files::read_text(file, crate::files::TEXT)
                .unwrap_or_default()
                .lines()
                .for_each(crate::secrets::conceal);
        }
        let packages = &mut recipe.settings.packages;
        packages.releasever = self.releasever.clone().or(packages.releasever.take());
        packages.arch = self.arch.clone().or(packages.arch.take());
        packages.manager = self.package_manager.unwrap_or(packages.manager);
        if let Some(text) = &self.timeout {
            packages.timeout = Some(
                parse_duration(text)
                    .or_fail(ExitCode::Usage, format!("reading --timeout {text}"))?,
            );
        }
        let image = &recipe.settings.image;
        let formats = match (self.formats.as_slice(), image.formats.as_slice()) {
            ([], []) => vec![Format::Tgz.into()],
            ([], named) => named.to_vec(),
            (given, _) => given.to_vec(),
        };
        let level = self.level.unwrap_or(image.level);
        let selinux =
            self.selinux.clone().unwrap_or_else(|| recipe.settings.finish.selinux.clone());
        let source_date_epoch = self
            .source_date_epoch
            .or(image.source_date_epoch.and_then(|seconds| i64::try_from(seconds).ok()));
        Ok(Decided { recipe, formats, level, selinux, source_date_epoch })
    }

    fn choices(&self) -> Result<Choices> {
        let mut set = BTreeMap::new();
        for text in &self.variables {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::new(ExitCode::Usage, format!("reading --set {text}: there is no '='"))
                    .hint("write it as --set NAME=VALUE")
            })?;
            set.insert(name.to_owned(), value.to_owned());
        }
        Ok(Choices { profiles: self.profiles.clone(), set })
    }

    fn repositories(&self, settings: &mut Settings) -> Result<()> {
        for text in &self.repositories {
            let wrong = |why: String| {
                Failure::new(ExitCode::Usage, format!("reading --repo {text}: {why}"))
                    .hint("write it as --repo ID=URL")
            };
            let (id, url) = text.split_once('=').ok_or_else(|| wrong("'=' is missing".into()))?;
            checked_repository_id(id).map_err(|error| wrong(error.to_string()))?;
            let url = absolute_url(url)?;
            checked_url(&url, Path::new(".")).map_err(|error| wrong(error.to_string()))?;
            settings
                .packages
                .repositories
                .push(Repository::new(id, RepositorySource::Baseurl(vec![url])));
        }
        Ok(())
    }

    fn keys(&self, settings: &mut Settings) -> Result<()> {
        for text in &self.keys {
            let wrong = |why: String| {
                Failure::new(ExitCode::Usage, format!("reading --key {text}: {why}")).hint(
                    "write it as --key FILE=FINGERPRINT; gpg --show-keys FILE prints the \
                     fingerprint",
                )
            };
            let (file, fingerprint) =
                text.rsplit_once('=').ok_or_else(|| wrong("'=' is missing".into()))?;
            let fingerprint =
                checked_fingerprint(fingerprint).map_err(|error| wrong(error.to_string()))?;
            settings.packages.keys.push(Key { source: KeySource::File(file.into()), fingerprint });
        }
        Ok(())
    }
}

/// A directory as a URL; URLs are not changed.
fn absolute_url(text: &str) -> Result<String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let directory = Path::new(text)
        .canonicalize()
        .or_fail(ExitCode::Usage, format!("looking for the repository's directory {text}"))?;
    Ok(format!("file://{}", directory.display()))
}
