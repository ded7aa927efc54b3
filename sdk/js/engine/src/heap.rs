//! The memory of the script: QuickJS's allocator on top of the C library's, and how the memory of the instance grows.
//!
//! A job that asks for more than its queue allows gets JavaScript's `out of memory`, with the line at which it did: the
//! allocator refuses before the host does, who would end the instance.
#![allow(unsafe_code, reason = "an allocator")]

use std::cell::Cell;
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;

use rquickjs::allocator::Allocator;

/// For the strings that pass between script and host, which are not the script's.
const RESERVE: usize = 1 << 20;
/// For the error that the script gets: it has to be made when there is no memory left.
const LAST_WORDS: usize = RESERVE / 2;
/// The least that is allocated between two collections of garbage, and the most before the first one.
const GARBAGE_BYTES_MIN: usize = 64 << 10;
const GARBAGE_BYTES_MAX: usize = 8 << 20;
const PAGE: usize = 64 << 10;

thread_local! {
    static STATE: Heap = const { Heap {
        clean: Cell::new(true),
        for_script: Cell::new(false),
        limit: Cell::new(usize::MAX),
        used_at_seal: Cell::new(0),
        used_max: Cell::new(usize::MAX),
        refused: Cell::new(false),
        requests: Cell::new(0),
        floor: Cell::new(0),
    } };
}

struct Heap {
    /// True while the script is loaded: memory that is given back is overwritten, to be no part of the snapshot.
    clean: Cell<bool>,
    /// True while memory is asked for that is the script's.
    for_script: Cell<bool>,
    /// How large the instance's memory may become for the script, in bytes.
    limit: Cell<usize>,
    /// What QuickJS had in use when it was sealed, in bytes, and how much that may become.
    used_at_seal: Cell<usize>,
    used_max: Cell<usize>,
    refused: Cell<bool>,
    /// Counts what QuickJS asks for beyond its own blocks.
    requests: Cell<u32>,
    /// Where the sealed heap ends: a block below it would count as sealed, and never be freed.
    floor: Cell<usize>,
}

/// Ends the time of loading. QuickJS has so many bytes in use.
pub(crate) fn seal(end: usize, used: usize) {
    STATE.with(|heap| {
        heap.floor.set(end);
        heap.clean.set(false);
        heap.used_at_seal.set(used);
    });
}

/// Sets how large the memory of the instance may become, before its first job. Returns how much may be in use before garbage
/// is collected for the first time.
pub(crate) fn limit(memory_bytes_max: usize) -> usize {
    STATE.with(|heap| {
        let (limit, used) = (
            memory_bytes_max.saturating_sub(RESERVE),
            heap.used_at_seal.get(),
        );
        heap.limit.set(limit);
        heap.used_max
            .set(limit.saturating_add(used).saturating_sub(memory_bytes()));
        used + heap.garbage_bytes(used, GARBAGE_BYTES_MAX)
    })
}

/// How much more may be allocated before garbage is collected. QuickJS calls it: see `quickjs/garbage.patch`.
#[unsafe(export_name = "JS_GarbageBytes")]
extern "C" fn garbage_bytes(used: usize) -> usize {
    STATE.with(|heap| heap.garbage_bytes(used, used / 2))
}

/// What lies below the end of the snapshot is as any other memory from now on.
pub(crate) fn unseal() {
    STATE.with(|heap| heap.floor.set(0));
}

/// Begins the next attempt: what was kept back for the error of the one before is kept back again.
pub(crate) fn renew() {
    STATE.with(|heap| {
        if heap.refused.take() {
            heap.limit.update(|limit| limit.saturating_sub(LAST_WORDS));
        }
    });
}

/// How often QuickJS asked for memory so far.
pub(crate) fn requests() -> u32 {
    STATE.with(|heap| heap.requests.get())
}

impl Heap {
    /// Asks for memory on behalf of the script. Null where there is none left.
    fn request(&self, take: impl Fn() -> *mut c_void) -> *mut u8 {
        // The compiler knows `malloc`, and that it looks at nothing of ours; `sbrk` does.
        let attempt = || {
            black_box(&self.for_script).set(true);
            let memory = black_box(take());
            black_box(&self.for_script).set(false);
            memory
        };
        self.requests.update(|count| count.wrapping_add(1));
        // Below the floor is what was freed since: it is taken, for good.
        let attempt = || loop {
            let memory = attempt();
            if memory.is_null() || memory.addr() >= self.floor.get() {
                break memory;
            }
        };
        let memory = attempt();
        if memory.is_null() && !self.refused.replace(true) {
            self.limit.update(|limit| limit.saturating_add(LAST_WORDS));
        }
        memory.cast()
    }

    /// As `request`, for memory that moves.
    fn regrow(&self, memory: *mut u8, size: usize) -> *mut u8 {
        let floor = self.floor.replace(0);
        let moved = self.request(|| unsafe { realloc(memory.cast(), size) });
        self.floor.set(floor);
        if moved.is_null() || moved.addr() >= floor {
            return moved;
        }
        let above = self.request(|| unsafe { malloc(size) });
        if above.is_null() {
            return moved;
        }
        unsafe { ptr::copy_nonoverlapping(moved, above, size) };
        above
    }

