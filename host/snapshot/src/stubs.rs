//! What the engine finds in place of a host while a script is loaded: a clock, a log that nobody reads, and nothing else.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Val};
use wasmtime::{Engine, StoreContextMut};

use crate::State;

/// What happens while a script is loaded.
#[derive(Default, Clone)]
pub(crate) struct Building(Arc<Mutex<Option<String>>>);

impl Building {
    /// What the engine said before it aborted, if it did.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.0.lock().clone()
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
    instance.func_new("log", |_, _, _, _| Ok(()))?;
    instance.func_wrap(
        "fatal",
        |store: StoreContextMut<'_, State>, (message,): (String,)| {
            store.data().building.0.lock().get_or_insert(message);
            Ok(())
        },
    )
}
