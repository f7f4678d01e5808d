//! This machine: CPU model, instruction sets and cores, as far as they matter to a measurement; GPUs and memory, as far
//! as stages share them. Asks the standard library and the operating system; what cannot be found out is `unknown`.

use record::Machine;

use crate::env;

/// The machine that this process runs on.
#[must_use]
pub fn machine() -> Machine {
    Machine {
        cpu: cpu_model().unwrap_or_else(|| "unknown".into()),
        features: features().join(" "),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// The GPUs that stages may use, as [`env::VISIBLE_GPUS`] names them: those that it names, or all that NVIDIA's driver shows.
#[must_use]
pub fn gpus() -> Vec<String> {
    match env::VISIBLE_GPUS.text() {
        Some(visible) => named_gpus(&visible),
        None => {
            let devices = std::fs::read_dir("/dev").into_iter().flatten().flatten();
            let names = devices.filter_map(|entry| entry.file_name().into_string().ok());
            gpus_among(names)
        }
    }
}

/// CUDA reads the list up to the first entry that is no device.
fn named_gpus(visible: &str) -> Vec<String> {
    let names = visible
        .split(',')
        .map(str::trim)
        .map_while(|name| (!name.is_empty() && !name.starts_with('-')).then(|| name.to_owned()));
    names.collect()
}

fn gpus_among(devices: impl Iterator<Item = String>) -> Vec<String> {
    let numbers = devices.filter_map(|name| name.strip_prefix("nvidia")?.parse::<u32>().ok());
    let sorted: std::collections::BTreeSet<u32> = numbers.collect();
    sorted.into_iter().map(|number| number.to_string()).collect()
}

/// Bytes of memory in all, no more than a container is allowed. As much as anybody wants where that cannot be found out.
#[must_use]
pub fn memory() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let installed = read("/proc/meminfo").and_then(|text| total_in_meminfo(&text));
    let allowed = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    installed.into_iter().chain(allowed).min().unwrap_or(u64::MAX)
}

fn total_in_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(target_os = "linux")]
fn cpu_model() -> Option<String> {
    let file = std::fs::File::open("/proc/cpuinfo").ok()?;
    model_in_cpuinfo(&mut std::io::BufReader::new(file))
}

/// The model of the first processor listed. Reads no further: the file is made while it is read, and long on large
/// machines. An ARM kernel gives numbers instead of a name.
#[cfg(any(target_os = "linux", test))]
fn model_in_cpuinfo(text: &mut dyn std::io::BufRead) -> Option<String> {
    use std::io::BufRead as _;
    let mut numbers = Vec::new();
    for line in text.lines().map_while(Result::ok) {
        let Some((name, value)) = line.split_once(':') else {
            if numbers.is_empty() { continue } else { break }
        };
        match name.trim() {
            "model name" => return Some(value.split_whitespace().collect::<Vec<_>>().join(" ")),
            "CPU implementer" | "CPU part" | "CPU variant" => {
                numbers.push(format!("{} {}", name.trim().trim_start_matches("CPU "), value.trim()));
            }
            _ => {}
        }
    }
    (!numbers.is_empty()).then(|| numbers.join(" "))
}

#[cfg(target_os = "macos")]
fn cpu_model() -> Option<String> {
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "machdep.cpu.brand_string"])
        .output()
        .ok()?;
    let model = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!model.is_empty()).then_some(model)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn cpu_model() -> Option<String> {
    None
}

/// Names of the given instruction sets that the CPU has, in the order given.
macro_rules! detected {
    ($detect:ident: $($name:tt)*) => {
        [$(($name, std::arch::$detect!($name))),*].into_iter().filter(|set| set.1).map(|set| set.0).collect()
    };
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    detected!(is_x86_feature_detected:
        "sse4.1" "avx" "f16c" "fma" "avx2" "avxvnni" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni"
        "avx512bf16" "avx512fp16")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon" "fp16" "dotprod" "i8mm" "bf16" "sve" "sve2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Option<String> {
        model_in_cpuinfo(&mut text.as_bytes())
    }

    #[test]
    fn this_machine_is_described_and_stays_the_same() {
        let machine = machine();
        assert!(machine.cores >= 1);
        assert!(!machine.cpu.is_empty());
        assert!(machine.system.contains(std::env::consts::ARCH));
        assert_eq!(machine, super::machine());
    }

    #[test]
    fn gpus_are_those_that_are_named_or_there() {
        assert_eq!(named_gpus("0, 2"), ["0", "2"]);
        assert_eq!(named_gpus("GPU-8932f937-d72c"), ["GPU-8932f937-d72c"]);
        assert_eq!(named_gpus("1,-1,0"), ["1"]);
        assert!(named_gpus("").is_empty());
        let devices = ["nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"].map(String::from);
        assert_eq!(gpus_among(devices.into_iter()), ["2", "10"]);
    }

    #[test]
    fn memory_is_that_of_the_machine() {
        assert_eq!(total_in_meminfo("MemTotal:       16384256 kB\nMemFree: 1 kB\n"), Some(16_777_478_144));
        assert_eq!(total_in_meminfo("MemFree: 1 kB"), None);
        assert!(memory() > 1 << 20);
    }

    #[test]
    fn the_first_processors_model_is_taken() {
        let text = "processor\t: 0\nvendor_id\t: X\nmodel name\t: AMD  EPYC 9B14\n\nmodel name : other\n";
        assert_eq!(model(text).as_deref(), Some("AMD EPYC 9B14"));
    }

    #[test]
    fn arm_has_numbers_for_a_name() {
        let text = "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n\nprocessor: 1\nCPU part: 1\n";
        assert_eq!(model(text).as_deref(), Some("implementer 0x41 variant 0x3 part 0xd0c"));
    }

    #[test]
    fn nothing_to_read_is_unknown() {
        assert_eq!(model(""), None);
        assert_eq!(model("rubbish\n\n: \n"), None);
    }
}
