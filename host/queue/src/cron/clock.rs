//! A clock on the wall of a time zone: what it shows, and where it is after a step. It counts whole seconds.

use std::cmp::Ordering;

use chrono::{Datelike as _, Days, Months, NaiveDate, NaiveTime, Timelike as _};

use super::fields::Day;
use super::zone::{Zone, utc};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A time in a zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    zone: Zone,
    /// Seconds since the epoch.
    at: i64,
}

/// A way forward to the beginning of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Hour,
    Minute,
    Second,
}

impl Clock {
    pub(super) fn new(zone: Zone, at: i64) -> Self {
        Clock { zone, at }
    }

    /// Seconds since the epoch.
    pub(super) fn at(self) -> i64 {
        self.at
    }

    pub(super) fn offset(self) -> i64 {
        self.zone.offset(self.at)
    }

    pub(super) fn second(self) -> u32 {
        self.time().second()
    }

    pub(super) fn minute(self) -> u32 {
        self.time().minute()
    }

    pub(super) fn hour(self) -> u32 {
        self.time().hour()
    }

    pub(super) fn month(self) -> u32 {
        self.date().month()
    }

    pub(super) fn day(self) -> Day {
        let date = self.date();
        Day {
            of_month: date.day(),
            weekday: date.weekday().num_days_from_sunday(),
            month_length: date.num_days_in_month().into(),
        }
    }

    /// Whether the offset at the day's end is another one than at its beginning.
    pub(super) fn changes_today(self) -> bool {
        let midnight = self.showing(floor(self.local(), DAY));
        let mut end = midnight.showing(midnight.local() + DAY);
        end.at -= 1;
        midnight.offset() != end.offset()
    }

    /// Goes on: an hour that has passed, not one on the dial. Then back to the beginning of what the dial shows.
    pub(super) fn step(&mut self, step: Step) {
        let length = match step {
            Step::Hour => HOUR,
            Step::Minute => MINUTE,
            Step::Second => 1,
        };
        let on = Clock {
            at: self.at + length,
            ..*self
        };
        let beginning = on.showing(floor(on.local(), length));
        // Where a change begins within an hour, what the dial shows after it may have begun before the step.
        // `cron-parser` then stays there until it gives up, or finds times that have passed.
        match beginning.at.cmp(&self.at) {
            Ordering::Greater => *self = beginning,
            Ordering::Equal => *self = on,
            Ordering::Less => {
                *self = beginning;
                self.step(step);
            }
        }
    }

    /// Midnight of the next day, or the first time of a day that has none. None at the end of time.
    pub(super) fn next_day(self) -> Option<Self> {
        self.midnight_of(|date| date.checked_add_days(Days::new(1)))
    }

    /// Midnight of the first day of the next month. None at the end of time.
    pub(super) fn next_month(self) -> Option<Self> {
        self.midnight_of(|date| date.checked_add_months(Months::new(1)))?
            .midnight_of(|date| date.with_day(1))
    }

    pub(super) fn set_hour(&mut self, hour: u32) {
        let local = self.local();
        *self = self.showing(floor(local, DAY) + i64::from(hour) * HOUR + local.rem_euclid(HOUR));
    }

    pub(super) fn set_minute(&mut self, minute: u32) {
        let local = self.local();
        *self = self
            .showing(floor(local, HOUR) + i64::from(minute) * MINUTE + local.rem_euclid(MINUTE));
    }

    pub(super) fn set_second(&mut self, second: u32) {
        *self = self.showing(floor(self.local(), MINUTE) + i64::from(second));
    }

    /// Goes to another date at the same time of day, and from there to its midnight. Which offset a time has that
    /// comes twice depends on this way round: it keeps the one that it came with.
    fn midnight_of(self, date: impl FnOnce(NaiveDate) -> Option<NaiveDate>) -> Option<Self> {
        let midnight = date(self.date())?
            .and_time(NaiveTime::MIN)
            .and_utc()
            .timestamp();
        Some(
            self.showing(midnight + self.local().rem_euclid(DAY))
                .showing(midnight),
        )
    }

    /// The time at which the clock shows `local`: of two the one that has this clock's offset, and where there is none
    /// the time that is as long after the change as `local` is after the last moment before it.
    fn showing(self, local: i64) -> Self {
        let at = |offset: i64| Clock {
            at: local - offset,
            ..self
        };
        let kept = at(self.offset());
        let there = kept.offset();
        if there == self.offset() {
            return kept;
        }
        let moved = at(there);
        at(there.min(moved.offset()))
    }

    /// What the clock shows, as if it were seconds since the epoch.
    fn local(self) -> i64 {
        self.at + self.offset()
    }

    fn date(self) -> NaiveDate {
        utc(self.local()).date()
    }

    fn time(self) -> NaiveTime {
        utc(self.local()).time()
    }
}

fn floor(seconds: i64, unit: i64) -> i64 {
    seconds - seconds.rem_euclid(unit)
}
