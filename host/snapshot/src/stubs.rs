//! What the engine finds in place of a host while a script is loaded: a clock, a log of warnings, and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Val};
use wasmtime::{Engine, StoreContextMut};

use crate::State;

/// The most warnings that are kept, and how long each may be.
const WARNINGS_MAX: usize = 20;
const WARNING_BYTES_MAX: usize = 4 << 10;

/// What happens while a script is loaded.
#[derive(Default)]
pub(crate) struct Building {
    last_words: Option<String>,
    warnings: Vec<String>,
}

impl Building {
    /// What the engine said before it aborted, if it did.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.last_words.clone()
    }

    /// What the engine and the script warned of.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn log(&mut self, level: &str, message: &str) {
        if matches!(level, "warn" | "error") && self.warnings.len() < WARNINGS_MAX {
            let end = message.floor_char_boundary(WARNING_BYTES_MAX);
            self.warnings.push(message[..end].to_owned());
        }
    }
}

/// Links what a script may use, and refuses all else. Handles of the host would be left in the snapshot, so there are none.
pub(crate) fn linker(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let imports: Vec<String> = component
        .component_type()
        .imports(engine)
        .filter(|(_, import)| matches!(import.ty, ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in imports {
        let mut instance = linker.instance(&name)?;
        // Any version: they are the engine's to choose.
        match name.split('@').next() {
            Some("wasi:clocks/wall-clock") => wall_clock(&mut instance)?,
            Some("wasi:clocks/monotonic-clock") => monotonic_clock(&mut instance)?,
            Some("toril:processor/logging") => logging(&mut instance)?,
            _ => {}
        }
    }
    linker.define_unknown_imports_as_traps(component)?;
    Ok(linker)
}

fn wall_clock(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_new("now", |_, _, _, results| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        results[0] = Val::Record(vec![
            ("seconds".into(), Val::U64(now.as_secs())),
            ("nanoseconds".into(), Val::U32(now.subsec_nanos())),
        ]);
        Ok(())
    })
}

/// It stands still: what it shows means nothing on another machine.
fn monotonic_clock(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("now", |_, ()| Ok((0_u64,)))
}

fn logging(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_new(
        "log",
        |mut store: StoreContextMut<'_, State>, _, arguments, _| {
            if let [Val::Enum(level), Val::String(message)] = arguments {
                store.data_mut().building.log(level, message);
            }
            Ok(())
        },
    )?;
    instance.func_wrap(
        "fatal",
        |mut store: StoreContextMut<'_, State>, (message,): (String,)| {
            let building = &mut store.data_mut().building;
            building.last_words.get_or_insert(message);
            Ok(())
        },
    )
}
