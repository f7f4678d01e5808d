//! Numbers on their way between the host and a device. Knows shapes and layouts; knows no network.

use tch::{Device, Kind, Tensor, no_grad};

use crate::error::TorchError;

/// How an image's values lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryFormat {
    /// Channel by channel.
    Contiguous,
    /// Pixel by pixel: what libtorch's convolutions on a CPU are fastest with.
    ChannelsLast,
}

/// Numbers of the host on a device, flat.
pub(crate) fn to_device(values: &[f32], device: Device) -> Result<Tensor, TorchError> {
    Ok(Tensor::f_from_slice(values)?.f_to_device(device)?)
}

/// Whole numbers on a device; the host does not wait until they are there.
pub(crate) fn whole_to_device(numbers: &[i64], device: Device) -> Result<Tensor, TorchError> {
    Ok(Tensor::f_from_slice(numbers)?.f_internal_to_copy((Kind::Int64, device), true)?)
}

/// The numbers of a tensor, row-major.
pub(crate) fn to_host(tensor: &Tensor) -> Result<Vec<f32>, TorchError> {
    let mut values = vec![0.0; tensor.numel()];
    let count = values.len();
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// Images `[N, C, H, W]` from row-major values, on `device` and in `format`.
pub(crate) fn to_images(
    values: &[f32],
    shape: [usize; 3],
    device: Device,
    format: MemoryFormat,
) -> Result<Tensor, TorchError> {
    let [channels, height, width] = shape.map(|dim| dim as i64);
    let images = Tensor::f_from_slice(values)?.f_to_device(device)?.f_view((-1, channels, height, width))?;
    lay_out(images, format)
}

/// Images `[N, C, H, W]`, contiguous so far, in `format`. Strides alone make a tensor channels-last.
pub(crate) fn lay_out(images: Tensor, format: MemoryFormat) -> Result<Tensor, TorchError> {
    Ok(match format {
        MemoryFormat::Contiguous => images,
        MemoryFormat::ChannelsLast => {
            images.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?
        }
    })
}

/// Runs `compute` without recording for gradients.
pub(crate) fn inference<T>(compute: impl FnOnce() -> T) -> T {
    no_grad(compute)
}
