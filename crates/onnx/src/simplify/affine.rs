//! What scales and shifts the channels of a convolution's, or the features of a `Gemm`'s, outcome, folded into its weights.

use crate::error::Error;
use crate::fold::Affine;
use crate::graph::{Attribute, Graph, Node};
use crate::tensor::{Data, Tensor};

/// Refuses batch normalisations whose constants give no numbers: folded, they would be found in weights that nobody knows.
pub(super) fn check_norms(graph: &Graph) -> Result<(), Error> {
    for node in graph.nodes.iter().filter(|node| node.is("BatchNormalization")) {
        let values = |place| graph.constant(node, place).and_then(Tensor::as_f32).unwrap_or_default();
        let wrong = |reason: String| {
            Error::Invalid(format!("node `{}` (BatchNormalization): {reason}", node.label()))
        };
        for (place, what) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")] {
            if let Some((channel, value)) =
                values(place).iter().enumerate().find(|(_, value)| !value.is_finite())
            {
                return Err(wrong(format!("the {what} of channel {channel} is {value}")));
            }
        }
        let epsilon = node.float("epsilon", 1e-5);
        let is_wrong = |variance: &f32| f64::from(*variance) + f64::from(epsilon) <= 0.0 || epsilon.is_nan();
        if let Some((channel, variance)) =
            values(4).iter().enumerate().find(|(_, variance)| is_wrong(variance))
        {
            return Err(wrong(format!(
                "variance {variance} of channel {channel} and epsilon {epsilon} sum to nothing above 0, of which there is no root to \
                 divide by"
            )));
        }
    }
    Ok(())
}

/// Folds batch normalisations, and constants that are added to channels or that they are multiplied by.
pub(super) fn fold(graph: &mut Graph) {
    let mut index = 0;
    while index < graph.nodes.len() {
        match foldable(graph, index) {
            Some((conv, weight, bias, output)) => {
                let mut names = graph.names();
                let (weight_name, bias_name) = (names.fresh("folded.weight"), names.fresh("folded.bias"));
                graph.initializers.insert(weight_name.clone(), weight);
                graph.initializers.insert(bias_name.clone(), bias);
                if let Some(node) = graph.nodes.get_mut(conv) {
                    if node.is("Gemm") {
                        // The folded weights are `[out, in]`.
                        node.attributes.insert("transB".into(), Attribute::Int(1));
                    }
                    node.inputs.truncate(1);
                    node.inputs.extend([weight_name, bias_name]);
                    node.outputs = vec![output];
                }
                graph.nodes.remove(index);
            }
            None => index += 1,
        }
    }
}

/// Where node `index` scales and shifts the channels of a convolution or `Gemm` that nothing else consumes: the index of that,
/// its new weight, output channels first, and bias, and its new output.
fn foldable(graph: &Graph, index: usize) -> Option<(usize, Tensor, Tensor, String)> {
    let node = graph.nodes.get(index)?;
    let is_norm = node.is("BatchNormalization");
    if !is_norm && !["Add", "Sub", "Mul", "Div"].iter().any(|op| node.is(op)) {
        return None;
    }
    let place = usize::from(graph.constant(node, 0).is_some());
    let input = node.input(place)?;
    let conv_index = graph.sole_source(input)?;
    let conv = graph.nodes.get(conv_index)?;
    let weight = channels_first(conv, graph.constant(conv, 1)?)?;
    let channels = *weight.shape().first()?;
    let bias = match conv.input(2) {
        None => None,
        Some(_) => Some(graph.constant(conv, 2)?.as_f32()?),
    };
    if bias.is_some_and(|bias| bias.len() != channels) {
        return None;
    }
    let affine = if is_norm {
        batch_norm(graph, node, channels)?
    } else {
        let constant = by_channel(graph.constant(node, 1 - place)?, channels, weight.shape().len())?;
        let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
        match (node.op.as_str(), place) {
            ("Add", _) => Affine::new(ones, constant),
            ("Sub", 0) => Affine::new(ones, constant.iter().map(|value| -value).collect()),
            ("Sub", _) => Affine::new(vec![-1.0; channels], constant),
            ("Mul", _) => Affine::new(constant, zeros),
            ("Div", 0) if !constant.contains(&0.0) => {
                Affine::new(constant.iter().map(|value| 1.0 / value).collect(), zeros)
            }
            _ => return None,
        }
    };
    let mut values = weight.as_f32()?.to_vec();
    let bias = affine.fold(&mut values, bias);
    // What is no number is found where it is, by the name that it has there.
    if !values.iter().chain(&bias).all(|value| value.is_finite()) {
        return None;
    }
    let weight = Tensor::new(weight.shape().to_vec(), Data::F32(values))?;
    Some((conv_index, weight, Tensor::vector(Data::F32(bias)), node.output(0)?.to_owned()))
}

