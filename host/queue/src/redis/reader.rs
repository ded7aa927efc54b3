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

    pub(crate) fn int<T: TryFrom<i64>>(&mut self) -> Option<T> {
        let number: i64 = decode::read_int(&mut self.0).ok()?;
        T::try_from(number).ok()
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
