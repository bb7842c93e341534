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

/// The text with the values of its variables, and adds their names to `used`; `None` if it has no
/// variables.
pub(in crate::recipe) fn expand(
    text: &str,
    variables: &BTreeMap<String, String>,
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
        let Some((name, behind)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
            return Err(VariableError {
                message: format!(
                    "{} is not a variable",
                    quoted(&format!("${{{}", after.split(['}', ' ']).next().unwrap_or_default()))
                ),
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
        let expand = |text: &str| expand(text, &variables, &mut BTreeSet::new());
        assert_eq!(expand("plain $releasever"), Ok(None));
        assert_eq!(expand("a${X_1}b${A}"), Ok(Some("axb${B}".to_owned())));
        assert_eq!(expand("$${X_1} ${X_1}"), Ok(Some("${X_1} x".to_owned())));
        assert_eq!(
            expand("${B}").map_err(|error| error.message),
            Err("the variable `B` is not set".to_owned())
        );
        assert!(expand("${").is_err() && expand("${a b}").is_err() && expand("${}").is_err());
    }
}
