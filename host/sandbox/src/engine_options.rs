//! What the engine is built with.

use std::path::PathBuf;

use crate::limits::Limits;

/// One KiB, one MiB.
pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// What the engine is built with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How many jobs may run at once, over all queues.
    pub executions_max: u32,
    /// The memory of all guests together, in bytes; none takes three quarters of what the machine has, or of what the
    /// process's control groups allow.
    pub memory_bytes_max: Option<usize>,
    /// The largest memory that one processor may have, in bytes.
    pub guest_memory_bytes_max: usize,
    /// Core instances that one component may be made of.
    pub core_instances_max: u32,
    /// Memories that one component may have.
    pub memories_max: u32,
    /// Tables that one component may have.
    pub tables_max: u32,
    /// Elements that one table may have.
    pub table_elements_max: usize,
    /// What the host may keep about the instances of one component, in bytes.
    pub instance_bytes_max: usize,
    /// The largest component that is accepted, in bytes.
    pub component_bytes_max: usize,
    /// How long compiling a component may take, in ms.
    pub compile_ms_max: u64,
    /// How deep the stack of a guest may be, in bytes.
    pub stack_bytes_max: usize,
    /// Instances that may rest between jobs, over all queues that reuse them, besides those that use the places of
    /// running jobs.
    pub idle_max: u32,
    /// Where compiled code is kept; none compiles at each start.
    pub cache_dir: Option<PathBuf>,
}

impl Default for EngineOptions {
    /// The sizes of a component admit what the toolchains for C, Go, Python and JavaScript make: up to 38 core instances
    /// and 3 memories.
    fn default() -> Self {
        let limits = Limits::default();
        EngineOptions {
            executions_max: 1000,
            memory_bytes_max: None,
            guest_memory_bytes_max: limits.memory_bytes_max,
            core_instances_max: u32::try_from(limits.instances_max).unwrap_or(u32::MAX),
            memories_max: 3,
            tables_max: 40,
            table_elements_max: limits.table_elements_max,
            instance_bytes_max: MIB,
            component_bytes_max: 64 * MIB,
            // A large component of Python takes a minute where others use the machine, too.
            compile_ms_max: 300_000,
            // JavaScript's calls take some 600 bytes each: as deep as 3,500.
            stack_bytes_max: 4 * MIB,
            idle_max: 0,
            cache_dir: None,
        }
    }
}

impl EngineOptions {
    /// To look at one component that is for the hosts to judge: larger than most are built.
    pub fn for_one_component() -> Self {
        EngineOptions {
            executions_max: 1,
            core_instances_max: 1000,
            memories_max: 4,
            tables_max: 100,
            table_elements_max: 100_000,
            ..EngineOptions::default()
        }
    }
}
