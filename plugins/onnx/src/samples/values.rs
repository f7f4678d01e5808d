//! The values of an array in the type that a model takes, or as it gives them. A conversion loses nothing but digits of floats: what
//! would is refused.

use std::cell::Cell;
use std::ops::Range;

use anyhow::{Result, anyhow, bail};
use arrays::{Array, Element};
use half::f16;
use ort::session::SessionInputValue;
use ort::value::{DynValue, TensorElementType, TensorRef};

/// Values of one type, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    Bool(Vec<bool>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An element of an array, in the widest type of its kind.
enum Number {
    Bool(bool),
    Integer(i128),
    Float(f64),
}

/// Each element of an array as `into` makes it.
fn each<T>(array: &Array, mut into: impl FnMut(Number) -> Result<T>) -> Result<Vec<T>> {
    macro_rules! read {
        ($type:ty, $kind:ident, $widest:ty) => {{
            let (elements, _) = array.bytes.as_chunks::<{ size_of::<$type>() }>();
            elements
                .iter()
                .map(|bytes| into(Number::$kind(<$widest>::from(<$type>::from_le_bytes(*bytes)))))
                .collect()
        }};
    }
    match array.element {
        Element::Bool => array.bytes.iter().map(|byte| into(Number::Bool(*byte != 0))).collect(),
        Element::I8 => read!(i8, Integer, i128),
        Element::I16 => read!(i16, Integer, i128),
        Element::I32 => read!(i32, Integer, i128),
        Element::I64 => read!(i64, Integer, i128),
        Element::U8 => read!(u8, Integer, i128),
        Element::U16 => read!(u16, Integer, i128),
        Element::U32 => read!(u32, Integer, i128),
        Element::U64 => read!(u64, Integer, i128),
        Element::F16 => {
            let (elements, _) = array.bytes.as_chunks::<2>();
            elements.iter().map(|bytes| into(Number::Float(f64::from(f16::from_le_bytes(*bytes))))).collect()
        }
        Element::F32 => read!(f32, Float, f64),
        Element::F64 => read!(f64, Float, f64),
    }
}

/// Evaluates `$body` with `$values` bound to the vector that a `Values` holds.
macro_rules! with_vector {
    ($all:expr, $values:ident => $body:expr) => {
        match $all {
            Values::Bool($values) => $body,
            Values::I8($values) => $body,
            Values::I16($values) => $body,
            Values::I32($values) => $body,
            Values::I64($values) => $body,
            Values::U8($values) => $body,
            Values::U16($values) => $body,
            Values::U32($values) => $body,
            Values::U64($values) => $body,
            Values::F16($values) => $body,
            Values::F32($values) => $body,
            Values::F64($values) => $body,
        }
    };
}

impl Values {
    /// Shape and values of a tensor that a model gives; `None` of what is no tensor, or of a type that no array has.
    ///
    /// # Errors
    /// Where ONNX Runtime does not give them.
    pub(super) fn of_output(value: &DynValue) -> Result<Option<(Vec<usize>, Self)>> {
        macro_rules! extract {
            ($kind:ident, $type:ty) => {{
                let (shape, values) = value.try_extract_tensor::<$type>()?;
                let shape = shape.iter().map(|size| usize::try_from(*size)).collect::<Result<_, _>>()?;
                Ok(Some((shape, Self::$kind(values.to_vec()))))
            }};
        }
        match value.dtype().tensor_type() {
            Some(TensorElementType::Bool) => extract!(Bool, bool),
            Some(TensorElementType::Int8) => extract!(I8, i8),
            Some(TensorElementType::Int16) => extract!(I16, i16),
            Some(TensorElementType::Int32) => extract!(I32, i32),
            Some(TensorElementType::Int64) => extract!(I64, i64),
            Some(TensorElementType::Uint8) => extract!(U8, u8),
            Some(TensorElementType::Uint16) => extract!(U16, u16),
            Some(TensorElementType::Uint32) => extract!(U32, u32),
            Some(TensorElementType::Uint64) => extract!(U64, u64),
            Some(TensorElementType::Float16) => extract!(F16, f16),
            Some(TensorElementType::Float32) => extract!(F32, f32),
            Some(TensorElementType::Float64) => extract!(F64, f64),
            _ => Ok(None),
        }
    }

