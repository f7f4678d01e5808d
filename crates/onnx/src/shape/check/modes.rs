//! Attributes that may have a few values only, whatever the shapes are.

use super::Site;
use crate::graph::Attribute;

/// The texts that an attribute of an operator may be.
fn texts(op: &str, name: &str) -> Option<&'static [&'static str]> {
    Some(match (op, name) {
        ("Resize", "coordinate_transformation_mode") => &[
            "half_pixel",
            "half_pixel_symmetric",
            "pytorch_half_pixel",
            "align_corners",
            "asymmetric",
            "tf_half_pixel_for_nn",
            "tf_crop_and_resize",
        ],
        ("Resize", "nearest_mode") => &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
        ("Resize", "keep_aspect_ratio_policy") => &["stretch", "not_larger", "not_smaller"],
        ("DepthToSpace", "mode") => &["DCR", "CRD"],
        ("RoiAlign", "mode") => &["avg", "max"],
        ("RoiAlign", "coordinate_transformation_mode") => &["half_pixel", "output_half_pixel"],
        ("GridSample", "mode") => &["linear", "nearest", "cubic", "bilinear", "bicubic"],
        ("GridSample", "padding_mode") => &["zeros", "border", "reflection"],
        ("Gelu", "approximate") => &["none", "tanh"],
        ("BitShift", "direction") => &["LEFT", "RIGHT"],
        ("ScatterElements" | "ScatterND", "reduction") => &["none", "add", "mul", "max", "min"],
        _ => return None,
    })
}

/// The least and the greatest that an attribute of an operator may be.
fn bounds(op: &str, name: &str) -> Option<(i64, i64)> {
    Some(match (op, name) {
        ("LpNormalization", "p") => (1, 2),
        ("LpPool" | "GlobalLpPool", "p") => (1, i64::MAX),
        ("MaxPool", "storage_order") => (0, 1),
        ("Mod", "fmod") => (0, 1),
        ("CumSum", "exclusive" | "reverse") => (0, 1),
        ("LSTM" | "GRU" | "RNN", "layout") => (0, 1),
        ("RoiAlign", "sampling_ratio") => (0, i64::MAX),
        ("QuantizeLinear" | "DequantizeLinear", "block_size") => (0, i64::MAX),
        ("GatherND", "batch_dims") => (0, i64::MAX),
        _ => return None,
    })
}

pub(super) fn check(site: Site<'_>) -> Result<(), String> {
    for (name, value) in &site.node.attributes {
        match value {
            Attribute::Text(text) => {
                if let Some(known) =
                    texts(&site.node.op, name).filter(|known| !known.contains(&text.as_str()))
                {
                    return Err(format!("`{name}` is `{text}`, but must be one of {}", known.join(", ")));
                }
            }
            Attribute::Int(value) => {
                if let Some((least, most)) =
                    bounds(&site.node.op, name).filter(|(least, most)| !(least..=most).contains(&value))
                {
                    return Err(match most {
                        i64::MAX => format!("`{name}` is {value}, but must be at least {least}"),
                        _ => format!("`{name}` is {value}, but must be {least} or {most}"),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}
