//! The text form of a latency matrix: reading it, and saying where and why it cannot be read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::matrix::LatencyMatrix;

/// Why a text is not a latency matrix. Nothing was kept; correct the file and read it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// The file could not be read. Retry once the cause is gone.
    #[error("matrix file not readable ({path}); {cause}; check the path and its permissions")]
    Io {
        /// The file as given.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is longer than any matrix within the limits.
    #[error("matrix file too long ({path}); a file has at most {limit} bytes; use fewer ids")]
    TooLong {
        /// The file as given.
        path: String,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The bytes are not text.
    #[error(
        "matrix is not text ({source_name}:{line}:{column}); a matrix is UTF-8; \
         save it as UTF-8 CSV"
    )]
    NotUtf8 {
        /// The file as given.
        source_name: String,
        /// The line of the first bad byte, from 1.
        line: u64,
        /// The character of the first bad byte in its line, from 1.
        column: u64,
    },
    /// The text breaks a rule at one place.
    #[error("{what} ({value}, {source_name}:{line}:{column}); {rule}")]
    Cell {
        /// What is wrong.
        what: &'static str,
        /// The offending value, quoted and shortened, or what is wrong with its number.
        value: String,
        /// The file as given.
        source_name: String,
        /// The line, from 1.
        line: u64,
        /// The character in the line, from 1.
        column: u64,
        /// The rule, and how to meet it.
        rule: &'static str,
    },
    /// The text as a whole is no matrix.
    #[error("{what} ({source_name}); {rule}")]
    Whole {
        /// What is wrong.
        what: String,
        /// The file as given.
        source_name: String,
        /// The rule, and how to meet it.
        rule: &'static str,
    },
}

pub(crate) fn read_file(path: &Path) -> Result<LatencyMatrix, MatrixError> {
    let source_name = path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|cause| MatrixError::Io { path: source_name.clone(), cause })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(MatrixError::TooLong { path: source_name, limit: MAX_FILE_BYTES });
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => read(text, &source_name),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let valid = String::from_utf8_lossy(valid);
            let (line, column) = end_of(&valid);
            Err(MatrixError::NotUtf8 { source_name, line, column })
        }
    }
}

pub(crate) fn read(text: &str, source_name: &str) -> Result<LatencyMatrix, MatrixError> {
    Reader { text, source_name }.matrix()
}

struct Reader<'a> {
    text: &'a str,
    source_name: &'a str,
}

