//! Keys: what is in them, what is not, and that they do not drift.

use super::*;

use indexmap::IndexMap;
use pipeline::StageName;
use pipeline::spec::{Cpus, Input, Resources};
use proptest::prelude::*;
use protocol::{NativeLibrary, OpManifest};
use serde_json::json;
use text::secret::Salt;

mod sensitivity;

fn manifest(version: u32) -> Manifest {
    let op: OpManifest = serde_json::from_value(json!({
        "description": "d", "version": version, "params": {"type": "object"},
        "natives": ["libtorch", "libtorch"], "companions": ["helper"],
    }))
    .unwrap();
    let library = NativeLibrary { version: Some("2.11.0".into()), ..NativeLibrary::default() };
    Manifest {
        protocol: 1,
        plugin: "torch".into(),
        version: "0.1.0".into(),
        ops: BTreeMap::from([("train".into(), op)]),
        natives: BTreeMap::from([("libtorch".into(), library), ("unused".into(), NativeLibrary::default())]),
        env: vec![],
    }
}

fn stage(params: Value) -> Stage {
    let action = Action::Op(OpAction {
        plugin: "torch".into(),
        op: "train".into(),
        params,
        param_locations: BTreeMap::new(),
        sources: BTreeMap::from([("source".into(), "/somewhere/images".into())]),
        filtered: [].into(),
        continues: vec![],
    });
    Stage {
        inputs: BTreeMap::from([("dataset".into(), Input::Path("/data/d".into()))]),
        outputs: BTreeMap::from([("weights".into(), "weights.safetensors".into())]),
        resources: Resources { cpus: Cpus::All, ..Resources::default() },
        ..Stage::doing(StageName::try_from("train".to_owned()).unwrap(), action)
    }
}

fn command(line: CommandLine, env: &[(&str, &str)]) -> Stage {
    let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Stage {
        action: Action::Command(CommandAction {
            command: line,
            params: json!({}),
            param_locations: BTreeMap::new(),
            env,
        }),
        ..stage(json!({}))
    }
}

fn epyc() -> Machine {
    Machine { cpu: "EPYC".into(), features: "avx2 fma".into(), cores: 8, system: "linux".into() }
}

fn make(stage: &Stage, op_version: u32, threads: usize) -> Key {
    make_on(&epyc(), stage, manifest(op_version), threads)
}

fn make_on(machine: &Machine, stage: &Stage, torch: Manifest, threads: usize) -> Key {
    let mut helper = manifest(1);
    helper.version = "0.3.0".into();
    let manifests =
        BTreeMap::from([("torch".to_owned(), Arc::new(torch)), ("helper".to_owned(), Arc::new(helper))]);
    let parts = Parts {
        inputs: &BTreeMap::from([("dataset".to_owned(), Digest::of_bytes(b"dataset"))]),
        sources: &BTreeMap::from([("source".to_owned(), Digest::of_bytes(b"source"))]),
        manifests: &manifests,
        machine,
        threads,
        salt: &Salt::fixed(0),
    };
    key(stage, &parts).unwrap()
}

fn sample() -> Value {
    json!({
        "lr": 0.05, "epochs": 150, "source": "images",
        "augment": {"pad": 4, "flip": true},
        "mean": [0.5, 0.25],
        "layers": [{"conv": {"out": 16}}, {"linear": {}}],
    })
}

#[test]
fn a_secret_of_a_url_changes_the_key_and_is_not_in_it() {
    let made = |source: &str, other: &str| {
        let mut stage = stage(sample());
        let Action::Op(action) = &mut stage.action else { panic!("an op") };
        action.sources.clear();
        action.params["source"] = source.into();
        action.params["other"] = json!({ "urls": [other] });
        make(&stage, 1, 1)
    };
    let key = made("https://me:hunter2@h/x?sig=abc", "http://h/?k=secret");
    let text = printed(&key).join("\n");
    assert!(text.contains("with.source = \"https://***@h/x?*** [hidden "), "{text}");
    assert!(text.contains("with.other.urls = [\"http://h/?*** [hidden "), "{text}");
    for secret in ["hunter2", "abc", "secret"] {
        assert!(!text.contains(secret), "{text}");
    }
    let other = made("https://me:hunter3@h/x?sig=abc", "http://h/?k=secret");
    assert_eq!(changed_names(&other, &key), ["with.source"]);
}

#[test]
fn that_a_script_stops_at_a_failure_is_part_of_its_key_and_of_no_other() {
    let of = |text: &str| printed(&make(&command(CommandLine::Shell(text.into()), &[]), 1, 1));
    assert!(of("a\nb").contains(&"run.shell = sh -e".to_owned()));
    for text in ["a; b", "a \\\n b\n"] {
        assert!(!of(text).iter().any(|line| line.starts_with("run.shell")), "{text}");
    }
}

