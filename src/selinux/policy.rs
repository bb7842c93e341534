//! Finds and reads the policy of an image tree or of the host. No link in a tree leads out of the
//! tree.
//!
//! Only the text form is read. libselinux may prefer `.bin`, which is the same text, compiled for
//! one version of PCRE2.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open};
use nix::sys::stat::Mode;

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::openat2;
use osimg_selinux::{Source, Sources};

/// The file that names an image's policy.
const CONFIG: &str = "etc/selinux/config";

/// The default policy, as in libselinux.
const DEFAULT_TYPE: &str = "targeted";

/// The largest file that is read. Real policies have half a megabyte.
const SIZE_LIMIT: u64 = 64 << 20;

/// The configured mode of SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enforcement {
    Enforcing,
    Permissive,
    Disabled,
}

/// The contents of `etc/selinux/config`.
#[derive(Debug, PartialEq, Eq)]
struct Config {
    enforcement: Enforcement,
    policy: String,
}

impl Config {
    /// Parses `etc/selinux/config` by the rules of `selinux_config(5)` and libselinux.
    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut enforcement = None;
        let mut policy = DEFAULT_TYPE.to_owned();
        for line in text.lines().map(str::trim) {
            if let Some(value) = value_of(line, "SELINUXTYPE=") {
                policy = value.to_owned();
            } else if let Some(value) = value_of(line, "SELINUX=") {
                let starts = |word: &str| value_of(value, word).is_some();
                let value = if starts("enforcing") {
                    Some(Enforcement::Enforcing)
                } else if starts("permissive") {
                    Some(Enforcement::Permissive)
                } else if starts("disabled") {
                    Some(Enforcement::Disabled)
                } else {
                    None
                };
                enforcement = enforcement.or(value);
            }
        }
        Self { enforcement: enforcement.unwrap_or(Enforcement::Disabled), policy }
    }
}

fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.get(..key.len()).filter(|start| start.eq_ignore_ascii_case(key))?;
    line.get(key.len()..).map(str::trim)
}

/// The texts of the policy of the image whose root is `tree`; `None` if it has none.
///
/// # Errors
/// Fails if a file cannot be read, if only its compiled form exists, or if the image would enforce
/// a policy that it does not have.
pub(super) fn sources_of_tree(tree: &Path) -> Result<Option<Sources>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(tree, flags, Mode::empty())
        .with_context(|| format!("opening the tree {}", tree.display()))?;
    let read = |path: &Path| read_inside(&root, path);

    sources_of(read, &tree.display().to_string())
}

/// As [`sources_of_tree`], with a function that reads the image's files. Errors call the image
/// `image`.
///
/// # Errors
/// As [`sources_of_tree`].
pub(super) fn sources_of(
    read: impl Fn(&Path) -> Result<Option<Source>>,
    image: &str,
) -> Result<Option<Sources>> {
    let Some(config) = read(Path::new(CONFIG))? else { return Ok(None) };
    let name = config.name;
    let config = Config::parse(&config.text);
    if config.policy.is_empty()
        || config.policy.contains(['/', '\0'])
        || config.policy.starts_with('.')
    {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!(
                "reading {}: SELINUXTYPE={:?} is not the name of a policy",
                name.display(),
                config.policy
            ),
        )
        .into());
    }
    let base = Path::new("etc/selinux").join(&config.policy).join("contexts/files/file_contexts");
    let sources = read_all(&base, read)?;
    if sources.is_none() && config.enforcement == Enforcement::Enforcing {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!(
                "looking for the SELinux policy {:?} of {image}: no {}",
                config.policy,
                base.display()
            ),
        )
        .hint(
            "an image that enforces a policy does not boot without it: install the policy's \
             package",
        )
        .hint(
            "or set SELINUX=disabled in the image's etc/selinux/config, or pack with --selinux \
             none",
        )
        .into());
    }
    Ok(sources)
}

/// The texts of a policy of the host: `file` and its sibling files.
///
/// # Errors
/// Fails if `file` does not exist, if only its compiled form does, or if a file cannot be read.
pub(super) fn sources_beside(file: &Path) -> Result<Sources> {
    read_all(file, read_outside)?.ok_or_else(|| {
        Failure::new(
            ExitCode::Usage,
            format!("reading SELinux file contexts {}: no such file", file.display()),
        )
        .into()
    })
}

