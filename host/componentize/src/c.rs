//! Components of what a C compiler makes for `wasm32-wasi`. wasi-libc calls WASI preview 1; wasmtime's adapter turns that into
//! WASI 0.2. The component imports only what the module uses of either.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW_1,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::{Error, append_section, with_world, worlds};

/// What hosts read of the component without running it. It names no package as unused, as other SDKs do: none that the adapter
/// imports needs a grant.
const SDK: &str = concat!(
    r#"{"sdk":"toril for C","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","unused":[]}"#
);

/// Makes a component of a core module that was linked with `sdk/c/toril.c` as a reactor (`-mexec-model=reactor`).
pub fn of_c(core: &[u8]) -> Result<Vec<u8>, Error> {
    let mut component = encode(core).map_err(Error::Module)?;
    append_section(&mut component, "toril:sdk", SDK.as_bytes());
    Ok(component)
}

fn encode(core: &[u8]) -> anyhow::Result<Vec<u8>> {
    let module = with_world(core.to_vec(), &worlds()?, "guest")?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(PREVIEW_1, ADAPTER)?
        .encode()
}

#[cfg(test)]
mod tests {
    use wasmparser::{ComponentTypeRef, Parser, Payload};

    use super::*;

    /// What a processor has at least, and an import.
    fn core(import: &str) -> Vec<u8> {
        let text = format!(
            r#"(module
                {import}
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "process") (result i32) unreachable))"#
        );
        wat::parse_str(text).unwrap()
    }

    /// The imports and the custom sections of the outermost component.
    fn names(component: &[u8]) -> (Vec<String>, Vec<String>) {
        let (mut imports, mut sections) = (Vec::new(), Vec::new());
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(component) {
            match payload.unwrap() {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    let found = section.into_iter().map(Result::unwrap);
                    let used = found.filter(|it| !matches!(it.ty, ComponentTypeRef::Type(_)));
                    imports.extend(used.map(|it| it.name.name.to_owned()));
                }
                Payload::CustomSection(section) if depth == 1 => {
                    sections.push(section.name().to_owned());
                }
                _ => {}
            }
        }
        (imports, sections)
    }

    #[test]
    fn a_module_without_wasi_becomes_a_component_without_it() {
        let (imports, sections) = names(&of_c(&core("")).unwrap());
        assert_eq!(imports, ["toril:processor/jobs@1.1.0"]);
        assert!(sections.contains(&"toril:sdk".into()));
    }

    #[test]
    fn only_what_the_module_uses_of_wasi_is_imported() {
        let time = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))"#;
        let (imports, _) = names(&of_c(&core(time)).unwrap());
        let imported = |name: &str| imports.iter().any(|it| it.contains(name));
        assert!(imported("wasi:clocks/wall-clock"), "{imports:?}");
        // The adapter's own panics go to stderr, and it comes along.
        assert!(
            !imported("wasi:filesystem/") && !imported("wasi:random/"),
            "{imports:?}"
        );
    }

    #[test]
    fn what_no_processor_may_import_is_named() {
        let other = r#"(import "env" "getrusage" (func))"#;
        let error = of_c(&core(other)).unwrap_err().to_string();
        assert!(
            error.contains("env") && error.contains("getrusage"),
            "{error}"
        );
    }
}
