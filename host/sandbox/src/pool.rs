//! What the engine is built with, and the room that it reserves for guests.

use anyhow::Context as _;
use tracing::warn;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::engine_options::{EngineOptions, KIB, MIB};

/// What the host's functions may use of a guest's stack.
const HOST_STACK: usize = 3 * MIB / 2;
/// Address space for all else: threads, the compiler, the data of jobs.
const ELSEWHERE_MIN: u64 = 256 << 20;

/// How much room to reserve.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Room {
    /// How many jobs may run at once.
    pub(crate) executions_max: u32,
    /// Further instances, which are idle.
    idle_max: u32,
    /// Reserves no more address space for a memory than it may use. Guests are slower then: the code checks each
    /// access, which the processor does otherwise.
    compact: bool,
}

impl Room {
    fn of(options: &EngineOptions) -> Self {
        Room {
            executions_max: options.executions_max,
            idle_max: options.idle_max,
            compact: false,
        }
    }

    /// Instances at once, running and idle ones.
    pub(crate) fn places(&self) -> u32 {
        self.executions_max.saturating_add(self.idle_max)
    }

    fn smaller(self) -> Option<Self> {
        if !self.compact {
            return Some(Room {
                compact: true,
                ..self
            });
        }
        (self.executions_max > 1).then_some(Room {
            executions_max: self.executions_max / 2,
            idle_max: self.idle_max / 2,
            compact: true,
        })
    }
}

