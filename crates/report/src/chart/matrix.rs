//! A matrix as a heat map with its numbers.

use maud::{Markup, html};
use text::format;

use super::{WIDTH, px, shorten, text_width};

/// Larger matrices are drawn as sums of blocks.
const MOST_SIDE: usize = 48;
/// Up to this many columns each cell shows its number.
const MOST_NUMBERS: usize = 16;

/// What a matrix shows.
#[derive(Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) row_label: &'a str,
    pub(crate) column_label: &'a str,
    pub(crate) rows: &'a [String],
    pub(crate) columns: &'a [String],
    pub(crate) values: &'a [Vec<f64>],
}

/// A heat map: the darker, the larger the share of the largest value, by its square root so that small counts
/// still show.
pub(crate) fn matrix(title: &str, matrix: &Matrix) -> Markup {
    let row_count = matrix.values.len();
    let column_count = matrix.values.iter().map(Vec::len).max().unwrap_or(0);
    if row_count == 0 || column_count == 0 {
        return html! { p.empty { "No values." } };
    }
    let (row_block, column_block) = (row_count.div_ceil(MOST_SIDE), column_count.div_ceil(MOST_SIDE));
    let blocked = blocks(matrix.values, row_block, column_block);
    let (row_count, column_count) = (blocked.len(), column_count.div_ceil(column_block));
    let name = |names: &[String], index: usize, block: usize| {
        names.get(index * block).cloned().unwrap_or_else(|| (index * block + 1).to_string())
    };
    let named = column_count <= 24 && row_count <= 24;
    let names_width = (0..row_count)
        .map(|row| text_width(&name(matrix.rows, row, row_block)))
        .fold(0.0, f64::max)
        .clamp(20.0, 110.0);
    let left = if named { 22.0 + names_width } else { 22.0 };
    let cell = ((WIDTH - left - 4.0) / column_count as f64).min(64.0);
    let cell_height = cell.min(34.0).max(if named { 15.0 } else { 2.0 });
    let longest_column = (0..column_count)
        .map(|column| text_width(&name(matrix.columns, column, column_block)))
        .fold(0.0, f64::max);
    let upright = longest_column > cell - 4.0;
    let top = match (named, upright) {
        (false, _) => 24.0,
        (true, false) => 42.0,
        (true, true) => 30.0 + longest_column.min(96.0),
    };
    let numbered = column_count <= MOST_NUMBERS && cell_height >= 14.0;
    let largest = blocked.iter().flatten().map(|value| value.abs()).fold(0.0, f64::max);
    let body = html! {
        text.label x=(px(left + cell * column_count as f64 / 2.0)) y="14" text-anchor="middle" { (matrix.column_label) }
        @let middle = top + cell_height * row_count as f64 / 2.0;
        text.label x="12" y=(px(middle)) text-anchor="middle" transform={ "rotate(-90 12 " (px(middle)) ")" } {
            (matrix.row_label)
        }
        @if named {
            @for column in 0..column_count {
                @let x = left + cell * (column as f64 + 0.5);
                @let text = name(matrix.columns, column, column_block);
                @if upright {
                    text.tick x=(px(x + 4.0)) y=(px(top - 7.0)) transform={ "rotate(-90 " (px(x + 4.0)) " " (px(top - 7.0)) ")" } {
                        (shorten(&text, 96.0))
                    }
                } @else {
                    text.tick x=(px(x)) y=(px(top - 7.0)) text-anchor="middle" { (text) }
                }
            }
        }
        @for (row, values) in blocked.iter().enumerate() {
            @let y = top + cell_height * row as f64;
            @if named {
                text.tick x=(px(left - 7.0)) y=(px(y + cell_height / 2.0 + 4.0)) text-anchor="end" {
                    (shorten(&name(matrix.rows, row, row_block), names_width))
                }
            }
            @for (column, value) in values.iter().enumerate() {
                @let x = left + cell * column as f64;
                @let heat = if largest > 0.0 { (value.abs() / largest).sqrt() } else { 0.0 };
                g {
                    @if column_count <= 24 {
                        title {
                            (matrix.row_label) " " (name(matrix.rows, row, row_block)) ", " (matrix.column_label) " "
                            (name(matrix.columns, column, column_block)) ": " (format::number_auto(*value))
                        }
                    }
                    rect.cell x=(px(x)) y=(px(y)) width=(px(cell - 1.0)) height=(px(cell_height - 1.0)) {}
                    @if heat > 0.0 {
                        rect.(if *value < 0.0 { "cold" } else { "heat" }) x=(px(x)) y=(px(y)) width=(px(cell - 1.0))
                            height=(px(cell_height - 1.0)) fill-opacity=(px(heat)) {}
                    }
                    @if numbered {
                        text.number.hot[heat > 0.6].zero[*value == 0.0] x=(px(x + (cell - 1.0) / 2.0)) y=(px(y + cell_height / 2.0 + 3.5))
                            text-anchor="middle" { (cell_number(*value, cell)) }
                    }
                }
            }
        }
    };
    let described = if row_block * column_block > 1 {
        format!("Sums of blocks of {row_block} by {column_block} cells, {} by {}.", row_count, column_count)
    } else {
        format!(
            "{} ({}) by {} ({}).",
            format::count(row_count, "row"),
            matrix.row_label,
            format::count(column_count, "column"),
            matrix.column_label
        )
    };
    super::picture(WIDTH, top + cell_height * row_count as f64 + 6.0, title, &described, &body)
}

fn cell_number(value: f64, width: f64) -> String {
    let text = format::number_auto(value);
    if text_width(&text) * 0.86 <= width {
        return text;
    }
    let short = format!("{value:.0e}");
    if text_width(&short) * 0.86 <= width { short } else { String::new() }
}

fn blocks(values: &[Vec<f64>], row_block: usize, column_block: usize) -> Vec<Vec<f64>> {
    let sum = |rows: &[Vec<f64>], column: usize| {
        let cells = rows.iter().flat_map(|row| row.iter().skip(column * column_block).take(column_block));
        let sum: f64 = cells.filter(|value| value.is_finite()).sum();
        sum.clamp(f64::MIN, f64::MAX)
    };
    values
        .chunks(row_block)
        .map(|rows| {
            let columns = rows.iter().map(Vec::len).max().unwrap_or(0).div_ceil(column_block);
            (0..columns).map(|column| sum(rows, column)).collect()
        })
        .collect()
}
