//! `pipe-torch time [--channels-last]`: how long libtorch takes for one forward pass, in eager mode, FP32, on the CPU.
//!
//! The request is one [`TimeRequest`] on standard input, the answer one [`TimeResult`] a batch size on standard
//! output; see there. Images lie channel by channel, as PyTorch has them unless told otherwise; `--channels-last`
//! lays them out pixel by pixel, which is faster here.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use model::Weights;
use protocol::{CallTimes, TimeRequest, TimeResult, time_calls};
use tch::{Device, Kind, Tensor};

use crate::error::TorchError;
use crate::net::Net;
use crate::net::parameters::Parameters;
use crate::tensor::{MemoryFormat, inference, lay_out};

/// The `main` of the subcommand.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(2).collect();
    match serve(&arguments, &mut std::io::stdin().lock(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            protocol::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[String], reader: &mut dyn BufRead, writer: &mut dyn Write) -> anyhow::Result<()> {
    let format = match arguments {
        [] => MemoryFormat::Contiguous,
        [flag] if flag == "--channels-last" => MemoryFormat::ChannelsLast,
        other => bail!("unknown arguments `{}`; `--channels-last` is the only one", other.join(" ")),
    };
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let request: TimeRequest = serde_json::from_str(&line).context("the request is not one line of JSON")?;
    check(&request)?;
    tch::set_num_threads(i32::try_from(request.threads).unwrap_or(i32::MAX));

    let started = Instant::now();
    let weights = Weights::read(&request.model)?;
    let graph = weights.graph()?;
    let net = Net::new(&graph, &Parameters::from_weights(&graph, &weights)?, Device::Cpu, false, None)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    for &batch in &request.batches {
        let calls = inference(|| time(&net, graph.input_shape(), batch, format, &request))?;
        let result = TimeResult::new(batch, load_ms, calls);
        writeln!(writer, "{}", serde_json::to_string(&result)?)?;
        writer.flush()?;
    }
    Ok(())
}

fn check(request: &TimeRequest) -> anyhow::Result<()> {
    ensure!(!request.batches.is_empty(), "`batches` is empty; name at least one batch size");
    ensure!(!request.batches.contains(&0), "`batches` has a 0; a call wants at least one image");
    ensure!(request.threads >= 1, "`threads` is 0, but must be at least 1");
    ensure!(request.calls >= 1, "`calls` is 0, but must be at least 1");
    Ok(())
}

fn time(
    net: &Net,
    shape: [usize; 3],
    batch: usize,
    format: MemoryFormat,
    request: &TimeRequest,
) -> Result<CallTimes, TorchError> {
    tch::manual_seed(request.seed.cast_signed());
    let [channels, height, width] = shape.map(|dim| dim as i64);
    let images = Tensor::f_randn([batch as i64, channels, height, width], (Kind::Float, Device::Cpu))?;
    let images = lay_out(images, format)?;
    time_calls(request.warmup_calls, request.calls, || net.forward(&images, false).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::weights;
    use serde_json::json;

    fn timed(arguments: &[&str], request: &serde_json::Value) -> anyhow::Result<Vec<TimeResult>> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut output = Vec::new();
        serve(&arguments, &mut format!("{request}\n").as_bytes(), &mut output)?;
        let lines = String::from_utf8(output)?;
        Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    #[test]
    fn one_result_a_batch_size() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("w.safetensors");
        weights(1).write(&model).unwrap();
        let request = json!({"model": model, "batches": [1, 4], "threads": 1, "warmup_calls": 1, "calls": 3, "seed": 1});
        for arguments in [&[][..], &["--channels-last"]] {
            let results = timed(arguments, &request).unwrap();
            assert_eq!(results.iter().map(|result| result.batch).collect::<Vec<_>>(), [1, 4]);
            assert!(results.iter().all(|result| result.times_ms.len() == 3));
            assert!(results.iter().flat_map(|result| &result.times_ms).all(|&time| time > 0.0));
            assert!(
                results
                    .iter()
                    .all(|result| result.warmup_calls >= 10 && result.first_result_ms > result.load_ms)
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let request =
            json!({"model": "m", "batches": [1], "threads": 1, "warmup_calls": 1, "calls": 1, "seed": 1});
        let message = |key: &str, value: serde_json::Value| {
            let mut request = request.clone();
            request[key] = value;
            format!("{:#}", timed(&[], &request).unwrap_err())
        };
        assert!(message("batches", json!([])).contains("`batches` is empty"));
        assert!(message("batches", json!([0])).contains("`batches` has a 0"));
        assert!(message("calls", json!(0)).contains("`calls` is 0"));
        assert!(message("threads", json!(0)).contains("`threads` is 0"));
        assert!(message("speed", json!(0)).contains("unknown field `speed`"));
        assert!(message("model", json!("/nowhere/m.safetensors")).contains("/nowhere/m.safetensors"));
        assert!(timed(&["--fast"], &request).unwrap_err().to_string().contains("`--fast`"));
    }
}