    /// Type of the values.
    pub(crate) fn element(&self) -> Element {
        match self {
            Self::Bool(_) => Element::Bool,
            Self::I8(_) => Element::I8,
            Self::I16(_) => Element::I16,
            Self::I32(_) => Element::I32,
            Self::I64(_) => Element::I64,
            Self::U8(_) => Element::U8,
            Self::U16(_) => Element::U16,
            Self::U32(_) => Element::U32,
            Self::U64(_) => Element::U64,
            Self::F16(_) => Element::F16,
            Self::F32(_) => Element::F32,
            Self::F64(_) => Element::F64,
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        with_vector!(self, values => values.len())
    }

    /// Whether they are floats.
    pub(crate) fn are_floats(&self) -> bool {
        matches!(self, Self::F16(_) | Self::F32(_) | Self::F64(_))
    }

    /// Those in `range`, as far as they are there.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        macro_rules! slices {
            ($($kind:ident),*) => {
                match self {
                    $(Self::$kind(values) => Self::$kind(values.get(range).unwrap_or_default().to_vec()),)*
                }
            };
        }
        slices!(Bool, I8, I16, I32, I64, U8, U16, U32, U64, F16, F32, F64)
    }

    /// Makes them `count` many, by the same over again.
    pub(super) fn repeat(&mut self, count: usize) {
        with_vector!(self, values => {
            let once = values.len();
            if let Some(times) = count.checked_div(once) {
                *values = values.repeat(times + 1);
                values.truncate(count);
            }
        });
    }

    /// As numbers: truth values are 0 and 1, integers beyond 2⁵³ are rounded.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
            Self::I8(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::I16(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::I32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::I64(values) => values.iter().map(|value| *value as f64).collect(),
            Self::U8(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::U16(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::U32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::U64(values) => values.iter().map(|value| *value as f64).collect(),
            Self::F16(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Self::F64(values) => values.clone(),
        }
    }

    /// Their bytes, little-endian.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
            Self::I8(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::U8(values) => values.clone(),
            Self::U16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::U32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::U64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    /// Each value of an array, of whole numbers.
    ///
    /// # Errors
    /// Where they are of another kind, or one is out of range.
    pub(crate) fn integers(array: &Array) -> Result<Vec<i64>> {
        each(array, |number| match number {
            Number::Integer(value) => i64::try_from(value).map_err(|_| anyhow!("it holds {value}")),
            _ => Err(anyhow!("it holds {}, not whole numbers", array.element.as_str())),
        })
    }

    /// The values of an array, the samples at `indices` of what there is, as a model takes them.
    ///
    /// # Errors
    /// Where they are of another kind, or one is out of range or not a number.
    pub(super) fn new(array: &Array, indices: &[usize], wanted: TensorElementType) -> Result<Self> {
        let given = array.element.as_str();
        let size: usize = array.shape.iter().skip(1).product();
        let place = Cell::new(0);
        let nan = || {
            let sample = indices[place.get() / size.max(1)];
            anyhow!(
                "sample {sample} holds NaN, which is not a number: leave it out, or say what it stands for"
            )
        };
        macro_rules! integers {
            ($kind:ident, $type:ty) => {
                Self::$kind(each(array, |number| match number {
                    Number::Integer(value) => <$type>::try_from(value).map_err(|_| {
                        anyhow!("it holds {value} ({given}), which is out of range for {wanted}")
                    }),
                    _ => Err(refusal(given, wanted)),
                })?)
            };
        }
        let float = |number| match number {
            Number::Float(value) if value.is_nan() => Err(nan()),
            Number::Float(value) => {
                place.set(place.get() + 1);
                Ok(value)
            }
            _ => Err(refusal(given, wanted)),
        };
        Ok(match wanted {
            TensorElementType::Bool => Self::Bool(each(array, |number| match number {
                Number::Bool(value) => Ok(value),
                _ => Err(refusal(given, wanted)),
            })?),
            TensorElementType::Int8 => integers!(I8, i8),
            TensorElementType::Int16 => integers!(I16, i16),
            TensorElementType::Int32 => integers!(I32, i32),
            TensorElementType::Int64 => integers!(I64, i64),
            TensorElementType::Uint8 => integers!(U8, u8),
            TensorElementType::Uint16 => integers!(U16, u16),
            TensorElementType::Uint32 => integers!(U32, u32),
            TensorElementType::Uint64 => integers!(U64, u64),
            TensorElementType::Float16 => Self::F16(each(array, |number| half(float(number)?))?),
            TensorElementType::Float32 => Self::F32(each(array, |number| single(float(number)?))?),
            TensorElementType::Float64 => Self::F64(each(array, float)?),
            other => bail!("the model takes {other}, which no array is converted to"),
        })
    }

    /// The samples in `range`, which have these sizes, as a tensor of shape `shape`.
    ///
    /// # Errors
    /// Where there are not so many.
    pub(super) fn tensor(
        &self,
        range: &Range<usize>,
        sample: &[usize],
        shape: Vec<usize>,
    ) -> Result<SessionInputValue<'_>> {
        Ok(
            with_vector!(self, values => TensorRef::from_array_view((shape, part(values, range, sample)))?.into()),
        )
    }

    /// The samples in `range`, which have these sizes, if they are 32-bit floats.
    pub(super) fn floats(&self, range: &Range<usize>, sample: &[usize]) -> Option<&[f32]> {
        match self {
            Self::F32(values) => Some(part(values, range, sample)),
            _ => None,
        }
    }
}

fn part<'v, T>(values: &'v [T], range: &Range<usize>, sample: &[usize]) -> &'v [T] {
    let size: usize = sample.iter().product();
    &values[range.start * size..range.end * size]
}

