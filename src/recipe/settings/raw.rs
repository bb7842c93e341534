//! The raw settings file: its keys and their types.

use super::customizations::{self, raw::Customizations};
use super::script::{self, Raw as Script};
use super::texts::{Text, Texts};
use super::{Initramfs, Layout, MachineId, SbomKind, SelinuxMode, Verify, Visibility};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// The keys of every table, for reporting unknown keys with suggestions. The types below also
/// refuse unknown keys.
const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "include",
            "vars",
            "profile",
            "image",
            "packages",
            "customizations",
            "script",
            "finish",
            "deploy",
            "registry",
        ],
    ),
    (
        "image",
        &[
            "name",
            "version",
            "formats",
            "level",
            "properties",
            "source_date_epoch",
            "sbom",
            "sign",
            "strict",
        ],
    ),
    (
        "packages",
        &[
            "manager",
            "releasever",
            "arch",
            "install_weak_deps",
            "docs",
            "languages",
            "exclude",
            "bootstrap",
            "bootstrap_packages",
            "verify",
            "allow_failed_scriptlets",
            "dbpath",
            "vars",
            "timeout",
            "repository",
            "key",
        ],
    ),
    (
        "packages.repository",
        &[
            "id",
            "name",
            "baseurl",
            "metalink",
            "mirrorlist",
            "enabled",
            "priority",
            "cost",
            "signed_metadata",
            "module_hotfixes",
            "exclude",
            "include",
            "ca",
            "client_cert",
            "client_key",
            "proxy",
            "username",
            "password_file",
        ],
    ),
    ("packages.key", &["file", "url", "fingerprint"]),
    ("finish", &["machine_id", "selinux", "initramfs"]),
    ("deploy", &["kernel", "ramdisk", "stage2", "tree", "kickstart", "install"]),
    (
        "deploy.install",
        &[
            "disks",
            "layout",
            "storage",
            "kernel_arguments",
            "network",
            "language",
            "keyboard",
            "timezone",
            "selinux",
            "root_keys",
            "authority",
            "packages",
        ],
    ),
    ("registry", &["url", "visibility"]),
];

/// The keys of a table; `None` for tables of the user's own words.
pub(super) fn keys(table: &str) -> Option<&'static [&'static str]> {
    tables().find(|(known, _)| *known == table).map(|(_, keys)| keys)
}

/// Every table with its keys.
pub(super) fn tables() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    KEYS.iter()
        .chain(customizations::raw::KEYS)
        .chain(script::KEYS)
        .map(|(table, keys)| (*table, *keys))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub image: Image,
    pub packages: Packages,
    pub customizations: Customizations,
    pub script: Vec<Spanned<Script>>,
    pub finish: Finish,
    pub deploy: Deploy,
    pub registry: Registry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Image {
    pub name: Text,
    pub version: Text,
    pub formats: Texts,
    pub level: Option<Spanned<toml::Value>>,
    pub properties: BTreeMap<String, String>,
    pub source_date_epoch: Option<u64>,
    pub sbom: Option<Vec<SbomKind>>,
    pub sign: Texts,
    pub strict: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Packages {
    pub manager: Text,
    pub releasever: Text,
    pub arch: Text,
    pub install_weak_deps: Option<bool>,
    pub docs: Option<bool>,
    pub languages: Texts,
    pub exclude: Texts,
    /// A truth value, or a directory.
    pub bootstrap: Option<Spanned<toml::Value>>,
    pub bootstrap_packages: Texts,
    pub verify: Verify,
    pub allow_failed_scriptlets: Texts,
    pub dbpath: Text,
    pub vars: BTreeMap<Spanned<String>, String>,
    pub timeout: Text,
    pub repository: Vec<Spanned<Repository>>,
    pub key: Vec<Spanned<Key>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repository {
    pub id: Text,
    pub name: Text,
    /// A text, or a list of texts.
    pub baseurl: Option<Spanned<toml::Value>>,
    pub metalink: Text,
    pub mirrorlist: Text,
    pub enabled: Option<bool>,
    pub priority: Option<Spanned<i64>>,
    pub cost: Option<Spanned<i64>>,
    pub signed_metadata: Option<bool>,
    pub module_hotfixes: Option<bool>,
    pub exclude: Texts,
    pub include: Texts,
    pub ca: Text,
    pub client_cert: Text,
    pub client_key: Text,
    pub proxy: Text,
    pub username: Text,
    pub password_file: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub file: Text,
    pub url: Text,
    pub fingerprint: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Finish {
    pub machine_id: MachineId,
    pub selinux: Text,
    pub initramfs: Initramfs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Deploy {
    pub kernel: Text,
    pub ramdisk: Text,
    pub stage2: Text,
    pub tree: Text,
    pub kickstart: Text,
    pub install: Install,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Install {
    /// A word, or a list of disks.
    pub disks: Option<Spanned<toml::Value>>,
    pub layout: Option<Spanned<Layout>>,
    pub storage: Text,
    pub kernel_arguments: Text,
    pub network: Texts,
    pub language: Text,
    pub keyboard: Text,
    pub timezone: Text,
    pub selinux: SelinuxMode,
    pub root_keys: Texts,
    pub authority: Text,
    pub packages: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Registry {
    pub url: Text,
    pub visibility: Option<Visibility>,
}
