//! Calibration to what people said of images: gathering it, and the report.
//!
//! The same things keep an image out as between judges. What people took back is nothing, and one
//! image is a defect where anybody's latest word says so. One that came twice counts once, the last
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::calibrate::evidence::{Evidence, Judges, LeftOut};
use crate::cli::calibrate::report::{end, estimate_json, grouped, paste, points, rounded, yaml};
use crate::clock::Timestamp;
use crate::clock::dates::{day_of, show_date};
use crate::domain::policy::Offset;
use crate::domain::policy::offset::LABELS;
use crate::domain::{Digest, Policy, Route};
use crate::drift::interval::Estimate;
use crate::drift::labelled::{LabelFit, Looked, Stratum, Verdict, Wrong, fit_labels};
use crate::ledger::labelled::{Came, Kind, Labelled, Looks};

/// What people said of what each judge said.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    evidence: Evidence<'a>,
    judges: &'a Judges,
    by_judge: BTreeMap<String, Collected>,
    /// How many labelled images were read, where there are older ones that were not.
    only: Option<u64>,
}

/// What there is of one judge.
#[derive(Debug, Default)]
struct Collected {
    came: BTreeMap<Kind, u64>,
    /// Newest first.
    looked: Vec<(Kind, Uuid, Looked)>,
    left_out: BTreeMap<LeftOut, u64>,
    seen: BTreeSet<Digest>,
}

impl Collected {
    /// Takes in what there is of this record and image, or why there is nothing.
    fn take(&mut self, kind: Kind, (id, image): (Uuid, Digest), found: Result<Looked, LeftOut>) {
        match found {
            Ok(_) if !self.seen.insert(image) => self.leave_out(LeftOut::SeenAgain),
            Ok(looked) => self.looked.push((kind, id, looked)),
            Err(why) => self.leave_out(why),
        }
    }

    fn leave_out(&mut self, why: LeftOut) {
        *self.left_out.entry(why).or_default() += 1;
    }

    /// Its strata, in the order of [`Kind::ALL`].
    fn strata(&self) -> Vec<Stratum> {
        let stratum = |kind: Kind| Stratum {
            images: self.came.get(&kind).copied().unwrap_or_default(),
            looked: self.of(kind).rev().copied().collect(),
        };
        Kind::ALL.map(stratum).into()
    }

    fn of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Looked> {
        self.looked.iter().filter(move |(of, ..)| *of == kind).map(|(_, _, looked)| looked)
    }

    /// The same for the same images, labels, scores and counts, in whatever order they were read.
    fn digest(&self) -> Digest {
        let line = |(kind, id, one): &(Kind, Uuid, Looked)| {
            format!("{id} {} {} {}\n", kind.label(), one.is_defect, one.margin)
        };
        let mut lines: Vec<_> = self.looked.iter().map(line).collect();
        lines.extend(self.came.iter().map(|(kind, n)| format!("{} {n}\n", kind.label())));
        lines.sort_unstable();
        Digest::of(lines.concat().as_bytes())
    }
}

impl<'a> Labels<'a> {
    pub(super) fn new(policy: &'a Policy, judges: &'a Judges) -> Self {
        let evidence = Evidence::new(policy, "", judges, false);
        Self { evidence, judges, by_judge: BTreeMap::new(), only: None }
    }

    /// Gathers for this judge as well.
    pub(super) fn want(&mut self, judge: &str) {
        self.by_judge.entry(judge.to_owned()).or_default();
    }

    /// Takes in the images that people looked at.
    pub(super) fn take(&mut self, looks: &Looks) {
        let Looks { newest, read, is_all } = looks;
        self.only = (!is_all).then_some(*read);
        newest.iter().for_each(|one| self.take_one(one));
    }

    fn take_one(&mut self, labelled: &Labelled) {
        let Labelled { kind, is_defect, judgements: all } = labelled;
        for (judge, collected) in &mut self.by_judge {
            let Some(said) = self.evidence.said(judge, all) else { continue };
            // who was probed beside another's verdict is not among those that are counted
            let is_beside = |route: Route| route == Route::Probe && *judge != all.first;
            let said = said.and_then(|said| match self.evidence.margin(said) {
                _ if is_beside(said.route) => Err(LeftOut::OtherReason),
                None => Err(LeftOut::Unscored),
                Some(margin) => Ok(margin),
            });
            let looked = said.map(|margin| {
                let lot = all.image.lot();
                let rejects = self.evidence.policy().rejects(judge, margin, lot);
                Looked { is_defect: *is_defect, rejects, margin, lot }
            });
            collected.take(*kind, (all.id, all.image), looked);
        }
    }

