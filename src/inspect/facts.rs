//! Builds an [`Image`] from the contents of a tarball or a tree.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::accounts::{key_lines, lines, users};
use super::{
    Change, ContentKind, File, Image, Key, Names, Origin, OriginKind, Package, Policy, Privileged,
    Share, Totals, capability_text, services,
};
use crate::contents::{self, Contents, Kind, Packages};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

pub(super) fn image(path: &Path, kind: OriginKind, contents: &Contents) -> Image {
    let owners = owners(contents);
    let mut packages: Vec<Package> = contents.packages.list().iter().map(package).collect();
    let files = files(contents, &owners);
    for file in &files {
        if let Some(package) = file.package.and_then(|index| packages.get_mut(index)) {
            package.size += counted(file);
            package.files += usize::from(file.kind != Kind::Directory);
        }
    }
    let names =
        Names { users: contents.accounts("etc/passwd"), groups: contents.accounts("etc/group") };
    let stored = contents.stored.as_ref();
    Image {
        origin: Origin {
            path: path.display().to_string(),
            kind,
            format: stored.map(|stored| stored.format.to_string()),
            bytes: stored.map(|stored| stored.bytes),
            tar_bytes: stored.map(|stored| stored.tar_bytes),
            sha256: stored.and_then(|stored| stored.sha256).map(hex::encode),
            manifest: false,
        },
        name: None,
        version: None,
        arch: arch(&packages),
        os_release: contents.os_release(),
        kernels: contents.kernels(),
        policy: policy(contents),
        machine_id: Some(machine_id(contents).to_owned()),
        rpmdb: match &contents.packages {
            Packages::Absent => "none".to_owned(),
            Packages::Unreadable { dbpath, why } => format!("/{dbpath} cannot be read: {why}"),
            Packages::Read { dbpath, .. } => format!("/{dbpath}"),
        },
        totals: totals(&files),
        directories: directories(&files),
        kinds: shares(files.iter().map(|file| (file.content.to_string(), file))),
        unowned: unowned(&files),
        privileged: privileged(&names, &files, &packages),
        users: users(contents),
        services: services::enabled(contents),
        keys: keys(contents),
        built: None,
        names,
        packages,
        files,
    }
}

fn package(package: &contents::Package) -> Package {
    let evr = format!("{}-{}", package.version, package.release);
    Package {
        nevra: package.nevra(),
        name: package.name.clone(),
        evr: match package.epoch {
            None | Some(0) => evr,
            Some(epoch) => format!("{epoch}:{evr}"),
        },
        arch: package.arch.clone(),
        size: 0,
        declared_size: package.size,
        files: 0,
        license: package.license.clone(),
        summary: non_empty(&package.summary),
        vendor: non_empty(&package.vendor),
        url: non_empty(&package.url),
        source: non_empty(&package.source),
        repository: None,
        signer: package.key_id.clone(),
        reason: None,
        changelog: package
            .changelog
            .iter()
            .map(|change| Change {
                time: change.time,
                author: change.author.clone(),
                text: change.text.clone(),
            })
            .collect(),
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty() && *text != "(none)").map(str::to_owned)
}

/// The package that owns each member, by path; the first by name if several do.
///
/// Packages may use paths through links, such as `/lib/x` for `/usr/lib/x`. Links to directories
/// are followed.
fn owners(contents: &Contents) -> HashMap<&[u8], usize> {
    let mut owners = HashMap::new();
    for (index, package) in contents.packages.list().iter().enumerate() {
        for file in &package.files {
            if let Some(member) = contents.resolve_parents(&file.path) {
                owners.entry(&*member.path).or_insert(index);
            }
        }
    }
    owners
}

