//! Makes a component of a core module, as compilers of Go and C write it: a processor of the world `plain-processor`. It
//! compiles nothing; `toril build` calls it.

mod c;
mod data;
mod go;

pub use c::of_c;

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The package of processors, each interface a file.
const PROCESSOR: [(&str, &str); 8] = [
    ("world.wit", include_str!("../../../wit/world.wit")),
    ("jobs.wit", include_str!("../../../wit/jobs.wit")),
    (
        "current-job.wit",
        include_str!("../../../wit/current-job.wit"),
    ),
    ("producer.wit", include_str!("../../../wit/producer.wit")),
    ("queues.wit", include_str!("../../../wit/queues.wit")),
    (
        "schedulers.wit",
        include_str!("../../../wit/schedulers.wit"),
    ),
    ("steps.wit", include_str!("../../../wit/steps.wit")),
    ("logging.wit", include_str!("../../../wit/logging.wit")),
];
const KEY_VALUE: &str = include_str!("../../sandbox/wit/keyvalue.wit");
const WASI: &str = include_str!("../wit/wasi.wit");
const WORLDS: &str = include_str!("../wit/world.wit");
const GO_ADAPTER: &str = include_str!("../adapter/go.wat");
/// The section that hosts read.
const SDK_SECTION: &str = "toril:sdk";
const GO_SDK: &str = concat!(
    r#"{"sdk":"toril for Go","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);
/// The module that an adapter stands in for.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module imports or exports what no processor has.
    #[error("module is not a processor: {0:#}")]
    Module(anyhow::Error),
    /// The program failed while it was started, or did what it cannot do there.
    #[error("{0}")]
    Program(String),
    /// What this crate holds does not fit together.
    #[error("failed to prepare the adapter: {0:#}")]
    Adapter(anyhow::Error),
}

/// Makes a processor of a module of Go: what `go build -buildmode=c-shared` writes for `GOOS=wasip1 GOARCH=wasm`, with the
/// package `toril` in it. `sdk/go/README.md` has the whole command.
///
/// It runs `main`, and what the program does when it starts, for a tenth of a second at least. An error of the program is
/// [`Error::Program`]: what it printed, such as a panic with its stack.
pub fn of_go(core: &[u8]) -> Result<Vec<u8>, Error> {
    check(core)?;
    // A module of few segments is started sooner, and no segment may have more than a megabyte there.
    let module = data::join(core).map_err(Error::Module)?;
    let module = go::start(&module)?;
    let module = data::join(&module).map_err(Error::Module)?;
    let mut component = componentize(module, GO_ADAPTER)?;
    append_section(&mut component, SDK_SECTION, GO_SDK.as_bytes());
    Ok(component)
}

/// Refuses what was built otherwise, in words that say how.
fn check(core: &[u8]) -> Result<(), Error> {
    let exports = exports(core).map_err(Error::Module)?;
    let has = |name: &str| exports.contains(&name);
    if ["process", "cabi_realloc", "toril_start"]
        .into_iter()
        .all(has)
    {
        return Ok(());
    }
    let hint = if has("_start") {
        "hint: build it with `-buildmode=c-shared`"
    } else {
        "hint: `main` calls `toril.Serve`, of the Go package `toril`"
    };
    Err(Error::Module(anyhow::anyhow!(
        "it does not export `process`\n{hint}"
    )))
}

fn exports(core: &[u8]) -> anyhow::Result<Vec<&str>> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(core) {
        if let Payload::ExportSection(exports) = payload? {
            for export in exports {
                names.push(export?.name);
            }
        }
    }
    Ok(names)
}

/// Makes a component of a core module, which exports `process` and `cabi_realloc` as the canonical ABI has them. It may
/// import what the world `plain-processor` has, stores (`wasi:keyvalue`), WASI preview 1, and of WASI 0.2 the environment,
/// `wasi:io` and requests (`wasi:http`), with the functions that are in this crate's folder `wit`. The component imports only
/// what is used of them.
fn componentize(module: Vec<u8>, adapter: &str) -> Result<Vec<u8>, Error> {
    let resolve = worlds().map_err(Error::Adapter)?;
    let adapter = wat::parse_str(adapter).map_err(|error| Error::Adapter(error.into()))?;
    let adapter = with_world(adapter, &resolve, "adapter").map_err(Error::Adapter)?;
    let module = with_world(module, &resolve, "go-guest").map_err(Error::Module)?;
    encode(&module, &adapter).map_err(Error::Module)
}

/// Appends a custom section, which any component may have.
fn append_section(wasm: &mut Vec<u8>, name: &str, data: &[u8]) {
    use wasm_encoder::{ComponentSection as _, CustomSection};
    let section = CustomSection {
        name: name.into(),
        data: data.into(),
    };
    section.append_to_component(wasm);
}

fn worlds() -> anyhow::Result<Resolve> {
    let mut resolve = Resolve::default();
    let mut processor = wit_parser::SourceMap::new();
    for (name, text) in PROCESSOR {
        processor.push(name.as_ref(), text);
    }
    let processor = processor
        .parse()
        .map_err(|(_, error)| anyhow::Error::from(error))?;
    resolve.push_group(processor)?;
    resolve.push_source("keyvalue.wit", KEY_VALUE)?;
    resolve.push_source("wasi.wit", WASI)?;
    resolve.push_source("worlds.wit", WORLDS)?;
    Ok(resolve)
}

fn with_world(mut module: Vec<u8>, resolve: &Resolve, world: &str) -> anyhow::Result<Vec<u8>> {
    let (&package, _) = resolve
        .package_names
        .iter()
        .map(|(name, package)| (package, name))
        .find(|(_, name)| name.namespace == "toril" && name.name == "componentize")
        .expect("the worlds were read");
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8)?;
    Ok(module)
}

fn encode(module: &[u8], adapter: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .adapter(PREVIEW_1, adapter)?
        .encode()
}