#[test]
fn a_source_with_a_checksum_is_the_same_however_it_is_signed() {
    let made = |source: &str, is_source: bool| {
        let mut stage = stage(sample());
        let Action::Op(action) = &mut stage.action else { panic!("an op") };
        action.sources.clear();
        action.params["source"] = source.into();
        let mut torch = manifest(1);
        let op = torch.ops.get_mut("train").unwrap();
        op.params = json!({ "properties": { "source": { protocol::SOURCE_KEYWORD: is_source } } });
        make_on(&epyc(), &stage, torch, 1)
    };
    let plain = made("https://h/x#sha256=ab", true);
    assert!(printed(&plain).contains(&"with.source = \"https://h/x#sha256=ab\"".to_owned()));
    for signed in ["https://h/x?X-Amz-Signature=1#sha256=ab", "https://u:p@h/x?sig=2&se=3#sha256=ab"] {
        assert_eq!(made(signed, true).digest(), plain.digest(), "{signed}");
        assert_ne!(
            made(signed, false).digest(),
            plain.digest(),
            "only of a source is the checksum known to be one"
        );
    }
    let unchecked = |signature: &str| made(&format!("https://h/x?sig={signature}#size=3"), true).digest();
    assert_ne!(unchecked("1"), unchecked("2"), "a size is no checksum");
    assert_ne!(
        made("https://h/x?v=1#sha256=cd", true).digest(),
        plain.digest(),
        "another checksum is another source"
    );
}

#[test]
fn a_checksum_in_a_param_counts_as_one_in_the_url() {
    let made = |source: &str, checksum: Value, knows: bool| {
        let mut stage = stage(json!({ "source": source, "sha256": checksum }));
        let Action::Op(action) = &mut stage.action else { panic!("an op") };
        action.sources.clear();
        let mut torch = manifest(1);
        let mut properties = json!({ "source": { protocol::SOURCE_KEYWORD: true } });
        if knows {
            properties["sha256"] = json!({ "type": "string" });
        }
        torch.ops.get_mut("train").unwrap().params = json!({ "properties": properties });
        make_on(&epyc(), &stage, torch, 1).digest()
    };
    let differ = |checksum: Value, knows| {
        made("https://h/x?sig=1", checksum.clone(), knows) != made("https://u:p@h/x?sig=2", checksum, knows)
    };
    assert!(!differ(json!("ab"), true));
    for (checksum, knows) in [(json!("ab"), false), (json!(""), true), (Value::Null, true)] {
        assert!(differ(checksum, knows));
    }
    assert_ne!(made("https://h/x", json!("ab"), true), made("https://h/x", json!("cd"), true));
}

#[test]
fn a_stage_that_is_handed_a_secret_is_another_one() {
    let plain = command(CommandLine::Shell("a".into()), &[]);
    let with = Stage { secrets: ["TOKEN".to_owned()].into(), ..plain.clone() };
    let (plain, with) = (make(&plain, 1, 1), make(&with, 1, 1));
    assert_ne!(plain.digest(), with.digest());
    assert!(printed(&with).contains(&"secrets.TOKEN = ***".to_owned()));
}

fn printed(key: &Key) -> Vec<String> {
    key.ingredients().iter().map(|ingredient| format!("{} = {}", ingredient.name, ingredient.value)).collect()
}

fn changed_names(now: &Key, then: &Key) -> Vec<String> {
    now.changes_from(then.ingredients()).into_iter().map(|change| change.name).collect()
}

#[test]
fn ingredients_are_printable_and_name_no_path() {
    let dataset = Digest::of_bytes(b"dataset");
    let source = Digest::of_bytes(b"source");
    assert_eq!(
        printed(&make(&stage(sample()), 3, 2)),
        [
            "op = torch/train".to_owned(),
            "op.version = 3".into(),
            "natives.libtorch = 2.11.0".into(),
            "companion.helper = 0.3.0".into(),
            "companion.helper.libtorch = 2.11.0".into(),
            "companion.helper.unused = not found".into(),
            "with.augment.flip = true".into(),
            "with.augment.pad = 4".into(),
            "with.epochs = 150".into(),
            "with.layers[0].conv.out = 16".into(),
            "with.layers[1].linear = {}".into(),
            "with.lr = 0.05".into(),
            "with.mean = [0.5,0.25]".into(),
            format!("with.source = content {source}"),
            format!("inputs.dataset = {dataset}"),
            "outputs.weights = weights.safetensors".into(),
        ]
    );
}

