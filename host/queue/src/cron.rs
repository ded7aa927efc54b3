//! Cron patterns as BullMQ reads them: the syntax, the time zones and the changes of the clock of the npm package
//! `cron-parser` 5, which BullMQ 6 computes its schedules with. <https://docs.bullmq.io/guide/job-schedulers>
//!
//! No crate reads this language. Of 2,200 patterns, zones and start times (`tests/interop/cron-cases.mjs`), `croner` 4
//! differs in 1,102; with a normaliser in front that writes patterns and zones its way, in 250: it takes what must be
//! refused, refuses what must be taken, and has other times at changes of the clock, which no normaliser mends. This
//! module differs in none. `fields` and `unit` parse a pattern into sets, `search` walks to the next time that is in
//! them, `clock` knows where a step of the walk leads in a zone. `tests/interop/schedules.test.mjs` compares all of it
//! with the package.

mod clock;
mod fields;
mod hash;
mod search;
mod unit;
mod zone;

pub use zone::Zone;

use crate::error::QueueError;
use fields::Fields;

/// No time beyond this is searched for, in ms to both sides of the epoch: about the year 255,000, and `chrono` knows
/// dates a little longer.
const DATE_MAX_MS: i64 = 8_000_000_000_000_000;
/// How many seeds are tried for a pattern with `H` that no seed was given for.
const SEEDS: u32 = 8;

/// A parsed cron pattern.
///
/// The language is that of `cron-parser`:
/// - one to six fields: second, minute, hour, day of the month, month, weekday. Fields that are missing are those in
///   front: the second is 0, all others match anything.
/// - in each field `*`, `?`, numbers, ranges, lists, steps (`*/5`, `10/5`, `10-40/5`) and `H`; in the last two also
///   English names of three letters.
/// - `L` for the last day of the month, `5L` for its last Friday, `5#2` for its second; weekdays 0 and 7 are Sunday.
/// - `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@hourly`, `@minutely`, `@secondly`, `@weekdays`,
///   `@weekends`.
///
/// Where both the day of the month and the weekday are restricted, either may match. A value that a field has twice, a
/// range that goes backwards, and a day that no year has in the only month are refused.
#[derive(Debug, Clone)]
pub struct Cron {
    fields: Fields,
}

/// What a schedule may say of its pattern beside the pattern.
#[derive(Debug, Clone, Default)]
pub struct CronOptions<'a> {
    /// What the values of `H` are computed from, the same ones as in Node. Without it `cron-parser` takes other values
    /// each time; Toril always takes the same ones for a pattern, which are in range.
    pub hash_seed: Option<&'a str>,
    /// Refuses patterns that have not six fields, that restrict both kinds of day, or ranges and steps of `H` that do
    /// not fit the field.
    pub strict: bool,
}

impl Cron {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// [`QueueError::Invalid`] for what `cron-parser` refuses. Also for a few patterns that it takes by accident: text
    /// beside an `H` that has brackets or a step (`5xH/9` as a weekday), occurrences that are no whole number (`5#1.5`,
    /// which never comes, and `5#0x3`), and numbers of more than 21 digits.
    pub fn parse(pattern: &str, options: &CronOptions<'_>) -> Result<Self, QueueError> {
        let parsed = match options.hash_seed.filter(|seed| !seed.is_empty()) {
            Some(seed) => Fields::parse(pattern, seed, options.strict),
            None => parse_without_a_seed(pattern, options.strict),
        };
        match parsed {
            Ok(fields) => Ok(Cron { fields }),
            Err(reason) => Err(QueueError::Invalid(format!(
                "cron pattern `{pattern}`: {reason}"
            ))),
        }
    }

    /// The first time after `after_ms` that matches in the zone and is not after `end_ms`, in ms since the epoch. None
    /// where there is no such time: for `0 0 31 2,4 *` there never is.
    ///
    /// Both changes of the clock are as in `cron-parser`. An hour that is left out runs in the hour after it, at the
    /// same minutes. An hour that comes twice runs once, or twice where the pattern matches every hour. This holds for
    /// times that are searched from before the change. A change at midnight is no exception, but a search that passes
    /// it with whole days does not see it: `0 0 * * *` then misses a day whose midnight does not exist.
    pub fn next(&self, zone: &Zone, after_ms: i64, end_ms: Option<i64>) -> Option<i64> {
        if after_ms.unsigned_abs() > DATE_MAX_MS as u64 {
            return None;
        }
        search::next(&self.fields, zone, after_ms, end_ms)
    }
}

