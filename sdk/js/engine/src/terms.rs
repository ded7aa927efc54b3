//! What the host says to an instance, in its environment. The script does not see it.

use wasip2::cli::environment;

/// How much memory an attempt may have, in bytes.
const MEMORY_VARIABLE: &str = "TORIL_MEMORY_BYTES_MAX";
/// What hosts allow where they say nothing.
const MEMORY_DEFAULT: usize = 128 << 20;
/// Set where instances are reused.
const REUSE_VARIABLE: &str = "TORIL_REUSE";

/// What holds for an instance from its first job on.
pub(crate) struct Terms {
    /// How large its memory may become.
    pub(crate) memory_bytes_max: usize,
    /// It may run another job after the first.
    pub(crate) is_reused: bool,
}

impl Terms {
    /// Asks the host, which costs as much as any call to it.
    pub(crate) fn read() -> Self {
        let mut terms = Terms {
            memory_bytes_max: MEMORY_DEFAULT,
            is_reused: false,
        };
        for (name, value) in environment::get_environment() {
            match &*name {
                MEMORY_VARIABLE => {
                    // More than there are addresses is as much as there can be.
                    let bytes = value
                        .parse::<u64>()
                        .map(|bytes| bytes.min(usize::MAX as u64));
                    terms.memory_bytes_max = bytes.map_or(MEMORY_DEFAULT, |bytes| bytes as usize);
                }
                REUSE_VARIABLE => terms.is_reused = true,
                _ => {}
            }
        }
        terms
    }
}

/// True for a variable that is not the script's.
pub(crate) fn is_of_the_host(name: &str) -> bool {
    [MEMORY_VARIABLE, REUSE_VARIABLE].contains(&name)
}
