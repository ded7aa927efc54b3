//! The component around the guest, without the shim's module and its instance.

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentSectionId,
    InstanceSection, RawSection,
};
use wasmparser::{ComponentAlias, ExternalKind, Instance, Payload};

use super::{Function, Parts, Shim, sections};

/// Gives modules, instances and functions the indices that they have without the shim.
struct Shifted<'a, 'c> {
    shim: &'a Shim,
    parts: &'a Parts<'c>,
    /// How many functions of the shim come before each.
    before: Vec<u32>,
    /// How many modules and instances came so far, the shim's among them.
    modules: u32,
    instances: u32,
    /// The guest is instantiated.
    has_guest: bool,
}

/// None where something is of another shape.
pub(super) fn without_shim(
    component: &[u8],
    parts: &Parts<'_>,
    shim: &Shim,
    guest: &[u8],
) -> Option<Vec<u8>> {
    let mut before = Vec::new();
    let mut count = 0;
    for function in &parts.functions {
        before.push(count);
        count += u32::from(shim.has(function));
    }
    let mut shifted = Shifted {
        shim,
        parts,
        before,
        modules: 0,
        instances: 0,
        has_guest: false,
    };
    let mut result = Component::new();
    for payload in sections(component) {
        shifted.put_section(&mut result, component, guest, payload.ok()?)?;
    }
    Some(result.finish())
}

impl Shim {
    fn has(&self, function: &Function) -> bool {
        matches!(function, Function::Of(instance, _) if *instance == self.instance)
    }
}

impl Shifted<'_, '_> {
    fn put_section(
        &mut self,
        result: &mut Component,
        component: &[u8],
        guest: &[u8],
        section: Payload<'_>,
    ) -> Option<()> {
        match section {
            Payload::ModuleSection {
                unchecked_range, ..
            } => {
                self.put_module(result, component.get(unchecked_range)?, guest);
            }
            Payload::InstanceSection(section) => {
                let mut kept = InstanceSection::new();
                for instance in section {
                    self.put_instance(&mut kept, instance.ok()?)?;
                }
                result.section(&kept);
            }
            Payload::ComponentAliasSection(section) => {
                let mut kept = ComponentAliasSection::new();
                for alias in section {
                    self.put_alias(&mut kept, alias.ok()?)?;
                }
                result.section(&kept);
            }
            Payload::ComponentCanonicalSection(section) => {
                let mut kept = CanonicalFunctionSection::new();
                component_utils::parse_component_canonical_section(self, &mut kept, section)
                    .ok()?;
                result.section(&kept);
            }
            section => {
                let (id, range) = section.as_section()?;
                let data = component.get(range)?;
                result.section(&RawSection { id, data });
            }
        }
        Some(())
    }

    fn put_module(&mut self, result: &mut Component, module: &[u8], guest: &[u8]) {
        let index = self.modules;
        self.modules += 1;
        let data = match index {
            index if index == self.shim.module => return,
            index if index == self.shim.guest_module => guest,
            _ => module,
        };
        let id = ComponentSectionId::CoreModule.into();
        result.section(&RawSection { id, data });
    }

    fn put_instance(&mut self, kept: &mut InstanceSection, instance: Instance<'_>) -> Option<()> {
        let index = self.instances;
        self.instances += 1;
        if index == self.shim.instance {
            return Some(());
        }
        self.has_guest |= index == self.shim.guest_instance;
        let instance = match instance {
            Instance::FromExports(exports) => {
                let others = exports
                    .iter()
                    .filter(|export| self.parts.function_of(export, self.shim.instance).is_none());
                Instance::FromExports(others.copied().collect())
            }
            instance => instance,
        };
        component_utils::parse_instance(self, kept, instance).ok()
    }

    fn put_alias(
        &mut self,
        kept: &mut ComponentAliasSection,
        alias: ComponentAlias<'_>,
    ) -> Option<()> {
        let instance = self.shim.instance;
        match alias {
            ComponentAlias::CoreInstanceExport {
                kind: ExternalKind::Func,
                instance_index,
                ..
            } if instance_index == instance => Some(()),
            ComponentAlias::CoreInstanceExport {
                kind,
                instance_index,
                name,
            } if instance_index == instance => {
                // The guest has the table under the same name.
                kept.alias(Alias::CoreInstanceExport {
                    instance: self.instance_index(self.shim.guest_instance),
                    kind: kind.into(),
                    name,
                });
                self.has_guest.then_some(())
            }
            alias => {
                kept.alias(self.component_alias(alias).ok()?);
                Some(())
            }
        }
    }
}

impl Reencode for Shifted<'_, '_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        let before = self.before.get(index as usize).copied();
        Ok(index - before.unwrap_or_default())
    }
}

impl ReencodeComponent for Shifted<'_, '_> {
    fn module_index(&mut self, index: u32) -> u32 {
        index - u32::from(index > self.shim.module)
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        index - u32::from(index > self.shim.instance)
    }
}
