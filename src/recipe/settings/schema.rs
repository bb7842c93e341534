//! The JSON schema of the settings, made from their documentation: `docs/settings.md` is the one
//! list of keys, types and meanings. A test compares it with the keys that are read.

use serde_json::{Map, Value, json};

/// The page with the tables of keys.
const PAGE: &str = include_str!("../../../docs/settings.md");

/// A key as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Documented {
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: &'static str,
    meaning: &'static str,
}

/// Every key of the page, in its order.
pub(super) fn documented() -> Vec<Documented> {
    let mut keys = Vec::new();
    let mut table = None;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            table = Some(if heading == "Top level" {
                ""
            } else {
                heading.trim_matches(['`', '[', ']'])
            });
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        if let (Some(table), [key, kind, meaning]) = (table, cells.as_slice())
            && let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'))
        {
            keys.push(Documented { table, key, kind, meaning });
        }
    }
    keys
}

/// The schema, by JSON Schema 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut root = table("", &documented());
    if let Value::Object(root) = &mut root {
        root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("title".into(), "The settings of an osimg recipe".into());
    }
    root
}

fn table(name: &str, keys: &[Documented]) -> Value {
    let own = keys.iter().filter(|key| key.table == name);
    let properties: Map<String, Value> =
        own.map(|key| (key.key.to_owned(), property(key, keys))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Documented, keys: &[Documented]) -> Value {
    let below = if key.table.is_empty() {
        key.key.to_owned()
    } else {
        format!("{}.{}", key.table, key.key)
    };
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let mut value = match key.kind {
        "boolean" => json!({ "type": "boolean" }),
        "number" => json!({ "type": "integer" }),
        "texts" => texts,
        "text or number" => json!({ "type": ["string", "integer"] }),
        "text or boolean" => json!({ "type": ["string", "boolean"] }),
        "text or texts" => json!({ "anyOf": [text, texts] }),
        "text table" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        "tables" => json!({ "type": "array", "items": table(&below, keys) }),
        // Of the user's own words.
        "table" if !keys.iter().any(|other| other.table == below) => json!({ "type": "object" }),
        "table" => table(&below, keys),
        _ => text,
    };
    if let Value::Object(value) = &mut value {
        value.insert("description".into(), key.meaning.into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::settings::{Settings, raw};
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_key_is_documented_and_every_documented_key_is_read() {
        let read: BTreeSet<(&str, &str)> = raw::tables()
            .flat_map(|(table, keys)| keys.iter().map(move |key| (table, *key)))
            .collect();
        let documented: BTreeSet<(&str, &str)> =
            documented().iter().map(|key| (key.table, key.key)).collect();
        let only = |a: &BTreeSet<(&str, &str)>, b: &BTreeSet<(&str, &str)>| {
            a.difference(b).map(|key| format!("{key:?}")).collect::<Vec<_>>()
        };
        assert_eq!((only(&read, &documented), only(&documented, &read)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn every_key_has_the_documented_type() {
        for key in documented() {
            if matches!(key.key, "include" | "vars" | "profile") && key.table.is_empty() {
                continue;
            }
            let values: &[&str] = match key.kind {
                "text" => &["\"x\""],
                "boolean" => &["true"],
                "number" => &["1"],
                "texts" => &["[\"x\"]"],
                "text or number" => &["\"x\"", "1"],
                "text or boolean" => &["\"x\"", "true"],
                "text or texts" => &["\"x\"", "[\"x\"]"],
                "text table" => &["{ x = \"x\" }"],
                "table" => &["{}"],
                "tables" => &["[]"],
                other => panic!("{}.{} has the unknown type {other}", key.table, key.key),
            };
            let header = match PAGE.contains(&format!("### `[[{}]]`", key.table)) {
                true => format!("[[{}]]\n", key.table),
                false if key.table.is_empty() => String::new(),
                false => format!("[{}]\n", key.table),
            };
            // A table inside a list of tables needs an entry of that list.
            let header = if key.table == "customizations.tree.rule" {
                format!("[[customizations.tree]]\n{header}")
            } else {
                header
            };
            for value in values {
                let text = format!("{header}{} = {value}\n", key.key);
                let errors = Settings::parse(&text, "s.toml", Path::new("/"))
                    .map_or_else(|errors| errors.to_string(), |_| String::new());
                // Other errors are about the value "x", which is not in the key's list of values.
                let wrong = errors.contains(", found ") || errors.contains("unknown key");
                assert!(!wrong, "{text}{errors}");
            }
            let wrong = if key.kind.contains("number") || key.kind.contains("table") {
                "1.5"
            } else {
                "{ a = 1.5 }"
            };
            let text = format!("{header}{} = {wrong}\n", key.key);
            assert!(Settings::parse(&text, "s.toml", Path::new("/")).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn the_schema_beside_the_documentation_is_this_one() {
        let shipped: Value =
            serde_json::from_str(include_str!("../../../docs/settings.schema.json")).expect("JSON");
        assert_eq!(shipped, schema(), "write it again: osimg schema > docs/settings.schema.json");
    }
}
