//! The summary for a terminal: what held, one line a scenario, and every figure that was missed.

use std::fmt::Write as _;

use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::RigFacts;
use crate::outcome::ScenarioRun;
use crate::report::Report;
use crate::report::Row;
use crate::report::words;

/// The columns after the scenario's name: a figure's id and its heading.
pub(super) const COLUMNS: [(&str, &str); 6] = [
    ("p95", "p95"),
    ("onset_p95", "onset p95"),
    ("verdict_share", "verdicts"),
    ("primary_share", "primary"),
    ("extra_calls", "extra calls"),
    ("recovery_s", "recovery"),
];

/// What the waits of the columns are multiples of.
pub(super) const WHAT_H_IS: &str =
    "H is the healthy p95; where answers are read as they come, the healthy p95 without that.";

/// The widest a title may be.
const TITLE_CHARS: usize = 36;
const COLUMN_CHARS: usize = 13;

/// Everything on one screen or two.
pub(super) fn summary(report: &Report) -> String {
    let mut out = String::new();
    for part in &report.parts {
        line(&mut out, &facts(part));
    }
    line(&mut out, "");
    line(&mut out, &heading());
    for row in &report.rows {
        line(&mut out, &row_line(report, row));
    }
    line(&mut out, "");
    line(&mut out, WHAT_H_IS);
    line(&mut out, "");
    let gates: Vec<&str> = report.gates().into_iter().collect();
    if 1 < gates.len() {
        line(&mut out, &format!("parts of different programs: {}", gates.join(", ")));
    }
    for (id, seeds) in &report.gaps {
        line(&mut out, &format!("{id} is there under {seeds} seeds, which is not enough"));
    }
    for (id, seed) in &report.missing {
        line(&mut out, &format!("{id} (seed {seed}) was to be run, and was not"));
    }
    for row in report.rows.iter().filter(|row| !row.passed()) {
        missed(&mut out, report, row);
    }
    line(&mut out, &verdict(report));
    out
}

/// The sentence that answers first.
pub(super) fn verdict(report: &Report) -> String {
    let (controls, scenarios): (Vec<&Row>, Vec<&Row>) =
        report.rows.iter().partition(|row| row.runs.iter().any(ScenarioRun::is_control));
    let held = |rows: &[&Row]| rows.iter().filter(|row| row.passed()).count();
    let mut sentence = format!("{} of {} scenarios held", held(&scenarios), scenarios.len());
    if !controls.is_empty() {
        let failing = held(&controls);
        let all = controls.len();
        let _ = write!(sentence, "; {failing} of {all} controls failed as they must");
    }
    sentence.push('.');
    sentence
}

/// Where and how a part was measured, in a sentence.
pub(super) fn facts(part: &RigFacts) -> String {
    let RigFacts { target, cores, rate_per_s, deadline_ms, took_s, .. } = part;
    let seeds: Vec<String> = part.seeds.iter().map(u64::to_string).collect();
    let form = if part.short { "short form, " } else { "" };
    let others = if NOTEWORTHY_CORES < part.other_cores {
        format!(", other work used {:.1} cores", part.other_cores)
    } else {
        String::new()
    };
    format!(
        "{target}: {form}{rate_per_s:.0} arrivals a second, deadline {deadline_ms} ms, seed {}, {cores} cores, {}{others}",
        seeds.join(" "),
        words::span(*took_s),
    )
}

/// Other work that takes more may show in the latencies.
const NOTEWORTHY_CORES: f64 = 0.2;

fn heading() -> String {
    let mut text = format!("{:<5}{:<width$}", "", "", width = TITLE_CHARS + 1);
    for (_, name) in COLUMNS {
        let _ = write!(text, "{name:>COLUMN_CHARS$}");
    }
    text.push_str("   ");
    text
}

fn row_line(report: &Report, row: &Row) -> String {
    let Some(head) = row.head() else { return String::new() };
    let title: String = head.title.chars().take(TITLE_CHARS).collect();
    let mut text = format!("{:<5}{title:<width$}", head.id, width = TITLE_CHARS + 1);
    for (id, _) in COLUMNS {
        let cell = row.column(id).map_or_else(String::new, |figure| {
            let mark = if figure.verdict == FigureVerdict::Missed { "!" } else { "" };
            format!("{mark}{}", words::value(figure))
        });
        let _ = write!(text, "{cell:>COLUMN_CHARS$}");
    }
    let word = match (row.passed(), head.is_control()) {
        (true, false) => "held",
        (true, true) => "failed, as it must",
        (false, false) => "MISSED",
        (false, true) if is_held(row) => "HELD, which it must not",
        (false, true) => "FAILED ANOTHER WAY",
    };
    let _ = write!(text, "   {word}");
    let several = 1 < report.rows.iter().map(|row| row.seeds().len()).max().unwrap_or_default();
    let seeds: Vec<String> = row.seeds().iter().map(u64::to_string).collect();
    let seeds = if several { format!("seeds {}", seeds.join(" ")) } else { String::new() };
    let told = [report.apart(row), seeds].map(|one| (!one.is_empty()).then_some(one));
    let told: Vec<String> = told.into_iter().flatten().collect();
    if !told.is_empty() {
        let _ = write!(text, " ({})", told.join("; "));
    }
    text
}

/// Whether a control did not pass for the one reason that it held.
pub(super) fn is_held(row: &Row) -> bool {
    row.runs.iter().all(|run| run.broken.is_none() && run.wrong().is_empty())
}

fn missed(out: &mut String, report: &Report, row: &Row) {
    let name = report.name(row);
    for run in &row.runs {
        if let Some(why) = &run.broken {
            line(out, &format!("{name} (seed {}) was not carried through: {why}", run.seed));
        }
    }
    for (_, figure) in wrong(row) {
        line(out, &format!("{name} {}", miss(figure)));
    }
}

/// Every figure of a row that was missed and had not to be, at its worst, with the row's id.
pub(super) fn wrong(row: &Row) -> Vec<(&str, &Figure)> {
    let Some(head) = row.head() else { return Vec::new() };
    let is_wrong = |figure: &&Figure| {
        row.runs.iter().any(|run| run.wrong().iter().any(|one| one.id == figure.id))
    };
    row.figures().into_iter().filter(is_wrong).map(|figure| (head.id.as_str(), figure)).collect()
}

/// A missed figure beside its line.
pub(super) fn miss(figure: &Figure) -> String {
    let line = figure
        .limit
        .map_or_else(String::new, |limit| format!(", to be {}", words::limit(limit, figure.unit)));
    format!("{}: {}{line} (n {})", figure.says, words::value(figure), figure.n)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}
