//! Processors in C: a clang of the user's compiles them together with the SDK, which comes with this program.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use tokio::process::Command;

use super::{Built, ask, run};

/// Names the compiler.
const CLANG: &str = "TORIL_CLANG";
/// More flags for it, between blanks. They come last.
const FLAGS: &str = "TORIL_CFLAGS";
/// What is looked for where none is named.
const PROGRAMS: [&str; 2] = ["clang-19", "clang"];
/// A compiler that takes longer hangs.
const TIME_MAX: Duration = Duration::from_secs(300);

/// The linker takes of a source what the processor calls: one that uses no store imports none.
const SOURCES: [&str; 2] = ["toril.c", "toril_kv.c"];
const SDK: [(&str, &str); 4] = [
    ("toril.h", include_str!("../../../sdk/c/toril.h")),
    ("toril_kv.h", include_str!("../../../sdk/c/toril_kv.h")),
    (SOURCES[0], include_str!("../../../sdk/c/toril.c")),
    (SOURCES[1], include_str!("../../../sdk/c/toril_kv.c")),
];
const TARGET: [&str; 3] = [
    "--target=wasm32-wasi",
    "-O2",
    // The user's flags are for both calls of the compiler.
    "-Wno-unused-command-line-argument",
];
/// WebAssembly has memory at address 0. With these flags a null pointer ends the attempt, as it ends a program elsewhere; the
/// SDK has the function that is called.
const CHECKS: [&str; 3] = [
    "-fsanitize=null",
    "-fno-sanitize-recover=null",
    "-fsanitize-minimal-runtime",
];
const LINK: [&str; 5] = [
    // A library that the host calls, not a program with `main`.
    "-mexec-model=reactor",
    // An overflow of the stack traps. Without this it overwrites the program's data.
    "-Wl,--stack-first",
    // As Rust has; 64 KiB are the default.
    "-Wl,-z,stack-size=1048576",
    // The library's own, 100 KB of it. Names of functions stay, for stack traces.
    "-Wl,--strip-debug",
    // Without it `snprintf` brings standard output along, for a message that it may have to print.
    "-lc-printscan-long-double",
];

/// What clang or its linker says when a part of the toolchain is missing.
const PARTS_MISSING: [&str; 7] = [
    "crt1-reactor.o",
    "libclang_rt.builtins",
    "unable to find library -lc-printscan-long-double",
    "Executable \"wasm-ld\" doesn't exist",
    "'stdlib.h' file not found",
    "'bits/libc-header-start.h' file not found",
    "No available targets are compatible",
];
const INSTALL: &str = "install a clang for WebAssembly. Debian and Ubuntu: `apt-get install clang-19 lld-19 \
    libclang-rt-19-dev-wasm32 wasi-libc`. Elsewhere: the WASI SDK, with `TORIL_CLANG=/opt/wasi-sdk/bin/clang`";
const NO_PROCESSOR: &str = "the function `toril_process` is missing\nhint: include `toril.h`, and define `toril_result toril_process(void)`";

/// The least processor.
const PROBE: &str = "#include \"toril.h\"\ntoril_result toril_process(void) { return toril_done(toril_format(\"1\")); }\n";

/// Which compiler, and flags of the user's.
struct Clang {
    program: OsString,
    flags: Vec<String>,
}

/// Which compiler there is, once it has shown that it can build a processor: it needs parts that have no version to ask for.
pub(super) async fn tools() -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("probe.c");
    tokio::fs::write(&file, PROBE).await?;
    build(&file).await?;
    let program = match std::env::var_os(CLANG) {
        Some(named) => named,
        None => found().await,
    };
    ask(Command::new(program).arg("--version"), INSTALL).await
}

/// Builds the processor of a file. It may include other files; a program of several source files includes them, too.
pub(super) async fn build(file: &Path) -> anyhow::Result<Built> {
    let program = match std::env::var_os(CLANG) {
        Some(named) => named,
        None => found().await,
    };
    let flags = std::env::var(FLAGS).unwrap_or_default();
    let flags = flags.split_whitespace().map(str::to_owned).collect();
    Clang { program, flags }.build(file).await
}

async fn found() -> OsString {
    for name in PROGRAMS {
        let mut version = Command::new(name);
        version.arg("--version");
        if run(&mut version, TIME_MAX, INSTALL).await.is_ok() {
            return name.into();
        }
    }
    "clang".into()
}

