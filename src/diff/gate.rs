//! Gates for continuous integration: conditions under which differences are too large.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

use super::Difference;
use crate::report::bytes;

/// The size that a gate measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The unpacked files.
    Unpacked,
    /// The tarball.
    Tarball,
}

/// The allowed growth, or with a minus sign the allowed shrinking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Budget {
    /// In hundredths of the first image's size.
    Percent(f64),
    /// In bytes.
    Bytes(i128),
}

/// A condition under which `osimg diff` fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Gate {
    /// Any package differs.
    Packages,
    /// Any file differs.
    Files,
    /// A size differs by more than the budget.
    Size(Measure, Budget),
}

/// The result of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// The gate, as it was written.
    pub gate: String,
    /// Whether it holds.
    pub passed: bool,
    /// The explanation.
    pub reason: String,
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (what, budget) =
            text.split_once(':').map_or((text, None), |(what, budget)| (what, Some(budget)));
        let wrong = || {
            format!(
                "'{text}' is not a condition: write packages, files, size:+5%, size:+20M or \
                 tarball:+5%"
            )
        };
        match (what, budget) {
            ("packages", None) => Ok(Self::Packages),
            ("files", None) => Ok(Self::Files),
            ("size", Some(budget)) => {
                Ok(Self::Size(Measure::Unpacked, budget.parse().map_err(|()| wrong())?))
            }
            ("tarball", Some(budget)) => {
                Ok(Self::Size(Measure::Tarball, budget.parse().map_err(|()| wrong())?))
            }
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Budget {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (None, Some(rest)) => (-1, rest),
            // Without a sign it is unclear whether a size or a growth is meant.
            (None, None) => return Err(()),
        };
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(());
        }
        if let Some(number) = rest.strip_suffix('%') {
            let percent: f64 = number.parse().map_err(|_| ())?;
            return if percent.is_finite() {
                Ok(Self::Percent(percent * f64::from(sign)))
            } else {
                Err(())
            };
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let factor: i128 = match unit {
            "" | "B" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            _ => return Err(()),
        };
        let count: i128 = i128::from(number.parse::<u64>().map_err(|_| ())?);
        Ok(Self::Bytes(count * factor * i128::from(sign)))
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, budget) = match self {
            Self::Packages => return f.write_str("packages"),
            Self::Files => return f.write_str("files"),
            Self::Size(Measure::Unpacked, budget) => ("size", budget),
            Self::Size(Measure::Tarball, budget) => ("tarball", budget),
        };
        match budget {
            Budget::Percent(percent) => write!(f, "{name}:{percent:+}%"),
            Budget::Bytes(count) => write!(f, "{name}:{count:+}"),
        }
    }
}

impl Gate {
    /// Applies the gate to a difference.
    ///
    /// # Errors
    /// Explains why that is not possible: a manifest has no files, a tree has no tarball.
    pub(crate) fn judge(&self, difference: &Difference) -> Result<Verdict, String> {
        let (passed, reason) = match self {
            Self::Packages => {
                let p = &difference.packages;
                (
                    p.is_empty(),
                    format!(
                        "{} packages added, {} removed, {} changed",
                        p.added.len(),
                        p.removed.len(),
                        p.changed.len()
                    ),
                )
            }
            Self::Files => {
                let files = difference.files.as_ref().ok_or("a manifest does not list files")?;
                (
                    files.is_empty(),
                    format!(
                        "{} files added, {} removed, {} changed",
                        files.added, files.removed, files.changed
                    ),
                )
            }
            Self::Size(measure, budget) => {
                let (before, after) = match measure {
                    Measure::Unpacked => (difference.before.bytes, difference.after.bytes),
                    Measure::Tarball => difference
                        .before
                        .tarball
                        .zip(difference.after.tarball)
                        .ok_or("a tree has no tarball to compare")?,
                };
                (
                    budget.holds(before, after),
                    format!("{} became {}{}", bytes(before), bytes(after), growth(before, after)),
                )
            }
        };
        Ok(Verdict { gate: self.to_string(), passed, reason })
    }
}

impl Budget {
    fn holds(self, before: u64, after: u64) -> bool {
        let grown = i128::from(after) - i128::from(before);
        match self {
            Self::Bytes(limit) if limit < 0 => grown >= limit,
            Self::Bytes(limit) => grown <= limit,
            Self::Percent(percent) => {
                let limit = before as f64 * percent / 100.0;
                if percent.is_sign_negative() {
                    grown as f64 >= limit
                } else {
                    grown as f64 <= limit
                }
            }
        }
    }
}

/// For example ` (+5.0 %)`; empty if the first size is 0.
pub(super) fn growth(before: u64, after: u64) -> String {
    if before == 0 {
        return String::new();
    }
    let percent = (after as f64 - before as f64) * 100.0 / before as f64;
    format!(" ({percent:+.1} %)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_parsed_and_printed_alike() {
        assert_eq!("packages".parse(), Ok(Gate::Packages));
        assert_eq!("size:+5%".parse(), Ok(Gate::Size(Measure::Unpacked, Budget::Percent(5.0))));
        assert_eq!(
            "tarball:+20M".parse(),
            Ok(Gate::Size(Measure::Tarball, Budget::Bytes(20 << 20)))
        );
        assert_eq!("size:-1KiB".parse(), Ok(Gate::Size(Measure::Unpacked, Budget::Bytes(-1024))));
        for text in [
            "",
            "size",
            "size:5%",
            "size:+",
            "size:+%",
            "size:++5%",
            "size:+NaN%",
            "size:+5X",
            "files:+1",
            "package",
            "size:+99999999999999999999",
        ] {
            assert!(text.parse::<Gate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_budget_is_exceeded_only_beyond_its_limit() {
        assert!(
            Budget::Percent(5.0).holds(100, 105)
                && !Budget::Percent(5.0).holds(100, 106)
                && Budget::Percent(5.0).holds(100, 1)
        );
        assert!(Budget::Percent(0.0).holds(100, 100) && !Budget::Percent(0.0).holds(100, 101));
        assert!(
            Budget::Percent(-5.0).holds(100, 95)
                && !Budget::Percent(-5.0).holds(100, 94)
                && Budget::Percent(-5.0).holds(100, 200)
        );
        assert!(Budget::Bytes(10).holds(0, 10) && !Budget::Bytes(10).holds(0, 11));
        assert!(Budget::Percent(5.0).holds(0, 0) && !Budget::Percent(5.0).holds(0, 1));
    }
}
