//! Sweeps: over which matrices each stage is fanned out, and which variants are meant where a stage is named. A stage is
//! fanned out over its own matrix and over those of all stages that it reads from; what it reads of another stage is the
//! variant with its values.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::matrix::{AxisValue, Matrix, bracket, product, variant_name};
use super::super::parse::{Parsed, ParsedStage};
use super::super::tree::{Data, Node, Problem, Span};
use super::super::vars::Also;
use super::{Read, Resolver};
use crate::StageName;
use crate::graph::{Graph, StageId};
use crate::name::{Selector, split_reference};

/// Most variants of one stage, or of one gate or row of the report.
pub(super) const MOST_VARIANTS: usize = 10_000;
/// Bound on what the variants of all stages take in memory, in bytes.
const MOST_BYTES: usize = 1 << 30;

/// The variant that is being resolved: which combination of which matrix.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Matrix and combination.
    pub(super) of: Vec<(usize, usize)>,
    /// The values that `${matrix.NAME}` stands for.
    pub(super) values: Vec<(String, Node)>,
}

/// One way to take the stages that a gate or a row names.
pub(super) struct Instance {
    /// `[lr=0.1]`, or nothing where no stage is fanned out.
    pub(super) bracket: String,
    /// The variant of each stage, by the text that names it.
    pub(super) names: BTreeMap<String, StageName>,
}

