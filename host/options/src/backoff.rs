//! How long a job waits before it is tried again.

use crate::js;
use crate::raw::{Kind, Raw};

/// How long to wait before the next attempt (`backoff`).
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    strategy: Strategy,
    /// Milliseconds; NaN where it is no number.
    delay_ms: f64,
    /// The share of the delay that is random.
    jitter: f64,
    /// `Boolean(delay)`: without jitter BullMQ hands on a fixed delay as it is, and asks only this of it.
    is_truthy: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Strategy {
    Fixed,
    Exponential,
    Other(String),
}

/// When a failed job that has attempts left is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: a delay of -1 says so.
    Never,
    /// Now, in line with the jobs that wait.
    AtOnce,
    /// After so many milliseconds; after 0 it still goes by way of the delayed jobs.
    After(u64),
}

impl Backoff {
    /// Reads the option; none where it says nothing. What is neither a number nor an object has a type that nobody
    /// knows, as in BullMQ.
    pub(crate) fn read(option: Raw<'_>) -> Option<Self> {
        if option.kind() == Kind::Number && option.to_number().is_finite() {
            return Some(Backoff::new(Strategy::Fixed, Some(option), None));
        }
        if !option.is_truthy() {
            return None;
        }
        let fields = option.fields(&[("type", 0), ("delay", 1), ("jitter", 2)]);
        let [kind, delay, jitter] = fields.unwrap_or_default();
        Some(Backoff::new(Strategy::read(kind), delay, jitter))
    }

    fn new(strategy: Strategy, delay: Option<Raw<'_>>, jitter: Option<Raw<'_>>) -> Self {
        Backoff {
            strategy,
            delay_ms: delay.map_or(f64::NAN, Raw::to_number),
            jitter: jitter.map_or(0.0, Raw::to_number),
            is_truthy: delay.is_some_and(Raw::is_truthy),
        }
    }

    /// The same, always at its longest.
    pub fn without_jitter(self) -> Self {
        Backoff {
            jitter: 0.0,
            ..self
        }
    }

    /// Its type: `fixed`, `exponential`, or the name of a strategy of the user's.
    pub fn strategy(&self) -> &str {
        match &self.strategy {
            Strategy::Fixed => "fixed",
            Strategy::Exponential => "exponential",
            Strategy::Other(name) => name,
        }
    }

    /// Whether BullMQ has a strategy of this name.
    pub fn is_built_in(&self) -> bool {
        !matches!(self.strategy, Strategy::Other(_))
    }

    /// When the attempt after the `attempts_made`th comes; `random` is in 0..1.
    ///
    /// A strategy that is not one of BullMQ's own waits its plain delay.
    pub fn retry(&self, attempts_made: u32, random: f64) -> Retry {
        let longest = match self.strategy {
            Strategy::Exponential => {
                let doublings = f64::from(attempts_made) - 1.0;
                js::round(2f64.powf(doublings) * self.delay_ms)
            }
            Strategy::Fixed | Strategy::Other(_) => self.delay_ms,
        };
        if self.jitter > 0.0 {
            let shortest = longest * (1.0 - self.jitter);
            return after((random * longest * self.jitter + shortest).floor());
        }
        match self.strategy {
            Strategy::Exponential => after(longest),
            _ if longest == -1.0 => Retry::Never,
            _ if self.is_truthy => Retry::After(longest as u64),
            _ => Retry::AtOnce,
        }
    }
}

impl Strategy {
    fn read(kind: Option<Raw<'_>>) -> Self {
        if kind.is_some_and(|kind| kind.is_plainly("exponential")) {
            return Strategy::Exponential;
        }
        if kind.is_some_and(|kind| kind.is_plainly("fixed")) {
            return Strategy::Fixed;
        }
        let name = kind.map_or_else(|| "undefined".to_owned(), Raw::to_text);
        match name.as_str() {
            "fixed" => Strategy::Fixed,
            "exponential" => Strategy::Exponential,
            _ => Strategy::Other(name),
        }
    }
}

/// What BullMQ makes of a delay that it has computed.
fn after(delay_ms: f64) -> Retry {
    if delay_ms == -1.0 {
        Retry::Never
    } else if delay_ms == 0.0 || delay_ms.is_nan() {
        Retry::AtOnce
    } else {
        // `as` saturates, and a time that has passed is now.
        Retry::After(delay_ms as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobOptions;

    fn backoff(json: &str) -> Backoff {
        let options = JobOptions::parse(&format!("{{\"backoff\":{json}}}"));
        options.backoff.unwrap()
    }

    #[test]
    fn delay_grows_and_jitters_as_bullmq_documents() {
        assert_eq!(backoff("250").retry(3, 0.5), Retry::After(250));
        let exponential = backoff(r#"{"type":"exponential","delay":100}"#);
        let delays = [1, 2, 3].map(|made| exponential.retry(made, 0.0));
        assert_eq!(delays, [100, 200, 400].map(Retry::After));
        let jittered = backoff(r#"{"type":"fixed","delay":1000,"jitter":0.5}"#);
        let delays = [0.0, 0.5, 0.999].map(|random| jittered.retry(1, random));
        assert_eq!(delays, [500, 750, 999].map(Retry::After));
        let endless = backoff(r#"{"type":"exponential","delay":1e300}"#);
        assert_eq!(endless.retry(900, 0.0), Retry::After(u64::MAX));
    }

    #[test]
    fn delay_is_a_number_of_javascript() {
        let fixed =
            |delay: &str| backoff(&format!(r#"{{"type":"fixed","delay":{delay}}}"#)).retry(1, 0.0);
        assert_eq!(fixed("\"5\""), Retry::After(5));
        assert_eq!(fixed("\"0\""), Retry::After(0));
        assert_eq!(fixed("0.5"), Retry::After(0));
        assert_eq!(fixed("-7"), Retry::After(0));
        assert_eq!(fixed("\"-1\""), Retry::Never);
        for delay in ["0", "null", "\"\"", "false"] {
            assert_eq!(fixed(delay), Retry::AtOnce, "{delay}");
        }
    }

    #[test]
    fn strategy_that_nobody_knows_waits_its_plain_delay() {
        let other = backoff(r#"{"type":"gentle","delay":7}"#);
        assert_eq!(
            (other.strategy(), other.retry(1, 0.0)),
            ("gentle", Retry::After(7))
        );
        for json in ["\"5\"", "true", "[]", "{}"] {
            let unknown = backoff(json);
            assert_eq!(
                (unknown.strategy(), unknown.retry(1, 0.0)),
                ("undefined", Retry::AtOnce)
            );
        }
    }
}
