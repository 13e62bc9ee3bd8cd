//! The report of a calibration: a block for each judge, and what to paste.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::calibrate::evidence::{Collected, LeftOut, MOST_PAIRS};
use crate::clock::Timestamp;
use crate::clock::dates::{day_of, show_date};
use crate::domain::policy::Offset;
use crate::domain::policy::offset::stepped;
use crate::domain::{Digest, Policy};
use crate::drift::fit::{Fit, Verdict, fit};
use crate::drift::interval::{Estimate, Interval, Tally, newcombe, wilson};
use crate::drift::threshold::Offset as Fitted;

/// Pairs from which agreement is worth a number.
const ENOUGH_PAIRS: u64 = 200;
const DAY: Duration = Duration::from_secs(86_400);

/// What was found of every judge.
#[derive(Debug)]
pub(super) struct Report<'a> {
    policy: &'a Policy,
    primary: &'a str,
    since: Timestamp,
    until: Timestamp,
    judges: Vec<Judged<'a>>,
}

/// What was found of one judge.
#[derive(Debug)]
struct Judged<'a> {
    name: String,
    fit: Option<Fit>,
    sources: BTreeMap<String, u64>,
    left_out: BTreeMap<LeftOut, u64>,
    /// Fewest pairs that suffice.
    least: u64,
    /// Pairs a day: of the last day, else the mean of the last week.
    a_day: u64,
    data: Digest,
    present: Option<&'a Offset>,
    /// What the policy should say of it; `None`: nothing new.
    entry: Option<Offset>,
}

impl<'a> Report<'a> {
    /// Fits every judge of `by_judge`.
    pub(super) fn of(
        policy: &'a Policy,
        primary: &'a str,
        (since, until): (Timestamp, Timestamp),
        least: u64,
        by_judge: BTreeMap<String, Collected>,
    ) -> Self {
        let judged = |(name, collected): (String, Collected)| {
            let fit = fit(&collected.in_time(), least);
            let present = policy.route.offset_by_judge.get(&name);
            let entry = fit.as_ref().and_then(|fit| entry(fit, present));
            let entry = entry.map(|(add, at_line)| Offset {
                add,
                at_line,
                fitted: Some(day_of(until)),
                pairs: u32::try_from(collected.pairs.len()).ok(),
                against: Some(primary.to_owned()),
                asked: Some(policy.asked),
            });
            let (data, a_day) = (collected.digest(), a_day(&collected, until));
            let Collected { sources, left_out, .. } = collected;
            Judged { name, fit, sources, left_out, least, a_day, data, present, entry }
        };
        let judges = by_judge.into_iter().map(judged).collect();
        Self { policy, primary, since, until, judges }
    }

