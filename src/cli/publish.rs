//! `osimg publish`: a tarball, with what it boots with, into a registry.

use clap::Args;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{ExitCode, Failure, Result};
use crate::registry::{self, Address, Kind, Older, Piece, References, Set, SignatureKey, Visibility, Wishes};
use crate::report::{Report, Unit, bytes};

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The tarball; the manifest beside it says what it is
    #[arg(value_name = "TARBALL")]
    tarball: PathBuf,
    /// Where to publish: dir:PATH, glance:CLOUD (of clouds.yaml; glance: takes OS_CLOUD or OS_*) or oci:REFERENCE
    #[arg(long, value_name = "ADDRESS")]
    registry: Address,
    /// The installer's kernel
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The installer's initramfs
    #[arg(long, value_name = "FILE")]
    ramdisk: Option<PathBuf>,
    /// The installer's second stage: a squashfs
    #[arg(long, value_name = "FILE")]
    stage2: Option<PathBuf>,
    /// The kickstart template
    #[arg(long, value_name = "FILE")]
    kickstart: Option<PathBuf>,
    /// The image's name [default: the manifest's, else the file's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The image's version [default: the manifest's, else the file's]
    #[arg(long, value_name = "VERSION")]
    image_version: Option<String>,
    /// A property of the image (can be repeated)
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    #[command(flatten)]
    wishes: WishArgs,
}

/// How it is published, beside what it is.
#[derive(Debug, Args)]
struct WishArgs {
    /// Who may see it; auto is the widest that the roles allow, for Ironic has to find it
    #[arg(long, value_enum, default_value = "auto", value_name = "WHO")]
    visibility: Visibility,
    /// Share it with a project, by name or id: Ironic's own (can be repeated)
    #[arg(long, value_name = "PROJECT")]
    share_with: Vec<String>,
    /// A tag (can be repeated)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Leave it out of lists
    #[arg(long)]
    hidden: bool,
    /// Protect it from removal
    #[arg(long)]
    protected: bool,
    /// What becomes of older versions: keep, hide, or how many to keep in all
    #[arg(long, value_name = "keep|hide|N", default_value = "keep", value_parser = older)]
    older: Older,
    /// An address of the tarball from which Glance fetches it itself
    #[arg(long, value_name = "URL")]
    import_from: Option<String>,
    /// Sign the images with this RSA key
    #[arg(long, value_name = "FILE", requires = "sign_certificate")]
    sign_key: Option<PathBuf>,
    /// The id of the key's certificate in Barbican
    #[arg(long, value_name = "UUID", requires = "sign_key")]
    sign_certificate: Option<String>,
}

impl WishArgs {
    fn wishes(&self) -> Wishes {
        let signature = self.sign_key.clone().zip(self.sign_certificate.clone());
        Wishes {
            visibility: self.visibility,
            share_with: self.share_with.clone(),
            hidden: self.hidden,
            protected: self.protected,
            tags: self.tags.clone(),
            older: self.older,
            import_from: self.import_from.clone(),
            signature: signature.map(|(key, certificate)| SignatureKey { key, certificate }),
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
        number => match usize::from_str(number) {
            Ok(keep) if keep > 0 => Ok(Older::Remove(keep)),
            _ => Err("write keep, hide, or a number of versions to keep".into()),
        },
    }
}

impl Publish {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        // Before hundreds of megabytes are hashed: a wrong password is told at once.
        let registry = registry::open(&self.registry, &self.wishes.wishes(), report)?;
        report.note(&registry.describe());
        let set = self.set(report)?;
        let references = registry.publish(&set, report)?;
        if let Some(manifest) = &set.manifest
            && references.kind != Kind::Directory
            && let Err(error) = registry::record(&manifest.path, &references)
        {
            report.warn(&format!("the set is published, but its manifest does not say so: {error:#}"));
        }
        if json {
            super::print(&serde_json::to_string_pretty(&references)?)?;
        } else {
            tell(report, &references);
            super::print(&references.tarball.id)?;
        }
        Ok(ExitCode::Done)
    }

    fn set(&self, report: &Report) -> Result<Set> {
        let step = report.step("reading the set");
        step.item(&self.tarball.display().to_string());
        let mut set = Set::of_tarball(&self.tarball, |done, total| step.progress(Unit::Bytes, done, total))?;
        let piece = |path: &Option<PathBuf>| path.as_deref().map(|path: &Path| Piece::of_file(path, |_, _| {})).transpose();
        set.kernel = piece(&self.kernel)?;
        set.ramdisk = piece(&self.ramdisk)?;
        set.stage2 = piece(&self.stage2)?;
        set.kickstart = piece(&self.kickstart)?;
        if let Some(name) = &self.name {
            set.name.clone_from(name);
        }
        if let Some(version) = &self.image_version {
            set.version.clone_from(version);
        }
        for (key, value) in &self.properties {
            if set.properties.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::new(ExitCode::Usage, format!("the property {key} is given twice")).into());
            }
        }
        set.check()?;
        step.finish(&format!("{}, {}", set.stem(), bytes(set.tarball.piece.size)));
        Ok(set)
    }
}

/// Says which id is what.
pub(super) fn tell(report: &Report, references: &References) {
    for role in registry::Role::ALL {
        if let Some(reference) = references.role(role) {
            report.note(&format!("{role}: {}", reference.id));
        }
    }
    if !references.retired.is_empty() {
        report.note(&format!("older versions, hidden or removed: {}", references.retired.join(", ")));
    }
}
