//! `[[script]]`: run in the sandbox like the packages' scriptlets, with the image as `/`.

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;

use super::image::{Image, Job};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::process::CommandLine;
use crate::recipe::{ScriptSettings, ScriptSource, When};
use crate::sandbox::{Access, Kind, Mount, Network};

/// Where a script finds itself and its files.
pub(crate) const DIRECTORY: &str = "/run/osimg";
/// The limit on a script that names no other.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The longest script: it is passed on in memory.
const LIMIT: u64 = 1 << 20;
/// What runs a script without a shebang.
const SHELL: &str = "/bin/sh";
/// The last lines of a script that failed.
const LAST_LINES: usize = 20;

/// A script as the manifest and `osimg plan` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ScriptRecord {
    /// Its name.
    pub name: String,
    /// When it is run.
    pub when: When,
    /// The digest of its text, in hex.
    pub sha256: String,
    /// Whether it has the host's network: then another build may give other bytes.
    pub network: bool,
    /// The command that runs it.
    pub command: String,
    /// Its files.
    pub files: Vec<FileRecord>,
}

/// A file for a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileRecord {
    /// Its name below [`DIRECTORY`].
    pub name: String,
    /// The digest of its bytes, in hex; of a directory that of all its names and files.
    pub sha256: String,
}

/// What is known of the scripts, after reading them and all their files.
///
/// # Errors
/// [`ExitCode::Recipe`] with the file that cannot be read, or a script that cannot be run.
pub(crate) fn records(scripts: &[ScriptSettings]) -> Result<Vec<ScriptRecord>> {
    scripts.iter().map(record).collect()
}

fn record(script: &ScriptSettings) -> Result<ScriptRecord> {
    let text = text(script)?;
    let mut records = Vec::new();
    for file in &script.files {
        let name =
            file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut digest = Sha256::new();
        digest_of(file, &mut digest)
            .or_fail(ExitCode::Recipe, format!("{}: reading {}", script.place, file.display()))?;
        records.push(FileRecord { name, sha256: hex::encode(digest.finalize()) });
    }
    Ok(ScriptRecord {
        name: script.name.clone(),
        when: script.when,
        sha256: hex::encode(Sha256::digest(text.as_bytes())),
        network: script.network,
        command: command(script, &text)?.quoted(),
        files: records,
    })
}

/// Digests a file, or a directory with all it holds.
fn digest_of(path: &Path, digest: &mut Sha256) -> Result<()> {
    if !path.metadata()?.is_dir() {
        let update = |bytes: &[u8]| {
            digest.update(bytes);
            Ok(())
        };
        return files::read_chunks(&mut files::open(path)?, Into::into, update).map(|_| ());
    }
    let mut names = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = path.join(&name);
        digest.update(name.as_encoded_bytes());
        digest.update([0]);
        if path.symlink_metadata()?.is_symlink() {
            digest.update(std::fs::read_link(&path)?.as_os_str().as_encoded_bytes());
        } else {
            digest_of(&path, digest)?;
        }
    }
    Ok(())
}

fn text(script: &ScriptSettings) -> Result<String> {
    match &script.source {
        ScriptSource::Run(text) => Ok(text.clone()),
        ScriptSource::File(path) => {
            let doing = format!("{}: reading script {}", script.place, path.display());
            files::read_text(path, LIMIT).or_fail(ExitCode::Recipe, doing)
        }
    }
}

/// The interpreter of the shebang, then the script. It is passed on as a file that is not
/// executable, so that the mode of a checkout does not matter.
fn command(script: &ScriptSettings, text: &str) -> Result<CommandLine> {
    let path = format!("{DIRECTORY}/{}", script.name);
    let line = text.strip_prefix("#!").and_then(|rest| rest.lines().next()).map(str::trim);
    // As execve(2): one argument, with its blanks.
    let argv = match line.map(|line| {
        line.split_once(char::is_whitespace)
            .map_or((line, ""), |(program, rest)| (program, rest.trim()))
    }) {
        None => vec![SHELL.to_owned(), "-e".to_owned(), path],
        Some((program, _)) if !program.starts_with('/') => {
            let message = format!(
                "{}: script {} has no interpreter in its first line",
                script.place, script.name
            );
            return Err(Failure::new(ExitCode::Recipe, message).hint("such as #!/bin/bash").into());
        }
        Some((program, "")) => vec![program.to_owned(), path],
        Some((program, argument)) => vec![program.to_owned(), argument.to_owned(), path],
    };
    Ok(CommandLine::new(argv))
}

