//! The table `[deploy.install]`.

use crate::recipe::diagnostic::quoted;
use crate::recipe::settings::fields::Check;
use crate::recipe::settings::install::{Disks, InstallSettings};
use crate::recipe::settings::raw;
use crate::recipe::settings::texts::Texts;
use toml::Spanned;

impl Check<'_> {
    pub(super) fn install(&mut self, raw: raw::Install) -> InstallSettings {
        let disks = raw.disks.map_or(Disks::All, |disks| self.disks(&disks));
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-+/@".contains(c);
        if let (Some(layout), Some(_)) = (&raw.layout, &raw.storage) {
            self.fail(layout.span(), "both `layout` and `storage`", "keep one of them");
        }
        let storage = raw.storage.map(Spanned::into_inner);
        let lines = |check: &mut Self, texts: Texts, key: &str| -> Vec<String> {
            texts.into_iter().flatten().filter_map(|text| check.plain(Some(text), key)).collect()
        };
        InstallSettings {
            disks,
            layout: raw.layout.map(Spanned::into_inner).unwrap_or_default(),
            storage,
            kernel_arguments: self.plain(raw.kernel_arguments, "kernel_arguments"),
            network: lines(self, raw.network, "network"),
            language: self.matching(raw.language, "language", "letters, digits and `_.-@`", word),
            keyboard: self.matching(raw.keyboard, "keyboard", "letters, digits and `_.-`", word),
            timezone: self.matching(raw.timezone, "timezone", "letters, digits and `_-+/`", word),
            selinux: raw.selinux,
            root_keys: lines(self, raw.root_keys, "root_keys"),
            authority: self.path(raw.authority),
            packages: lines(self, raw.packages, "packages"),
        }
    }

    fn disks(&mut self, value: &Spanned<toml::Value>) -> Disks {
        let named = match value.get_ref() {
            toml::Value::String(word) if word == "all" => return Disks::All,
            toml::Value::String(word) if word == "smallest" => return Disks::Smallest,
            toml::Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let good = |name: &String| {
            !name.is_empty()
                && !name.starts_with('-')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-+:/@*".contains(c))
        };
        match named {
            Some(names) if !names.is_empty() && names.iter().all(good) => Disks::Named(names),
            Some(names) => {
                let wrong = names
                    .iter()
                    .find(|name| !good(name))
                    .map_or_else(|| "an empty list".to_owned(), |name| quoted(name));
                self.fail(
                    value.span(),
                    format!("{wrong} is not a disk"),
                    "for example  \"sda\" or \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"",
                );
                Disks::All
            }
            None => {
                self.fail(
                    value.span(),
                    "`disks` must be `\"all\"`, `\"smallest\"` or a list of disks",
                    "",
                );
                Disks::All
            }
        }
    }
}
