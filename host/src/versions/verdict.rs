//! Whether a candidate fails more often than the active version, beyond chance.
//!
//! The bound is Newcombe's for the difference of two shares (1998, method 10), made of Wilson's bounds of each. It is right
//! also for few jobs and for shares of 0 and 1, where the textbook's normal bound has no width, and it takes a margin,
//! where Fisher's exact test only tells whether two shares differ at all.

use super::CanaryRule;

/// The bound holds in 999 of 1,000 cases, on one side: a canary is looked at again and again while jobs end, so that
/// chance has many tries.
const Z: f64 = 3.0902;

/// Jobs that completed, and that failed.
pub type Counts = [u64; 2];

/// Why a candidate must be aborted, if it must.
pub fn verdict(rule: &CanaryRule, active: Counts, candidate: Counts) -> Option<String> {
    let (of_active, of_candidate) = (Share::of(active), Share::of(candidate));
    if of_active.total < rule.minimum as f64 || of_candidate.total < rule.minimum as f64 {
        return None;
    }
    let excess = excess_at_least(of_candidate, of_active);
    (excess > rule.margin_percent / 100.0).then(|| {
        format!(
            "{} of {} first attempts failed ({:.1} %), where the active version had {} of {} ({:.1} %)",
            candidate[1],
            of_candidate.total,
            of_candidate.failed * 100.0,
            active[1],
            of_active.total,
            of_active.failed * 100.0,
        )
    })
}

/// By how much the first share is larger than the second, at least.
fn excess_at_least(first: Share, second: Share) -> f64 {
    let below = first.failed - first.wilson(-1.0);
    let above = second.wilson(1.0) - second.failed;
    first.failed - second.failed - below.hypot(above)
}

#[derive(Clone, Copy)]
struct Share {
    total: f64,
    failed: f64,
}

impl Share {
    fn of([completed, failed]: Counts) -> Self {
        let total = completed as f64 + failed as f64;
        Share {
            total,
            failed: failed as f64 / total.max(1.0),
        }
    }

    /// Wilson's bound of the share: the lower one for a `side` of -1, the upper one for 1.
    fn wilson(self, side: f64) -> f64 {
        let Share { total, failed } = self;
        let square = Z * Z;
        let spread = (total * failed * (1.0 - failed) + square / 4.0).sqrt();
        (total * failed + square / 2.0 + side * Z * spread) / (total + square)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(minimum: u64, margin_percent: f64) -> CanaryRule {
        CanaryRule {
            minimum,
            margin_percent,
            ..CanaryRule::default()
        }
    }

    #[test]
    fn verdict_needs_enough_jobs_on_both_sides_and_more_than_chance() {
        // Minimum, margin in percent, active: completed and failed, candidate: completed and failed, is it aborted?
        #[rustfmt::skip]
        let table = [
            // Too few jobs on one side or the other.
            (20, 5.0, [1, 0], [18, 2], false),
            (20, 5.0, [0, 0], [0, 1_000], false),
            (20, 5.0, [1_000, 0], [0, 19], false),
            (20, 5.0, [19, 0], [0, 1_000], false),
            (1, 0.0, [1, 0], [0, 1], false),
            (1, 0.0, [0, 0], [0, 1_000], false),
            (3, 0.0, [3, 0], [0, 3], false),
            // A candidate that always fails.
            (20, 5.0, [20, 0], [0, 20], true),
            (10, 20.0, [10, 0], [0, 10], true),
            (20, 5.0, [10_000, 0], [0, 20], true),
            // Chance explains it.
            (20, 5.0, [20, 0], [18, 2], false),
            (20, 5.0, [18, 2], [14, 6], false),
            (20, 5.0, [190, 10], [17, 3], false),
            // One bad job is one job, whatever its attempts.
            (20, 5.0, [180, 0], [19, 1], false),
            // Within the margin, however sure it is.
            (20, 5.0, [100_000, 0], [96_000, 4_000], false),
            (20, 5.0, [99_000, 1_000], [94_500, 5_500], false),
            (20, 50.0, [1_000, 0], [600, 400], false),
            // Beyond it, and beyond chance.
            (20, 5.0, [99_000, 1_000], [93_000, 7_000], true),
            (20, 5.0, [900, 0], [80, 20], true),
            (20, 0.0, [10_000, 10], [9_900, 100], true),
            (20, 50.0, [1_000, 0], [300, 700], true),
            // The active version fails as often, or always.
            (20, 5.0, [0, 100], [0, 100], false),
            (20, 0.0, [50, 50], [50, 50], false),
            (20, 0.0, [0, 1_000], [1_000, 0], false),
            (20, 5.0, [u64::MAX, 0], [0, u64::MAX], true),
        ];
        for (minimum, margin, active, candidate, aborted) in table {
            let verdict = verdict(&rule(minimum, margin), active, candidate);
            let case = (minimum, margin, active, candidate);
            assert_eq!(verdict.is_some(), aborted, "{case:?}: {verdict:?}");
        }
    }

    #[test]
    fn reason_names_the_numbers() {
        let reason = verdict(&rule(20, 5.0), [99, 1], [10, 10]).unwrap();
        assert_eq!(
            reason,
            "10 of 20 first attempts failed (50.0 %), where the active version had 1 of 100 (1.0 %)"
        );
    }

    /// Looked at after each job, two versions that fail equally often are told apart by chance in few canaries.
    #[test]
    fn equal_versions_are_rarely_told_apart_however_often_one_looks() {
        const CANARIES: u64 = 400;
        for (failing, margin, aborted_max) in [(0.1, 5.0, 0), (0.1, 0.0, 20), (0.5, 0.0, 20)] {
            let mut random = fastrand::Rng::with_seed(1);
            let aborted = (0..CANARIES).filter(|_| {
                let mut counts = [[0, 0]; 2];
                (0..2_000).any(|job| {
                    counts[job % 2][usize::from(random.f64() < failing)] += 1;
                    verdict(&rule(20, margin), counts[0], counts[1]).is_some()
                })
            });
            let aborted = aborted.count();
            let case = (failing, margin, aborted);
            assert!(aborted <= aborted_max, "{case:?} of {CANARIES}");
        }
    }
}