/// Runs the scripts of one moment, in their order.
///
/// # Errors
/// [`ExitCode::Transaction`] with the last lines of a script that fails.
pub(crate) fn run(image: &Image<'_>, scripts: &[ScriptSettings], when: When) -> Result<()> {
    scripts
        .iter()
        .filter(|script| script.when == when)
        .try_for_each(|script| run_one(image, script))
}

fn run_one(image: &Image<'_>, script: &ScriptSettings) -> Result<()> {
    let step = image.report().step(&format!("running script {}", script.name));
    let text = text(script)?;
    let command = command(script, &text)?;
    let mut mounts =
        vec![Mount::File { target: format!("{DIRECTORY}/{}", script.name).into(), content: text }];
    for source in &script.files {
        let name = source.file_name().unwrap_or_default();
        let target = Path::new(DIRECTORY).join(name);
        mounts.push(Mount::Bind { source: source.clone(), target, access: Access::ReadOnly });
    }
    let network = if script.network { Network::Host } else { Network::None };
    let resolver = if script.network { Resolver::open(image, &mut mounts)? } else { Resolver::Own };
    let job = Job {
        command,
        environment: script.environment.clone(),
        mounts,
        network,
        timeout: script.timeout.unwrap_or(TIMEOUT),
        lines: LAST_LINES,
    };
    let ended = image.perform(job).map_err(|error| {
        Failure::new(
            crate::error::exit_code(&error),
            format!("{}: running script {}", script.place, script.name),
        )
        .because(error)
    });
    resolver.close(image)?;
    let ended = ended?;
    if !ended.success {
        let message = format!(
            "{}: script {} ended with {}:\n{}",
            script.place, script.name, ended.how, ended.lines
        );
        return Err(Failure::new(ExitCode::Transaction, message)
            .hint("`--keep on-failure` keeps the tree, and `osimg shell WORKDIR` opens it")
            .into());
    }
    step.finish("done");
    Ok(())
}

/// The file with the addresses of name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Name servers for a script with a network: those of the build host, unless the image has its own.
enum Resolver {
    /// The image's own.
    Own,
    /// A file that the image did not have, and does not keep.
    Lent,
}

impl Resolver {
    fn open(image: &Image<'_>, mounts: &mut Vec<Mount>) -> Result<Self> {
        let path = Path::new(RESOLV_CONF);
        let kind = image.root().kind(path)?;
        if !matches!(kind, None | Some(Kind::Link)) {
            return Ok(Self::Own);
        }
        let content = files::read_text(path, files::TEXT)
            .or_fail(ExitCode::Host, format!("reading {RESOLV_CONF} of the build host"))?;
        if kind.is_none() {
            image.write(RESOLV_CONF, content.as_bytes(), 0o644)?;
            return Ok(Self::Lent);
        }
        // systemd-resolved and NetworkManager link it to a file in /run, which is not the image's.
        let target = image.root().read_link(path)?.unwrap_or_default();
        let target =
            target.to_string_lossy().trim_start_matches("../").trim_start_matches('/').to_owned();
        if target.starts_with("run/") && !target.contains("..") {
            mounts.push(Mount::File { target: format!("/{target}").into(), content });
        }
        Ok(Self::Own)
    }

    fn close(self, image: &Image<'_>) -> Result<()> {
        if matches!(self, Self::Lent) {
            image.root().remove(Path::new(RESOLV_CONF))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> ScriptSettings {
        ScriptSettings {
            name: "x".into(),
            source: ScriptSource::Run(text.into()),
            when: When::Last,
            files: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            timeout: None,
            network: false,
            place: "s.toml:1".into(),
        }
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        let quoted = |text: &str| command(&script(text), text).map(|command| command.quoted());
        assert_eq!(quoted("echo").expect("a shell"), "/bin/sh -e /run/osimg/x");
        assert_eq!(quoted("#!/bin/bash -eu\n").expect("bash"), "/bin/bash -eu /run/osimg/x");
        assert_eq!(
            quoted("#! /usr/bin/env python3\n").expect("env"),
            "/usr/bin/env python3 /run/osimg/x"
        );
        assert!(quoted("#!python\n").is_err());
    }
}
