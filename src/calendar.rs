//! Converts seconds since 1970 to dates in UTC and back. Algorithms by Howard Hinnant:
//! <https://howardhinnant.github.io/date_algorithms.html>.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// `YYYYMMDD`.
#[must_use]
pub(crate) fn date(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    format!("{year:04}{month:02}{day:02}")
}

/// RFC 3339 with seconds: `2000-02-29T12:34:56Z`.
#[must_use]
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let time = seconds.rem_euclid(DAY);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Seconds since 1970 for an RFC 3339 time in UTC, as OpenStack's services write it. Fractions are
/// ignored.
#[must_use]
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    let (day, time) = text.split_once(['T', ' '])?;
    let mut day = day.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, date) = (day.next()?.ok()?, day.next()?.ok()?, day.next()?.ok()?);
    let mut time = time.split('.').next()?.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let fits = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&date)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    fits.then(|| days(year, month, date) * DAY + hour * 3600 + minute * 60 + second)
}

/// The current time.
#[must_use]
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0))
}

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

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, day) in [
            (0, "19700101"),
            (951_782_400, "20000229"),
            (1_700_000_000, "20231114"),
            (4_107_542_399, "21000228"),
        ] {
            assert_eq!(date(seconds), day);
        }
        // date -u -d @951827696 +%FT%TZ
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
    }

    #[test]
    fn times_are_read_back_as_they_were_written() {
        for second in [0, 951_827_696, 1_700_000_000, 4_107_542_399] {
            assert_eq!(seconds(&rfc3339(second)), Some(second));
        }
        assert_eq!(seconds("2026-11-22T18:00:01.000000Z"), Some(1_795_370_401));
        for text in ["", "2026", "2026-13-01T00:00:00Z", "2026-11-22T99:00:00Z", "x-y-zT1:2:3"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
