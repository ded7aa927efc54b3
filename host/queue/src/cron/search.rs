//! The walk to the next time that a pattern matches, from the largest unit to the smallest.

use super::clock::{Clock, Step};
use super::fields::Fields;
use super::zone::Zone;

/// After so many steps there is no such time. Patterns that match at all need a few hundred.
const STEPS_MAX: u32 = 10_000;

/// A search on its way.
struct Search<'a> {
    fields: &'a Fields,
    clock: Clock,
    /// The hours that the last change of the clock left out, while the clock shows the hour after them.
    skipped: Option<Skipped>,
    /// The hour that the last change of the clock began once more.
    repeated: Option<u32>,
}

struct Skipped {
    first: u32,
    /// The hour after them.
    landing: u32,
}

/// The first time after `after_ms` and not after `end_ms`, in ms since the epoch.
pub(super) fn next(
    fields: &Fields,
    zone: &Zone,
    after_ms: i64,
    end_ms: Option<i64>,
) -> Option<i64> {
    let mut search = Search {
        fields,
        clock: Clock::new(*zone, after_ms.div_euclid(1000)),
        skipped: None,
        repeated: None,
    };
    // The first time that may be found is the next full second.
    if after_ms.rem_euclid(1000) > 0 {
        search.step(Step::Second);
    }
    for _ in 1..STEPS_MAX {
        let at_ms = search.clock.at() * 1000;
        if end_ms.is_some_and(|end_ms| at_ms > end_ms) {
            return None;
        }
        if !search.moves_on()? {
            if at_ms > after_ms {
                return Some(at_ms);
            }
            search.step(Step::Second);
        }
    }
    None
}

impl Search<'_> {
    /// Moves on where the clock's time does not match; returns whether it did. None at the end of time.
    fn moves_on(&mut self) -> Option<bool> {
        if !self.fields.months.contains(self.clock.month()) {
            self.clock = self.clock.next_month()?;
            return Some(true);
        }
        if !self.fields.match_day(self.clock.day()) {
            self.clock = self.clock.next_day()?;
            return Some(true);
        }
        let moved = self.hour_moves_on()? || self.minute_moves_on() || self.second_moves_on();
        Some(moved)
    }

    fn hour_moves_on(&mut self) -> Option<bool> {
        let (hour, hours) = (self.clock.hour(), self.fields.hours);
        if self
            .skipped
            .as_ref()
            .is_some_and(|skipped| skipped.stand_for(hour, |hour| hours.contains(hour)))
        {
            return Some(false);
        }
        if self.repeated == Some(hour) {
            self.repeated = None;
            self.step(Step::Hour);
            return Some(true);
        }
        if hours.contains(hour) {
            return Some(false);
        }
        self.skipped = None;
        match hours.after(hour) {
            None => self.clock = self.clock.next_day()?,
            Some(next) => self.go_to_hour(next),
        }
        Some(true)
    }

    /// Goes to the first time in an hour of this day, or in the one after it if there is no such hour.
    fn go_to_hour(&mut self, hour: u32) {
        if !self.clock.changes_today() {
            self.clock.set_hour(hour);
            self.go_to_minute(self.fields.minutes.first());
            return;
        }
        for _ in self.clock.hour()..hour {
            self.step(Step::Hour);
            if self.clock.hour() >= hour {
                break;
            }
        }
        self.begin_hour();
    }

    /// Goes to the first time in the hour that a step led to.
    fn begin_hour(&mut self) {
        let landed = self.clock;
        self.go_to_minute(self.fields.minutes.first());
        // Half an hour back, and the first minutes of the hour are those before the change.
        if self.clock.at() < landed.at() {
            self.clock = landed;
        }
    }

    fn minute_moves_on(&mut self) -> bool {
        let (minute, minutes) = (self.clock.minute(), self.fields.minutes);
        if minutes.contains(minute) {
            return false;
        }
        match minutes.after(minute) {
            Some(next) => self.go_to_minute(next),
            None => {
                self.step(Step::Hour);
                self.begin_hour();
            }
        }
        true
    }

    fn go_to_minute(&mut self, minute: u32) {
        self.clock.set_minute(minute);
        self.clock.set_second(self.fields.seconds.first());
    }

    fn second_moves_on(&mut self) -> bool {
        let (second, seconds) = (self.clock.second(), self.fields.seconds);
        if seconds.contains(second) {
            return false;
        }
        match seconds.after(second) {
            Some(next) => self.clock.set_second(next),
            None => {
                self.step(Step::Minute);
                self.clock.set_second(seconds.first());
            }
        }
        true
    }

    /// Steps, and notes a change of the clock on the way.
    fn step(&mut self, step: Step) {
        let before = self.clock;
        self.clock.step(step);
        let hour = self.clock.hour();
        let hours_on = (hour + 24 - before.hour()) % 24;
        if self.clock.offset() > before.offset() && hours_on >= 2 {
            self.skipped = Some(Skipped {
                first: (before.hour() + 1) % 24,
                landing: hour,
            });
        } else if hours_on == 0
            && self.clock.minute() == 0
            && self.clock.second() == 0
            && self.fields.hours.len() < 24
        {
            // Only a clock that went back begins the same hour again. A pattern of every hour matches in it twice.
            self.repeated = Some(hour);
        }
    }
}

impl Skipped {
    /// Whether the hour is the one after those that were left out, and takes the place of one that matches.
    fn stand_for(&self, hour: u32, matches: impl Fn(u32) -> bool) -> bool {
        let left_out = (self.landing + 24 - self.first) % 24;
        hour == self.landing && (0..left_out).any(|n| matches((self.first + n) % 24))
    }
}
