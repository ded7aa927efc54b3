//! Takes the shim out of a component. The tools that make components put a module between a guest and the host's functions that
//! use the guest's memory: these can be made only once the memory is there, so the guest calls them through the table of a
//! module that is instantiated first. Here the functions and the table of this module become the guest's own. Each fresh
//! instance then consists of one module less, and has a third of the imports.

mod component;
mod module;

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind,
    ComponentTypeRef, Export, ExternalKind, Instance, Operator, Parser, Payload,
};

/// The table of the functions that a shim calls.
const TABLE: &str = "$imports";

/// What the shim's functions are to the component.
struct Shim {
    /// The module and the instance of the shim.
    module: u32,
    instance: u32,
    /// The module and the instance of the guest.
    guest_module: u32,
    guest_instance: u32,
    /// How many functions the table has.
    slots: u32,
    /// The guest's imports that are functions of the shim: module, name, and place in the table.
    imports: Vec<(String, String, u32)>,
}

/// A function of the component's space of core functions, as far as it matters here.
enum Function {
    /// The export of an instance.
    Of(u32, String),
    Other,
}

/// What is defined in a component, in the order of the indices.
#[derive(Default)]
struct Parts<'a> {
    modules: Vec<&'a [u8]>,
    instances: Vec<Instance<'a>>,
    functions: Vec<Function>,
    tables: u32,
    /// Modules are taken from elsewhere, too: they would have to be counted.
    has_other_modules: bool,
}

/// The component without its shim; none where it has no shim of the known shape.
pub(crate) fn removed(component: &[u8]) -> Option<Vec<u8>> {
    let parts = Parts::read(component).ok()?;
    let shim = Shim::find(&parts)?;
    let guest = module::with_shim(parts.modules.get(shim.guest_module as usize)?, &shim)?;
    component::without_shim(component, &parts, &shim, &guest)
}

/// The sections of a component itself, each as a payload.
fn sections(component: &[u8]) -> impl Iterator<Item = Result<Payload<'_>, BinaryReaderError>> {
    let mut depth = 0_usize;
    Parser::new(0).parse_all(component).filter(move |payload| {
        let own = depth == 1;
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth -= 1,
            Ok(_) => return own,
            Err(_) => return true,
        }
        false
    })
}

impl<'a> Parts<'a> {
    fn read(component: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut parts = Self::default();
        for payload in sections(component) {
            match payload? {
                Payload::ModuleSection {
                    unchecked_range, ..
                } => {
                    let module = component.get(unchecked_range).unwrap_or_default();
                    parts.modules.push(module);
                }
                Payload::InstanceSection(section) => {
                    for instance in section {
                        parts.instances.push(instance?);
                    }
                }
                Payload::ComponentAliasSection(section) => {
                    for alias in section {
                        parts.note_alias(&alias?);
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let is_module = matches!(import?.ty, ComponentTypeRef::Module(_));
                        parts.has_other_modules |= is_module;
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        if !matches!(function?, wasmparser::CanonicalFunction::Lift { .. }) {
                            parts.functions.push(Function::Other);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    fn note_alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::CoreInstanceExport {
                kind: ExternalKind::Func,
                instance_index,
                name,
            } => {
                let function = Function::Of(*instance_index, (*name).to_owned());
                self.functions.push(function);
            }
            ComponentAlias::CoreInstanceExport {
                kind: ExternalKind::Table,
                ..
            } => self.tables += 1,
            ComponentAlias::CoreInstanceExport { .. } => {}
            ComponentAlias::InstanceExport { kind, .. } => {
                self.has_other_modules |= *kind == ComponentExternalKind::Module;
            }
            ComponentAlias::Outer { kind, .. } => {
                self.has_other_modules |= *kind == ComponentOuterAliasKind::CoreModule;
            }
        }
    }

    /// Which module an instance is of, where it is of one.
    fn module_of(&self, instance: u32) -> Option<u32> {
        match self.instances.get(instance as usize)? {
            Instance::Instantiate { module_index, .. } => Some(*module_index),
            Instance::FromExports(_) => None,
        }
    }

    /// Those of a module.
    fn instances_of(&self, module: u32) -> impl Iterator<Item = u32> {
        (0..self.instances.len() as u32)
            .filter(move |instance| self.module_of(*instance) == Some(module))
    }
}

impl Shim {
    fn find(parts: &Parts<'_>) -> Option<Self> {
        let modules = 0..parts.modules.len() as u32;
        let mut shims =
            modules.filter_map(|module| Some((module, slots_of(parts.modules[module as usize])?)));
        let (module, slots) = shims.next()?;
        let mut instances = parts.instances_of(module);
        let instance = instances.next()?;
        // One table more would be one to count.
        let is_one = shims.next().is_none() && instances.next().is_none();
        if !is_one || parts.tables != 1 || parts.has_other_modules {
            return None;
        }
        drop(instances);
        drop(shims);
        let mut found: Option<Shim> = None;
        for (index, guest) in parts.instances.iter().enumerate() {
            let imports = imports_from(parts, guest, instance, &slots)?;
            let (false, Instance::Instantiate { module_index, .. }) = (imports.is_empty(), guest)
            else {
                continue;
            };
            if found.is_some() {
                return None;
            }
            found = Some(Shim {
                module,
                instance,
                guest_module: *module_index,
                guest_instance: index as u32,
                slots: slots.len() as u32,
                imports,
            });
        }
        found.filter(|shim| parts.instances_of(shim.guest_module).count() == 1)
    }
}

/// What an instance imports of the shim.
fn imports_from(
    parts: &Parts<'_>,
    guest: &Instance<'_>,
    shim: u32,
    slots: &[(String, u32)],
) -> Option<Vec<(String, String, u32)>> {
    let Instance::Instantiate { args, .. } = guest else {
        return Some(Vec::new());
    };
    let mut imports = Vec::new();
    for arg in args {
        let Instance::FromExports(exports) = parts.instances.get(arg.index as usize)? else {
            continue;
        };
        for export in exports {
            if let Some(name) = parts.function_of(export, shim) {
                let (_, slot) = slots.iter().find(|(own, _)| own == name)?;
                imports.push((arg.name.to_owned(), export.name.to_owned(), *slot));
            }
        }
    }
    Some(imports)
}

impl Parts<'_> {
    /// The name that a function has in the shim, where it is one of the shim's.
    fn function_of(&self, export: &Export<'_>, shim: u32) -> Option<&str> {
        if export.kind != ExternalKind::Func {
            return None;
        }
        match self.functions.get(export.index as usize)? {
            Function::Of(instance, name) if *instance == shim => Some(name),
            _ => None,
        }
    }
}

/// The functions of a shim, each with the place in the table that it calls; none where the module is no shim.
fn slots_of(module: &[u8]) -> Option<Vec<(String, u32)>> {
    let (mut names, mut slots, mut has_table) = (Vec::new(), Vec::new(), false);
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::ImportSection(_)
            | Payload::ElementSection(_)
            | Payload::StartSection { .. } => return None,
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    match export.kind {
                        ExternalKind::Func => names.push((export.name.to_owned(), export.index)),
                        ExternalKind::Table => has_table = export.name == TABLE,
                        _ => return None,
                    }
                }
            }
            Payload::CodeSectionEntry(body) => slots.push(slot_of(&body)?),
            _ => {}
        }
    }
    let named = names
        .into_iter()
        .map(|(name, index)| Some((name, *slots.get(index as usize)?)));
    named.collect::<Option<Vec<_>>>().filter(|_| has_table)
}

