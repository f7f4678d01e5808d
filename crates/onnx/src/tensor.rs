//! Tensors inside a model: shape and elements of the types that CNNs and their quantized forms need.

use std::num::NonZeroUsize;

use crate::proto::data_type;

/// A dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A size.
    Known(usize),
    /// Chosen by the caller, known under a name such as `batch`.
    Named(String),
    /// Chosen by the caller or not inferred.
    Unknown,
}

impl Dim {
    /// The size where it is known.
    #[must_use]
    pub fn known(&self) -> Option<usize> {
        match self {
            Self::Known(size) => Some(*size),
            Self::Named(_) | Self::Unknown => None,
        }
    }
}

/// What is known of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions; `None` where not even their number is known.
    pub shape: Option<Vec<Dim>>,
}

impl TensorType {
    /// What a value says whose type is left out.
    pub(crate) const NOTHING: Self = Self { element: ElementType::Other(0), shape: None };

    /// What the rules say, and where they say nothing, what the file says.
    pub(crate) fn filled(ruled: Option<Self>, hint: Option<&Self>) -> Option<Self> {
        let (mut ruled, hint) = match (ruled, hint) {
            (Some(ruled), Some(hint)) => (ruled, hint),
            (ruled, hint) => return ruled.or(hint.cloned()),
        };
        match (&mut ruled.shape, &hint.shape) {
            (Some(dims), Some(hinted)) if dims.len() == hinted.len() => {
                for (dim, hinted) in dims.iter_mut().zip(hinted).filter(|(dim, _)| **dim == Dim::Unknown) {
                    dim.clone_from(hinted);
                }
            }
            (unknown @ None, hinted) => unknown.clone_from(hinted),
            _ => {}
        }
        Some(ruled)
    }
}

/// Element types, with ONNX's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElementType {
    /// 16-bit float (IEEE 754 binary16).
    F16,
    /// 32-bit float.
    F32,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// Truth value, a byte each.
    Bool,
    /// Another of ONNX's types, by number.
    Other(i32),
}

impl ElementType {
    /// ONNX's number for the type (`TensorProto.DataType`).
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::F16 => data_type::FLOAT16,
            Self::F32 => data_type::FLOAT,
            Self::U8 => data_type::UINT8,
            Self::I8 => data_type::INT8,
            Self::I32 => data_type::INT32,
            Self::I64 => data_type::INT64,
            Self::Bool => data_type::BOOL,
            Self::Other(code) => code,
        }
    }

    /// The type with ONNX's number `code`.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            data_type::FLOAT16 => Self::F16,
            data_type::FLOAT => Self::F32,
            data_type::UINT8 => Self::U8,
            data_type::INT8 => Self::I8,
            data_type::INT32 => Self::I32,
            data_type::INT64 => Self::I64,
            data_type::BOOL => Self::Bool,
            other => Self::Other(other),
        }
    }
}

/// Elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Truth values, 0 or 1 each.
    Bool(Vec<u8>),
    /// Elements of another type, which are passed on and not looked at.
    Other {
        /// ONNX's number for the type.
        code: i32,
        /// Bytes of an element.
        width: NonZeroUsize,
        /// Little-endian.
        bytes: Vec<u8>,
    },
}

impl Data {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U8(values) | Self::Bool(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Other { width, bytes, .. } => bytes.len() / *width,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    #[must_use]
    pub fn element(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::U8(_) => ElementType::U8,
            Self::I8(_) => ElementType::I8,
            Self::I32(_) => ElementType::I32,
            Self::I64(_) => ElementType::I64,
            Self::Bool(_) => ElementType::Bool,
            Self::Other { code, .. } => ElementType::from_code(*code),
        }
    }

    /// Little-endian bytes, as `TensorProto.raw_data` holds them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::U8(values) | Self::Bool(values) => values.clone(),
            Self::I8(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Other { bytes, .. } => bytes.clone(),
        }
    }
}

/// Bytes of an element of ONNX's other types that have whole ones (`onnx.proto`, `TensorProto.DataType`).
pub(crate) fn width_of_other(code: i32) -> Option<NonZeroUsize> {
    let width = match code {
        // The floats of 8 bits.
        17..=20 | 24 => 1,
        data_type::UINT16 | data_type::INT16 | data_type::FLOAT16 | data_type::BFLOAT16 => 2,
        data_type::UINT32 => 4,
        data_type::DOUBLE | data_type::UINT64 => 8,
        _ => return None,
    };
    NonZeroUsize::new(width)
}

/// A tensor: shape and elements, whose number is the product of the shape. A scalar has the empty shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor, unless the number of elements is not the product of `shape`.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: Data) -> Option<Self> {
        let expected = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
        (expected == data.len()).then_some(Self { shape, data })
    }

    /// A tensor of one dimension.
    #[must_use]
    pub fn vector(data: Data) -> Self {
        Self { shape: vec![data.len()], data }
    }

    /// A scalar float.
    #[must_use]
    pub fn scalar_f32(value: f32) -> Self {
        Self { shape: Vec::new(), data: Data::F32(vec![value]) }
    }

    /// A scalar unsigned byte.
    #[must_use]
    pub fn scalar_u8(value: u8) -> Self {
        Self { shape: Vec::new(), data: Data::U8(vec![value]) }
    }

    /// A scalar signed byte.
    #[must_use]
    pub fn scalar_i8(value: i8) -> Self {
        Self { shape: Vec::new(), data: Data::I8(vec![value]) }
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements, row-major.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The element type.
    #[must_use]
    pub fn element(&self) -> ElementType {
        self.data.element()
    }

    /// The elements where they are floats.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements where they are 64-bit integers.
    #[must_use]
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(values) => Some(values),
            _ => None,
        }
    }

    /// The float where the tensor is one float, of whatever rank.
    #[must_use]
    pub fn as_single_f32(&self) -> Option<f32> {
        match self.as_f32() {
            Some([value]) => Some(*value),
            _ => None,
        }
    }

    /// The same elements under another shape, unless their numbers differ.
    #[must_use]
    pub fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        Self::new(shape, self.data.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_must_fit() {
        assert!(Tensor::new(vec![2, 2], Data::I8(vec![0; 4])).is_some());
        assert!(Tensor::new(vec![2, 2], Data::I8(vec![0; 3])).is_none());
        assert!(Tensor::new(vec![usize::MAX, 2], Data::I8(vec![0; 4])).is_none());
        assert_eq!(Tensor::new(vec![], Data::F32(vec![2.0])), Some(Tensor::scalar_f32(2.0)));
    }

    #[test]
    fn element_types_keep_their_numbers() {
        for code in 0..32 {
            assert_eq!(ElementType::from_code(code).code(), code);
        }
    }

    #[test]
    fn bytes_are_little_endian() {
        assert_eq!(Data::I32(vec![1, -2]).to_bytes(), [1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]);
    }
}
