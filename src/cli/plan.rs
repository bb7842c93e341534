//! `osimg plan`: shows what a build would do, without doing it.

use clap::Args;
use serde_json::json;

use super::documents::DocumentOptions;
use super::output;
use super::overrides::Overrides;
use super::plan_text::{PlanText, commands, sandbox};
use super::privileges;
use super::resolve;
use super::shared::report_diagnostic;
use super::target::Target;
use crate::build::Request;
use crate::build::outline::{keys, outline, package_manager};
use crate::customise::scripts;
use crate::error::{ExitCode, Result, explain};
use crate::packages::check_repositories;
use crate::recipe::Recipe;
use crate::report::Report;
use crate::sandbox::Devices;
use crate::secrets;
use crate::set::check_names;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    documents: DocumentOptions,
    /// Print only the recipe, as a plain script for dnf's shell: without `include` and variables
    #[arg(long)]
    expand: bool,
    /// Resolve with the package manager: show packages, versions, sizes and groups, or what is
    /// missing. Reads the repositories' metadata and no package. Without --cache, the metadata are
    /// kept only if the default cache exists
    #[arg(long, conflicts_with = "expand")]
    resolve: bool,
    /// The /dev that scriptlets would see
    #[arg(long = "dev", value_parser = super::shared::devices(), default_value = "private",
        value_name = "KIND")]
    devices: Devices,
}

impl PlanArgs {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if self.resolve {
            // Before any thread: a user namespace is entered by a process of one.
            privileges::act_as_root(report, None)?;
        }
        let mut decided = self.overrides.decide()?;
        self.target.apply(&mut decided.recipe.settings);
        if self.expand {
            let script = decided.recipe.script.to_string();
            if json {
                output::print_json(report, &json!({ "script": secrets::url(&script) }))?;
            } else {
                output::print(report, script.trim_end())?;
            }
            return Ok(ExitCode::Done);
        }
        let lowered = decided.recipe.script.lower()?;
        let place = self.place(&decided.recipe)?;
        Request {
            recipe: &decided.recipe,
            transactions: &lowered.transactions,
            output: self.target.output.as_deref(),
            formats: &decided.formats,
            level: decided.level,
            selinux: &decided.selinux,
            registry: &self.target.registry(&decided.recipe.settings)?,
        }
        .check()?;
        self.documents.choose(&decided.recipe.settings)?;
        let scripts = scripts::records(&decided.recipe.settings.scripts)?;
        let resolved = if self.resolve {
            Some(resolve::resolve(&decided, &lowered.transactions, &self.target, report)?)
        } else {
            None
        };
        // A build that cannot run here can still be shown.
        let cache = self.target.cache().unwrap_or_else(|_| "CACHE".into());
        let settings = &decided.recipe.settings.packages;
        let outlines =
            outline(&decided.recipe, &lowered.transactions, self.devices, &cache, report);
        if json {
            let value = json!({
                "recipe": decided.recipe.path,
                "output": place,
                "script": secrets::url(&decided.recipe.script.to_string()),
                "settings": decided.recipe.settings,
                "transactions": lowered.transactions,
                "diagnostics": lowered.diagnostics,
                "formats": decided.formats,
                "scripts": scripts,
                "resolved": resolved.as_ref().map(resolve::json),
                "keys": keys(settings, &lowered.transactions)
                    .unwrap_or_default(),
                "package_manager": package_manager(settings),
                "sandbox": outlines.as_ref().map_or_else(|_| Vec::new(),
                    |outlines| sandbox(outlines)),
                "commands": outlines.as_ref().map_or_else(|_| Vec::new(),
                    |outlines| commands(outlines)),
                "refused": outlines.as_ref().err().map(|error| explain(error).message),
            });
            output::print_json(report, &value)?;
            check_repositories(settings, &lowered.transactions)?;
            return Ok(ExitCode::Done);
        }
        for diagnostic in &lowered.diagnostics {
            report_diagnostic(report, decided.recipe.script.origins(), diagnostic);
        }
        let mut text = PlanText {
            decided: &decided,
            transactions: &lowered.transactions,
            scripts: &scripts,
            outlines: outlines.as_deref(),
            place: &place,
            details: report.is_verbose(),
        }
        .to_string();
        if let Some(lock) = &resolved {
            text.push_str(&format!("\n{}", resolve::text(lock)));
        }
        output::print(report, text.trim_end())?;
        check_repositories(settings, &lowered.transactions)?;
        Ok(ExitCode::Done)
    }

    /// The file or the registry that the image goes to.
    fn place(&self, recipe: &Recipe) -> Result<String> {
        if let Some(file) = &self.target.output {
            return Ok(file.display().to_string());
        }
        let version = recipe.settings.image.version.as_deref().unwrap_or_default();
        check_names(&recipe.name(), version)?;
        Ok(self.target.registry(&recipe.settings)?.to_string())
    }
}
