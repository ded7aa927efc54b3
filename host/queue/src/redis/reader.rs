//! Reads the replies of scripts that pack them as MessagePack.

use rmp::decode;

/// What is left of a reply. Each method takes one value off it, and returns none where there is another one.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Begins an array, and returns how many values it has.
    pub(crate) fn array(&mut self) -> Option<usize> {
        let length = decode::read_array_len(&mut self.0).ok()?;
        usize::try_from(length).ok()
    }

    /// A whole number. Lua packs one that is too large as a float: it is cut to what a whole number holds.
    pub(crate) fn int<T: TryFrom<i64>>(&mut self) -> Option<T> {
        let mut rest = self.0;
        let number: i64 = match decode::read_int(&mut rest) {
            Ok(number) => number,
            Err(_) => {
                rest = self.0;
                self.float(&mut rest)?
            }
        };
        self.0 = rest;
        T::try_from(number).ok()
    }

    fn float(&self, rest: &mut &'a [u8]) -> Option<i64> {
        // `as` saturates, and turns what is no number into 0.
        if let Ok(number) = decode::read_f64(rest) {
            return Some(number as i64);
        }
        *rest = self.0;
        decode::read_f32(rest).ok().map(|number| number as i64)
    }

    /// A string of Lua's: any bytes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = decode::read_str_len(&mut self.0).ok()?;
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_a_whole_one_are_cut_to_it() {
        let mut packed = Vec::new();
        for number in [1e300, f64::INFINITY, f64::NAN, -1e300] {
            rmp::encode::write_f64(&mut packed, number).unwrap();
        }
        rmp::encode::write_f32(&mut packed, 7.0).unwrap();
        let mut reader = Reader(&packed);
        let read: Vec<i64> = std::iter::from_fn(|| reader.int()).collect();
        assert_eq!(read, [i64::MAX, i64::MAX, 0, i64::MIN, 7]);
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_none() {
        // ["ab", -6], as Redis packs it.
        let packed = [0x92, 0xa2, b'a', b'b', 0xfa];
        let mut reader = Reader(&packed);
        assert_eq!(reader.array(), Some(2));
        assert_eq!(reader.bytes(), Some(&b"ab"[..]));
        assert_eq!(reader.int::<i64>(), Some(-6));
        assert_eq!(reader.int::<i64>(), None);
        assert_eq!(Reader(&packed[1..3]).bytes(), None);
        assert_eq!(Reader(&packed[1..]).array(), None);
        assert_eq!(Reader(&packed[4..]).int::<u64>(), None);
    }
}
