//! What came out, in words: which row to ship, and what the stages' answers say. Pure; knows no stage by name.

use maud::{Markup, html};
use pipeline::StageName;
use protocol::Content;

use super::{Input, advice, mention, prose};

/// A question, its answer, and the stage that gave it; the report's own has none.
struct Answer<'a> {
    question: &'a str,
    text: String,
    stage: Option<&'a StageName>,
}

/// The section, or nothing where nothing is answered.
pub(super) fn section(input: &Input) -> Option<Markup> {
    let answers = answers(input);
    if answers.is_empty() {
        return None;
    }
    Some(html! {
        section #answers {
            h2 { "What it means" }
            div.answers {
                @for answer in &answers {
                    div.answer {
                        h3 {
                            (answer.question)
                            @if let Some(stage) = answer.stage {
                                " " a.small href={ "#" (mention::anchor(stage)) } { (stage) }
                            }
                        }
                        p { (prose(&answer.text)) }
                    }
                }
            }
        }
    })
}

fn answers<'a>(input: &Input<'a>) -> Vec<Answer<'a>> {
    let advice = advice::advice(input);
    let own = advice.map(|text| Answer { question: "Which one to ship?", text, stage: None });
    let shown = input.definition.stages.keys().filter_map(|stage| Some((stage, input.records.get(stage)?)));
    let told = shown.flat_map(|(stage, record)| {
        record.figures.iter().filter_map(move |figure| match &figure.content {
            Content::Answer { text } => {
                Some(Answer { question: &figure.title, text: text.clone(), stage: Some(stage) })
            }
            _ => None,
        })
    });
    own.into_iter().chain(told).collect()
}