/// Some seeds give `H` values that the pattern must not have, such as twice the same weekday.
fn parse_without_a_seed(pattern: &str, strict: bool) -> Result<Fields, String> {
    let first = Fields::parse(pattern, pattern, strict);
    if first.is_ok() || !pattern.contains('H') {
        return first;
    }
    let mut others = (1..SEEDS).map(|n| Fields::parse(pattern, &format!("{pattern}{n}"), strict));
    others.find(Result::is_ok).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(date: &str) -> i64 {
        let date = chrono::DateTime::parse_from_rfc3339(&format!("{date}:00Z"));
        date.unwrap().timestamp_millis()
    }

    /// So many times after a date, in UTC as the dates of this file are.
    fn times(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(pattern, &CronOptions::default()).unwrap();
        let zone = Zone::parse(zone).unwrap();
        let next = |at: &i64| cron.next(&zone, *at, None);
        std::iter::successors(next(&ms(after)), next)
            .take(count)
            .map(|at| chrono::DateTime::from_timestamp_millis(at).unwrap())
            .map(|at| at.format("%Y-%m-%dT%H:%M").to_string())
            .collect()
    }

    fn refusal(pattern: &str) -> String {
        let refused = Cron::parse(pattern, &CronOptions::default());
        refused.unwrap_err().to_string()
    }

    #[test]
    fn hour_that_is_left_out_runs_in_the_one_after_it() {
        let berlin = |pattern| times(pattern, "europe/berlin", "2026-03-28T23:00", 3);
        // 02:00 becomes 03:00 at 01:00 UTC.
        assert_eq!(berlin("30 2 * * *")[0], "2026-03-29T01:30");
        let nightly = ["2026-03-28T23:30", "2026-03-29T00:30", "2026-03-29T01:30"];
        assert_eq!(berlin("30 0-4 * * *"), nightly);
        let even = ["2026-03-28T23:15", "2026-03-29T01:15", "2026-03-29T02:15"];
        assert_eq!(berlin("15 */2 * * *"), even);
    }

    #[test]
    fn hour_that_comes_twice_runs_once_unless_every_hour_does() {
        let berlin = |pattern, count| times(pattern, "Europe/Berlin", "2026-10-24T23:59", count);
        // 03:00 becomes 02:00 at 01:00 UTC.
        assert_eq!(
            berlin("30 2 * * *", 2),
            ["2026-10-25T00:30", "2026-10-26T01:30"]
        );
        assert_eq!(
            berlin("30 2-3 * * *", 2),
            ["2026-10-25T00:30", "2026-10-25T02:30"]
        );
        let hourly = ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"];
        assert_eq!(berlin("30 * * * *", 3), hourly);
    }

    #[test]
    fn clock_that_goes_back_by_half_an_hour_holds_up_nothing() {
        let howe = times("5 4 * * *", "Australia/Lord_Howe", "2026-04-04T13:40", 2);
        assert_eq!(howe, ["2026-04-04T17:35", "2026-04-05T17:35"]);
    }

    #[test]
    fn either_day_matches_where_both_are_restricted() {
        let first_or_monday = times("0 0 1 * 1", "UTC", "2026-08-25T00:00", 3);
        assert_eq!(
            first_or_monday,
            ["2026-08-31T00:00", "2026-09-01T00:00", "2026-09-07T00:00"]
        );
        let last = times("0 0 L * 5L", "UTC", "2026-09-01T00:00", 2);
        assert_eq!(last, ["2026-09-25T00:00", "2026-09-30T00:00"]);
        assert_eq!(
            times("0 0 * 2 1#5", "UTC", "2026-01-01T00:00", 1),
            ["2044-02-29T00:00"]
        );
    }

    #[test]
    fn search_ends_at_the_end_and_where_no_day_ever_matches() {
        let cron = Cron::parse("0 0 1 * *", &CronOptions::default()).unwrap();
        let until = |end: &str| cron.next(&Zone::UTC, ms("2026-01-10T00:00"), Some(ms(end)));
        assert_eq!(until("2026-01-31T23:59"), None);
        assert_eq!(until("2026-02-01T00:00"), Some(ms("2026-02-01T00:00")));
        assert!(times("0 0 31 2,4 *", "UTC", "2026-01-01T00:00", 1).is_empty());
        assert_eq!(cron.next(&Zone::UTC, i64::MAX, None), None);
        assert!(cron.next(&Zone::UTC, DATE_MAX_MS, None).is_some());
    }

    #[test]
    fn hashed_values_stay_the_same_for_a_pattern() {
        let daily = times("H H * * *", "UTC", "2026-01-01T00:00", 3);
        assert_eq!(daily[0][10..], daily[2][10..]);
        // Some seeds would make this Sunday twice.
        for minute in 0..60 {
            times(&format!("{minute} 0 * * H/7"), "UTC", "2026-01-01T00:00", 1);
        }
    }

    #[test]
    fn patterns_of_another_language_are_refused() {
        for (pattern, reason) in [
            ("every day", "`eve` is not a month or weekday"),
            ("FREQ=DAILY;INTERVAL=1", "is not a month or weekday"),
            ("* * * * * * *", "7 fields, not 1 to 6"),
            ("60 * * * *", "minute `60`: 60 is outside 0-59"),
            ("0 22-2 * * *", "hour `22-2`: range 22-2 goes backwards"),
            ("1,1 * * * *", "has 1 twice"),
            ("0 0 30 2 *", "month 2 has no day 30"),
            ("0 0 LW * *", "invalid characters"),
            ("0 0 * * L", "`L` needs a weekday before it"),
            ("0 0 * * 1#6", "`#` takes a number from 1 to 5"),
            ("*/0 * * * *", "a step must be more than 0"),
            ("@midnight", "is not a month or weekday"),
            ("  ", "0 fields"),
        ] {
            let refusal = refusal(pattern);
            assert!(refusal.contains(reason), "{refusal}");
            assert!(
                refusal.contains(&format!("cron pattern `{pattern}`")),
                "{refusal}"
            );
        }
        assert!(refusal(&"1,".repeat(600)).contains("longer than 1024 characters"));
    }
}
