//! Judges a template as Ironic and Anaconda will: variables, syntax, the node's calls, the source
//! of the installation.

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};
use std::collections::BTreeMap;

use super::options::Tarball;
use super::sections::{Section, split};
use super::syntax::{self, Releases};
use super::values::{Source, Trust, Values};
use crate::archive::SUFFIXES;

/// The variables that Ironic passes to a template, always or sometimes.
const ALWAYS: [&str; 4] = ["liveimg_url", "agent_token", "heartbeat_url", "config_drive"];
const AT_TIMES: [&str; 2] = ["is_source_a_path", "insecure_heartbeat"];

/// A remark on a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The line of the template, from 1; `None` for the whole template.
    pub line: Option<usize>,
    /// The problem: a lower-case fragment.
    pub text: String,
    /// How to fix it.
    pub fix: Option<String>,
}

impl Advice {
    fn new(line: Option<usize>, text: impl Into<String>, fix: &str) -> Self {
        Self { line, text: text.into(), fix: (!fix.is_empty()).then(|| fix.to_owned()) }
    }

    /// The remark with its place.
    #[must_use]
    pub fn at(&self, file: &str) -> String {
        match self.line {
            Some(line) => format!("{file}:{line}: {}", self.text),
            None => format!("{file}: {}", self.text),
        }
    }
}

/// The result of a check.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// Problems that make a deployment fail.
    pub errors: Vec<Advice>,
    /// Problems that may make it fail.
    pub advice: Vec<Advice>,
}

/// Whether an undefined name is an error. Ironic checks a template strictly and renders it
/// leniently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    Strict,
    Lenient,
}

/// Why a template cannot be rendered.
#[derive(Debug)]
pub(super) struct RenderError {
    pub line: usize,
    pub text: String,
    kind: ErrorKind,
}

pub(super) fn render(
    text: &str,
    values: &Values,
    strictness: Strictness,
) -> Result<String, RenderError> {
    let mut options = BTreeMap::from([
        ("liveimg_url", values.liveimg_url.as_str()),
        ("agent_token", values.agent_token.as_str()),
        ("heartbeat_url", values.heartbeat_url.as_str()),
        ("config_drive", values.config_drive.as_str()),
    ]);
    if values.source == Source::Tree {
        options.insert("is_source_a_path", "true");
    }
    if values.heartbeat_trust == Trust::Unchecked {
        options.insert("insecure_heartbeat", "true");
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(match strictness {
        Strictness::Strict => UndefinedBehavior::Strict,
        Strictness::Lenient => UndefinedBehavior::Lenient,
    });
    let place = |error: &minijinja::Error| RenderError {
        line: error.line().unwrap_or(1),
        text: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        kind: error.kind(),
    };
    let template = environment.template_from_str(text).map_err(|error| place(&error))?;
    let context = Value::from(BTreeMap::from([("ks_options", Value::from_serialize(options))]));
    template.render(context).map_err(|error| place(&error))
}

/// Everything that is wrong or odd about a template.
pub(super) fn judge(text: &str, releases: &Releases) -> Judgement {
    let mut found = Judgement::default();
    let environment = Environment::new();
    let undeclared = match environment.template_from_str(text) {
        Ok(template) => template.undeclared_variables(true),
        Err(error) => {
            let what = error.detail().unwrap_or("it is not valid Jinja");
            found.errors.push(Advice::new(
                error.line(),
                format!("Jinja cannot read this: {what}"),
                "Ironic would fail while it deploys",
            ));
            return found;
        }
    };
    // The values that Ironic tries a template with.
    let trial = Values {
        liveimg_url: "fake_image_url".into(),
        source: Source::Tarball,
        agent_token: "fake_token".into(),
        heartbeat_url: "fake_heartbeat_url".into(),
        config_drive: String::new(),
        heartbeat_trust: Trust::Checked,
    };
    let mut strange: Vec<Advice> =
        undeclared.iter().filter(|name| !known(name)).map(|name| unknown(text, name)).collect();
    strange.sort_by_key(|advice| advice.line);
    match render(text, &trial, Strictness::Strict) {
        Ok(rendered) => {
            // Ironic renders without complaint, so these are on a path that is not taken, or behind
            // `is defined`.
            found.advice.append(&mut strange);
            for (name, value) in [
                ("liveimg_url", "fake_image_url"),
                ("agent_token", "fake_token"),
                ("heartbeat_url", "fake_heartbeat_url"),
            ] {
                if !rendered.contains(value) {
                    let text = format!("ks_options.{name} is not used, and Ironic requires it");
                    found.errors.push(Advice::new(None, text, own_cure(name)));
                }
            }
        }
        Err(error) if error.kind == ErrorKind::UndefinedError && !strange.is_empty() => {
            found.errors.append(&mut strange)
        }
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::UnknownMethod | ErrorKind::UnknownFilter | ErrorKind::UnknownTest
            ) =>
        {
            let text = format!("osimg cannot try this template: {}", error.text);
            found.advice.push(Advice::new(Some(error.line), text, "Ironic's Jinja may know it"));
            return found;
        }
        Err(error) => found.errors.push(Advice::new(
            Some(error.line),
            format!("Ironic would refuse this: {}", error.text),
            "`{% if 'is_source_a_path' in ks_options %}` asks for what is not always there",
        )),
    }
    if found.errors.is_empty() {
        structure(text, releases, &mut found);
    }
    found
}

