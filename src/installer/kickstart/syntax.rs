//! The form of a kickstart's lines: commands, options and their values, as the release's Anaconda
//! accepts them.
//!
//! `syntax.json` was taken from pykickstart; `fixtures/kickstart/generate` writes it again.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::LazyLock;

use crate::installer::ImageRelease;

/// Distributions that number their releases as RHEL does, by `ID` of os-release.
const LIKE_RHEL: [&str; 6] = ["rhel", "centos", "almalinux", "rocky", "ol", "eurolinux"];
/// The release for images of unknown distributions: the one that osimg verifies for by default.
const USUAL: &str = "RHEL9";
/// Releases of Fedora in the table.
const FEDORA: std::ops::RangeInclusive<u32> = 41..=44;

#[derive(Deserialize)]
struct Table {
    commands: BTreeMap<String, Vec<Variant>>,
}

/// A command's syntax, which these releases share.
#[derive(Deserialize)]
struct Variant {
    releases: Vec<String>,
    syntax: Syntax,
}

#[derive(Deserialize)]
struct Syntax {
    /// The release's Anaconda refuses the command.
    #[serde(default)]
    removed: bool,
    /// pykickstart does not look at its options.
    #[serde(default)]
    free: bool,
    #[serde(default)]
    options: BTreeMap<String, Value>,
    #[serde(default)]
    required: Vec<String>,
    /// Whether it can have neither words nor options.
    #[serde(default = "yes")]
    alone: bool,
    /// The fewest and the most words that are not options; no limit if the most is missing.
    #[serde(default = "only_options")]
    words: (usize, Option<usize>),
}

const fn yes() -> bool {
    true
}

const fn only_options() -> (usize, Option<usize>) {
    (0, Some(0))
}

/// The value that an option takes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Named(Form),
    /// One of these.
    Choice(Vec<String>),
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Form {
    None,
    One,
    Number,
    /// None or several.
    Any,
}

static TABLE: LazyLock<Option<Table>> =
    LazyLock::new(|| serde_json::from_str(include_str!("syntax.json")).ok());

/// The releases whose syntax a template must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Releases {
    /// Any of them: the image is not known yet.
    Any,
    /// This one.
    One(String),
}

impl Releases {
    pub(super) fn of(image: Option<&ImageRelease>) -> Self {
        let Some(image) = image else { return Self::Any };
        let major = image.version.as_deref().and_then(|version| version.split('.').next());
        let major = major.and_then(|major| major.parse::<u32>().ok());
        Self::One(match (image.id.as_deref(), major) {
            (Some("fedora"), Some(release)) => {
                format!("F{}", release.clamp(*FEDORA.start(), *FEDORA.end()))
            }
            (Some(id), Some(release @ 8..)) if LIKE_RHEL.contains(&id) => {
                format!("RHEL{}", release.min(10))
            }
            _ => USUAL.to_owned(),
        })
    }
}

/// The problem of a rendered line, if there is one: a command, or the header of a section.
pub(super) fn problem(line: &str, releases: &Releases) -> Option<String> {
    let Some(words) = shlex::split(line) else {
        return Some("a quote is not closed".to_owned());
    };
    let (name, words) = words.split_first()?;
    let known = TABLE.as_ref()?.commands.get(name).map(Vec::as_slice).unwrap_or_default();
    // Headers of sections with a syntax of their own.
    if name.starts_with('%') && known.is_empty() {
        return None;
    }
    let variants = known.iter().filter(|variant| match releases {
        Releases::Any => true,
        Releases::One(release) => variant.releases.contains(release),
    });
    let mut first = None;
    for variant in variants {
        match variant.syntax.problem(words) {
            None => return None,
            found => first = first.or(found),
        }
    }
    let of = match releases {
        Releases::Any => String::new(),
        Releases::One(release) => format!(" in {release}"),
    };
    Some(first.map_or_else(
        || format!("{name} is not a kickstart command{of}"),
        |text| format!("{name}: {text}{of}"),
    ))
}

