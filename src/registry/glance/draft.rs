//! The images of each role in Glance: their formats, names and properties. Also the rule for using
//! an existing image instead of a new one.

use std::collections::BTreeMap;

use super::images::{Draft, Image, LINKS};
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::registry::options::PublishOptions;
use crate::set::Set;
use crate::set::manifest_text;
use crate::set::{Piece, Role};

/// The properties that mark osimg's own images.
pub(super) const ROLE: &str = "osimg_role";
pub(super) const NAME: &str = "osimg_name";
pub(super) const VERSION: &str = "osimg_version";
pub(super) const SHA256: &str = "osimg_sha256";
pub(super) const TREE: &str = "osimg_tree_sha256";
pub(super) const MANIFEST: &str = "osimg_manifest_sha256";
pub(super) const ARCHITECTURE: &str = "architecture";
pub(super) const EXTENSION: &str = "disk_file_extension";
/// The longest name that Glance's database takes, in characters.
const LONGEST_NAME: usize = 255;
/// Attributes of an image, which no property may be called.
const ATTRIBUTES: [&str; 25] = [
    "id",
    "name",
    "status",
    "visibility",
    "protected",
    "os_hidden",
    "tags",
    "owner",
    "size",
    "virtual_size",
    "checksum",
    "container_format",
    "disk_format",
    "min_disk",
    "min_ram",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "locations",
    "direct_url",
    "stores",
    "os_hash_algo",
    "os_hash_value",
];

/// Container and disk format of a role. A real kernel begins like a boot sector, so Glance
/// refuses it as `bare`. It does not examine the bytes of other containers.
fn formats(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Kernel => ("aki", "aki"),
        Role::Ramdisk | Role::Stage2 => ("ari", "ari"),
        Role::Kickstart | Role::Tarball => ("bare", "raw"),
    }
}

/// The image that a piece of the set becomes; `links` are the images that the tarball names.
pub(super) fn draft(
    set: &Set,
    role: Role,
    links: &[(Role, String)],
    publishing: &PublishOptions,
    visibility: &'static str,
) -> Result<Draft> {
    let (container, disk) = formats(role);
    let mut properties = BTreeMap::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            properties.insert(name.to_owned(), value.to_owned());
        }
    };
    put(ROLE, Some(role.word()));
    put(NAME, Some(&set.name));
    put(SHA256, set.piece(role).map(|piece| piece.sha256.as_str()));
    if role == Role::Tarball {
        put(VERSION, Some(&set.version));
        put(TREE, set.tree.as_deref());
        put("os_distro", set.os_distro.as_deref());
        put("os_version", set.os_version.as_deref());
        put(ARCHITECTURE, set.arch.as_deref());
        put("os_type", Some("linux"));
        put(EXTENSION, Some(set.tarball.extension));
        for (role, property) in LINKS {
            put(property, links.iter().find(|(r, _)| *r == role).map(|(_, id)| id.as_str()));
        }
        if let Some(manifest) = &set.manifest {
            put(
                MANIFEST,
                files::read_text(&manifest.path, files::TEXT)
                    .ok()
                    .map(|text| manifest_text::digest(&text))
                    .as_deref(),
            );
        }
        for (name, value) in &set.properties {
            if properties.contains_key(name)
                || ATTRIBUTES.contains(&name.as_str())
                || name.starts_with("os_glance_")
            {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!(
                        "setting the property '{}': osimg or Glance sets it",
                        name.escape_debug()
                    ),
                )
                .hint("choose another name for it")
                .into());
            }
            properties.insert(name.clone(), value.clone());
        }
    }
    let name = match role {
        Role::Tarball => set.stem(),
        Role::Kickstart => {
            format!("{}{}-kickstart", set.stem(), set.tarball.extension.replace('.', "-"))
        }
        // Shared by all versions, as long as they are the same bytes.
        Role::Kernel | Role::Ramdisk | Role::Stage2 => format!("{}-{role}", set.name),
    };
    for text in std::iter::once(&name).chain(properties.values()).chain(&publishing.tags) {
        check_text(text)?;
    }
    if name.chars().count() > LONGEST_NAME {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("naming the image '{name}': Glance takes at most {LONGEST_NAME} characters"),
        )
        .hint("give it a shorter one: --name NAME")
        .into());
    }
    Ok(Draft {
        name,
        container,
        disk,
        visibility,
        hidden: publishing.hidden && role == Role::Tarball,
        tags: publishing.tags.clone(),
        properties,
    })
}

fn check_text(text: &str) -> Result<()> {
    // In many installations the database stores at most three bytes of UTF-8 per character.
    match text.chars().find(|c| c.is_control() || c.len_utf8() > 3) {
        Some(bad) => Err(Failure::new(
            ExitCode::Usage,
            format!("writing '{}' into Glance: it does not take {bad:?}", text.escape_debug()),
        )
        .hint("choose letters, digits and punctuation")
        .into()),
        None => Ok(()),
    }
}

