//! Finds the image that the user named, in a form that Ironic takes: a manifest, a URL, a
//! reference, a name in Glance.

use std::path::Path;

use super::instance_info::{Image, Mode};
use crate::archive::Format;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::{self, Client, Redirects, Trust, WebUrl};
use crate::installer::treeinfo::{LONGEST, TreeInfo};
use crate::naming;
use crate::registry::{Address, oci};
use crate::set::{Kind, References, manifest_text};

/// No manifest is larger.
const LONGEST_MANIFEST: u64 = 256 << 20;

/// The user's choices where a name could mean several things.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice<'a> {
    /// The mode; detected from the form of the name when it is not set.
    pub mode: Option<Mode>,
    /// Which of several tarballs.
    pub format: Option<Format>,
    /// The URL under which a directory's files are served.
    pub base_url: Option<&'a str>,
    /// The architecture to install, where the image is there for several.
    pub arch: Option<&'a str>,
    /// The authorities of web servers; the host's when there are none.
    pub ca: Option<&'a Path>,
    /// Whether a container registry is asked about a reference.
    pub lookup: Lookup,
}

/// Whether servers are asked about the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lookup {
    /// They are: this machine sees what the conductor sees.
    #[default]
    Allowed,
    /// They are not: the conductor may see other servers.
    Skipped,
}

/// The image that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// An image whose parts are all known.
    Image {
        /// The image.
        image: Image,
        /// The tarball's SHA-256, when it is known.
        sha256: Option<String>,
        /// Its architecture, when it is known.
        arch: Option<String>,
    },
    /// An image to be looked up in Glance.
    InGlance {
        /// Its name or UUID.
        name: String,
        /// The cloud, when a manifest names it.
        cloud: Option<String>,
        /// The tarball's SHA-256, when it is known.
        sha256: Option<String>,
    },
}

/// Finds out what the text means. Pieces that are not found here may still be named one by one.
///
/// # Errors
/// When it means nothing, several things, or what it means cannot be read.
pub(crate) fn find(text: &str, choice: &Choice<'_>) -> Result<Found> {
    if let Some(reference) = text.strip_prefix("oci://") {
        return from_oci(reference, choice);
    }
    if naming::is_address(text) {
        let url = WebUrl::parse(text).map_err(|why| {
            let shown = text
                .split(['?', '#'])
                .next()
                .unwrap_or_default()
                .rsplit('@')
                .next()
                .unwrap_or_default();
            Failure::new(
                ExitCode::Usage,
                format!("reading the URL of the image {}: {why}", shown.escape_debug()),
            )
        })?;
        return from_url(&url, choice);
    }
    if Path::new(text).is_file() {
        return from_file(Path::new(text), choice);
    }
    if text.ends_with(".json") || text.starts_with(['/', '.']) {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("looking for the image {}: {}", text.escape_debug(), why(Path::new(text))),
        )
        .into());
    }
    match choice.mode {
        None | Some(Mode::Glance) => {
            Ok(Found::InGlance { name: text.to_owned(), cloud: None, sha256: None })
        }
        Some(_) => Err(Failure::new(
            ExitCode::Usage,
            format!(
                "looking for the image {}: it is neither a manifest nor a URL",
                text.escape_debug()
            ),
        )
        .hint("only images in Glance have names: leave --mode out, or name the manifest or the URL")
        .into()),
    }
}

/// A published set contains its own boot pieces.
fn from_oci(reference: &str, choice: &Choice<'_>) -> Result<Found> {
    if choice.lookup == Lookup::Skipped {
        return Ok(Found::Image {
            image: bare(Mode::Oci, &format!("oci://{reference}")),
            sha256: None,
            arch: None,
        });
    }
    let access = oci::Access::from_environment(choice.ca.map(Path::to_owned));
    Ok(match oci::find(reference, &access, choice.arch)? {
        oci::Deployable::Set(set) => Found::Image {
            image: Image::from_references(&set, None)?,
            sha256: set.tarball.sha256,
            arch: set.arch,
        },
        oci::Deployable::Alone { url, sha256 } => {
            Found::Image { image: bare(Mode::Oci, &url), sha256, arch: None }
        }
    })
}

fn bare(mode: Mode, source: &str) -> Image {
    Image {
        mode,
        source: source.to_owned(),
        kernel: None,
        ramdisk: None,
        stage2: None,
        kickstart: None,
    }
}

