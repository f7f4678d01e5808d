//! Text in columns, each as wide as its widest cell. Cells may hold colours. Knows no content.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

/// Columns of text.
#[derive(Debug, Clone)]
pub struct Grid {
    columns: Vec<Alignment>,
    gap: usize,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// No rows yet; `columns` are `l` for left and `r` for right, and `gap` spaces stand between them.
    #[must_use]
    pub fn new(columns: &str, gap: usize) -> Self {
        let align = |c| if c == 'r' { Alignment::Right } else { Alignment::Left };
        Self { columns: columns.chars().map(align).collect(), gap, rows: vec![] }
    }

    /// Adds a row. Cells that are missing are empty.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as lines of at most `width` columns, one space before each and none after.
    #[must_use]
    pub fn lines(&self, width: usize) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0)
            })
            .collect();
        self.rows.iter().map(|row| self.line(row, &widths, width)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize], width: usize) -> String {
        let mut line = String::from(" ");
        let mut first = true;
        for ((cell, align), wide) in row.iter().zip(&self.columns).zip(widths).filter(|(_, wide)| **wide > 0)
        {
            if !std::mem::take(&mut first) {
                line.push_str(&" ".repeat(self.gap));
            }
            line.push_str(&pad_str(cell, *wide, *align, None));
        }
        truncate_str(line.trim_end(), width, "…").into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new("lrl", 2);
        grid.row(["a", "1", "x"]);
        grid.row(["bcd", "12", ""]);
        grid.row(["e"]);
        assert_eq!(grid.lines(80), [" a     1  x", " bcd  12", " e"]);
        assert_eq!(grid.lines(6), [" a   …", " bcd …", " e"]);
    }

    #[test]
    fn colours_take_no_room_and_empty_columns_vanish() {
        let mut grid = Grid::new("lll", 1);
        grid.row(["\u{1b}[32mab\u{1b}[0m", "", "c"]);
        grid.row(["d", "", "e"]);
        assert_eq!(grid.lines(80), [" \u{1b}[32mab\u{1b}[0m c", " d  e"]);
    }
}