    /// Counts images that came.
    pub(super) fn count(&mut self, came: &Came) {
        let Came { judge, judged_by, kind, n } = came;
        if let Some(collected) = self.by_judge.get_mut(judge)
            && self.judges.are_asked_so(judge, judged_by)
        {
            *collected.came.entry(*kind).or_default() += n;
        }
    }

    /// Fits every judge; fewer than `least` labels are too few.
    pub(super) fn report(self, window: (Timestamp, Timestamp), least: u64) -> LabelReport<'a> {
        let policy = self.evidence.policy();
        let fitted = |(name, collected): (String, Collected)| {
            let fit = fit_labels(&collected.strata(), least);
            let present = policy.route.offset_by_judge.get(&name);
            let entry = fit.as_ref().and_then(|fit| entry(fit, present));
            let entry = entry.map(|(add, at_line)| Offset {
                add,
                at_line,
                fitted: Some(day_of(window.1)),
                pairs: u32::try_from(collected.looked.len()).ok(),
                against: Some(LABELS.to_owned()),
                asked: Some(policy.asked),
            });
            Fitted { name, fit, present, entry, least, collected }
        };
        let judges = self.by_judge.into_iter().map(fitted).collect();
        LabelReport { policy, window, only: self.only, judges }
    }
}

/// What the policy should say of a judge from now on; nothing new where its offset is to be kept, with
/// what that rests on.
fn entry(fit: &LabelFit, present: Option<&Offset>) -> Option<(f64, f64)> {
    match fit.verdict {
        Verdict::Usable => Some(rounded(fit.offset)),
        Verdict::NoDifference => present.is_none().then_some((0.0, 0.0)),
        Verdict::TooFew | Verdict::TooUnsure => None,
    }
}

/// What was found of every judge.
#[derive(Debug)]
pub(super) struct LabelReport<'a> {
    policy: &'a Policy,
    window: (Timestamp, Timestamp),
    only: Option<u64>,
    judges: Vec<Fitted<'a>>,
}

/// What was found of one judge.
#[derive(Debug)]
struct Fitted<'a> {
    name: String,
    fit: Option<LabelFit>,
    present: Option<&'a Offset>,
    entry: Option<Offset>,
    least: u64,
    collected: Collected,
}