fn from_file(path: &Path, choice: &Choice<'_>) -> Result<Found> {
    let shown = path.display().to_string();
    if Format::from_name(path).is_ok() {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("deploying {shown}: a tarball on this machine is out of every node's reach"),
        )
        .hint(
            "publish it first (osimg publish), then name the manifest next to it, or the image in \
             the registry",
        )
        .into());
    }
    let doing = format!("reading the manifest {shown}");
    let text = crate::files::read_text(path, LONGEST_MANIFEST).or_fail(ExitCode::Usage, doing)?;
    from_manifest(&text, &shown, None, choice)
}

/// Why a path is not the file of an image.
fn why(path: &Path) -> String {
    match crate::files::open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => error.to_string(),
        _ => "there is no such file".to_owned(),
    }
}

fn from_url(url: &WebUrl, choice: &Choice<'_>) -> Result<Found> {
    let name = url.file_name();
    if choice.mode == Some(Mode::Tree) || (choice.mode.is_none() && name.is_empty()) {
        return tree(url, choice);
    }
    let client = Client::new(&Trust::named(choice.ca), Redirects::Follow)?;
    let directory = directory_of(url);
    if name.ends_with(".json") {
        let text = http::text(&client, url, LONGEST_MANIFEST)?.ok_or_else(|| {
            Failure::new(
                ExitCode::Registry,
                format!("reading the manifest {url}: the server has no such file"),
            )
        })?;
        return from_manifest(&text, url.as_str(), Some(&directory), choice);
    }
    if Format::from_name(Path::new(name)).is_err() {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("deploying {url}: it does not end as a tarball, a manifest or a directory"),
        )
        .hint(
            "a tarball ends in .tgz, .tbz, .txz or .tar, a manifest in .json, and an install \
             tree's URL in a slash",
        )
        .into());
    }
    // A tarball that osimg published has its manifest next to it.
    let stem = naming::stem(name).unwrap_or(name);
    let manifest = WebUrl::parse(&format!("{directory}/{}", naming::manifest(stem))).ok();
    if let Some(manifest) = manifest
        && let Ok(Some(text)) = http::text(&client, &manifest, LONGEST_MANIFEST)
        && let Some(set) =
            manifest_text::published(&text).into_iter().find(|set| set.tarball.id == name)
    {
        let image = Image::from_references(&set, Some(&directory))?;
        return Ok(Found::Image {
            image,
            sha256: set.tarball.sha256,
            arch: set.arch.or_else(|| manifest_text::arch(&text)),
        });
    }
    let sum = WebUrl::parse(&format!("{url}.sha256"))
        .ok()
        .and_then(|sum| http::text(&client, &sum, 4096).ok().flatten());
    let sha256 = sum
        .as_deref()
        .and_then(|text| text.split_whitespace().next())
        .filter(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(Found::Image {
        image: bare(Mode::Http, url.as_str()),
        sha256: sha256.map(str::to_ascii_lowercase),
        arch: None,
    })
}

fn directory_of(url: &WebUrl) -> String {
    url.as_str().rsplit_once('/').map_or_else(String::new, |(directory, _)| directory.to_owned())
}

/// An install tree: its `.treeinfo` names kernel and ramdisk.
fn tree(url: &WebUrl, choice: &Choice<'_>) -> Result<Found> {
    let source = format!("{}/", url.as_str().trim_end_matches('/'));
    let mut image = bare(Mode::Tree, &source);
    let doing = format!("reading the install tree {source}");
    let client = Client::new(&Trust::named(choice.ca), Redirects::Follow)?;
    for name in [".treeinfo", "treeinfo"] {
        let Some(text) = http::text(&client, &url.join(name), LONGEST as u64)? else { continue };
        let wrong =
            |why: String| Failure::new(ExitCode::Registry, format!("{doing}: its {name}: {why}"));
        let info = TreeInfo::parse(&text).map_err(|error| wrong(error.to_string()))?;
        let (kernel, ramdisk) = info.boot().map_err(wrong)?;
        image.kernel = Some(url.join(kernel.as_str()).to_string());
        image.ramdisk = Some(url.join(ramdisk.as_str()).to_string());
        return Ok(Found::Image { image, sha256: None, arch: Some(info.arch) });
    }
    Ok(Found::Image { image, sha256: None, arch: None })
}

