//! What both ways to quantize end with: the file written and tried, its size, the layers with their errors.

use anyhow::{Context, Result};
use protocol::{Cell, Column, Content, Failure, Figure, Metric, Reporter, RunRequest};
use quant::{Form, Layer, Summary};

use crate::{request, runtime};

/// Writes the model to output `model`, runs it, and reports.
pub(crate) fn write(
    request: &RunRequest,
    model: &onnx::Model,
    summary: &Summary,
    reporter: &mut Reporter<'_>,
) -> Result<(), Failure> {
    let path = request::output(request, "model")?;
    request::write(path, &model.to_bytes())?;
    runtime::check(path, request.threads).context("the quantized model does not work")?;
    let size = request::size_kb(path)?;
    let float_size = request::model_size_kb(request::input(request, "model")?)?;
    reporter.metric("size_kb", Metric::new(size, "KB"));
    let ratio = Metric::new(size / float_size, "×").basis(format!("the float model has {float_size:.1} KB"));
    reporter.metric("size_ratio", ratio);
    let integer =
        Metric::new(summary.integer_layers() as f64, "").basis(format!("{} layers", summary.layers.len()));
    reporter.metric("integer_layers", integer);
    report_raised_scales(summary, reporter);
    reporter.figure(layers(summary));
    Ok(())
}

fn report_raised_scales(summary: &Summary, reporter: &mut Reporter<'_>) {
    for layer in &summary.layers {
        if let Some(weight) = layer.weight.as_ref().filter(|weight| weight.raised_scales > 0) {
            reporter.info(format!(
                "`{}`: {} of {} weight scales were raised, because their biases would not fit 32 bits",
                layer.name, weight.raised_scales, weight.scales
            ));
        }
    }
}

fn layers(summary: &Summary) -> Figure {
    let column = |label: &str, unit: &str, digits| Column { label: label.into(), unit: unit.into(), digits };
    let row = |layer: &Layer| {
        let weight = layer.weight.as_ref();
        let output = layer.output.as_ref();
        let number = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Number);
        vec![
            Cell::Text(layer.name.clone()),
            Cell::Text(layer.op.clone()),
            Cell::Text(form(&layer.form)),
            weight.map_or(Cell::Empty, |weight| Cell::Text(format!("{:?}", weight.shape))),
            number(weight.map(|weight| weight.scales as f64)),
            number(weight.and_then(|weight| weight.sqnr_db)),
            number(output.map(|output| output.min.into())),
            number(output.map(|output| output.max.into())),
        ]
    };
    Figure {
        id: "layers".into(),
        title: "What became of each layer".into(),
        caption:
            "Weight SQNR is the power of the weights over that of their rounding error; low is bad. The \
                  output's range is what its 8 bits can represent."
                .into(),
        content: Content::Table {
            columns: vec![
                column("layer", "", 0),
                column("operator", "", 0),
                column("computes in", "", 0),
                column("weights", "", 0),
                column("scales", "", 0),
                column("weight SQNR", "dB", 1),
                column("output min", "", 3),
                column("output max", "", 3),
            ],
            rows: summary.layers.iter().map(row).collect(),
        },
    }
}

fn form(form: &Form) -> String {
    match form {
        Form::Integer => "integers".into(),
        Form::WeightOnly => "floats, weights stored as INT8".into(),
        Form::Merged { into } => format!("merged into {into}"),
        Form::Float { reason } => format!("floats: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use quant::{
        Lineage, Method, Observer, StaticOptions, observed_model, quantize_static, tensors_to_observe,
    };

    use crate::{library, noise, runtime};

    /// With unsigned activations the runtime computes the whole network in integers: no island of floats, which
    /// would cost conversions and transposes on both sides.
    #[test]
    fn static_int8_is_integer_throughout_in_the_runtime() {
        let reference =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/model/tinynet.onnx");
        if library::find().is_err() || !reference.is_file() {
            println!("skipped: there is no ONNX Runtime or no `../shared/reference/model/tinynet.onnx`");
            return;
        }
        let float = onnx::Model::read(&reference).unwrap();
        let observed = observed_model(&float).unwrap().to_bytes();
        let mut observer = Observer::new(tensors_to_observe(&float).unwrap(), Method::Minmax, false);
        let mut model = runtime::Model::from_bytes(&observed, "observed".into(), 1).unwrap();
        let images = noise::normal(8 * 3 * 32 * 32, 1);
        let inputs: [(&str, &[f32]); 1] = [(model.input(), &images)];
        observer.observe(&inputs, 8).unwrap();
        model.run_all(&images, &mut |outputs| Ok(observer.observe(outputs, 8)?)).unwrap();
        let ranges = observer.ranges(100.0, Lineage::default(), 1).unwrap();
        let (int8, _) = quantize_static(&float, &ranges, None, &StaticOptions::default()).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let optimized = runtime::optimized(&int8.to_bytes(), &folder.path().join("optimized.onnx")).unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &optimized.graph.nodes {
            *counts.entry(&node.op).or_default() += 1;
        }
        let count = |op: &str| counts.get(op).copied().unwrap_or(0);
        assert_eq!(count("QLinearConv"), 36, "{counts:?}");
        for op in ["Conv", "FusedConv", "Clip", "Relu", "Sigmoid", "Mul", "Add", "GlobalAveragePool", "Gemm"]
        {
            assert_eq!(count(op), 0, "{op}: {counts:?}");
        }
        assert_eq!(count("QuantizeLinear"), 1, "{counts:?}");
        assert!(count("DequantizeLinear") <= 1 && count("Transpose") <= 2, "{counts:?}");
    }
}
