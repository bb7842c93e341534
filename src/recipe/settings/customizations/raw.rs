//! `[customizations]` as it is written.

use super::super::texts::{Text, Texts};
use serde::Deserialize;
use toml::Spanned;

/// The keys of every table.
pub(in crate::recipe::settings) const KEYS: &[(&str, &[&str])] = &[
    (
        "customizations",
        &[
            "hostname",
            "timezone",
            "locale",
            "kernel",
            "services",
            "user",
            "group",
            "sshkey",
            "firewall",
            "directories",
            "files",
            "tree",
            "cacerts",
            "repositories",
            "rpm",
            "fips",
            "openscap",
            "remove",
        ],
    ),
    ("customizations.timezone", &["timezone", "ntpservers"]),
    ("customizations.locale", &["languages", "keyboard"]),
    ("customizations.kernel", &["append"]),
    ("customizations.services", &["enabled", "disabled", "masked", "default_target"]),
    (
        "customizations.user",
        &[
            "name",
            "description",
            "password",
            "key",
            "home",
            "shell",
            "groups",
            "uid",
            "gid",
            "expiredate",
            "force_password_reset",
        ],
    ),
    ("customizations.group", &["name", "gid"]),
    ("customizations.sshkey", &["user", "key"]),
    ("customizations.firewall", &["ports", "services", "zones"]),
    ("customizations.firewall.services", &["enabled", "disabled"]),
    ("customizations.firewall.zones", &["name", "sources"]),
    ("customizations.directories", &["path", "mode", "user", "group", "ensure_parents"]),
    ("customizations.files", &["path", "mode", "user", "group", "data", "source"]),
    ("customizations.tree", &["source", "path", "user", "group", "exclude", "rule"]),
    ("customizations.tree.rule", &["path", "mode", "user", "group"]),
    ("customizations.cacerts", &["pem_certs", "files"]),
    (
        "customizations.repositories",
        &[
            "id",
            "name",
            "filename",
            "baseurls",
            "mirrorlist",
            "metalink",
            "gpgkeys",
            "gpgcheck",
            "repo_gpgcheck",
            "enabled",
            "priority",
            "ssl_verify",
            "module_hotfixes",
        ],
    ),
    ("customizations.rpm", &["import_keys"]),
    ("customizations.rpm.import_keys", &["files"]),
    ("customizations.openscap", &["profile_id", "datastream", "tailoring"]),
    ("customizations.openscap.tailoring", &["selected", "unselected"]),
];

/// Defines a table whose keys are all optional.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(in crate::recipe::settings) struct $name { $(pub $field: $kind),* }
    };
}

/// A text or a number: the name or the id of an account.
pub(in crate::recipe::settings) type Value = Option<Spanned<toml::Value>>;
type Number = Option<Spanned<i64>>;

table!(Customizations {
    hostname: Text,
    timezone: Timezone,
    locale: Locale,
    kernel: Kernel,
    services: Services,
    user: Vec<Spanned<User>>,
    group: Vec<Spanned<Group>>,
    sshkey: Vec<Spanned<SshKey>>,
    firewall: Firewall,
    directories: Vec<Spanned<Directory>>,
    files: Vec<Spanned<File>>,
    tree: Vec<Spanned<Tree>>,
    cacerts: CaCerts,
    repositories: Vec<Spanned<ImageRepository>>,
    rpm: Rpm,
    fips: bool,
    openscap: Option<Spanned<OpenScap>>,
    remove: Texts,
});
table!(Timezone { timezone: Text, ntpservers: Texts });
table!(Locale { languages: Texts, keyboard: Text });
table!(Kernel { append: Text });
table!(Services { enabled: Texts, disabled: Texts, masked: Texts, default_target: Text });
table!(User {
    name: Text,
    description: Text,
    password: Text,
    key: Value,
    home: Text,
    shell: Text,
    groups: Texts,
    uid: Number,
    gid: Number,
    expiredate: Value,
    force_password_reset: bool,
});
table!(Group { name: Text, gid: Number });
table!(SshKey { user: Text, key: Value });
table!(Firewall { ports: Texts, services: FirewallServices, zones: Vec<Spanned<FirewallZone>> });
table!(FirewallServices { enabled: Texts, disabled: Texts });
table!(FirewallZone { name: Text, sources: Texts });
table!(Directory { path: Text, mode: Text, user: Value, group: Value, ensure_parents: bool });
table!(File { path: Text, mode: Text, user: Value, group: Value, data: Option<Spanned<String>>,
    source: Text });
table!(Tree { source: Text, path: Text, user: Value, group: Value, exclude: Texts,
    rule: Vec<Spanned<TreeRule>> });
table!(TreeRule { path: Text, mode: Text, user: Value, group: Value });
table!(CaCerts { pem_certs: Texts, files: Texts });
table!(ImageRepository {
    id: Text,
    name: Text,
    filename: Text,
    baseurls: Texts,
    mirrorlist: Text,
    metalink: Text,
    gpgkeys: Texts,
    gpgcheck: Option<Spanned<bool>>,
    repo_gpgcheck: Option<bool>,
    enabled: Option<bool>,
    priority: Number,
    ssl_verify: Option<bool>,
    module_hotfixes: Option<bool>,
});
table!(Rpm { import_keys: ImportKeys });
table!(ImportKeys { files: Texts });
table!(OpenScap { profile_id: Text, datastream: Text, tailoring: Tailoring });
table!(Tailoring { selected: Texts, unselected: Texts });
