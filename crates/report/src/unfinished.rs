//! What stages have shown so far that are being executed, or whose execution did not end.

use std::collections::BTreeMap;

use maud::{Markup, html};
use pipeline::StageName;
use protocol::Figure;
use record::Definition;

use super::figures::{Budget, figures};

/// The section; nothing where nothing was shown. What stages do is said as far as that is known.
pub(super) fn section(
    unfinished: &BTreeMap<StageName, Vec<Figure>>,
    definition: Option<&Definition>,
    budget: &Budget,
) -> Markup {
    html! {
        @if !unfinished.is_empty() {
            section #unfinished {
                h2 { "Not finished" }
                p.small { "What stages have shown so far that are being executed, or whose execution did not end." }
                @for (name, shown) in unfinished {
                    article.stage {
                        header {
                            h3 { (name) }
                            @if let Some(stage) = definition.and_then(|it| it.stages.get(name)) {
                                code.does { (stage.action) }
                            }
                        }
                        div.figures { (figures(shown, budget)) }
                    }
                }
            }
        }
    }
}
