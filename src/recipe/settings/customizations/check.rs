//! `[customizations]`, checked: what can be known before anything is downloaded.

use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;

use super::super::fields::Check;
use super::super::texts::{Text, Texts};
use super::super::values::{checked_repository_id, checked_url};
use super::content::{
    CaCertificates, Data, Directory, File, ImageRepository, OwnerName, Tree, TreeRule,
};
use super::{Customizations, raw};
use crate::pem;
use crate::recipe::diagnostic::quoted;

/// Databases that have their own customizations.
const ACCOUNT_FILES: [&str; 6] =
    ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"];

impl Check<'_> {
    pub(in crate::recipe::settings) fn customizations(
        &mut self,
        raw: raw::Customizations,
    ) -> Customizations {
        let (users, groups) = self.accounts(raw.user, raw.group);
        Customizations {
            hostname: self.hostname(raw.hostname),
            timezone: self.timezone(raw.timezone),
            locale: self.locale(raw.locale),
            kernel: self.kernel(raw.kernel),
            services: self.services(raw.services),
            users,
            groups,
            ssh_keys: raw.sshkey.into_iter().filter_map(|entry| self.ssh_key(entry)).collect(),
            firewall: self.firewall(raw.firewall),
            directories: raw
                .directories
                .into_iter()
                .filter_map(|entry| self.directory(entry))
                .collect(),
            files: self.files(raw.files),
            trees: raw.tree.into_iter().filter_map(|entry| self.tree(entry)).collect(),
            cacerts: self.cacerts(raw.cacerts),
            repositories: raw
                .repositories
                .into_iter()
                .filter_map(|entry| self.image_repository(entry))
                .collect(),
            rpm_keys: raw
                .rpm
                .import_keys
                .files
                .into_iter()
                .flatten()
                .filter_map(|path| self.image_path(Some(path), "files"))
                .collect(),
            fips: raw.fips,
            openscap: raw.openscap.and_then(|entry| self.openscap(entry)),
            remove: raw
                .remove
                .into_iter()
                .flatten()
                .filter_map(|pattern| self.removal(pattern))
                .collect(),
        }
    }

    /// The required text of an entry, or an error at the entry.
    pub(super) fn required<T>(
        &mut self,
        value: Option<T>,
        span: &Range<usize>,
        what: &str,
        key: &str,
    ) -> Option<T> {
        if value.is_none() {
            self.fail(span.clone(), format!("{what} needs `{key}`"), "");
        }
        value
    }

    fn mode(&mut self, mode: Text) -> Option<u32> {
        let mode = mode?;
        match u32::from_str_radix(mode.get_ref(), 8) {
            Ok(bits) if bits <= 0o7777 && !mode.get_ref().starts_with('+') => Some(bits),
            _ => {
                let hint = "write it in octal and in quotes, such as \"0644\"";
                self.fail(mode.span(), format!("{} is not a mode", quoted(mode.get_ref())), hint);
                None
            }
        }
    }

    fn owner(&mut self, value: raw::Value, key: &str) -> Option<OwnerName> {
        let value = value?;
        match value.get_ref() {
            toml::Value::Integer(id) => {
                let id = self.id(Some(Spanned::new(value.span(), *id)), key)?;
                Some(OwnerName::Id(id))
            }
            toml::Value::String(name) => {
                let name =
                    self.account_name(Some(Spanned::new(value.span(), name.clone())), key)?;
                Some(OwnerName::Name(name))
            }
            _ => {
                self.fail(value.span(), format!("`{key}` is a name or a number"), "");
                None
            }
        }
    }

    fn directory(&mut self, entry: Spanned<raw::Directory>) -> Option<Directory> {
        let span = entry.span();
        let raw = entry.into_inner();
        let (mode, user, group) =
            (self.mode(raw.mode), self.owner(raw.user, "user"), self.owner(raw.group, "group"));
        let named = raw.path.is_some();
        let path = self.image_path(raw.path, "path");
        if !named {
            self.required(None::<()>, &span, "a directory", "path");
        }
        Some(Directory {
            path: path?,
            mode,
            user,
            group,
            ensure_parents: raw.ensure_parents,
            place: self.place(span),
        })
    }

    fn files(&mut self, entries: Vec<Spanned<raw::File>>) -> Vec<File> {
        let mut paths = BTreeSet::new();
        let mut files = Vec::new();
        for entry in entries {
            let span = entry.get_ref().path.as_ref().map_or_else(|| entry.span(), Spanned::span);
            if let Some(file) = self.file(entry) {
                if !paths.insert(file.path.clone()) {
                    self.fail(
                        span,
                        format!("two files are written to {}", quoted(&file.path)),
                        "keep one of them",
                    );
                }
                files.push(file);
            }
        }
        files
    }

    fn file(&mut self, entry: Spanned<raw::File>) -> Option<File> {
        let span = entry.span();
        let raw = entry.into_inner();
        let mode = self.mode(raw.mode);
        let (user, group) = (self.owner(raw.user, "user"), self.owner(raw.group, "group"));
        if raw.path.is_none() {
            self.required(None::<()>, &span, "a file", "path");
        }
        let place = raw.path.as_ref().map(Spanned::span);
        let path = self.image_path(raw.path, "path");
        if let (Some(path), Some(place)) = (&path, place.clone())
            && ACCOUNT_FILES.contains(&path.as_str())
        {
            self.fail(
                place,
                format!("{} is not replaced as a whole", quoted(path)),
                "add accounts by [[customizations.user]] and `group`",
            );
        }
        let data = match (raw.data, raw.source) {
            (Some(_), Some(source)) => {
                self.fail(
                    source.span(),
                    "a file with both `data` and `source`",
                    "keep one of them",
                );
                return None;
            }
            (data, None) => Data::Text(data.map(Spanned::into_inner).unwrap_or_default()),
            (None, source) => Data::Source(self.path(source)?),
        };
        let place = self.place(place.unwrap_or(span));
        Some(File {
            path: path?,
            mode,
            user: user.unwrap_or_default(),
            group: group.unwrap_or_default(),
            data,
            place,
        })
    }

    fn tree(&mut self, entry: Spanned<raw::Tree>) -> Option<Tree> {
        let span = entry.span();
        let raw = entry.into_inner();
        let (user, group) = (self.owner(raw.user, "user"), self.owner(raw.group, "group"));
        let source = self.required(raw.source, &span, "a tree", "source");
        let path = match raw.path {
            Some(path) if path.get_ref() == "/" => Some("/".to_owned()),
            None => Some("/".to_owned()),
            path => self.image_path(path, "path"),
        };
        let exclude = raw
            .exclude
            .into_iter()
            .flatten()
            .filter_map(|pattern| self.pattern(Some(pattern), "exclude"))
            .collect();
        let rules = raw.rule.into_iter().filter_map(|rule| self.tree_rule(rule)).collect();
        let source = self.path(source)?;
        let (user, group, place) =
            (user.unwrap_or_default(), group.unwrap_or_default(), self.place(span));
        Some(Tree { source, path: path?, user, group, exclude, rules, place })
    }

    fn tree_rule(&mut self, entry: Spanned<raw::TreeRule>) -> Option<TreeRule> {
        let span = entry.span();
        let raw = entry.into_inner();
        let (mode, user, group) =
            (self.mode(raw.mode), self.owner(raw.user, "user"), self.owner(raw.group, "group"));
        let path = self.required(raw.path, &span, "a rule", "path");
        Some(TreeRule { path: self.pattern(path, "path")?, mode, user, group })
    }

    /// A pattern of paths: `*`, `?`, `[...]` within a name, `**` over several.
    fn pattern(&mut self, text: Text, key: &str) -> Option<String> {
        let text = text?;
        let pattern = text.get_ref();
        if pattern.is_empty()
            || pattern.contains(char::is_control)
            || pattern.split('/').any(|part| matches!(part, ".." | "."))
        {
            self.fail(
                text.span(),
                format!("{} cannot be a pattern in `{key}`", quoted(pattern)),
                "such as \"*.md\" or \"usr/share/**\"",
            );
            return None;
        }
        Some(text.into_inner())
    }

    fn removal(&mut self, pattern: Spanned<String>) -> Option<String> {
        let text = pattern.get_ref();
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let everything = parts.first().is_none_or(|first| matches!(*first, "*" | "**"));
        if !text.starts_with('/')
            || everything
            || parts.iter().any(|part| matches!(*part, ".." | "."))
        {
            self.fail(
                pattern.span(),
                format!("{} cannot be removed", quoted(text)),
                "write absolute paths of the image, such as \"/usr/share/doc/*\"",
            );
            return None;
        }
        self.pattern(Some(pattern), "remove")
            .map(|pattern| pattern.trim_end_matches('/').to_owned())
    }

    fn cacerts(&mut self, raw: raw::CaCerts) -> CaCertificates {
        let mut pem_certs = Vec::new();
        for text in raw.pem_certs.into_iter().flatten() {
            if !pem::decode(text.get_ref(), "CERTIFICATE").is_empty() {
                pem_certs.push(text.into_inner());
            } else {
                let hint = "paste it with its lines -----BEGIN CERTIFICATE----- and -----END \
                            CERTIFICATE-----";
                self.fail(text.span(), "this is not a certificate in PEM", hint);
            }
        }
        let files =
            raw.files.into_iter().flatten().filter_map(|path| self.path(Some(path))).collect();
        CaCertificates { pem_certs, files }
    }

    fn image_repository(
        &mut self,
        entry: Spanned<raw::ImageRepository>,
    ) -> Option<ImageRepository> {
        let span = entry.span();
        let raw = entry.into_inner();
        let id = self.required(raw.id, &span, "a repository", "id")?;
        if let Err(message) = checked_repository_id(id.get_ref()) {
            self.fail(id.span(), message, "");
            return None;
        }
        let id = id.into_inner();
        let baseurls: Vec<String> = raw
            .baseurls
            .into_iter()
            .flatten()
            .filter_map(|url| self.plain(Some(url), "baseurls"))
            .collect();
        let (mirrorlist, metalink) =
            (self.plain(raw.mirrorlist, "mirrorlist"), self.plain(raw.metalink, "metalink"));
        if [!baseurls.is_empty(), mirrorlist.is_some(), metalink.is_some()]
            .iter()
            .filter(|given| **given)
            .count()
            != 1
        {
            self.fail(
                span.clone(),
                format!("repository {} needs one address", quoted(&id)),
                "`baseurls`, `mirrorlist` or `metalink`",
            );
        }
        let filename = self.file_name(raw.filename, "filename").unwrap_or_else(|| id.clone());
        let filename =
            if filename.ends_with(".repo") { filename } else { format!("{filename}.repo") };
        let gpgkeys = self.repository_keys(raw.gpgkeys);
        if let (Some(check), true) = (&raw.gpgcheck, gpgkeys.is_empty())
            && *check.get_ref()
        {
            self.fail(
                check.span(),
                "`gpgcheck` without `gpgkeys`",
                "name the keys that packages are signed with",
            );
        }
        Some(ImageRepository {
            id,
            name: self.plain(raw.name, "name"),
            filename,
            baseurls,
            mirrorlist,
            metalink,
            gpgkeys,
            gpgcheck: raw.gpgcheck.map(Spanned::into_inner),
            repo_gpgcheck: raw.repo_gpgcheck,
            enabled: raw.enabled,
            priority: self.number(raw.priority, "priority", 1, 99),
            ssl_verify: raw.ssl_verify,
            module_hotfixes: raw.module_hotfixes,
        })
    }

    fn repository_keys(&mut self, texts: Texts) -> Vec<String> {
        let mut keys = Vec::new();
        for text in texts.into_iter().flatten() {
            let key = text.get_ref().trim();
            let armored = !pem::blocks(key, "PGP PUBLIC KEY BLOCK").is_empty();
            if armored || (key.contains("://") && checked_url(key, self.base(&text.span())).is_ok())
            {
                keys.push(key.to_owned());
            } else {
                let hint = "write a URL, such as file:///etc/pki/rpm-gpg/RPM-GPG-KEY-x, or the \
                            armored key itself";
                self.fail(text.span(), "this is neither a URL nor an OpenPGP key", hint);
            }
        }
        keys
    }
}