impl LabelReport<'_> {
    fn paste(&self) -> Option<String> {
        let fresh = self.judges.iter().filter_map(|one| {
            let entry = one.entry.as_ref()?;
            Some((one.name.as_str(), (entry, one.collected.digest())))
        });
        paste(self.policy, &fresh.collect())
    }

    /// One JSON object; shares and margins from 0 to 1.
    pub(super) fn json(&self) -> Value {
        let (since, until) = self.window;
        json!({
            "policy": self.policy.name,
            "revision": self.policy.revision.to_string(),
            "asked": self.policy.asked.to_string(),
            "against": LABELS,
            "since": since.to_string(),
            "until": until.to_string(),
            "older_unread": self.only.is_some(),
            "judges": self.judges.iter().map(Fitted::json).collect::<Vec<_>>(),
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
        let [since, until] = [self.window.0, self.window.1].map(|at| show_date(day_of(at)));
        let name = &self.policy.name;
        writeln!(text, "{name}: calibrated to people's labels, on images of {since} to {until}")?;
        if let Some(read) = self.only {
            let read = grouped(read);
            writeln!(
                text,
                "only the newest {read} labelled images were read; older ones weigh as if"
            )?;
            writeln!(text, "nobody had looked at them: a shorter --since leaves them out")?;
        }
        for judge in &self.judges {
            writeln!(text)?;
            judge.write(text)?;
        }
        end(text, self.paste())
    }
}

impl Fitted<'_> {
    /// What is missing, of which kind; everything where nobody looked at anything.
    fn missing(&self) -> Vec<(Option<Kind>, u64)> {
        let Some(fit) = &self.fit else { return vec![(None, self.least)] };
        let kind = |(place, n): &(Option<usize>, u64)| {
            (place.and_then(|place| Kind::ALL.get(place).copied()), *n)
        };
        fit.missing.iter().map(kind).collect()
    }

    fn word(&self) -> &'static str {
        match self.fit.as_ref().map(|fit| fit.verdict) {
            None | Some(Verdict::TooFew) => "too_few",
            Some(Verdict::Usable) => "usable",
            Some(Verdict::NoDifference) => "no_difference",
            Some(Verdict::TooUnsure) => "too_unsure",
        }
    }

    /// Whether the offset may be used, or why not, as the end of a line.
    fn verdict(&self) -> String {
        match self.fit.as_ref().map(|fit| fit.verdict) {
            None | Some(Verdict::TooFew) => {
                let missing = self.missing().into_iter().map(|(kind, n)| match kind {
                    None => format!("{} missing", grouped(n)),
                    Some(kind) => format!("{} missing of {}", grouped(n), kind.label()),
                });
                format!("too few: {}", missing.collect::<Vec<_>>().join(", "))
            }
            Some(Verdict::Usable) => "usable".to_owned(),
            Some(Verdict::NoDifference) if self.present.is_some() => {
                "rejects as many as people: keep its offset".to_owned()
            }
            Some(Verdict::NoDifference) => "rejects as many as people: nothing to add".to_owned(),
            Some(Verdict::TooUnsure) if !self.fit.as_ref().is_some_and(LabelFit::differs) => {
                "not yet: no difference shows, and one of more than a point may be there".to_owned()
            }
            Some(Verdict::TooUnsure) => {
                "not yet: what is left is too uncertain beside what is mended".to_owned()
            }
        }
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let labels = self.collected.looked.len() as u64;
        writeln!(text, "{}  {} labels  {}", self.name, grouped(labels), self.verdict())?;
        let mut line = |head: &str, rest: String| writeln!(text, "  {head:<12}{rest}");
        let kinds = Kind::ALL.into_iter().filter_map(|kind| {
            let came = self.collected.came.get(&kind).copied().unwrap_or_default();
            let looked = self.collected.of(kind).count() as u64;
            let told = format!("{} of {} {}", grouped(looked), grouped(came), kind.label());
            (came + looked != 0).then_some(told)
        });
        let kinds: Vec<_> = kinds.collect();
        if !kinds.is_empty() {
            line("looked at", kinds.join(", "))?;
        }
        if let Some(fit) = &self.fit {
            if 0.0 < fit.left_out {
                line(
                    "unseen",
                    format!("{} of images, which stand in no number here", percent(fit.left_out)),
                )?;
            }
            line("defective", share(fit.defects))?;
            line("rejects", share(fit.rejects))?;
            line("difference", points(fit.present, fit.present.interval()))?;
            line("wrong", wrong(fit.before))?;
        }
        if let Some(present) = self.present {
            line("offset now", format!("add {}, at_line {}", present.add, present.at_line))?;
        }
        if let Some(fit) = self.fit.as_ref().filter(|fit| shows_offset(fit)) {
            let (add, at_line) = rounded(fit.offset);
            let expected = 100.0 * fit.residual.interval().high;
            line("offset", format!("add {add}, at_line {at_line}"))?;
            line("then wrong", wrong(fit.after))?;
            line("left over", format!("0.0 points on these images, +-{expected:.1} on others"))?;
            let of_later = fit.held_out.map(|left| points(left, left.interval()));
            let tried = "fitted on the earlier half, measured on the later";
            line("", format!("{} {tried}", of_later.unwrap_or_default()))?;
        }
        for (place, (why, n)) in self.collected.left_out.iter().enumerate() {
            let head = if place == 0 { "left out" } else { "" };
            line(head, format!("{} {}", grouped(*n), why.told()))?;
        }
        if self.fit.is_some() {
            line("data", self.collected.digest().to_string())?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let kind = |kind: Kind| {
            json!({ "kind": kind.label(),
                "images": self.collected.came.get(&kind).copied().unwrap_or_default(),
                "labels": self.collected.of(kind).count(),
                "defects": self.collected.of(kind).filter(|one| one.is_defect).count() })
        };
        let missing = self.missing();
        let missing = missing.iter().filter(|_| self.word() == "too_few");
        let missing =
            missing.map(|(kind, n)| json!({ "kind": kind.map(Kind::label), "labels": n }));
        let left_out = self.collected.left_out.iter().map(|(why, n)| (why.label(), *n));
        let offset = |one: &Offset| json!({ "add": one.add, "at_line": one.at_line });
        json!({
            "judge": self.name,
            "labels": self.collected.looked.len(),
            "kinds": Kind::ALL.map(kind),
            "missing": missing.collect::<Vec<_>>(),
            "left_out": left_out.collect::<BTreeMap<_, _>>(),
            "verdict": self.word(),
            "usable": self.word() == "usable",
            "present_offset": self.present.map(offset),
            "fit": self.fit.as_ref().map(fit_json),
            "paste": self.entry.as_ref().map(yaml),
            "data": self.collected.digest().to_string(),
        })
    }
}

