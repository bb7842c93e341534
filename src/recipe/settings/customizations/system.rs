//! Customizations of the whole system, checked: names, time, language, kernel, services, OpenSCAP.

use toml::Spanned;

use super::super::fields::Check;
use super::super::texts::{Text, Texts};
use super::{Kernel, Locale, OpenScap, Services, Timezone, raw};
use crate::recipe::diagnostic::quoted;

/// The suffixes of units; see systemd.unit(5).
const UNITS: [&str; 11] = [
    "service",
    "socket",
    "target",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "slice",
    "scope",
    "device",
];

impl Check<'_> {
    pub(super) fn hostname(&mut self, name: Text) -> Option<String> {
        let name = name?;
        let labels = |text: &str| {
            text.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            })
        };
        let text = name.get_ref();
        // The kernel's limit is 64 bytes.
        if text.len() <= 64
            && labels(text)
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
        {
            return Some(name.into_inner());
        }
        self.fail(
            name.span(),
            format!("{} is not a host name", quoted(text)),
            "use up to 64 letters, digits, `-` and `.`",
        );
        None
    }

    pub(super) fn timezone(&mut self, raw: raw::Timezone) -> Timezone {
        let timezone = raw.timezone.and_then(|zone| {
            let text = zone.get_ref();
            let good = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-+/".contains(c))
                && text.split('/').all(|part| !part.is_empty())
                && !text.is_empty();
            if !good {
                self.fail(
                    zone.span(),
                    format!("{} is not a time zone", quoted(text)),
                    "such as \"Europe/Berlin\" or \"UTC\"",
                );
                return None;
            }
            Some(zone.into_inner())
        });
        let host = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        let ntpservers = raw.ntpservers.into_iter().flatten();
        let ntpservers = ntpservers
            .filter_map(|name| {
                self.matching(Some(name), "ntpservers", "host names and addresses", host)
            })
            .collect();
        Timezone { timezone, ntpservers }
    }

    pub(super) fn locale(&mut self, raw: raw::Locale) -> Locale {
        let languages =
            raw.languages.map(|languages| self.languages(languages)).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        Locale {
            languages,
            keyboard: self.matching(raw.keyboard, "keyboard", "letters, digits and `_.-`", word),
        }
    }

    pub(super) fn kernel(&mut self, raw: raw::Kernel) -> Kernel {
        let append = raw.append.and_then(|arguments| {
            let span = arguments.span();
            // They are written to shell text and boot entries, where quotes and dollars have a
            // meaning.
            if let Some(wrong) =
                arguments.get_ref().chars().find(|c| c.is_control() || "\"'`$\\".contains(*c))
            {
                let message =
                    format!("`append` cannot have {}", quoted(&wrong.escape_default().to_string()));
                self.fail(
                    span,
                    message,
                    "arguments are separated by blanks, such as \"nosmt=force console=ttyS0\"",
                );
                return None;
            }
            let words: Vec<&str> = arguments.get_ref().split_whitespace().collect();
            if words.is_empty() {
                self.fail(span, "`append` is empty", "");
                return None;
            }
            Some(words.join(" "))
        });
        Kernel { append }
    }

    pub(super) fn services(&mut self, raw: raw::Services) -> Services {
        let places: Vec<(String, std::ops::Range<usize>)> = [&raw.disabled, &raw.masked]
            .into_iter()
            .flatten()
            .flatten()
            .map(|unit| (unit.get_ref().clone(), unit.span()))
            .collect();
        let target = raw.default_target.as_ref().map(Spanned::span).unwrap_or_default();
        let services = Services {
            enabled: self.units(raw.enabled, "enabled"),
            disabled: self.units(raw.disabled, "disabled"),
            masked: self.units(raw.masked, "masked"),
            default_target: self.unit(raw.default_target, "default_target"),
        };
        for (unit, span) in places {
            if services.enabled.contains(&full_name(&unit)) {
                self.fail(
                    span,
                    format!("{} is both on and off", quoted(&unit)),
                    "keep it in one of the lists",
                );
            }
        }
        if let Some(name) =
            services.default_target.as_deref().filter(|name| !name.ends_with(".target"))
        {
            self.fail(
                target,
                format!("{} is not a target", quoted(name)),
                "such as \"multi-user.target\"",
            );
        }
        services
    }

    fn units(&mut self, units: Texts, key: &str) -> Vec<String> {
        units.into_iter().flatten().filter_map(|unit| self.unit(Some(unit), key)).collect()
    }

    /// A unit's name, with its suffix.
    fn unit(&mut self, unit: Text, key: &str) -> Option<String> {
        let span = unit.as_ref().map(Spanned::span).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
        let name = self.matching(unit, key, "names of systemd units", word)?;
        if name.starts_with(['-', '.']) {
            self.fail(
                span,
                format!("{} is not the name of a unit", quoted(&name)),
                "such as \"sshd.service\"",
            );
            return None;
        }
        Some(full_name(&name))
    }

    pub(super) fn openscap(&mut self, entry: Spanned<raw::OpenScap>) -> Option<OpenScap> {
        let span = entry.span();
        let raw = entry.into_inner();
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let profile =
            self.required(raw.profile_id, &span, "[customizations.openscap]", "profile_id");
        let profile_id = self.matching(profile, "profile_id", "letters, digits and `_.-`", word);
        let datastream = self.image_path(raw.datastream, "datastream");
        let mut rules = |texts: Texts, key: &str| -> Vec<String> {
            texts
                .into_iter()
                .flatten()
                .filter_map(|rule| self.matching(Some(rule), key, "names of rules", word))
                .collect()
        };
        let (selected, unselected) = (
            rules(raw.tailoring.selected, "selected"),
            rules(raw.tailoring.unselected, "unselected"),
        );
        Some(OpenScap { datastream, profile_id: profile_id?, selected, unselected })
    }
}

/// With `.service` if there is no suffix, as systemctl does.
fn full_name(unit: &str) -> String {
    match unit.rsplit_once('.') {
        Some((_, suffix)) if UNITS.contains(&suffix) => unit.to_owned(),
        _ => format!("{unit}.service"),
    }
}
