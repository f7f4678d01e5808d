//! Mixed precision: which layers to leave in floating point so that a model meets its budget of accuracy at the least cost.
//!
//! Knows the graph and what floats cost in it; how much each layer's rounding harms is measured by the caller, who runs
//! models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onnx::{Dim, Model, Node, Shapes};
use serde::{Deserialize, Serialize};

use crate::error::QuantError;
use crate::json;
use crate::options::StaticOptions;
use crate::plan::{Layers, Plan, Role};
use crate::prepare::prepare;

/// How many products of a layer take as long as bringing one element from integers to floats or back: rounding it, and its
/// share of the transposition between the layouts of ONNX Runtime's float and integer kernels. (Measured on TinyNet at
/// batch 128 with AVX512-VNNI: 1 ns an element, 0.01 ns more a product in floats.)
const PRODUCTS_A_CONVERSION: u64 = 100;

/// As how many elements a conversion counts beside its own: two nodes more, at a few microseconds each in a batch of one.
const ELEMENTS_A_CONVERSION: u64 = 1000;

/// A layer that computes in integers, and could be left in floating point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegerLayer {
    /// The label of its node, as [`StaticOptions::exclude`] takes it.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// The tensor that its outcome is, after the activation that rounding performs.
    pub output: String,
    /// Products that it computes for an image, or for one element of its outcome where sizes are not known.
    products: u64,
    /// Elements of its outcome for an image; 1 where sizes are not known.
    elements: u64,
    /// Places, among the layers, of those whose outcomes it consumes.
    sources: BTreeSet<usize>,
}

/// The layers that [`crate::quantize_static`] makes integers with these options, in the graph's order.
///
/// # Errors
/// As [`crate::quantize_static`].
pub fn integer_layers(model: &Model, options: &StaticOptions) -> Result<Vec<IntegerLayer>, QuantError> {
    let model = prepare(model, options.opsets())?;
    let graph = &model.graph;
    let plan = Plan::new(&model, options.quantize_output, Layers::AllBut(&options.exclude))?;
    let shapes = Shapes::infer(graph)?;
    let mut layers: Vec<IntegerLayer> = Vec::new();
    // Tensor → the layers whose outcomes it is, however moved or clipped.
    let mut makers: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (index, (node, role)) in graph.nodes.iter().zip(&plan.roles).enumerate() {
        let mut sources: BTreeSet<usize> =
            node.inputs.iter().filter_map(|name| makers.get(name.as_str())).flatten().copied().collect();
        if *role == Role::Integer {
            let output = plan.outcomes.get(&index).cloned();
            let output = output.ok_or_else(|| QuantError::unplanned(node, "output"))?;
            let elements = node.output(0).and_then(|name| count(&shapes, name)).unwrap_or(1);
            layers.push(IntegerLayer {
                name: node.label().into(),
                op: node.op.clone(),
                output,
                products: products(graph, node, elements),
                elements,
                sources,
            });
            sources = [layers.len() - 1].into();
        }
        for name in &node.outputs {
            makers.insert(name, sources.clone());
        }
    }
    Ok(layers)
}

/// Which layer to leave in floating point next, beside those `kept` there already: the one that takes the most of the
/// noise for what it costs: the largest `noise / (products + 100 · conversions)`, where conversions are those that it adds. `noise` is the power of what rounding each
/// layer alone does to the logits, in whatever unit; layers without one are not considered.
#[must_use]
pub fn next_to_keep(layers: &[IntegerLayer], noise: &[f64], kept: &BTreeSet<usize>) -> Option<usize> {
    let left = layers.iter().zip(noise).enumerate().filter(|(place, _)| !kept.contains(place));
    let before = conversions(layers, kept);
    let worth = |place: usize, layer: &IntegerLayer, noise: f64| {
        let mut with = kept.clone();
        with.insert(place);
        // Between two layers that are floats already, one more saves conversions.
        let converted = conversions(layers, &with).saturating_sub(before);
        let cost = layer.products.saturating_add(converted.saturating_mul(PRODUCTS_A_CONVERSION)).max(1);
        #[expect(clippy::cast_precision_loss, reason = "costs are compared, not counted")]
        let worth = noise / cost as f64;
        worth
    };
    left.map(|(place, (layer, noise))| (worth(place, layer, *noise), place))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, place)| place)
}

/// Elements that are brought from integers to floats or back for an image, where the layers `kept` are floats.
fn conversions(layers: &[IntegerLayer], kept: &BTreeSet<usize>) -> u64 {
    let edges = layers
        .iter()
        .enumerate()
        .flat_map(|(place, layer)| layer.sources.iter().map(move |source| (*source, place)));
    // An outcome is converted once for all that consume it in the other form.
    let converted: BTreeSet<usize> = edges
        .filter(|(source, place)| kept.contains(source) != kept.contains(place))
        .map(|(source, _)| source)
        .collect();
    converted
        .iter()
        .filter_map(|source| layers.get(*source))
        .map(|layer| layer.elements.saturating_add(ELEMENTS_A_CONVERSION))
        .fold(0, u64::saturating_add)
}

