//! Fewer data segments. Each costs every instance 16 bytes and some time, and Go's linker makes 50,000 of them: one for each
//! run of bytes between zeros.

use std::ops::Range;

use wasm_encoder::{ConstExpr, DataSection, Module, RawSection};
use wasmparser::{DataKind, Operator, Parser, Payload};

/// Zeros that are written out rather than begin another segment: a page, the smallest part of a memory that a host maps.
const GAP_MAX: usize = 4096;
/// The interpreter that starts programs takes a million.
const SEGMENT_BYTES_MAX: usize = 512 * 1024;
/// No initial memory is larger.
const IMAGE_BYTES_MAX: usize = 1 << 30;

/// Joins the segments of a module's memory that lie close together. A module that uses segments while it runs stays as it is.
pub(crate) fn join(core: &[u8]) -> anyhow::Result<Vec<u8>> {
    let Some(image) = image(core)? else {
        return Ok(core.to_vec());
    };
    let mut data = DataSection::new();
    for run in runs(&image) {
        let bytes = image[run.clone()].iter().copied();
        data.active(0, &ConstExpr::i32_const(run.start as u32 as i32), bytes);
    }
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(core) {
        match payload? {
            // Only instructions that use segments need it.
            Payload::DataCountSection { .. } => {}
            Payload::DataSection(_) => {
                module.section(&data);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &core[range];
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(module.finish())
}

/// What the segments write into the memory; none where they cannot be joined.
fn image(core: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut image = Vec::new();
    for payload in Parser::new(0).parse_all(core) {
        match payload? {
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if matches!(
                        operator?,
                        Operator::MemoryInit { .. } | Operator::DataDrop { .. }
                    ) {
                        return Ok(None);
                    }
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    let DataKind::Active {
                        memory_index: 0,
                        offset_expr,
                    } = &segment.kind
                    else {
                        // What snapshots leave of segments that were written is empty.
                        if matches!(segment.kind, DataKind::Passive) {
                            continue;
                        }
                        return Ok(None);
                    };
                    let Operator::I32Const { value } = offset_expr.get_operators_reader().read()?
                    else {
                        return Ok(None);
                    };
                    let start = value as u32 as usize;
                    let end = start + segment.data.len();
                    if end > IMAGE_BYTES_MAX {
                        return Ok(None);
                    }
                    if end > image.len() {
                        image.resize(end, 0);
                    }
                    image[start..end].copy_from_slice(segment.data);
                }
            }
            _ => {}
        }
    }
    Ok(Some(image))
}

/// Where there is something in the image.
fn runs(image: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let written = image.iter().enumerate().filter(|(_, byte)| **byte != 0);
    for (at, _) in written {
        match runs.last_mut() {
            Some(last) if at - last.end < GAP_MAX && at - last.start < SEGMENT_BYTES_MAX => {
                last.end = at + 1;
            }
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(wat: &str) -> Vec<(usize, usize)> {
        let joined = join(&wat::parse_str(wat).unwrap()).unwrap();
        wasmparser::Validator::new().validate_all(&joined).unwrap();
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(&joined) {
            if let Payload::DataSection(segments) = payload.unwrap() {
                found = segments
                    .into_iter()
                    .map(|segment| segment.unwrap())
                    .map(|segment| match segment.kind {
                        DataKind::Active { offset_expr, .. } => {
                            match offset_expr.get_operators_reader().read().unwrap() {
                                Operator::I32Const { value } => {
                                    (value as usize, segment.data.len())
                                }
                                other => panic!("{other:?}"),
                            }
                        }
                        DataKind::Passive => (usize::MAX, segment.data.len()),
                    })
                    .collect();
            }
        }
        found
    }

    #[test]
    fn segments_that_lie_close_together_are_one() {
        let joined = segments(
            r#"(module (memory 1) (data (i32.const 8) "ab\00") (data (i32.const 100) "c") (data (i32.const 30000) "d"))"#,
        );
        assert_eq!(joined, [(8, 93), (30_000, 1)]);
    }

    #[test]
    fn segments_have_no_more_than_half_a_megabyte() {
        let text = "x".repeat(600_000);
        let joined = segments(&format!(
            r#"(module (memory 20) (data (i32.const 0) "{text}"))"#
        ));
        assert_eq!(joined, [(0, 524_288), (524_288, 75_712)]);
    }

    #[test]
    fn segments_that_are_used_at_run_time_stay() {
        let joined = segments(
            r#"(module (memory 1) (data $later "ab") (func (memory.init $later (i32.const 0) (i32.const 0) (i32.const 2))))"#,
        );
        assert_eq!(joined, [(usize::MAX, 2)]);
    }
}
