//! Whether a network is faster in integers where ONNX Runtime runs in a browser, as WebAssembly. Knows the cost of operators there, and
//! rewrites nothing.
//!
//! Measured with onnxruntime-web 1.30 in Node 20 on one thread, batch 1, where the rest of a network hardly counts. An integer product
//! takes half as long as one of floats; but rounding an outcome, which has no vector instructions there, takes as long as 70 of them,
//! and a depthwise convolution four times as long as in floats. So what adds up more than a hundred products for each outcome gains, as
//! convolutions of 3 by 3 do, and networks of pointwise and depthwise ones lose: they take 2.4 times as long.

use onnx::{Dim, Model, Node, Shapes};

use crate::error::QuantError;
use crate::options::Opsets;
use crate::plan::has_weight;
use crate::prepare::prepare;

/// Nanoseconds of a product.
#[derive(Debug, Clone, Copy)]
struct Product {
    floats: f64,
    integers: f64,
}

/// In matrix products, as which convolutions compute.
const IN_SUMS: Product = Product { floats: 0.093, integers: 0.045 };
/// In depthwise convolutions.
const DEPTHWISE: Product = Product { floats: 0.36, integers: 1.5 };
/// Nanoseconds to round an outcome.
const ROUNDING: f64 = 3.3;
/// Share of the time in floats below which integers are taken: estimates are rough, and floats are what a network has.
const WORTH_IT: f64 = 0.85;

/// Whether `model` is estimated to be faster in integers as WebAssembly than in floats with weights of 8 bits. It is not where sizes are
/// open.
///
/// # Errors
/// As [`crate::quantize_static`] of the model itself.
pub fn is_faster_in_wasm(model: &Model) -> Result<bool, QuantError> {
    let source = prepare(model, Opsets::default())?;
    let shapes = Shapes::infer(&source.graph)?;
    let (mut floats, mut integers) = (0.0, 0.0);
    for node in source.graph.nodes.iter().filter(|node| has_weight(&source.graph, node)) {
        let Some((outcomes, products, product)) = work(&source, &shapes, node) else { return Ok(false) };
        floats += outcomes * products * product.floats;
        integers += outcomes * (products * product.integers + ROUNDING);
    }
    Ok(integers < WORTH_IT * floats)
}

/// How many outcomes a node has for each sample, of how many products each, and of which kind.
fn work(model: &Model, shapes: &Shapes, node: &Node) -> Option<(f64, f64, Product)> {
    let dims = shapes.dims(node.output(0)?)?;
    // The first axis counts samples.
    let outcomes = dims.iter().skip(1).map(Dim::known).product::<Option<usize>>()?;
    let weight = model.graph.constant(node, 1)?;
    let shape = weight.shape();
    let filters = match node.op.as_str() {
        "Conv" => *shape.first()?,
        "Gemm" if node.int("transB", 0) != 0 => *shape.first()?,
        _ => *shape.last()?,
    };
    let products = weight.data().len() / filters.max(1);
    let is_depthwise = node.is("Conv") && shape.get(1) == Some(&1) && node.int("group", 1) > 1;
    Some((outcomes as f64, products as f64, if is_depthwise { DEPTHWISE } else { IN_SUMS }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx::{Attribute, Data, ElementType, Tensor, Value};

    /// A convolution of 64 channels.
    fn network(weight: [usize; 4], group: i64, side: Dim) -> Model {
        let mut model = Model::new(13);
        let count = weight.iter().product();
        let tensor = Tensor::new(weight.to_vec(), Data::F32(vec![0.5; count])).unwrap();
        model.graph.initializers.insert("w".into(), tensor);
        let pad = i64::try_from(weight[2] / 2).unwrap();
        let node = Node::new("Conv", ["x", "w"], ["y"])
            .with("group", Attribute::Int(group))
            .with("pads", Attribute::Ints(vec![pad; 4]));
        model.graph.nodes = vec![node];
        let shape = Some(vec![Dim::Named("n".into()), Dim::Known(64), side.clone(), side]);
        model.graph.inputs = vec![Value { name: "x".into(), element: ElementType::F32, shape }];
        model.graph.outputs = vec![Value { name: "y".into(), element: ElementType::F32, shape: None }];
        model
    }

    #[test]
    fn long_sums_gain_and_short_ones_lose() {
        let is_faster = |weight, group| is_faster_in_wasm(&network(weight, group, Dim::Known(16))).unwrap();
        assert!(is_faster([64, 64, 3, 3], 1));
        assert!(!is_faster([64, 64, 1, 1], 1));
        assert!(!is_faster([64, 1, 3, 3], 64));
    }

    #[test]
    fn of_open_sizes_nothing_is_known() {
        let open = network([64, 64, 3, 3], 1, Dim::Named("side".into()));
        assert!(!is_faster_in_wasm(&open).unwrap());
    }
}
