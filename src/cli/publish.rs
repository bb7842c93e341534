//! `osimg publish`: publishes a tarball, with its boot files, to a registry.

use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::allowed;
use super::output;
use super::shared::count;
use super::shared::default_cache;
use super::stopped;
use crate::build::{consumers, unfit};
use crate::contents::Digests;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::installer::pieces::{Gathering, Mismatch, Source};
use crate::installer::{ImageRelease, kickstart};
use crate::process;
use crate::recipe::{Settings, Visibility};
use crate::registry::{self, Address, Existing, Older, PublishOptions, SignatureKey};
use crate::report::{Report, Unit, bytes};
use crate::set::{Kind, Made, References, Role, Set};
use crate::verify;

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The tarball; the manifest next to it describes it
    #[arg(value_name = "TARBALL")]
    tarball: PathBuf,
    /// Registry: dir:PATH, tree:PATH=URL (a web server's directory), glance:CLOUD (of clouds.yaml;
    /// glance: uses OS_CLOUD or OS_*), oci:HOST/NAME[:TAG], or oci-image:HOST/NAME[:TAG] (a
    /// container image)
    #[arg(long, value_name = "ADDRESS")]
    registry: Address,
    /// The installer's kernel: a file or URL
    #[arg(long, value_name = "FILE")]
    kernel: Option<String>,
    /// The installer's initramfs
    #[arg(long, value_name = "FILE")]
    ramdisk: Option<String>,
    /// The installer's second stage: a squashfs
    #[arg(long, value_name = "FILE")]
    stage2: Option<String>,
    /// Instead of these three: an install tree (a directory, or the URL that contains .treeinfo) or
    /// an installer's ISO image
    #[arg(long, value_name = "TREE", conflicts_with_all = ["kernel", "ramdisk", "stage2"])]
    tree: Option<String>,
    /// Accept boot pieces of another distribution or release than the image's
    #[arg(long)]
    allow_release_mismatch: bool,
    /// Directory for fetched boot pieces [default: /var/cache/osimg for root, otherwise
    /// $XDG_CACHE_HOME/osimg]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Authorities (a PEM file) for the certificates of an install tree's server and an OCI
    /// registry
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The kickstart template, checked and completed with the tarball's checksum [default: osimg's
    /// own]
    #[arg(long, value_name = "FILE")]
    kickstart: Option<PathBuf>,
    /// Settings file with [deploy.install], for osimg's own kickstart template
    #[arg(long, value_name = "FILE", conflicts_with = "kickstart")]
    settings: Option<PathBuf>,
    /// The image's name [default: from the manifest, or the file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The image's version [default: from the manifest, or the file's name]
    #[arg(long, value_name = "VERSION")]
    image_version: Option<String>,
    /// A property of the image (can be repeated)
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// Publish despite this error of `osimg verify`; unrecognised-kernel, -ramdisk and -stage2
    /// accept boot pieces (can be repeated)
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    #[command(flatten)]
    publishing: PublishArgs,
}

/// The options of the publication.
#[derive(Debug, Args)]
struct PublishArgs {
    /// Who may see it; auto is the widest that the roles allow, because Ironic must find it
    #[arg(long, value_enum, default_value = "auto", value_name = "WHO")]
    visibility: Visibility,
    /// Share it with a project, by name or id, such as Ironic's own (can be repeated)
    #[arg(long, value_name = "PROJECT")]
    share_with: Vec<String>,
    /// A tag (can be repeated)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Hide it in lists
    #[arg(long)]
    hidden: bool,
    /// Protect it from removal
    #[arg(long)]
    protected: bool,
    /// How to handle older versions: keep, hide, or the number to keep in all
    #[arg(long, value_name = "keep|hide|N", default_value = "keep", value_parser = older)]
    older: Older,
    /// Replace the same version, with all its files, if it exists with other bytes
    #[arg(long)]
    replace: bool,
    /// An address from which Glance fetches the tarball itself
    #[arg(long, value_name = "URL")]
    import_from: Option<String>,
    /// Sign the images with this RSA key
    #[arg(long, value_name = "FILE", requires = "sign_certificate")]
    sign_key: Option<PathBuf>,
    /// The id of the key's certificate in Barbican
    #[arg(long, value_name = "UUID", requires = "sign_key")]
    sign_certificate: Option<String>,
}

impl PublishArgs {
    fn options(&self) -> PublishOptions {
        let signature = self.sign_key.clone().zip(self.sign_certificate.clone());
        PublishOptions {
            visibility: self.visibility,
            share_with: self.share_with.clone(),
            hidden: self.hidden,
            protected: self.protected,
            tags: self.tags.clone(),
            older: self.older,
            existing: if self.replace { Existing::Replace } else { Existing::Keep },
            import_from: self.import_from.clone(),
            signature: signature.map(|(key, certificate)| SignatureKey { key, certificate }),
            ca: None,
        }
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".into()),
    }
}

fn older(text: &str) -> Result<Older, String> {
    match text {
        "keep" => Ok(Older::Keep),
        "hide" => Ok(Older::Hide),
        number => super::shared::kept_versions(number)
            .map(Older::Remove)
            .map_err(|_| "write keep, hide, or the number of versions to keep, at least 1".into()),
    }
}

