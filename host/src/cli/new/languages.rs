//! The languages of `toril new`, and the files of their projects.

use clap::ValueEnum;

/// What a processor is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lang {
    #[value(alias = "ts")]
    Typescript,
    #[value(alias = "js")]
    Javascript,
    #[value(alias = "py")]
    Python,
    #[value(alias = "golang")]
    Go,
    C,
    Rust,
}

/// What differs between the languages.
pub(super) struct Details {
    /// As people write it.
    pub(super) name: &'static str,
    /// The processor's file.
    pub(super) processor: &'static str,
    /// What fetches the SDK, or makes the language's tools ready. See [`Lang::install`].
    install: &'static str,
    /// Where its SDK is in the directory `sdk`, if it has one to depend on.
    pub(super) sdk: Option<&'static str>,
    /// Paths in the project, and texts.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// A text of `host/templates`. Names there may differ: git and cargo would go by `.gitignore` and `Cargo.toml`.
macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../templates/", $file))
    };
}

/// The files of every project.
pub(super) const COMMON: [(&str, &str); 3] = [
    ("README.md", template!("common/README.md")),
    ("toril.toml", template!("common/toril.toml")),
    ("cases/four-walls.toml", template!("common/case.toml")),
];

/// What a project in TypeScript or JavaScript has besides if it depends on a local SDK.
const OF_LOCAL_SCRIPTS: [(&str, &str); 1] = [(".npmrc", template!("common/npmrc"))];

const TYPESCRIPT: Details = Details {
    name: "TypeScript",
    processor: "processor.ts",
    install: "npm install",
    sdk: Some("js"),
    files: &[
        (".gitignore", template!("typescript/gitignore")),
        ("package.json", template!("typescript/package.json")),
        ("processor.ts", template!("typescript/processor.ts")),
        ("tsconfig.json", template!("typescript/tsconfig.json")),
    ],
};

const JAVASCRIPT: Details = Details {
    name: "JavaScript",
    processor: "processor.js",
    install: "npm install",
    sdk: Some("js"),
    files: &[
        (".gitignore", template!("javascript/gitignore")),
        ("package.json", template!("javascript/package.json")),
        ("processor.js", template!("javascript/processor.js")),
    ],
};

const PYTHON: Details = Details {
    name: "Python",
    processor: "processor.py",
    install: "python3 -m venv .venv && .venv/bin/pip install .",
    sdk: Some("python"),
    files: &[
        (".gitignore", template!("python/gitignore")),
        ("processor.py", template!("python/processor.py")),
        ("pyproject.toml", template!("python/pyproject.toml")),
    ],
};

const GO: Details = Details {
    name: "Go",
    processor: "main.go",
    install: "go mod download",
    sdk: Some("go"),
    files: &[
        (".gitignore", template!("go/gitignore")),
        ("go.mod", template!("go/go.mod.in")),
        ("main.go", template!("go/main.go")),
    ],
};

const C: Details = Details {
    name: "C",
    processor: "processor.c",
    install: "sudo apt-get install clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc",
    sdk: None,
    files: &[
        (".gitignore", template!("c/gitignore")),
        ("processor.c", template!("c/processor.c")),
    ],
};

const RUST: Details = Details {
    name: "Rust",
    processor: "src/lib.rs",
    install: "rustup target add wasm32-wasip2",
    sdk: Some("rust"),
    files: &[
        (".gitignore", template!("rust/gitignore")),
        ("Cargo.toml", template!("rust/Cargo.toml.in")),
        ("src/lib.rs", template!("rust/lib.rs")),
    ],
};

impl Lang {
    pub(super) fn details(self) -> &'static Details {
        match self {
            Lang::Typescript => &TYPESCRIPT,
            Lang::Javascript => &JAVASCRIPT,
            Lang::Python => &PYTHON,
            Lang::Go => &GO,
            Lang::C => &C,
            Lang::Rust => &RUST,
        }
    }

    /// What a project has besides if it depends on a local SDK.
    pub(super) fn files_for_local_sdk(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Lang::Typescript | Lang::Javascript => &OF_LOCAL_SCRIPTS,
            Lang::Python | Lang::Go | Lang::C | Lang::Rust => &[],
        }
    }

    /// What is to be done first. No server has Go's module.
    pub(super) fn install(self, has_local_sdk: bool) -> &'static str {
        match (self, has_local_sdk) {
            (Lang::Go, false) => "go mod edit -replace toril=/PATH_OF_TORIL/sdk/go",
            _ => self.details().install,
        }
    }

    /// How the manifest names the SDK; `path` is a local one.
    pub(super) fn dependency(self, path: Option<&str>) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match (self, path) {
            (Lang::Typescript | Lang::Javascript, Some(path)) => format!("file:{path}"),
            (Lang::Typescript | Lang::Javascript, None) => format!("^{version}"),
            (Lang::Python, Some(path)) => format!("toril @ file://{}", in_url(path)),
            (Lang::Python, None) => format!("toril=={version}"),
            (Lang::Go, Some(path)) => format!("replace toril => \"{path}\""),
            (Lang::Go, None) => {
                "// No server has this module: name the directory of a clone of Toril.\n// replace toril => /PATH_OF_TORIL/sdk/go"
                    .to_owned()
            }
            (Lang::Rust, Some(path)) => format!("{{ path = \"{path}\" }}"),
            (Lang::Rust, None) => format!("\"{version}\""),
            (Lang::C, _) => String::new(),
        }
    }
}

/// A path in a URL: pip would take `#` and `?` for its end, and `%` for the begin of a character.
fn in_url(path: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_a_python_sdk_has_no_character_that_means_something_in_a_url() {
        assert_eq!(
            Lang::Python.dependency(Some("/sdk ü#%20?/python")),
            "toril @ file:///sdk%20%C3%BC%23%2520%3F/python"
        );
    }
}
