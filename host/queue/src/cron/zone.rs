//! Time zones by the names that BullMQ's schedules give them.

use std::str::FromStr as _;

use chrono::{DateTime, Local, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::error::QueueError;

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Zone {
    /// That of the machine: `TZ`, or what the system is set to.
    Local,
    /// One of the IANA database.
    Named(Tz),
    /// So many seconds east of UTC, always.
    Fixed(i32),
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone::Fixed(0);

    /// Reads a name, in any case: `Europe/Berlin`, `UTC`, `GMT`, `UTC+3`, `UTC-05:30`, `local` and `system` (also
    /// `default`) for the machine's own.
    ///
    /// # Errors
    ///
    /// [`QueueError::Invalid`] for any other text.
    pub fn parse(name: &str) -> Result<Self, QueueError> {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "local" | "system" | "default" => return Ok(Zone::Local),
            "utc" | "gmt" => return Ok(Zone::UTC),
            _ => {}
        }
        if let Some(seconds) = lower.strip_prefix("utc").and_then(offset) {
            return Ok(Zone::Fixed(seconds));
        }
        let zone = named(name).or_else(|| named(legacy(&lower)?));
        let unknown = || QueueError::Invalid(format!("unknown time zone `{name}`"));
        zone.map(Zone::Named).ok_or_else(unknown)
    }

    /// Seconds east of UTC at a time in seconds since the epoch.
    pub(super) fn offset(self, at: i64) -> i64 {
        let at = utc(at);
        i64::from(match self {
            Zone::Local => Local.offset_from_utc_datetime(&at).local_minus_utc(),
            Zone::Named(zone) => zone.offset_from_utc_datetime(&at).fix().local_minus_utc(),
            Zone::Fixed(seconds) => seconds,
        })
    }
}

/// A time without its zone; the epoch where it is out of range.
pub(super) fn utc(seconds: i64) -> NaiveDateTime {
    DateTime::from_timestamp(seconds, 0)
        .unwrap_or_default()
        .naive_utc()
}

/// Reads `+3`, `-11` or `+05:30`.
fn offset(text: &str) -> Option<i32> {
    let east = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':').unwrap_or((&text[1..], "00"));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_offset = matches!(hours.len(), 1 | 2) && minutes.len() == 2;
    if !(is_offset && is_number(hours) && is_number(minutes)) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(east * (hours * 3600 + minutes * 60))
}

fn named(name: &str) -> Option<Tz> {
    let in_any_case = || {
        TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(name))
    };
    Tz::from_str(name).ok().or_else(|| in_any_case().copied())
}

/// Zones that Node knows by names of old Java, in lower case.
fn legacy(lower: &str) -> Option<&'static str> {
    Some(match lower {
        "act" => "Australia/Darwin",
        "aet" => "Australia/Sydney",
        "agt" => "America/Argentina/Buenos_Aires",
        "art" => "Africa/Cairo",
        "ast" => "America/Anchorage",
        "bet" => "America/Sao_Paulo",
        "bst" => "Asia/Dhaka",
        "cat" => "Africa/Maputo",
        "cnt" => "America/St_Johns",
        "cst" => "America/Chicago",
        "ctt" => "Asia/Shanghai",
        "eat" => "Africa/Nairobi",
        "ect" => "Europe/Paris",
        "iet" => "America/Indiana/Indianapolis",
        "ist" => "Asia/Kolkata",
        "jst" => "Asia/Tokyo",
        "mit" => "Pacific/Apia",
        "net" => "Asia/Yerevan",
        "nst" => "Pacific/Auckland",
        "plt" => "Asia/Karachi",
        "pnt" => "America/Phoenix",
        "prt" => "America/Puerto_Rico",
        "pst" => "America/Los_Angeles",
        "sst" => "Pacific/Guadalcanal",
        "vst" => "Asia/Ho_Chi_Minh",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_names_that_luxon_knows() {
        for (name, zone) in [
            ("local", Zone::Local),
            ("utc", Zone::UTC),
            ("GMT", Zone::UTC),
            ("UTC+3", Zone::Fixed(10_800)),
            ("utc-05:30", Zone::Fixed(-19_800)),
            ("UTC-0:30", Zone::Fixed(-1_800)),
            ("europe/berlin", Zone::Named(Tz::Europe__Berlin)),
            ("EST5EDT", Zone::Named(Tz::EST5EDT)),
            ("pst", Zone::Named(Tz::America__Los_Angeles)),
        ] {
            assert_eq!(Zone::parse(name).unwrap(), zone, "{name}");
        }
        for name in [
            "",
            "Mars/Olympus",
            "UTC+",
            "UTC+5:3",
            "UTC+005",
            "UTC+1:000",
            "+03:00",
            "UTC+ 1",
            " utc",
            "utc++1",
        ] {
            let error = Zone::parse(name).unwrap_err().to_string();
            assert!(
                error.contains(&format!("unknown time zone `{name}`")),
                "{error}"
            );
        }
    }
}
