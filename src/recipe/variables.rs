//! `${NAME}` in settings and recipes; `$${NAME}` is the text itself.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::quoted;

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::recipe) struct VariableError {
    pub(in crate::recipe) message: String,
    pub(in crate::recipe) hint: String,
}

/// Whether a text can be the name of a variable.
pub(in crate::recipe) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The treatment of a variable that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recipe) enum Unset {
    /// An error.
    Refused,
    /// It stays in the text: dnf has variables too, such as `${releasever}`.
    LeftToDnf,
}

/// The text with the values of its variables, and adds their names to `used`; `None` if it has no
/// variables.
pub(in crate::recipe) fn expand(
    text: &str,
    variables: &BTreeMap<String, String>,
    unset: Unset,
    used: &mut BTreeSet<String>,
) -> Result<Option<String>, VariableError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let named = after.split_once('}').filter(|(name, _)| is_name(name));
        if unset == Unset::LeftToDnf && named.is_none_or(|(name, _)| !variables.contains_key(name))
        {
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let Some((name, behind)) = named else {
            return Err(VariableError {
                message: "`${` without the name of a variable".to_owned(),
                hint: "write ${NAME}, or $${ for the text itself".to_owned(),
            });
        };
        let Some(value) = variables.get(name) else {
            return Err(VariableError {
                message: format!("the variable {} is not set", quoted(name)),
                hint: format!(
                    "set it under [vars] or with --set {name}=VALUE; $${{{name}}} is the text \
                     itself"
                ),
            });
        };
        used.insert(name.to_owned());
        expanded.push_str(value);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(Some(expanded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_once_and_unset_ones_are_errors() {
        let variables = BTreeMap::from([
            ("A".to_owned(), "${B}".to_owned()),
            ("X_1".to_owned(), "x".to_owned()),
        ]);
        let expand_as = |text: &str, unset| expand(text, &variables, unset, &mut BTreeSet::new());
        let expand = |text: &str| expand_as(text, Unset::Refused);
        assert_eq!(expand("plain $releasever"), Ok(None));
        assert_eq!(expand("a${X_1}b${A}"), Ok(Some("axb${B}".to_owned())));
        assert_eq!(expand("$${X_1} ${X_1}"), Ok(Some("${X_1} x".to_owned())));
        assert_eq!(
            expand("${B}").map_err(|error| error.message),
            Err("the variable `B` is not set".to_owned())
        );
        assert_eq!(
            expand_as("${X_1}/${releasever}/${a:-b}/$basearch", Unset::LeftToDnf),
            Ok(Some("x/${releasever}/${a:-b}/$basearch".to_owned()))
        );
        assert!(expand("${").is_err() && expand("${a b}").is_err() && expand("${}").is_err());
    }
}
