//! `pipe-onnx time`: times one model in this process, which does nothing else. The conversation is
//! `protocol::timing`'s; what is compared with what is the business of `bench`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use protocol::{CallTimes, TimeRequest, TimeResult, time_calls};

use crate::noise;
use crate::runtime::{self, Model};

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
    let mut model = Model::load(&request.model, &request.data, request.threads)?;
    let load_ms = milliseconds(start);
    for &batch in &request.batches {
        let calls = time(&mut model, batch, &request)?;
        let result = TimeResult::new(batch, load_ms, calls);
        serde_json::to_writer(&mut *writer, &result)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
    }
    Ok(())
}

fn time(model: &mut Model, batch: usize, request: &TimeRequest) -> Result<CallTimes> {
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