impl Reader<'_> {
    fn matrix(&self) -> Result<LatencyMatrix, MatrixError> {
        let mut records = self.records();
        let header = match records.next() {
            Some(record) => self.record(record)?,
            None => return Err(self.whole("the matrix is empty".into(), RULE_HEADER)),
        };
        let ids = self.ids(&header)?;
        let numbers: HashMap<&str, usize> =
            ids.iter().enumerate().map(|(i, id)| (id.as_str(), i)).collect();
        let mut rows: Vec<Option<Vec<Option<f64>>>> = vec![None; ids.len()];
        for record in records {
            let record = self.record(record)?;
            let id = record.get(0).unwrap_or_default().trim();
            let known = numbers.get(id).and_then(|i| rows.get_mut(*i));
            let Some(row) = known else {
                let what = "row id is not in the header";
                return Err(self.cell(&record, 0, what, RULE_ROW));
            };
            if row.is_some() {
                return Err(self.cell(&record, 0, "row id comes twice", RULE_ROW));
            }
            *row = Some(self.row(&record, ids.len())?);
        }
        let mut rtt_ms = Vec::with_capacity(ids.len() * ids.len());
        for (id, row) in ids.iter().zip(rows) {
            match row {
                Some(row) => rtt_ms.extend(row),
                None => {
                    let what = format!("id has no row ({})", quoted(id));
                    return Err(self.whole(what, RULE_ROW));
                }
            }
        }
        let matrix = LatencyMatrix::new(ids, rtt_ms);
        if matrix.pick(2).len() < 2 {
            return Err(self.whole("no pair of ids was measured".into(), RULE_PAIRS));
        }
        Ok(matrix)
    }

    fn ids(&self, header: &csv::StringRecord) -> Result<Vec<String>, MatrixError> {
        let mut ids: Vec<String> = Vec::new();
        let mut seen = HashMap::new();
        for (column, id) in header.iter().enumerate().skip(1) {
            let id = id.trim();
            if ids.len() == MAX_IDS {
                return Err(self.cell(header, column, "too many ids", RULE_IDS));
            }
            if id.is_empty()
                || id.chars().count() > MAX_ID_CHARS
                || id.chars().any(char::is_control)
            {
                return Err(self.cell(header, column, "not an id", RULE_ID));
            }
            if seen.insert(id, column).is_some() {
                return Err(self.cell(header, column, "id comes twice", RULE_ID));
            }
            ids.push(id.to_owned());
        }
        if ids.len() < 2 {
            return Err(self.cell(header, 0, "fewer than two ids in the first row", RULE_HEADER));
        }
        Ok(ids)
    }

    fn row(
        &self,
        record: &csv::StringRecord,
        width: usize,
    ) -> Result<Vec<Option<f64>>, MatrixError> {
        if record.len() != width + 1 {
            let last = record.len().min(width + 2).saturating_sub(1);
            let value = format!("{} cells instead of {}", record.len(), width + 1);
            let what = "row is not as long as the first row";
            return Err(self.at(record, last, what, value, RULE_RAGGED));
        }
        let cells = record.iter().enumerate().skip(1);
        cells
            .map(|(column, text)| match milliseconds(text.trim()) {
                Ok(value) => Ok(value),
                Err(what) => Err(self.cell(record, column, what, RULE_CELL)),
            })
            .collect()
    }

    fn records(&self) -> impl Iterator<Item = csv::Result<csv::StringRecord>> {
        csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(self.text.as_bytes())
            .into_records()
    }

    fn record(
        &self,
        record: csv::Result<csv::StringRecord>,
    ) -> Result<csv::StringRecord, MatrixError> {
        record.map_err(|error| self.whole(format!("not CSV: {error}"), RULE_HEADER))
    }

    fn cell(
        &self,
        record: &csv::StringRecord,
        cell: usize,
        what: &'static str,
        rule: &'static str,
    ) -> MatrixError {
        let value = quoted(record.get(cell).unwrap_or_default());
        self.at(record, cell, what, value, rule)
    }

    fn at(
        &self,
        record: &csv::StringRecord,
        cell: usize,
        what: &'static str,
        value: String,
        rule: &'static str,
    ) -> MatrixError {
        let (line, column) = self.place_of(record, cell);
        MatrixError::Cell {
            what,
            value,
            source_name: self.source_name.to_owned(),
            line,
            column,
            rule,
        }
    }

    fn whole(&self, what: String, rule: &'static str) -> MatrixError {
        MatrixError::Whole { what, source_name: self.source_name.to_owned(), rule }
    }

    /// Line and character of a cell. The CSV reader counts a record from the blank lines before
    /// it and does not know where its cells are, so the place is sought in the text.
    fn place_of(&self, record: &csv::StringRecord, cell: usize) -> (u64, u64) {
        let byte = record.position().map_or(0, csv::Position::byte);
        let byte = usize::try_from(byte).unwrap_or(usize::MAX);
        let before = self.text.get(..byte).unwrap_or_default();
        let rest = self.text.get(byte..).unwrap_or_default();
        let start = rest.trim_start_matches(['\r', '\n']);
        let blank = rest.strip_suffix(start).unwrap_or_default();
        let (mut cells, mut in_quotes) = (0, false);
        let inside = start.find(|c| {
            match c {
                '"' => in_quotes = !in_quotes,
                ',' if !in_quotes => cells += 1,
                _ => {}
            }
            cells == cell && cell > 0
        });
        // A cell begins after the comma that ends the one before it.
        let skipped = match inside {
            Some(comma) => start.get(..=comma).unwrap_or_default(),
            None => "",
        };
        end_of(&[before, blank, skipped].concat())
    }
}

