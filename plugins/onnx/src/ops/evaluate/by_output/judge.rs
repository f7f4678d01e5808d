//! One variant while it is evaluated: what it gives is written down and held against labels and the baseline.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use arrays::Writer;

use crate::contrast::Contrast;
use crate::heads::Head;
use crate::labels::{Hits, Labels, said, says_class};
use crate::samples::Output;

/// What is gathered of a variant.
pub(super) struct Judge<'a> {
    heads: &'a BTreeMap<String, Head>,
    /// The output that says classes, where it was named.
    scores: Option<&'a str>,
    labels: Option<&'a Labels>,
    writer: Writer,
    judged: Judged,
    done: usize,
}

/// What it came to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) size_kb: Option<f64>,
    pub(super) hits: Option<Hits>,
    /// Against the baseline, by output.
    pub(super) contrasts: Vec<Contrast>,
    /// The output that says classes, and which it said by sample.
    pub(super) said: Option<(String, Vec<Option<i64>>)>,
}

impl<'a> Judge<'a> {
    /// Of the variant `name`, whose predictions go to `folder`.
    pub(super) fn new(
        name: &str,
        folder: &Path,
        heads: &'a BTreeMap<String, Head>,
        scores: Option<&'a str>,
        labels: Option<&'a Labels>,
    ) -> Self {
        let writer = Writer::new(&folder.join(format!("{name}.npz")));
        let judged = Judged { name: name.to_owned(), ..Judged::default() };
        Self { heads, scores, labels, writer, judged, done: 0 }
    }

    pub(super) fn name(&self) -> &str {
        &self.judged.name
    }

    /// Takes in what it gives for the samples at `indices`, and what the baseline gives for them.
    pub(super) fn take(
        &mut self,
        indices: &[usize],
        given: &[Vec<Output>],
        references: Option<&[Vec<Output>]>,
    ) -> Result<()> {
        for (place, (index, outputs)) in indices.iter().zip(given).enumerate() {
            for output in outputs {
                let Output { name, shape, values } = output;
                self.writer.push(name, values.element(), shape, &values.bytes())?;
            }
            self.take_class(*index, outputs)?;
            if let Some(reference) = references.and_then(|references| references.get(place)) {
                self.contrast(*index, outputs, reference)?;
            }
            self.done += 1;
        }
        Ok(())
    }

    fn take_class(&mut self, index: usize, outputs: &[Output]) -> Result<()> {
        let says = |output: &&Output| match self.scores {
            Some(name) => output.name == name,
            None => says_class(output),
        };
        let Some(output) = outputs.iter().find(says) else {
            let names: Vec<_> = outputs
                .iter()
                .map(|output| format!("`{}` of shape {:?}", output.name, output.shape))
                .collect();
            match (self.scores, self.labels) {
                (Some(name), _) => bail!(
                    "`scores` names `{name}`, which is no output of `{}`: these are {}",
                    self.name(),
                    names.join(", ")
                ),
                (None, Some(_)) => bail!(
                    "no output of `{}` gives scores of classes, or a class, for each sample, which `labels` could be held against; its outputs \
                     are {}: leave `labels` out, and compute a metric of your own from `predictions`",
                    self.name(),
                    names.join(", ")
                ),
                (None, None) => {
                    // Others may say one: by their places they are told apart.
                    if let Some((_, said)) = &mut self.judged.said {
                        said.push(None);
                    }
                    return Ok(());
                }
            }
        };
        if self.scores.is_some() && !says_class(output) {
            bail!(
                "`scores` names `{}`, whose shape for a sample is {:?}: neither scores of classes, [classes], nor a class, a whole number",
                output.name,
                output.shape
            );
        }
        if let Some(labels) = self.labels {
            let label = *labels.classes.get(self.done).context("there are fewer labels than samples")?;
            self.judged.hits.get_or_insert_default().add(index, label, output)?;
        }
        let said_of = self.judged.said.get_or_insert_with(|| (output.name.clone(), vec![None; self.done]));
        said_of.1.push(said(output));
        Ok(())
    }

    fn contrast(&mut self, index: usize, outputs: &[Output], reference: &[Output]) -> Result<()> {
        for reference in reference {
            // What one of them lacks cannot be compared.
            let Some(own) = outputs.iter().find(|output| output.name == reference.name) else { continue };
            let known = self.judged.contrasts.iter().position(|contrast| contrast.name == reference.name);
            let place = known.unwrap_or_else(|| {
                let head = self.heads.get(&reference.name).cloned().unwrap_or_default();
                self.judged.contrasts.push(Contrast::new(reference, &head));
                self.judged.contrasts.len() - 1
            });
            if let Some(contrast) = self.judged.contrasts.get_mut(place) {
                contrast
                    .add(index, reference, own)
                    .with_context(|| format!("cannot compare `{}`", self.judged.name))?;
            }
        }
        if self.judged.contrasts.is_empty() {
            let names: Vec<_> = reference.iter().map(|output| format!("`{}`", output.name)).collect();
            bail!(
                "`{}` has none of the outputs of the baseline, {}: outputs are compared by name",
                self.judged.name,
                names.join(", ")
            );
        }
        Ok(())
    }

    /// Writes its predictions. What it came to, and the outputs that could not be written because their shapes differ.
    pub(super) fn finish(self, size_kb: Option<f64>) -> Result<(Judged, Vec<String>)> {
        let left_out = self.writer.finish()?;
        Ok((Judged { size_kb, ..self.judged }, left_out))
    }
}
