//! The text of one field, parsed into values: numbers, ranges, lists, steps, names, `H` and `L`.

use std::fmt::{self, Display, Formatter, Write as _};

use super::hash::{self, Hashing};

/// Months and weekdays. Either may stand in both fields.
const NAMES: [(&str, u32); 19] = [
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("may", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
    ("sun", 0),
    ("mon", 1),
    ("tue", 2),
    ("wed", 3),
    ("thu", 4),
    ("fri", 5),
    ("sat", 6),
];

/// One value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(u32),
    /// `L`, with the digits before it.
    Last(String),
}

impl Display for Value {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(formatter, "{number}"),
            Value::Last(digits) => write!(formatter, "{digits}L"),
        }
    }
}

/// What a field may hold.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    min: u32,
    max: u32,
    /// Characters beside those that every field may have.
    characters: &'static str,
    has_names: bool,
}

pub(super) const SECOND: Unit = Unit::new("second", 0, 59);
pub(super) const MINUTE: Unit = Unit::new("minute", 0, 59);
pub(super) const HOUR: Unit = Unit::new("hour", 0, 23);
pub(super) const DAY: Unit = Unit {
    characters: "L",
    ..Unit::new("day of the month", 1, 31)
};
pub(super) const MONTH: Unit = Unit {
    has_names: true,
    ..Unit::new("month", 1, 12)
};
pub(super) const WEEKDAY: Unit = Unit {
    characters: "L",
    has_names: true,
    ..Unit::new("weekday", 0, 7)
};

impl Unit {
    const fn new(name: &'static str, min: u32, max: u32) -> Self {
        Unit {
            name,
            min,
            max,
            characters: "",
            has_names: false,
        }
    }

    /// Parses a field's text into its values, in their order. `number` in [0, 1) chooses those of `H`.
    pub(super) fn parse(self, text: &str, number: f64, strict: bool) -> Result<Vec<Value>, String> {
        let text = if self.has_names {
            without_names(text)?
        } else {
            text.to_owned()
        };
        let known =
            |c: char| c.is_ascii_digit() || "?,*H/-".contains(c) || self.characters.contains(c);
        if !(hash::has_long_form(&text) || (!text.is_empty() && text.chars().all(known))) {
            return Err("has invalid characters".into());
        }
        let hashing = Hashing {
            min: self.min.into(),
            max: self.max.into(),
            number,
            strict,
        };
        let whole = format!("{}-{}", self.min, self.max);
        let text = hashing.replace(&text.replace(['*', '?'], &whole))?;
        let mut values = Vec::new();
        for part in text.split(',') {
            self.parse_part(part, &mut values)?;
        }
        Ok(values)
    }

    /// One part of a list: a value, a range, or either with a step.
    fn parse_part(self, part: &str, values: &mut Vec<Value>) -> Result<(), String> {
        match part.split_once('/') {
            Some((_, step)) if step.contains('/') => Err("two steps in one part".into()),
            Some((range, step)) => {
                let step = leading_number(step).filter(|step| *step > 0);
                let step = step.ok_or("a step must be more than 0")?;
                if range.contains('-') {
                    self.push_range(range, step, values)
                } else {
                    self.push_range(&format!("{range}-{}", self.max), step, values)
                }
            }
            None if part.contains('-') => self.push_range(part, 1, values),
            None => {
                values.push(self.parse_value(part)?);
                Ok(())
            }
        }
    }

    /// A range. As in `cron-parser`, what follows the second number means nothing.
    fn push_range(self, range: &str, step: u64, values: &mut Vec<Value>) -> Result<(), String> {
        let mut ends = range.split('-').map(leading_number);
        let (Some(Some(low)), Some(Some(high))) = (ends.next(), ends.next()) else {
            return Err(format!("`{range}` is not a range"));
        };
        let (Some(low), Some(high)) = (self.in_range(low), self.in_range(high)) else {
            return Err(format!("{low}-{high} is outside {}-{}", self.min, self.max));
        };
        if low > high {
            return Err(format!("range {low}-{high} goes backwards"));
        }
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        let reaches_sunday = self.name == WEEKDAY.name && high % 7 == 0 && (high - low) % step == 0;
        if reaches_sunday && low > 0 {
            values.push(Value::Number(0));
        }
        values.extend((low..=high).step_by(step as usize).map(Value::Number));
        Ok(())
    }

    fn parse_value(self, text: &str) -> Result<Value, String> {
        if !self.characters.is_empty()
            && let Some(digits) = text.strip_suffix('L')
        {
            let is_day = digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let last = is_day.then(|| Value::Last(digits.to_owned()));
            return last.ok_or_else(|| format!("`{text}` is not a day"));
        }
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = leading_number(text).filter(|_| all_digits);
        let value = value.ok_or_else(|| format!("`{text}` is not a number"))?;
        let value = self
            .in_range(value)
            .ok_or_else(|| format!("{value} is outside {}-{}", self.min, self.max))?;
        let is_weekday = self.name == WEEKDAY.name;
        Ok(Value::Number(if is_weekday { value % 7 } else { value }))
    }

    fn in_range(self, value: u64) -> Option<u32> {
        let value = u32::try_from(value).ok()?;
        (self.min..=self.max).contains(&value).then_some(value)
    }
}

fn leading_number(text: &str) -> Option<u64> {
    Some(hash::number(text)?.0)
}

/// Replaces names of three letters by their numbers.
fn without_names(text: &str) -> Result<String, String> {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name = rest
            .get(..3)
            .filter(|name| name.bytes().all(|b| b.is_ascii_alphabetic()));
        let Some(name) = name else {
            replaced.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let named = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, number) = named.ok_or_else(|| format!("`{name}` is not a month or weekday"))?;
        let _ = write!(replaced, "{number}");
        rest = &rest[3..];
    }
    Ok(replaced)
}
