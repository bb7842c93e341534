//! Where the artifact goes, and the version it carries.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Options;
use crate::error::Result;
use crate::recipe::Recipe;
use crate::registry::{Address, Directory, Names, Staged};

/// The output, locked, before any work: a missing folder is found in the first second.
pub(super) fn stage(recipe: &Recipe, options: &Options, started: SystemTime) -> Result<Staged> {
    match &options.output {
        Some(file) => Directory::holding(file)?.stage(Names::of_output(file)?),
        None => {
            let Address::Directory(folder) = &options.registry;
            let version = version(recipe, options.packing.source_date_epoch, started);
            Directory::open(folder)?.stage(Names::versioned(&recipe.name(), &version, &options.formats))
        }
    }
}

/// The image's version: the settings', else the day.
pub(super) fn version(recipe: &Recipe, epoch: Option<i64>, now: SystemTime) -> String {
    recipe.settings.image.version.clone().unwrap_or_else(|| date_of(epoch, now))
}

/// `YYYYMMDD` of the given time, else of today, in UTC.
fn date_of(epoch: Option<i64>, now: SystemTime) -> String {
    let seconds = epoch.unwrap_or_else(|| now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0)));
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}{month:02}{day:02}")
}

/// The calendar date of a day since 1970; Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, date) in [(0, "19700101"), (951_782_400, "20000229"), (1_700_000_000, "20231114"), (4_107_542_399, "21000228")] {
            assert_eq!(date_of(Some(seconds), SystemTime::now()), date);
        }
    }
}