/// The line and the character that follow this text, both from 1.
fn end_of(text: &str) -> (u64, u64) {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    let last = text.rsplit('\n').next().unwrap_or_default();
    (lines as u64 + 1, last.chars().count() as u64 + 1)
}

fn milliseconds(text: &str) -> Result<Option<f64>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err("latency is not a number"),
        Ok(value) if value < 0.0 => Err("latency is negative"),
        Ok(value) if value > MAX_RTT_MS => Err("latency is too large"),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err("latency is not a number"),
    }
}

/// Bounded, and with control characters escaped: it goes to a terminal.
fn quoted(text: &str) -> String {
    if text.chars().count() <= MAX_QUOTED_CHARS {
        format!("{text:?}")
    } else {
        let start: String = text.chars().take(MAX_QUOTED_CHARS).collect();
        format!("{start:?}...")
    }
}

const MAX_IDS: usize = 1024;
const MAX_ID_CHARS: usize = 64;
const MAX_RTT_MS: f64 = 60_000.0;
/// 1,024 × 1,024 cells of 16 characters.
const MAX_FILE_BYTES: u64 = 16 << 20;
const MAX_QUOTED_CHARS: usize = 40;

const RULE_HEADER: &str = "a matrix is comma-separated text whose first row and first column are \
                           ids, at least two; start it with a row such as \"from\\to,a,b\"";
const RULE_IDS: &str = "a matrix has at most 1024 ids; leave some out";
const RULE_ID: &str = "each id of the first row is unique and has 1 to 64 characters, none of \
                       them a control character; rename it";
const RULE_ROW: &str = "each id of the first row has exactly one row, which begins with it; \
                        add, remove or rename the row";
const RULE_RAGGED: &str = "a row has its id and one cell for each id of the first row; leave \
                           cells that were not measured empty, but keep their commas";
const RULE_CELL: &str = "a cell is a round trip in milliseconds from 0 to 60000, or empty; \
                         correct the cell";
