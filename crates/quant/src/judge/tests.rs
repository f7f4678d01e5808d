use onnx::{Data, Dim, ElementType, Node, Tensor, Value};

use super::*;

/// So many convolutions, each with a `Relu` behind it.
fn chain(layers: usize) -> Model {
    let mut model = Model::new(13);
    let shape = |batch| Some([batch, Dim::Known(4), Dim::Known(2), Dim::Known(2)].to_vec());
    let value = |name: String| Value { name, element: ElementType::F32, shape: shape(Dim::Unknown) };
    for layer in 0..layers {
        let (from, to) = (format!("t{layer}"), format!("t{}", layer + 1));
        let values = (0_u8..16).map(|index| f32::from(index * 7 % 16) / 9.0 - 0.8).collect();
        let weights = Tensor::new(vec![4, 4, 1, 1], Data::F32(values)).unwrap();
        model.graph.initializers.insert(format!("w{layer}"), weights);
        model.graph.nodes.push(Node::new("Conv", [from, format!("w{layer}")], [format!("c{layer}")]));
        model.graph.nodes.push(Node::new("Relu", [format!("c{layer}")], [to]));
    }
    model.graph.inputs = vec![value("t0".into())];
    model.graph.outputs = vec![value(format!("t{layers}"))];
    model
}

/// Candidates of a chain: half of the range of [`Method::Minmax`] with [`Method::Mse`], and all of it with the others.
fn candidates(layers: usize) -> Candidates {
    let range = |method| Range { min: -1.0, max: if method == Method::Mse { 2.0 } else { 4.0 } };
    (0..=layers).map(|layer| (format!("t{layer}"), Method::ALL.map(range))).collect()
}

fn judge(layers: usize, samples: usize) -> Judge {
    Judge::new(&chain(layers), candidates(layers), samples).unwrap()
}

/// Outcomes whose outputs are off by these, of one sample with two values of 1.
fn outcomes(errors: &[f32]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let exact: &[&[f32]] = &[&[1.0, 1.0]];
    outcomes.add_exact(exact, 1);
    for (setting, error) in errors.iter().enumerate() {
        outcomes.add_rounded(setting, exact, &[&[1.0 + error, 1.0 - error]], 1);
    }
    outcomes
}

#[test]
fn every_setting_is_of_inputs_that_have_values_of_their_own() {
    let judge = judge(2, 32);
    let alone = judge.alone();
    // Three tensors with two different ranges each, and the weights.
    assert_eq!(alone.settings.len(), 3 * 2 + 1);
    let [exact, rounded] = judge.models();
    for (name, _) in alone.settings.iter().flat_map(|setting| &setting.inputs) {
        for model in [exact, rounded] {
            assert!(model.graph.inputs.iter().any(|value| value.name == *name), "{name}");
            assert!(model.graph.initializers.contains_key(name), "{name}");
        }
    }
    assert_ne!(exact.graph.initializers["w0"], rounded.graph.initializers["w0"]);
    let weights = alone.settings.last().unwrap();
    assert!(weights.inputs.is_empty() && weights.with_rounded_weights);
    // Behind a `Relu` there is nothing below zero: steps of 4 / 255 and of 2 / 255, no more than 255 of them.
    let scales = |setting: &Setting| setting.inputs.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    assert_eq!(scales(&alone.settings[2]), [4.0 / 255.0, 0.0, 255.0]);
    assert_eq!(scales(&alone.settings[3]), [2.0 / 255.0, 0.0, 255.0]);
}

#[test]
fn the_number_of_runs_is_bounded_however_long_a_network_is() {
    for (layers, samples) in [(3, 64), (150, 1), (150, 16), (150, 512), (400, 100_000)] {
        let judge = judge(layers, samples);
        let runs = |trials: &Trials| trials.samples.len() * trials.settings.len();
        let alone = judge.alone();
        let mixed = judge.mix(&Outcomes::default());
        assert_eq!(mixed.len(), judge.parts.len());
        let together = judge.together(&mixed);
        let bound = (RUNS_A_SAMPLE * samples).clamp(FEWEST_RUNS, MOST_RUNS) + alone.samples.len();
        assert!(runs(&alone) <= bound, "{layers} layers, {samples} samples: {}", runs(&alone));
        assert!(runs(&together) <= 6 * MOST_SAMPLES.min(samples));
        let tensors: usize = judge.parts.iter().map(|part| part.tensors.len()).sum();
        assert_eq!(tensors, layers + 1, "every tensor is in a part");
        if samples > 10 {
            assert!(together.samples.iter().all(|place| !alone.samples.contains(place)));
        }
        assert!(together.samples.iter().all(|place| *place < samples));
    }
}

#[test]
fn parts_get_what_is_best_beside_the_others() {
    let judge = judge(2, 32);
    // Wide and narrow by tensor; the weights.
    let mixed = judge.mix(&outcomes(&[0.1, 0.2, 0.2, 0.1, 0.001, 0.0009, 0.01]));
    assert_eq!(mixed, [Method::Minmax, Method::Mse, Method::Minmax], "the last changes next to nothing");
}

#[test]
fn a_choice_must_be_clearly_better_than_one_that_cuts_off_less() {
    let judge = judge(2, 32);
    let mixed = [Method::Minmax, Method::Mse, Method::Mse];
    let alone = outcomes(&[0.1, 0.2, 0.2, 0.1, 0.2, 0.1, 0.01]);
    // Minmax, moving average, percentile, entropy, mse, mixed.
    for (errors, expected) in [
        ([0.1, 0.1, 0.1, 0.1, 0.1, 0.099], [4.0, 4.0, 4.0]),
        ([0.1, 0.1, 0.1, 0.1, 0.08, 0.079], [2.0, 2.0, 2.0]),
        ([0.1, 0.1, 0.1, 0.1, 0.08, 0.05], [4.0, 2.0, 2.0]),
        ([0.1, 0.1, 0.1, 0.1, f32::NAN, f32::NAN], [4.0, 4.0, 4.0]),
    ] {
        let (ranges, judged) = judge.conclude(&mixed, &alone, &outcomes(&errors));
        let found: Vec<f32> = ranges.values().map(|range| range.max).collect();
        assert_eq!(found, expected, "{errors:?}");
        assert_eq!(judged.tensors.len(), 3);
        let method = if expected[1] < 3.0 { Method::Mse } else { Method::Minmax };
        assert_eq!(judged.method("t1"), method);
        assert!(judged.chosen_db.is_finite() && judged.single_db.values().all(|db| db.is_finite()));
        assert_eq!(judged.tensors["t0"].alone_db, [(Method::Minmax, 20.0), (Method::Mse, 13.98)].into());
    }
}

#[test]
fn places_and_classes_are_looked_at_as_floats() {
    let mut model = chain(1);
    model.graph.nodes.push(Node::new("ArgMax", ["t1"], ["place"]));
    let place = Value { name: "place".into(), element: ElementType::I64, shape: None };
    model.graph.outputs = vec![place];
    let judge = Judge::new(&model, candidates(1), 8).unwrap();
    assert_eq!(judge.outputs().collect::<Vec<_>>(), ["place_float"]);
    assert!(judge.trial.outputs[0].is_whole);
}
