//! From places in the script to places in what it was made of.
//!
//! A map of a large bundle has some hundred thousand entries, and most jobs need none of them: they stay the text that they
//! are, with a mark here and there from where to read on.

use rquickjs::{Ctx, Object, Result};

/// Entries between two marks. Reading one takes some ten nanoseconds.
const ENTRIES_PER_MARK: usize = 128;

#[derive(Default)]
pub(crate) struct SourceMap {
    sources: Vec<String>,
    mappings: Box<[u8]>,
    marks: Vec<Reader>,
}

/// A place in the script: line and column, from 0 on.
type Place = (u32, u32);

/// An entry: from this place of the script on, until the next entry.
#[derive(Clone, Copy)]
struct Entry {
    at: Place,
    /// The index of the source, its line and column; none for what the bundler made.
    source: Option<(usize, Place)>,
}

/// A state of reading the mappings, which are written as differences.
#[derive(Clone, Copy, Default)]
struct Reader {
    offset: usize,
    line: u32,
    column: i64,
    source: i64,
    source_line: i64,
    source_column: i64,
}

impl SourceMap {
    /// Reads a source map of version 3.
    pub(crate) fn parse(ctx: &Ctx<'_>, json: &str) -> Result<Self> {
        let map: Object = ctx.json_parse(json)?.get()?;
        let root: Option<String> = map.get("sourceRoot")?;
        let root = root.unwrap_or_default();
        let sources: Vec<Option<String>> = map.get("sources")?;
        let source = |name: Option<String>| format!("{root}{}", name.unwrap_or_default());
        let mappings: String = map.get("mappings")?;
        let mut map = SourceMap {
            sources: sources.into_iter().map(source).collect(),
            mappings: mappings.into_bytes().into(),
            marks: Vec::new(),
        };
        map.mark();
        Ok(map)
    }

    fn mark(&mut self) {
        let mut reader = Reader::default();
        let mut marks = vec![reader];
        let mut count = 0;
        while reader.next(&self.mappings).is_some() {
            count += 1;
            if count % ENTRIES_PER_MARK == 0 {
                marks.push(reader);
            }
        }
        self.marks = marks;
    }

    /// Puts the places of the sources in a stack of the script.
    pub(crate) fn apply(&self, stack: &str, script: &str) -> String {
        let mut mapped = String::with_capacity(stack.len());
        let mut rest = stack;
        while let Some(start) = rest.find(script) {
            let (before, after) = rest.split_at(start);
            mapped.push_str(before);
            rest = &after[script.len()..];
            match place_at(rest).and_then(|(place, length)| Some((self.look_up(place)?, length))) {
                Some((place, length)) => {
                    mapped.push_str(&place);
                    rest = &rest[length..];
                }
                None => mapped.push_str(script),
            }
        }
        mapped.push_str(rest);
        mapped
    }

    /// `file:line:column` of the source.
    fn look_up(&self, place: Place) -> Option<String> {
        let after = self.marks.partition_point(|mark| mark.place() <= place);
        let mut reader = *self.marks.get(after.checked_sub(1)?)?;
        // The mark stands behind its entry, which may be the one.
        let mut found = None;
        if after > 1 {
            found = Some(reader.entry());
        }
        while let Some(entry) = reader.next(&self.mappings) {
            if entry.at > place {
                break;
            }
            found = Some(entry);
        }
        let entry = found.filter(|entry| entry.at.0 == place.0)?;
        let (source, (line, column)) = entry.source?;
        let source = self.sources.get(source)?;
        Some(format!("{source}:{}:{}", line + 1, column + 1))
    }
}

/// Reads `:line:column` at the beginning of a text, both from 1 on; returns them from 0 on, and how long they are.
fn place_at(text: &str) -> Option<(Place, usize)> {
    let (line, line_length) = number(text.strip_prefix(':')?)?;
    let (column, column_length) = number(text[1 + line_length..].strip_prefix(':')?)?;
    let place = (line.checked_sub(1)?, column.checked_sub(1)?);
    Some((place, 2 + line_length + column_length))
}

fn number(text: &str) -> Option<(u32, usize)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    let digits = &text[..end.unwrap_or(text.len())];
    Some((digits.parse().ok()?, digits.len()))
}

impl Reader {
    fn place(&self) -> Place {
        (self.line, u32::try_from(self.column).unwrap_or(0))
    }

    fn entry(&self) -> Entry {
        let index = |number: i64| u32::try_from(number).unwrap_or(0);
        Entry {
            at: self.place(),
            source: usize::try_from(self.source)
                .ok()
                .map(|source| (source, (index(self.source_line), index(self.source_column)))),
        }
    }

    /// Reads the next entry; none at the end, or where the text is damaged.
    fn next(&mut self, mappings: &[u8]) -> Option<Entry> {
        loop {
            match mappings.get(self.offset)? {
                b';' => {
                    self.line += 1;
                    self.column = 0;
                    self.offset += 1;
                }
                b',' => self.offset += 1,
                _ => break,
            }
        }
        self.column += self.number(mappings)?;
        let has_more = |reader: &Self| {
            let next = mappings.get(reader.offset);
            next.is_some_and(|letter| !matches!(letter, b',' | b';'))
        };
        if !has_more(self) {
            return Some(Entry {
                at: self.place(),
                source: None,
            });
        }
        self.source += self.number(mappings)?;
        self.source_line += self.number(mappings)?;
        self.source_column += self.number(mappings)?;
        if has_more(self) {
            // The name, which is not used.
            self.number(mappings)?;
        }
        Some(self.entry())
    }

    /// A number in base 64, five bits a letter, the lowest first; the lowest bit of all is the sign.
    fn number(&mut self, mappings: &[u8]) -> Option<i64> {
        let (mut bits, mut shift) = (0_i64, 0);
        loop {
            let digit = i64::from(digit(*mappings.get(self.offset)?)?);
            self.offset += 1;
            bits |= (digit & 31) << shift;
            shift += 5;
            if digit & 32 == 0 {
                break;
            }
            if shift > 50 {
                return None;
            }
        }
        let number = bits >> 1;
        Some(if bits & 1 == 1 { -number } else { number })
    }
}

fn digit(letter: u8) -> Option<u8> {
    Some(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