impl Publish {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let references = self.publish(report).map_err(stopped::unpublished)?;
        if json {
            output::print_json(report, &references)?;
        } else {
            report_references(report, &references);
            output::print(report, &references.tarball.id)?;
        }
        // The set is published, but an additional request failed.
        registry::kept_failure(&references.kept)
            .map_or(Ok(ExitCode::Done), |failure| Err(failure.into()))
    }

    fn publish(&self, report: &Report) -> Result<References> {
        // Before hundreds of megabytes are hashed: a wrong password is reported at once.
        let source = Source::choose(
            self.kernel.as_deref(),
            self.ramdisk.as_deref(),
            self.stage2.as_deref(),
            self.tree.as_deref(),
        )?;
        let options = PublishOptions { ca: self.ca_file.clone(), ..self.publishing.options() };
        let (allow, allow_pieces) = allowed::allowed(&self.allow)?;
        self.check_files()?;
        let settings =
            self.settings.as_deref().map(Settings::load).transpose()?.unwrap_or_default();
        let registry = registry::open(&self.registry, &options, report)?;
        report.note(&registry.describe());
        let mut set = self.set(report)?;
        self.registry.check_format(set.tarball.format)?;
        self.be_fit(allow, report)?;
        if let Some(source) = source {
            let mismatch =
                if self.allow_release_mismatch { Mismatch::Allow } else { Mismatch::Refuse };
            let cache = self.cache.clone().map_or_else(default_cache, Ok)?;
            let how = Gathering {
                cache: &cache,
                ca: self.ca_file.as_deref(),
                mismatch,
                allow: &allow_pieces,
            };
            source.gather(&ImageRelease::from_set(&set), &how, report)?.join(&mut set);
        }
        let directory =
            tempfile::tempdir().or_fail(ExitCode::Space, "creating a temporary directory")?;
        if self.kickstart.is_some() || set.kernel.is_some() {
            set.kickstart = Some(kickstart::for_set(
                &set,
                self.kickstart.as_deref(),
                &settings.deploy.install,
                directory.path(),
                report,
            )?);
        }
        set.check()?;
        let references = registry.publish(&set, report)?;
        if let Some(manifest) = &set.manifest
            && references.kind != Kind::Directory
            && let Err(error) = registry::record(&manifest.path, &references)
        {
            report.warn(&format!(
                "the set is published, but its manifest could not be updated: {error:#}"
            ));
        }
        Ok(references)
    }

    /// Checks the files that are read only after the tarball.
    fn check_files(&self) -> Result<()> {
        let named = [&self.kickstart, &self.publishing.sign_key, &self.ca_file];
        named.into_iter().flatten().try_for_each(|path| {
            files::open(path)
                .map(drop)
                .or_fail(ExitCode::Recipe, format!("opening {}", path.display()))
        })
    }

    /// Verifies the tarball: an image that is not fit for a node is not published, unless its
    /// findings are allowed.
    fn be_fit(&self, allow: BTreeSet<String>, report: &Report) -> Result<()> {
        let step = report.step("verifying");
        let options = verify::Options {
            consumers: consumers(&self.registry),
            allow,
            digests: Digests::None,
            progress: &|done, total| step.progress(Unit::Bytes, done, total),
            check: &process::check_stop,
            ..verify::Options::default()
        };
        let findings = verify::tarball(&self.tarball, &options)?;
        if findings.fit() {
            step.finish(&format!(
                "fit for {}, {}",
                findings.profile,
                count(findings.warnings(), "warning")
            ));
            return Ok(());
        }
        Err(unfit(&format!("publishing {}", self.tarball.display()), &findings.findings)
            .hint(format!("for the fixes, run osimg verify {}", self.tarball.display()))
            .into())
    }

    fn set(&self, report: &Report) -> Result<Set> {
        let step = report.step("reading the set");
        step.item(&self.tarball.display().to_string());
        let mut set = Set::from_tarball(&self.tarball, |done, total| {
            step.progress(Unit::Bytes, done, total)
        })?;
        if let Some(name) = &self.name {
            set.name.clone_from(name);
        }
        if let Some(version) = &self.image_version {
            set.version.clone_from(version);
        }
        // Before it is printed for the first time.
        set.check_name()?;
        for (key, value) in &self.properties {
            if set.properties.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("the property {key} is given twice"),
                )
                .into());
            }
        }
        step.finish(&format!("{}, {}", set.stem(), bytes(set.tarball.piece.size)));
        Ok(set)
    }
}

/// Reports the ids.
pub(super) fn report_references(report: &Report, references: &References) {
    for role in Role::ALL {
        if let Some(reference) = references.role(role) {
            let made = match reference.made {
                Made::New => "",
                Made::Reused => " (the same artifact, which exists already)",
            };
            report.note(&format!("{role}: {}{made}", reference.id));
        }
    }
    if !references.retired.is_empty() {
        report
            .note(&format!("older versions, hidden or removed: {}", references.retired.join(", ")));
    }
}
