//! The tables of a report: the figures of its pictures, and those that have none.

use std::collections::BTreeMap;

use crate::cli::report::Findings;
use crate::cli::report::figures::{Compared, Criterion, Flag, Judge, Looked, Share, Spread};
use crate::cli::report::html::{Cell, Html};
use crate::cli::report::page::section;
use crate::cli::report::words::{
    FEW, day, moment, money, per_thousand, percent, plural, points_range, range, seconds,
};
use crate::clock::Timestamp;
use crate::drift::interval::{Interval, Tally, wilson};
use crate::http::sentence::{count, points};

/// Rows of a table at most.
const MOST_ROWS: usize = 40;

/// Rows that are shown without being asked for.
const MOST_OPEN: usize = 14;

/// The share of images that is much.
const MUCH: f64 = 0.2;

/// Labels and what was found with them look back so far.
const PEOPLE_NOTE: &str =
    "what people answered in the 30 days to the end of the report, unweighted";

/// A rate with its interval and n.
fn rate(of: &Share) -> Cell {
    match of.share {
        None => Cell::none(),
        Some(_) if of.n < 10 => Cell::of(format!("{} of {}", of.count, of.n), "too few").thin(true),
        Some(share) => {
            let quiet = format!("{}, n {}", range(of), count(of.n));
            Cell::of(percent(share), quiet).thin(of.n < FEW)
        }
    }
}

fn tally(n: u64, rejects: u64) -> Share {
    let tally = Tally { n, rejects };
    let Interval { low, high } = wilson(tally);
    Share { n, count: rejects, share: (n != 0).then(|| tally.rate()), low, high }
}

fn latency(of: &Spread) -> Cell {
    match (of.p50, of.p95) {
        (Some(p50), Some(p95)) => {
            let words = format!("{} \u{2013} {}", seconds(p50), seconds(p95));
            Cell::of(words, format!("n {}", count(of.n))).thin(of.n < FEW)
        }
        _ => Cell::none(),
    }
}

/// The days of the range, or the hours of a short one.
pub(super) fn by_day(page: &mut Html, found: &Findings) {
    let series = &found.by_day.series;
    let columns = series.start_ms.iter().zip(&series.n).zip(&series.rated).zip(&series.rejected);
    let columns = columns.zip(&series.p95_ms).zip(&series.cost_micro_usd);
    let is_days = found.by_day_s >= 86_400;
    let rows: Vec<_> = columns
        .filter(|(((((_, n), _), _), _), _)| **n != 0)
        .map(|(((((start_ms, n), rated), rejected), p95), cost)| {
            let at = Timestamp(start_ms.saturating_mul(1_000));
            let p95 = p95.map_or_else(Cell::none, |ms| Cell::of(seconds(ms), ""));
            vec![
                Cell::of(if is_days { day(at) } else { moment(at) }, ""),
                Cell::of(count(*n), ""),
                rate(&tally(*rated, *rejected)),
                p95.thin(*n < FEW),
                Cell::of(money(*cost), ""),
            ]
        })
        .collect();
    if rows.is_empty() {
        page.mark("<p class=\"note\">No verdict was recorded in this time.</p>\n");
        return;
    }
    let is_short = rows.len() <= MOST_OPEN;
    page.mark(if is_short { "<details open><summary>" } else { "<details><summary>" });
    page.mark(match found.by_day_s {
        ..3_600 => "By minute",
        3_600..86_400 => "By whole hour",
        86_400 => "By whole day",
        _ => "By seven days",
    });
    page.mark("</summary>");
    page.table(&["UTC", "images", "rejected, 95 %", "p95", "spent"], &rows);
    page.mark("</details>\n");
}

/// The parts of the change, and what was expected.
pub(super) fn parts(page: &mut Html, found: &Findings) {
    let Some(change) = &found.drift.change else { return };
    let (before, after) = (&found.drift.before.first_reject, &found.drift.after.first_reject);
    let named = |words: &str, quiet: &str| Cell::of(words, quiet);
    let mut rows = vec![vec![
        named(if found.drift.before.baseline { "usual" } else { "before" }, &found.compared_with()),
        rate(before),
    ]];
    for part in &change.parts {
        let is_fixed = part.effect.low.total_cmp(&part.effect.high).is_eq();
        let quiet = if is_fixed { "no change".to_owned() } else { points_range(&part.effect) };
        rows.push(vec![
            named(&part.cause, note(&part.cause)),
            Cell::of(format!("{} points", points(part.effect.effect)), quiet),
        ]);
    }
    rows.push(vec![named("in this time", ""), rate(after)]);
    let total = &change.total;
    let whole = format!("{} points", points(total.effect));
    rows.push(vec![named("the whole change", ""), Cell::of(whole, points_range(total))]);
    let rest = [
        ("expected", "from who judged, alone", found.drift.expected),
        ("left over", "what that leaves", found.drift.left_over),
    ];
    for (name, quiet, effect) in rest {
        let Some(effect) = effect else { continue };
        let words = format!("{} points", points(effect.effect));
        rows.push(vec![named(name, quiet), Cell::of(words, points_range(&effect))]);
    }
    // the pictures say the same to who sees them
    page.mark("<div class=\"twin\">").table(&["part", "points, 95 %"], &rows).mark("</div>\n");
    if !change.input_separated {
        page.mark("<p class=\"note\">Too few verdicts of some judge to tell the images' part apart.</p>\n");
    }
    for told in unseen(&found.drift.judges, change.unseen_share) {
        page.mark("<p class=\"note\">").say(told).mark("</p>\n");
    }
}

