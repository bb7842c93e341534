//! Compares files: which were added, removed and changed, and how.

use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::contents::Kind;
use crate::inspect::{File, Image, capability_text};

/// The aspect in which a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Aspect {
    /// Its type: a file, a directory, a link.
    Kind,
    /// Its content.
    Content,
    /// Its permissions.
    Mode,
    /// Its owner or group.
    Owner,
    /// Its capabilities.
    Capability,
    /// Its ACLs.
    Acl,
    /// Its SELinux label.
    Label,
    /// Its target.
    Link,
    /// Its device number.
    Device,
    /// Its other extended attributes.
    Attributes,
}

impl Aspect {
    /// The name of the aspect.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Capability => "capability",
            Self::Acl => "ACL",
            Self::Label => "label",
            Self::Link => "link",
            Self::Device => "device",
            Self::Attributes => "attributes",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileDifference {
    /// The aspect.
    pub aspect: Aspect,
    /// In the first image.
    pub before: String,
    /// In the second image.
    pub after: String,
}

/// Which of the images have a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Presence {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// In both.
    Changed,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileChange {
    /// Its path.
    pub path: String,
    /// The package that owns it, in the second image if it exists there.
    pub package: Option<String>,
    /// Which of the images have it.
    pub presence: Presence,
    /// Size in the first image.
    pub size_before: Option<u64>,
    /// Size in the second image.
    pub size_after: Option<u64>,
    /// The differences.
    pub differences: Vec<FileDifference>,
}

/// All changed files, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FileChanges {
    /// The number of files only in the second image.
    pub added: usize,
    /// The number of files only in the first image.
    pub removed: usize,
    /// The number of changed files in both.
    pub changed: usize,
    /// The number of files that differ in each aspect.
    pub aspects: BTreeMap<Aspect, usize>,
    /// The files.
    pub files: Vec<FileChange>,
}

impl FileChanges {
    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// Whether labels can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Labels {
    Compared,
    Ignored,
}

pub(super) fn compare(before: &Image, after: &Image, notes: &mut Vec<String>) -> FileChanges {
    let labels = match (before.totals.labels, after.totals.labels) {
        (0, 0) => Labels::Compared,
        (0, _) | (_, 0) => {
            let bare = if before.totals.labels == 0 { before } else { after };
            notes.push(format!("{} has no SELinux labels: labels are not compared", bare.title()));
            Labels::Ignored
        }
        _ => Labels::Compared,
    };
    let mut changes = FileChanges::default();
    let (mut old, mut new) = (before.files.iter().peekable(), after.files.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let change = match order {
            Ordering::Less => old.next().map(|file| only_in(file, before, Presence::Removed)),
            Ordering::Greater => new.next().map(|file| only_in(file, after, Presence::Added)),
            Ordering::Equal => match (old.next(), new.next()) {
                (Some(a), Some(b)) => both(a, b, (before, after), labels),
                _ => None,
            },
        };
        if let Some(change) = change {
            changes.add(change);
        }
    }
    changes
}

impl FileChanges {
    fn add(&mut self, change: FileChange) {
        match change.presence {
            Presence::Added => self.added += 1,
            Presence::Removed => self.removed += 1,
            Presence::Changed => self.changed += 1,
        }
        for difference in &change.differences {
            *self.aspects.entry(difference.aspect).or_default() += 1;
        }
        self.files.push(change);
    }
}

fn package(file: &File, image: &Image) -> Option<String> {
    image.packages.get(file.package?).map(|package| package.name.clone())
}

fn only_in(file: &File, image: &Image, presence: Presence) -> FileChange {
    let size = (file.kind == Kind::File).then_some(file.size);
    FileChange {
        path: file.shown(),
        package: package(file, image),
        presence,
        size_before: size.filter(|_| presence == Presence::Removed),
        size_after: size.filter(|_| presence == Presence::Added),
        differences: Vec::new(),
    }
}

fn both(
    a: &File,
    b: &File,
    (before, after): (&Image, &Image),
    labels: Labels,
) -> Option<FileChange> {
    let mut differences = Vec::new();
    let mut differ = |aspect: Aspect, before: String, after: String| {
        if before != after {
            differences.push(FileDifference { aspect, before, after });
        }
    };
    differ(Aspect::Kind, word(a.kind).into(), word(b.kind).into());
    if a.kind == b.kind {
        if a.kind == Kind::File {
            differ(Aspect::Content, content(a), content(b));
        }
        differ(Aspect::Link, crate::text::bytes(&a.link), crate::text::bytes(&b.link));
        differ(Aspect::Device, device(a), device(b));
        if a.kind != Kind::Symlink {
            differ(Aspect::Mode, format!("{:04o}", a.mode), format!("{:04o}", b.mode));
        }
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        // A name may stay the same while its number changes; the file stores the number.
        let owner = |file: &File, image: &Image| {
            format!("{} ({}:{})", image.names.owner(file.uid, file.gid), file.uid, file.gid)
        };
        differ(Aspect::Owner, owner(a, before), owner(b, after));
    }
    differ(Aspect::Capability, capability(a), capability(b));
    differ(Aspect::Acl, acl(a), acl(b));
    if labels == Labels::Compared {
        differ(Aspect::Label, optional(a.label.as_deref()), optional(b.label.as_deref()));
    }
    differ(Aspect::Attributes, attributes(a), attributes(b));
    if differences.is_empty() {
        return None;
    }
    Some(FileChange {
        path: b.shown(),
        package: package(b, after).or_else(|| package(a, before)),
        presence: Presence::Changed,
        size_before: (a.kind == Kind::File).then_some(a.size),
        size_after: (b.kind == Kind::File).then_some(b.size),
        differences,
    })
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File | Kind::HardLink => "file",
        Kind::Symlink => "symbolic link",
        Kind::Character => "character device",
        Kind::Block => "block device",
        Kind::Directory => "directory",
        Kind::Fifo => "named pipe",
    }
}

/// The digest, or the size if there is no digest.
fn content(file: &File) -> String {
    match file.sha256 {
        Some(digest) => hex::encode(digest),
        None => format!("{} bytes", file.size),
    }
}

fn device(file: &File) -> String {
    file.device.map_or_else(String::new, |(major, minor)| format!("{major}:{minor}"))
}

fn capability(file: &File) -> String {
    file.capability().map_or_else(|| "none".to_owned(), capability_text)
}

fn optional(text: Option<&[u8]>) -> String {
    text.map_or_else(|| "none".to_owned(), crate::text::bytes)
}

/// The sorted entries in one line, so that equivalent lists are equal.
fn acl(file: &File) -> String {
    let list = |text: &Option<Vec<u8>>, prefix: &str| {
        let text = text
            .as_deref()
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default();
        let mut entries: Vec<String> = text
            .split(['\n', ','])
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| format!("{prefix}{}", crate::text::line(entry).into_owned()))
            .collect();
        entries.sort();
        entries
    };
    let entries = [list(&file.acl, ""), list(&file.default_acl, "default:")].concat();
    if entries.is_empty() { "none".to_owned() } else { entries.join(",") }
}

fn attributes(file: &File) -> String {
    let others = file.xattrs.iter().filter(|(name, _)| name.as_slice() != b"security.capability");
    let list: Vec<String> = others
        .map(|(name, value)| format!("{}=0x{}", crate::text::bytes(name), hex::encode(value)))
        .collect();
    if list.is_empty() { "none".to_owned() } else { list.join(" ") }
}
