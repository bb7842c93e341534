//! Parses the output of a booting machine: the console, for its landmarks, and the second serial
//! port, for the results of the checks.

use std::collections::BTreeMap;

/// A landmark in a boot, as it appears on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landmark {
    /// The kernel has started.
    Kernel,
    /// The first program in user space runs.
    Init,
    /// The login prompt.
    Login,
    /// Kernel panic.
    Panic,
    /// systemd or dracut stopped in emergency mode.
    Emergency,
    /// KVM does not work on this host, although /dev/kvm exists.
    BrokenKvm,
}

/// The landmark in a line, which must already be [`plain`].
#[must_use]
pub(super) fn landmark(line: &str) -> Option<Landmark> {
    let kernel = line.split_once("] ").map_or(line, |(_, rest)| rest);
    if kernel.starts_with("Linux version ") {
        Some(Landmark::Kernel)
    } else if kernel.starts_with("Run /init as init process") {
        Some(Landmark::Init)
    } else if kernel.starts_with("Kernel panic - not syncing") {
        Some(Landmark::Panic)
    } else if line.starts_with("KVM internal error") || line.contains("KVM: entry failed") {
        Some(Landmark::BrokenKvm)
    } else if line.contains("You are in emergency mode") || line.contains("Entering emergency mode")
    {
        Some(Landmark::Emergency)
    } else if line.trim_end().ends_with(" login:") && !line.starts_with('[') {
        Some(Landmark::Login)
    } else {
        None
    }
}

/// A line without terminal sequences and control characters, so that it is safe for the user's
/// terminal.
#[must_use]
pub(super) fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.next_if(|c| "[]()".contains(*c)) {
                Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while rest.next().is_some_and(|c| c != '\u{7}' && c != '\\') {},
                Some(_) => {
                    rest.next();
                }
                None => {
                    // Two-character sequences, such as ESC c and ESC 7.
                    rest.next_if(char::is_ascii);
                }
            },
            '\t' => text.push(' '),
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) => {}
            c => text.push(c),
        }
    }
    text
}

/// The first word of every line that frames results.
pub(super) const FRAME: &str = "@osimg";

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The exit status of the check's program: 127 if the image does not have it, 124 after its
    /// time limit.
    pub status: Option<i32>,
    /// Its output.
    pub lines: Vec<String>,
}

/// The results on the second serial port: `@osimg begin NAME`, lines, `@osimg end NAME STATUS`, …,
/// `@osimg done`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Results {
    sections: BTreeMap<String, Section>,
    open: Option<String>,
    done: bool,
}

/// The maximum number of lines that are kept per section.
const LINE_LIMIT: usize = 20_000;

impl Results {
    /// Processes one line; true if it belongs to the results.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [FRAME, "begin", name] => {
                self.sections
                    .insert((*name).to_owned(), Section { status: None, lines: Vec::new() });
                self.open = Some((*name).to_owned());
            }
            [FRAME, "end", name, status] => {
                if let Some(section) = self.sections.get_mut(*name) {
                    section.status = status.parse().ok();
                }
                self.open = None;
            }
            [FRAME, "done"] => {
                self.open = None;
                self.done = true;
            }
            _ => {
                let Some(section) = self.open.as_ref().and_then(|name| self.sections.get_mut(name))
                else {
                    return false;
                };
                if !line.trim().is_empty() && section.lines.len() < LINE_LIMIT {
                    section.lines.push(line.trim_end().to_owned());
                }
            }
        }
        true
    }

    /// Whether all checks are done.
    #[must_use]
    pub(crate) fn done(&self) -> bool {
        self.done
    }

    /// Whether any check has started.
    #[must_use]
    pub(crate) fn begun(&self) -> bool {
        !self.sections.is_empty()
    }

    /// The section `name`, once it has ended.
    #[must_use]
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name).filter(|section| section.status.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_are_found_despite_colours_and_time_stamps() {
        for (line, expected) in [
            ("[    0.000000] Linux version 6.1.0-56-cloud-amd64 (gcc-12)", Some(Landmark::Kernel)),
            ("[    2.10] Run /init as init process", Some(Landmark::Init)),
            ("\u{1b}[?2004hlocalhost login: ", Some(Landmark::Login)),
            ("\u{1b}c\u{1b}[?7l\u{1b}[2Jlocalhost login: ", Some(Landmark::Login)),
            (
                "[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs",
                Some(Landmark::Panic),
            ),
            (
                "You are in emergency mode. After logging in, type \"journalctl -xb\"",
                Some(Landmark::Emergency),
            ),
            ("KVM internal error. Suberror: 1", Some(Landmark::BrokenKvm)),
            (
                "[\u{1b}[0;32m  OK  \u{1b}[0m] Started \
                 \u{1b}[0;1;39msystemd-logind.service\u{1b}[0m - User Login Management.",
                None,
            ),
            ("[   12.0] audit: comm=\"x login:\"", None),
            ("Debian GNU/Linux 12 localhost ttyS0", None),
        ] {
            assert_eq!(landmark(&plain(line)), expected, "{line:?}");
        }
    }

    #[test]
    fn no_terminal_sequence_is_left() {
        assert_eq!(
            plain("\u{1b}]0;title\u{7}a\u{1b}[31mb\u{8}\u{1b}(Bc\r\td\u{202e}e\u{1b}"),
            "abc de"
        );
        assert_eq!(plain("\u{1b}[31"), "");
    }

    #[test]
    fn sections_are_parsed_and_unfinished_ones_are_ignored() {
        let mut results = Results::default();
        assert!(!results.take("qemu-system-x86_64: warning: something"));
        for line in [
            "@osimg begin failed",
            "a.service",
            "",
            "b.service ",
            "@osimg end failed 0",
            "@osimg begin rpm",
            "S.5 /etc/x",
        ] {
            assert!(results.take(line));
        }
        assert_eq!(
            results.section("failed"),
            Some(&Section { status: Some(0), lines: vec!["a.service".into(), "b.service".into()] })
        );
        assert_eq!(results.section("rpm"), None);
        assert!(!results.done());
        results.take("@osimg done");
        assert!(results.done());
    }

    #[test]
    fn the_size_of_a_section_is_limited() {
        let mut results = Results::default();
        results.take("@osimg begin rpm");
        for _ in 0..LINE_LIMIT + 5 {
            results.take("x");
        }
        results.take("@osimg end rpm 1");
        assert_eq!(results.section("rpm").map(|s| s.lines.len()), Some(LINE_LIMIT));
    }
}
