//! Aligned columns for people; and how durations and sizes are written in them.

/// Rows of text under headings. Columns are as wide as their widest cell, two spaces apart.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    heading: &'static str,
    numeric: bool,
}

impl Table {
    /// A table with these headings; one that begins with `#` heads numbers, which align right.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        let column = |heading: &&'static str| match heading.strip_prefix('#') {
            Some(heading) => Column { heading, numeric: true },
            None => Column { heading, numeric: false },
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells past the last column are not shown.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The whole table, each line ended; headings alone where there is no row.
    pub(crate) fn render(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|c| c.heading.to_owned()).collect();
        let lines: Vec<&[String]> = std::iter::once(headings.as_slice())
            .chain(self.rows.iter().map(Vec::as_slice))
            .collect();
        let width = |at: usize| {
            let cells = lines.iter().filter_map(|line| line.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let cells = self.columns.iter().zip(&widths).zip(line);
            let cells: Vec<String> = cells
                .map(|((column, width), cell)| match column.numeric {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                })
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Milliseconds with three digits that matter; `-` where nothing was measured.
pub(crate) fn millis(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 100.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// A time span in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1000;
    match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

/// How long ago something was: as [`span`], and in milliseconds below a second.
pub(crate) fn age(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { span(ms) }
}

/// Bytes in binary units.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = if unit == "B" { 0 } else { 1 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_align_right() {
        let mut table = Table::new(&["NAME", "#ID", "NOTE"]);
        table.row(["zürich", "7", "x"].map(str::to_owned));
        table.row(["a", "65534", ""].map(str::to_owned));
        assert_eq!(table.render(), "NAME       ID  NOTE\nzürich      7  x\na       65534\n");
    }

    #[test]
    fn a_table_without_rows_shows_its_headings() {
        assert_eq!(Table::new(&["A", "#B"]).render(), "A  B\n");
    }

    #[test]
    fn spans_and_sizes_read_well() {
        assert_eq!(span(59_999), "59 s");
        assert_eq!(span(61_000), "1 min 1 s");
        assert_eq!(span(3_600_000), "1 h 0 min");
        assert_eq!(span(90_000_000), "1 d 1 h");
        assert_eq!((age(999), age(1000)), ("999 ms".to_owned(), "1 s".to_owned()));
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(millis(Some(0.123)), "0.12 ms");
        assert_eq!(millis(Some(123.4)), "123 ms");
        assert_eq!(millis(None), "-");
    }
}
