//! Time zones: how far their clocks are from UTC. The data are those of IANA, which the engine has in it: a job must not
//! depend on the machine that runs it.

use std::cell::RefCell;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Zones that are kept once they were read. A script that formats times has a few.
const KEPT_MAX: usize = 32;

struct Zone {
    name: String,
    rules: TimeZone,
}

thread_local! {
    static KEPT: RefCell<Vec<Rc<Zone>>> = const { RefCell::new(Vec::new()) };
}

/// The name of a zone as IANA spells it; none where there is no such zone.
pub(crate) fn name_of(name: &str) -> Option<String> {
    zone(name).map(|zone| zone.name.clone())
}

/// All names, in their order.
pub(crate) fn names() -> Vec<String> {
    let names = TimeZoneDatabase::bundled();
    let mut names: Vec<String> = names.available().map(|name| name.to_string()).collect();
    names.sort_unstable();
    names
}

/// How far the clocks of a zone are ahead of UTC, in seconds, at a time in milliseconds, and the abbreviation of that time.
pub(crate) fn at(name: &str, time_ms: f64) -> Option<(i32, String)> {
    let zone = zone(name)?;
    // Times of JavaScript reach further than those with rules: before and after, the first and the last rule hold.
    let (first, last) = (Timestamp::MIN, Timestamp::MAX);
    let time_ms = time_ms.floor() as i64;
    let time = match Timestamp::from_millisecond(time_ms) {
        Ok(time) => time,
        Err(_) if time_ms < 0 => first,
        Err(_) => last,
    };
    let info = zone.rules.to_offset_info(time);
    Some((info.offset().seconds(), info.abbreviation().to_owned()))
}

fn zone(name: &str) -> Option<Rc<Zone>> {
    let is_it = |zone: &&Rc<Zone>| zone.name.eq_ignore_ascii_case(name);
    let kept = KEPT.with_borrow(|kept| kept.iter().find(is_it).map(Rc::clone));
    if kept.is_some() {
        return kept;
    }
    let rules = TimeZoneDatabase::bundled().get(name).ok()?;
    let name = rules.iana_name()?.to_owned();
    let zone = Rc::new(Zone { name, rules });
    KEPT.with_borrow_mut(|kept| {
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Rc::clone(&zone));
    });
    Some(zone)
}
