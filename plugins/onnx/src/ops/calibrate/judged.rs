//! Ranges of the method, tensor by tensor, whose rounding puts the least noise into the model's outputs, and how that is shown. Runs
//! what `quant` wants to be tried.

use protocol::{Cell, Column, Content, Failure, Figure, Metric, Reporter, RunRequest, counted};
use quant::{Candidates, Judge, Judged, Lineage, Method, Observer, Ranges, Trials};

use super::data::Data;
use crate::trials::Files;

/// The ranges, and why.
///
/// # Errors
/// Where the model cannot be rounded, or ONNX Runtime fails.
pub(super) fn ranges(
    data: &Data<'_>,
    float: &onnx::Model,
    observer: &Observer,
    candidates: Candidates,
    lineage: Lineage,
    request: &RunRequest,
    reporter: &mut Reporter<'_>,
) -> Result<Ranges, Failure> {
    let (_, calls) = data.calls();
    let judge = Judge::new(&data.sized(float), candidates, calls)?;
    let [exact, rounded] = judge.models().map(onnx::Model::to_bytes);
    let files = Files { exact: &exact, rounded: &rounded };
    let outputs: Vec<String> = judge.outputs().map(str::to_owned).collect();
    let mut run = |trials: Trials| data.try_out(files, &outputs, &trials, request, reporter);
    let alone = run(judge.alone())?;
    let mixed = judge.mix(&alone);
    let together = run(judge.together(&mixed))?;
    let (tensors, judged) = judge.conclude(&mixed, &alone, &together);
    let mut ranges = observer.with_histograms(tensors, lineage);
    ranges.judged = Some(judged);
    Ok(ranges)
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
    let single: Vec<String> =
        judged.single_db.iter().map(|(method, db)| format!("`{}` {db:.1} dB", method.as_str())).collect();
    Figure {
        id: "ranges".into(),
        title: "Ranges by tensor".into(),
        caption: format!(
            "What `auto` chose on {basis}. Decibels are of signal to noise of the model's outputs, mostly in their worst columns: in the \
             table with that tensor alone rounded, or of a large network its part; with all of them, on {}: {}; as chosen {:.1} dB.",
            counted(judged.samples, "sample", "samples"),
            single.join(", "),
            judged.chosen_db
        ),
        content: Content::Table {
            columns: columns.into_iter().chain([method]).chain(Method::ALL.map(decibels)).collect(),
            rows: ranges.tensors.iter().map(row).collect(),
        },
    }
}
