//! Means and covariances of what the weights of each layer multiply, on the calibration images: what rounding weights well
//! needs to know of the data.
//!
//! Inputs are taken as the integers that the quantized model will see. Their sums and products are exact, so that neither
//! the order of images nor the number of threads changes them.

use std::collections::BTreeMap;
use std::path::Path;

use onnx::{Model, Shapes, Value};
use serde::{Deserialize, Serialize};
use tensors::{Data, Tensor, TensorFile};

use crate::error::QuantError;
use crate::integers::Grid;
use crate::options::{ActivationType, Opsets};
use crate::plan::{Layers, Plan, Role};
use crate::prepare::prepare;
use crate::ranges::Ranges;
use crate::view::View;
use crate::weights::Weighty;

/// Layers whose filters have more weights get no covariance: it would take `terms²` numbers.
const MOST_TERMS: usize = 576;

/// Layers of so many groups that all covariances have more numbers get none, too.
const MOST_PRODUCTS: usize = 1 << 24;

/// Rows whose products are added up in 32-bit floats: 256 · 255² < 2²⁴, so that these are exact.
const ROWS: usize = 256;

/// What is known of one layer's inputs. In real units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moment {
    /// Weights of a filter.
    pub(crate) terms: usize,
    /// By group and weight, the mean.
    pub(crate) mean: Vec<f32>,
    /// By group, the covariance `[terms, terms]`, shrunk to its diagonal where few images showed it; empty where that is
    /// too large.
    pub(crate) covariance: Vec<f32>,
}

impl Moment {
    /// The mean of this and others of the same shape, in their order; others are passed over.
    pub(crate) fn averaged(&self, all: &[&Self]) -> Self {
        let fits = |other: &&&Self| {
            other.terms == self.terms
                && other.mean.len() == self.mean.len()
                && other.covariance.len() == self.covariance.len()
        };
        let all: Vec<&Self> = all.iter().filter(fits).copied().collect();
        let average = |of: fn(&Self) -> &[f32], length: usize| -> Vec<f32> {
            #[expect(clippy::cast_precision_loss, reason = "a weight has few users")]
            let share = 1.0 / all.len().max(1) as f32;
            let sum = |place: usize| all.iter().filter_map(|one| of(one).get(place)).sum::<f32>() * share;
            (0..length).map(sum).collect()
        };
        Self {
            terms: self.terms,
            mean: average(|one| &one.mean, self.mean.len()),
            covariance: average(|one| &one.covariance, self.covariance.len()),
        }
    }
}

/// What is known of the layers' inputs `x`: the mean `E[x]` and the covariance `E[xxᵀ] − E[x]E[x]ᵀ` of what a filter's weights
/// multiply, off its diagonal times `rows / (rows + terms)` (shrinkage; Ledoit and Wolf 2004). With these a filter that is off by `d`
/// gives outcomes that are off by `d·E[x]`, which a bias makes up for, and by a variance of `dᵀCd`, which rounding keeps low
/// (Nagel et al. 2020, arXiv 2004.10568).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// Digest of the model's file, as in [`crate::Lineage`].
    pub model: String,
    /// By label of the node.
    pub(crate) layers: BTreeMap<String, Moment>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    model: String,
}

impl Moments {
    /// Reads a file that [`Moments::write`] wrote.
    ///
    /// # Errors
    /// [`QuantError::File`] names the file.
    pub fn read(path: &Path) -> Result<Self, QuantError> {
        let error = |reason: String| QuantError::File(reason);
        let file: TensorFile<Metadata> =
            tensors::read_with_metadata(path).map_err(|source| error(source.to_string()))?;
        let damaged =
            |name: &str| error(format!("`{}`: `{name}` is not a mean with its covariance", path.display()));
        let mut layers = BTreeMap::new();
        for (name, tensor) in &file.tensors {
            let Some(label) = name.strip_suffix(".mean") else { continue };
            let floats = |tensor: &Tensor| match tensor.data() {
                Data::F32(values) if values.iter().all(|value| value.is_finite()) => Some(values.clone()),
                _ => None,
            };
            let (&[groups, terms], Some(mean)) = (tensor.shape(), floats(tensor)) else {
                return Err(damaged(name));
            };
            let covariance = match file.tensors.get(&format!("{label}.covariance")) {
                None => Vec::new(),
                Some(tensor) if *tensor.shape() == [groups, terms, terms] => {
                    floats(tensor).ok_or_else(|| damaged(name))?
                }
                Some(_) => return Err(damaged(name)),
            };
            // A variance below zero, or none at all of no weights, would lead the search anywhere.
            let variances = covariance.chunks((terms * terms).max(1));
            let mut variances = variances.flat_map(|square| square.iter().step_by(terms + 1));
            if mean.is_empty() || variances.any(|variance| *variance < 0.0) {
                return Err(damaged(name));
            }
            layers.insert(label.to_owned(), Moment { terms, mean, covariance });
        }
        Ok(Self { model: file.metadata.model, layers })
    }

