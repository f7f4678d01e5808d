//! What is told of params that are wrong.

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::Place;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Recipe {
    #[schemars(range(min = 1, max = 9))]
    epochs: u32,
    #[schemars(extend("exclusiveMinimum" = 0))]
    lr: f64,
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    momentum: f64,
    #[schemars(range(min = 1))]
    patience: Option<u32>,
    turned: Option<Turned>,
    #[schemars(length(min = 1), inner(range(min = 1)))]
    sizes: Vec<usize>,
    #[schemars(extend("if" = { "minimum": 1 }, "then" = { "type": ["integer", "null"] }))]
    share: Option<serde_json::Number>,
    #[schemars(regex(pattern = "^[0-9a-f]{4}$"))]
    digest: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Turned {
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    lr: f64,
}

/// Right params but for `changes`.
fn with(changes: &Value) -> Value {
    let mut params = json!({"epochs": 2, "lr": 0.1, "momentum": 0.9, "sizes": [3]});
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    params
}

#[test]
fn what_the_schema_allows_is_read() {
    for changes in
        [json!({}), json!({"patience": null, "turned": null, "share": 0.5}), json!({"turned": {"lr": 1}})]
    {
        let recipe: Recipe = params(&with(&changes)).unwrap();
        assert_eq!((recipe.epochs, recipe.sizes), (2, vec![3]));
    }
}

#[test]
fn what_it_does_not_is_told_with_place_value_and_range() {
    for (changes, place, message) in [
        (json!({"epochs": 0}), "/epochs", "`epochs` is 0, but must be 1 to 9"),
        (json!({"epochs": 10}), "/epochs", "`epochs` is 10, but must be 1 to 9"),
        (json!({"lr": 0.0}), "/lr", "`lr` is 0, but must be above 0"),
        (json!({"momentum": 1}), "/momentum", "`momentum` is 1, but must be at least 0 and below 1"),
        (json!({"momentum": -0.5}), "/momentum", "`momentum` is -0.5, but must be at least 0 and below 1"),
        (json!({"patience": 0}), "/patience", "`patience` is 0, but must be at least 1; or leave it out"),
        (
            json!({"turned": {"lr": 2.5}}),
            "/turned/lr",
            "`turned.lr` is 2.5, but must be above 0 and at most 1",
        ),
        (json!({"sizes": [4, 0]}), "/sizes/1", "`sizes[1]` is 0, but must be at least 1"),
        (json!({"sizes": []}), "/sizes", "`sizes` must have at least 1 of its items"),
        (json!({"share": 2.5}), "/share", "`share` is 2.5, but must be a whole number; or leave it out"),
        (
            json!({"digest": "xyz"}),
            "/digest",
            "`digest` is `xyz`, but must be like `^[0-9a-f]{4}$`; or leave it out",
        ),
    ] {
        let problems = params::<Recipe>(&with(&changes)).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{changes}: {problems:?}") };
        assert_eq!((&problem.place, problem.message.as_str()), (&Place::Param(place.into()), message));
    }
}

#[test]
fn all_that_is_wrong_is_told() {
    let problems = params::<Recipe>(&with(&json!({"epochs": 0, "lr": -1, "turned": {"lr": 0}}))).unwrap_err();
    let places: Vec<_> = problems.into_iter().map(|problem| problem.place).collect();
    assert_eq!(places, ["/epochs", "/lr", "/turned/lr"].map(|place| Place::Param(place.into())));
}

#[test]
fn what_is_of_another_type_is_told_where_it_stands() {
    for (changes, place, message) in [
        (json!({"epochs": "many"}), Place::Param("/epochs".into()), "params: `epochs`: invalid type: string"),
        (
            json!({"turned": {"lR": 1}}),
            Place::Param("/turned/lR".into()),
            "params: `turned.lR`: unknown field `lR`",
        ),
        (json!({"epoch": 1}), Place::Param("/epoch".into()), "params: `epoch`: unknown field `epoch`"),
    ] {
        let problems = params::<Recipe>(&with(&changes)).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place, place, "{problems:?}");
        assert!(problems[0].message.starts_with(message), "{problems:?}");
    }
    assert_eq!(params::<Recipe>(&json!(7)).unwrap_err()[0].place, Place::Stage);
}