impl Resolver<'_> {
    /// For each stage of the file the matrices that it is fanned out over, those of stages further up first. None where
    /// that is not known because something is wrong.
    pub(super) fn fan_out(&mut self, parsed: &Parsed) -> Vec<Option<Vec<usize>>> {
        let written =
            |stage: &ParsedStage| stage.entry("matrix").is_some_and(|(_, node)| node.data != Data::Null);
        if !parsed.stages.iter().any(written) {
            return vec![Some(Vec::new()); parsed.stages.len()];
        }
        let mut own: Vec<Option<Option<Matrix>>> = Vec::with_capacity(parsed.stages.len());
        for stage in &parsed.stages {
            let matrix = stage.entry("matrix").filter(|(_, node)| node.data != Data::Null);
            own.push(matrix.map(|(key, node)| self.matrix(key, node)));
        }
        let reads: Vec<BTreeMap<usize, Span>> = parsed
            .stages
            .iter()
            .zip(&own)
            .map(|(stage, matrix)| self.families_read(stage, matrix.as_ref().and_then(Option::as_ref)))
            .collect();
        let Some(order) = self.order_of_families(parsed, &reads) else {
            return vec![None; parsed.stages.len()];
        };
        // A stage whose name is wrong is in no order, and yet has to be told of.
        let is_nameless = |stage: &ParsedStage| StageName::try_from(stage.name.name.clone()).is_err();
        let mut over: Vec<Option<Vec<usize>>> =
            parsed.stages.iter().map(|stage| is_nameless(stage).then(Vec::new)).collect();
        for index in order {
            let above: Option<BTreeSet<usize>> = reads
                .get(index)
                .into_iter()
                .flatten()
                .map(|(producer, _)| over.get(*producer).cloned().flatten())
                .try_fold(BTreeSet::new(), |mut all, one| {
                    all.extend(one?);
                    Some(all)
                });
            // Matrices are numbered from the top of the graph to its bottom.
            let Some(mut all) = above.map(|all| all.into_iter().collect::<Vec<usize>>()) else { continue };
            match own.get_mut(index).and_then(Option::take) {
                None => {}
                Some(None) => continue,
                Some(Some(matrix)) => {
                    all.push(self.matrices.len());
                    self.matrices.push(matrix);
                }
            }
            let Some(stage) = parsed.stages.get(index) else { continue };
            if self.fits(stage, &all)
                && let Some(place) = over.get_mut(index)
            {
                *place = Some(all);
            }
        }
        over
    }

    /// Whether a stage can be fanned out over these matrices.
    fn fits(&mut self, stage: &ParsedStage, over: &[usize]) -> bool {
        let name = &stage.name.name;
        let span = stage.entry("matrix").map_or(stage.name.span, |(key, _)| key.span);
        let mut seen = BTreeSet::new();
        let twice = over.iter().flat_map(|matrix| self.matrices.get(*matrix)).flat_map(Matrix::names);
        let twice = twice.into_iter().find(|name| !seen.insert(*name)).map(str::to_owned);
        if let Some(twice) = twice {
            let message = format!("stage `{name}` is fanned out over two matrices that both have `{twice}`");
            self.tell(Problem::new(span, message).help("rename one of them"));
            return false;
        }
        let count = self.sizes(over).iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        let Some(count) = count.filter(|count| *count <= MOST_VARIANTS) else {
            let message = format!("stage `{name}` has more than 10,000 variants");
            self.tell(Problem::new(span, message).help("sweep over less, or `exclude` combinations"));
            return false;
        };
        let all = count.saturating_mul(stage.size()).saturating_add(self.size_of_values(over, count));
        self.variant_bytes = self.variant_bytes.saturating_add(all);
        if count > 1 && self.variant_bytes > MOST_BYTES {
            let message = format!("the variants of all stages up to `{name}` take more than 1 GB");
            self.tell(Problem::new(span, message).help("sweep over less"));
            return false;
        }
        true
    }

    /// About how many bytes the values of `count` variants take, which are all combinations of those of these matrices.
    fn size_of_values(&self, over: &[usize], count: usize) -> usize {
        let sizes = over.iter().filter_map(|matrix| self.matrices.get(*matrix)).map(|matrix| {
            let of_one =
                |combination| matrix.values(combination).map(|(_, value)| value.node.size()).sum::<usize>();
            let all = (0..matrix.len()).map(of_one).fold(0_usize, usize::saturating_add);
            // Each combination stands in as many variants as there are of the others.
            all.saturating_mul(count.checked_div(matrix.len()).unwrap_or(0))
        });
        sizes.fold(0, usize::saturating_add)
    }

    /// Stages in an order in which each comes after those it reads from; none where they wait for each other.
    fn order_of_families(&mut self, parsed: &Parsed, reads: &[BTreeMap<usize, Span>]) -> Option<Vec<usize>> {
        let name = |index: usize| StageName::try_from(parsed.stages.get(index)?.name.name.clone()).ok();
        let all: Vec<Read> = reads
            .iter()
            .enumerate()
            .flat_map(|(reader, producers)| {
                producers.iter().map(move |(producer, span)| (reader, *producer, *span))
            })
            .filter_map(|(reader, producer, span)| {
                Some(Read { reader: name(reader)?, producer: name(producer)?, span })
            })
            .collect();
        let names: Vec<StageName> = (0..parsed.stages.len()).filter_map(name).collect();
        let pairs = all.iter().map(|read| (&read.reader, &read.producer));
        match Graph::new(&names, pairs) {
            Ok(graph) => {
                let order = graph.order().iter();
                let index = |id: &StageId| self.outlines.get_index_of(names.get(id.index())?.as_str());
                Some(order.filter_map(index).collect())
            }
            Err(cycle) => {
                self.tell_cycle(&cycle, &all);
                None
            }
        }
    }

    /// The stages whose variants a stage reads, and where that is written. One that is named with its values has no
    /// part in how the reader is fanned out.
    fn families_read(&mut self, stage: &ParsedStage, own: Option<&Matrix>) -> BTreeMap<usize, Span> {
        let mut found = BTreeMap::new();
        let Some(inputs) = stage.get("inputs") else { return found };
        let inputs = self.vars.fill(inputs, Also::Matrix, &[], self.sources, &mut self.problems);
        for (_, node) in inputs.entries().unwrap_or_default() {
            let Some(text) = node.text() else { continue };
            let before = text.split("${matrix.").next().unwrap_or_default();
            // What comes before decides which stage it is, if it is one.
            let is_open =
                before != text && before.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            let texts: Vec<Cow<'_, str>> = match own {
                _ if !is_open => vec![text.into()],
                None => Vec::new(),
                Some(matrix) => {
                    let combinations = 0..matrix.len();
                    combinations.map(|combination| put_in(text, matrix.values(combination)).into()).collect()
                }
            };
            for text in texts {
                let family = split_reference(&text).map(|(stage, _)| Selector::new(stage));
                let family = family.filter(|selector| !selector.is_partial());
                let index = family.and_then(|selector| self.outlines.get_index_of(selector.family()));
                if let Some(index) = index {
                    found.entry(index).or_insert(node.span);
                }
            }
        }
        found
    }

    fn sizes(&self, over: &[usize]) -> Vec<usize> {
        over.iter().map(|matrix| self.matrices.get(*matrix).map_or(0, Matrix::len)).collect()
    }

    /// Every choice of combinations of these matrices.
    pub(super) fn choices(&self, over: &[usize]) -> Vec<Choice> {
        let choices = product(self.sizes(over)).map(|combinations| {
            let of: Vec<(usize, usize)> = over.iter().copied().zip(combinations).collect();
            let values =
                self.values_of(&of).map(|(name, value)| (name.to_owned(), value.node.clone())).collect();
            Choice { of, values }
        });
        choices.collect()
    }

    fn values_of<'s>(&'s self, of: &'s [(usize, usize)]) -> impl Iterator<Item = (&'s str, &'s AxisValue)> {
        of.iter().flat_map(|(matrix, combination)| {
            self.matrices.get(*matrix).into_iter().flat_map(|matrix| matrix.values(*combination))
        })
    }

    /// The name of a stage's variant, and its values.
    pub(super) fn variant(
        &self,
        family: &str,
        of: &[(usize, usize)],
    ) -> Result<(StageName, Vec<(String, Value)>), String> {
        let values = self.values_of(of).map(|(name, value)| (name.to_owned(), value.json.clone())).collect();
        Ok((variant_name(family, self.values_of(of))?, values))
    }

    /// The variant of `selector` that the stage with the current choice reads: the one with its values, or the one that
    /// is named. None where the stage is not known well enough to say, which has been told.
    pub(super) fn producer(&self, selector: Selector<'_>) -> Result<Option<StageName>, (String, String)> {
        let family = selector.family();
        let Some(over) = self.outlines.get(family).and_then(|outline| outline.over.as_ref()) else {
            return Ok(None);
        };
        let of: Option<Vec<(usize, usize)>> = if selector.is_partial() {
            let mut matching = self.matching(selector, over);
            let first = matching.next();
            match (first, matching.next()) {
                (None, _) => return Err(self.no_variant(selector, over)),
                (Some(_), Some(_)) => {
                    return Err((
                        format!("several variants of `{family}` have these values"),
                        format!("name one whole, or write `{family}` for the one that fits the reader"),
                    ));
                }
                (first, None) => first,
            }
        } else {
            let chosen = |matrix: &usize| self.choice.of.iter().find(|(of, _)| of == matrix).copied();
            over.iter().map(chosen).collect()
        };
        let Some(of) = of else {
            return Err((
                format!("which variant of `{family}` is read depends on a matrix further up"),
                "only the stage's own matrix can choose the stage that it reads".into(),
            ));
        };
        Ok(self.variant(family, &of).ok().map(|(name, _)| name))
    }

    fn matching(&self, selector: Selector<'_>, over: &[usize]) -> impl Iterator<Item = Vec<(usize, usize)>> {
        let wanted: Vec<(&str, &str)> = selector.wanted().collect();
        let names: BTreeSet<&str> =
            over.iter().filter_map(|of| self.matrices.get(*of)).flat_map(Matrix::names).collect();
        let known = !wanted.is_empty() && wanted.iter().all(|(name, _)| names.contains(name));
        let rows: Vec<Vec<(usize, usize)>> = over
            .iter()
            .filter(|_| known)
            .map(|of| {
                let fits = |combination: &usize| {
                    self.matrices.get(*of).is_some_and(|matrix| matrix.has(*combination, &wanted))
                };
                (0..self.matrices.get(*of).map_or(0, Matrix::len))
                    .filter(fits)
                    .map(|found| (*of, found))
                    .collect()
            })
            .collect();
        let sizes = if rows.is_empty() { vec![0] } else { rows.iter().map(Vec::len).collect() };
        product(sizes).map(move |picked| {
            rows.iter().zip(picked).filter_map(|(row, index)| row.get(index).copied()).collect()
        })
    }

    fn no_variant(&self, selector: Selector<'_>, over: &[usize]) -> (String, String) {
        const SHOWN: usize = 5;
        let family = selector.family();
        let mut picked = product(self.sizes(over));
        let all = picked.by_ref().take(SHOWN).filter_map(|picked| {
            let of: Vec<(usize, usize)> = over.iter().copied().zip(picked).collect();
            self.variant(family, &of).ok().map(|(name, _)| format!("`{name}`"))
        });
        let all: Vec<String> = all.collect();
        let help = if over.is_empty() {
            format!("`{family}` has no variants")
        } else if picked.next().is_some() {
            format!("there are {}, …", all.join(", "))
        } else {
            match all.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("there are {} and {last}", rest.join(", ")),
                _ => format!("there is {}", all.join("")),
            }
        };
        (format!("no variant of `{family}` has these values"), help)
    }

    /// The ways to take stages that a gate or a row of the report names: once for each combination of all that they
    /// are fanned out over and that fits what is named in brackets.
    pub(super) fn instances(&self, stages: &BTreeSet<String>) -> Result<Vec<Instance>, (String, String)> {
        let mut joined: BTreeSet<usize> = BTreeSet::new();
        let mut free: Vec<(&String, Selector<'_>, &Vec<usize>)> = Vec::new();
        let mut fixed: BTreeMap<String, StageName> = BTreeMap::new();
        for text in stages {
            let selector = Selector::new(text);
            let outline = self.outlines.get(selector.family());
            let Some(over) = outline.and_then(|outline| outline.over.as_ref()) else { continue };
            if selector.is_partial() {
                let mut matching = self.matching(selector, over);
                let Some(first) = matching.next() else { return Err(self.no_variant(selector, over)) };
                if matching.next().is_none() {
                    fixed.extend(
                        self.variant(selector.family(), &first).ok().map(|(name, _)| (text.clone(), name)),
                    );
                    continue;
                }
            }
            joined.extend(over);
            free.push((text, selector, over));
        }
        let over: Vec<usize> = joined.into_iter().collect();
        let count = self.sizes(&over).iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        if count.is_none_or(|count| count > MOST_VARIANTS) {
            let message = "what is named here has more than 10,000 combinations of variants".into();
            return Err((message, "name fewer stages, or single variants".into()));
        }
        let mut instances = Vec::new();
        for picked in product(self.sizes(&over)) {
            let of: Vec<(usize, usize)> = over.iter().copied().zip(picked).collect();
            let mut names = fixed.clone();
            let fits = free.iter().all(|(text, selector, over)| {
                let own: Vec<(usize, usize)> =
                    of.iter().filter(|(matrix, _)| over.contains(matrix)).copied().collect();
                let Ok((name, _)) = self.variant(selector.family(), &own) else { return false };
                let fits = selector.matches(&name);
                names.insert((*text).clone(), name);
                fits
            });
            if fits {
                instances.push(Instance { bracket: bracket(self.values_of(&of)), names });
            }
        }
        if instances.is_empty() {
            let message = "no variant has all the values named here".into();
            return Err((message, "name single variants whole to compare them with each other".into()));
        }
        Ok(instances)
    }
}

/// `text` with the values of one combination in place of `${matrix.NAME}`.
fn put_in<'v>(text: &str, values: impl Iterator<Item = (&'v str, &'v AxisValue)>) -> String {
    values.fold(text.to_owned(), |text, (name, value)| match value.node.scalar_text() {
        Some(filled) => text.replace(&format!("${{matrix.{name}}}"), &filled),
        None => text,
    })
}
