//! Protobuf's wire format, as far as the RPC needs it.

use std::ops::Range;

use bytes::Bytes;

use super::DecodeError;

/// Reads the fields of one message; what has a length is a range of the frame.
pub(crate) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
}

/// One field.
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) value: Value,
    /// Where it begins, tag included.
    pub(crate) start: usize,
}

/// What a field holds.
pub(crate) enum Value {
    Varint(u64),
    Range(Range<usize>),
    /// Four or eight bytes; no known field is of this kind.
    Fixed,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(frame: &'a Bytes) -> Self {
        Self::within(frame, 0..frame.len())
    }

    pub(crate) fn within(frame: &'a Bytes, range: Range<usize>) -> Self {
        Self {
            frame,
            at: range.start,
            end: range.end,
        }
    }

    /// Where the next field begins.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn next_field(&mut self) -> Result<Option<Field>, DecodeError> {
        if self.at == self.end {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| DecodeError::BadTag)?;
        if number == 0 {
            return Err(DecodeError::BadTag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
                let start = self.at;
                self.skip(len)?;
                Value::Range(start..self.at)
            }
            5 => self.skip(4)?,
            _ => return Err(DecodeError::BadTag),
        };
        Ok(Some(Field {
            number,
            value,
            start,
        }))
    }

    fn skip(&mut self, len: usize) -> Result<Value, DecodeError> {
        if len > self.end - self.at {
            return Err(DecodeError::Truncated);
        }
        self.at += len;
        Ok(Value::Fixed)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let bytes = &self.frame[self.at..self.end];
        if let Some(byte) = bytes.first()
            && *byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        let (value, len) = read_varint(bytes)?.ok_or(DecodeError::Truncated)?;
        self.at += len;
        Ok(value)
    }
}

impl Field {
    pub(crate) fn range(self) -> Result<Range<usize>, DecodeError> {
        match self.value {
            Value::Range(range) => Ok(range),
            Value::Varint(_) | Value::Fixed => Err(self.wrong_type()),
        }
    }

    pub(crate) fn varint(self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            Value::Range(_) | Value::Fixed => Err(self.wrong_type()),
        }
    }

    fn wrong_type(&self) -> DecodeError {
        DecodeError::WrongType { field: self.number }
    }
}

/// The number at the beginning and how many bytes it has; `None` when it goes on behind the end.
pub(crate) fn read_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(VARINT_LEN_MAX) {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * at);
        if shifted >> (7 * at) != bits {
            return Err(DecodeError::BadVarint);
        }
        value |= shifted;
        if *byte < 0x80 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= VARINT_LEN_MAX {
        return Err(DecodeError::BadVarint);
    }
    Ok(None)
}

const VARINT_LEN_MAX: usize = 10;

/// How many bytes a number takes.
pub(crate) fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a field with so many bytes takes.
pub(crate) fn field_len(number: u32, len: usize) -> usize {
    varint_len((number as usize) << 3) + varint_len(len) + len
}

/// Tag and length of a field with so many bytes, which follow.
pub(crate) fn put_header(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, len as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_header(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number << 3));
    put_varint(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_as_they_were_written() {
        for value in (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, u64::MAX >> bit]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(varint_len(value as usize), bytes.len());
            assert_eq!(read_varint(&bytes).unwrap(), Some((value, bytes.len())));
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(read_varint(cut).unwrap(), None);
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        assert!(read_varint(&[0xff; 10]).is_err());
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert!(read_varint(&too_large).is_err());
    }
}
