//! Programs as data: a command line that can be shown ready to paste, where a program is, and the
//! last lines of one's output.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program, its arguments and its whole environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// The program and its arguments; the first is a path or a name looked up in the environment's
    /// PATH.
    pub argv: Vec<String>,
    /// The complete environment: nothing is inherited.
    pub env: Vec<(String, String)>,
}

impl CommandLine {
    /// A command with an empty environment.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), env: Vec::new() }
    }

    /// Adds one environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The line as a user would type it into a shell.
    #[must_use]
    pub fn quoted(&self) -> String {
        self.argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }
}

/// One word, quoted for a POSIX shell where it has to be.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Where a program of that name is on this host: only the usual directories count, not the
/// caller's PATH.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| {
            path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

/// The last lines that a program printed, within a fixed budget of memory.
#[derive(Debug, Clone)]
pub struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    limit: usize,
}

impl Tail {
    /// Keeps the last `limit` bytes, in whole lines.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds a line and forgets the oldest ones over the budget.
    pub fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line.to_owned());
        while self.bytes > self.limit && self.lines.len() > 1 {
            if let Some(old) = self.lines.pop_front() {
                self.bytes -= old.len() + 1;
            }
        }
    }

    /// The last `count` lines as one text.
    #[must_use]
    pub fn last(&self, count: usize) -> String {
        let skip = self.lines.len().saturating_sub(count);
        self.lines.iter().skip(skip).map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Whether nothing was printed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|l| l.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let line = CommandLine::new([
            "dnf",
            "--setopt=best=1",
            "group",
            "install",
            "Minimal Install",
            "it's",
            "",
        ]);
        assert_eq!(
            line.quoted(),
            r"dnf --setopt=best=1 group install 'Minimal Install' 'it'\''s' ''"
        );
    }

    #[test]
    fn the_tail_forgets_the_oldest_lines_first() {
        let mut tail = Tail::new(10);
        for line in ["one", "two", "three", "four"] {
            tail.push(line);
        }
        assert_eq!(tail.last(9), "four");
        assert_eq!(Tail::new(10).last(3), "");
    }
}
