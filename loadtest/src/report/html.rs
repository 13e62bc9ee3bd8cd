//! The page: one self-contained HTML file, answer first, then a picture and numbers per scenario.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::outcome::Attribution;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::ScenarioRun;
use crate::report::Key;
use crate::report::Report;
use crate::report::Row;
use crate::report::chart;
use crate::report::text;
use crate::report::text::COLUMNS;
use crate::report::text::WHAT_H_IS;
use crate::report::words;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    let _ = write!(out, "<title>Load test</title><style>{STYLE}</style></head><body><main>");
    let _ = write!(out, "<h1><b>{}</b></h1>", escaped(&text::verdict(report)));
    for miss in misses(report) {
        let _ = write!(out, "<p class=\"missed\">{}</p>", escaped(&miss));
    }
    for part in &report.parts {
        let _ = write!(out, "<p class=\"note\">{}</p>", escaped(&facts(part)));
    }
    out.push_str(&overview(report));
    let _ = write!(
        out,
        "<p class=\"note\">{WHAT_H_IS} A row with several seeds shows its worst. Every provider here \
         is simulated.</p>"
    );
    for row in &report.rows {
        out.push_str(&section(report, row));
    }
    out.push_str("</main></body></html>\n");
    out
}

/// Text that is text and nothing else.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(one),
        }
    }
    out
}

fn misses(report: &Report) -> Vec<String> {
    let missing = report.missing.iter();
    let missing =
        missing.map(|(id, seed)| format!("{id} (seed {seed}) was to be run, and was not"));
    let mut misses: Vec<String> = missing.collect();
    for row in report.rows.iter().filter(|row| !row.passed()) {
        let Some(head) = row.head() else { continue };
        let name = report.name(row);
        let broken = row.runs.iter().filter_map(|run| run.broken.as_ref());
        misses.extend(broken.map(|why| format!("{name} was not carried through: {why}")));
        if head.is_control() && text::is_held(row) {
            misses.push(format!("{name} held, which it must not: the rig sees too little"));
        }
        let wrong = text::wrong(row).into_iter();
        misses.extend(wrong.map(|(_, figure)| format!("{name} {}", text::miss(figure))));
    }
    misses
}

fn facts(part: &crate::outcome::RigFacts) -> String {
    let mut told = text::facts(part);
    for (name, version) in &part.versions {
        let _ = write!(told, ", {name} {version}");
    }
    for (process, cores) in &part.pinned {
        let _ = write!(told, ", {process} on cores {cores}");
    }
    if !part.images.is_empty() {
        let _ = write!(told, ". Images: {}", part.images);
    }
    for note in &part.notes {
        let _ = write!(told, ". {note}");
    }
    told
}

fn overview(report: &Report) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr><th>Scenario</th>");
    for (_, name) in COLUMNS {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("<th>simulation</th><th>oracle</th><th></th></tr></thead><tbody>");
    for row in &report.rows {
        let Some(head) = row.head() else { continue };
        let (name, anchor) = (escaped(&format!("{} {}", head.id, head.title)), anchor(head));
        let of = of(report, row);
        let _ = write!(out, "<tr><td class=\"words\"><a href=\"#{anchor}\">{name}</a>{of}</td>");
        for (id, _) in COLUMNS {
            let figure = row.column(id);
            let class = if head.is_control() { "" } else { class(figure) };
            let _ = write!(out, "<td{class}>{}</td>", cell(figure));
        }
        let p95 = row.column("p95");
        for beside in [p95.and_then(|figure| figure.sim), p95.and_then(|figure| figure.oracle)] {
            let unit = p95.map(|figure| figure.unit);
            let told = beside.zip(unit).map_or_else(String::new, |(b, unit)| words::told(b, unit));
            let _ = write!(out, "<td class=\"quiet-words\">{told}</td>");
        }
        let _ = write!(out, "<td>{}</td></tr>", standing(row));
    }
    out.push_str("</tbody></table></div>");
    out
}

/// What tells this row from another of the same scenario, and how many seeds it has.
fn of(report: &Report, row: &Row) -> String {
    let seeds = row.seeds();
    let seeds = (1 < seeds.len()).then(|| format!("{} seeds", seeds.len()));
    let apart = Some(report.apart(row)).filter(|apart| !apart.is_empty());
    let told: Vec<String> = seeds.into_iter().chain(apart).collect();
    if told.is_empty() {
        return String::new();
    }
    format!(" <span class=\"quiet-words\">{}</span>", escaped(&told.join(", ")))
}

fn standing(row: &Row) -> &'static str {
    let is_control = row.head().is_some_and(ScenarioRun::is_control);
    match (row.passed(), is_control) {
        (true, false) => "held",
        (true, true) => "failed, as it must",
        (false, false) => "<span class=\"missed\">missed</span>",
        (false, true) if text::is_held(row) => {
            "<span class=\"missed\">held, which it must not</span>"
        }
        (false, true) => "<span class=\"missed\">failed another way</span>",
    }
}

fn cell(figure: Option<&Figure>) -> String {
    figure.map_or_else(String::new, words::value)
}

fn class(figure: Option<&Figure>) -> &'static str {
    match figure.map(|figure| figure.verdict) {
        Some(FigureVerdict::Missed) => " class=\"missed\"",
        _ => "",
    }
}

