//! Reading a component without compiling or running it.

use serde::Serialize;
use wasmparser::types::Types;
use wasmparser::{
    ComponentTypeRef, Encoding, Parser, Payload, ValidPayload, Validator, WasmFeatures,
};

use crate::component_sizes::core_instances;
use crate::world::{PROCESS, World};

/// The interface by which a component's version of the world is known: failures are of it, so that each world imports it.
const JOBS: &str = "toril:processor/jobs@";
const WORLD_MAJOR: u64 = 1;
/// What an SDK says of itself is short. Read, it takes many times the room that it takes in the component.
const SDK_BYTES_MAX: usize = 64 * 1024;

/// What is known of a component without running it.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Its size in bytes.
    pub bytes: usize,
    /// Core instances that it is made of.
    pub core_instances: usize,
    /// The world that it implements.
    pub world: World,
    /// The version of `toril:processor` that it was built for; none where it imports nothing of it.
    pub world_version: Option<String>,
    /// The interfaces and functions that it imports.
    pub imports: Vec<String>,
    /// What its SDK says of itself.
    pub sdk: Option<serde_json::Value>,
}

impl Inspection {
    /// What it imports and may use. An SDK whose engine imports more than a processor needs says what that one does not use;
    /// if it is wrong, calls are refused for want of a grant.
    pub fn used_imports(&self) -> impl Iterator<Item = &str> {
        let unused = |package: &str| {
            let unused = self
                .sdk
                .as_ref()
                .and_then(|sdk| sdk.get("unused")?.as_array());
            unused.is_some_and(|names| names.iter().any(|name| name == package))
        };
        let imports = self.imports.iter().map(String::as_str);
        imports.filter(move |import| !import.split('/').next().is_some_and(unused))
    }
}

/// Why a component is no processor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAProcessor(pub String);

/// Reads the outermost names of a component, and refuses what is no processor.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, NotAProcessor> {
    let refuse = |reason: String| NotAProcessor(reason);
    if Parser::is_core_wasm(bytes) {
        let hint = "hint: build it for the target wasm32-wasip2, with `crate-type = [\"cdylib\"]`";
        return Err(refuse(format!(
            "file is a core wasm module, not a component\n{hint}"
        )));
    }
    if !Parser::is_component(bytes) {
        let hint = "hint: `toril build` makes a component of a source file";
        return Err(refuse(format!(
            "file is not a WebAssembly component\n{hint}"
        )));
    }
    let damaged = |error| refuse(format!("component is damaged: {error}"));
    let mut names = Names::default();
    let Some(types) = names.read(bytes).map_err(damaged)? else {
        return Err(refuse("component is damaged: it has no end".into()));
    };
    let world_version = names
        .imports
        .iter()
        .find_map(|import| import.strip_prefix(JOBS))
        .map(str::to_owned);
    if !names.exports.iter().any(|export| export == PROCESS) {
        let exports = if names.exports.is_empty() {
            "nothing".into()
        } else {
            format!("`{}`", names.exports.join("`, `"))
        };
        return Err(refuse(format!(
            "component is not a job processor: it exports {exports}, not `{PROCESS}`\nhint: an SDK exports it (in Rust, \
             `#[toril_sdk::processor]`); the world `{}` is in `wit/`",
            World::Processor
        )));
    }
    if let Some(version) = &world_version {
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        if major != Some(WORLD_MAJOR) {
            return Err(refuse(format!(
                "component was built for version {version} of `toril:processor`; this host runs version {WORLD_MAJOR}.x\n\
                 hint: use a newer host, or build the component with an SDK of version {WORLD_MAJOR}.x"
            )));
        }
    }
    let world = World::of(types.as_ref()).map_err(|differs| {
        refuse(format!(
            "component does not fit any world of processors: {differs}"
        ))
    })?;
    Ok(Inspection {
        world,
        bytes: bytes.len(),
        core_instances: core_instances(bytes).map_err(damaged)?,
        world_version,
        imports: names.imports,
        sdk: names.sdk,
    })
}

#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
    sdk: Option<serde_json::Value>,
}

impl Names {
    /// Reads all but the bodies of functions, which the compiler validates. The types are none where the component has no
    /// end.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<Types>, wasmparser::BinaryReaderError> {
        // What the engine admits of these, it says itself.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut types = None;
        // Modules and components inside are entered, too: the SDK's section sits in a core module.
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            if let ValidPayload::End(of_this) = validator.payload(&payload)? {
                types = Some(of_this);
            }
            match payload {
                Payload::Version {
                    encoding: Encoding::Component | Encoding::Module,
                    ..
                } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let import = import?;
                        // Types that the world uses stand beside the interfaces that define them.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            self.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section)
                    if section.name() == "toril:sdk" && section.data().len() <= SDK_BYTES_MAX =>
                {
                    self.sdk = serde_json::from_slice(section.data()).ok();
                }
                _ => {}
            }
        }
        Ok(types)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_sdk_says_of_itself_has_a_size() {
        let sdk = |json: &str| {
            let mut section = vec![9];
            section.extend_from_slice(b"toril:sdk");
            section.extend_from_slice(json.as_bytes());
            let mut component = b"\0asm\x0d\0\x01\0\0".to_vec();
            // LEB128, in five bytes.
            let length = section.len();
            component.extend((0..4).map(|at| (length >> (7 * at)) as u8 & 0x7f | 0x80));
            component.push(0);
            component.extend_from_slice(&section);
            let mut names = Names::default();
            names.read(&component).unwrap();
            names.sdk
        };
        assert_eq!(sdk("[1]"), Some(serde_json::json!([1])));
        assert_eq!(sdk(&format!("[{}0]", "0,".repeat(SDK_BYTES_MAX))), None);
    }
}
