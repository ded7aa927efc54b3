//! Lua scripts, joined from files. An error names the file and the line that it came from.

use std::fmt::Write as _;

use redis::{Arg, Cmd};

/// A file of a script.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Part {
    /// As an error names it, such as `lib/queue.lua`.
    pub file: &'static str,
    /// Ends with a line break.
    pub text: &'static str,
}

/// A script of one or more files, sent to Redis on first use and again whenever Redis forgot it.
pub struct Script {
    parts: &'static [Part],
    text: String,
    hash: String,
}

impl Script {
    /// Joins files, in order. Called by [`script!`](crate::script).
    #[doc(hidden)]
    pub fn join(parts: &'static [Part]) -> Self {
        let text: String = parts.iter().map(|part| part.text).collect();
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Script { parts, text, hash }
    }

    /// Begins a call with the key that routes it, which is `KEYS[1]`; its arguments are yet to come.
    /// [`Redis::run`](crate::Redis::run) sends it.
    pub fn call(&self, key: &str) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(1).arg(key);
        call
    }

    /// Begins a call with several keys of one hash slot; its arguments are yet to come.
    pub fn call_on(&self, keys: &[&str]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
    }

    /// A call of [`Script::call`] that brings the script along. Unlike loading it, this needs no right of its own.
    pub(crate) fn with_text(&self, call: &Cmd) -> Cmd {
        let mut whole = redis::cmd("EVAL");
        whole.arg(&self.text);
        for arg in call.args_iter().skip(2) {
            if let Arg::Simple(bytes) = arg {
                whole.arg(bytes);
            }
        }
        whole
    }

    /// The same call for a cluster, with one more key, which exists nowhere.
    ///
    /// A script uses more keys than it names. While the slot of a queue moves to another node, Redis would run it where the
    /// named ones are, and it would fail half-way, at the first key that is on the other node. A call that names a key
    /// that is missing beside others is refused as a whole until all keys have moved, and tried again (`TRYAGAIN`).
    pub(crate) fn for_cluster(call: &Cmd) -> Cmd {
        let mut args = call.args_iter().filter_map(|arg| match arg {
            Arg::Simple(bytes) => Some(bytes),
            _ => None,
        });
        let mut guarded = Cmd::new();
        for arg in args.by_ref().take(2) {
            guarded.arg(arg);
        }
        let count = args.next().and_then(|count| str::from_utf8(count).ok());
        let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(0);
        let keys: Vec<&[u8]> = args.by_ref().take(count).collect();
        let nowhere = keys.last().and_then(|key| key_that_is_nowhere(key));
        guarded.arg(keys.len() + usize::from(nowhere.is_some()));
        guarded.arg(keys).arg(nowhere);
        for arg in args {
            guarded.arg(arg);
        }
        guarded
    }

    /// Names files and lines in an error of Redis, which knows the script as a whole; `None` where it names
    /// no line of it.
    pub(crate) fn locate(&self, error: &str) -> Option<String> {
        const NAME: &str = "user_script:";
        let mut located = String::with_capacity(error.len());
        let mut rest = error;
        while let Some((before, after)) = rest.split_once(NAME) {
            located.push_str(before);
            let digits = after.find(|c: char| !c.is_ascii_digit());
            let (line, after) = after.split_at(digits.unwrap_or(after.len()));
            match line.parse().ok().and_then(|line| self.line(line)) {
                // Writing to a `String` cannot fail.
                Some((file, line)) => drop(write!(located, "{file}:{line}")),
                None => drop(write!(located, "{NAME}{line}")),
            }
            rest = after;
        }
        located.push_str(rest);
        (located != error).then_some(located)
    }

    /// The file of a line of the joined text, and its number there.
    fn line(&self, line: usize) -> Option<(&'static str, usize)> {
        let mut before = 0;
        for part in self.parts {
            let lines = part.text.matches('\n').count();
            if line > before && line <= before + lines {
                return Some((part.file, line - before));
            }
            before += lines;
        }
        None
    }
}

/// A key in the slot of `key`, by its hash tag. A key without a tag shares its slot with no other key of ours.
fn key_that_is_nowhere(key: &[u8]) -> Option<Vec<u8>> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let close = key[open..].iter().position(|byte| *byte == b'}')?;
    // No id of a job has so many colons.
    (close > 1).then(|| [key, b":toril:is:nowhere:"].concat())
}