fn from_manifest(
    text: &str,
    shown: &str,
    base: Option<&str>,
    choice: &Choice<'_>,
) -> Result<Found> {
    let doing = format!("reading the manifest {shown}");
    // The output of `osimg publish --json` is accepted as well.
    let mut sets = manifest_text::published(text);
    if sets.is_empty() {
        sets.extend(serde_json::from_str::<References>(text));
    }
    if sets.is_empty() {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{doing}: it names nothing that was published"),
        )
        .hint(format!(
            "publish it, then deploy this manifest again: osimg publish {} --registry glance:CLOUD \
             or oci:REFERENCE; for a web server, publish to dir:PATH, and deploy PATH's manifest \
             with --base-url URL",
            tarball_of(text, shown)
        ))
        .into());
    }
    let base = base.or(choice.base_url);
    let wanted = |set: &References| {
        let mode = match choice.mode {
            None => true,
            Some(Mode::Glance) => set.kind == Kind::Glance,
            Some(Mode::Http) => matches!(set.kind, Kind::Http | Kind::Directory),
            Some(Mode::Oci) => set.kind == Kind::Oci,
            Some(Mode::Tree) => false,
        };
        // A manifest from a web server is in the directory of its files.
        let here = choice.mode.is_some()
            || base.is_none()
            || matches!(set.kind, Kind::Http | Kind::Directory);
        mode && here
            // Ironic installs tarballs only.
            && Format::from_name(Path::new(&format!("x{}", set.extension)))
                .is_ok_and(|own| choice.format.is_none_or(|format| format == own))
    };
    let places = |sets: &[References]| {
        let list: Vec<String> =
            sets.iter().map(|set| format!("{} ({})", set.registry, set.extension)).collect();
        list.join(", ")
    };
    let mut fitting: Vec<References> = sets.iter().filter(|set| wanted(set)).cloned().collect();
    if fitting.iter().all(|set| matches!(set.kind, Kind::Http | Kind::Directory)) {
        fitting = nearest(fitting, base);
    }
    let Some(first) = fitting.first() else {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{doing}: nothing that it names was published that way"),
        )
        .hint(format!("it names {}", places(&sets)))
        .into());
    };
    if fitting.iter().any(|set| set.registry != first.registry) {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{doing}: it was published in several places"),
        )
        .hint(format!(
            "choose one with --mode, or by its address with --base-url: {}",
            places(&fitting)
        ))
        .into());
    }
    let sha256 = first.tarball.sha256.clone();
    if first.kind == Kind::Glance {
        let cloud = match first.registry.parse() {
            Ok(Address::Glance(cloud)) => cloud,
            _ => None,
        };
        return Ok(Found::InGlance { name: first.tarball.id.clone(), cloud, sha256 });
    }
    let arch = first.arch.clone().or_else(|| manifest_text::arch(text));
    Ok(Found::Image { image: Image::from_references(first, base)?, sha256, arch })
}

/// Of several places on web servers, those below the base address; else those with an address. All
/// if there are none.
fn nearest(sets: Vec<References>, base: Option<&str>) -> Vec<References> {
    let keep = |fits: &dyn Fn(&str) -> bool| -> Vec<References> {
        let fits = |set: &&References| set.tarball.url.as_deref().is_some_and(fits);
        sets.iter().filter(fits).cloned().collect()
    };
    let below = base.map_or_else(Vec::new, |base| keep(&|url| url.starts_with(base)));
    let addressed = keep(&|_| true);
    [below, addressed].into_iter().find(|found| !found.is_empty()).unwrap_or(sets)
}

