//! Checks the raw repositories and keys.

use std::ops::Range;
use toml::Spanned;

use crate::recipe::settings::fields::Check;
use crate::recipe::settings::raw;
use crate::recipe::settings::texts::Text;
use crate::recipe::settings::values::{checked_fingerprint, checked_repository_id};
use crate::recipe::settings::{Key, KeySource, Repository, RepositorySource};

impl Check<'_> {
    pub(super) fn repository(
        &mut self,
        raw: raw::Repository,
        span: Range<usize>,
    ) -> Option<Repository> {
        let id = match &raw.id {
            Some(id) => match checked_repository_id(id.get_ref()) {
                Ok(checked) => Some(checked.to_owned()),
                Err(message) => {
                    self.fail(id.span(), message, "");
                    None
                }
            },
            None => {
                self.fail(
                    span.clone(),
                    "a repository without an `id`",
                    "for example, write `id = \"baseos\"`",
                );
                None
            }
        };
        let source = self.repository_source(raw.baseurl, raw.metalink, raw.mirrorlist, span);
        let mut repository = Repository::new(id?, source?);
        repository.name = self.plain(raw.name, "name");
        repository.enabled = raw.enabled.unwrap_or(true);
        repository.priority = self.number(raw.priority, "priority", 1, 99);
        repository.cost = self.number(raw.cost, "cost", 0, 1_000_000);
        repository.signed_metadata = raw.signed_metadata.unwrap_or(false);
        repository.module_hotfixes = raw.module_hotfixes.unwrap_or(false);
        repository.exclude = self.names(raw.exclude);
        repository.include = self.names(raw.include);
        repository.ca = self.path(raw.ca);
        if let (Some(key), None) = (&raw.client_key, &raw.client_cert) {
            self.fail(key.span(), "`client_key` without `client_cert`", "set the certificate too");
        }
        repository.client_cert = self.path(raw.client_cert);
        repository.client_key = self.path(raw.client_key);
        repository.proxy = self.url(raw.proxy);
        if let (Some(file), None) = (&raw.password_file, &raw.username) {
            self.fail(file.span(), "`password_file` without `username`", "set the user too");
        }
        repository.username = self.plain(raw.username, "username");
        repository.password_file = self.path(raw.password_file);
        Some(repository)
    }

    fn repository_source(
        &mut self,
        baseurl: Option<Spanned<toml::Value>>,
        metalink: Text,
        mirrorlist: Text,
        span: Range<usize>,
    ) -> Option<RepositorySource> {
        match (baseurl, metalink, mirrorlist) {
            (Some(baseurl), None, None) => {
                let span = baseurl.span();
                let texts: Option<Vec<String>> = match baseurl.into_inner() {
                    toml::Value::String(text) => Some(vec![text]),
                    toml::Value::Array(items) => {
                        items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect()
                    }
                    _ => None,
                };
                let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
                    self.fail(span, "`baseurl` must be a URL or a list of URLs", "");
                    return None;
                };
                let urls = texts
                    .into_iter()
                    .filter_map(|text| self.url(Some(Spanned::new(span.clone(), text))))
                    .collect();
                Some(RepositorySource::Baseurl(urls))
            }
            (None, Some(metalink), None) => {
                self.url(Some(metalink)).map(RepositorySource::Metalink)
            }
            (None, None, Some(mirrorlist)) => {
                self.url(Some(mirrorlist)).map(RepositorySource::Mirrorlist)
            }
            (None, None, None) => {
                self.fail(
                    span,
                    "a repository without an address",
                    "set one of `baseurl`, `metalink` and `mirrorlist`",
                );
                None
            }
            _ => {
                self.fail(
                    span,
                    "a repository with more than one of `baseurl`, `metalink` and `mirrorlist`",
                    "keep one of them",
                );
                None
            }
        }
    }

    pub(super) fn key(&mut self, entry: Spanned<raw::Key>) -> Option<Key> {
        let span = entry.span();
        let raw = entry.into_inner();
        let source = match (raw.file, raw.url) {
            (Some(file), None) => self.path(Some(file)).map(KeySource::File),
            (None, Some(url)) => self.url(Some(url)).map(KeySource::Url),
            (Some(_), Some(_)) => {
                self.fail(span.clone(), "a key with both `file` and `url`", "keep one of them");
                None
            }
            (None, None) => {
                self.fail(span.clone(), "a key without an address", "set `file` or `url`");
                None
            }
        };
        let Some(fingerprint) = raw.fingerprint else {
            self.fail(
                span,
                "a key without a `fingerprint`",
                "`gpg --show-keys FILE` prints it; compare it with what the distribution publishes",
            );
            return None;
        };
        match checked_fingerprint(fingerprint.get_ref()) {
            Ok(checked) => source.map(|source| Key { source, fingerprint: checked }),
            Err(message) => {
                self.fail(
                    fingerprint.span(),
                    message,
                    "`gpg --show-keys FILE` prints the full one",
                );
                None
            }
        }
    }
}