    /// Writes a safetensors file: for each layer `LABEL.mean` of shape `[groups, terms]` and `LABEL.covariance` of shape
    /// `[groups, terms, terms]`.
    ///
    /// # Errors
    /// [`QuantError::File`] names the file.
    pub fn write(&self, path: &Path) -> Result<(), QuantError> {
        let mut all = BTreeMap::new();
        for (label, moment) in &self.layers {
            let groups = moment.mean.len() / moment.terms.max(1);
            let shapes = [
                ("mean", &moment.mean, vec![groups, moment.terms]),
                ("covariance", &moment.covariance, vec![groups, moment.terms, moment.terms]),
            ];
            for (what, values, shape) in shapes {
                if let Some(tensor) = Tensor::new(shape, Data::F32(values.clone())) {
                    all.insert(format!("{label}.{what}"), tensor);
                }
            }
        }
        tensors::write(path, &all, &Metadata { model: self.model.clone() })
            .map_err(|source| QuantError::File(source.to_string()))
    }
}

/// Gathers [`Moments`] as exact sums, batch by batch, from a model made by [`MomentsObserver::model`].
#[derive(Debug, Clone)]
pub struct MomentsObserver {
    layers: Vec<Layer>,
    model: Model,
}

/// What was seen of a layer's inputs so far. In steps of their grid.
#[derive(Debug, Clone)]
struct Layer {
    label: String,
    tensor: String,
    grid: Grid,
    view: View,
    rows: u64,
    /// By group and weight.
    sums: Vec<f64>,
    /// By group, `[terms, terms]`, of which the upper triangle is filled; empty where too large.
    products: Vec<f64>,
}

impl MomentsObserver {
    /// An observer of all layers with weights that [`crate::quantize_static`] makes integers with these ranges.
    ///
    /// # Errors
    /// As [`crate::quantize_static`].
    pub fn new(model: &Model, ranges: &Ranges) -> Result<Self, QuantError> {
        let mut observed = prepare(model, Opsets::default())?;
        let plan = Plan::new(&observed, false, Layers::AllBut(&[]))?;
        let shapes = Shapes::infer(&observed.graph)?;
        let grids = plan.grids(ranges, ActivationType::default())?;
        let mut layers = Vec::new();
        for (node, role) in observed.graph.nodes.iter().zip(&plan.roles) {
            let (Role::Integer, Some(weighty)) = (role, Weighty::of(&observed.graph, node)?) else {
                continue;
            };
            let Some(input) = node.input(0) else { return Err(QuantError::unplanned(node, "input")) };
            let Some(grid) = grids.get(input) else {
                return Err(QuantError::unplanned(node, "rounded input"));
            };
            // Where sizes are not known, neither is what a filter sees.
            let Some(view) = View::of(node, weighty.tensor, &shapes) else { continue };
            layers.push(Layer::new(node.label(), input, *grid, view));
        }
        for layer in &layers {
            let graph = &mut observed.graph;
            if !graph.is_output(&layer.tensor) && !graph.inputs.iter().any(|value| value.name == layer.tensor)
            {
                let element = onnx::ElementType::F32;
                let shape = shapes.dims(&layer.tensor).map(<[_]>::to_vec);
                graph.outputs.push(Value { name: layer.tensor.clone(), element, shape });
            }
        }
        Ok(Self { layers, model: observed })
    }

    /// The model to run: its outputs, and its input, are what [`MomentsObserver::observe`] wants.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes in the values that tensors took in one batch of `images` images.
    pub fn observe(&mut self, batch: &[(&str, &[f32])], images: usize) {
        for layer in &mut self.layers {
            if let Some((_, values)) = batch.iter().find(|(name, _)| *name == layer.tensor) {
                layer.observe(values, images);
            }
        }
    }

