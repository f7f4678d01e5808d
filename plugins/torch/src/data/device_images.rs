//! A split's images on a device, which crops, mirrors and normalises them itself: bit for bit what [`Loader`] makes on the
//! host, without a batch of floats on its way from there. Knows pixels and views; knows no network.

use tch::{Device, Kind, Tensor};

use super::loader::{Loader, Seen};
use crate::error::TorchError;
use crate::tensor::whole_to_device;

/// Bytes of images that are copied to a device at a time.
const PIECE: usize = 1 << 24;

/// Images on a device.
pub(crate) struct DeviceImages {
    device: Device,
    /// Bytes `[N, C, H, W]`.
    pixels: Tensor,
    /// What the bytes of each channel become, `[C · 256]`.
    table: Tensor,
    /// Where each channel's part of the table begins, `[C]`.
    starts: Tensor,
    rows: Tensor,
    columns: Tensor,
    /// From each column of a row to that of the mirrored row.
    turned: Tensor,
    padding: i64,
}

impl DeviceImages {
    /// All images that a loader takes batches from, unless the device is the host itself.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub(crate) fn on(device: Device, loader: &Loader<'_>) -> Result<Option<Self>, TorchError> {
        if device == Device::Cpu { Ok(None) } else { Self::new(device, loader).map(Some) }
    }

    /// As [`DeviceImages::on`], on any device.
    pub(crate) fn new(
        device: Device,
        Loader { split, normalization, augment, .. }: &Loader<'_>,
    ) -> Result<Self, TorchError> {
        let [channels, height, width] = split.shape().map(|dim| dim as i64);
        // In pieces, so that the host needs no second copy of them all.
        let pixels = Tensor::f_empty([split.len() as i64, channels, height, width], (Kind::Uint8, device))?;
        let (flat, mut place) = (pixels.f_view(-1)?, 0);
        for piece in split.pixels().chunks(PIECE) {
            let length = piece.len() as i64;
            flat.f_narrow(0, place, length)?.f_copy_(&Tensor::f_from_slice(piece)?)?;
            place += length;
        }
        let table = Tensor::f_from_slice(normalization.tables(split.shape()).as_flattened())?;
        let count = |count: i64| Tensor::f_arange(count, (Kind::Int64, device));
        Ok(Self {
            pixels,
            table: table.f_to_device(device)?,
            starts: count(channels)?.f_mul_scalar(256)?,
            rows: count(height)?,
            columns: count(width)?,
            turned: count(width)?.f_mul_scalar(-2)?.f_add_scalar(width - 1)?,
            padding: augment.crop_padding as i64,
            device,
        })
    }

    /// Normalised images `[N, C, H, W]`, channels last. The host does not wait for them.
    pub(crate) fn images(&self, seen: &[Seen]) -> Result<Tensor, TorchError> {
        let part = |part: fn(&Seen) -> usize| seen.iter().map(move |seen| part(seen) as i64);
        let numbers: Vec<i64> = part(|seen| seen.index)
            .chain(part(|seen| seen.view.top))
            .chain(part(|seen| seen.view.left))
            .chain(part(|seen| seen.view.mirrored.into()))
            .collect();
        let numbers = whole_to_device(&numbers, self.device)?.f_view((4, -1, 1))?;
        let [index, top, left, mirrored] = [0, 1, 2, 3].map(|part| numbers.f_select(0, part));
        let count = seen.len() as i64;
        let rows = top?.f_add(&self.rows)?.f_view((count, -1, 1))?;
        let columns =
            left?.f_add(&self.columns)?.f_add(&mirrored?.f_mul(&self.turned)?)?.f_view((count, 1, -1))?;
        let chosen = self.pixels.f_index_select(0, &index?.f_view(-1)?)?;
        let padded = chosen.f_constant_pad_nd([self.padding; 4])?;
        let images = Tensor::f_arange(count, (Kind::Int64, self.device))?.f_view((count, 1, 1))?;
        // Indices with a whole axis between them put that axis last: `[N, H, W, C]`.
        let crops = padded.f_index(&[Some(images), None, Some(rows), Some(columns)])?;
        let places = crops.f_to_kind(Kind::Int64)?.f_add(&self.starts)?;
        Ok(self.table.f_take(&places)?.f_permute([0, 3, 1, 2])?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use dataset::Normalization;

    use super::*;
    use crate::fixtures::{alone, synthetic};
    use crate::params::{AugmentParams, Mirror};
    use crate::tensor::to_host;

    #[test]
    fn a_device_makes_the_same_images_to_the_bit() {
        let _turn = alone();
        let split = synthetic(50, 2).train;
        let normalization = Normalization { mean: vec![0.4, 0.6], std: vec![0.2, 0.3] };
        for crop_padding in [0, 1, 5] {
            let loader = Loader {
                split: &split,
                indices: &(0..50).collect::<Vec<_>>(),
                augment: AugmentParams { crop_padding, flip: Mirror::Random(true) },
                normalization: &normalization,
                batch_size: 16,
                seed: 1,
                renders: true,
            };
            let device_images = DeviceImages::new(Device::Cpu, &loader).unwrap();
            let (sender, receiver) = sync_channel(100);
            loader.send(0..2, &sender);
            drop(sender);
            for batch in receiver {
                let images = device_images.images(&batch.seen).unwrap();
                assert_eq!(images.size(), [batch.seen.len() as i64, 2, 8, 8]);
                assert!(to_host(&images.contiguous()).unwrap() == batch.images, "padding {crop_padding}");
            }
        }
    }
}
