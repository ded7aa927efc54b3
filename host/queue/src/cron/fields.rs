//! A pattern's text, parsed into the values that each of its fields allows.

use super::hash::Numbers;
use super::unit::{DAY, HOUR, MINUTE, MONTH, SECOND, Unit, Value, WEEKDAY};

/// Longer patterns are refused, in UTF-16 units.
const LENGTH_MAX: usize = 1024;
/// The longest month of each number, in any year.
const DAYS_MAX: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const ALIASES: [(&str, &str); 10] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
    ("@minutely", "0 * * * * *"),
    ("@secondly", "* * * * * *"),
    ("@weekdays", "0 0 0 * * 1-5"),
    ("@weekends", "0 0 0 * * 0,6"),
];

/// Numbers below 64.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) fn contains(self, value: u32) -> bool {
        self.0 >> value & 1 == 1
    }

    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The least number; 0 of an empty set.
    pub(super) fn first(self) -> u32 {
        if self.0 == 0 {
            0
        } else {
            self.0.trailing_zeros()
        }
    }

    /// The least number above this one.
    pub(super) fn after(self, value: u32) -> Option<u32> {
        let above = Set(self.0 & (u64::MAX << value << 1));
        (above.0 != 0).then(|| above.first())
    }
}

impl FromIterator<u32> for Set {
    fn from_iter<I: IntoIterator<Item = u32>>(values: I) -> Self {
        Set(values.into_iter().fold(0, |set, value| set | 1 << value))
    }
}

/// What a pattern allows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fields {
    pub(super) seconds: Set,
    pub(super) minutes: Set,
    pub(super) hours: Set,
    pub(super) months: Set,
    days: DaysOfMonth,
    weekdays: Weekdays,
}

#[derive(Debug, Clone, PartialEq)]
struct DaysOfMonth {
    any: bool,
    values: Set,
    last: bool,
}

/// Sunday is 0.
#[derive(Debug, Clone, PartialEq)]
struct Weekdays {
    any: bool,
    values: Set,
    /// Only the first, second, … of the month.
    occurrence: Option<u32>,
    /// Those that match where they are the last ones of the month.
    last: Set,
}

/// A day, as far as patterns look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    pub(super) of_month: u32,
    /// Sunday is 0.
    pub(super) weekday: u32,
    pub(super) month_length: u32,
}

impl Fields {
    /// Parses a pattern; the error is the reason without the pattern.
    pub(super) fn parse(pattern: &str, seed: &str, strict: bool) -> Result<Self, String> {
        let raw = raw_fields(pattern, strict)?;
        let mut numbers = Numbers::new(seed);
        let mut parse = |unit: Unit, text: &str| {
            let number = numbers.next();
            unit.parse(text, number, strict)
                .map_err(|reason| format!("{} `{text}`: {reason}", unit.name))
        };
        // The order is that in which `cron-parser` draws its numbers.
        let second = parse(SECOND, raw[0])?;
        let minute = parse(MINUTE, raw[1])?;
        let hour = parse(HOUR, raw[2])?;
        let month = parse(MONTH, raw[4])?;
        let day = parse(DAY, raw[3])?;
        let (weekday_text, occurrence) = split_occurrence(raw[5])?;
        let weekday = parse(WEEKDAY, weekday_text)?;
        let days = DaysOfMonth::new(raw[3], day, &month)?;
        let weekdays = Weekdays::new(raw[5], weekday, occurrence)?;
        let fields = Fields {
            seconds: only_numbers(second)?,
            minutes: only_numbers(minute)?,
            hours: only_numbers(hour)?,
            months: only_numbers(month)?,
            days,
            weekdays,
        };
        fields.have_a_day()?;
        Ok(fields)
    }

    /// Refuses a day that the only month never has.
    fn have_a_day(&self) -> Result<(), String> {
        if self.months.len() > 1 || self.days.last || !self.weekdays.any {
            return Ok(());
        }
        let (month, day) = (self.months.first(), self.days.values.first());
        if day > days_max(month) {
            return Err(format!("month {month} has no day {day}"));
        }
        Ok(())
    }

    /// Where both kinds of day are restricted, one must match.
    pub(super) fn match_day(&self, day: Day) -> bool {
        let of_month = || self.days.matches(day);
        let weekday = || self.weekdays.matches(day);
        match (self.days.any, self.weekdays.any) {
            (false, false) => of_month() || weekday(),
            (_, true) => of_month(),
            (true, false) => weekday(),
        }
    }
}