    /// Half of what is left at most, so that it is looked for more often as less is left.
    fn garbage_bytes(&self, used: usize, most: usize) -> usize {
        let left = self.used_max.get().saturating_sub(used);
        most.min(left / 2).max(GARBAGE_BYTES_MIN)
    }

    fn has_room(&self, bytes: usize) -> bool {
        !self.for_script.get() || memory_bytes().saturating_add(bytes) <= self.limit.get()
    }
}

fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size(0) * PAGE
}

/// In place of the C library's: where its `malloc` gets pages.
#[unsafe(no_mangle)]
extern "C" fn sbrk(increment: isize) -> *mut c_void {
    const FAILED: *mut c_void = ptr::without_provenance_mut(usize::MAX);
    let bytes = increment.max(0) as usize;
    if bytes == 0 {
        return ptr::with_exposed_provenance_mut(memory_bytes());
    }
    if !STATE.with(|heap| heap.has_room(bytes)) {
        return FAILED;
    }
    match core::arch::wasm32::memory_grow(0, bytes.div_ceil(PAGE)) {
        usize::MAX => FAILED,
        pages => ptr::with_exposed_provenance_mut(pages * PAGE),
    }
}

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn calloc(count: usize, size: usize) -> *mut c_void;
    fn realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn malloc_usable_size(memory: *mut c_void) -> usize;
}

/// The allocator of the script's objects.
pub(crate) struct ScriptAllocator;

unsafe impl Allocator for ScriptAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        STATE.with(|heap| heap.request(|| unsafe { malloc(size) }))
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        STATE.with(|heap| heap.request(|| unsafe { calloc(count, size) }))
    }

    unsafe fn dealloc(&mut self, memory: *mut u8) {
        if STATE.with(|heap| heap.clean.get()) {
            unsafe { overwrite(memory) };
        }
        unsafe { free(memory.cast()) };
    }

    unsafe fn realloc(&mut self, memory: *mut u8, size: usize) -> *mut u8 {
        if memory.is_null() {
            return self.alloc(size);
        }
        if !STATE.with(|heap| heap.clean.get()) {
            return STATE.with(|heap| heap.regrow(memory, size));
        }
        let moved = self.alloc(size);
        if !moved.is_null() {
            unsafe {
                ptr::copy_nonoverlapping(memory, moved, size.min(Self::usable_size(memory)));
                self.dealloc(memory);
            }
        }
        moved
    }

    unsafe fn usable_size(memory: *mut u8) -> usize {
        unsafe { malloc_usable_size(memory.cast()) }
    }
}

unsafe fn overwrite(memory: *mut u8) {
    unsafe { memory.write_bytes(0, malloc_usable_size(memory.cast())) };
    // The compiler may leave out what is written before `free`.
    black_box(memory);
}

/// Takes what is free among the script's objects, for good: what a job allocates then lies together, above the objects of
/// the snapshot, which are sealed (`raw::seal`). The host resets the pages that a job wrote to, run by run.
pub(crate) mod gaps {
    use super::{PAGE, free, malloc, memory_bytes, overwrite, requests};
    use crate::raw;
    use rquickjs::Ctx;

    /// What a job may allocate before its memory has to grow.
    const ROOM: usize = 512 << 10;
    /// The size of what larger gaps are filled with.
    const LARGE: usize = 16 << 10;
    /// The size of the first arenas of a job. A job that does little needs fewer blocks of each size, and fewer pages.
    const ARENA: usize = 1 << 10;
    /// The sizes of QuickJS's small blocks, without their header.
    const BLOCKS: &[usize] = &[
        8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 136, 152, 168, 184, 200, 216,
        232, 248, 280, 312, 344, 376, 408, 440, 472, 504,
    ];

    /// Fills the gaps of the C library's heap, and then those of QuickJS's blocks. Returns where the heap ended: what is
    /// allocated from now on lies beyond.
    pub(crate) fn fill(ctx: &Ctx<'_>) -> usize {
        let end = fill_heap();
        raw::with_arenas_of(ARENA, || {
            for bytes in BLOCKS {
                fill_blocks(ctx, *bytes);
            }
        });
        end
    }

    fn fill_heap() -> usize {
        let end = make_room();
        let mut size = LARGE;
        while size >= 8 {
            let memory = unsafe { malloc(size) };
            if memory.is_null() {
                break;
            }
            if memory.addr() < end {
                unsafe { overwrite(memory.cast()) };
            } else {
                unsafe { free(memory) };
                size = size * 3 / 4;
            }
        }
        end
    }

    /// Has room at the end of the heap, and returns where it begins.
    fn make_room() -> usize {
        loop {
            let memory = unsafe { malloc(ROOM) };
            let at_the_end = memory.addr() + ROOM + 2 * PAGE > memory_bytes();
            if memory.is_null() || at_the_end {
                unsafe { free(memory) };
                return memory.addr();
            }
        }
    }

    /// Ends with the first block of new ones, which stay for the job.
    fn fill_blocks(ctx: &Ctx<'_>, bytes: usize) {
        let before = requests();
        while requests() == before {
            let block = raw::allocate(ctx, bytes);
            if block.is_null() {
                return;
            }
            unsafe { block.write_bytes(0, bytes) };
        }
    }
}
