//! `osimg config`: the settings as they are merged, each value with its origin.

use clap::Args;

use super::output;
use super::overrides::Overrides;
use crate::error::{ExitCode, Result};
use crate::recipe::schema;
use crate::report::Report;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    overrides: Overrides,
}

impl ConfigArgs {
    pub(super) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let decided = self.overrides.decide()?;
        let entries = &decided.recipe.entries;
        if json {
            output::print_json(report, &serde_json::json!({ "settings": entries }))?;
            return Ok(ExitCode::Done);
        }
        let width = entries
            .iter()
            .map(|entry| entry.key.len() + entry.value.len() + 3)
            .filter(|width| *width < 60)
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for entry in entries {
            let setting = format!("{} = {}", entry.key, entry.value);
            text.push_str(&format!("{setting:width$}  # {}\n", entry.origin));
        }
        output::print(report, text.trim_end())?;
        Ok(ExitCode::Done)
    }
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {}

impl SchemaArgs {
    #[expect(clippy::unused_self, reason = "as every verb")]
    pub(super) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let schema = schema();
        if json {
            output::print_json(report, &schema)?;
        } else {
            output::print(report, &serde_json::to_string_pretty(&schema)?)?;
        }
        Ok(ExitCode::Done)
    }
}
