//! Ranges of the method, tensor by tensor, whose rounding puts the least noise into the model's outputs, and how that is shown. Runs
//! what `quant` wants to be tried.

use std::collections::BTreeMap;

use protocol::{Cell, Column, Content, Failure, Figure, Metric, Reporter, RunRequest, counted};
use quant::{
    Judge, Judged, Method, Moments, QuantError, Range, Ranges, StaticOptions, Trials, quantize_static,
};

use super::data::Data;

/// Ranges that there are, from all samples and from each half of them.
pub(super) struct Candidates {
    pub(super) whole: quant::Candidates,
    pub(super) halves: [quant::Candidates; 2],
}

/// What was chosen.
pub(super) struct Choice {
    pub(super) ranges: Ranges,
    /// Of these ranges, where moments are wanted.
    pub(super) moments: Option<Moments>,
}

/// Finds the moments of ranges, where these are wanted.
pub(super) type MomentsOf<'a> = dyn Fn(&Ranges, &mut Reporter<'_>) -> Result<Option<Moments>, Failure> + 'a;

/// The ranges, and why: what looks best with rounded activations, and of that what is best as an INT8 model. `complete` makes ranges
/// of those by tensor; `moments` is asked for their moments.
///
/// # Errors
/// Where the model cannot be rounded, or ONNX Runtime fails.
pub(super) fn choose(
    data: &Data<'_>,
    float: &onnx::Model,
    candidates: Candidates,
    complete: &dyn Fn(BTreeMap<String, Range>) -> Ranges,
    moments: &MomentsOf<'_>,
    request: &RunRequest,
    reporter: &mut Reporter<'_>,
) -> Result<Choice, Failure> {
    let (_, calls) = data.calls();
    let judge = Judge::new(&data.sized(float), candidates.whole, candidates.halves, calls)?;
    let outputs: Vec<String> = judge.outputs().map(str::to_owned).collect();
    let try_out = |files: [&[Vec<u8>]; 2], [one, two]: [Trials; 2], reporter: &mut Reporter<'_>| {
        let one = data.try_out(files[0], &outputs, &one, request, reporter)?;
        Ok::<_, Failure>([one, data.try_out(files[1], &outputs, &two, request, reporter)?])
    };
    let files = judge.models().map(onnx::Model::to_bytes);
    let alone = try_out([&files; 2], judge.alone(), reporter)?;
    let mixed = judge.mix(&alone);
    let together = try_out([&files; 2], judge.together(&mixed), reporter)?;
    let list = judge.shortlist(&mixed, &together);
    let expected = match list.choices().next() {
        Some(choice) => complete(judge.ranges(choice, None)),
        None => return Err(Failure::new("there is no choice of ranges: the model has no tensor to round")),
    };
    let found = moments(&expected, reporter)?;
    let [exact, _] = files;
    let integers = |half: Option<usize>| -> Result<Vec<Vec<u8>>, QuantError> {
        let quantized = |choice| {
            let ranges = complete(judge.ranges(choice, half));
            let (model, _) = quantize_static(float, &ranges, found.as_ref(), &StaticOptions::default())?;
            // It leaves open what the float model does.
            Ok(judge.comparable(data.sized(&model).into_owned()).to_bytes())
        };
        std::iter::once(Ok(exact.clone())).chain(list.choices().map(quantized)).collect()
    };
    let trials = || judge.integers(list.choices().count());
    let compared = match integers(None) {
        Err(error) => Err(error),
        Ok(whole) => {
            let own = try_out([&whole; 2], trials(), reporter)?;
            drop(whole);
            // Each half of the samples with the ranges of the other one.
            match (integers(Some(1)), integers(Some(0))) {
                (Ok(one), Ok(two)) => Ok([own, try_out([&one, &two], trials(), reporter)?]),
                (Err(error), _) | (_, Err(error)) => Err(error),
            }
        }
    };
    if let Err(error) = &compared {
        reporter.warn(format!("ranges are chosen without INT8 models, which cannot be made: {error}"));
    }
    let (choice, judged) = judge.conclude(&list, &alone, compared.ok().as_ref());
    let ranges = complete(judge.ranges(choice, None));
    let is_expected = ranges == expected;
    let moments = if is_expected { found } else { moments(&ranges, reporter)? };
    Ok(Choice { ranges: Ranges { judged: Some(judged), ..ranges }, moments })
}

/// How good the choice is, and which it is.
pub(super) fn metric(judged: &Judged) -> Metric {
    Metric::new(judged.chosen_db, "dB").basis(words(judged))
}

/// Which methods were chosen, in words.
fn words(judged: &Judged) -> String {
    match judged.counts().as_slice() {
        [] => format!("`{}`", judged.best.as_str()),
        [(method, _)] => format!("`{}` for all tensors", method.as_str()),
        several => {
            let parts = several.iter().map(|(method, count)| {
                format!("`{}` for {}", method.as_str(), counted(*count, "tensor", "tensors"))
            });
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// By tensor, its range, its method, and what each method would do to the outputs.
pub(super) fn table(ranges: &Ranges, judged: &Judged, basis: &str) -> Figure {
    let decibels = |method: Method| Column::new(method.as_str(), "dB", 1);
    let columns = [Column::new("tensor", "", 0), Column::new("min", "", 4), Column::new("max", "", 4)];
    let method = Column::new("method", "", 0);
    let row = |(name, range): (&String, &quant::Range)| {
        let alone = judged.tensors.get(name).map(|chosen| &chosen.alone_db);
        let found = Method::ALL.into_iter().map(|method| alone?.get(&method).copied());
        let ends = [Cell::Text(name.clone()), Cell::Number(range.min.into()), Cell::Number(range.max.into())];
        let method = Cell::Text(judged.method(name).as_str().into());
        let found = found.map(|db| db.map_or(Cell::Empty, Cell::Number));
        ends.into_iter().chain([method]).chain(found).collect()
    };
    let listed = |found: Vec<(&str, f64)>| {
        let each = found.iter().map(|(name, db)| format!("`{name}` {db:.1} dB"));
        each.collect::<Vec<_>>().join(", ")
    };
    let single = listed(judged.single_db.iter().map(|(method, db)| (method.as_str(), *db)).collect());
    let integers = listed(judged.integers_db.iter().map(|(name, db)| (name.as_str(), *db)).collect());
    let integers = if integers.is_empty() { "none".into() } else { integers };
    Figure {
        id: "ranges".into(),
        title: "Ranges by tensor".into(),
        caption: format!(
            "What `auto` chose on {basis}. Decibels are of signal to noise of the model's outputs, mostly in their worst columns: in the \
             table with that tensor alone rounded, or of a large network its part; with all of them: {single}; of INT8 models on {}: \
             {integers}; as chosen {:.1} dB.",
            counted(judged.samples, "sample", "samples"),
            judged.chosen_db
        ),
        content: Content::Table {
            columns: columns.into_iter().chain([method]).chain(Method::ALL.map(decibels)).collect(),
            rows: ranges.tensors.iter().map(row).collect(),
        },
    }
}
