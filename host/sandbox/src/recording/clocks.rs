//! Clocks and random numbers of an attempt that is recorded, or runs again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _, TryRng};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::Tape;
use crate::backend::WallClock;

/// The wall clock: that of the machine, or the one that a dry run shows.
pub(crate) struct TapedWall {
    pub(crate) tape: Tape,
    pub(crate) shown: Option<WallClock>,
}

impl HostWallClock for TapedWall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        let real = || match &self.shown {
            Some(clock) => clock(),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        };
        match &self.tape {
            Tape::None => real(),
            Tape::Record(recorder) => {
                let now = real();
                recorder.wall(now.as_nanos() as u64);
                now
            }
            Tape::Replay(replay) => Duration::from_nanos(replay.wall()),
        }
    }
}

/// The monotonic clock.
pub(crate) struct TapedMonotonic {
    tape: Tape,
    begin: Instant,
}

impl TapedMonotonic {
    pub(crate) fn new(tape: Tape) -> Self {
        let begin = Instant::now();
        TapedMonotonic { tape, begin }
    }
}

impl HostMonotonicClock for TapedMonotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        let real = || self.begin.elapsed().as_nanos() as u64;
        match &self.tape {
            Tape::None => real(),
            Tape::Record(recorder) => {
                let now = real();
                recorder.monotonic(now);
                now
            }
            Tape::Replay(replay) => replay.monotonic(),
        }
    }
}

/// Random numbers from a seed.
pub(crate) struct TapedRandom(ChaCha20Rng);

impl TapedRandom {
    /// One of several generators of one seed.
    pub(crate) fn new(seed: [u8; 32], stream: u64) -> Self {
        let mut numbers = ChaCha20Rng::from_seed(seed);
        numbers.set_stream(stream);
        TapedRandom(numbers)
    }

    /// A number to begin with.
    pub(crate) fn first(&mut self) -> u128 {
        (u128::from(self.0.next_u64()) << 64) | u128::from(self.0.next_u64())
    }
}

impl TryRng for TapedRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

/// The seed of the random numbers of an attempt, if it is on a tape.
impl Tape {
    pub(crate) fn seed(&self) -> Option<[u8; 32]> {
        match self {
            Tape::None => None,
            Tape::Record(recorder) => recorder.seed(),
            Tape::Replay(replay) => Some(Arc::clone(replay).seed()),
        }
    }
}