/// The weight of a convolution or of a plain `Gemm`, its output channels first.
fn channels_first(node: &Node, weight: &Tensor) -> Option<Tensor> {
    let one = |name| node.float(name, 1.0).to_bits() == 1.0_f32.to_bits();
    match (node.op.as_str(), weight.shape()) {
        _ if !node.is_onnx() => None,
        ("Conv", _) => Some(weight.clone()),
        ("Gemm", [_, _]) if !(one("alpha") && one("beta")) => None,
        ("Gemm", [_, _]) if node.int("transB", 0) != 0 => Some(weight.clone()),
        ("Gemm", &[inputs, outputs]) => {
            let values = weight.as_f32()?;
            let places =
                (0..outputs).flat_map(|output| (0..inputs).map(move |input| input * outputs + output));
            let moved = places.map(|place| values.get(place).copied()).collect::<Option<_>>()?;
            Tensor::new(vec![outputs, inputs], Data::F32(moved))
        }
        _ => None,
    }
}

fn batch_norm(graph: &Graph, node: &Node, channels: usize) -> Option<Affine> {
    let statistics: Vec<_> =
        (1..5).map(|place| graph.constant(node, place)?.as_f32()).collect::<Option<_>>()?;
    let [scale, shift, mean, variance] = statistics.as_slice() else { return None };
    let fits = [*scale, *shift, *mean, *variance].iter().all(|values| values.len() == channels);
    (fits && node.int("training_mode", 0) == 0)
        .then(|| Affine::of_batch_norm(scale, shift, mean, variance, f64::from(node.float("epsilon", 1e-5))))
}