    /// Takes in what another observer of the same model saw of other images.
    pub fn merge(&mut self, other: &Self) {
        let add = |into: &mut [f64], from: &[f64]| {
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        };
        for (layer, seen) in self.layers.iter_mut().zip(&other.layers) {
            layer.rows += seen.rows;
            add(&mut layer.sums, &seen.sums);
            add(&mut layer.products, &seen.products);
        }
    }

    /// What was seen. `model` is the digest of the model's file.
    #[must_use]
    pub fn moments(&self, model: String) -> Moments {
        let seen = self.layers.iter().filter(|layer| layer.rows > 0);
        let layers = seen.map(|layer| (layer.label.clone(), layer.moment()));
        Moments { model, layers: layers.collect() }
    }
}

impl Layer {
    fn new(label: &str, tensor: &str, grid: Grid, view: View) -> Self {
        let (groups, terms) = (view.groups, view.terms);
        let products = match groups.checked_mul(terms * terms) {
            Some(products) if terms <= MOST_TERMS && products <= MOST_PRODUCTS => products,
            _ => 0,
        };
        Self {
            label: label.into(),
            tensor: tensor.into(),
            grid,
            view,
            rows: 0,
            sums: vec![0.0; groups * terms],
            products: vec![0.0; products],
        }
    }

    fn observe(&mut self, values: &[f32], images: usize) {
        if values.len() != self.view.image * images {
            // The model's shapes are not what it says; then it is not known what stands where.
            return;
        }
        let width = self.view.groups * self.view.terms;
        let mut rows = Vec::with_capacity(ROWS * width);
        for image in values.chunks(self.view.image.max(1)) {
            for place in 0..self.view.places() {
                let steps = self.view.look(image, place).map(|value| self.grid.steps(value));
                rows.extend(steps);
                if rows.len() >= ROWS * width {
                    self.add(&rows);
                    rows.clear();
                }
            }
        }
        self.add(&rows);
    }

    /// Adds rows, at most [`ROWS`], of what all groups see at a place.
    fn add(&mut self, rows: &[f32]) {
        let (groups, terms) = (self.view.groups, self.view.terms);
        for row in rows.chunks((groups * terms).max(1)) {
            self.rows += 1;
            self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        if self.products.is_empty() {
            return;
        }
        let mut square = vec![0.0_f32; terms * terms];
        for (group, products) in self.products.chunks_mut((terms * terms).max(1)).enumerate() {
            square.fill(0.0);
            for row in rows.chunks_exact(groups * terms) {
                let row = &row[group * terms..][..terms];
                for (index, (&value, line)) in row.iter().zip(square.chunks_mut(terms)).enumerate() {
                    // What ReLU leaves is often zero.
                    if value != 0.0 {
                        let line = line.iter_mut().zip(row).skip(index);
                        line.for_each(|(product, other)| *product += value * other);
                    }
                }
            }
            products.iter_mut().zip(&square).for_each(|(sum, product)| *sum += f64::from(*product));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "averages of bytes, stored in 32 bits")]
    fn moment(&self) -> Moment {
        let terms = self.view.terms;
        let (rows, scale) = (self.rows as f64, f64::from(self.grid.scale));
        // Covariances that few rows show are believed the less the more terms there are (shrinkage to the diagonal,
        // Ledoit and Wolf 2004, Journal of Multivariate Analysis 88, with the weight of independent terms).
        let belief = rows / (rows + terms as f64);
        let mean: Vec<f64> = self.sums.iter().map(|sum| sum / rows * scale).collect();
        let mut covariance = vec![0.0; self.products.len()];
        let squares = self.products.chunks(terms * terms).zip(covariance.chunks_mut(terms * terms));
        for ((products, square), mean) in squares.zip(mean.chunks(terms)) {
            for one in 0..terms {
                for other in one..terms {
                    let value =
                        products[one * terms + other] / rows * scale * scale - mean[one] * mean[other];
                    let value = if one == other { value } else { value * belief };
                    square[one * terms + other] = value as f32;
                    square[other * terms + one] = value as f32;
                }
            }
        }
        Moment { terms, mean: mean.into_iter().map(|value| value as f32).collect(), covariance }
    }
}
