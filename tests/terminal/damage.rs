//! Every file and folder of the cache, damaged in every way: no command hangs, panics or reads without end, nothing wrong
//! reaches an artifact, nothing outside the cache is written to, and without what was damaged all is well again.
//!
//! By default a sample of all pairs of a file and a kind of damage; `PIPE_DAMAGE_SHARE=1` takes all of them.

mod bench;
mod kind;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::Rng as _;

use crate::project::Outcome;
use crate::soak;
use bench::{Bench, HANGS, OUTSIDE};
use kind::{Kind, TO_FILES, TO_FOLDERS};

/// What they make.
const MADE: [(&str, &str); 5] = [
    ("words/out.txt", "wordsa\n"),
    ("folder/folder/inner/one", "wordsa\n"),
    ("folder/folder/two", "two\n"),
    ("grown/out.txt", "1\n2\n3\n"),
    ("risky/o.txt", "0\n"),
];

/// Commands that read a cache, and one that executes something. One of them precedes each run.
const READERS: [&[&str]; 9] = [
    &["run", "--force", "risky"],
    &["status"],
    &["history"],
    &["verify", "--dry-run"],
    &["why", "words"],
    &["log", "words"],
    &["compare"],
    &["gc", "--dry-run", "--max-size", "0"],
    &["report"],
];

/// What became of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// `pipe run` came to the right artifacts and said nothing.
    Silent,
    /// It came to the right artifacts and told of the damage, or executed something anew.
    Told,
    /// It refused, naming the place.
    Refused,
}

/// Everything about one pair; what is wrong, or how it ended.
fn judge(
    bench: &Bench,
    place: &Path,
    is_folder: bool,
    kind: Kind,
    reader: &[&str],
) -> Result<Option<End>, String> {
    if !bench.damage(place, is_folder, kind) {
        return Ok(None);
    }
    let wrong = |what: &str, outcome: &Outcome| {
        let Outcome { code, stdout, stderr } = outcome;
        Err(format!("{}: {kind}: {what} ({code:?})\n{stdout}{stderr}", place.display()))
    };
    let sane = |outcome: &Outcome| match outcome.code {
        Some(HANGS) => Some("hangs"),
        Some(0..=2) if outcome.stderr.contains("panicked") => Some("panics"),
        Some(0..=2) => None,
        _ => Some("dies"),
    };
    let looked = bench.pipe(reader);
    if let Some(what) = sane(&looked) {
        return wrong(&format!("`pipe {}` {what}", reader.join(" ")), &looked);
    }
    let outcome = bench.pipe(&["run"]);
    if let Some(what) = sane(&outcome) {
        return wrong(&format!("`pipe run` {what}"), &outcome);
    }
    let end = if outcome.code == Some(0) {
        for (name, content) in MADE {
            if fs::read_to_string(bench.project.path("artifacts").join(name)).ok().as_deref() != Some(content)
            {
                return wrong(&format!("`{name}` is wrong"), &outcome);
            }
        }
        let quiet = outcome.stderr.contains("nothing to do") || !outcome.stderr.contains("warning");
        if quiet { End::Silent } else { End::Told }
    } else if outcome.stderr.contains("cache/v1") || outcome.stderr.contains("`cache`") {
        End::Refused
    } else {
        return wrong("the message does not name the place", &outcome);
    };
    if bench.project.read("outside.txt") != OUTSIDE {
        bench.project.write("outside.txt", OUTSIDE);
        return wrong("a file outside was written to", &outcome);
    }
    bench.clear(place);
    let outcome = bench.pipe(&["run"]);
    if outcome.code != Some(0) {
        return wrong("`pipe run` fails without it", &outcome);
    }
    let verified = bench.pipe(&["verify"]);
    if verified.code != Some(0) && bench.pipe(&["verify"]).code != Some(0) {
        return wrong("`pipe verify` finds damage twice", &verified);
    }
    let outcome = bench.pipe(&["run"]);
    if outcome.code != Some(0) {
        return wrong("`pipe run` fails after verifying", &outcome);
    }
    for (name, content) in MADE {
        if bench.project.read(&format!("artifacts/{name}")) != content {
            return wrong(&format!("`{name}` is wrong afterwards"), &outcome);
        }
    }
    Ok(Some(end))
}

#[test]
fn no_damage_to_any_file_of_the_cache_hangs_panics_or_comes_to_something_wrong() {
    let share = soak::number("PIPE_DAMAGE_SHARE", 12);
    let mut random = soak::drawn(soak::seed("PIPE_DAMAGE_SEED"));
    let pairs = |bench: &Bench| {
        let kinds = |is_folder| if is_folder { TO_FOLDERS.as_slice() } else { &TO_FILES };
        let places = bench.places().into_iter();
        places
            .flat_map(|(place, is_folder)| {
                kinds(is_folder).iter().map(move |kind| (place.clone(), is_folder, *kind))
            })
            .collect::<Vec<_>>()
    };
    let benches = [Bench::new(), Bench::new()];
    let places = benches[0].places().len();
    // Names are not those of the other bench, and where two logs happen to be the same, times included, they are one object.
    let all = benches.iter().map(|bench| pairs(bench).len()).min().unwrap();
    let drawn: Vec<usize> = (0..all).filter(|_| u64::from(random.next_u32()).is_multiple_of(share)).collect();
    let next = AtomicUsize::new(0);
    let ends: Mutex<BTreeMap<(Kind, End), usize>> = Mutex::default();
    let problems: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for bench in &benches {
            scope.spawn(|| {
                let pairs = pairs(bench);
                while let Some(number) = drawn.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (place, is_folder, kind) = &pairs[*number];
                    bench.restore();
                    match judge(bench, place, *is_folder, *kind, READERS[number % READERS.len()]) {
                        Ok(Some(end)) => *ends.lock().unwrap().entry((*kind, end)).or_default() += 1,
                        Ok(None) => {}
                        Err(problem) => {
                            println!("{problem}");
                            problems.lock().unwrap().push(problem);
                            bench.clear(place);
                        }
                    }
                }
            });
        }
    });
    let (ends, problems) = (ends.into_inner().unwrap(), problems.into_inner().unwrap());
    soak::figure("files and folders of a cache", places);
    soak::figure(
        "pairs of a place and a kind of damage",
        format!("{} of {all}", ends.values().sum::<usize>()),
    );
    for (end, what) in [
        (End::Silent, "the right outcome, nothing to tell"),
        (End::Told, "the right outcome, told with a warning"),
        (End::Refused, "refused with the place's name"),
    ] {
        let count: usize = ends.iter().filter(|((_, is), _)| *is == end).map(|(_, count)| count).sum();
        soak::figure(what, count);
    }
    soak::figure("hangs, panics, wrong outcomes, writes outside", problems.len());
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}
