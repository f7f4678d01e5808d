//! The float model in the form that is calibrated and quantized. Calibration and quantization both start from it,
//! so they agree on the names of tensors.

use onnx::{Affine, Data, Graph, Model, Node, Tensor};

use crate::channel_factors;
use crate::error::QuantError;
use crate::forms;
use crate::gelu;
use crate::opset::{NEWEST_READ, OLDEST_RAISED, raise_to_13};
use crate::options::Opsets;
use crate::rewrite::rewrite;
use crate::versions::{NEWEST_RUN, STABLE, says_the_same};

/// The oldest opset whose `QuantizeLinear` and `DequantizeLinear` know scales by channel.
const OLDEST: i64 = 13;
/// The newest opset that written models are tested with.
const NEWEST: i64 = 21;

/// What [`NEWEST_READ`] has and the one before has not.
const NEW_IN_28: [&str; 1] = ["SwiGLU"];

/// `model` simplified, in the forms of which ONNX Runtime has integer ones, for one of `opsets` (by default its own, 13 if older
/// and the newest of them if newer).
pub(crate) fn prepare(model: &Model, opsets: Opsets) -> Result<Model, QuantError> {
    prepared(model, opsets, true)
}

/// As [`prepare`], for activations that stay floats: what is one operator in floats stays one.
pub(crate) fn prepare_weights(model: &Model) -> Result<Model, QuantError> {
    prepared(model, Opsets::default(), false)
}

fn prepared(model: &Model, opsets: Opsets, for_integers: bool) -> Result<Model, QuantError> {
    refuse_quantized(model)?;
    let mut prepared = model.simplified()?;
    set_opset(&mut prepared, opsets)?;
    rewrite(&mut prepared.graph)?;
    forms::plain_products(&mut prepared.graph)?;
    if for_integers {
        let opset = prepared.opset();
        forms::reword(&mut prepared.graph, opset)?;
    }
    divisions_to_products(&mut prepared.graph);
    if for_integers {
        gelu::join(&mut prepared)?;
    }
    gates_to_clips(&mut prepared.graph);
    if for_integers {
        forms::gates_to_sums(&mut prepared.graph);
    }
    channel_factors::balance(&mut prepared.graph);
    Ok(prepared)
}

/// # Errors
/// [`QuantError::AlreadyQuantized`] for a model that holds quantized operators.
pub(crate) fn refuse_quantized(model: &Model) -> Result<(), QuantError> {
    let quantized = |node: &&Node| {
        node.op.starts_with("QLinear")
            || matches!(
                node.op.as_str(),
                "QuantizeLinear"
                    | "DequantizeLinear"
                    | "DynamicQuantizeLinear"
                    | "ConvInteger"
                    | "MatMulInteger"
                    | "QGemm"
            )
    };
    if let Some(node) = model.graph.nodes.iter().find(quantized) {
        return Err(QuantError::AlreadyQuantized { op: node.op.clone(), node: node.label().into() });
    }
    Ok(())
}

fn set_opset(model: &mut Model, Opsets { wanted, newest }: Opsets) -> Result<(), QuantError> {
    let current = model.opset();
    let target = wanted.unwrap_or(current.clamp(OLDEST, newest));
    let error = |reason: String| Err(QuantError::Opset { opset: target, reason });
    if target > newest {
        return error(format!(
            "the newest that `runtime` runs quantized models of is {newest}; leave `opset` out"
        ));
    }
    if current > target && (wanted.is_none() || target == NEWEST_RUN) {
        return lower(model, target);
    }
    if target == current && current >= OLDEST {
        return Ok(());
    }
    if !(OLDEST..=NEWEST).contains(&target) || target < current {
        return error(format!(
            "the model has {current}; it can be kept if at least {OLDEST}, or raised to {NEWEST}"
        ));
    }
    if current < OLDEST_RAISED {
        return error(format!(
            "the model has {current}, too old to be raised; export it with at least {OLDEST_RAISED}"
        ));
    }
    if current < OLDEST {
        raise_to_13(&mut model.graph, current)?;
    }
    let first = current.max(OLDEST);
    let mut unstable = None;
    model.graph.each_node(&mut |node| {
        if target > first && !STABLE.contains(&&*node.op) {
            unstable.get_or_insert(node);
        }
    });
    if let Some(node) = unstable {
        let (op, name) = (&node.op, node.label());
        return error(format!(
            "{op} (`{name}`) may mean something else than in {first}; export it with {target}"
        ));
    }
    model.set_opset(target);
    Ok(())
}