    /// One JSON object; shares and margins from 0 to 1.
    pub(super) fn json(&self) -> Value {
        json!({
            "policy": self.policy.name,
            "revision": self.policy.revision.to_string(),
            "asked": self.policy.asked.to_string(),
            "against": self.primary,
            "since": self.since.to_string(),
            "until": self.until.to_string(),
            "judges": self.judges.iter().map(Judged::json).collect::<Vec<_>>(),
            "paste": self.paste(),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // writing to a String cannot fail
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let Self { policy, primary, since, until, .. } = self;
        let (since, until) = (show_date(day_of(*since)), show_date(day_of(*until)));
        writeln!(
            text,
            "{}: calibrated to {primary}, on images of {since} to {until}",
            policy.name
        )?;
        for judge in &self.judges {
            writeln!(text)?;
            judge.write(text, primary)?;
        }
        if self.judges.is_empty() {
            return writeln!(text, "nobody but {primary} is asked: there is nothing to calibrate");
        }
        end(text, self.paste())
    }

    /// The part of the policy file, with what stays as it is; `None` where nothing is new.
    fn paste(&self) -> Option<String> {
        let fresh = self.judges.iter();
        let fresh =
            fresh.filter_map(|one| Some((one.name.as_str(), (one.entry.as_ref()?, one.data))));
        paste(self.policy, &fresh.collect())
    }
}

/// Ends what is said to people with what to paste.
pub(super) fn end(text: &mut String, paste: Option<String>) -> fmt::Result {
    match paste {
        Some(paste) => write!(text, "\nPaste into the policy:\n\n{paste}"),
        None => writeln!(text, "\nNothing to paste."),
    }
}

/// The part of the policy file that says these offsets, each with the digest of what it rests on;
/// what is there stays. `None` where nothing is new.
pub(super) fn paste(policy: &Policy, fresh: &BTreeMap<&str, (&Offset, Digest)>) -> Option<String> {
    if fresh.is_empty() {
        return None;
    }
    let stays = &policy.route.offset_by_judge;
    let mut entries: BTreeMap<&str, String> =
        stays.iter().map(|(name, offset)| (name.as_str(), yaml(offset))).collect();
    let mut text = "route:\n  offset_by_judge:\n".to_owned();
    for (name, (offset, data)) in fresh {
        entries.insert(name, yaml(offset));
        text.push_str(&format!("    # {name}: data {data}\n"));
    }
    for (name, entry) in entries {
        // a digest fills a line of its own
        let entry = entry.replace(", asked:", ",\n      asked:");
        text.push_str(&format!("    {name}: {entry}\n"));
    }
    Some(text)
}

/// What the policy should say of a judge from now on: the new offset, or the old one looked at again.
fn entry(fit: &Fit, present: Option<&Offset>) -> Option<(f64, f64)> {
    match fit.verdict {
        Verdict::Usable => Some(rounded(fit.offset)),
        Verdict::NoDifference => Some(present.map_or((0.0, 0.0), |one| (one.add, one.at_line))),
        Verdict::TooFew(_) | Verdict::TooUnsure => None,
    }
}

/// The offset as it is pasted: a ten-thousandth of those on the line is nobody's concern.
pub(super) fn rounded(fitted: Fitted) -> (f64, f64) {
    (stepped(fitted.add), (fitted.at_line * 1e4).round() / 1e4)
}

pub(super) fn yaml(offset: &Offset) -> String {
    let Offset { add, at_line, fitted, pairs, against, asked } = offset;
    let mut text = format!("{{ add: {add}, at_line: {at_line}");
    // writing to a String cannot fail
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, ", {key}: {value}");
        }
    };
    put("fitted", fitted.map(show_date));
    put("pairs", pairs.map(|pairs| pairs.to_string()));
    put("against", against.clone());
    put("asked", asked.map(|asked| format!("\"{asked}\"")));
    text.push_str(" }");
    text
}

fn a_day(collected: &Collected, until: Timestamp) -> u64 {
    let within = |span: Duration| {
        let from = until.before(span);
        collected.pairs.iter().filter(|one| from <= one.at).count() as u64
    };
    match within(DAY) {
        0 => within(7 * DAY).div_ceil(7),
        today => today,
    }
}

