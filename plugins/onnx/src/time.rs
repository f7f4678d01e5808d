//! `pipe-onnx time`: times one model in this process, which does nothing else. The conversation is
//! `protocol::timing`'s; what is compared with what is the business of `bench`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use protocol::{TimeRequest, TimeResult};

use crate::noise;
use crate::runtime::{self, Model};

/// Reads a request from standard input, prints the results.
pub(crate) fn main() -> ExitCode {
    match converse(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
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
    let mut model = Model::load(&request.model, request.threads)?;
    let load_ms = milliseconds(start);
    for &batch in &request.batches {
        let times_ms = time(&mut model, batch, &request)?;
        let result = TimeResult { batch, times_ms, load_ms, peak_memory_kb: peak_memory_kb() };
        serde_json::to_writer(&mut *writer, &result)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
    }
    Ok(())
}

fn time(model: &mut Model, batch: usize, request: &TimeRequest) -> Result<Vec<f64>> {
    let images = noise::normal(batch * model.image().iter().product::<usize>(), request.seed);
    for _ in 0..request.warmup_calls {
        model.run(&images)?;
    }
    let mut times = Vec::with_capacity(request.calls);
    for _ in 0..request.calls {
        let start = Instant::now();
        let logits = model.run(&images)?;
        times.push(milliseconds(start));
        std::hint::black_box(logits);
    }
    Ok(times)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// `VmHWM` of `/proc/self/status`; none where there is no such file.
fn peak_memory_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
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