fn known(name: &str) -> bool {
    // `range` and the like are functions of Jinja; `enumerate` is handed over by Ironic.
    if matches!(
        name,
        "ks_options"
            | "enumerate"
            | "range"
            | "dict"
            | "namespace"
            | "cycler"
            | "joiner"
            | "lipsum"
    ) {
        return true;
    }
    name.strip_prefix("ks_options.")
        .is_some_and(|option| ALWAYS.contains(&option) || AT_TIMES.contains(&option))
}

fn unknown(text: &str, name: &str) -> Advice {
    let leaf = name.strip_prefix("ks_options.").unwrap_or(name);
    let line = text
        .lines()
        .position(|line| {
            line.contains(name) || (line.contains("ks_options") && line.contains(leaf))
        })
        .map(|at| at + 1);
    let fix = if ALWAYS.contains(&name) || AT_TIMES.contains(&name) {
        format!("write ks_options.{name}")
    } else {
        format!(
            "Ironic gives {}, and at times {}",
            ALWAYS.map(|n| format!("ks_options.{n}")).join(", "),
            AT_TIMES.join(", ")
        )
    };
    Advice::new(line, format!("unknown variable {name}"), &fix)
}

fn own_cure(name: &str) -> &'static str {
    match name {
        "liveimg_url" => {
            "write liveimg --url={{ ks_options.liveimg_url }}, or mention it in a comment if the \
             image comes from elsewhere"
        }
        "agent_token" => "the node's calls carry \"agent_token\": \"{{ ks_options.agent_token }}\"",
        _ => {
            "a %post section calls {{ ks_options.heartbeat_url }} when all is done; `osimg deploy \
             --print-kickstart` shows how"
        }
    }
}

fn structure(text: &str, releases: &Releases, found: &mut Judgement) {
    let values = |source| Values {
        liveimg_url: if source == Source::Tree {
            "http://osimg.invalid/tree/".into()
        } else {
            "http://osimg.invalid/os.tgz".into()
        },
        source,
        agent_token: "osimg-token".into(),
        heartbeat_url: "http://osimg.invalid/v1/heartbeat/node".into(),
        config_drive: "\n%post\n# osimg-config-drive\n%end\n".into(),
        heartbeat_trust: Trust::Checked,
    };
    let Ok(rendered) = render(text, &values(Source::Tarball), Strictness::Lenient) else { return };
    let (sections, commands) = match split(&rendered) {
        Ok(parts) => parts,
        Err(wrong) => {
            let line = text.lines().position(|l| l.trim_end() == wrong.1).map(|at| at + 1);
            found.errors.push(Advice::new(line, wrong.0, "every section ends with a line `%end`"));
            return;
        }
    };
    let calls = |section: &Section<'_>, status: &str| {
        section.body.contains("osimg-token")
            && section.body.contains("/v1/heartbeat/node")
            && says(&section.body, status)
    };
    if !sections.iter().any(|s| s.name == "%post" && calls(s, "end")) {
        let text = "no %post section reports the end of the installation to Ironic, so that the \
                    node would wait until the time limit";
        found.errors.push(Advice::new(
            None,
            text,
            "send \"agent_status\": \"end\" with the agent's token to {{ ks_options.heartbeat_url \
             }}",
        ));
    }
    if !sections.iter().any(|s| s.name == "%onerror" && calls(s, "error")) {
        let text = "no %onerror section reports a failure to Ironic, so that a failed node is \
                    noticed only after the time limit";
        found.advice.push(Advice::new(None, text, "send \"agent_status\": \"error\" there"));
    }
    if !sections.iter().any(|s| s.name == "%pre" && calls(s, "start")) {
        found.advice.push(Advice::new(
            None,
            "no %pre section reports to Ironic that the installer runs",
            "send \"agent_status\": \"start\" there",
        ));
    }
    if !rendered.contains("osimg-config-drive") {
        let text = "the node's config drive is not written, so that cloud-init finds neither \
                    keys nor users";
        found.advice.push(Advice::new(
            None,
            text,
            "put {{ ks_options.config_drive }} on a separate line",
        ));
    }
    let of_template = |rendered_line: &str| {
        let command = rendered_line.split_whitespace().next().unwrap_or_default();
        text.lines().position(|l| l.split_whitespace().next() == Some(command)).map(|at| at + 1)
    };
    let place = |line: &str| text.lines().position(|l| l.trim() == line).map(|at| at + 1);
    let headers = sections.iter().map(|section| section.header);
    for line in commands.iter().copied().chain(headers) {
        if let Some(problem) = syntax::problem(line, releases) {
            found.errors.push(Advice::new(
                place(line).or_else(|| of_template(line)),
                problem,
                "Anaconda would stop there; see the kickstart reference of the image's release",
            ));
        }
    }
    let sources =
        ["liveimg", "url", "nfs", "cdrom", "harddrive", "hmc", "ostreesetup", "ostreecontainer"];
    match commands.iter().find(|line| {
        line.split_whitespace().next().is_some_and(|command| sources.contains(&command))
    }) {
        None => {
            let text = "no command names what is installed";
            found.errors.push(Advice::new(
                None,
                text,
                "write liveimg --url={{ ks_options.liveimg_url }}",
            ));
        }
        Some(line) if line.starts_with("liveimg") => {
            let url = option(line, "--url").unwrap_or_default();
            if !SUFFIXES.iter().any(|suffix| url.ends_with(suffix)) {
                let text = format!(
                    "Anaconda would mount {url}: it takes for a tarball only what ends in {}",
                    SUFFIXES.join(", ")
                );
                found.errors.push(Advice::new(
                    of_template(line),
                    text,
                    "append the suffix; behind a # the server never sees it",
                ));
            }
        }
        Some(_) => {}
    }
}