impl Judged<'_> {
    fn pairs(&self) -> u64 {
        self.fit.as_ref().map_or(0, |fit| fit.primary.n)
    }

    fn missing(&self) -> u64 {
        match self.fit.as_ref().map(|fit| fit.verdict) {
            None => self.least,
            Some(Verdict::TooFew(missing)) => missing,
            Some(Verdict::Usable | Verdict::NoDifference | Verdict::TooUnsure) => 0,
        }
    }

    fn word(&self) -> &'static str {
        match self.fit.as_ref().map(|fit| fit.verdict) {
            None | Some(Verdict::TooFew(_)) => "too_few",
            Some(Verdict::Usable) => "usable",
            Some(Verdict::NoDifference) => "no_difference",
            Some(Verdict::TooUnsure) => "too_unsure",
        }
    }

    /// Whether the offset may be used, or why not, as the end of a line.
    fn verdict(&self) -> String {
        match self.fit.as_ref().map(|fit| fit.verdict) {
            None | Some(Verdict::TooFew(_)) => {
                let missing = self.missing();
                let when = match self.a_day {
                    0 => "and none come in: turn on shadow judging".to_owned(),
                    a_day => {
                        let days = missing.div_ceil(a_day);
                        let plural = if days == 1 { "" } else { "s" };
                        format!("{days} more day{plural} at {} a day", grouped(a_day))
                    }
                };
                format!("too few: {} missing, {when}", grouped(missing))
            }
            Some(Verdict::Usable) => "usable".to_owned(),
            Some(Verdict::NoDifference) if self.present.is_some() => {
                "rejects alike: keep its offset".to_owned()
            }
            Some(Verdict::NoDifference) => "rejects alike: nothing to add".to_owned(),
            Some(Verdict::TooUnsure) => {
                "not yet: what is left is too uncertain beside what is mended".to_owned()
            }
        }
    }

    fn write(&self, text: &mut String, primary: &str) -> fmt::Result {
        let Self { name, fit, .. } = self;
        writeln!(text, "{name}  {} pairs  {}", grouped(self.pairs()), self.verdict())?;
        let mut line = |head: &str, rest: String| writeln!(text, "  {head:<12}{rest}");
        if self.pairs() == MOST_PAIRS as u64 {
            line("looked at", "the newest, and no further back".to_owned())?;
        }
        if !self.sources.is_empty() {
            let sources = self.sources.iter().map(|(why, n)| format!("{} by {why}", grouped(*n)));
            line("judged", sources.collect::<Vec<_>>().join(", "))?;
        }
        if let Some(fit) = fit {
            let rates = (share(fit.judge), share(fit.primary));
            line("rejects", format!("{}; {primary} {}", rates.0, rates.1))?;
            line("difference", points(fit.present, fit.agreement.difference_interval()))?;
            line("agreement", agreement(fit))?;
        }
        if let Some(present) = self.present {
            line("offset now", format!("add {}, at_line {}", present.add, present.at_line))?;
        }
        if let Some(fit) = fit.as_ref().filter(|fit| shows_offset(fit)) {
            let (add, at_line) = rounded(fit.offset);
            line("offset", format!("add {add}, at_line {at_line}"))?;
            let expected = 100.0 * left_over(fit.residual, fit.primary.n).high;
            let of_later = |one| points(one, left_over(one, fit.primary.n.div_ceil(2)));
            let measured = fit.held_out.map(of_later).unwrap_or_default();
            let tried = "fitted on the earlier half, measured on the later";
            line(
                "left over",
                format!("0.0 points in these pairs, +-{expected:.1} on other images"),
            )?;
            line("", format!("{measured} {tried}"))?;
        }
        for (place, (why, n)) in self.left_out.iter().enumerate() {
            let head = if place == 0 { "left out" } else { "" };
            line(head, format!("{} {}", grouped(*n), why.told()))?;
        }
        if fit.is_some() {
            line("data", self.data.to_string())?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let left_out = self.left_out.iter().map(|(why, n)| (why.label(), *n));
        let offset = |one: &Offset| json!({ "add": one.add, "at_line": one.at_line });
        json!({
            "judge": self.name,
            "pairs": self.pairs(),
            "missing": self.missing(),
            "pairs_a_day": self.a_day,
            "sources": self.sources,
            "left_out": left_out.collect::<BTreeMap<_, _>>(),
            "verdict": self.word(),
            "usable": self.word() == "usable",
            "present_offset": self.present.map(offset),
            "fit": self.fit.as_ref().map(fit_json),
            "paste": self.entry.as_ref().map(yaml),
            "data": self.data.to_string(),
        })
    }
}

