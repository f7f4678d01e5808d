use onnx::{Data, Dim, ElementType, Node, Tensor, Value};

use super::shortlist::MOST_IN_QUESTION;
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
    Judge::new(&chain(layers), candidates(layers), [candidates(layers), candidates(layers)], samples).unwrap()
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

/// The same of both halves.
fn together_of(errors: &[f32]) -> [Outcomes; 2] {
    [outcomes(errors), outcomes(errors)]
}

#[test]
fn every_setting_is_of_inputs_that_have_values_of_their_own() {
    let judge = judge(2, 32);
    let [alone, other] = judge.alone();
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
    assert!(weights.inputs.is_empty() && weights.model == ROUNDED);
    // Behind a `Relu` there is nothing below zero: steps of 4 / 255 and of 2 / 255, no more than 255 of them.
    let scales = |setting: &Setting| setting.inputs.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    assert_eq!(scales(&alone.settings[2]), [4.0 / 255.0, 0.0, 255.0]);
    assert_eq!(scales(&alone.settings[3]), [2.0 / 255.0, 0.0, 255.0]);
    assert!(other.settings == alone.settings && other.samples != alone.samples);
}

#[test]
fn ranges_of_one_half_are_tried_on_the_other() {
    let half = |max| -> Candidates {
        candidates(1)
            .into_keys()
            .map(|tensor| (tensor, Method::ALL.map(|_| Range { min: 0.0, max })))
            .collect()
    };
    let of_halves = |samples| {
        let judge = Judge::new(&chain(1), candidates(1), [half(1.0), half(2.0)], samples).unwrap();
        judge
            .together(&judge.mix(&Default::default()))
            .map(|trials| (trials.samples, trials.settings[0].inputs[0].1))
    };
    let [(even, of_odd), (odd, of_even)] = of_halves(64);
    assert!(even.iter().all(|place| place % 2 == 0) && odd.iter().all(|place| place % 2 == 1));
    assert_eq!((of_odd, of_even), (2.0 / 255.0, 1.0 / 255.0));
    let [(_, one), (_, other)] = of_halves(FEWEST_TO_HALVE - 1);
    assert_eq!((one, other), (5.0 / 255.0, 5.0 / 255.0), "of too few, all of them");
}

#[test]
fn the_number_of_runs_is_bounded_however_long_a_network_is() {
    for (layers, samples) in [(3, 64), (150, 1), (150, 16), (150, 512), (400, 100_000)] {
        let judge = judge(layers, samples);
        let runs = |trials: &[Trials; 2]| -> usize {
            trials.iter().map(|trials| trials.samples.len() * trials.settings.len()).sum()
        };
        let alone = judge.alone();
        let mixed = judge.mix(&Default::default());
        assert_eq!(mixed.len(), judge.parts.len());
        let together = judge.together(&mixed);
        let bound = (RUNS_A_SAMPLE * samples).clamp(FEWEST_RUNS, MOST_RUNS) + alone[0].samples.len() * 2;
        assert!(runs(&alone) <= bound, "{layers} layers, {samples} samples: {}", runs(&alone));
        assert!(runs(&together) <= 6 * MOST_SAMPLES.min(samples));
        let list = judge.shortlist(&mixed, &together_of(&[0.1; 6]));
        assert!(
            runs(&judge.integers(list.choices().count())) <= MOST_IN_QUESTION * MOST_SAMPLES.min(samples)
        );
        let tensors: usize = judge.parts.iter().map(|part| part.tensors.len()).sum();
        assert_eq!(tensors, layers + 1, "every tensor is in a part");
        for (alone, together) in alone.iter().zip(&together) {
            if samples > 10 {
                assert!(together.samples.iter().all(|place| !alone.samples.contains(place)));
            }
            assert!(together.samples.iter().all(|place| *place < samples));
        }
    }
}

#[test]
fn parts_get_what_is_best_beside_the_others() {
    let judge = judge(2, 32);
    // Wide and narrow by tensor; the weights.
    let mixed = judge.mix(&together_of(&[0.1, 0.2, 0.2, 0.1, 0.001, 0.0009, 0.01]));
    assert_eq!(mixed, [Method::Minmax, Method::Mse, Method::Minmax], "the last changes next to nothing");
}

