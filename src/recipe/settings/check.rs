//! Converts the raw settings file to checked settings: values are validated, paths made absolute,
//! and all errors reported with their positions.

mod install;
mod repository;

use super::customizations::moved_key;
use super::fields::Check;
use super::merge;
use super::raw::{self, Raw};
use super::sources::{Choices, Entry, Sources};
use super::values::{absolute, parse_duration};
use super::{
    Bootstrap, DeploySettings, FinishSettings, ImageSettings, Level, ManagerChoice,
    PackageSettings, RegistrySettings, SelinuxChoice, Settings,
};
use crate::recipe::diagnostic::{Collector, SyntaxErrors, quoted};
use crate::suggest;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Settings, and what else their files say.
#[derive(Debug, Default)]
pub(in crate::recipe) struct Checked {
    pub(in crate::recipe) settings: Settings,
    /// Every value with its origin.
    pub(in crate::recipe) entries: Vec<Entry>,
    pub(in crate::recipe) variables: BTreeMap<String, String>,
    pub(in crate::recipe) used: BTreeSet<String>,
    /// Statements of a blueprint, each with its line there.
    pub(in crate::recipe) statements: Vec<(String, usize)>,
}

pub(in crate::recipe) fn settings(
    sources: &Sources,
    choices: &Choices,
) -> Result<Checked, SyntaxErrors> {
    let keys = raw::tables().flat_map(|(_, keys)| keys).copied().collect();
    let errors = Collector::with_origins(sources.origins.clone(), &sources.text).only_keys(keys);
    let mut check = Check {
        errors,
        source: &sources.text,
        sources,
        variables: BTreeMap::new(),
        used: BTreeSet::new(),
        statements: Vec::new(),
    };
    let table = check.merged(sources, choices);
    if !check.errors.is_empty() {
        return check.errors.finish(Checked::default());
    }
    check.unknown_keys(&table, "");
    let entries = merge::entries(&table, &sources.text, &sources.origins);
    // Unknown keys are reported first. A type error next to one often only repeats it, so it is
    // reported in the next run.
    if check.errors.is_empty() {
        match Raw::deserialize(toml::de::Deserializer::from(Spanned::new(
            0..sources.text.len(),
            table,
        ))) {
            Ok(raw) => {
                let settings = check.all(raw);
                let place =
                    |(statement, line): (String, usize)| (statement, sources.origins.place(line).1);
                let mut statements: Vec<(String, usize)> =
                    std::mem::take(&mut check.statements).into_iter().map(place).collect();
                statements.sort_by_key(|(_, line)| *line);
                let (variables, used) =
                    (std::mem::take(&mut check.variables), std::mem::take(&mut check.used));
                return check.errors.finish(Checked {
                    settings,
                    entries,
                    variables,
                    used,
                    statements,
                });
            }
            Err(error) => check.toml(&error, 0),
        }
    }
    check.errors.finish(Checked::default())
}

