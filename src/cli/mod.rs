//! The command line: one file for each verb. Clap's types stay here; they become validated options
//! at once.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "help texts are written for the terminal: [default: …] is not a link"
)]

mod allowed;
mod boot;
mod build;
mod cache;
mod config;
mod counterpart;
mod deploy;
mod diff;
mod doctor;
mod documents;
mod images;
mod inspect;
mod lock;
mod output;
mod overrides;
mod pack;
mod plan;
mod plan_text;
mod privileges;
mod publish;
mod resolve;
mod shared;
mod shell;
mod stopped;
mod target;
mod verify;

use clap::{Args, Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;

use crate::error;
use crate::process::{self, Interrupt};
use crate::report::{Color, Failed, Report, Verbosity};

/// The table of `src/error.rs`, for the user.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 unexpected; 2 usage; 3 recipe or settings; 4 \
                          host; 5 repository or network; 6 trust; 7 transaction; 8 space or I/O; \
                          9 registry; 10 findings; 11 locked; 124 time limit; 129, 130, 143 \
                          stopped";

/// Builds OS tarballs for bare metal.
#[derive(Debug, Parser)]
#[command(name = "osimg", version, about, max_term_width = 100, help_expected = true,
    after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    talk: Talk,
    #[command(subcommand)]
    verb: Verb,
}

/// The amount and the form of the output.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Talk {
    /// Print a machine-readable result on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Show child commands, ready to paste, and their output
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Print only errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to use colours on stderr
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a recipe into an OS tarball and publish it
    Build(build::Build),
    /// Show what a build would do; needs no root
    Plan(plan::PlanArgs),
    /// Print the settings of a recipe as they are merged, each with its origin
    Config(config::ConfigArgs),
    /// Print the JSON schema of settings files, for editors
    Schema(config::SchemaArgs),
    /// Record the packages that a recipe resolves to, for `build --locked`
    Lock(lock::LockArgs),
    /// Show the package cache, and prune it
    Cache(cache::CacheArgs),
    /// Write an existing tree as a tarball
    Pack(pack::Pack),
    /// Show the contents and properties of an image
    Inspect(inspect::Inspect),
    /// Show the differences between two images
    Diff(diff::Diff),
    /// Check whether any tarball is fit for a node
    Verify(verify::Verify),
    /// Publish a tarball, with its boot files, to a registry
    Publish(publish::Publish),
    /// Show the images of a registry, and prune them
    Images(images::Images),
    /// Unpack a tarball like Anaconda, boot it in a virtual machine and check it
    Boot(boot::Boot),
    /// Have Ironic install a published image, or print the commands
    Deploy(Box<deploy::Deploy>),
    /// Enter a kept install root in the same sandbox
    Shell(shell::Shell),
    /// Show what this host can and cannot do, and how to fix it
    Doctor(doctor::Doctor),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = osimg_sandbox::enter_if_asked() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return usage(&error),
        Err(help) => {
            // Help and version are results, not errors; a closed output is not an error for them.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let verbosity = match (cli.talk.quiet, cli.talk.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    };
    crate::secrets::conceal_proxies();
    let report = Report::new(verbosity, cli.talk.color);
    let json = cli.talk.json;
    let run = || {
        match &cli.verb {
            // The exit status of the command in the sandbox.
            Verb::Shell(args) => return args.run(&report, json),
            Verb::Build(args) => args.run(&report, json),
            Verb::Plan(args) => args.run(&report, json),
            Verb::Config(args) => args.run(&report, json),
            Verb::Schema(args) => args.run(&report, json),
            Verb::Lock(args) => args.run(&report, json),
            Verb::Cache(args) => args.run(&report, json),
            Verb::Pack(args) => args.run(&report, json),
            Verb::Inspect(args) => args.run(&report, json),
            Verb::Diff(args) => args.run(&report, json),
            Verb::Verify(args) => args.run(&report, json),
            Verb::Publish(args) => args.run(&report, json),
            Verb::Images(args) => args.run(&report, json),
            Verb::Boot(args) => args.run(&report, json),
            Verb::Deploy(args) => args.run(&report, json),
            Verb::Doctor(args) => args.run(&report, json),
        }
        .map(|code| code as u8)
    };
    let interrupt = match &cli.verb {
        Verb::Shell(_) if std::io::stdin().is_terminal() => Interrupt::Command,
        _ => Interrupt::Stop,
    };
    let result = process::catch_signals(interrupt).and_then(|()| run()).and_then(|code| {
        // The user misses messages because of the signal: the result is not complete.
        process::unwritten().map_or(Ok(code), |signal| Err(process::stopped(signal).into()))
    });
    let failed = match &result {
        Ok(0) => None,
        Ok(status) if matches!(cli.verb, Verb::Shell(_)) => return ExitCode::from(*status),
        Ok(status) => Some(Failed {
            error: report.kept_verdict().unwrap_or_else(|| "there are findings".into()),
            code: *status,
            hint: None,
        }),
        Err(failure) => {
            report.error(&error::render(failure));
            Some(failed(failure))
        }
    };
    if cli.talk.json
        && let Err(error) = report.print_document(failed.as_ref())
    {
        report.error(&format!("error: writing to standard output: {error}"));
        let code = process::stop_requested().unwrap_or(error::ExitCode::Space);
        return ExitCode::from(code as u8);
    }
    ExitCode::from(failed.map_or(error::ExitCode::Done as u8, |failed| failed.code))
}

