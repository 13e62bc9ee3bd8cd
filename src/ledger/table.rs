//! The record as a line of CSV: what a spreadsheet can use, one line a record.
//!
//! Cells come from callers and providers, and a spreadsheet runs a cell that begins with `=`, `+`,
//! `-` or `@`: such text is written behind an apostrophe, which spreadsheets take as "text".

use std::fmt::Display;

use crate::domain::{Decision, Route};
use crate::ledger::LedgerError;
use crate::ledger::form::{JudgeForm, RecordForm};

/// The columns, in order.
pub const COLUMNS: [&str; 38] = [
    "seq",
    "id",
    "at",
    "request_id",
    "policy",
    "revision",
    "mode",
    "verdict",
    "would_be",
    "first_verdict",
    "basis",
    "borderline",
    "judge",
    "provider",
    "model",
    "route",
    "scores",
    "failed",
    "flags",
    "attempts",
    "total_ms",
    "judge_ms",
    "deadline_ms",
    "cost_micro_usd",
    "complete",
    "client_gone",
    "image_digest",
    "format",
    "width_px",
    "height_px",
    "size_bytes",
    "team",
    "external_id",
    "vars",
    "findings",
    "pre",
    "propensity",
    "judged_by",
];

/// The first line.
///
/// # Errors
/// Never for these columns; the writer's signature allows it.
pub fn csv_header() -> Result<Vec<u8>, LedgerError> {
    line(COLUMNS.map(str::to_owned))
}

/// The line of one record.
///
/// # Errors
/// Never for a record; the writer's signature allows it.
pub fn csv_row(record: &RecordForm) -> Result<Vec<u8>, LedgerError> {
    let judge = |part: fn(&JudgeForm) -> &String| record.judge.as_ref().map(part);
    let image = &record.image;
    line([
        maybe(record.seq),
        record.id.to_string(),
        record.at.to_string(),
        text(&record.request_id),
        text(&record.policy.name),
        record.policy.revision.to_string(),
        record.policy.mode.label().to_owned(),
        record.verdict.label().to_owned(),
        maybe(record.would_be.map(Decision::label)),
        maybe(record.first_verdict.map(Decision::label)),
        record.basis.label().to_owned(),
        record.borderline.to_string(),
        maybe_text(judge(|one| &one.name)),
        maybe_text(judge(|one| &one.provider)),
        maybe_text(judge(|one| &one.model)),
        maybe(record.route.map(Route::label)),
        pairs(record.scores.0.iter().map(|(id, one)| (id, maybe(one.score)))),
        text(&record.failed.join("; ")),
        text(&record.flags.join("; ")),
        record.attempts.len().to_string(),
        record.timing_ms.total.to_string(),
        record.timing_ms.judge.to_string(),
        record.deadline_ms.to_string(),
        maybe(record.cost_micro_usd),
        record.complete.to_string(),
        record.client_gone.to_string(),
        image.digest.to_string(),
        image.format.label().to_owned(),
        image.width_px.to_string(),
        image.height_px.to_string(),
        image.size_bytes.to_string(),
        maybe_text(record.team.as_ref()),
        maybe_text(record.external_id.as_ref()),
        pairs(&record.vars),
        pairs(record.findings.iter().map(|one| (&one.check, maybe(one.value)))),
        record.pre.to_string(),
        record.propensity.to_string(),
        record.judged_by.to_string(),
    ])
}

fn line<const N: usize>(cells: [String; N]) -> Result<Vec<u8>, LedgerError> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(cells).map_err(|why| LedgerError::Store(why.to_string()))?;
    csv.into_inner().map_err(|why| LedgerError::Store(why.to_string()))
}

fn maybe<T: Display>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn maybe_text(value: Option<&String>) -> String {
    value.map_or_else(String::new, |value| text(value))
}

/// `key=value` pairs in one cell.
fn pairs<K: Display, V: Display>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    text(&pairs.join("; "))
}

fn text(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return format!("'{cell}");
    }
    cell.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::form::tests::sample;

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let form = RecordForm::from(&sample());
        let lines = [csv_header().unwrap(), csv_row(&form).unwrap()].concat();
        let mut csv = csv::Reader::from_reader(lines.as_slice());
        assert_eq!(csv.headers().unwrap(), COLUMNS.as_slice());
        let row = csv.records().next().unwrap().unwrap();
        let cell = |name| &row[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!(cell("at"), "2026-11-21T14:02:00.000250Z");
        assert_eq!(cell("judge"), "openai-mini");
        assert_eq!(cell("scores"), "cutout=0.91; anatomy=");
        assert_eq!(cell("vars"), "category=footwear");
        assert_eq!(cell("team"), "");
        assert_eq!(cell("cost_micro_usd"), "310");
    }

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_text() {
        let mut record = sample();
        record.external_id = Some("=HYPERLINK(\"x\")".to_owned());
        let row = String::from_utf8(csv_row(&RecordForm::from(&record)).unwrap()).unwrap();
        assert!(row.contains("\"'=HYPERLINK(\"\"x\"\")\""), "{row}");
    }
}