/// The tarball that a manifest describes, in the manifest's directory.
fn tarball_of(text: &str, shown: &str) -> String {
    let file = manifest_text::tarballs(text).into_iter().next().map(|tarball| tarball.file);
    file.map_or_else(
        || "TARBALL".to_owned(),
        |file| Path::new(shown).with_file_name(file).display().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::{Made, Reference};

    fn set(kind: Kind, registry: &str, extension: &str) -> References {
        let reference = |name: &str| Reference {
            name: name.into(),
            id: name.into(),
            url: Some(format!("oci://r/{name}@sha256:00")),
            size: 1,
            sha256: Some("ab".repeat(32)),
            sha512: None,
            made: Made::New,
        };
        References {
            kind,
            registry: registry.into(),
            name: "os".into(),
            version: "1".into(),
            arch: None,
            extension: extension.into(),
            visibility: None,
            tarball: reference(&format!("os-1{extension}")),
            kernel: Some(reference("os-1.vmlinuz")),
            ramdisk: Some(reference("os-1.initrd.img")),
            stage2: Some(reference("os-1.stage2.img")),
            kickstart: Some(reference("os-1.ks.cfg")),
            manifest: None,
            retired: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn manifest_of(sets: &[References]) -> String {
        serde_json::json!({ "name": "os", "published": sets }).to_string()
    }

    #[test]
    fn a_directories_set_is_deployed_by_the_url_it_is_served_under() {
        let text = manifest_of(&[
            set(Kind::Directory, "dir:/srv", ".tgz"),
            set(Kind::Directory, "dir:/srv", ".txz"),
        ]);
        let choice = Choice { base_url: Some("http://m/os/"), ..Choice::default() };
        let Found::Image { image, sha256, .. } =
            from_manifest(&text, "m.json", None, &choice).expect("an image")
        else {
            panic!("an image")
        };
        assert_eq!((image.mode, image.source.as_str()), (Mode::Http, "http://m/os/os-1.tgz"));
        assert_eq!(image.kickstart.as_deref(), Some("http://m/os/os-1.ks.cfg"));
        assert_eq!(sha256, Some("ab".repeat(32)));
        let choice = Choice { format: Some(Format::Txz), ..choice };
        let Found::Image { image, .. } =
            from_manifest(&text, "m.json", None, &choice).expect("an image")
        else {
            panic!("an image")
        };
        assert_eq!(image.source, "http://m/os/os-1.txz");
        let error = from_manifest(&text, "m.json", None, &Choice::default()).expect_err("no base");
        assert!(crate::error::render(&error).contains("--base-url"), "{error:#}");
    }

    #[test]
    fn several_places_are_told_apart_by_the_mode() {
        let text = manifest_of(&[
            set(Kind::Directory, "dir:/srv", ".tgz"),
            set(Kind::Glance, "glance:lab", ".tgz"),
            set(Kind::Oci, "oci:r/os", ".tgz"),
        ]);
        let error = from_manifest(&text, "m.json", None, &Choice::default()).expect_err("several");
        assert!(crate::error::render(&error).contains("glance:lab (.tgz)"), "{error:#}");
        let glance = from_manifest(
            &text,
            "m.json",
            None,
            &Choice { mode: Some(Mode::Glance), ..Choice::default() },
        )
        .expect("found");
        assert!(matches!(glance, Found::InGlance { cloud: Some(cloud), .. } if cloud == "lab"));
        let oci = from_manifest(
            &text,
            "m.json",
            None,
            &Choice { mode: Some(Mode::Oci), ..Choice::default() },
        )
        .expect("found");
        assert!(matches!(oci, Found::Image { image, .. }
                if image.source.starts_with("oci://r/os-1.tgz@sha256:")));
    }

    #[test]
    fn several_web_trees_are_told_apart_by_their_addresses() {
        let at = |registry: &str, base: Option<&str>| {
            let mut set = set(Kind::Http, registry, ".tgz");
            set.tarball.url = base.map(|base| format!("{base}/os-1/os-1.tgz"));
            set
        };
        let moved = at("tree:/old", None);
        let one = at("tree:/a=http://a/os", Some("http://a/os"));
        let other = at("tree:/b=http://b/os", Some("http://b/os"));
        let source = |sets: &[References], base: Option<&str>| {
            let choice = Choice { base_url: base, ..Choice::default() };
            match from_manifest(&manifest_of(sets), "m.json", None, &choice) {
                Ok(Found::Image { image, .. }) => image.source,
                Ok(Found::InGlance { .. }) => "glance".into(),
                Err(error) => crate::error::render(&error),
            }
        };
        let one_source = source(std::slice::from_ref(&one), None);
        assert_eq!(source(&[moved.clone(), one.clone()], None), one_source);
        let several = [moved, one, other];
        assert!(source(&several, None).contains("--base-url"));
        assert!(source(&several, Some("http://b/os")).starts_with("http://b/os/"));
    }

    #[test]
    fn names_that_lead_to_no_image_are_reported_with_the_accepted_forms() {
        let dir = tempfile::tempdir().expect("a directory");
        let tarball = dir.path().join("os.tgz");
        std::fs::write(&tarball, "x").expect("written");
        std::fs::write(dir.path().join("other.json"), "{}").expect("written");
        for (text, expected) in [
            ("./missing.json", "no such file"),
            (tarball.to_str().expect("a path"), "publish it first"),
            (dir.path().join("other.json").to_str().expect("a path"), "nothing that was published"),
            ("http://me:secret@h/os.tgz", "user name"),
            ("http://h/os.iso", "does not end as a tarball"),
        ] {
            let message = crate::error::render(&find(text, &Choice::default()).expect_err(text));
            assert!(message.contains(expected) && !message.contains("secret"), "{text}: {message}");
        }
        assert!(matches!(find("os-10", &Choice::default()), Ok(Found::InGlance { .. })));
    }
}