#[test]
fn params_of_a_command_are_ingredients_beside_its_text() {
    let stage = |params: Value| {
        let mut stage = command(CommandLine::Shell("train --lr ${params.lr}".into()), &[]);
        let Action::Command(action) = &mut stage.action else { panic!() };
        action.params = params;
        stage
    };
    let (then, now) =
        (make(&stage(json!({ "lr": 0.05, "unused": { "a": 1 } })), 3, 2), stage(json!({ "lr": 0.08 })));
    assert_eq!(
        printed(&then)[..3],
        ["run = train --lr ${params.lr}", "params.lr = 0.05", "params.unused.a = 1"]
    );
    assert_eq!(changed_names(&make(&now, 3, 2), &then), ["params.lr", "params.unused.a"]);
}

/// A change of these digests makes every cache worthless: bump the version in `DOMAIN` knowingly.
#[test]
fn digests_do_not_drift() {
    assert_eq!(
        make(&stage(sample()), 3, 2).digest().to_string(),
        "0568964cbf527bd0c3c9a8f2abfd6d955edc3b576c8bba5bebe32bcbb6a15854"
    );
    let command =
        command(CommandLine::Shell("zip ${outputs.weights} ${inputs.dataset}".into()), &[("A", "1")]);
    assert_eq!(
        make(&command, 3, 2).digest().to_string(),
        "64e11fabe5be237b672639ed0e916cdce36ab74d9361c63ea16abe0fd34ff865"
    );
}

#[test]
fn exactly_what_was_edited_is_named() {
    let before = make(&stage(sample()), 3, 2);
    let mut params = sample();
    params["lr"] = json!(0.08);
    params["layers"][0]["conv"]["out"] = json!(24);
    let after = make(&stage(params), 3, 2);
    assert_eq!(changed_names(&after, &before), ["with.layers[0].conv.out", "with.lr"]);
    let change = &after.changes_from(before.ingredients())[1];
    assert_eq!((change.old.as_deref(), change.new.as_deref()), (Some("0.05"), Some("0.08")));
    assert_eq!(changed_names(&make(&stage(sample()), 4, 2), &before), ["op.version"]);
}

#[test]
fn added_and_removed_ingredients_are_changes() {
    let plain = make(&command(CommandLine::Shell("x".into()), &[]), 1, 1);
    let with_env = make(&command(CommandLine::Shell("x".into()), &[("E", "v")]), 1, 1);
    let added = with_env.changes_from(plain.ingredients());
    assert_eq!((added[0].old.as_deref(), added[0].new.as_deref()), (None, Some("v")));
    let removed = plain.changes_from(with_env.ingredients());
    assert_eq!((removed[0].old.as_deref(), removed[0].new.as_deref()), (Some("v"), None));
}