fn read_all(
    base: &Path,
    read: impl Fn(&Path) -> Result<Option<Source>>,
) -> Result<Option<Sources>> {
    let text_of = |suffix: &str| {
        let path = with_suffix(base, suffix);
        let source = read(&path)?;
        let compiled = with_suffix(&path, ".bin");
        let is_compiled = |source: &Source| source.text.starts_with(&0xf97c_ff8a_u32.to_ne_bytes());
        if source.as_ref().is_some_and(is_compiled)
            || (source.is_none() && read(&compiled)?.is_some())
        {
            return Err(Failure::new(
                ExitCode::Transaction,
                format!(
                    "reading SELinux file contexts {}: only the compiled form exists",
                    path.display()
                ),
            )
            .hint(
                "the compiled form belongs to one version of PCRE2; install the policy's text \
                 form next to it",
            )
            .into());
        }
        anyhow::Ok(source)
    };
    let Some(source) = text_of("")? else { return Ok(None) };
    Ok(Some(Sources {
        base: source,
        homedirs: text_of(".homedirs")?,
        local: text_of(".local")?,
        subs: read(&with_suffix(base, ".subs"))?,
        subs_dist: read(&with_suffix(base, ".subs_dist"))?,
    }))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a file of the tree; `None` if it does not exist.
fn read_inside(root: &OwnedFd, path: &Path) -> Result<Option<Source>> {
    let doing = || format!("reading {} in the image", path.display());
    // Without O_NONBLOCK, a FIFO would block the build.
    let flags = OFlag::O_RDONLY
        | OFlag::O_CLOEXEC
        | OFlag::O_NONBLOCK
        | OFlag::O_NOFOLLOW
        | OFlag::O_NOCTTY;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root, path, how) {
        Ok(file) => read_regular(File::from(file), path, doing).map(Some),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(Errno::ELOOP) => Err(refused(&doing(), "it is a link, not a file").into()),
        Err(Errno::ENXIO) => Err(refused(&doing(), "it is a socket, not a file").into()),
        Err(error) => Err(error).with_context(doing),
    }
}

/// Reads a file of the host; `None` if it does not exist.
fn read_outside(path: &Path) -> Result<Option<Source>> {
    match crate::files::open(path) {
        Ok(file) => read_regular(file, path, || format!("reading {}", path.display())).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("opening {}", path.display())),
    }
}

fn read_regular(file: File, path: &Path, doing: impl Fn() -> String) -> Result<Source> {
    let metadata = file.metadata().with_context(&doing)?;
    files::check_kind(metadata.file_type())
        .map_err(|error| refused(&doing(), &error.to_string()))?;
    let text = files::read_open(file, SIZE_LIMIT)
        .map_err(|error| refused(&doing(), &error.to_string()))?;
    Ok(Source { name: path.to_owned(), text })
}

fn refused(doing: &str, why: &str) -> Failure {
    Failure::new(ExitCode::Transaction, format!("{doing}: {why}"))
        .hint("fix the package or the customization that this file is from")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> (Enforcement, String) {
        let config = Config::parse(text.as_bytes());
        (config.enforcement, config.policy)
    }

    #[test]
    fn the_configuration_is_parsed_as_libselinux_parses_it() {
        assert_eq!(
            config("#SELINUX=disabled\nSELINUX= Enforcing\nSELINUXTYPE=mls\t\r\n"),
            (Enforcement::Enforcing, "mls".into())
        );
        assert_eq!(
            config("SELINUX=permissive\nSELINUX=enforcing"),
            (Enforcement::Permissive, "targeted".into())
        );
        assert_eq!(
            config("SELINUX=nonsense\nSELINUX=disabled"),
            (Enforcement::Disabled, "targeted".into())
        );
        assert_eq!(
            config("selinuxtype=a\nSELINUXTYPE=b\nSETLOCALDEFS=0"),
            (Enforcement::Disabled, "b".into())
        );
    }

    #[test]
    fn a_missing_file_of_the_host_is_a_usage_error() {
        let error = sources_beside(Path::new("/nonexistent/file_contexts")).unwrap_err();
        assert_eq!(crate::error::exit_code(&error), ExitCode::Usage);
    }
}