fn files(contents: &Contents, owners: &HashMap<&[u8], usize>) -> Vec<File> {
    let mut files: Vec<File> = contents
        .members
        .iter()
        // If several members have the same path, unpacking keeps the last one.
        .filter(|member| {
            contents.find(&member.path).is_some_and(|last| std::ptr::eq(last, *member))
        })
        .map(|member| {
            let carrier = contents.carrier(member);
            let is_hard_link = member.kind == Kind::HardLink;
            File {
                path: member.path.clone(),
                kind: if is_hard_link && !std::ptr::eq(carrier, member) {
                    carrier.kind
                } else {
                    member.kind
                },
                size: carrier.size,
                is_hard_link,
                link: if is_hard_link { Box::default() } else { member.link.clone() },
                device: carrier.device(),
                traits: carrier.traits().clone(),
                sha256: carrier.sha256,
                package: owners.get(&*member.path).copied(),
                content: ContentKind::from_path(&member.path),
            }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The size that a file adds: 0 for a hard link to a counted file.
fn counted(file: &File) -> u64 {
    if file.is_hard_link { 0 } else { file.size }
}

fn totals(files: &[File]) -> Totals {
    let mut totals = Totals::default();
    for file in files {
        totals.members += 1;
        totals.labels += u64::from(file.label.is_some());
        totals.bytes += counted(file);
        match file.kind {
            _ if file.is_hard_link => totals.hard_links += 1,
            Kind::File | Kind::HardLink => totals.files += 1,
            Kind::Directory => totals.directories += 1,
            Kind::Symlink => totals.symlinks += 1,
            Kind::Character | Kind::Block | Kind::Fifo => totals.special += 1,
        }
    }
    totals
}

fn shares<'a>(named: impl Iterator<Item = (String, &'a File)>) -> Vec<Share> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (name, file) in named.filter(|(_, file)| file.kind != Kind::Directory) {
        let sum = sums.entry(name).or_default();
        sum.0 += counted(file);
        sum.1 += 1;
    }
    let mut shares: Vec<Share> =
        sums.into_iter().map(|(name, (bytes, files))| Share { name, bytes, files }).collect();
    // The names are sorted already, and equal sizes keep that order.
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

/// The first two levels of directories, each with everything below it.
fn directories(files: &[File]) -> Vec<Share> {
    shares(files.iter().flat_map(|file| {
        let ends = file
            .path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at)
            .take(2);
        ends.map(|end| (super::shown(file.path.get(..end).unwrap_or_default()), file))
            .collect::<Vec<_>>()
    }))
}

fn unowned(files: &[File]) -> Vec<Share> {
    let mut shares: Vec<Share> = files
        .iter()
        .filter(|file| file.package.is_none() && !file.path.is_empty())
        .map(|file| Share { name: file.shown(), bytes: counted(file), files: 1 })
        .collect();
    shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    shares
}

fn privileged(names: &Names, files: &[File], packages: &[Package]) -> Vec<Privileged> {
    files
        .iter()
        .filter_map(|file| {
            let mut powers = Vec::new();
            let is_program = matches!(file.kind, Kind::File | Kind::HardLink);
            if is_program && file.mode & SETUID != 0 {
                powers.push("setuid".to_owned());
            }
            if is_program && file.mode & SETGID != 0 {
                powers.push("setgid".to_owned());
            }
            powers.extend(file.capability().map(capability_text));
            (!powers.is_empty()).then(|| Privileged {
                path: file.shown(),
                mode: format!("{:04o}", file.mode),
                owner: names.owner(file.uid, file.gid),
                powers,
                package: file
                    .package
                    .and_then(|index| packages.get(index))
                    .map(|package| package.name.clone()),
            })
        })
        .collect()
}

/// The most frequent architecture of the packages.
fn arch(packages: &[Package]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages.iter().filter(|package| package.arch != "noarch") {
        *counts.entry(package.arch.as_str()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(arch, _)| arch.to_owned())
}

fn policy(contents: &Contents) -> Option<Policy> {
    let config = lines(contents, "etc/selinux/config");
    let value = |key: &str| {
        config
            .iter()
            .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim().to_owned())
    };
    let name = value("SELINUXTYPE")?;
    Some(Policy { name, mode: value("SELINUX").unwrap_or_else(|| "unknown".to_owned()) })
}

fn machine_id(contents: &Contents) -> &'static str {
    match contents.file("etc/machine-id").map(<[u8]>::trim_ascii) {
        None => "absent",
        Some(b"") => "empty",
        Some(b"uninitialized") => "uninitialized",
        Some(_) => "set",
    }
}

fn keys(contents: &Contents) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut add = |kind: &str, name: String| keys.push(Key { kind: kind.to_owned(), name });
    if let Packages::Read { keys: trusted, .. } = &contents.packages {
        trusted.iter().for_each(|id| add("rpm", id.clone()));
    }
    let below = |directory: &'static str| {
        contents.all_below(directory).filter(|member| member.kind != Kind::Directory)
    };
    below("etc/pki/rpm-gpg").for_each(|member| add("rpm file", member.shown()));
    for (path, _) in contents.files().iter().filter(|(path, _)| path.ends_with(b"/authorized_keys"))
    {
        let path = String::from_utf8_lossy(path);
        match key_lines(contents, &path) {
            0 => {}
            count => add("ssh login", format!("/{path}: {count}")),
        }
    }
    below("etc/ssh")
        .filter(|m| m.path.starts_with(b"etc/ssh/ssh_host_") && !m.path.ends_with(b".pub"))
        .for_each(|m| add("ssh host", m.shown()));
    below("etc/pki/ca-trust/source/anchors").for_each(|member| add("authority", member.shown()));
    below("usr/local/share/ca-certificates").for_each(|member| add("authority", member.shown()));
    keys
}