impl Syntax {
    fn problem(&self, words: &[String]) -> Option<String> {
        if self.removed {
            return Some("the command was removed".to_owned());
        }
        if self.free {
            return None;
        }
        let (mut given, mut count) = (Vec::new(), 0);
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                count += words.by_ref().count();
            } else if is_option(word) {
                match self.given(word, &mut words) {
                    Ok(option) => given.push(option),
                    Err(problem) => return Some(problem),
                }
            } else {
                count += 1;
            }
        }
        if let Some(missing) = self.required.iter().find(|name| !given.contains(&name.as_str())) {
            return Some(format!("{missing} is missing"));
        }
        match self.words {
            (_, Some(0)) if count > 0 => Some("it takes only options".to_owned()),
            (_, Some(most)) if count > most => Some(format!("it takes at most {most} words")),
            (fewest, _) if count < fewest => Some("a word is missing".to_owned()),
            _ if !self.alone && count == 0 && given.len() == self.required.len() => {
                Some("a word or an option is missing".to_owned())
            }
            _ => None,
        }
    }

    /// The name of the option in this word; takes its value from the next words.
    fn given<'a>(
        &self,
        word: &str,
        next: &mut Peekable<impl Iterator<Item = &'a str>>,
    ) -> Result<&str, String> {
        let (name, inline) =
            word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let (name, wanted) = self.option(name)?;
        let value = match (wanted, inline) {
            (Value::Named(Form::None), Some(_)) => return Err(format!("{name} takes no value")),
            (Value::Named(Form::None | Form::Any), _) => return Ok(name),
            (_, Some(value)) => value,
            (_, None) => next
                .next_if(|next| !is_option(next))
                .ok_or_else(|| format!("{name} needs a value"))?,
        };
        match unfit(wanted, value) {
            Some(problem) => Err(format!("{name} {problem}")),
            None => Ok(name),
        }
    }

    /// The option of that name, or the only one that begins with it, as argparse finds it.
    fn option(&self, name: &str) -> Result<(&str, &Value), String> {
        if let Some((name, value)) = self.options.get_key_value(name) {
            return Ok((name, value));
        }
        let mut like = self.options.iter().filter(|(known, _)| known.starts_with(name));
        match (like.next(), like.next()) {
            (Some((name, value)), None) => Ok((name, value)),
            (Some((one, _)), Some((other, _))) => Err(format!("{name} can be {one} or {other}")),
            (None, _) => Err(format!("it has no option {name}")),
        }
    }
}

/// Whether argparse takes the word for an option. A negative number is a value.
fn is_option(word: &str) -> bool {
    word.starts_with('-') && word.len() > 1 && word.parse::<f64>().is_err()
}

fn unfit(wanted: &Value, value: &str) -> Option<String> {
    match wanted {
        Value::Choice(choices) if !choices.iter().any(|choice| choice == value) => {
            Some(format!("must be {}", choices.join(", ")))
        }
        Value::Named(Form::Number) if value.trim().parse::<i64>().is_err() => {
            Some(format!("must be a number, not {value:?}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts of pykickstart itself.
    const LINES: &str = include_str!("../../../fixtures/kickstart/lines.txt");

    #[test]
    fn lines_are_judged_as_pykickstart_judges_them() {
        let releases = ["RHEL8", "RHEL9", "RHEL10", "F44"];
        let (mut judged, mut wrong) = (0, Vec::new());
        for line in LINES.lines().filter(|line| !line.starts_with('#')) {
            let (signs, line) = line.split_once(' ').unwrap();
            for (release, sign) in releases.iter().zip(signs.chars()) {
                let found = problem(line, &Releases::One((*release).to_owned()));
                let agrees = match sign {
                    '+' => found.is_none(),
                    '-' => found.is_some(),
                    _ => true,
                };
                judged += usize::from(sign != '?');
                if !agrees {
                    wrong.push(format!("{release} {sign} {line}: {found:?}"));
                }
            }
        }
        assert!(judged > 10_000, "{judged}");
        assert!(wrong.is_empty(), "{} of {judged}:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn the_release_follows_from_os_release() {
        let of = |id: &str, version: &str| {
            Releases::of(Some(&ImageRelease {
                id: Some(id.into()),
                version: Some(version.into()),
                arch: None,
            }))
        };
        let one = |release: &str| Releases::One(release.to_owned());
        assert_eq!(of("rhel", "8.10"), one("RHEL8"));
        assert_eq!(of("centos", "10"), one("RHEL10"));
        assert_eq!(of("rocky", "9.4"), one("RHEL9"));
        assert_eq!(of("fedora", "42"), one("F42"));
        assert_eq!(of("fedora", "60"), one("F44"));
        assert_eq!(of("sles", "15.6"), one("RHEL9"));
        assert_eq!(Releases::of(Some(&ImageRelease::default())), one("RHEL9"));
        assert_eq!(Releases::of(None), Releases::Any);
        let install = problem("install", &one("RHEL8"));
        assert_eq!((install, problem("install", &Releases::Any)), (None, None));
        let now = problem("install", &one("RHEL9")).unwrap();
        assert_eq!(now, "install: the command was removed in RHEL9");
    }
}
