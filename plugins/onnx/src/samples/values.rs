//! The values of an array in the type that a model takes. Turning one into another loses nothing but digits of floats: what would is
//! refused.

use std::ops::Range;

use anyhow::{Result, bail};
use arrays::{Array, Element};
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
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Numbers of an array, in the widest type of their kind.
enum Numbers {
    Truths(Vec<bool>),
    Integers(Vec<i128>),
    Floats(Vec<f64>),
}

impl Numbers {
    fn of(array: &Array) -> Result<Self> {
        macro_rules! each {
            ($type:ty, $kind:ident, $into:ty) => {{
                let (whole, _) = array.bytes.as_chunks::<{ size_of::<$type>() }>();
                Self::$kind(whole.iter().map(|bytes| <$into>::from(<$type>::from_le_bytes(*bytes))).collect())
            }};
        }
        Ok(match array.element {
            Element::Bool => Self::Truths(array.bytes.iter().map(|byte| *byte != 0).collect()),
            Element::I8 => each!(i8, Integers, i128),
            Element::I16 => each!(i16, Integers, i128),
            Element::I32 => each!(i32, Integers, i128),
            Element::I64 => each!(i64, Integers, i128),
            Element::U8 => each!(u8, Integers, i128),
            Element::U16 => each!(u16, Integers, i128),
            Element::U32 => each!(u32, Integers, i128),
            Element::U64 => each!(u64, Integers, i128),
            Element::F32 => each!(f32, Floats, f64),
            Element::F64 => each!(f64, Floats, f64),
            Element::F16 => bail!("float16 is not read: save it as float32"),
        })
    }
}

impl Values {
    /// The values of an array as a model takes them.
    ///
    /// # Errors
    /// Where they are of another kind, or one is out of range or no finite number.
    pub(super) fn new(array: &Array, wanted: TensorElementType) -> Result<Self> {
        let numbers = Numbers::of(array)?;
        let given = array.element.as_str();
        macro_rules! integers {
            ($kind:ident, $type:ty) => {{
                let Numbers::Integers(values) = numbers else { return refuse(given, wanted) };
                let fitting: Option<Vec<$type>> =
                    values.into_iter().map(|value| <$type>::try_from(value).ok()).collect();
                match fitting {
                    Some(values) => Ok(Self::$kind(values)),
                    None => bail!("some of its values ({given}) are out of range for {wanted}"),
                }
            }};
        }
        match wanted {
            TensorElementType::Bool => match numbers {
                Numbers::Truths(values) => Ok(Self::Bool(values)),
                _ => refuse(given, wanted),
            },
            TensorElementType::Int8 => integers!(I8, i8),
            TensorElementType::Int16 => integers!(I16, i16),
            TensorElementType::Int32 => integers!(I32, i32),
            TensorElementType::Int64 => integers!(I64, i64),
            TensorElementType::Uint8 => integers!(U8, u8),
            TensorElementType::Uint16 => integers!(U16, u16),
            TensorElementType::Uint32 => integers!(U32, u32),
            TensorElementType::Uint64 => integers!(U64, u64),
            TensorElementType::Float32 | TensorElementType::Float64 => {
                let Numbers::Floats(values) = numbers else { return refuse(given, wanted) };
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    bail!("it holds {value}, which is no finite number");
                }
                match wanted {
                    TensorElementType::Float64 => Ok(Self::F64(values)),
                    _ => Ok(Self::F32(singles(&values)?)),
                }
            }
            other => bail!("the model takes {other}, which no array is turned into"),
        }
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
fn singles(values: &[f64]) -> Result<Vec<f32>> {
    let singles: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    match singles.iter().position(|single| !single.is_finite()) {
        None => Ok(singles),
        Some(place) => {
            bail!(
                "it holds {:e}, which is beyond 32-bit floats",
                values.get(place).copied().unwrap_or_default()
            )
        }
    }
}

fn refuse(given: &str, wanted: TensorElementType) -> Result<Values> {
    let is_float = matches!(wanted, TensorElementType::Float32 | TensorElementType::Float64);
    match is_float {
        true => bail!(
            "it holds {given}, but the model takes {wanted}: save what the model is given, scaled as for inference, such as \
             `(pixels / 255).astype(numpy.float32)`"
        ),
        false => bail!("it holds {given}, but the model takes {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(element: Element, bytes: &[u8]) -> Array {
        Array { element, shape: vec![bytes.len() / element.bytes()], bytes: bytes.to_vec() }
    }

    #[test]
    fn values_are_turned_into_what_a_model_takes_where_nothing_is_lost() {
        let doubles = array(Element::F64, &0.5_f64.to_le_bytes());
        assert_eq!(Values::new(&doubles, TensorElementType::Float32).unwrap(), Values::F32(vec![0.5]));
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
        assert!(told(&nan, TensorElementType::Float32).contains("no finite number"));
        let large = array(Element::F64, &1e300_f64.to_le_bytes());
        assert!(told(&large, TensorElementType::Float32).contains("beyond 32-bit floats"));
        assert!(
            told(&array(Element::F16, &[0, 0]), TensorElementType::Float32).contains("save it as float32")
        );
    }
}