/// Declares an older opset, of which the runtime has all that quantized models need.
fn lower(model: &mut Model, target: i64) -> Result<(), QuantError> {
    let mut new = None;
    model.graph.each_node(&mut |node| {
        let is_in_it =
            if target == NEWEST_RUN { !NEW_IN_28.contains(&&*node.op) } else { says_the_same(node, target) };
        if node.is_onnx() && !is_in_it {
            new.get_or_insert(node);
        }
    });
    let reason = match new {
        Some(node) if target == NEWEST_RUN => {
            format!("{} (`{}`) is not in it; export the model with it", node.op, node.label())
        }
        Some(node) => format!(
            "the model has {}, in which {} (`{}`) may mean something else; export it with {target}, the newest that `runtime` runs \
             quantized models of, or name a newer `runtime`",
            model.opset(),
            node.op,
            node.label()
        ),
        None if model.opset() > NEWEST_READ => {
            format!("the model has {}, newer than {NEWEST_READ}; export it with {NEWEST_RUN}", model.opset())
        }
        None => {
            model.set_opset(target);
            return Ok(());
        }
    };
    Err(QuantError::Opset { opset: target, reason })
}

/// Turns divisions by constants into products: of these ONNX Runtime has an integer form.
fn divisions_to_products(graph: &mut Graph) {
    let mut names = graph.names();
    for node in graph.nodes.iter_mut().filter(|node| node.is("Div")) {
        let divisor = node.input(1).and_then(|name| graph.initializers.get(name));
        let Some((divisor, values)) = divisor.and_then(|divisor| Some((divisor, divisor.as_f32()?))) else {
            continue;
        };
        let inverse: Vec<f32> = values.iter().map(|value| value.recip()).collect();
        let is_finite = inverse.iter().all(|value| value.is_finite());
        if let (true, Some(inverse)) = (is_finite, Tensor::new(divisor.shape().to_vec(), Data::F32(inverse)))
        {
            let name = names.fresh(&format!("{}_inverse", node.label()));
            graph.initializers.insert(name.clone(), inverse);
            node.op = "Mul".into();
            node.inputs.truncate(1);
            node.inputs.push(name);
        }
    }
    graph.remove_unused();
}

/// Turns `HardSigmoid(Conv(x))` into `Clip(Conv'(x), 0, 1)` with the slope folded into the weights: ONNX Runtime
/// has no integer `HardSigmoid`, but a clip is what rounding to 8 bits does anyway.
fn gates_to_clips(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Some((conv_index, weight, bias)) = gate(graph, index) else { continue };
        let mut names = graph.names();
        let added = [
            (names.fresh("gate.weight"), weight),
            (names.fresh("gate.bias"), bias),
            (names.fresh("gate.min"), Tensor::scalar_f32(0.0)),
            (names.fresh("gate.max"), Tensor::scalar_f32(1.0)),
        ];
        let [weight, bias, low, high] = added.each_ref().map(|(name, _)| name.clone());
        let raw = names.fresh("gate.raw");
        graph.initializers.extend(added);
        if let Some(conv) = graph.nodes.get_mut(conv_index) {
            conv.inputs.truncate(1);
            conv.inputs.extend([weight, bias]);
            conv.outputs = vec![raw.clone()];
        }
        if let Some(node) = graph.nodes.get_mut(index) {
            let clip = Node::new("Clip", [raw, low, high], node.outputs.iter().cloned());
            *node = clip.named(&node.name);
        }
    }
    graph.remove_unused();
}

/// Where node `index` is a `HardSigmoid` over a convolution that nothing else consumes: the convolution's index
/// and its weight and bias with the slope folded in.
fn gate(graph: &Graph, index: usize) -> Option<(usize, Tensor, Tensor)> {
    let node = graph.nodes.get(index).filter(|node| node.is("HardSigmoid"))?;
    let input = node.input(0)?;
    let conv_index = graph.sole_source(input)?;
    let conv = graph.nodes.get(conv_index).filter(|node| node.is("Conv"))?;
    let weight = graph.constant(conv, 1)?;
    let bias = match conv.input(2) {
        None => None,
        Some(_) => Some(graph.constant(conv, 2)?.as_f32()?),
    };
    let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    let affine = Affine::uniform(*weight.shape().first()?, f64::from(alpha), f64::from(beta));
    let mut values = weight.as_f32()?.to_vec();
    let bias = affine.fold(&mut values, bias);
    Some((
        conv_index,
        Tensor::new(weight.shape().to_vec(), Data::F32(values))?,
        Tensor::vector(Data::F32(bias)),
    ))
}