/// A failure in the form of `--json`.
fn failed(failure: &anyhow::Error) -> Failed {
    let error::Explained { message, hints } = error::explain(failure);
    let hint = (!hints.is_empty()).then(|| hints.join("\n"));
    // If a signal caused the failure, the signal is the reason.
    let code = process::stop_requested().unwrap_or_else(|| error::exit_code(failure));
    Failed { error: message, code: code as u8, hint }
}

/// Reports a wrong command line; clap has not determined whether it contains `--json`.
fn usage(error: &clap::Error) -> ExitCode {
    let report = Report::new(Verbosity::Quiet, Color::Auto);
    let text = explained_numbers(&error.render().to_string());
    report.error(text.trim_end());
    let code = error::ExitCode::Usage as u8;
    if std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json") {
        let (message, more) = text.split_once("\n\n").unwrap_or((&text, ""));
        let hint = Some(more.trim().to_owned()).filter(|hint| !hint.is_empty());
        let failed = Failed {
            error: message.trim_start_matches("error: ").trim_end().to_owned(),
            code,
            hint,
        };
        // The exit code already reports an error.
        let _ = report.print_document(Some(&failed));
    }
    ExitCode::from(code)
}

/// The messages of the standard library about numbers, and what the user can do about them.
const NUMBERS: [(&str, &str); 6] = [
    ("invalid digit found in string", "expected a whole number"),
    ("cannot parse integer from empty string", "expected a whole number"),
    ("number would be zero for non-zero type", "expected 1 or more"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
    ("is not a valid number", "expected a whole number"),
];

/// An error of the command line that says which number is expected.
fn explained_numbers(text: &str) -> String {
    NUMBERS.iter().fold(text.to_owned(), |text, (found, shown)| text.replace(found, shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn an_error_about_a_number_says_which_number_is_expected() {
        let command = Cli::command();
        for verb in command.get_subcommands() {
            for option in verb.get_arguments().filter_map(|argument| argument.get_long()) {
                for value in ["x", "", "0", "-1", "99999999999999999999999"] {
                    let option = format!("--{option}={value}");
                    let words = ["osimg", verb.get_name(), &option, "a", "b"];
                    let Err(error) = Cli::try_parse_from(words) else { continue };
                    let text = explained_numbers(&error.render().to_string());
                    let raw = ["digit", "non-zero type", "target type", "empty string"];
                    let found = raw.iter().find(|words| text.contains(**words));
                    assert_eq!(found, None, "{} {option}: {text}", verb.get_name());
                }
            }
        }
    }

    #[test]
    fn every_option_has_its_help() {
        Cli::command().debug_assert();
    }
}