const RULE_PAIRS: &str = "at least one pair of different ids needs a value; fill in some cells";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_bad_text_is_refused_at_its_place_with_its_rule() {
        let long = "x".repeat(65);
        let digits = "9".repeat(60);
        let cases: &[(&str, &str)] = &[
            ("", "the matrix is empty (m); a matrix is"),
            ("\n\n", "the matrix is empty (m); a matrix is"),
            ("x", "fewer than two ids in the first row (\"x\", m:1:1); a matrix is"),
            ("x,a\na,1", "fewer than two ids in the first row (\"x\", m:1:1)"),
            ("x;a;b\na;1;2", "fewer than two ids in the first row (\"x;a;b\", m:1:1)"),
            ("x,a,\na,1,2", "not an id (\"\", m:1:5); each id"),
            (
                &format!("x,a,{long}"),
                "not an id (\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"..., m:1:5)",
            ),
            ("x,a,b\u{1b}[2J", "not an id (\"b\\u{1b}[2J\", m:1:5)"),
            ("x,a,b,a", "id comes twice (\"a\", m:1:7)"),
            ("x,a,b\na,1,2\nc,3,4", "row id is not in the header (\"c\", m:3:1); each id"),
            ("x,a,b\na,1,2\na,3,4", "row id comes twice (\"a\", m:3:1)"),
            ("x,a,b\na,1,2", "id has no row (\"b\") (m); each id"),
            (
                "x,a,b\na,1,2\nb,3",
                "row is not as long as the first row (2 cells instead of 3, m:3:3)",
            ),
            (
                "x,a,b\na,1,2\nb,3,4,5",
                "row is not as long as the first row (4 cells instead of 3, m:3:7)",
            ),
            ("x,a,b\na,1,quick", "latency is not a number (\"quick\", m:2:5); a cell is"),
            ("x,a,b\n\n\na,1,quick", "latency is not a number (\"quick\", m:4:5)"),
            ("x,a,b\r\n\r\na,1,quick\r\n", "latency is not a number (\"quick\", m:3:5)"),
            ("\u{feff}x,a,b\na,1,quick", "latency is not a number (\"quick\", m:2:5)"),
            ("\u{feff}x,a,a", "id comes twice (\"a\", m:1:5)"),
            ("x,é,b\n\"é\",1,?", "latency is not a number (\"?\", m:2:7)"),
            ("x,\"a,1\",b\n\"a,1\",1,?", "latency is not a number (\"?\", m:2:9)"),
            ("x,a,b\na,1,NaN", "latency is not a number (\"NaN\", m:2:5)"),
            ("x,a,b\na,1,inf", "latency is not a number (\"inf\", m:2:5)"),
            ("x,a,b\na,1,1e999", "latency is not a number (\"1e999\", m:2:5)"),
            ("x,a,b\na,1,1 2", "latency is not a number (\"1 2\", m:2:5)"),
            ("x,a,b\na,1,-0.1", "latency is negative (\"-0.1\", m:2:5)"),
            ("x,a,b\na,1,60000.1", "latency is too large (\"60000.1\", m:2:5)"),
            (
                &format!("x,a,b\na,1,{digits}"),
                "latency is too large (\"9999999999999999999999999999999999999999\"..., m:2:5)",
            ),
            ("x,a,b\na,1,\nb,,2", "no pair of ids was measured (m); at least one pair"),
        ];
        for (text, wanted) in cases {
            match read(text, "m") {
                Ok(_) => panic!("{text:?} was taken"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.starts_with(wanted), "{text:?}\n  gave {error}\n  want {wanted}");
                }
            }
        }
    }

    #[test]
    fn too_many_ids_are_refused() {
        let header: String = (0..=MAX_IDS).map(|i| format!(",{i}")).collect();
        let error = read(&header, "m").expect_err("1025 ids");
        assert!(error.to_string().starts_with("too many ids (\"1024\", m:1:"), "{error}");
    }

    #[test]
    fn rows_in_any_order_blanks_quotes_and_a_byte_order_mark_are_taken() {
        let plain = read("x,a,b\na,0,2\nb,3.5,0\n", "m").expect("valid");
        let odd = read("\u{feff}x, a ,\"b\"\r\n\r\nb,\"3.5\", 0\r\na,0,2", "m").expect("valid");
        assert_eq!(plain, odd);
        assert_eq!(plain.rtt_ms(1, 0), Some(3.5));
    }

    #[test]
    fn a_file_is_read_and_its_faults_name_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("m.csv");
        std::fs::write(&path, "x,a,b\na,0,2\nb,3,0\n").expect("written");
        assert_eq!(read_file(&path).expect("valid").len(), 2);

        std::fs::write(&path, b"x,a,b\na,\xe9\xff,2").expect("written");
        let error = read_file(&path).expect_err("not text");
        assert!(matches!(error, MatrixError::NotUtf8 { line: 2, column: 3, .. }), "{error:?}");
        assert!(error.to_string().contains("m.csv:2:3"), "{error}");

        let error = read_file(dir.path()).expect_err("a directory");
        assert!(matches!(error, MatrixError::Io { .. }), "{error:?}");

        let file = File::create(&path).expect("created");
        file.set_len(MAX_FILE_BYTES + 1).expect("long");
        let error = read_file(&path).expect_err("too long");
        assert!(matches!(error, MatrixError::TooLong { .. }), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[x,ab\"\r\n\u{feff}é0-9.e-]{0,60}") {
            let _ = read(&text, "m").map_err(|error| error.to_string());
        }

        #[test]
        fn what_is_written_is_read_back(
            cells in proptest::collection::vec(proptest::option::of(0.0..60_000.0_f64), 16),
        ) {
            let mut text = String::from("x,0,1,2,3");
            for (i, row) in cells.chunks(4).enumerate() {
                text += &format!("\n{i}");
                for cell in row {
                    text += &cell.map_or(",".into(), |value| format!(",{value}"));
                }
            }
            if let Ok(matrix) = read(&text, "m") {
                let back: Vec<_> = (0..16).map(|k| matrix.rtt_ms(k / 4, k % 4)).collect();
                prop_assert_eq!(back, cells);
            } else {
                let measured = |k: usize| k / 4 != k % 4 && cells[k].is_some();
                prop_assert!(!(0..16).any(measured));
            }
        }
    }
}