impl Clang {
    async fn build(&self, file: &Path) -> anyhow::Result<Built> {
        let dir = tempfile::tempdir()?;
        for (name, text) in SDK {
            tokio::fs::write(dir.path().join(name), text).await?;
        }
        let (object, core) = (dir.path().join("processor.o"), dir.path().join("core.wasm"));

        let mut compile = self.command();
        compile.args(CHECKS).arg("-I").arg(dir.path());
        compile.args(&self.flags).arg("-c").arg(file);
        let compiled = explained(run(compile.arg("-o").arg(&object), TIME_MAX, INSTALL).await)?;

        let mut link = self.command();
        link.arg(&object);
        link.args(SOURCES.map(|source| dir.path().join(source)));
        link.args(LINK).args(&self.flags);
        let linked = explained(run(link.arg("-o").arg(&core), TIME_MAX, INSTALL).await)?;

        let said = [compiled.said, linked.said];
        Ok(Built {
            component: toril_componentize::of_c(&tokio::fs::read(&core).await?)?,
            warnings: said.into_iter().filter(|said| !said.is_empty()).collect(),
            file: None,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(TARGET);
        command
    }
}

/// Adds what to do to what the compiler said.
fn explained<T>(done: anyhow::Result<T>) -> anyhow::Result<T> {
    done.map_err(|error| {
        let said = error.to_string();
        if said.contains("undefined symbol: toril_process") {
            anyhow!(NO_PROCESSOR)
        } else if PARTS_MISSING.iter().any(|part| said.contains(part)) {
            anyhow!("{said}\nhint: {INSTALL}")
        } else {
            error
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn build(source: &str, flags: &[&str]) -> Result<Built, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a job.c");
        std::fs::write(dir.path().join("paint.h"), "#define WALLS \"4\"\n").unwrap();
        std::fs::write(&file, source).unwrap();
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let program = found().await;
        let built = Clang { program, flags }.build(&file).await;
        built.map_err(|error| format!("{error:#}"))
    }

    const PAINT: &str = "#include <toril.h>\n#include \"paint.h\"\n\
        toril_result toril_process(void) { return toril_done(TORIL_S(WALLS)); }\n";

    #[tokio::test]
    async fn file_becomes_a_component_and_warnings_are_handed_on() {
        let built = build(PAINT, &[]).await.unwrap();
        assert!(built.component.starts_with(b"\0asm\x0d\0\x01\0"));
        assert!(built.warnings.is_empty(), "{:?}", built.warnings);
        let built = build(&format!("static int unused;\n{PAINT}"), &["-Wall"]).await;
        let warnings = built.unwrap().warnings;
        assert!(warnings[0].contains("unused variable"), "{warnings:?}");
    }

    #[tokio::test]
    async fn mistakes_of_the_program_are_told_from_a_toolchain_that_lacks_a_part() {
        let error = async |source: &str, flags: &[&str]| build(source, flags).await.err().unwrap();
        let wrong = error("#include <toril.h>\nint x = y;\n", &[]).await;
        let place = "a job.c:2:9: error: use of undeclared identifier";
        assert!(wrong.contains(place) && !wrong.contains("hint"), "{wrong}");
        let elsewhere = PAINT.replace("TORIL_S(WALLS)", "other()");
        let source = format!("#include <toril.h>\ntoril_string other(void);\n{elsewhere}");
        let undefined = error(&source, &[]).await;
        let symbol = "undefined symbol: other";
        assert!(
            undefined.contains(symbol) && !undefined.contains("hint"),
            "{undefined}"
        );
        assert_eq!(error("int x;\n", &[]).await, NO_PROCESSOR);
        let lacking = error(PAINT, &["--sysroot=/nonexistent"]).await;
        assert!(lacking.contains("apt-get install clang-19"), "{lacking}");
    }

    #[tokio::test]
    async fn compiler_that_is_not_there_is_named() {
        let program = "no-such-clang".into();
        let flags = Vec::new();
        let error = Clang { program, flags }.build(Path::new("paint.c")).await;
        let error = error.err().unwrap().to_string();
        assert!(
            error.starts_with("`no-such-clang` was not found\nhint: install"),
            "{error}"
        );
    }
}
