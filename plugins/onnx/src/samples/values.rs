//! The values of an array in the type that a model takes. A conversion loses nothing but digits of floats: what would is refused.

use std::ops::Range;

use anyhow::{Result, anyhow, bail};
use arrays::{Array, Element};
use half::f16;
use ort::session::SessionInputValue;
use ort::value::{TensorElementType, TensorRef};

/// The values of all samples, one after the other.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
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

impl Values {
    /// The values of an array as a model takes them.
    ///
    /// # Errors
    /// Where they are of another kind, or one is out of range or not a number.
    pub(super) fn new(array: &Array, wanted: TensorElementType) -> Result<Self> {
        let given = array.element.as_str();
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
            Number::Float(value) if value.is_nan() => Err(anyhow!("it holds NaN, which is not a number")),
            Number::Float(value) => Ok(value),
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
        macro_rules! view {
            ($values:expr) => {
                TensorRef::from_array_view((shape, part($values, range, sample)))?.into()
            };
        }
        Ok(match self {
            Self::Bool(values) => view!(values),
            Self::I8(values) => view!(values),
            Self::I16(values) => view!(values),
            Self::I32(values) => view!(values),
            Self::I64(values) => view!(values),
            Self::U8(values) => view!(values),
            Self::U16(values) => view!(values),
            Self::U32(values) => view!(values),
            Self::U64(values) => view!(values),
            Self::F16(values) => view!(values),
            Self::F32(values) => view!(values),
            Self::F64(values) => view!(values),
        })
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
    values.get(range.start * size..range.end * size).unwrap_or_default()
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
        assert_eq!(Values::new(&doubles, TensorElementType::Float32).unwrap(), Values::F32(vec![0.5]));
        assert_eq!(
            Values::new(&doubles, TensorElementType::Float16).unwrap(),
            Values::F16(vec![f16::from_f32(0.5)])
        );
        let bytes = array(Element::U8, &[7, 255]);
        assert_eq!(Values::new(&bytes, TensorElementType::Int64).unwrap(), Values::I64(vec![7, 255]));
        assert_eq!(Values::new(&bytes, TensorElementType::Uint8).unwrap(), Values::U8(vec![7, 255]));
    }

    #[test]
    fn what_would_change_its_meaning_is_refused_with_what_to_do() {
        let told = |array: &Array, wanted| Values::new(array, wanted).unwrap_err().to_string();
        let bytes = array(Element::U8, &[7, 255]);
        assert!(told(&bytes, TensorElementType::Float32).contains("astype(numpy.float32)"));
        assert!(told(&bytes, TensorElementType::Int8).contains("out of range"));
        assert!(told(&bytes, TensorElementType::Bool).contains("holds uint8"));
        let nan = array(Element::F32, &f32::NAN.to_le_bytes());
        assert!(told(&nan, TensorElementType::Float32).contains("not a number"));
        let large = array(Element::F64, &1e300_f64.to_le_bytes());
        assert!(told(&large, TensorElementType::Float32).contains("beyond 32-bit floats"));
    }
}
