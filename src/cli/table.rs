//! One checked image as a few lines that a person likes to read: the verdict first, then why.

use std::fmt::Write;

use crate::domain::finding::{Finding, Limit};
use crate::domain::record::{Attempt, Record};
use crate::domain::verdict::Scored;

/// Longest reason shown, in characters.
const REASON_CHARS: usize = 72;

/// Renders one record; ends in a line feed.
#[must_use]
pub fn render(file: &str, record: &Record) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = headline(&mut text, file, record);
    for scored in &record.verdict.scores {
        let _ = score_line(&mut text, scored);
    }
    for finding in &record.findings {
        let _ = finding_line(&mut text, finding);
    }
    for attempt in &record.attempts {
        let _ = attempt_line(&mut text, attempt);
    }
    let _ = closing_line(&mut text, record);
    text
}

fn headline(text: &mut String, file: &str, record: &Record) -> std::fmt::Result {
    let word = record.verdict.decision.label().to_uppercase();
    let by = match (&record.judge, record.verdict.failed.as_slice()) {
        (Some(judge), _) if judge.provider == judge.name => format!("judged by {}", judge.name),
        (Some(judge), _) => format!("judged by {} ({})", judge.name, judge.model),
        (None, []) => format!("basis {}", record.verdict.basis.label()),
        (None, failed) => format!("basis {}: {}", record.verdict.basis.label(), failed.join(", ")),
    };
    write!(text, "{word:<7} {file}  {by}, {:.0} ms", record.timing.total)?;
    if record.verdict.borderline {
        write!(text, ", borderline")?;
    }
    if let Some(would_be) = record.verdict.would_be {
        write!(text, ", would be {}", would_be.label())?;
    }
    writeln!(text)
}

fn score_line(text: &mut String, scored: &Scored) -> std::fmt::Result {
    let mark = match scored.passed {
        Some(true) => "ok  ",
        Some(false) => "FAIL",
        None => "-   ",
    };
    let score = scored.score.map_or("   -".to_owned(), |score| format!("{score:.2}"));
    let reason: String =
        scored.reason.as_deref().unwrap_or_default().chars().take(REASON_CHARS).collect();
    let line = format!(
        "  {mark} {:<16} {score}  needs {:.2}  {}",
        scored.criterion,
        scored.pass_at,
        reason.replace(char::is_control, " ")
    );
    writeln!(text, "{}", line.trim_end())
}

fn finding_line(text: &mut String, finding: &Finding) -> std::fmt::Result {
    let mark = if finding.passed { "ok  " } else { finding.on_fail.label() };
    let value = match finding.value {
        Some(value) => format!("{} {}", number(value), finding.unit),
        None => "nothing to measure".to_owned(),
    };
    let needs = match finding.limit {
        Limit::AtLeast(low) => format!("at least {}", number(low)),
        Limit::AtMost(high) => format!("at most {}", number(high)),
        Limit::Between(low, high) => format!("{} to {}", number(low), number(high)),
    };
    writeln!(text, "  {mark:<4} check {:<10} {value} ({needs})", finding.check)
}

fn attempt_line(text: &mut String, attempt: &Attempt) -> std::fmt::Result {
    let ended = attempt.outcome.label();
    let said = attempt.said.map(|said| format!(", said {}", said.label())).unwrap_or_default();
    let cost = if attempt.cost.0 == 0 { String::new() } else { format!(", {}", attempt.cost) };
    let detail: String =
        attempt.detail.as_deref().unwrap_or_default().chars().take(REASON_CHARS).collect();
    let line = format!(
        "  {:<9} {} {ended}{said} after {} ms{cost}  {}",
        attempt.route.label(),
        attempt.judge.name,
        attempt.took_ms,
        detail.replace(char::is_control, " ")
    );
    writeln!(text, "{}", line.trim_end())
}

fn closing_line(text: &mut String, record: &Record) -> std::fmt::Result {
    let revision: String = record.policy.revision.to_hex().chars().take(12).collect();
    let image = &record.image;
    let flags = match record.verdict.flags.as_slice() {
        [] => String::new(),
        flags => format!(", flags: {}", flags.join(", ")),
    };
    writeln!(
        text,
        "  {} {} x {}, {} bytes; policy {} b3:{revision}{flags}",
        image.format, image.width_px, image.height_px, image.size_bytes, record.policy.name,
    )
}

/// At most four significant places, without trailing zeros.
fn number(value: f64) -> String {
    let places = if value.abs() < 10.0 { 3 } else { 1 };
    let text = format!("{value:.places$}");
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(212.44), "212.4");
        assert_eq!(number(0.06), "0.06");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(256.0), "256");
    }
}