/// The nearest in 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "what becomes infinite is refused")]
fn single(value: f64) -> Result<f32> {
    let single = value as f32;
    match single.is_infinite() && value.is_finite() {
        false => Ok(single),
        true => Err(anyhow!("it holds {value:e}, which is beyond 32-bit floats")),
    }
}

/// The nearest in 16 bits.
fn half(value: f64) -> Result<f16> {
    let half = f16::from_f64(value);
    match half.is_infinite() && value.is_finite() {
        false => Ok(half),
        true => Err(anyhow!("it holds {value:e}, which is beyond 16-bit floats")),
    }
}

fn refusal(given: &str, wanted: TensorElementType) -> anyhow::Error {
    let is_float = matches!(
        wanted,
        TensorElementType::Float16 | TensorElementType::Float32 | TensorElementType::Float64
    );
    match is_float {
        true => anyhow!(
            "it holds {given}, but the model takes {wanted}: save what the model is given, scaled as for inference, such as \
             `(pixels / 255).astype(numpy.float32)`"
        ),
        false => anyhow!("it holds {given}, but the model takes {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(element: Element, bytes: &[u8]) -> Array {
        Array { element, shape: vec![bytes.len() / element.bytes()], bytes: bytes.to_vec() }
    }

    #[test]
    fn values_are_converted_to_what_a_model_takes_where_nothing_is_lost() {
        let doubles = array(Element::F64, &0.5_f64.to_le_bytes());
        let new = |array: &Array, wanted| Values::new(array, &[0], wanted).unwrap();
        assert_eq!(new(&doubles, TensorElementType::Float32), Values::F32(vec![0.5]));
        assert_eq!(new(&doubles, TensorElementType::Float16), Values::F16(vec![f16::from_f32(0.5)]));
        let bytes = array(Element::U8, &[7, 255]);
        assert_eq!(new(&bytes, TensorElementType::Int64), Values::I64(vec![7, 255]));
        assert_eq!(new(&bytes, TensorElementType::Uint8), Values::U8(vec![7, 255]));
    }

    #[test]
    fn what_would_change_its_meaning_is_refused_with_what_to_do() {
        let told = |array: &Array, wanted| Values::new(array, &[3, 9], wanted).unwrap_err().to_string();
        let bytes = array(Element::U8, &[7, 255]);
        assert!(told(&bytes, TensorElementType::Float32).contains("astype(numpy.float32)"));
        assert!(told(&bytes, TensorElementType::Int8).contains("out of range"));
        assert!(told(&bytes, TensorElementType::Bool).contains("holds uint8"));
        let nan = array(Element::F32, &[1.0, f32::NAN].map(f32::to_le_bytes).concat());
        assert!(
            told(&nan, TensorElementType::Float32).starts_with("sample 9 holds NaN, which is not a number")
        );
        let large = array(Element::F64, &1e300_f64.to_le_bytes());
        assert!(told(&large, TensorElementType::Float32).contains("beyond 32-bit floats"));
    }
}
