//! The values of `H`: a number that depends on a seed, the same one as in `cron-parser` for the same seed.

/// Numbers in [0, 1) from a seed: FNV-1a of the text, then mulberry32.
pub(super) struct Numbers(u32);

impl Numbers {
    pub(super) fn new(seed: &str) -> Self {
        let hash = seed.encode_utf16().fold(0x811c_9dc5_u32, |hash, unit| {
            (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193)
        });
        Numbers(hash)
    }

    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let mut mixed = (self.0 ^ (self.0 >> 15)).wrapping_mul(self.0 | 1);
        mixed ^= mixed.wrapping_add((mixed ^ (mixed >> 7)).wrapping_mul(mixed | 61));
        f64::from(mixed ^ (mixed >> 14)) / 4_294_967_296.0
    }
}

/// A field in which each `H` is to be replaced.
pub(super) struct Hashing {
    pub(super) min: u64,
    pub(super) max: u64,
    /// The field's number in [0, 1).
    pub(super) number: f64,
    pub(super) strict: bool,
}

impl Hashing {
    /// Replaces `H`, `H/step`, `H(from-to)` and `H(from-to)/step` by the values that they stand for.
    pub(super) fn replace(&self, field: &str) -> Result<String, String> {
        let mut replaced = String::new();
        let mut rest = field;
        while let Some((before, after)) = rest.split_once('H') {
            replaced.push_str(before);
            let (range, after) = match bracketed(after) {
                Some((from, to, after)) => (self.range(from, to)?, after),
                None => ((self.min, self.max), after),
            };
            let (values, after) = match stepped(after) {
                Some((step, after)) => (self.steps(range, step)?, after),
                None => (self.one(range).to_string(), after),
            };
            replaced.push_str(&values);
            rest = after;
        }
        replaced.push_str(rest);
        Ok(replaced)
    }

    /// The part of a written range that the field has.
    fn range(&self, from: u64, to: u64) -> Result<(u64, u64), String> {
        if from > to {
            return Err(format!("range {from}-{to} goes backwards"));
        }
        let (low, high) = (from.max(self.min), to.min(self.max));
        if low > high || (self.strict && (low, high) != (from, to)) {
            let (min, max) = (self.min, self.max);
            return Err(format!("range {from}-{to} is outside {min}-{max}"));
        }
        Ok((low, high))
    }

    fn one(&self, (low, high): (u64, u64)) -> u64 {
        (self.number * (high - low + 1) as f64) as u64 + low
    }

    /// Every `step`th value, from one that the number chooses. One value where the step is longer than the range.
    fn steps(&self, (low, high): (u64, u64), step: u64) -> Result<String, String> {
        if step == 0 {
            return Err("a step must be more than 0".into());
        }
        if self.strict && step > high - low + 1 {
            return Err(format!("step {step} is wider than {low}-{high}"));
        }
        let first = (low / step * step).saturating_add((self.number * step as f64) as u64);
        let values: Vec<String> =
            std::iter::successors(Some(first), |value| value.checked_add(step))
                .take_while(|value| *value <= high)
                .filter(|value| *value >= low)
                .map(|value| value.to_string())
                .collect();
        if values.is_empty() {
            return Ok(self.one((low, high)).to_string());
        }
        Ok(values.join(","))
    }
}

/// Whether a text has an `H` with brackets or a step, which needs other characters than fields have.
pub(super) fn has_long_form(field: &str) -> bool {
    field
        .split('H')
        .skip(1)
        .any(|after| bracketed(after).is_some() || stepped(after).is_some())
}

/// Reads `(from-to)`.
fn bracketed(text: &str) -> Option<(u64, u64, &str)> {
    let (from, rest) = number(text.strip_prefix('(')?)?;
    let (to, rest) = number(rest.strip_prefix('-')?)?;
    Some((from, to, rest.strip_prefix(')')?))
}

/// Reads `/step`.
fn stepped(text: &str) -> Option<(u64, &str)> {
    number(text.strip_prefix('/')?)
}

/// Reads the digits that a text begins with. A number too large for `u64` is its largest, which no field has.
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    if digits.is_empty() {
        return None;
    }
    Some((digits.parse().unwrap_or(u64::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(field: &str, number: f64) -> Result<String, String> {
        let hashing = Hashing {
            min: 0,
            max: 59,
            number,
            strict: false,
        };
        hashing.replace(field)
    }

    #[test]
    fn hashed_values_are_in_range() {
        assert_eq!(replaced("H", 0.999).unwrap(), "59");
        assert_eq!(replaced("H/20", 0.5).unwrap(), "10,30,50");
        assert_eq!(replaced("H(10-15)", 0.5).unwrap(), "13");
        assert_eq!(replaced("H(10-30)/10,H", 0.5).unwrap(), "15,25,30");
        assert_eq!(replaced("H(50-90)", 0.99).unwrap(), "59");
        assert_eq!(
            replaced("H(5-6)/50", 0.5).unwrap(),
            "6",
            "a step wider than the range"
        );
        assert!(replaced("H(70-90)", 0.5).is_err());
        assert!(replaced("H/0", 0.5).is_err());
        assert!(replaced("H(3-1)", 0.5).is_err());
    }
}
