//! From an `oci://` reference to what it names: the set of a tag, or of one of its tarball's
//! digests.

use super::connection::{Access, Oci};
use super::documents::{
    ARCH, Document, EXTENSION, ITSELF, NAME, PIECE, ROLE, SET, SHA512, TITLE, VERSION, digest_of,
};
use super::entries;
use super::index::{Index, Item};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::set::Role;
use crate::set::{Kind, Made, Reference, References};

/// The object that a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployable {
    /// A set that osimg published.
    Set(Box<References>),
    /// A tarball that belongs to no set here, or what another program put there.
    Alone {
        /// `oci://HOST/NAME@DIGEST`.
        url: String,
        /// SHA-256 of the one file of the artifact, when it has one.
        sha256: Option<String>,
    },
}

/// Looks up `HOST/NAME:TAG` or `HOST/NAME@sha256:DIGEST`; of several architectures under one tag
/// `arch` chooses.
///
/// # Errors
/// When it names nothing, or nothing that a node is installed from, and when the registry cannot be
/// reached or refuses.
pub fn find(reference: &str, access: &Access, arch: Option<&str>) -> Result<Deployable> {
    let (repository, digest) = match reference.rsplit_once('@') {
        Some((repository, digest)) if is_digest(digest) => (repository, Some(digest)),
        // It may be preceded by a password: the parser handles it and does not repeat it.
        _ => (reference, None),
    };
    let oci = Oci::open(repository, access)?;
    let doing = || format!("looking for oci://{reference}");
    let Some(name) = digest.map(str::to_owned).or_else(|| oci.repository.tag.clone()) else {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{}: it names a repository, and no image of it", doing()),
        )
        .hint(format!(
            "append :TAG or @sha256:DIGEST; what is there: osimg images --registry oci:{}",
            oci.repository
        ))
        .into());
    };
    let Some(text) = oci.manifest(&name)? else {
        let bare = format!("{}/{}", oci.repository.host, oci.repository.name);
        return Err(Failure::new(
            ExitCode::Registry,
            format!("{}: the registry has no such manifest", doing()),
        )
        .hint(format!("what is there: osimg images --registry oci:{bare}"))
        .into());
    };
    let text = match serde_json::from_slice::<Index>(&text) {
        Ok(index) => chosen(&oci, &index, arch, &doing())?,
        Err(_) => text,
    };
    let document: Document = serde_json::from_slice(&text).or_fail(ExitCode::Registry, doing())?;
    match document.artifact_type.as_str() {
        SET => set(&oci, &document, &digest_of(&text)).map(|set| Deployable::Set(Box::new(set))),
        PIECE => {
            let role = document
                .layers
                .first()
                .and_then(|layer| layer.annotations.get(ROLE))
                .map_or("", String::as_str);
            if role != Role::Tarball.word() {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("{}: it is a {role}, not a tarball", doing()),
                )
                .hint("name the set by its tag, or the tarball by its digest")
                .into());
            }
            let itself = digest_of(&text);
            match entries::set_of(&oci, &itself)? {
                Some((digest, document)) => {
                    set(&oci, &document, &digest).map(|set| Deployable::Set(Box::new(set)))
                }
                None => Ok(single_piece(&oci, &text, &document)),
            }
        }
        _ => Ok(single_piece(&oci, &text, &document)),
    }
}

/// The set of an index for an architecture.
fn chosen(oci: &Oci, index: &Index, arch: Option<&str>, doing: &str) -> Result<Vec<u8>> {
    let fits = |item: &&Item| arch.is_none() || item.arch().is_none() || item.arch() == arch;
    let fitting: Vec<&Item> = index.manifests.iter().filter(fits).collect();
    let known = || index.manifests.iter().filter_map(Item::arch).collect::<Vec<_>>().join(", ");
    match (fitting.as_slice(), arch) {
        ([item], _) => oci.manifest(&item.digest)?.ok_or_else(|| {
            Failure::new(
                ExitCode::Registry,
                format!("{doing}: the registry has no manifest {}", item.digest),
            )
            .into()
        }),
        ([], Some(arch)) => Err(Failure::new(
            ExitCode::Registry,
            format!("{doing}: it is there for {}, not for {}", known(), arch.escape_debug()),
        )
        .into()),
        _ => Err(Failure::new(
            ExitCode::Usage,
            format!("{doing}: it is there for several architectures: {}", known()),
        )
        .hint("choose one: --arch ARCH")
        .into()),
    }
}

fn single_piece(oci: &Oci, text: &[u8], document: &Document) -> Deployable {
    let sha256 = match document.layers.as_slice() {
        [layer] => layer.digest.strip_prefix("sha256:").map(str::to_owned),
        _ => None,
    };
    Deployable::Alone { url: oci.url(&digest_of(text)), sha256 }
}

/// The references that publishing the set returned.
fn set(oci: &Oci, document: &Document, itself: &str) -> Result<References> {
    let own = |key: &str| document.annotations.get(key).cloned().unwrap_or_default();
    let piece = |role: Role| {
        let layer = document
            .layers
            .iter()
            .find(|layer| layer.annotations.get(ROLE).is_some_and(|word| word == role.word()))?;
        let id = layer.annotations.get(ITSELF).filter(|id| is_digest(id))?;
        Some(Reference {
            name: layer.annotations.get(TITLE).cloned().unwrap_or_default(),
            url: Some(oci.url(id)),
            id: id.clone(),
            size: layer.size,
            sha256: layer.digest.strip_prefix("sha256:").map(str::to_owned),
            sha512: layer.annotations.get(SHA512).cloned(),
            made: Made::Reused,
        })
    };
    let (name, version) = (own(NAME), own(VERSION));
    let tarball = piece(Role::Tarball).ok_or_else(|| {
        Failure::new(
            ExitCode::Registry,
            format!("reading the set {itself} of {}: it has no tarball", oci.repository),
        )
    })?;
    Ok(References {
        kind: Kind::Oci,
        registry: format!("oci:{}/{}", oci.repository.host, oci.repository.name),
        name,
        version,
        arch: document.annotations.get(ARCH).cloned(),
        extension: own(EXTENSION),
        visibility: None,
        tarball,
        kernel: piece(Role::Kernel),
        ramdisk: piece(Role::Ramdisk),
        stage2: piece(Role::Stage2),
        kickstart: piece(Role::Kickstart),
        manifest: None,
        retired: Vec::new(),
        kept: Vec::new(),
    })
}

/// `sha256:` and 64 small hexadecimal digits.
fn is_digest(text: &str) -> bool {
    let small = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(small))
}