/// Makes an engine with room for what the options say, or for less where the process may not have so much address space.
/// The configuration is what to compile for it with.
pub(crate) fn build(
    options: &EngineOptions,
    memory_bytes_max: usize,
) -> anyhow::Result<(wasmtime::Engine, Config, Room)> {
    let all = Room::of(options);
    let mut room = all;
    let mut first_error = None;
    loop {
        let config = config(options, &room);
        let pool = pool(options, memory_bytes_max, &room);
        let mut with_pool = config.clone();
        with_pool.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        match wasmtime::Engine::new(&with_pool) {
            Ok(engine) if leaves_address_space() => {
                if room != all {
                    warn_of_less(&all, &room);
                }
                return Ok((engine, config, room));
            }
            Ok(_) => {}
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
        match room.smaller() {
            Some(smaller) => room = smaller,
            None => return Err(no_room(first_error)),
        }
    }
}

fn warn_of_less(all: &Room, room: &Room) {
    warn!(
        executions_max = room.executions_max,
        wanted = all.executions_max,
        "the address space of this process is too small for all guests: they run slower, because their code checks \
         each memory access, and at most `executions_max` of them run at once; to allow more, raise the limit \
         (`ulimit -v`) or lower `runtime.guest_memory_bytes_max`, `runtime.table_elements_max` (without them, the largest \
         limits of the queues count) or `runtime.executions_max`"
    );
}

fn no_room(error: Option<wasmtime::Error>) -> anyhow::Error {
    let reason = match error {
        Some(error) => anyhow::Error::from(error),
        None => anyhow::anyhow!("no address space would be left for the host"),
    };
    reason.context(
        "failed to reserve address space for guests\n\
         hint: raise the limit of this process (`ulimit -v`), or lower `runtime.guest_memory_bytes_max`, \
         `runtime.table_elements_max` (and `limits.memory_bytes_max` and `limits.table_elements_max` of the queues) or \
         `runtime.executions_max`",
    )
}

/// False if so little is left of the address space that the host itself would soon have none.
fn leaves_address_space() -> bool {
    let Some(max) = address_space_max() else {
        return true;
    };
    match address_space_used() {
        Ok(used) => max.saturating_sub(used) >= ELSEWHERE_MIN.max(max / 4),
        // What is used is known on Linux only.
        Err(_) => true,
    }
}

fn address_space_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

fn address_space_used() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text
        .split(' ')
        .next()
        .context("`statm` is empty")?
        .parse()?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// The configuration of an engine that has this room, but for its pool.
fn config(options: &EngineOptions, room: &Room) -> Config {
    let mut config = Config::new();
    // A guest that loops is asked to stop at each epoch.
    config.epoch_interruption(true);
    // What no processor needs is off: each is code that an attacker could reach. Threads, garbage collection
    // and their kin are not even compiled in, nor is any compiler but cranelift.
    config.wasm_memory64(false).shared_memory(false);
    // One guest never waits for two things at once.
    config.concurrency_support(false);
    // Enough to see where a trap came from, little enough to be stored with each failed attempt.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    // A guest that recurses for ever traps here, well before it reaches the end of the stack that it shares
    // with the host's functions.
    config.max_wasm_stack(options.stack_bytes_max);
    config.async_stack_size(options.stack_bytes_max + HOST_STACK);
    if room.compact {
        config.memory_reservation(options.guest_memory_bytes_max as u64);
        config.memory_guard_size(64 * KIB as u64);
        config.guard_before_linear_memory(false);
    }
    config
}

/// Places for as many components as may run at once.
fn pool(options: &EngineOptions, memory_bytes_max: usize, room: &Room) -> PoolingAllocationConfig {
    let places = room.places();
    let of_all = |of_one: u32| places.saturating_mul(of_one);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(of_all(options.core_instances_max))
        .total_memories(of_all(options.memories_max))
        .total_tables(of_all(options.tables_max))
        .total_stacks(places)
        .max_core_instances_per_component(options.core_instances_max)
        .max_memories_per_component(options.memories_max)
        .max_tables_per_component(options.tables_max)
        .max_memories_per_module(options.memories_max)
        .max_tables_per_module(options.tables_max)
        .max_core_instance_size(options.instance_bytes_max)
        .max_component_instance_size(options.instance_bytes_max)
        .max_memory_size(options.guest_memory_bytes_max)
        .table_elements(options.table_elements_max)
        // Measured: with the page scan, resetting a place costs what the guest touched and no more.
        .linear_memory_keep_resident(keep_resident(memory_bytes_max, places))
        .table_keep_resident(64 * KIB)
        .async_stack_keep_resident(64 * KIB)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// What a place keeps of the memory of the guest before: all places together keep at most an eighth of what guests may
/// have.
fn keep_resident(memory_bytes_max: usize, places: u32) -> usize {
    let eighth = memory_bytes_max / 8;
    let each = eighth / usize::try_from(places.max(1)).unwrap_or(usize::MAX);
    // Less than 64 KiB would cost time, and more than 2 MiB saves none.
    each.clamp(64 * KIB, 2 * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_an_eighth_of_the_memory_at_most() {
        assert_eq!(keep_resident(16_000 * MIB, 1000), 2 * MIB);
        assert_eq!(keep_resident(8_000 * MIB, 1000), MIB);
        assert_eq!(keep_resident(200 * MIB, 1000), 64 * KIB);
    }

    #[test]
    fn memory_that_no_guest_can_have_is_refused_with_its_key() {
        let options = EngineOptions {
            guest_memory_bytes_max: (1 << 32) + 1,
            ..EngineOptions::default()
        };
        let refused = crate::Engine::new(&options)
            .err()
            .map(|error| error.to_string());
        let expected = "`guest_memory_bytes_max` must be 4294967296 or less: no guest can use more";
        assert_eq!(refused.as_deref(), Some(expected));
    }

    #[test]
    fn room_shrinks_to_one_place_and_no_further() {
        let mut room = Room::of(&EngineOptions::default());
        let mut sizes = vec![room.executions_max];
        while let Some(smaller) = room.smaller() {
            room = smaller;
            sizes.push(room.executions_max);
        }
        assert_eq!(sizes, [1000, 1000, 500, 250, 125, 62, 31, 15, 7, 3, 1]);
    }
}
