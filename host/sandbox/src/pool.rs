//! What the engine is built with, and the room that it reserves for guests.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// One KiB, one MiB.
pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;
/// The largest table that any processor may have.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;
/// What the host's functions may use of a guest's stack.
const HOST_STACK: usize = 3 * MIB / 2;

/// How much room to reserve.
pub(crate) struct Room {
    /// Instances at once, running and idle ones.
    pub(crate) places: u32,
    /// The largest memory of one, in bytes.
    pub(crate) memory_bytes_max: usize,
    /// How deep the stack of one may be, in bytes.
    pub(crate) stack_bytes_max: usize,
}

/// The configuration of an engine that has this room.
pub(crate) fn engine_config(room: &Room) -> Config {
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
    config.max_wasm_stack(room.stack_bytes_max);
    config.async_stack_size(room.stack_bytes_max + HOST_STACK);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(room)));
    config
}

/// Places for as many components as may run at once. The numbers per component admit guests of
/// JavaScript, Python and Go toolchains, which are made of many core modules.
fn pool(room: &Room) -> PoolingAllocationConfig {
    const CORE_INSTANCES: u32 = 20;
    const MEMORIES: u32 = 2;
    const TABLES: u32 = 20;
    let places = room.places;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(CORE_INSTANCES))
        .total_memories(places.saturating_mul(MEMORIES))
        .total_tables(places.saturating_mul(TABLES))
        .total_stacks(places)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .max_core_instance_size(MIB)
        .max_component_instance_size(MIB)
        .max_memory_size(room.memory_bytes_max)
        .table_elements(TABLE_ELEMENTS)
        // Measured: with the page scan, resetting a place costs what the guest touched and no more.
        .linear_memory_keep_resident(2 * MIB)
        .table_keep_resident(64 * KIB)
        .async_stack_keep_resident(64 * KIB)
        .pagemap_scan(Enabled::Auto);
    pool
}
