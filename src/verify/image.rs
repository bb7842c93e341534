//! What the checks look at: the contents, where they came from, and what is computed from them once
//! for several checks.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::address::Answer;
use super::consumer::Consumer;
use super::options::Options;
use crate::contents::{Contents, FileState, Kind, Member, PackagedFile};
use crate::error::Result;
use crate::http::shown;
use crate::selinux::{FileContexts, Lookup, Source};

/// Where an image came from.
#[derive(Debug)]
pub(super) enum Place {
    /// A tarball of this host.
    File(PathBuf),
    /// A server's.
    Address(Answer),
    /// A tree, or contents read before.
    Nowhere,
}

#[derive(Debug)]
pub(super) struct Image<'a> {
    /// None when there is nothing to look at: the tarball is damaged, or was not available.
    pub(super) contents: Option<&'a Contents>,
    pub(super) damage: Option<String>,
    pub(super) place: Place,
    /// At least one.
    pub(super) consumers: Vec<Consumer>,
    pub(super) smallest_disk: u64,
    /// Paths that the settings removed.
    removed: Vec<String>,
    pub(super) os_release: BTreeMap<String, String>,
    pub(super) users: BTreeMap<u64, String>,
    pub(super) groups: BTreeMap<u64, String>,
    /// Seconds since 1970.
    pub(super) now: i64,
    policy: OnceCell<Result<Option<FileContexts>, String>>,
    mislabelled: OnceCell<Vec<(&'a Member, Vec<u8>)>>,
    owned: OnceCell<HashMap<Vec<u8>, Vec<&'a PackagedFile>>>,
}

impl<'a> Image<'a> {
    pub(super) fn new(contents: &'a Contents, place: Place, options: &Options<'_>) -> Self {
        let os_release = contents.os_release();
        let mut image = Self::unread(place, options);
        if options.consumers.is_empty() {
            image.consumers = vec![Consumer::from_os_release(&os_release)];
        }
        image.contents = Some(contents);
        image.os_release = os_release;
        image.users = contents.accounts("etc/passwd");
        image.groups = contents.accounts("etc/group");
        image
    }

    pub(super) fn damaged(place: Place, why: String, options: &Options<'_>) -> Self {
        Self { damage: Some(why), ..Self::unread(place, options) }
    }

    pub(super) fn unread(place: Place, options: &Options<'_>) -> Self {
        Self {
            contents: None,
            damage: None,
            place,
            consumers: if options.consumers.is_empty() {
                vec![Consumer::AnacondaEl9]
            } else {
                options.consumers.clone()
            },
            smallest_disk: options.smallest_disk,
            removed: options.removed.clone(),
            os_release: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)),
            policy: OnceCell::new(),
            mislabelled: OnceCell::new(),
            owned: OnceCell::new(),
        }
    }

    /// Whether the settings removed a path of the image, or a directory above it.
    pub(super) fn was_removed(&self, path: &[u8]) -> bool {
        self.removed.iter().any(|removed| {
            let removed = removed.trim_matches('/').as_bytes();
            path.strip_prefix(removed).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// The tarball's name, as the node would see it.
    pub(super) fn name(&self) -> Option<String> {
        match &self.place {
            Place::File(path) => Some(path.display().to_string()),
            Place::Address(answer) => Some(shown(&answer.url)),
            Place::Nowhere => None,
        }
    }

    /// The image's SELinux policy; none when it has none, and why when it cannot be used.
    pub(super) fn policy(&self) -> Result<Option<&FileContexts>, &str> {
        let policy = self.policy.get_or_init(|| {
            let Some(contents) = self.contents else { return Ok(None) };
            let read = |path: &str| match contents.file(path) {
                Some(text) => Some(Source::new(format!("/{path}"), text)),
                // For a compiled policy, only its existence is checked.
                None if path.ends_with(".bin") && contents.resolve(path).is_some() => {
                    Some(Source::new(format!("/{path}"), ""))
                }
                None => None,
            };
            crate::selinux::load_from(&|path| Ok(read(path))).map_err(|error| format!("{error:#}"))
        });
        policy.as_ref().map(Option::as_ref).map_err(String::as_str)
    }

    /// The label that the image's policy gives a member.
    pub(super) fn wanted(&self, member: &Member) -> Option<&[u8]> {
        match self
            .policy()
            .ok()
            .flatten()?
            .lookup(&[b"/", &*member.path].concat(), member.st_mode())
        {
            Lookup::Context(label) => Some(label),
            Lookup::Excluded | Lookup::NoMatch => None,
        }
    }

    /// The members that have no label or another one than the policy gives, with the policy's. A
    /// hard link has none of its own.
    pub(super) fn mislabelled(&self) -> &[(&'a Member, Vec<u8>)] {
        self.mislabelled.get_or_init(|| {
            let members = self.members().iter().filter(|member| member.kind != Kind::HardLink);
            let differs = |member: &'a Member| {
                self.wanted(member)
                    .filter(|wanted| member.label.as_deref() != Some(wanted))
                    .map(|wanted| (member, wanted.to_vec()))
            };
            members.filter_map(differs).collect()
        })
    }

    /// A program of the image: an executable file in one of the directories that a PATH names.
    pub(super) fn has_program(&self, name: &str) -> bool {
        let Some(contents) = self.contents else { return false };
        ["usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/systemd", "usr/libexec"].iter().any(
            |directory| {
                let found = contents
                    .resolve(format!("{directory}/{name}"))
                    .map(|member| contents.carrier(member));
                found.is_some_and(|file| {
                    file.kind == Kind::File && file.mode & 0o111 != 0 && file.size > 0
                })
            },
        )
    }

    /// The packages' files that should be there, by where they are in the image: links in their
    /// directories' paths are followed.
    pub(super) fn owned(&self) -> &HashMap<Vec<u8>, Vec<&'a PackagedFile>> {
        self.owned.get_or_init(|| {
            let mut owned: HashMap<Vec<u8>, Vec<&PackagedFile>> = HashMap::new();
            let Some(contents) = self.contents else { return owned };
            for file in contents.packages.list().iter().flat_map(|package| &package.files) {
                if file.state == FileState::Installed {
                    let place = contents
                        .resolve_parents(&file.path)
                        .map_or_else(|| file.path.clone(), |member| member.path.to_vec());
                    owned.entry(place).or_default().push(file);
                }
            }
            owned
        })
    }

    /// The members; none when there is nothing to look at.
    pub(super) fn members(&self) -> &'a [Member] {
        self.contents.map_or(&[], |contents| &contents.members)
    }
}