/// A constant that has one value for each channel of a tensor of `rank` dimensions, or one for all.
fn by_channel(constant: &Tensor, channels: usize, rank: usize) -> Option<Vec<f64>> {
    let values = constant.as_f32()?;
    let shape = constant.shape();
    if let [value] = values {
        return (shape.len() <= rank).then(|| vec![f64::from(*value); channels]);
    }
    // Broadcasting begins at the last dimension: `[C, 1, 1]` or `[1, C, 1, 1]`.
    let (before, rest) = shape.split_at_checked(shape.len().checked_sub(rank - 1)?)?;
    let (own, after) = rest.split_first()?;
    let fits = *own == channels && before.len() <= 1 && before.iter().chain(after).all(|size| *size == 1);
    fits.then(|| values.iter().map(|value| f64::from(*value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), Data::F32(values.to_vec())).unwrap()
    }

    /// `op(Conv(x), constant)`, or with the operands exchanged; the weight is 3 and 5, the bias 1 and 2.
    fn folded(op: &str, constant: Tensor, first: bool) -> Option<(Vec<f32>, Vec<f32>)> {
        let mut graph = Graph::default();
        graph.initializers.insert("w".into(), tensor(&[2, 1, 1, 1], &[3.0, 5.0]));
        graph.initializers.insert("b".into(), tensor(&[2], &[1.0, 2.0]));
        graph.initializers.insert("c".into(), constant);
        let operands = if first { ["c", "conv"] } else { ["conv", "c"] };
        graph.nodes = vec![Node::new("Conv", ["x", "w", "b"], ["conv"]), Node::new(op, operands, ["y"])];
        fold(&mut graph);
        let [conv] = graph.nodes.as_slice() else { return None };
        assert_eq!(conv.outputs, ["y"]);
        let values = |place| graph.constant(conv, place).unwrap().as_f32().unwrap().to_vec();
        Some((values(1), values(2)))
    }

    #[test]
    fn what_is_done_to_channels_goes_into_the_weights() {
        let both = || tensor(&[2, 1, 1], &[2.0, -4.0]);
        let found = |op, first| folded(op, both(), first).unwrap();
        assert_eq!(found("Add", false), (vec![3.0, 5.0], vec![3.0, -2.0]));
        assert_eq!(found("Add", true), (vec![3.0, 5.0], vec![3.0, -2.0]));
        assert_eq!(found("Sub", false), (vec![3.0, 5.0], vec![-1.0, 6.0]));
        assert_eq!(found("Sub", true), (vec![-3.0, -5.0], vec![1.0, -6.0]));
        assert_eq!(found("Mul", false), (vec![6.0, -20.0], vec![2.0, -8.0]));
        assert_eq!(found("Div", false), (vec![1.5, -1.25], vec![0.5, -0.5]));
        assert_eq!(folded("Add", tensor(&[], &[10.0]), false).unwrap().1, [11.0, 12.0]);
        assert_eq!(folded("Add", tensor(&[1, 2, 1, 1], &[1.0, 2.0]), false).unwrap().1, [2.0, 4.0]);
    }

    #[test]
    fn a_gemm_takes_it_too_however_its_weights_lie() {
        // Two features of one input: weights 3 and 5.
        for (turned, shape) in [(0, [1, 2]), (1, [2, 1])] {
            let mut graph = Graph::default();
            graph.initializers.insert("w".into(), tensor(&shape, &[3.0, 5.0]));
            graph.initializers.insert("b".into(), tensor(&[2], &[1.0, 2.0]));
            for (name, values) in
                [("s", [2.0, 1.0]), ("o", [0.5, 0.0]), ("m", [1.0, -1.0]), ("v", [4.0, 1.0])]
            {
                graph.initializers.insert(name.into(), tensor(&[2], &values));
            }
            let gemm = Node::new("Gemm", ["x", "w", "b"], ["g"]).with("transB", Attribute::Int(turned));
            let norm = Node::new("BatchNormalization", ["g", "s", "o", "m", "v"], ["y"])
                .with("epsilon", Attribute::Float(0.0));
            graph.nodes = vec![gemm.clone(), norm.clone()];
            fold(&mut graph);
            let [node] = graph.nodes.as_slice() else { panic!("not folded: {:?}", graph.nodes) };
            assert_eq!((node.int("transB", 0), node.outputs.as_slice()), (1, &["y".to_owned()][..]));
            assert_eq!(graph.constant(node, 1).unwrap(), &tensor(&[2, 1], &[3.0, 5.0]));
            assert_eq!(graph.constant(node, 2).unwrap().as_f32().unwrap(), [0.5, 3.0]);
            graph.nodes = vec![gemm.with("alpha", Attribute::Float(2.0)), norm];
            fold(&mut graph);
            assert_eq!(graph.nodes.len(), 2, "a scaled product is left alone");
        }
    }

    #[test]
    fn what_is_done_to_anything_else_stays() {
        for (op, constant, first) in [
            ("Add", tensor(&[2], &[1.0, 2.0]), false),
            ("Add", tensor(&[1, 1, 2], &[1.0, 2.0]), false),
            ("Add", tensor(&[3, 2, 1, 1], &[1.0; 6]), false),
            ("Add", tensor(&[1, 1, 1, 1, 1], &[1.0]), false),
            ("Div", tensor(&[2, 1, 1], &[1.0, 2.0]), true),
            ("Div", tensor(&[2, 1, 1], &[1.0, 0.0]), false),
            ("Pow", tensor(&[], &[2.0]), false),
        ] {
            assert_eq!(folded(op, constant.clone(), first), None, "{op} {constant:?}");
        }
    }
}