/// Whether an image that is there can be used instead of a new one.
pub(super) fn fits(
    image: &Image,
    draft: &Draft,
    piece: &Piece,
    role: Role,
    project: Option<&str>,
) -> bool {
    let ours = project.is_none_or(|project| image.owner.as_deref() == Some(project));
    let seen = match (draft.visibility, image.visibility.as_str()) {
        (wanted, has) if wanted == has => true,
        ("community" | "shared", "public") | ("shared", "community") | ("private", _) => true,
        _ => false,
    };
    let same_bytes = image.status == "active"
        && image.size == Some(piece.size)
        && image
            .os_hash_value
            .as_ref()
            .is_some_and(|hash| *hash == piece.sha512 || *hash == piece.sha256)
        && (image.container_format.as_deref(), image.disk_format.as_deref())
            == (Some(draft.container), Some(draft.disk));
    // A manifest also contains the duration of the build: an equal tarball of another day is still
    // the same.
    let same_words = role != Role::Tarball
        || (image.name.as_deref() == Some(&draft.name)
            && draft
                .properties
                .iter()
                .filter(|(name, _)| *name != MANIFEST && *name != TREE)
                .all(|(name, value)| image.property(name) == Some(value))
            && LINKS.iter().all(|(_, link)| {
                image.property(link) == draft.properties.get(*link).map(String::as_str)
            }));
    // Another project's image may be gone tomorrow; a public one is an administrator's.
    (ours || image.visibility == "public") && seen && same_bytes && same_words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Format;
    use crate::set::OsTarball;

    fn set() -> Set {
        let piece =
            Piece { path: "os.tgz".into(), size: 3, sha256: "a".into(), sha512: "b".into() };
        Set {
            name: "os".into(),
            version: "1".into(),
            arch: Some("x86_64".into()),
            os_distro: None,
            os_version: None,
            properties: BTreeMap::new(),
            tree: None,
            source_date_epoch: None,
            tarball: OsTarball { piece, format: Format::Tgz.into(), extension: ".tar.gz" },
            kernel: None,
            ramdisk: None,
            stage2: None,
            kickstart: None,
            manifest: None,
            documents: Vec::new(),
        }
    }

    fn image(draft: &Draft, change: impl Fn(&mut serde_json::Value)) -> Image {
        let mut value = serde_json::json!({ "id": "i", "name": draft.name, "status": "active",
            "size": 3, "os_hash_algo": "sha512",
            "os_hash_value": "b", "visibility": draft.visibility, "owner": "p",
            "container_format": draft.container,
            "disk_format": draft.disk });
        for (name, property) in &draft.properties {
            value[name] = property.clone().into();
        }
        change(&mut value);
        serde_json::from_value(value).expect("an image")
    }

    #[test]
    fn a_tarball_says_to_ironic_what_it_is_and_what_it_boots_with() {
        let links = [(Role::Kernel, "k".to_owned()), (Role::Stage2, "s".to_owned())];
        let draft = draft(&set(), Role::Tarball, &links, &PublishOptions::default(), "public")
            .expect("a draft");
        assert_eq!((draft.container, draft.disk, draft.name.as_str()), ("bare", "raw", "os-1"));
        for (name, value) in [
            ("kernel_id", "k"),
            ("stage2_id", "s"),
            ("disk_file_extension", ".tar.gz"),
            ("architecture", "x86_64"),
        ] {
            assert_eq!(draft.properties.get(name).map(String::as_str), Some(value));
        }
        assert!(!draft.properties.contains_key("ramdisk_id"));
    }

    #[test]
    fn what_is_there_is_used_again_only_when_nothing_differs() {
        let set = set();
        let draft = draft(
            &set,
            Role::Tarball,
            &[(Role::Kernel, "k".into())],
            &PublishOptions::default(),
            "community",
        )
        .expect("a draft");
        let fit = |image: &Image, project| {
            fits(image, &draft, &set.tarball.piece, Role::Tarball, Some(project))
        };
        assert!(fit(&image(&draft, |_| {}), "p"));
        assert!(!fit(&image(&draft, |_| {}), "other"));
        for (name, value) in [
            ("os_hash_value", "x"),
            ("status", "queued"),
            ("visibility", "private"),
            ("kernel_id", "k2"),
            ("ramdisk_id", "r"),
            ("disk_format", "qcow2"),
            ("name", "else"),
        ] {
            assert!(!fit(&image(&draft, |v| v[name] = value.into()), "p"), "{name}");
        }
        assert!(
            fit(&image(&draft, |v| v["visibility"] = "public".into()), "other"),
            "a public one is everyone's"
        );
    }

    #[test]
    fn names_and_properties_that_glance_refuses_are_refused_before_anything_is_sent() {
        let mut set = set();
        for (name, value) in [
            ("kernel_id", "x"),
            ("owner", "x"),
            ("os_glance_x", "y"),
            ("fine", "a\u{7}b"),
            ("fine", "😀"),
        ] {
            set.properties = [(name.to_owned(), value.to_owned())].into();
            let links = [(Role::Kernel, "k".to_owned())];
            assert!(
                draft(&set, Role::Tarball, &links, &PublishOptions::default(), "public").is_err(),
                "{name}={value}"
            );
        }
        set.properties.clear();
        set.name = "x".repeat(256);
        assert!(draft(&set, Role::Tarball, &[], &PublishOptions::default(), "public").is_err());
    }
}