/// Whether there are labels enough, and difference enough, for an offset to be shown at all.
fn shows_offset(fit: &LabelFit) -> bool {
    match fit.verdict {
        Verdict::Usable | Verdict::TooUnsure => fit.differs(),
        Verdict::TooFew | Verdict::NoDifference => false,
    }
}

fn fit_json(fit: &LabelFit) -> Value {
    let (add, at_line) = rounded(fit.offset);
    let estimate = |one: Estimate| estimate_json(one, one.interval());
    let wrong =
        |one: Wrong| json!({ "missed": estimate(one.missed), "in_vain": estimate(one.in_vain) });
    json!({
        "defects": estimate(fit.defects),
        "judge_rejects": estimate(fit.rejects),
        "present": estimate(fit.present),
        "add": add,
        "at_line": at_line,
        "residual": estimate(fit.residual),
        "held_out": fit.held_out.map(estimate),
        "wrong_now": wrong(fit.before),
        "wrong_then": wrong(fit.after),
        "unseen": fit.left_out,
    })
}

fn wrong(of: Wrong) -> String {
    let Wrong { missed, in_vain } = of;
    format!("{} missed, {} rejected in vain", share(missed), share(in_vain))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A share of all images, 95 %.
fn share(of: Estimate) -> String {
    let interval = of.interval();
    let [rate, low, high] =
        [of.effect, interval.low.max(0.0), interval.high.min(1.0)].map(|one| one * 100.0);
    format!("{rate:.1} % ({low:.1} to {high:.1})")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::prompt::tests::policy;

    #[test]
    fn a_report_that_did_not_read_every_label_says_so() {
        let policy = policy();
        let window = (Timestamp(0), Timestamp(86_400_000_000));
        let told = |only| {
            let report = LabelReport { policy: &policy, window, only, judges: Vec::new() };
            (report.text(), report.json()["older_unread"].clone())
        };
        let (text, older_unread) = told(Some(10_000));
        assert!(text.contains("only the newest 10,000 labelled images were read;"), "{text}");
        assert_eq!(older_unread, json!(true));
        let (text, older_unread) = told(None);
        assert!(!text.contains("labelled images were read"), "{text}");
        assert_eq!(older_unread, json!(false));
    }

    #[test]
    fn an_image_that_came_again_counts_once_the_last_time() {
        let mut collected = Collected::default();
        let looked = |margin| Looked { is_defect: true, rejects: false, margin, lot: 0.5 };
        let mut take = |kind, id, image: &[u8], found| {
            collected.take(kind, (Uuid::from_u128(id), Digest::of(image)), found);
        };
        take(Kind::Pass, 3, b"mug", Err(LeftOut::Unscored));
        take(Kind::Pass, 2, b"mug", Ok(looked(0.1)));
        take(Kind::Fail, 1, b"mug", Ok(looked(-0.2)));
        take(Kind::Pass, 0, b"cup", Ok(looked(0.3)));
        let strata = collected.strata();
        let margins = |of: &Stratum| of.looked.iter().map(|one| one.margin).collect::<Vec<_>>();
        assert_eq!(strata.iter().flat_map(margins).collect::<Vec<_>>(), [0.3, 0.1]);
        assert_eq!(
            collected.left_out,
            BTreeMap::from([(LeftOut::Unscored, 1), (LeftOut::SeenAgain, 1)])
        );
    }
}