impl DaysOfMonth {
    fn new(raw: &str, parsed: Vec<Value>, months: &[Value]) -> Result<Self, String> {
        let values = in_month(parsed, months);
        Ok(DaysOfMonth {
            any: is_wildcard(raw),
            last: raw.contains('L'),
            values: numbers(&distinct(values)?).collect(),
        })
    }

    fn matches(&self, day: Day) -> bool {
        self.values.contains(day.of_month) || (self.last && day.of_month == day.month_length)
    }
}

/// Leaves out days that the only month does not have, unless none is left.
fn in_month(days: Vec<Value>, months: &[Value]) -> Vec<Value> {
    let [Value::Number(month)] = months else {
        return days;
    };
    let fits = |day: &Value| !matches!(day, Value::Number(day) if *day > days_max(*month));
    if days.iter().any(fits) {
        return days.into_iter().filter(fits).collect();
    }
    days
}

impl Weekdays {
    fn new(raw: &str, parsed: Vec<Value>, occurrence: Option<u32>) -> Result<Self, String> {
        let parsed = distinct(parsed)?;
        if parsed.contains(&Value::Last(String::new())) {
            return Err("`L` needs a weekday before it".into());
        }
        // One `L` makes all weekdays of the field match where they are the last ones, too.
        let with_last = parsed.iter().filter(|_| raw.contains('L'));
        let last = with_last.filter_map(|value| match value {
            Value::Number(day) => Some(day % 7),
            Value::Last(digits) => Some(digits.chars().next()?.to_digit(10)? % 7),
        });
        Ok(Weekdays {
            any: is_wildcard(raw),
            // 7 is Sunday in ranges, and then 0 is there as well.
            values: numbers(&parsed).collect(),
            occurrence,
            last: last.collect(),
        })
    }

    fn matches(&self, day: Day) -> bool {
        let occurrence = day.of_month.div_ceil(7);
        let is_last = day.of_month + 7 > day.month_length;
        (self.values.contains(day.weekday) && self.occurrence.is_none_or(|only| only == occurrence))
            || (is_last && self.last.contains(day.weekday))
    }
}

/// The six fields of a pattern. Those that are not there are the first ones.
fn raw_fields(pattern: &str, strict: bool) -> Result<[&str; 6], String> {
    if pattern.encode_utf16().count() > LENGTH_MAX {
        return Err(format!("longer than {LENGTH_MAX} characters"));
    }
    let alias = ALIASES.iter().find(|(name, _)| *name == pattern);
    let pattern = match alias {
        Some((_, pattern)) => pattern,
        None if pattern.is_empty() && !strict => "0 * * * * *",
        None => pattern,
    };
    let written: Vec<&str> = pattern.split(is_space).filter(|s| !s.is_empty()).collect();
    if written.is_empty() || written.len() > 6 || (strict && written.len() < 6) {
        return Err(format!("{} fields, not 1 to 6", written.len()));
    }
    let mut raw = ["0", "*", "*", "*", "*", "*"];
    raw[6 - written.len()..].copy_from_slice(&written);
    if strict && raw[3] != "*" && raw[5] != "*" {
        return Err("both the day of the month and the weekday are restricted".into());
    }
    Ok(raw)
}

/// What JavaScript takes for space.
fn is_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

fn is_wildcard(raw: &str) -> bool {
    matches!(raw, "*" | "?")
}

/// Takes `#2` off a weekday.
fn split_occurrence(raw: &str) -> Result<(&str, Option<u32>), String> {
    let Some((weekday, occurrence)) = raw.split_once('#') else {
        return Ok((raw, None));
    };
    if raw.contains([',', '-', '/']) {
        return Err(format!(
            "weekday `{raw}`: `#` cannot be combined with lists, ranges and steps"
        ));
    }
    match occurrence.parse() {
        Ok(number @ 1..=5) => Ok((weekday, Some(number))),
        _ => Err(format!("weekday `{raw}`: `#` takes a number from 1 to 5")),
    }
}

fn numbers(values: &[Value]) -> impl Iterator<Item = u32> {
    values.iter().filter_map(|value| match value {
        Value::Number(number) => Some(*number),
        Value::Last(_) => None,
    })
}

fn only_numbers(values: Vec<Value>) -> Result<Set, String> {
    Ok(numbers(&distinct(values)?).collect())
}

/// Refuses a value that is there twice.
fn distinct(values: Vec<Value>) -> Result<Vec<Value>, String> {
    for (index, value) in values.iter().enumerate() {
        if values[..index].contains(value) {
            return Err(format!("has {value} twice"));
        }
    }
    Ok(values)
}

fn days_max(month: u32) -> u32 {
    DAYS_MAX[month as usize - 1]
}
