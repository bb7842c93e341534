//! `[customizations.firewall]`, checked.

use toml::Spanned;

use super::super::fields::Check;
use super::{Firewall, FirewallZone, raw};
use crate::recipe::diagnostic::quoted;

const PROTOCOLS: [&str; 4] = ["tcp", "udp", "sctp", "dccp"];

impl Check<'_> {
    pub(super) fn firewall(&mut self, raw: raw::Firewall) -> Firewall {
        let word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let ports = raw.ports.into_iter().flatten().filter_map(|port| self.port(port)).collect();
        let mut services = |texts: super::super::texts::Texts, key: &str| -> Vec<String> {
            let names = texts.into_iter().flatten();
            names
                .filter_map(|name| {
                    self.matching(Some(name), key, "names of firewalld's services", word)
                })
                .collect()
        };
        let (enabled, disabled) = (
            services(raw.services.enabled, "enabled"),
            services(raw.services.disabled, "disabled"),
        );
        let mut zones = Vec::new();
        for entry in raw.zones {
            let span = entry.span();
            let zone = entry.into_inner();
            let name = self.required(zone.name, &span, "a zone", "name");
            let name = self.matching(name, "name", "letters, digits, `_` and `-`", word);
            let source = |c: char| c.is_ascii_alphanumeric() || ".:/".contains(c);
            let sources = zone.sources.into_iter().flatten();
            let sources = sources
                .filter_map(|text| {
                    self.matching(Some(text), "sources", "addresses and networks", source)
                })
                .collect();
            zones.extend(name.map(|name| FirewallZone { name, sources }));
        }
        Firewall { ports, enabled, disabled, zones }
    }

    /// `PORT:PROTOCOL` or `FIRST-LAST:PROTOCOL`; a port may have a name of services(5).
    fn port(&mut self, text: Spanned<String>) -> Option<String> {
        let number = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let name = |port: &str| {
            port.starts_with(|c: char| c.is_ascii_alphabetic())
                && port.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let good = text.get_ref().split_once(':').is_some_and(|(port, protocol)| {
            let ports = match port.split_once('-') {
                Some((first, last)) if number(first) && number(last) => first
                    .parse::<u16>()
                    .is_ok_and(|first| last.parse::<u16>().is_ok_and(|last| first <= last)),
                _ => number(port) || name(port),
            };
            ports && PROTOCOLS.contains(&protocol)
        });
        if !good {
            let hint = "write PORT:PROTOCOL, such as \"80:tcp\" or \"30000-32767:udp\"";
            self.fail(text.span(), format!("{} is not a port", quoted(text.get_ref())), hint);
            return None;
        }
        Some(text.into_inner())
    }
}