/// What of a good part of the images is not known from the time they are compared with, in
/// sentences: their judges judged none then, or none under these lines and instructions.
fn unseen(judges: &[Compared], unseen_share: f64) -> Vec<String> {
    let is_new = |one: &&Compared| one.share_before.count == 0 && one.share_after.count != 0;
    let new: Vec<_> = judges.iter().filter(is_new).collect();
    let share: f64 = new.iter().filter_map(|one| one.share_after.share).sum();
    let names: Vec<_> = new.iter().map(|one| one.judge.as_str()).collect();
    let to_new = (MUCH < share).then(|| {
        format!(
            "{} of the images went to {}, which judged none in the time they are compared with.",
            percent(share),
            names.join(" and ")
        )
    });
    // the rest is of judges that are known
    let otherwise = unseen_share - share;
    let under_new = (MUCH < otherwise).then(|| {
        format!(
            "{} of the images were judged as none was in the time they are compared with: under \
             other lines or instructions, by a hedge, or at another risk.",
            percent(otherwise)
        )
    });
    to_new.into_iter().chain(under_new).collect()
}

fn note(cause: &str) -> &'static str {
    match cause {
        "input" => "other images",
        "routing" => "other judges",
        "policy" => "other questions",
        _ => "the judges themselves",
    }
}

/// Each detector's peak.
pub(super) fn evidence(page: &mut Html, found: &Findings) {
    let rows = found.drift.evidence.iter().map(|one| {
        let name = match (&one.judge, one.detector.as_str()) {
            (Some(judge), _) => judge.clone(),
            (None, "share") => "routing share".to_owned(),
            (None, other) => other.to_owned(),
        };
        let peak = one.ratio.iter().flatten().copied().fold(0.0_f64, f64::max);
        let words = match peak {
            peak if 1_000.0 < peak => "over 1,000".to_owned(),
            peak if 1.0 <= peak => format!("{peak:.1}"),
            peak if peak < 0.005 => "under 0.01".to_owned(),
            peak => format!("{peak:.2}"),
        };
        vec![Cell::of(name, ""), Cell::of(words, if 1.0 <= peak { "alarm" } else { "" })]
    });
    page.mark("<div class=\"twin\">");
    page.table(&["detector", "peak; the alarm is at 1"], &rows.collect::<Vec<_>>());
    page.mark("</div>\n");
}

/// The judges, the busiest first.
pub(super) fn judges(page: &mut Html, found: &Findings) {
    let row = |one: &Judge| {
        let usual = one.usual_share.map(|share| format!("usually {}", percent(share)));
        let served = one.served.share.map_or_else(Cell::none, |share| {
            let usual = usual.map(|usual| format!(", {usual}")).unwrap_or_default();
            Cell::of(percent(share), format!("{}{usual}", plural(one.served.count, "image")))
        });
        // of calls: a judge may be asked about images that it does not serve
        let thousand = per_thousand(one.cost_micro_usd, one.attempts.failed.n);
        vec![
            Cell::of(one.judge.clone(), ""),
            served.thin(one.served.n < FEW),
            rate(&one.reject),
            rate(&one.first_reject),
            latency(&one.answer_ms),
            rate(&one.attempts.failed),
            Cell::of(
                money(one.cost_micro_usd),
                thousand.map(|each| format!("{each} per 1,000 calls")).unwrap_or_default(),
            ),
        ]
    };
    let rows: Vec<_> = found.judges().into_iter().map(row).collect();
    if rows.is_empty() {
        page.mark("<p class=\"note\">No judge was asked in this time.</p>\n");
        return;
    }
    let heads = [
        "judge",
        "share of images",
        "rejected, 95 %",
        "would not pass alone, 95 %",
        "p50 \u{2013} p95",
        "failed calls, 95 %",
        "spent",
    ];
    page.mark("<div class=\"broad\">").table(&heads, &rows).mark("</div>\n");
    let total = &found.stats.total;
    let undecided: u64 =
        ["deadline", "no_judge"].iter().filter_map(|one| total.by_basis.get(*one)).sum();
    page.mark("<p class=\"note\">").say(if undecided == 0 {
        format!(
            "Every one of {} got its answer from a judge or a check in time.",
            plural(total.n, "image")
        )
    } else {
        format!("{} of {} had no judge in time.", count(undecided), plural(total.n, "verdict"))
    });
    let [pass, fail] = [total.pass, total.fail].map(count);
    page.say(format!(" {pass} passed, {fail} failed, {} went to a person.", count(total.review)));
    if total.borderline != 0 {
        page.say(format!(" {} stood close to a line.", count(total.borderline)));
    }
    if let Some(p99) = total.total_ms.p99 {
        page.say(format!(" One in a hundred answers took longer than {}.", seconds(p99)));
    }
    page.mark("</p>\n");
    for hedge in found.drift.hedges.iter().take(MOST_ROWS) {
        page.mark("<p class=\"note\">").say(&hedge.sentence).mark("</p>\n");
    }
}

