//! The header of an array: type, order and shape, as a Python dictionary in text.

use std::io::{self, Read};

/// What every array begins with.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Headers are some hundred bytes; of records with many fields, some thousands.
const MOST_TEXT: usize = 1 << 16;

/// Most axes of an array in NumPy.
const MOST_AXES: usize = 64;

/// Type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// True or false, in a byte.
    Bool,
    /// Signed integers of 8 bits.
    I8,
    /// Signed integers of 16 bits.
    I16,
    /// Signed integers of 32 bits.
    I32,
    /// Signed integers of 64 bits.
    I64,
    /// Unsigned integers of 8 bits.
    U8,
    /// Unsigned integers of 16 bits.
    U16,
    /// Unsigned integers of 32 bits.
    U32,
    /// Unsigned integers of 64 bits.
    U64,
    /// Floats of 16 bits (IEEE 754 binary16).
    F16,
    /// Floats of 32 bits.
    F32,
    /// Floats of 64 bits.
    F64,
}

impl Element {
    /// Name of the type, as NumPy has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Order, kind and size, as in `<f4`.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Bool => "|b1",
            Self::I8 => "|i1",
            Self::I16 => "<i2",
            Self::I32 => "<i4",
            Self::I64 => "<i8",
            Self::U8 => "|u1",
            Self::U16 => "<u2",
            Self::U32 => "<u4",
            Self::U64 => "<u8",
            Self::F16 => "<f2",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    /// From kind and size, as in `f4`.
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "b1" => Self::Bool,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "u1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            _ => return None,
        })
    }
}

/// What an array says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Type of its elements.
    pub element: Element,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Whether the first axis runs fastest, as in Fortran.
    pub(crate) is_column_major: bool,
    /// Whether the most significant byte of an element comes first.
    pub(crate) is_big_endian: bool,
}

impl Header {
    /// Reads up to the first element. Within what is read: what the array holds, where that is no numbers.
    ///
    /// # Errors
    /// What is wrong with it, or with the file.
    pub(crate) fn read(file: &mut dyn Read) -> Result<Result<Self, String>, String> {
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(ended)?;
        let Some([major, _]) = start.strip_prefix(MAGIC) else {
            return Err("does not begin as NumPy's arrays do".into());
        };
        let length = match major {
            1 => {
                let mut length = [0; 2];
                file.read_exact(&mut length).map_err(ended)?;
                usize::from(u16::from_le_bytes(length))
            }
            2 | 3 => {
                let mut length = [0; 4];
                file.read_exact(&mut length).map_err(ended)?;
                u32::from_le_bytes(length) as usize
            }
            other => return Err(format!("has version {other} of NumPy's format, and only 1 to 3 are read")),
        };
        if length > MOST_TEXT {
            return Err(format!("has a header of {length} bytes"));
        }
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(ended)?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Result<Result<Self, String>, String> {
        let broken = || format!("its header is none that NumPy writes: {}", text.trim());
        let shape = value(text, "shape").and_then(shape).ok_or_else(broken)?;
        let is_column_major = match value(text, "fortran_order") {
            Some(order) if order.starts_with("True") => true,
            Some(order) if order.starts_with("False") => false,
            _ => return Err(broken()),
        };
        let kind = value(text, "descr").ok_or_else(broken)?;
        let quote = kind.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let Some(kind) = quote.and_then(|quote| kind[1..].split(quote).next()) else {
            return Ok(Err("holds records of several fields: save each field as an array".into()));
        };
        let element = kind.get(1..).and_then(Element::parse);
        let (Some(element), Some(order @ ('<' | '>' | '|' | '='))) = (element, kind.chars().next()) else {
            let what = match kind.trim_start_matches(['<', '>', '|', '=']).chars().next() {
                Some('O') => "Python objects".into(),
                Some('U' | 'S') => "text".into(),
                Some('c') => "complex numbers".into(),
                Some('M' | 'm') => "dates or times".into(),
                _ => format!("elements of type `{kind}`"),
            };
            return Ok(Err(format!("holds {what}: only numbers and truth values are read")));
        };
        // An axis of none must not hide how long the others are.
        let size = shape.iter().try_fold(element.bytes(), |size, axis| size.checked_mul((*axis).max(1)));
        if shape.len() > MOST_AXES || size.is_none() {
            return Err(format!("has shape {shape:?}, which no memory holds"));
        }
        Ok(Ok(Self { element, shape, is_column_major, is_big_endian: order == '>' }))
    }
}

fn ended(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "ends before its header does".into(),
        _ => error.to_string(),
    }
}

/// What stands behind a key of the dictionary.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let place = ['\'', '"'].into_iter().find_map(|quote| {
        let key = format!("{quote}{key}{quote}");
        text.find(&key).map(|place| place + key.len())
    })?;
    text.get(place..)?.trim_start().strip_prefix(':').map(str::trim_start)
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let (inner, _) = text.strip_prefix('(')?.split_once(')')?;
    let axes = inner.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    // Python 2 wrote long integers as `3L`.
    axes.map(|axis| axis.strip_suffix('L').unwrap_or(axis).parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        let read = |text: &str| Header::parse(text).unwrap().unwrap();
        let header = read("{'descr': '<f4', 'fortran_order': False, 'shape': (64, 3, 16, 16), }      \n");
        assert_eq!((header.element, header.shape.as_slice()), (Element::F32, &[64, 3, 16, 16][..]));
        assert!(!header.is_column_major && !header.is_big_endian);
        let header = read("{'descr': '>i8', 'fortran_order': True, 'shape': (7,), }");
        assert_eq!((header.element, header.shape), (Element::I64, vec![7]));
        assert!(header.is_column_major && header.is_big_endian);
        assert_eq!(read("{'shape': (), 'fortran_order': False, 'descr': '|b1'}").shape, Vec::<usize>::new());
        assert_eq!(read("{'descr': '|u1', 'fortran_order': False, 'shape': (3L, 2L)}").shape, [3, 2]);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let told = |kind: &str| {
            let text = format!("{{'descr': {kind}, 'fortran_order': False, 'shape': (1,)}}");
            Header::parse(&text).unwrap().unwrap_err()
        };
        assert!(told("'|O'").contains("Python objects") && told("'<U8'").contains("text"));
        assert!(told("'<c8'").contains("complex") && told("'<M8[ns]'").contains("dates"));
        assert!(told("[('a', '<f4')]").contains("several fields") && told("'<f16'").contains("`<f16`"));
        snapshots::assert_message!(Header::parse("{}").unwrap_err());
        let huge = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({0}, {0})}}", u64::MAX / 2);
        snapshots::assert_message!(Header::parse(&huge).unwrap_err());
        let hidden = "{'descr': '<f8', 'fortran_order': True, 'shape': (0, 4611686018427387904)}";
        snapshots::assert_message!(Header::parse(hidden).unwrap_err());
    }

    #[test]
    fn a_file_that_is_cut_short_or_of_another_kind_is_told() {
        let read = |mut bytes: &[u8]| Header::read(&mut bytes).unwrap_err();
        snapshots::assert_message!(read(b"\x93NUMPY\x01\x00\x50\x00{"));
        snapshots::assert_message!(read(b"PK\x03\x04........"));
        snapshots::assert_message!(read(b"\x93NUMPY\x09\x00\x50\x00{"));
        snapshots::assert_message!(read(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{"));
    }
}
