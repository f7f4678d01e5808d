//! The op `find-lr`: how high the learning rate of a recipe may be. It rises from step to step while the network learns,
//! until learning falls apart (Smith, *Cyclical Learning Rates for Training Neural Networks* (2017), §3.3).

use std::borrow::Cow;

use protocol::{
    Axis, CheckRequest, Content, Failure, Figure, InputSpec, Metric, Op, OpManifest, OutputSpec, Problem,
    Progress, Reporter, RunRequest, Series,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::specs::{LIBTORCH, UNTIMED, dataset, teacher};
use crate::params::{SelectOn, TrainParams};
use crate::trainer::check;
use crate::trainer::setup::Setup;

/// Share of a new loss in the smoothed one.
const NEW: f64 = 0.05;
/// Steps over which the smoothed loss is seen to fall; before as many it is no smoother than the losses themselves.
const WINDOW: usize = 20;
/// Learning has fallen apart where the smoothed loss is this much above its lowest.
const APART: f64 = 1.5;

/// The range to go through. Everything else is as in `torch/train`, so that a stage can have the same `with`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Sweep {
    /// Learning rate of the first step.
    #[schemars(extend("exclusiveMinimum" = 0))]
    lr_from: f64,
    /// Learning rate of the last step, unless learning falls apart before.
    #[schemars(extend("exclusiveMinimum" = 0))]
    lr_to: f64,
    /// Steps between the two.
    #[schemars(range(min = 10, max = 100_000))]
    steps: u32,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { lr_from: 1e-4, lr_to: 10.0, steps: 300 }
    }
}

impl Sweep {
    /// Learning rate of a step, from 0.
    fn rate(self, step: u32) -> f64 {
        self.lr_from * (self.lr_to / self.lr_from).powf(f64::from(step) / f64::from(self.steps - 1))
    }
}

/// A sweep, and the recipe that it is of, from params of both.
#[derive(Debug)]
pub(super) struct SweepParams {
    sweep: Sweep,
    recipe: TrainParams,
}

impl<'de> Deserialize<'de> for SweepParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let own = ["lr_from", "lr_to", "steps"];
        let fields = serde_json::Map::deserialize(deserializer)?;
        let (sweep, recipe): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
            fields.into_iter().partition(|(name, _)| own.contains(&name.as_str()));
        let (sweep, mut recipe): (Sweep, TrainParams) = (part(sweep)?, part(recipe)?);
        // No epoch is selected here, so nothing is wanted to select it on.
        (recipe.select_on, recipe.patience) = (SelectOn::Last, None);
        Ok(Self { sweep, recipe })
    }
}

/// The error names the place.
fn part<T: DeserializeOwned, E: serde::de::Error>(fields: serde_json::Map<String, Value>) -> Result<T, E> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let place = error.path().to_string();
        E::custom(format!("`{place}`: {}", error.into_inner()))
    })
}

/// The schema of the recipe, and the sweep's own params behind it.
impl JsonSchema for SweepParams {
    fn schema_name() -> Cow<'static, str> {
        TrainParams::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut recipe = TrainParams::json_schema(generator);
        let own = Sweep::json_schema(generator);
        if let (Some(all), Some(own)) = (
            recipe.get_mut("properties").and_then(Value::as_object_mut),
            own.get("properties").and_then(Value::as_object),
        ) {
            all.extend(own.clone());
        }
        recipe
    }
}

/// The op.
pub(super) struct FindLr;