/// Products for an image, of a layer whose outcome has `elements`.
fn products(graph: &onnx::Graph, node: &Node, elements: u64) -> u64 {
    let Some(weight) = graph.constant(node, 1) else { return elements };
    let filters = match (node.op.as_str(), weight.shape()) {
        ("Conv", [filters, ..]) => *filters,
        ("Gemm", [filters, _]) if node.int("transB", 0) != 0 => *filters,
        ("Gemm" | "MatMul", [_, filters]) => *filters,
        _ => return elements,
    };
    let terms: usize = weight.shape().iter().product::<usize>() / filters.max(1);
    elements.saturating_mul(u64::try_from(terms).unwrap_or(u64::MAX))
}

/// Elements of `tensor` for an image.
fn count(shapes: &Shapes, tensor: &str) -> Option<u64> {
    let sizes = shapes.dims(tensor)?.get(1..)?.iter().map(Dim::known);
    sizes.map(|size| u64::try_from(size?).ok()).try_fold(1_u64, |product, size| product.checked_mul(size?))
}

/// Which layers to leave in floating point, and what each would do alone: what measuring the sensitivity hands to
/// quantization.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// Digest of the model's file, as in [`crate::Lineage`].
    pub model: String,
    /// The options of quantization that it was measured with.
    pub options: StaticOptions,
    /// Whether weights were rounded for moments.
    pub with_moments: bool,
    /// Labels of the nodes to leave in floating point, in the order in which they were chosen.
    pub keep_float: Vec<String>,
    /// Every layer that could compute in integers, in the graph's order.
    pub layers: Vec<LayerError>,
}

impl Sensitivity {
    /// Whether it was measured as a model will be quantized that has these options, and moments or none. What makes a file
    /// smaller, or newer, changes no number.
    #[must_use]
    pub fn is_of(&self, options: &StaticOptions, with_moments: bool) -> bool {
        let plain = |options: &StaticOptions| StaticOptions { compact: true, opset: None, ..options.clone() };
        plain(&self.options) == plain(options) && self.with_moments == with_moments
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    /// [`QuantError::File`] names the file.
    pub fn read(path: &Path) -> Result<Self, QuantError> {
        json::read(path, "the sensitivity of layers")
    }

    /// Writes a JSON file.
    ///
    /// # Errors
    /// [`QuantError::File`] names the file.
    pub fn write(&self, path: &Path) -> Result<(), QuantError> {
        json::write(path, self)
    }
}

/// What rounding does to a layer, and to what comes after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerError {
    /// The label of its node.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// With only this layer in integers: signal to quantization noise of the logits, 10·log₁₀(Σx² / Σ(x−x̂)²), in decibels;
    /// absent where there is no noise.
    pub alone_db: Option<f64>,
    /// With only this layer in integers: points of accuracy lost.
    pub alone_drop: f64,
    /// With all layers in integers: signal to quantization noise of this layer's outcome, in decibels; absent where there
    /// is no noise, and for a last layer that gives floats.
    pub output_db: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of layers with these products, each outcome of 10 elements.
    fn chain(products: &[u64]) -> Vec<IntegerLayer> {
        let layer = |(place, products): (usize, &u64)| IntegerLayer {
            name: format!("l{place}"),
            op: "Conv".into(),
            output: format!("t{place}"),
            products: *products,
            elements: 10,
            sources: place.checked_sub(1).into_iter().collect(),
        };
        products.iter().enumerate().map(layer).collect()
    }

    #[test]
    fn the_noisiest_for_its_cost_comes_first() {
        let layers = chain(&[1000, 1000, 1_000_000, 1000]);
        let noise = [0.1, 0.2, 0.9, 0.1];
        assert_eq!(next_to_keep(&layers, &noise, &BTreeSet::new()), Some(1), "the third is too dear");
        assert_eq!(next_to_keep(&layers, &noise, &(0..4).collect()), None);
    }

    #[test]
    fn a_gap_between_floats_is_closed_for_less_than_an_island_is_made() {
        let layers = chain(&[1000; 6]);
        let noise = [0.0, 1.0, 0.5, 1.0, 0.0, 0.7];
        let kept: BTreeSet<usize> = [1, 3].into();
        // Conversions of the first's and the fourth's neighbours stay; those around the third go.
        assert_eq!(conversions(&layers, &kept), 4 * 1010);
        assert_eq!(conversions(&layers, &[1, 2, 3].into()), 2 * 1010);
        assert_eq!(next_to_keep(&layers, &noise, &kept), Some(2));
    }
}