/// Whether there are images enough for an offset to be shown at all.
fn shows_offset(fit: &Fit) -> bool {
    match fit.verdict {
        Verdict::Usable | Verdict::TooUnsure => true,
        Verdict::TooFew(_) => ENOUGH_PAIRS <= fit.primary.n,
        Verdict::NoDifference => false,
    }
}

fn fit_json(fit: &Fit) -> Value {
    let (add, at_line) = rounded(fit.offset);
    let (agreement, n) = (&fit.agreement, fit.primary.n);
    json!({
        "judge_rejects": share_json(fit.judge),
        "primary_rejects": share_json(fit.primary),
        "present": estimate_json(fit.present, agreement.difference_interval()),
        "add": add,
        "at_line": at_line,
        "residual": estimate_json(fit.residual, left_over(fit.residual, n)),
        "held_out": fit.held_out.map(|one| estimate_json(one, left_over(one, n.div_ceil(2)))),
        "agreement": {
            "observed": agreement.observed,
            "ac1": estimate_json(agreement.ac1, agreement.ac1.interval()),
            "kappa": agreement.kappa.map(|one| estimate_json(one, one.interval())),
            "mcnemar_p": agreement.mcnemar_exact,
        },
    })
}

fn share_json(tally: Tally) -> Value {
    let interval = wilson(tally);
    json!({ "n": tally.n, "rejects": tally.rejects, "share": tally.rate(), "low": interval.low,
        "high": interval.high })
}

pub(super) fn estimate_json(estimate: Estimate, interval: Interval) -> Value {
    json!({ "effect": estimate.effect, "se": estimate.se, "low": interval.low,
        "high": interval.high })
}

fn share(tally: Tally) -> String {
    let interval = wilson(tally);
    let [rate, low, high] = [tally.rate(), interval.low, interval.high].map(|one| one * 100.0);
    format!("{rate:.1} % ({low:.1} to {high:.1})")
}

/// The interval of what an offset leaves on `n` images. Where it leaves no image on which the judges
/// differ, other images may still bring one: then Newcombe's, of none among as many.
fn left_over(left: Estimate, n: u64) -> Interval {
    let none = Tally { n, rejects: 0 };
    if left.se <= 0.0 { newcombe(none, none) } else { left.interval() }
}

pub(super) fn points(estimate: Estimate, interval: Interval) -> String {
    let [effect, low, high] =
        [estimate.effect, interval.low, interval.high].map(|one| signed(one * 100.0));
    format!("{effect} points ({low} to {high})")
}

/// With its sign, and no sign on nothing.
fn signed(number: f64) -> String {
    let text = format!("{number:+.1}");
    if text == "-0.0" || text == "+0.0" { "0.0".to_owned() } else { text }
}

fn agreement(fit: &Fit) -> String {
    if fit.primary.n < ENOUGH_PAIRS {
        return format!("not told of fewer than {ENOUGH_PAIRS} pairs");
    }
    let of = |name: &str, one: Estimate| {
        let interval = one.interval();
        let high = interval.high.min(1.0);
        format!("{name} {:.2} ({:.2} to {high:.2})", one.effect, interval.low)
    };
    let kappa = fit.agreement.kappa.map(|kappa| format!(", {}", of("kappa", kappa)));
    let p = fit.agreement.mcnemar_exact;
    let p = if p < 1e-4 { "under 0.0001".to_owned() } else { format!("{p:.4}") };
    let ac1 = of("AC1", fit.agreement.ac1);
    format!("{ac1}{}, McNemar's p {p}", kappa.unwrap_or_default())
}

/// A count with its thousands set apart.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place != 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0, 7, 999, 1_000, 8_120, 1_234_567].map(grouped).join(" "),
            "0 7 999 1,000 8,120 1,234,567"
        );
        assert_eq!([-0.04, 0.04, 3.12, -3.16].map(signed).join(" "), "0.0 0.0 +3.1 -3.2");
    }
}