/// The value of an option of a kickstart command: `--url=X`, `--url X`, quoted or not.
fn option(line: &str, name: &str) -> Option<String> {
    let after = line.split_once(name)?.1;
    let value = after.strip_prefix('=').unwrap_or(after).trim_start();
    let quote = value.chars().next().filter(|c| "\"'".contains(*c));
    let value = match quote {
        Some(mark) => value.get(1..)?.split(mark).next()?,
        None => value.split_whitespace().next()?,
    };
    Some(value.to_owned())
}

fn says(body: &str, status: &str) -> bool {
    body.match_indices("agent_status").any(|(at, _)| {
        let rest: String = body
            .get(at + 12..)
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_whitespace() && !"\"'\\".contains(*c))
            .take(12)
            .collect();
        rest.strip_prefix(':')
            .or_else(|| rest.strip_prefix('='))
            .is_some_and(|value| value.starts_with(status))
    })
}

/// The checksums that a template gives the tarball, as Ironic renders it.
#[must_use]
pub(crate) fn checksums(text: &str) -> Vec<String> {
    let values = Values {
        liveimg_url: "http://osimg.invalid/os.tgz".into(),
        source: Source::Tarball,
        agent_token: "osimg-token".into(),
        heartbeat_url: "http://osimg.invalid/v1/heartbeat/node".into(),
        config_drive: String::new(),
        heartbeat_trust: Trust::Checked,
    };
    // A template that osimg cannot render is reported elsewhere.
    let rendered = render(text, &values, Strictness::Lenient).unwrap_or_else(|_| text.to_owned());
    let lines = rendered.lines().filter(|line| line.split_whitespace().next() == Some("liveimg"));
    lines
        .filter_map(|line| option(line, "--checksum"))
        .filter(|named| !named.contains('{'))
        .collect()
}

/// Gives the `liveimg` line the tarball's checksum; a different one in the line is an error.
pub(super) fn with_checksum(text: &str, tarball: &Tarball, found: &mut Judgement) -> String {
    let mut lines = Vec::new();
    let mut given = false;
    for (index, line) in text.lines().enumerate() {
        if line.split_whitespace().next() != Some("liveimg") {
            lines.push(line.to_owned());
            continue;
        }
        given = true;
        match option(line, "--checksum") {
            None => lines.push(format!("{} --checksum={}", line.trim_end(), tarball.sha256)),
            Some(own) => {
                if !own.eq_ignore_ascii_case(&tarball.sha256) {
                    let text =
                        format!("the checksum is not the tarball's, which is {}", tarball.sha256);
                    found.errors.push(Advice::new(
                        Some(index + 1),
                        text,
                        "leave --checksum out: osimg puts it there",
                    ));
                }
                lines.push(line.to_owned());
            }
        }
    }
    if !given {
        found.advice.push(Advice::new(
            None,
            "no line begins with liveimg, so that nothing checks the tarball on the node",
            "",
        ));
    }
    lines.join("\n") + "\n"
}