/// Joins Lua files into one static [`Script`].
///
/// `script!("settle", "line"; "outcomes")` is for this crate: the operation `lua/settle.lua`, with
/// `lua/lib/line.lua` before it. Libraries behind the semicolon go into a function `rarely(context)`, which
/// the script calls when it needs them: making the functions of all libraries costs as much as settling a job.
///
/// `script!(once "remove_job", …)` is for calls that are repeated where their reply was lost: the script is carried out once
/// for each request, whose three arguments come last.
///
/// `script!(in "src/lua": "lib", "change")` is for others: files of a folder of the calling crate, in order.
#[macro_export]
#[doc(hidden)]
macro_rules! lua_script {
    (in $folder:literal: $($file:literal),+ $(,)?) => {{
        static SCRIPT: std::sync::LazyLock<$crate::Script> = std::sync::LazyLock::new(|| {
            $crate::Script::join(&[$($crate::Part {
                file: concat!($file, ".lua"),
                text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $file, ".lua")),
            }),+])
        });
        &*SCRIPT
    }};
    (once $name:literal $(, $lib:literal)*) => {{
        static SCRIPT: std::sync::LazyLock<$crate::Script> = std::sync::LazyLock::new(|| {
            $crate::Script::join(&[
                $crate::lua_part!("lib/queue"),
                $($crate::lua_part!(concat!("lib/", $lib)),)*
                $crate::lua_part!("lib/request"),
                $crate::Part { file: "once", text: "return once(function()\n" },
                $crate::lua_part!($name),
                $crate::Part { file: "once", text: "end)\n" },
            ])
        });
        &*SCRIPT
    }};
    ($name:literal $(, $lib:literal)* $(; $($rare:literal),*)?) => {{
        static SCRIPT: std::sync::LazyLock<$crate::Script> = std::sync::LazyLock::new(|| {
            $crate::Script::join(&[
                $crate::lua_part!("lib/queue"),
                $($crate::lua_part!(concat!("lib/", $lib)),)*
                $($crate::Part { file: "rarely", text: "local function rarely(context)\n" },
                $($crate::lua_part!(concat!("lib/", $rare)),)*
                $crate::Part { file: "rarely", text: "end\n" },)?
                $crate::lua_part!($name),
            ])
        });
        &*SCRIPT
    }};
}

#[macro_export]
#[doc(hidden)]
macro_rules! lua_part {
    ($name:expr) => {
        $crate::Part {
            file: concat!($name, ".lua"),
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/", $name, ".lua")),
        }
    };
}

pub use lua_script as script;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_its_line() {
        let script = Script::join(&[
            Part {
                file: "a.lua",
                text: "one\ntwo\n",
            },
            Part {
                file: "b.lua",
                text: "three\n",
            },
        ]);
        let located = |error: &str| script.locate(error);
        assert_eq!(
            located("ERR user_script:2: oops script: f00, on @user_script:3.").as_deref(),
            Some("ERR a.lua:2: oops script: f00, on @b.lua:1.")
        );
        assert_eq!(located("WRONGTYPE of a key"), None);
        assert_eq!(located("ERR user_script:9: gone"), None);
        assert_eq!(located("ERR user_script:"), None);
    }

    #[test]
    fn calls_to_a_cluster_name_a_key_that_exists_nowhere() {
        let script = Script::join(&[Part {
            file: "a.lua",
            text: "return 1\n",
        }]);
        let words = |call: &Cmd| -> Vec<String> {
            let args = call.args_iter().skip(2).map(|arg| match arg {
                Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => "?".to_owned(),
            });
            args.collect()
        };
        let mut call = script.call("{bull}:ring:meta");
        call.arg("now").arg("");
        let nowhere = "{bull}:ring:meta:toril:is:nowhere:";
        let expected = ["2", "{bull}:ring:meta", nowhere, "now", ""];
        assert_eq!(words(&Script::for_cluster(&call)), expected);
        let whole = script.with_text(&Script::for_cluster(&call));
        assert_eq!(words(&whole), expected);
        let two = Script::for_cluster(&script.call_on(&["{a}:1", "{a}:2"]));
        assert_eq!(
            words(&two),
            ["3", "{a}:1", "{a}:2", "{a}:2:toril:is:nowhere:"]
        );
        for untagged in ["toril:hosts", "a{}:b", "a}b{", "{a"] {
            let call = Script::for_cluster(&script.call(untagged));
            assert_eq!(words(&call), ["1", untagged]);
        }
    }

    /// Each `script!` of this crate names the libraries that its files call, in an order in which Lua finds them.
    #[test]
    fn scripts_have_the_libraries_that_they_use() {
        let root = std::path::Path::new(".");
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        let mut declared = Vec::new();
        for file in std::fs::read_dir(root.join("lua/lib")).unwrap() {
            let library = file
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            for line in read(&format!("lua/lib/{library}.lua")).lines() {
                if let Some(rest) = line.strip_prefix("local function ") {
                    let name = rest.split('(').next().unwrap();
                    declared.push((library.clone(), name.to_owned()));
                }
            }
        }
        let mut seen = 0;
        for file in std::fs::read_dir(root.join("src")).unwrap() {
            let Some(source) = std::fs::read_to_string(file.unwrap().path()).ok() else {
                // A directory.
                continue;
            };
            for (at, _) in source.match_indices("script!(") {
                let call = &source[at..at + source[at..].find(')').unwrap()];
                let mut files: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
                let operation = files.remove(0);
                files.insert(0, "queue");
                for (position, part) in files.iter().chain([&operation]).enumerate() {
                    let folder = if position < files.len() { "lib/" } else { "" };
                    let text = read(&format!("lua/{folder}{part}.lua"));
                    for (library, name) in declared.iter().filter(|(library, _)| library != part) {
                        let calls = text.match_indices(name.as_str()).any(|(at, _)| {
                            let before = text[..at].chars().next_back();
                            let after = text[at + name.len()..].chars().next();
                            let in_word = |c: Option<char>| {
                                c.is_some_and(|c| c.is_alphanumeric() || "_.".contains(c))
                            };
                            !in_word(before) && after == Some('(')
                        });
                        let known = files[..position.min(files.len())].contains(&library.as_str());
                        assert!(
                            !calls || known,
                            "{operation}: {part}.lua calls {name} of lib/{library}.lua"
                        );
                    }
                }
                seen += 1;
            }
        }
        assert_eq!(
            seen,
            std::fs::read_dir(root.join("lua")).unwrap().count() - 1
        );
    }
}
