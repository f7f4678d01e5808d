//! Sizes of what convolutions and poolings give.

use crate::graph::Node;
use crate::tensor::Dim;

/// Spatial sizes of the outcome of sliding a window of `kernel` over `input` (spatial dimensions only), by the
/// formulas of ONNX's `Conv` and `MaxPool`. `Err` for attributes that contradict the input.
pub(super) fn slide(node: &Node, input: &[Dim], kernel: &[usize]) -> Result<Vec<Dim>, String> {
    let rank = input.len();
    if kernel.len() != rank {
        return Err(format!("a kernel of {} dimensions over {rank}", kernel.len()));
    }
    let positive = |name: &str| -> Result<Vec<usize>, String> {
        let values = node.ints(name).map_or_else(|| vec![1; rank], <[i64]>::to_vec);
        let sizes: Option<Vec<_>> =
            values.iter().map(|&value| usize::try_from(value).ok().filter(|&size| size > 0)).collect();
        sizes.filter(|sizes| sizes.len() == rank).ok_or_else(|| format!("`{name}` is {values:?}"))
    };
    let (strides, dilations) = (positive("strides")?, positive("dilations")?);
    let pads = node.ints("pads").map_or_else(|| vec![0; 2 * rank], <[i64]>::to_vec);
    let pads: Option<Vec<_>> = pads.iter().map(|&pad| usize::try_from(pad).ok()).collect();
    let pads = pads.filter(|pads| pads.len() == 2 * rank).ok_or("`pads` is not two sizes a dimension")?;
    let auto = node.text("auto_pad").unwrap_or("NOTSET");
    let ceil = node.int("ceil_mode", 0) != 0;
    let (before, after) = pads.split_at(rank);
    let sizes = input.iter().zip(kernel).zip(strides.iter().zip(&dilations)).zip(before.iter().zip(after));
    sizes
        .map(|(((size, &kernel), (&stride, &dilation)), (&before, &after))| {
            let Some(size) = size.known() else { return Ok(Dim::Unknown) };
            let reach = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
            let padding = if auto == "NOTSET" { before.saturating_add(after) } else { 0 };
            match auto {
                "SAME_UPPER" | "SAME_LOWER" => Ok(Dim::Known(size.div_ceil(stride))),
                "NOTSET" | "VALID" => match size.saturating_add(padding).checked_sub(reach) {
                    // Rounded up, the window reaches the input with less than one step too many: that is one place.
                    None if ceil && reach.saturating_sub(size.saturating_add(padding)) < stride => {
                        Ok(Dim::Known(1))
                    }
                    None => Err(format!("a window of {reach} over {size} with padding {padding}")),
                    Some(room) if ceil => {
                        let steps = room.div_ceil(stride);
                        // A last window that would start in the padding behind the input is left out.
                        let starts_outside = steps.saturating_mul(stride) >= size.saturating_add(before);
                        Ok(Dim::Known(if starts_outside { steps } else { steps + 1 }))
                    }
                    Some(room) => Ok(Dim::Known(room / stride + 1)),
                },
                other => Err(format!("`auto_pad` is `{other}`")),
            }
        })
        .collect()
}