#[test]
fn a_list_is_not_the_shell_text_that_looks_like_it() {
    let shell = make(&command(CommandLine::Shell(r#"["x"]"#.into()), &[]), 1, 1);
    let args = make(&command(CommandLine::Args(vec!["x".into()]), &[]), 1, 1);
    assert_ne!(shell.digest(), args.digest());
}

#[test]
fn hardware_matters_to_measurements_only() {
    let portable = stage(sample());
    assert_eq!(make(&portable, 3, 2).digest(), make(&portable, 3, 8).digest());
    let mut measured = Stage { scope: KeyScope::Hardware, ..portable };
    assert_eq!(changed_names(&make(&measured, 3, 8), &make(&measured, 3, 2)), ["machine.threads"]);
    measured.resources.cpus = Cpus::Count(1);
    assert_eq!(make(&measured, 3, 2).digest(), make(&measured, 3, 8).digest());
}

#[test]
fn a_measurement_belongs_to_a_processor_a_runtime_and_a_number_of_threads() {
    let measured = Stage { scope: KeyScope::Hardware, ..stage(sample()) };
    let here = make(&measured, 3, 2);
    let elsewhere = |machine: Machine| changed_names(&make_on(&machine, &measured, manifest(3), 2), &here);
    assert_eq!(elsewhere(Machine { cpu: "M2".into(), ..epyc() }), ["machine.cpu"]);
    assert_eq!(elsewhere(Machine { features: "avx2".into(), ..epyc() }), ["machine.features"]);
    assert!(elsewhere(Machine { cores: 2, system: "another linux".into(), ..epyc() }).is_empty());
    let mut newer = manifest(3);
    newer.natives.entry("libtorch".into()).or_default().version = Some("2.13.0".into());
    let change = &make_on(&epyc(), &measured, newer, 2).changes_from(here.ingredients())[0];
    assert_eq!((change.name.as_str(), change.new.as_deref()), ("natives.libtorch", Some("2.13.0")));
}

#[test]
fn spelling_does_not_matter_and_meaning_does() {
    let of = |params: Value| make(&stage(params), 1, 1).digest();
    assert_eq!(of(json!({"a": 1.0, "b": [2.0]})), of(json!({"b": [2], "a": 1})));
    assert_ne!(of(json!({"a": 1.5})), of(json!({"a": 1})));
    assert_ne!(of(json!({"a": -0.0})), of(json!({"a": 0.0})));
    assert_ne!(of(json!({"a": "1"})), of(json!({"a": 1})));
    assert_ne!(of(json!({"a": null})), of(json!({})));
    assert_ne!(of(json!({"a": {}})), of(json!({"a": []})));
    assert_ne!(of(json!({"a.b": 1})), of(json!({"a": {"b": 1}})));
    assert_ne!(of(json!({"a": [{"b": 1}]})), of(json!({"a[0]": {"b": 1}})));
}

#[test]
fn missing_parts_are_named() {
    let none = BTreeMap::new();
    let machine = Machine::default();
    let parts = Parts {
        inputs: &none,
        sources: &none,
        manifests: &BTreeMap::new(),
        machine: &machine,
        threads: 1,
        salt: &Salt::fixed(0),
    };
    let error = key(&stage(json!({})), &parts).unwrap_err();
    assert_eq!(error.to_string(), "stage `train`: no manifest describes `torch`");
    let error = key(&command(CommandLine::Shell("x".into()), &[]), &parts).unwrap_err();
    assert_eq!(error.to_string(), "stage `train`: the digest of `inputs.dataset` is not known");
}

fn ingredients() -> impl Strategy<Value = Vec<Ingredient>> {
    // A small alphabet makes near misses, such as a boundary that moved, likely.
    proptest::collection::btree_map("[ab.]{0,3}", "[ab.]{0,3}", 0..4)
        .prop_map(|map| map.into_iter().map(|(name, value)| Ingredient { name, value }).collect())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        "[a.\\[\\]0]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a.\\[\\]0]{1,3}", inner, 0..3)
                .prop_map(|map| { Value::Object(map.into_iter().collect()) }),
        ]
    })
}

proptest! {
    #[test]
    fn digests_are_equal_exactly_when_nothing_changed(one in ingredients(), two in ingredients()) {
        let key = Key::new(one.clone());
        prop_assert_eq!(key.changes_from(&two).is_empty(), key.digest() == digest_of(&two));
        prop_assert_eq!(one == two, key.digest() == digest_of(&two));
    }

    #[test]
    fn different_params_never_share_a_key(one in values(), two in values()) {
        let (first, second) = (make(&stage(json!({"p": one})), 1, 1), make(&stage(json!({"p": two})), 1, 1));
        prop_assert_eq!(one == two, first.digest() == second.digest());
    }

    #[test]
    fn names_are_unique_and_order_of_fields_does_not_matter(value in values()) {
        let Value::Object(fields) = json!({"p": value, "q": 1}) else { unreachable!() };
        let turned: IndexMap<String, Value> = fields.clone().into_iter().rev().collect();
        let key = make(&stage(Value::Object(fields)), 1, 1);
        prop_assert_eq!(&key, &make(&stage(Value::Object(turned.into_iter().collect())), 1, 1));
        let mut names: Vec<_> = key.ingredients().iter().map(|ingredient| &ingredient.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), all);
    }
}

#[test]
fn without_a_param_keys_that_differ_in_it_alone_are_one() {
    let key = |params: Value| make(&stage(params), 1, 4);
    let epochs = ["epochs".to_owned()];
    let one = key(json!({"source": "x", "epochs": 1, "lr": 0.1}));
    let two = key(json!({"source": "x", "epochs": 2, "lr": 0.1}));
    let other = key(json!({"source": "x", "epochs": 2, "lr": 0.2}));
    assert_ne!(one.digest(), two.digest());
    assert_eq!(one.digest_without(&epochs), two.digest_without(&epochs));
    assert_ne!(one.digest_without(&epochs), other.digest_without(&epochs));
    assert_eq!(one.digest_without(&[]), one.digest());
    let nested = |pad: u32| key(json!({"source": "x", "augment": {"pad": pad}, "augmented": 1}));
    assert_eq!(nested(1).digest_without(&["augment".into()]), nested(2).digest_without(&["augment".into()]));
    assert_ne!(nested(1).digest_without(&["aug".into()]), nested(2).digest_without(&["aug".into()]));
}