impl Op for FindLr {
    const NAME: &'static str = "find-lr";
    const VERSION: u32 = 2;
    const DESCRIPTION: &'static str =
        "Learning-rate range test: finds the highest usable rate for these params";
    const NATIVES: &'static [&'static str] = &[LIBTORCH];
    const CHECKS: bool = true;
    type Params = SweepParams;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![dataset(), teacher()]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        vec![("sweep", OutputSpec::new("Smoothed loss by learning rate", "sweep.json"))]
    }

    fn manifest(&self) -> OpManifest {
        let own = ["with.lr_from", "with.lr_to", "with.epochs", "inputs.dataset"];
        OpManifest::of(self)
            .on_all_threads()
            .with_metrics(&["lr", "lr_lowest_loss"])
            .with_time(&["with.steps"], &[&UNTIMED[..], &own].concat())
    }

    fn check(&self, SweepParams { sweep, recipe }: &SweepParams, request: &CheckRequest) -> Vec<Problem> {
        let Sweep { lr_from, lr_to, .. } = sweep;
        let falling = (lr_to <= lr_from).then(|| {
            Problem::new(format!(
                "`lr_from` is {lr_from} and `lr_to` {lr_to}, but the first must be above 0 and the second above the first"
            ))
            .param("lr_to")
        });
        falling.into_iter().chain(check::recipe(recipe, request)).collect()
    }

    fn run(
        &self,
        SweepParams { sweep, recipe }: SweepParams,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let setup = Setup::read(recipe, request)?;
        let mut losses = Losses::default();
        let mut milestone = 0;
        setup
            .training()
            .steps_at(
                sweep.steps,
                |step| sweep.rate(step),
                |step, loss| {
                    let goes_on = losses.add(sweep.rate(step), loss);
                    let tenth = (step + 1) * 10 / sweep.steps;
                    reporter.progress(Progress {
                        done: f64::from(step + 1),
                        total: f64::from(sweep.steps),
                        unit: "step".into(),
                        text: format!("lr {:.2e}  loss {loss:.3}", sweep.rate(step)),
                        milestone: std::mem::replace(&mut milestone, tenth) < tenth,
                    });
                    goes_on
                },
            )
            .map_err(anyhow::Error::from)?;
        let found = losses.found();
        let Some(found) = found else {
            return Err(
                anyhow::anyhow!("the loss was no number from the first step on; lower `lr_from`").into()
            );
        };
        reporter.figure(losses.figure(&found));
        reporter.metric(
            "lr",
            Metric::new(found.steepest, "")
                .basis("where the smoothed loss falls fastest: a careful highest rate"),
        );
        reporter.metric(
            "lr_lowest_loss",
            Metric::new(found.lowest, "")
                .basis("where the smoothed loss is lowest: a schedule must stay below"),
        );
        let points: Vec<_> =
            losses.smoothed.iter().map(|[lr, loss]| json!({"lr": lr, "loss": loss})).collect();
        std::fs::write(request.output("sweep")?, serde_json::to_vec_pretty(&points)?)?;
        Ok(())
    }
}

/// What is known of the loss at each learning rate.
#[derive(Default)]
struct Losses {
    raw: Vec<[f64; 2]>,
    smoothed: Vec<[f64; 2]>,
    average: f64,
}

/// Two learning rates that stand out.
struct Found {
    steepest: f64,
    lowest: f64,
}

impl Losses {
    /// Notes a loss. Returns whether it is worth going on.
    fn add(&mut self, lr: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        self.raw.push([lr, loss]);
        self.average += NEW * (loss - self.average);
        // Corrected for having started from zero.
        let smoothed = self.average / (1.0 - (1.0 - NEW).powf(self.raw.len() as f64));
        self.smoothed.push([lr, smoothed]);
        let lowest = self.smoothed.iter().map(|point| point[1]).fold(f64::INFINITY, f64::min);
        smoothed <= APART * lowest
    }

    fn found(&self) -> Option<Found> {
        let [lowest, _] = *self.smoothed.iter().min_by(|left, right| left[1].total_cmp(&right[1]))?;
        let settled = self.smoothed.get(WINDOW..).unwrap_or_default();
        let falling = |points: &&[[f64; 2]]| points.last().is_some_and(|[lr, _]| *lr <= lowest);
        let fall = |points: &[[f64; 2]]| match points {
            [[_, first], .., [_, last]] => last - first,
            _ => 0.0,
        };
        let steepest = (settled.windows(WINDOW).filter(falling))
            .min_by(|left, right| fall(left).total_cmp(&fall(right)))
            .and_then(|points| points.get(WINDOW / 2))
            .map_or(lowest, |[lr, _]| *lr);
        Some(Found { steepest, lowest })
    }

