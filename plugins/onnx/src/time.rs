//! `pipe-onnx time`: times one model in this process, which does nothing else. The conversation is
//! `protocol::timing`'s; what is compared with what is the business of `bench`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use arrays::Source;
use protocol::{CallTimes, TimeRequest, TimeResult, time_calls};

use crate::noise;
use crate::runtime::{self, Loaded, Model};
use crate::samples::Samples;

/// Reads a request from standard input, prints the results.
pub(crate) fn main() -> ExitCode {
    match converse(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            protocol::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn converse(reader: &mut dyn BufRead, writer: &mut dyn Write) -> Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let request: TimeRequest =
        serde_json::from_str(&line).context("expected a time request as a line of JSON")?;
    if request.batches.is_empty()
        || request.batches.contains(&0)
        || request.calls == 0
        || request.threads == 0
    {
        bail!("a time request needs batches of at least 1, `calls` and `threads` of at least 1");
    }
    runtime::start()?;
    let start = Instant::now();
    let loaded = Loaded::load(&request.model, &request.data, request.threads)?;
    let load_ms = milliseconds(start);
    let mut timed = match &request.arrays {
        Some(path) => Timed::Arrays { model: loaded, source: Source::open(path)? },
        None => Timed::Images(Model::sized(loaded, request.size)?),
    };
    for &batch in &request.batches {
        let calls = timed.time(batch, &request)?;
        let result = TimeResult::new(batch, load_ms, calls);
        serde_json::to_writer(&mut *writer, &result)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
    }
    Ok(())
}

/// A model with what it is given.
enum Timed {
    /// Images that are made up.
    Images(Model),
    /// Samples of arrays.
    Arrays { model: Loaded, source: Source },
}

impl Timed {
    fn time(&mut self, batch: usize, request: &TimeRequest) -> Result<CallTimes> {
        match self {
            Self::Images(model) => time_images(model, batch, request),
            Self::Arrays { model, source } => {
                let samples = Samples::repeated(source, batch, model)?;
                time_calls(request.warmup_calls, request.calls, || {
                    model.run_values(samples.inputs(&(0..batch))?, &mut |_, value| {
                        std::hint::black_box(value);
                        Ok(())
                    })
                })
                .with_context(|| format!("with {} a call", protocol::counted(batch, "sample", "samples")))
            }
        }
    }
}

fn time_images(model: &mut Model, batch: usize, request: &TimeRequest) -> Result<CallTimes> {
    if batch > model.batch_size(batch) {
        bail!(
            "{} takes one image at a time: set `batches: [1]`, with one value in `calls` and `warmup_calls`, or export it with a dynamic \
             batch axis",
            model.source()
        );
    }
    let images = noise::normal(batch * model.image().iter().product::<usize>(), request.seed);
    time_calls(request.warmup_calls, request.calls, || {
        std::hint::black_box(model.run(&images)?);
        Ok(())
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(input: &str) -> String {
        format!("{:#}", converse(&mut input.as_bytes(), &mut Vec::new()).unwrap_err())
    }

    #[test]
    fn rubbish_and_empty_work_are_refused() {
        assert!(refusal("rubbish\n").contains("time request"));
        let request = r#"{"model":"m.onnx","batches":[],"threads":1,"warmup_calls":0,"calls":1,"seed":0}"#;
        assert!(refusal(request).contains("at least 1"));
    }
}
