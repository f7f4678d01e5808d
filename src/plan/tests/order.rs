//! In which order a pipeline says things does not count.

use std::fs;

use pipeline::digest::Digest;
use pipeline::spec::Overrides;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::plan;
use crate::project::Project;

proptest! {
    #[test]
    fn the_order_of_keys_in_the_file_does_not_count(places in proptest::collection::vec(any::<Index>(), 8)) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.txt"), "a").unwrap();
        let of = |places: &[Index]| {
            fs::write(root.path().join("pipeline.yaml"), shuffled(places)).unwrap();
            let file = root.path().join("pipeline.yaml");
            let project = Project::load(&file, None, &Overrides::default(), Some(1), false).unwrap();
            let inputs = ["a", "b"].map(|name| (name.to_owned(), Digest::of_bytes(b"a"))).into();
            plan::key_of(&project, &project.pipeline.stages[0], &inputs).unwrap()
        };
        prop_assert_eq!(of(&places), of(&[]));
    }
}

/// A pipeline of one stage with the keys of each map in another order.
fn shuffled(places: &[Index]) -> String {
    let order = |mut lines: Vec<String>| {
        for (one, other) in places.iter().enumerate() {
            let count = lines.len();
            lines.swap(one % count, other.index(count));
        }
        lines
    };
    let map = |entries: &[&str]| order(entries.iter().map(|entry| (*entry).to_owned()).collect()).join(", ");
    let stage = order(vec![
        format!("run: 'cat ${{inputs.a}} > ${{outputs.o}}; touch ${{outputs.other}}'"),
        format!("inputs: {{ {} }}", map(&["a: a.txt", "b: a.txt"])),
        format!("outputs: {{ {} }}", map(&["o: o.txt", "other: other.txt"])),
        format!("env: {{ {} }}", map(&["A: '1'", "B: '2'", "C: '3'"])),
        format!("params: {{ p: {{ {} }}, q: 1 }}", map(&["x: 1", "y: [1, 2]", "z: { deep: true }"])),
        format!("resources: {{ {} }}", map(&["cpus: 1", "memory: 1 MB"])),
        "description: something".to_owned(),
    ]);
    let file = order(vec![
        "version: 1".into(),
        "name: test".into(),
        format!("stages:\n  one:\n    {}", stage.join("\n    ")),
    ]);
    file.join("\n") + "\n"
}
