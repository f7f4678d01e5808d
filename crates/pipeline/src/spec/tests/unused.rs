//! Vars that nothing uses.

use super::read;

fn warnings(text: &str) -> Vec<String> {
    let text = format!("version: 1\nname: t\n{text}");
    read(&text).unwrap_or_else(|problems| panic!("{problems}")).warnings
}

const STAGE: &str =
    "stages: { a: { run: 'echo ${vars.used} ${vars.map.part}', env: { X: '${vars.deep}' } } }\n";

#[test]
fn a_var_that_something_names_is_used() {
    let vars = "vars:\n  base: 1\n  used: '${vars.base}'\n  map: { part: 1, other: 2 }\n  deep: 3\n";
    assert_eq!(warnings(&format!("{vars}{STAGE}")), [""; 0]);
    // What only another command line would use.
    let profile = "profiles: { quick: { deep: '${vars.short}' } }\n";
    let vars = vars.replace("  deep: 3\n", "  short: 1\n  deep: 3\n");
    assert_eq!(warnings(&format!("{vars}{profile}{STAGE}")), [""; 0]);
}

#[test]
fn a_var_that_nothing_names_is_told_with_its_place() {
    let vars = "vars:\n  used: 1\n  map: { part: 1 }\n  deep: 3\n  sued: 1\n  lost: '${vars.deep}'\n  chain: '${vars.lost}'\n";
    let told = warnings(&format!("{vars}{STAGE}"));
    assert_eq!(
        told,
        [
            "p.yaml:7:3: var `sued` is used by nothing; did you mean `used`?",
            "p.yaml:8:3: var `lost` is used by nothing; write `${vars.lost}` where it is to stand, or take it out",
            "p.yaml:9:3: var `chain` is used by nothing; write `${vars.chain}` where it is to stand, or take it out",
        ]
    );
    // A shell's own variable is none of them.
    let own = "vars: { x: 1 }\nstages: { a: { run: 'echo $${vars.x}' } }\n";
    assert_eq!(warnings(own).len(), 1);
    // Neither is it used by a gate or the report where these do not name it.
    let gate = "vars: { most: 3 }\nstages: { a: { uses: torch/train, inputs: { dataset: Cargo.toml } } }\ngates: ['a.val_accuracy > ${vars.most}']\n";
    assert_eq!(warnings(gate), [""; 0]);
}
