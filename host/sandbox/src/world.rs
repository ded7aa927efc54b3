//! The worlds that a component may be built for, and how a component tells which one it is.

use serde::{Serialize, Serializer};
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentFuncType, ComponentValType,
};
use wasmparser::types::TypesRef;

/// The export that every processor has.
pub(crate) const PROCESS: &str = "process";

/// A world of processors: what a component imports and exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// The job is a handle, which `process` borrows.
    Processor,
    /// The job stands free, as the interface `current-job`.
    PlainProcessor,
}

impl World {
    /// Its name in `wit/`.
    pub fn name(self) -> &'static str {
        match self {
            World::Processor => "toril:processor/processor",
            World::PlainProcessor => "toril:processor/plain-processor",
        }
    }

    /// What `process` is in it.
    fn process(self) -> &'static str {
        match self {
            World::Processor => "func(job: borrow<job>) -> result<json, failure>",
            World::PlainProcessor => "func() -> result<json, failure>",
        }
    }

    /// The world that the export `process` of a component is of; otherwise what differs. The types inside the failure are
    /// compared when the component is compiled.
    pub(crate) fn of(component: TypesRef<'_>) -> Result<World, String> {
        let found = match component.component_item_for_export(PROCESS) {
            Some(item) => match item.ty {
                ComponentEntityType::Func(id) => {
                    let process = &component[id];
                    if let Some(world) = of_process(component, process) {
                        return Ok(world);
                    }
                    format!("`process` is `{}`", func_text(component, process))
                }
                _ => "`process` is not a function".to_owned(),
            },
            None => "no `process` is exported".to_owned(),
        };
        let worlds = [World::Processor, World::PlainProcessor]
            .map(|world| format!("`{}` in `{}`", world.process(), world.name()));
        Err(format!("{found}\nhint: it is {}", worlds.join(" and ")))
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for World {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn of_process(component: TypesRef<'_>, process: &ComponentFuncType) -> Option<World> {
    let kind = |value: &ComponentValType| match value {
        ComponentValType::Primitive(primitive) => ComponentDefinedType::Primitive(*primitive),
        ComponentValType::Type(id) => component[*id].clone(),
    };
    let ComponentDefinedType::Result { ok, err, .. } = kind(process.result.as_ref()?) else {
        return None;
    };
    let returns_json = matches!(
        kind(&ok?),
        ComponentDefinedType::Primitive(PrimitiveValType::String)
    );
    let may_fail = matches!(kind(&err?), ComponentDefinedType::Variant(_));
    if process.async_ || !returns_json || !may_fail {
        return None;
    }
    match &*process.params {
        [] => Some(World::PlainProcessor),
        [(_, job)] if matches!(kind(job), ComponentDefinedType::Borrow(_)) => {
            Some(World::Processor)
        }
        _ => None,
    }
}

/// A function as WIT shows it. Types that have names in WIT are named by their kind: a component knows no more of them.
fn func_text(component: TypesRef<'_>, func: &ComponentFuncType) -> String {
    let shown = |value| value_text(component, value, 2);
    // Nobody reads more.
    let params = func.params.iter().take(8);
    let params: Vec<String> = params
        .map(|(name, value)| format!("{name}: {}", shown(value)))
        .collect();
    let is_async = if func.async_ { "async " } else { "" };
    let result = func.result.as_ref();
    let result = result.map_or(String::new(), |value| format!(" -> {}", shown(value)));
    format!("{is_async}func({}){result}", params.join(", "))
}

/// A type as WIT shows it, down to a depth: components of strangers nest types as deep as they like.
fn value_text(component: TypesRef<'_>, value: &ComponentValType, depth: u32) -> String {
    let id = match value {
        ComponentValType::Primitive(primitive) => return primitive.to_string(),
        ComponentValType::Type(_) if depth == 0 => return "…".to_owned(),
        ComponentValType::Type(id) => *id,
    };
    let inner = |value: &ComponentValType| value_text(component, value, depth - 1);
    let maybe = |value: &Option<ComponentValType>| value.as_ref().map_or("_".to_owned(), inner);
    let kind = match &component[id] {
        ComponentDefinedType::Primitive(primitive) => return primitive.to_string(),
        ComponentDefinedType::List { element, .. } => return format!("list<{}>", inner(element)),
        ComponentDefinedType::Option { ty, .. } => return format!("option<{}>", inner(ty)),
        ComponentDefinedType::Result { ok, err, .. } => {
            return format!("result<{}, {}>", maybe(ok), maybe(err));
        }
        ComponentDefinedType::Record(_) => "record",
        ComponentDefinedType::Variant(_) => "variant",
        ComponentDefinedType::Tuple(_) => "tuple",
        ComponentDefinedType::Flags(_) => "flags",
        ComponentDefinedType::Enum(_) => "enum",
        ComponentDefinedType::Own(_) => "own<resource>",
        ComponentDefinedType::Borrow(_) => "borrow<resource>",
        ComponentDefinedType::Map { .. } => "map",
        ComponentDefinedType::FixedLengthList { .. } => "list",
        ComponentDefinedType::Future { .. } => "future",
        ComponentDefinedType::Stream { .. } => "stream",
    };
    kind.to_owned()
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    fn world(process: &str) -> Result<World, String> {
        let component = format!(
            r#"(component
              (import "job" (type $job (sub resource)))
              (type $failure' (variant (case "delayed")))
              (import "failure" (type $failure (eq $failure')))
              (type $json string)
              (import "found" (func $found {process}))
              (export "process" (func $found)))"#
        );
        let component = wat::parse_str(component).unwrap();
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        World::of(validator.validate_all(&component).unwrap().as_ref())
    }

    #[test]
    fn component_is_of_the_world_that_its_process_is_of() {
        let result = "(result (result string (error $failure)))";
        assert_eq!(world(result), Ok(World::PlainProcessor));
        let named = "(result (result $json (error $failure)))";
        assert_eq!(world(named), Ok(World::PlainProcessor));
        let handed = format!(r#"(param "job" (borrow $job)) {result}"#);
        assert_eq!(world(&handed), Ok(World::Processor));
    }

    #[test]
    fn what_differs_is_named() {
        for (process, shown) in [
            (
                r#"(param "data" string) (result string)"#,
                "func(data: string) -> string",
            ),
            ("", "func()"),
            ("(result (result string))", "func() -> result<string, _>"),
            (
                r#"(param "job" (own $job)) (result (result string (error $failure)))"#,
                "func(job: own<resource>) -> result<string, variant>",
            ),
            (
                r#"(param "jobs" (list (borrow $job))) (param "n" u32) (result (result (error string)))"#,
                "func(jobs: list<borrow<resource>>, n: u32) -> result<_, string>",
            ),
            (
                r#"async (result (result string (error $failure)))"#,
                "async func() -> result<string, variant>",
            ),
            (
                r#"(param "deep" (list (option (list string)))) (result (tuple u8 bool))"#,
                "func(deep: list<option<…>>) -> tuple",
            ),
        ] {
            let differs = world(process).unwrap_err();
            let (found, hint) = differs.split_once('\n').unwrap();
            assert_eq!(found, format!("`process` is `{shown}`"));
            assert!(
                hint.contains(
                    "`func() -> result<json, failure>` in `toril:processor/plain-processor`"
                ),
                "{hint}"
            );
        }
    }
}