/// What was flagged, by the checks and by the gate itself.
pub(super) fn flags(page: &mut Html, found: &Findings) {
    let n = found.stats.total.n;
    let mut flags: Vec<_> = found.stats.flags.iter().collect();
    if flags.is_empty() {
        return;
    }
    flags.sort_by(|a, b| b.n.cmp(&a.n).then_with(|| a.flag.cmp(&b.flag)));
    let row = |one: &&Flag| {
        vec![Cell::of(one.flag.clone(), ""), Cell::of(count(one.n), ""), rate(&tally(n, one.n))]
    };
    let rows: Vec<_> = flags.iter().take(MOST_ROWS).map(row).collect();
    section(
        page,
        "What was flagged",
        "by the checks, without a judge, and by the gate; an image may carry several",
    );
    page.table(&["flag", "images", "of all, 95 %"], &rows);
    left_out(page, flags.len());
    page.mark("</section>\n");
}

/// On what images failed: a row for each criterion, a column for each judge.
pub(super) fn criteria(page: &mut Html, found: &Findings) {
    let mut by_criterion: BTreeMap<&str, BTreeMap<&str, (u64, u64)>> = BTreeMap::new();
    for Criterion { judge, criterion, n, failed } in &found.stats.criteria {
        let of = by_criterion.entry(criterion).or_default().entry(judge).or_default();
        *of = (of.0 + n, of.1 + failed);
    }
    let judges: Vec<_> = found.judges().iter().map(|one| one.judge.as_str()).collect();
    let row = |(criterion, of): (&&str, &BTreeMap<&str, (u64, u64)>)| {
        let shares = judges.iter().map(|judge| {
            let (n, failed) = of.get(judge).copied().unwrap_or_default();
            rate(&tally(n, failed))
        });
        [Cell::of(*criterion, "")].into_iter().chain(shares).collect::<Vec<_>>()
    };
    let rows: Vec<_> = by_criterion.iter().take(MOST_ROWS).map(row).collect();
    if rows.is_empty() {
        return;
    }
    section(page, "On what images fail", "scores under the line, of all that a judge gave, 95 %");
    let heads: Vec<_> = ["criterion"].into_iter().chain(judges.iter().copied()).collect();
    page.mark("<div class=\"broad\">").table(&heads, &rows).mark("</div>\n");
    left_out(page, by_criterion.len());
    page.mark("</section>\n");
}

/// What people found, where anybody looked.
pub(super) fn people(page: &mut Html, found: &Findings) {
    let people = &found.drift.people;
    if people.judges.is_empty() {
        return;
    }
    section(page, "Against people's labels", PEOPLE_NOTE);
    let row = |one: &Looked| {
        vec![Cell::of(one.judge.clone(), ""), rate(&one.precision), rate(&one.recall)]
    };
    let rows: Vec<_> = people.judges.iter().map(row).collect();
    let heads = ["judge", "of its rejects, truly defective", "of the defects, rejected"];
    page.table(&heads, &rows);
    page.mark("<p class=\"note\">").say(plural(people.verdicts, "verdict"));
    page.mark(" answered by people.</p>\n</section>\n");
}

fn left_out(page: &mut Html, all: usize) {
    if MOST_ROWS < all {
        let more = u64::try_from(all - MOST_ROWS).unwrap_or(u64::MAX);
        page.mark("<p class=\"note\">").say(plural(more, "more row")).mark(" left out.</p>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_to_a_judge_of_old_was_told_as_one_to_a_judge_never_seen() {
        let one = |judge: &str, before, after| Compared {
            judge: judge.to_owned(),
            share_before: tally(12_000, before),
            share_after: tally(1_000, after),
        };
        // the one that is left alone now is not new either
        let left = one("openai-mini", 10_393, 0);
        let known = [one("claude-haiku", 1_607, 1_000), left];
        let none = Vec::<String>::new();
        assert_eq!(unseen(&known, 0.0), none);
        assert_eq!(unseen(&[one("openai-mini", 12_000, 900), one("new", 0, 100)], 0.1), none);
        let new = [one("openai-mini", 12_000, 500), one("new", 0, 500)];
        assert_eq!(
            unseen(&new, 0.5),
            ["50.0\u{a0}% of the images went to new, which judged none in the time they are \
              compared with."]
        );
    }

    #[test]
    fn what_was_judged_as_none_was_before_is_told_as_judges_that_judged_none_are() {
        let known = [Compared {
            judge: "openai-mini".to_owned(),
            share_before: tally(12_000, 12_000),
            share_after: tally(1_000, 1_000),
        }];
        assert_eq!(unseen(&known, 0.15), Vec::<String>::new());
        assert_eq!(
            unseen(&known, 0.6),
            ["60.0\u{a0}% of the images were judged as none was in the time they are compared \
              with: under other lines or instructions, by a hedge, or at another risk."]
        );
    }
}