    fn figure(&self, found: &Found) -> Figure {
        Figure {
            id: "learning_rate".into(),
            title: "Loss by learning rate".into(),
            caption: format!(
                "The learning rate rises from step to step, from fresh weights. The smoothed loss falls fastest at {:.2e} and is \
                 lowest at {:.2e}.",
                found.steepest, found.lowest
            ),
            content: Content::Series {
                x: Axis { log: true, ..Axis::new("learning rate", "") },
                y: vec![Axis::new("loss", "")],
                series: vec![
                    Series { name: "each step".into(), axis: 0, points: self.raw.clone() },
                    Series { name: "smoothed".into(), axis: 0, points: self.smoothed.clone() },
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{alone, request, serve_op, synthetic, train_params};

    fn find(changes: &Value) -> Result<(crate::fixtures::Reported, Value), String> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("dataset");
        synthetic(120, 30).write(&data).unwrap();
        let mut params = train_params();
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let outputs = [("sweep", folder.path().join("sweep.json"))];
        let reported =
            serve_op(FindLr, &request("find-lr", params, &[("dataset", data)], &outputs, folder.path()))?;
        Ok((
            reported,
            serde_json::from_slice(&std::fs::read(folder.path().join("sweep.json")).unwrap()).unwrap(),
        ))
    }

    #[test]
    fn rates_rise_until_learning_falls_apart() {
        let _turn = alone();
        let (reported, sweep) = find(&json!({"steps": 60, "lr_from": 1e-3, "lr_to": 1e6})).unwrap();
        let points = sweep.as_array().unwrap();
        assert!((10..60).contains(&points.len()), "{}", points.len());
        let [best, lowest] = ["lr", "lr_lowest_loss"].map(|name| reported.metric(name).value);
        assert!(1e-3 <= best && best <= lowest && lowest < 1e6, "{best} {lowest}");
        let Content::Series { series, .. } = &reported.figure("learning_rate").content else { panic!() };
        assert_eq!(series[1].points.len(), points.len());
    }

    /// A loss that falls most around 0.1, is lowest near 1, and is as noisy as that of small batches.
    #[test]
    fn noise_does_not_decide_what_is_steepest() {
        for seed in 0..20 {
            let mut rng = crate::random::generator(seed, crate::random::Purpose::Order, 0);
            let sweep = Sweep::default();
            let mut losses = Losses::default();
            for step in 0..sweep.steps {
                let lr = sweep.rate(step);
                let fall = 1.5 / (1.0 + (-4.0 * (lr / 0.1).log10()).exp());
                let noise = rand::Rng::random::<f64>(&mut rng) * 0.3 - 0.15;
                if !losses.add(lr, 2.3 - fall + (lr / 2.0).powi(3) + noise) {
                    break;
                }
            }
            let Found { steepest, lowest } = losses.found().unwrap();
            assert!(
                (0.02..0.6).contains(&steepest) && steepest <= lowest,
                "seed {seed}: {steepest} {lowest}"
            );
        }
    }

    #[test]
    fn a_sweep_needs_no_images_to_select_on() {
        let mut params = train_params();
        params.as_object_mut().unwrap().extend(
            json!({"select_on": "validation", "patience": 3, "validation": null})
                .as_object()
                .unwrap()
                .clone(),
        );
        let SweepParams { recipe, .. } = protocol::params(&params).unwrap();
        assert_eq!(recipe.check(), []);
        assert_eq!(recipe.validation_count(3).unwrap(), 0, "one image of each of three classes");
    }

    #[test]
    fn a_sweep_takes_what_a_training_takes_and_its_own() {
        let schema = schemars::schema_for!(SweepParams).to_value();
        for name in ["lr_from", "steps", "network", "momentum"] {
            assert!(schema["properties"][name]["description"].is_string(), "{name}");
        }
        for (changes, expected) in [
            (json!({"lr_from": 1.0, "lr_to": 0.1}), "`lr_to` 0.1"),
            (json!({"steps": 3}), "`steps` is 3"),
            (json!({"stepps": 3}), "unknown field `stepps`"),
            (json!({"momentum": 2.0}), "`momentum` is 2"),
        ] {
            let message = find(&changes).err().unwrap();
            assert!(message.contains(expected), "{message}");
        }
    }
}