impl Check<'_> {
    /// Reports an error of the TOML parser, with a hint if its message allows one.
    pub(super) fn toml(&mut self, error: &toml::de::Error, shift: usize) {
        let message = error.message().lines().next().unwrap_or_default();
        if let Some((_, name)) = message.split_once(", expected struct ") {
            let (message, hint) = expected_table(name);
            let span = error.span().unwrap_or(0..0);
            return self.fail(span.start + shift..span.end + shift, message, hint);
        }
        let span = error.span().unwrap_or(0..0);
        let span = span.start + shift..span.end + shift;
        let message = crate::secrets::parser_message(message);
        let hint = self.type_hint(&message, span.start);
        self.fail(span, message, &hint);
    }

    /// How to fix a value of a wrong type at this byte; `message` is in plain words.
    fn type_hint(&self, message: &str, at: usize) -> String {
        if let Some((wrong, list)) = message.split_once(", expected ")
            && let Some(wrong) = wrong.strip_prefix("unknown value `")
        {
            let wrong = wrong.trim_end_matches('`');
            return match suggest::nearest(wrong, list.split('`').skip(1).step_by(2)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if wrong == "none" => "for none of them write an empty list: []".to_owned(),
                None => String::new(),
            };
        }
        let header = || {
            let start = self.source.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
            let line = self.source.get(start..)?.lines().next()?.trim();
            let path = line.strip_prefix('[')?.strip_suffix(']')?;
            // A text that is not meant for osimg is not repeated.
            raw::keys(path).map(|_| path)
        };
        match message.strip_prefix("expected ").and_then(|text| text.split_once(", found ")) {
            Some(("a text", "a whole number" | "a number with a fraction")) => {
                "put the value in quotes".to_owned()
            }
            Some(("true or false", "a text")) => "write true or false, without quotes".to_owned(),
            Some((number, "a text")) if number.starts_with("a whole number") => {
                "write a number, without quotes".to_owned()
            }
            Some(("a list", "a table")) => header().map_or_else(
                || "write a list of tables".to_owned(),
                |path| format!("write [[{path}]]"),
            ),
            Some(("a list", _)) => "write a list: the value between [ and ]".to_owned(),
            _ => String::new(),
        }
    }

    pub(super) fn unknown_keys(&mut self, table: &DeTable<'_>, path: &str) {
        // Tables with keys that the user chooses, such as `[image.properties]`, are not listed.
        let Some(keys) = raw::keys(path) else { return };
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !keys.contains(&name) && self.errors.is_full() {
                return self.errors.stop();
            }
            if !keys.contains(&name) {
                let place = if path.is_empty() {
                    "in the settings".to_owned()
                } else {
                    format!("in [{path}]")
                };
                let elsewhere = raw::tables()
                    .find(|(other, keys)| *other != path && keys.contains(&name))
                    .map(|(other, _)| other);
                let hint = match (suggest::nearest(name, keys.iter().copied()), elsewhere) {
                    _ if path == "packages.repository"
                        && matches!(name, "password" | "gpgkey" | "gpgcheck") =>
                    {
                        own_hint(name).to_owned()
                    }
                    _ if moved_key(path, name).is_some() => {
                        moved_key(path, name).unwrap_or_default().to_owned()
                    }
                    (_, Some(other)) if !other.is_empty() => format!("it belongs to [{other}]"),
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    _ => format!("the keys are {}", keys.join(", ")),
                };
                self.fail(key.span(), format!("unknown key {} {place}", quoted(name)), &hint);
                continue;
            }
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match value.get_ref() {
                DeValue::Table(table) => self.unknown_keys(table, &inner),
                DeValue::Array(items) => {
                    for item in items.iter() {
                        if let DeValue::Table(table) = item.get_ref() {
                            self.unknown_keys(table, &inner);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn all(&mut self, raw: Raw) -> Settings {
        let customizations = self.customizations(raw.customizations);
        let mut deploy = self.deploy(raw.deploy);
        deploy.install.follow(&customizations);
        Settings {
            image: self.image(raw.image),
            packages: self.packages(raw.packages),
            customizations,
            scripts: self.scripts(raw.script),
            finish: self.finish(raw.finish),
            deploy,
            registry: RegistrySettings {
                url: self.plain(raw.registry.url, "url"),
                visibility: raw.registry.visibility,
            },
        }
    }

    fn image(&mut self, raw: raw::Image) -> ImageSettings {
        let name = self.image_word(raw.name, "name");
        let version = self.image_word(raw.version, "version");
        let mut formats = Vec::new();
        for format in raw.formats.into_iter().flatten() {
            match format.get_ref().parse() {
                Ok(format) => formats.push(format),
                Err(_) => {
                    let hint = format!(
                        "the formats are {}",
                        crate::naming::SUFFIXES
                            .map(|suffix| suffix.trim_start_matches('.'))
                            .join(", ")
                    );
                    self.fail(
                        format.span(),
                        format!("unknown format {}", quoted(format.get_ref())),
                        &hint,
                    );
                }
            }
        }
        if formats.is_empty() {
            formats = ImageSettings::default().formats;
        }
        let level = raw.level.map_or(Level::Default, |level| self.level(&level));
        let sbom = raw.sbom.unwrap_or_else(|| ImageSettings::default().sbom);
        let sign = raw.sign.into_iter().flatten().filter_map(|key| self.sign(key)).collect();
        let raw::Image { properties, source_date_epoch, strict, .. } = raw;
        ImageSettings {
            name,
            version,
            formats,
            level,
            properties,
            source_date_epoch,
            sbom,
            sign,
            strict,
        }
    }

    /// Checks `SCHEME:FILE` and makes the file absolute.
    fn sign(&mut self, key: Spanned<String>) -> Option<String> {
        let Some((scheme, file)) = key
            .get_ref()
            .split_once(':')
            .filter(|(scheme, _)| matches!(*scheme, "minisign" | "openpgp"))
        else {
            self.fail(
                key.span(),
                format!("{} is not a signing key", quoted(key.get_ref())),
                "write minisign:FILE or openpgp:FILE",
            );
            return None;
        };
        let (scheme, file) = (scheme.to_owned(), Spanned::new(key.span(), file.to_owned()));
        let path = self.path(Some(file))?;
        Some(format!("{scheme}:{}", path.display()))
    }

    fn level(&mut self, value: &Spanned<toml::Value>) -> Level {
        match value.get_ref() {
            toml::Value::String(word) if word == "fast" => Level::Fast,
            toml::Value::String(word) if word == "default" => Level::Default,
            toml::Value::String(word) if word == "best" => Level::Best,
            toml::Value::Integer(number @ 0..=12) => {
                u32::try_from(*number).map_or(Level::Default, Level::Exact)
            }
            _ => {
                self.fail(
                    value.span(),
                    "`level` must be `\"fast\"`, `\"default\"`, `\"best\"` or a number from 0 to \
                     12",
                    "",
                );
                Level::Default
            }
        }
    }

    fn bootstrap(&mut self, value: &Spanned<toml::Value>) -> Bootstrap {
        match value.get_ref() {
            toml::Value::Boolean(true) => Bootstrap::Made,
            toml::Value::Boolean(false) => Bootstrap::Host,
            toml::Value::String(directory) => self
                .path(Some(Spanned::new(value.span(), directory.clone())))
                .map_or(Bootstrap::Host, Bootstrap::Root),
            _ => {
                self.fail(value.span(), "`bootstrap` must be true, false or a directory", "");
                Bootstrap::Host
            }
        }
    }

    fn manager(&mut self, name: super::texts::Text) -> ManagerChoice {
        let Some(name) = name else { return ManagerChoice::Auto };
        name.get_ref().parse().unwrap_or_else(|hint| {
            self.fail(
                name.span(),
                format!("{} is not a package manager for images", quoted(name.get_ref())),
                hint,
            );
            ManagerChoice::Auto
        })
    }

    fn packages(&mut self, raw: raw::Packages) -> PackageSettings {
        let manager = self.manager(raw.manager);
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let releasever =
            self.matching(raw.releasever, "releasever", "letters, digits and `._-`", word);
        let arch = self.matching(raw.arch, "arch", "letters, digits and `_`", |c| {
            c.is_ascii_alphanumeric() || c == '_'
        });
        let languages = raw.languages.map(|languages| self.languages(languages));
        let exclude = self.names(raw.exclude);
        let bootstrap = raw.bootstrap.map_or(Bootstrap::Host, |value| self.bootstrap(&value));
        let bootstrap_packages = self.names(raw.bootstrap_packages);
        let allow_failed_scriptlets = self.names(raw.allow_failed_scriptlets);
        let dbpath = self.dbpath(raw.dbpath);
        for name in raw.vars.keys() {
            if name.get_ref().is_empty()
                || !name.get_ref().chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                self.fail(
                    name.span(),
                    format!("{} is not a variable name", quoted(name.get_ref())),
                    "use letters, digits and `_`",
                );
            }
        }
        let vars = raw.vars.into_iter().map(|(name, value)| (name.into_inner(), value)).collect();
        let timeout = raw.timeout.and_then(|text| match parse_duration(text.get_ref()) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.fail(
                    text.span(),
                    format!("{} is not a duration", quoted(text.get_ref())),
                    &error.to_string(),
                );
                None
            }
        });
        let mut ids = BTreeSet::new();
        let mut repositories = Vec::new();
        for entry in raw.repository {
            let span = entry.span();
            if let Some(repository) = self.repository(entry.into_inner(), span.clone()) {
                if !ids.insert(repository.id.clone()) {
                    self.fail(
                        span,
                        format!("two repositories have the id {}", quoted(&repository.id)),
                        "use a different id for each",
                    );
                }
                repositories.push(repository);
            }
        }
        let keys = raw.key.into_iter().filter_map(|entry| self.key(entry)).collect();
        PackageSettings {
            manager,
            releasever,
            arch,
            install_weak_deps: raw.install_weak_deps,
            docs: raw.docs,
            languages,
            exclude,
            bootstrap,
            bootstrap_packages,
            verify: raw.verify,
            allow_failed_scriptlets,
            dbpath,
            vars,
            timeout,
            repositories,
            keys,
        }
    }

    fn finish(&mut self, raw: raw::Finish) -> FinishSettings {
        let selinux = raw.selinux.map_or(SelinuxChoice::Auto, |choice| self.selinux(&choice));
        FinishSettings { machine_id: raw.machine_id, selinux, initramfs: raw.initramfs }
    }

    fn selinux(&mut self, choice: &Spanned<String>) -> SelinuxChoice {
        match choice.get_ref().parse() {
            Ok(SelinuxChoice::Policy(path)) => {
                SelinuxChoice::Policy(absolute(&path.to_string_lossy(), self.base(&choice.span())))
            }
            Ok(choice) => choice,
            Err(_) => {
                self.fail(
                    choice.span(),
                    "`selinux` must be `\"auto\"`, `\"from-tree\"`, `\"none\"` or \
                     `\"policy=FILE_CONTEXTS\"`",
                    "",
                );
                SelinuxChoice::Auto
            }
        }
    }

    fn deploy(&mut self, raw: raw::Deploy) -> DeploySettings {
        if let (Some(tree), true) =
            (&raw.tree, raw.kernel.is_some() || raw.ramdisk.is_some() || raw.stage2.is_some())
        {
            self.fail(
                tree.span(),
                "both an install `tree` and single boot pieces",
                "keep the tree, or `kernel`, `ramdisk` and `stage2`",
            );
        }
        match (&raw.kernel, &raw.ramdisk) {
            (Some(one), None) | (None, Some(one)) => {
                self.fail(
                    one.span(),
                    "one of `kernel` and `ramdisk` without the other",
                    "name both, and `stage2`",
                );
            }
            _ => {}
        }
        DeploySettings {
            kernel: self.reference(raw.kernel, "kernel"),
            ramdisk: self.reference(raw.ramdisk, "ramdisk"),
            stage2: self.reference(raw.stage2, "stage2"),
            tree: self.reference(raw.tree, "tree"),
            kickstart: self.reference(raw.kickstart, "kickstart"),
            install: self.install(raw.install),
        }
    }
}

/// Explains that a table is expected; `name` is the Rust type that the TOML parser reports.
fn expected_table(name: &str) -> (&'static str, &'static str) {
    match name {
        "File" => (
            "each entry of `files` must be a table",
            "for example { source = \"motd\", path = \"/etc/motd\" }",
        ),
        "Repository" => (
            "each repository must be a table",
            "write [[packages.repository]], and its keys on the lines below",
        ),
        "Key" => (
            "each key must be a table",
            "write [[packages.key]], and `file` and `fingerprint` on the lines below",
        ),
        _ => ("this must be a table", "write [NAME], and the keys on the lines below"),
    }
}

/// Hints for keys of other tools.
fn own_hint(key: &str) -> &'static str {
    match key {
        "password" => "put the password into a file and set `password_file` to its path",
        "gpgkey" => "declare the key under [[packages.key]], with its fingerprint",
        _ => {
            "packages are always checked; `verify = \"digest-only\"` under [packages] turns \
             signature checks off"
        }
    }
}