fn section(report: &Report, row: &Row) -> String {
    let mut out = String::new();
    // the picture is that of the worst seed: the first that did not pass, else the first
    let shown = row.runs.iter().find(|run| !run.passed()).or(row.head());
    let Some(run) = shown else { return out };
    let title = escaped(&format!("{} {}", run.id, run.title));
    let (anchor, of) = (anchor(run), of(report, row));
    let _ = write!(out, "<section id=\"{anchor}\"><h2>{title}{of}</h2>");
    let _ = write!(out, "<p class=\"note\">{}</p>", escaped(&circumstances(run)));
    let _ = write!(out, "<div class=\"scroll\">{}</div>", chart::timeline(run));
    out.push_str(&figures(row));
    out.push_str(&shift(run));
    out.push_str("</section>");
    out
}

/// A name that only this row has: it says everything that rows are told apart by.
fn anchor(run: &ScenarioRun) -> String {
    let key = Key::of(run);
    let Key { id, target, deadline_ms, rate_per_s, streamed, short, .. } = key;
    let way = if streamed { "streamed" } else { "plain" };
    let form = if short { "short" } else { "long" };
    let (id, target, length_s) = (word(id), word(target), key.length_s());
    format!("scenario-{id}-{target}-{deadline_ms}ms-{rate_per_s}-{way}-{form}-{length_s:.0}s")
}

/// Text as letters and digits, no two texts alike.
fn word(text: &str) -> String {
    let mut word = String::new();
    for one in text.chars() {
        if one.is_ascii_alphanumeric() {
            word.push(one);
        } else {
            let _ = write!(word, "_{:x}_", u32::from(one));
        }
    }
    word
}

fn circumstances(run: &ScenarioRun) -> String {
    let ScenarioRun { seed, rate_per_s, deadline_ms, punctuality, .. } = run;
    let mut told =
        format!("seed {seed}, {rate_per_s:.0} arrivals a second, deadline {deadline_ms} ms");
    for (process, used) in &run.processes {
        let _ = write!(
            told,
            "; {process} used {:.2} cores ({:.1} ms an image) and {:.0} MB",
            used.cpu_cores, used.cpu_ms_per_image, used.rss_max_mb
        );
    }
    let _ = write!(told, "; the rig sent late by {:.1} ms (p99)", punctuality.late_p99_ms);
    if punctuality.rig_was_bottleneck {
        told.push_str(": it was the bottleneck, so these latencies are its own");
    }
    for note in &run.notes {
        let _ = write!(told, ". {note}");
    }
    told
}

fn figures(row: &Row) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>Figure</th><th>measured</th><th>to be</th>\
         <th>simulation</th><th>oracle</th><th class=\"words\">published elsewhere</th><th>n</th>\
         <th></th></tr></thead><tbody>",
    );
    for figure in row.figures() {
        let told = |value: Option<f64>| {
            value.map_or_else(String::new, |value| words::told(value, figure.unit))
        };
        let limit = figure.limit.map_or_else(String::new, |line| words::limit(line, figure.unit));
        let published = escaped(figure.published.as_deref().unwrap_or_default());
        let _ = write!(
            out,
            "<tr><td class=\"words\">{}</td><td{}>{}</td><td>{limit}</td><td>{}</td><td>{}</td>\
             <td class=\"words\">{published}</td><td class=\"quiet-words\">{}</td><td>{}</td></tr>",
            escaped(&figure.says),
            class(Some(figure)),
            words::value(figure),
            told(figure.sim),
            told(figure.oracle),
            figure.n,
            words::verdict(figure.verdict),
        );
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Who judged what, and what each other judge would have said of the same images: a shift of the
/// reject rate is split by it into who was asked and what was sent.
fn shift(run: &ScenarioRun) -> String {
    if run.attribution.is_empty() {
        return String::new();
    }
    let judges = chart::judges(run);
    let mut out = String::from(
        "<details><summary>Who judged what, and what the others would have said</summary>\
         <table><thead><tr><th>Phase</th><th class=\"words\">judge</th><th>verdicts</th>\
         <th>rejected</th>",
    );
    for judge in &judges {
        let _ = write!(out, "<th>{} would reject</th>", escaped(judge));
    }
    out.push_str("</tr></thead><tbody>");
    for one in &run.attribution {
        let Attribution { phase, judge, verdicts, rejected, would_reject } = one;
        let place = judges.iter().position(|known| known == judge).unwrap_or(4).min(4) + 1;
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"words\"><span class=\"swatch s{place}\"></span>{}</td>\
             <td>{verdicts}</td><td>{}</td>",
            escaped(phase),
            escaped(judge),
            rate(*rejected, *verdicts),
        );
        out.push_str(&would(&judges, would_reject, *verdicts));
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></details>");
    out
}

fn would(judges: &[String], would_reject: &BTreeMap<String, u64>, verdicts: u64) -> String {
    let mut out = String::new();
    for judge in judges {
        let told = would_reject.get(judge).map(|count| rate(*count, verdicts));
        let _ = write!(out, "<td>{}</td>", told.unwrap_or_default());
    }
    out
}

/// A share with its n; of fewer than 30 only the count.
fn rate(part: u64, all: u64) -> String {
    if all < 30 {
        return format!("<span class=\"quiet-words\">{part} of {all}</span>");
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a load test are far below 2^52")]
    let percent = 100.0 * part as f64 / all as f64;
    format!("{percent:.1} %")
}