#[test]
fn the_best_int8_model_decides_and_otherwise_the_best_trial() {
    let judge = judge(2, 32);
    let mixed = [Method::Minmax, Method::Mse, Method::Mse];
    let alone = together_of(&[0.1, 0.2, 0.2, 0.1, 0.2, 0.1, 0.01]);
    // Minmax, which others are like, moving average, percentile, entropy, mse, mixed.
    let list = judge.shortlist(&mixed, &together_of(&[0.1, 0.1, 0.1, 0.1, 0.08, 0.09]));
    let (mse, minmax, mixed) =
        (Choice::Single(Method::Mse), Choice::Single(Method::Minmax), Choice::Mixed(mixed.to_vec()));
    assert_eq!(list.choices().collect::<Vec<_>>(), [&mse, &mixed, &minmax]);
    let ends =
        |choice: &Choice| judge.ranges(choice, None).values().map(|range| range.max).collect::<Vec<_>>();
    for (errors, expected, max) in [
        (None, &mse, [2.0; 3]),
        (Some([0.1, 0.1, 0.05]), &minmax, [4.0; 3]),
        (Some([0.05, 0.1, 0.0499]), &minmax, [4.0; 3]),
        (Some([0.1, 0.05, 0.2]), &mixed, [4.0, 2.0, 2.0]),
        (Some([0.1, f32::NAN, f32::NAN]), &mse, [2.0; 3]),
    ] {
        let integers = errors.map(|errors| [together_of(&errors), together_of(&errors)]);
        let (choice, judged) = judge.conclude(&list, &alone, integers.as_ref());
        assert_eq!((choice, ends(choice).as_slice()), (expected, max.as_slice()), "{errors:?}");
        assert_eq!(judged.tensors.len(), 3);
        assert_eq!(judged.method("t1"), if max[1] < 3.0 { Method::Mse } else { Method::Minmax });
        assert!(judged.chosen_db.is_finite() && judged.single_db.values().all(|db| db.is_finite()));
        assert_eq!(judged.integers_db.len(), if errors.is_some() { 3 } else { 0 });
        assert_eq!(judged.tensors["t0"].alone_db, [(Method::Minmax, 20.0), (Method::Mse, 13.98)].into());
    }
}

#[test]
fn what_is_out_of_the_question_is_not_made_integers() {
    let candidates: Candidates = (0..=2)
        .map(|layer| {
            (
                format!("t{layer}"),
                Method::ALL.map(|method| Range { min: 0.0, max: f32::from(method as u8) + 1.0 }),
            )
        })
        .collect();
    let judge = Judge::new(&chain(2), candidates.clone(), [candidates.clone(), candidates], 32).unwrap();
    let mixed = vec![Method::Minmax, Method::Mse, Method::Mse];
    let names = |errors: &[f32; 6]| -> Vec<String> {
        judge.shortlist(&mixed, &together_of(errors)).choices().map(Choice::name).collect()
    };
    assert_eq!(names(&[0.1, 0.2, 0.11, 0.2, 0.2, 0.12]), ["minmax", "percentile", "mixed"], "6 dB below");
    assert_eq!(
        names(&[0.3, 0.31, 0.4, 0.4, 0.4, 0.1]),
        ["mixed", "minmax", "moving_average"],
        "two methods for all stay"
    );
    let same = judge.shortlist(&[Method::Minmax; 3], &together_of(&[0.1, 0.2, 0.4, 0.4, 0.4, 0.1]));
    assert_eq!(same.choices().count(), 2, "the mixture is one method for all");
}

#[test]
fn places_and_classes_are_looked_at_as_floats() {
    let mut model = chain(1);
    model.graph.nodes.push(Node::new("ArgMax", ["t1"], ["place"]));
    let place = Value { name: "place".into(), element: ElementType::I64, shape: None };
    model.graph.outputs = vec![place];
    let judge = Judge::new(&model, candidates(1), [candidates(1), candidates(1)], 8).unwrap();
    assert_eq!(judge.outputs().collect::<Vec<_>>(), ["place_float"]);
    assert!(judge.trial.outputs[0].is_whole);
    // The INT8 model's output under the same name.
    let comparable = judge.comparable(model.clone());
    assert_eq!(comparable.graph.outputs.len(), 1);
    assert_eq!(comparable.graph.outputs[0].name, "place_float");
    assert_eq!(comparable.graph.nodes.last().unwrap().op, "Cast");
}