/// The place in the table that a function calls, with its own arguments and nothing else.
fn slot_of(body: &wasmparser::FunctionBody<'_>) -> Option<u32> {
    let mut slot = None;
    let mut arguments = 0;
    for operator in body.get_operators_reader().ok()? {
        match (operator.ok()?, slot) {
            (Operator::LocalGet { local_index }, None) if local_index == arguments => {
                arguments += 1
            }
            (Operator::I32Const { value }, None) => slot = u32::try_from(value).ok(),
            (Operator::CallIndirect { table_index: 0, .. } | Operator::End, Some(_)) => {}
            _ => return None,
        }
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules of a component, and what of the host's functions the first one imports and the last one puts in its table.
    fn modules(component: &[u8]) -> (usize, usize, usize) {
        let parts = Parts::read(component).unwrap();
        let imports = |module: &&[u8]| {
            let sections = Parser::new(0).parse_all(module);
            let imports = sections.filter_map(|section| match section.unwrap() {
                Payload::ImportSection(section) => Some(section.into_imports().count()),
                _ => None,
            });
            imports.sum()
        };
        let (first, last) = (parts.modules.first(), parts.modules.last());
        (
            parts.modules.len(),
            first.map_or(0, imports),
            last.map_or(0, imports),
        )
    }

    #[test]
    fn engines_are_a_module_and_what_fills_its_table() {
        for name in ["engine.wasm", "engine-alone.wasm"] {
            let path = format!("../../sdk/js/{name}");
            let engine = std::fs::read(&path)
                .unwrap_or_else(|error| panic!("{path}: {error}\nhint: make engine"));
            let without = removed(&engine).unwrap_or_else(|| panic!("{name} has another shape"));
            wasmparser::Validator::new().validate_all(&without).unwrap();
            let (before, imports, filled) = modules(&engine);
            let (after, left, still_filled) = modules(&without);
            assert_eq!((after, still_filled), (before - 1, filled), "{name}");
            // The last one imports the table, too. A function may be imported under two names.
            assert!(
                left + (filled - 1) <= imports,
                "{name}: {left} of {imports}"
            );
        }
    }

    #[test]
    fn what_has_no_shim_is_left_as_it_is() {
        let others = [
            "(module)",
            "(component)",
            "(component (core module) (core instance (instantiate 0)))",
            // A shim that nothing uses, and one beside a module from elsewhere.
            "(component (core module (table (export \"$imports\") 0 funcref)) (core instance (instantiate 0)))",
            "(component (import \"other\" (core module)) (core module (table (export \"$imports\") 0 funcref)) \
             (core instance (instantiate 1)) (core instance (instantiate 0)) \
             (alias core export 0 \"$imports\" (core table)))",
        ];
        for other in others {
            assert_eq!(removed(&wat::parse_str(other).unwrap()), None, "{other}");
        }
        for broken in [&b""[..], b"\0asm", &[0xff; 100]] {
            assert_eq!(removed(broken), None);
        }
    }
}
