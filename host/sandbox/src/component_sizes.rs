//! What a component is made of, and what an operator sets if that is more than there is room for.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Encoding, Instance, Parser, Payload,
};

/// How many core instances an instance of a component has. Those that the compiler adds where components are composed
/// are not known here.
pub(crate) fn core_instances(bytes: &[u8]) -> Result<usize, BinaryReaderError> {
    // The component that is read, and those around it.
    let mut around: Vec<Frame> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => around.push(Frame {
                is_component: encoding == Encoding::Component,
                ..Frame::default()
            }),
            Payload::End(_) => {
                let Some(ended) = around.pop() else { break };
                match around.last_mut() {
                    Some(outer) if ended.is_component => outer.components.push(ended.instances),
                    Some(_) => {}
                    None => return Ok(ended.instances),
                }
            }
            payload => read_section(&mut around, payload)?,
        }
    }
    Ok(0)
}

#[derive(Default)]
struct Frame {
    is_component: bool,
    /// Core instances in one instance of it.
    instances: usize,
    /// The same of each component that it knows, by index.
    components: Vec<usize>,
}

fn read_section(around: &mut [Frame], payload: Payload<'_>) -> Result<(), BinaryReaderError> {
    match payload {
        Payload::InstanceSection(section) => {
            for instance in section {
                if let (Instance::Instantiate { .. }, Some(own)) = (instance?, around.last_mut()) {
                    own.instances += 1;
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                if let ComponentInstance::Instantiate {
                    component_index, ..
                } = instance?
                    && let Some(own) = around.last_mut()
                {
                    let known = own.components.get(component_index as usize);
                    // Components in components can multiply beyond all numbers.
                    own.instances = own.instances.saturating_add(known.copied().unwrap_or(0));
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                let named = aliased(around, &alias?);
                name_component(around, named);
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section {
                let is_component = matches!(import?.ty, ComponentTypeRef::Component(_));
                name_component(around, is_component.then_some(0));
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section {
                let export = export?;
                let is_component = export.kind == ComponentExternalKind::Component;
                let own = around.last();
                let same = own.and_then(|own| own.components.get(export.index as usize).copied());
                name_component(around, is_component.then_some(same.unwrap_or(0)));
            }
        }
        _ => {}
    }
    Ok(())
}

fn name_component(around: &mut [Frame], instances: Option<usize>) {
    if let (Some(own), Some(instances)) = (around.last_mut(), instances) {
        own.components.push(instances);
    }
}

fn aliased(around: &[Frame], alias: &ComponentAlias<'_>) -> Option<usize> {
    match alias {
        ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::Component,
            count,
            index,
        } => {
            let outer = around.iter().rev().nth(*count as usize);
            let known = outer.and_then(|outer| outer.components.get(*index as usize));
            Some(known.copied().unwrap_or(0))
        }
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Component,
            ..
        } => Some(0),
        _ => None,
    }
}

/// What wasmtime says around the number that a component needs, and the key that sets it. A key of a queue's limits that
/// bounds the same comes after it.
const POOL: [(&str, &str, &str, Option<&str>); 9] = [
    (
        "transitively contains ",
        " core module instances",
        "core_instances_max",
        Some("instances_max"),
    ),
    (
        "transitively contains ",
        " Wasm linear memories",
        "memories_max",
        None,
    ),
    ("transitively contains ", " tables", "tables_max", None),
    (
        "defined memories count of ",
        " exceeds",
        "memories_max",
        None,
    ),
    ("defined tables count of ", " exceeds", "tables_max", None),
    (
        "has a minimum element size of ",
        " which exceeds",
        "table_elements_max",
        Some("table_elements_max"),
    ),
    (
        "has a minimum byte size of ",
        " which exceeds",
        "guest_memory_bytes_max",
        Some("memory_bytes_max"),
    ),
    (
        "instance allocation for this module requires ",
        " bytes",
        "instance_bytes_max",
        None,
    ),
    (
        "instance allocation for this component requires ",
        " bytes",
        "instance_bytes_max",
        None,
    ),
];

/// What to set where the engine's pool has no room for a component, by what wasmtime says. A test has one component for
/// each key.
pub(crate) fn hint(error: &str) -> Option<String> {
    POOL.into_iter().find_map(|(before, after, key, limit)| {
        let (_, rest) = error.split_once(before)?;
        let (number, _) = rest.split_once(after)?;
        let number: u64 = number.parse().ok()?;
        let limit = limit.map_or(String::new(), |limit| {
            format!(", and `{limit} = {number}` or more in `[queues.NAME.limits]`,")
        });
        Some(format!(
            "hint: set `{key} = {number}` in `[runtime]`{limit} and restart the host"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine_options::EngineOptions;
    use wasmtime::component::Component;

    fn component(parts: &str) -> Vec<u8> {
        wat::parse_str(format!("(component {parts})")).unwrap()
    }

    #[test]
    fn core_instances_are_counted_through_components() {
        let twice =
            "(core module $m) (core instance (instantiate $m)) (core instance (instantiate $m))";
        let count = |parts: &str| core_instances(&component(parts)).unwrap();
        assert_eq!(count(""), 0);
        assert_eq!(count(twice), 2);
        let nested = format!(
            "(component $c {twice}) (instance (instantiate $c)) (instance (instantiate $c))
             (component $d (alias outer 1 $c (component $e)) (instance (instantiate $e)))
             (export $f \"f\" (component $d)) (instance (instantiate $f))"
        );
        assert_eq!(count(&nested), 6);
        assert!(core_instances(&component(twice)[..20]).is_err());
    }

    #[test]
    fn each_size_of_the_pool_is_named_with_what_it_must_be() {
        let options = EngineOptions {
            executions_max: 1,
            core_instances_max: 3,
            memories_max: 2,
            tables_max: 2,
            table_elements_max: 10,
            guest_memory_bytes_max: 1 << 16,
            instance_bytes_max: 4096,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        let many = |count: usize, what: &str| format!("(core module $m {})", what.repeat(count));
        let made = |count: usize| "(core instance (instantiate $m))".repeat(count);
        for (parts, key) in [
            (many(0, "") + &made(4), "`core_instances_max = 4`"),
            (many(1, "(memory 1)") + &made(3), "`memories_max = 3`"),
            (many(1, "(table 1 funcref)") + &made(3), "`tables_max = 3`"),
            (many(3, "(memory 1)"), "`memories_max = 3`"),
            (many(3, "(table 1 funcref)"), "`tables_max = 3`"),
            (many(1, "(table 11 funcref)"), "`table_elements_max = 11`"),
            (many(1, "(memory 2)"), "`guest_memory_bytes_max = 131072`"),
            (
                many(1000, "(global (mut i64) (i64.const 0))"),
                "`instance_bytes_max = ",
            ),
            (
                many(100, "(global (mut i64) (i64.const 0))") + &made(3),
                "`instance_bytes_max = ",
            ),
        ] {
            let error = Component::new(&engine.wasm, component(&parts))
                .err()
                .unwrap();
            let hint = hint(&format!("{error:#}"));
            let hint = hint.unwrap_or_else(|| panic!("{error:#}"));
            assert!(hint.contains(key), "{hint}\n{error:#}");
        }
    }
}
