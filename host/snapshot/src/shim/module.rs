//! The module of the guest, with the functions and the table of the shim as its own.

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection, RefType,
    TableSection, TableType,
};
use wasmparser::{Parser, Payload, TypeRef};

use super::{Shim, TABLE};

/// A function that the guest has of the shim.
struct Taken {
    /// Its index among the functions, as long as it is imported.
    index: u32,
    type_index: u32,
    parameters: u32,
    slot: u32,
}

/// Takes up the functions of the shim. The functions that stay imported keep their order, so do those of the guest; the
/// shim's come last.
struct Joined<'a> {
    shim: &'a Shim,
    taken: Vec<Taken>,
    imported: u32,
    defined: u32,
    tables: u32,
}

/// The module of the guest, which calls the host's functions through a table of its own.
pub(super) fn with_shim(module: &[u8], shim: &Shim) -> Option<Vec<u8>> {
    let mut joined = Joined::of(module, shim)?;
    if joined.taken.len() != shim.imports.len() {
        return None;
    }
    let mut guest = wasm_encoder::Module::new();
    utils::parse_core_module(&mut joined, &mut guest, Parser::new(0), module).ok()?;
    Some(guest.finish())
}

impl<'a> Joined<'a> {
    /// None where a section is missing to which something is added.
    fn of(module: &[u8], shim: &'a Shim) -> Option<Self> {
        let mut joined = Joined {
            shim,
            taken: Vec::new(),
            imported: 0,
            defined: 0,
            tables: 0,
        };
        let mut parameters = Vec::new();
        let (mut has_exports, mut has_code) = (false, false);
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        parameters.push(ty.ok()?.params().len() as u32);
                    }
                }
                Payload::ImportSection(section) => joined.read_imports(section, &parameters)?,
                Payload::FunctionSection(section) => joined.defined = section.count(),
                Payload::TableSection(section) => joined.tables = section.count(),
                Payload::ExportSection(_) => has_exports = true,
                Payload::CodeSectionStart { .. } => has_code = true,
                _ => {}
            }
        }
        (has_exports && has_code && joined.tables > 0).then_some(joined)
    }

    fn read_imports(
        &mut self,
        section: wasmparser::ImportSectionReader<'_>,
        parameters: &[u32],
    ) -> Option<()> {
        for import in section.into_imports() {
            let import = import.ok()?;
            let TypeRef::Func(type_index) = import.ty else {
                return None;
            };
            if let Some(slot) = self.slot_of(&import) {
                self.taken.push(Taken {
                    index: self.imported,
                    type_index,
                    parameters: *parameters.get(type_index as usize)?,
                    slot,
                });
            }
            self.imported += 1;
        }
        Some(())
    }

    fn slot_of(&self, import: &wasmparser::Import<'_>) -> Option<u32> {
        let mut imports = self.shim.imports.iter();
        let found = imports.find(|(module, name, _)| {
            (module.as_str(), name.as_str()) == (import.module, import.name)
        });
        found.map(|(_, _, slot)| *slot)
    }
}

impl Reencode for Joined<'_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        let taken = self.taken.len() as u32;
        Ok(
            match self.taken.binary_search_by_key(&index, |taken| taken.index) {
                Ok(position) => self.imported - taken + self.defined + position as u32,
                Err(before) => index - before as u32,
            },
        )
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        for import in section.into_imports() {
            let import = import?;
            if self.slot_of(&import).is_none() {
                utils::parse_import(self, imports, import)?;
            }
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_function_section(self, functions, section)?;
        for taken in &self.taken {
            functions.function(taken.type_index);
        }
        Ok(())
    }

    fn parse_table_section(
        &mut self,
        tables: &mut TableSection,
        section: wasmparser::TableSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_table_section(self, tables, section)?;
        let slots = u64::from(self.shim.slots);
        let table = TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: slots,
            maximum: Some(slots),
            shared: false,
        };
        tables.table(table);
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_export_section(self, exports, section)?;
        exports.export(TABLE, ExportKind::Table, self.tables);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_code_section(self, code, section)?;
        for taken in &self.taken {
            let mut function = Function::new([]);
            let mut body = function.instructions();
            for parameter in 0..taken.parameters {
                body.local_get(parameter);
            }
            body.i32_const(taken.slot as i32);
            body.call_indirect(self.tables, taken.type_index).end();
            code.function(&function);
        }
        Ok(())
    }
}
