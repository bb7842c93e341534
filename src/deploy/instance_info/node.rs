//! The settings of a node, as Ironic's API and its command line client take them.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::Mode;
use crate::error::{ExitCode, Failure, Result};
use crate::process::CommandLine;

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeSettings {
    /// The way of installing.
    pub mode: Mode,
    /// Always `anaconda`.
    pub deploy_interface: &'static str,
    /// The boot mode, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_interface: Option<String>,
    /// Demanded by Ironic's validation and never used; a node that has its own keeps it.
    pub driver_info: BTreeMap<&'static str, String>,
    /// The image to install.
    pub instance_info: BTreeMap<&'static str, Value>,
}

impl NodeSettings {
    /// The same as commands for Ironic's command line client.
    #[must_use]
    pub(crate) fn commands(&self, node: &str) -> Vec<CommandLine> {
        let set =
            || vec!["baremetal".to_owned(), "node".to_owned(), "set".to_owned(), node.to_owned()];
        let mut interfaces = set();
        interfaces.extend(["--deploy-interface".to_owned(), self.deploy_interface.to_owned()]);
        if let Some(boot) = &self.boot_interface {
            interfaces.extend(["--boot-interface".to_owned(), boot.clone()]);
        }
        let mut lines = vec![interfaces];
        if !self.driver_info.is_empty() {
            let mut line = set();
            for (key, value) in &self.driver_info {
                line.extend(["--driver-info".to_owned(), format!("{key}={value}")]);
            }
            lines.push(line);
        }
        let mut line = set();
        for (key, value) in &self.instance_info {
            // The client reads a value as JSON if it can; a text that looks like a number must stay
            // a text.
            let text = match value {
                Value::String(text) if serde_json::from_str::<Value>(text).is_ok() => {
                    value.to_string()
                }
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            line.extend(["--instance-info".to_owned(), format!("{key}={text}")]);
        }
        lines.push(line);
        for verb in ["validate", "deploy"] {
            lines.push(vec![
                "baremetal".to_owned(),
                "node".to_owned(),
                verb.to_owned(),
                node.to_owned(),
            ]);
        }
        lines.into_iter().map(CommandLine::new).collect()
    }
}

/// As Ironic's grammar has it (`kernel_parameters.py`): words of `KEY`, `KEY=VALUE` or `KEY="VALUE
/// WITH BLANKS"`, then `-- ARGUMENTS OF INIT`.
pub(super) fn kernel_arguments(text: &str) -> Result<()> {
    let wrong = |word: &str| {
        let shown: String = word.chars().take(40).flat_map(char::escape_debug).collect();
        Failure::new(
            ExitCode::Usage,
            format!(
                "setting the installer's kernel arguments: '{shown}' is not a kernel argument for \
                 Ironic"
            ),
        )
        .hint(
            "write KEY, KEY=VALUE or KEY=\"VALUE WITH BLANKS\"; %default% means the conductor's \
             own",
        )
    };
    let printable = |c: char| c.is_ascii_graphic() && c != '"';
    let mut rest = text.replace("%default%", "default").trim().to_owned();
    while !rest.is_empty() {
        if let Some(init) = rest.strip_prefix("-- ") {
            return if init.chars().all(|c| printable(c) || c == ' ') {
                Ok(())
            } else {
                Err(wrong(init).into())
            };
        }
        let key_end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
            .unwrap_or(rest.len());
        let after = rest.get(key_end..).unwrap_or_default();
        let end = match after.strip_prefix('=') {
            None => 0,
            Some(value) => match value.strip_prefix('"') {
                Some(quoted) => {
                    3 + quoted.find('"').filter(|at| *at > 0).ok_or_else(|| wrong(&rest))?
                }
                None => 1 + value.find(|c: char| !printable(c)).unwrap_or(value.len()),
            },
        };
        let next = after.get(end..).unwrap_or_default();
        if key_end == 0 || end == 1 || !(next.is_empty() || next.starts_with(' ')) {
            return Err(wrong(rest.split(' ').next().unwrap_or_default()).into());
        }
        rest = next.trim_start().to_owned();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_arguments_are_those_of_ironics_grammar() {
        for right in [
            "",
            "quiet",
            "a=b c",
            "%default% console=ttyS0,115200n8",
            "x=\"a b\" y",
            "a -- init arguments",
            "a=b;c",
            "a=$(x)",
        ] {
            kernel_arguments(right).expect(right);
        }
        for wrong in [
            "a b; $(x)",
            "a=",
            "\"a b\"",
            "a=\"b",
            "a=\"\"",
            "a=b\"c",
            "a=\u{e9}",
            "=b",
            "a=b\nc",
            "a -- \u{7}",
        ] {
            kernel_arguments(wrong).expect_err(wrong);
        }
    }
}
