//! A history is records that were never made: verdicts of days that were not, drawn from the law that
//! the providers answer by, in the form of the gate's own export.
//!
//! Every one is of an image of its own, which is a print of a picture that the gate gave a record of:
//! that record, with another moment, the image's own digest, another judge where the story says so, and
//! what that judge says of the image. So local measurements, digests of policy and judging, and prices
//! are the gate's, and what is live afterwards continues it.

use std::fs::File;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::Path;

use blake3::Hash;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::chance::Chance;
use crate::gallery::Gallery;
use crate::quantile::number;
use crate::rig::RigError;
use crate::story::law::CAST;
use crate::story::law::LAST_JUDGE;
use crate::story::law::Law;
use crate::story::law::Opinion;
use crate::story::law::PRIMARY;
use crate::story::law::SECONDARY;
use crate::story::stage::Survey;
use crate::story::words::moment;

/// The share of images that the primary does not answer on any day: enough that what the others serve
/// is known too.
const USUAL_FAILOVERS: f64 = 0.04;
/// Of those, the share that the secondary does not answer either.
const LAST: f64 = 0.25;

/// A stretch of time with its density.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    pub(crate) records: usize,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) stretches: Vec<Stretch>,
    /// When the primary answers nothing.
    pub(crate) outage: Option<(u64, u64)>,
    /// The share of images that the other judges judge too, nobody waiting for it.
    pub(crate) paired: f64,
    pub(crate) seed: u64,
}

/// What a history is made of.
pub(crate) struct History<'a> {
    pub(crate) survey: &'a Survey,
    pub(crate) gallery: &'a Gallery,
    pub(crate) law: &'a Law,
}

/// What became of a history.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drawn {
    pub(crate) records: usize,
    /// Images that two judges or more judged.
    pub(crate) paired: usize,
}

impl History<'_> {
    /// Draws it into a file, oldest first.
    pub(crate) fn write(&self, plan: &Plan, path: &Path) -> Result<Drawn, RigError> {
        let io = |why| RigError::io(path.display().to_string())(why);
        let mut file = BufWriter::new(File::create(path).map_err(io)?);
        let mut drawn = Drawn::default();
        for stretch in &plan.stretches {
            for n in 0..stretch.records {
                let chance = Chance::of(&[
                    b"history",
                    &plan.seed.to_le_bytes(),
                    &drawn.records.to_le_bytes(),
                ]);
                let at_ms = stretch.at(n, chance.unit("moment"));
                // the survey's own pictures come first
                let image = self.survey.records.len() + drawn.records;
                let record = self.record(plan, image, &chance, at_ms)?;
                drawn.records += 1;
                drawn.paired += usize::from(chance.unit("paired") < plan.paired);
                serde_json::to_writer(&mut file, &record).map_err(|why| io(why.into()))?;
                file.write_all(b"\n").map_err(io)?;
            }
        }
        file.flush().map_err(io)?;
        Ok(drawn)
    }

    fn record(
        &self,
        plan: &Plan,
        image: usize,
        chance: &Chance,
        at_ms: u64,
    ) -> Result<Value, RigError> {
        let digest = blake3::hash(&self.gallery.own(image).file());
        let is_out = plan.outage.is_some_and(|(from, to)| from <= at_ms && at_ms < to);
        let is_away = is_out || chance.unit("away") < USUAL_FAILOVERS;
        let is_last = !is_out && chance.unit("last") < LAST;
        let judge = match (is_away, is_last) {
            (false, _) => PRIMARY,
            (true, false) => SECONDARY,
            (true, true) => LAST_JUDGE,
        };
        let served = self.survey.served.get(judge).and_then(Value::as_object);
        let picture = self.survey.records.get(self.gallery.place(image)).and_then(Value::as_object);
        let (Some(served), Some(picture)) = (served, picture) else {
            return Err(RigError::Story(format!("the survey has no record of {judge}")));
        };
        let opinion = self.law.opinion(judge, &digest);
        let took = |judge: &str| took_ms(judge, chance);
        let mut attempts = Vec::new();
        for (failed, route) in CAST.iter().zip(["primary", "failover", "failover"]) {
            if failed.judge == judge {
                break;
            }
            attempts.push(attempt(served, failed.judge, (route, 3), None)?);
        }
        let route = if is_away { "failover" } else { "primary" };
        let started_ms = if is_away { 45 } else { 4 };
        let own = attempt(served, judge, (route, took(judge)), Some(&opinion))?;
        attempts.push(started(own, started_ms));
        if chance.unit("paired") < plan.paired {
            for other in CAST.into_iter().filter(|cast| cast.judge != judge) {
                let Some(from) = self.survey.served.get(other.judge) else { continue };
                let Some(from) = from.as_object() else { continue };
                let beside = ("shadow", took(other.judge));
                let opinion = self.law.opinion(other.judge, &digest);
                let beside = attempt(from, other.judge, beside, Some(&opinion))?;
                attempts.push(started(beside, started_ms + took(judge) + 20));
            }
        }
        let mut record = picture.clone();
        for key in ["judge", "judged_by"] {
            record.insert(key.to_owned(), served.get(key).cloned().unwrap_or_default());
        }
        let judge_ms = started_ms + took(judge);
        let facts = Facts { at_ms, route, judge_ms, opinion: &opinion, digest };
        facts.write(&mut record, chance);
        let cost = attempts.iter().filter_map(|one| one.get("cost_micro_usd")?.as_u64());
        record.insert("cost_micro_usd".to_owned(), json!(cost.sum::<u64>()));
        record.insert("attempts".to_owned(), Value::Array(attempts));
        Ok(Value::Object(record))
    }
}

/// What is a record's own.
struct Facts<'a> {
    at_ms: u64,
    route: &'a str,
    judge_ms: u64,
    opinion: &'a Opinion,
    digest: Hash,
}

impl Facts<'_> {
    fn write(&self, record: &mut Map<String, Value>, chance: &Chance) {
        let failed = self.opinion.failed();
        let verdict = verdict(self.opinion);
        let scores = self.opinion.scores.iter().map(|(criterion, score, line)| {
            let passed = line <= score;
            let reason =
                if passed { "nothing to fault" } else { "scored low, by its made-up quality" };
            let score = json!({ "score": score, "pass_at": line, "passed": passed,
                "reason": format!("simulated: {reason}") });
            (criterion.clone(), score)
        });
        let scores: Map<String, Value> = scores.collect();
        let digest = self.digest.to_hex();
        let mut set = |key: &str, value: Value| record.insert(key.to_owned(), value);
        set("id", json!(id(self.at_ms, chance)));
        set("at", json!(moment(self.at_ms)));
        set("seq", Value::Null);
        set("request_id", json!(chance.hex("request")));
        set("verdict", json!(verdict));
        set("first_verdict", json!(verdict));
        set("basis", json!("judge"));
        set("route", json!(self.route));
        set("failed", json!(failed));
        set("scores", Value::Object(scores));
        set("borderline", json!(false));
        set("would_be", Value::Null);
        set("complete", json!(true));
        set("recorded", json!(true));
        set("propensity", json!(1.0));
        let total_ms = number(usize::try_from(self.judge_ms).unwrap_or_default());
        if let Some(timing) = record.get_mut("timing_ms").and_then(Value::as_object_mut) {
            timing.insert("judge".to_owned(), json!(total_ms));
            timing.insert("total".to_owned(), json!(total_ms + 12.0));
            timing.insert("record".to_owned(), Value::Null);
        }
        if let Some(image) = record.get_mut("image").and_then(Value::as_object_mut) {
            image.insert("digest".to_owned(), json!(format!("b3:{digest}")));
        }
    }
}

impl Stretch {
    /// The moment of its `n`th record: in order, and not in step.
    fn at(&self, n: usize, share: f64) -> u64 {
        let width_ms = number(usize::try_from(self.to_ms - self.from_ms).unwrap_or_default());
        let after_ms = (number(n) + share) / number(self.records.max(1)) * width_ms;
        self.from_ms + whole(after_ms)
    }
}

fn verdict(opinion: &Opinion) -> &'static str {
    if opinion.is_reject() { "fail" } else { "pass" }
}

/// A call to `judge` as it stands in a record that this judge served; of one that failed, the
/// primary's.
fn attempt(
    served: &Map<String, Value>,
    judge: &str,
    (route, took_ms): (&str, u64),
    opinion: Option<&Opinion>,
) -> Result<Value, RigError> {
    let attempts = served.get("attempts").and_then(Value::as_array);
    let of_judge = |one: &&Value| one.get("judge").and_then(Value::as_str) == Some(judge);
    let found = attempts.and_then(|all| all.iter().rev().find(of_judge)).and_then(Value::as_object);
    let mut attempt = found
        .cloned()
        .ok_or_else(|| RigError::Story(format!("the survey has no call to {judge}")))?;
    let mut set = |key: &str, value: Value| attempt.insert(key.to_owned(), value);
    set("route", json!(route));
    set("took_ms", json!(took_ms));
    if let Some(opinion) = opinion {
        let scores =
            opinion.scores.iter().map(|(criterion, score, _)| (criterion.clone(), json!(score)));
        set("scores", Value::Object(scores.collect()));
        set("said", json!(verdict(opinion)));
        set("outcome", json!("judged"));
    }
    Ok(Value::Object(attempt))
}

fn started(mut attempt: Value, started_ms: u64) -> Value {
    if let Some(attempt) = attempt.as_object_mut() {
        attempt.insert("started_ms".to_owned(), json!(started_ms));
    }
    attempt
}

/// How long a judge took.
fn took_ms(judge: &str, chance: &Chance) -> u64 {
    let cast = CAST.into_iter().find(|cast| cast.judge == judge);
    let median_ms = cast.map_or(200, |cast| cast.median_ms);
    let median_ms = number(usize::try_from(median_ms).unwrap_or_default());
    whole(median_ms * (0.15 * chance.normal(&format!("took {judge}"))).exp())
}

/// A whole number of milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn whole(length: f64) -> u64 {
    length as u64
}

/// A version 7 UUID of that moment.
fn id(at_ms: u64, chance: &Chance) -> String {
    let hex = chance.hex("id");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let time = format!("{at_ms:012x}");
    let (high, low) = time.split_at(8);
    format!("{high}-{low}-7{}-8{}-{}", part(0, 3), part(3, 6), part(6, 18))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    use crate::gallery::Look;
    use crate::judging::expected_scores_by_digest;
    use crate::rig::direct::CRITERIA;
    use crate::story::law::Cast;

    #[test]
    fn an_id_tells_its_moment_and_no_two_are_alike() {
        let of = |n: u32| id(1_795_269_720_000, &Chance::of(&[&n.to_le_bytes()]));
        assert!(of(1).starts_with("01a1fe"), "{}", of(1));
        assert_eq!(of(1).len(), 36);
        assert_eq!(of(1).split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(of(1).split('-').nth(2).unwrap().starts_with('7'));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn the_records_of_a_stretch_are_in_order_and_inside() {
        let stretch = Stretch { from_ms: 1_000, to_ms: 11_000, records: 100 };
        let share = |n: u32| Chance::of(&[&n.to_le_bytes()]).unit("moment");
        let at: Vec<u64> = (0..100_u32).map(|n| stretch.at(n as usize, share(n))).collect();
        assert!(at.is_sorted(), "{at:?}");
        assert!(1_000 <= at[0] && at[99] < 11_000);
    }

    /// What a gate would have said of twelve pictures.
    fn survey() -> Survey {
        let call = |judge: &str| json!({ "judge": judge, "outcome": "overloaded" });
        let served = |cast: Cast| {
            let attempts: Vec<_> = CAST.iter().map(|cast| call(cast.judge)).collect();
            let record = json!({ "judge": { "name": cast.judge }, "judged_by": cast.judge,
                "attempts": attempts });
            (cast.judge.to_owned(), record)
        };
        Survey {
            records: vec![json!({ "pre": 0.5, "image": {} }); 12],
            served: CAST.into_iter().map(served).collect(),
        }
    }

    #[test]
    fn a_history_is_drawn_from_the_law_and_shows_its_outage() {
        let (survey, law) = (survey(), Law::usual());
        let look = Look { sides_px: [96; 3], blur_px: 0 };
        let gallery = Gallery::draw_as(4, 1, &look).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.ndjson");
        let stretches = vec![Stretch { from_ms: 0, to_ms: 1_000_000, records: 4_000 }];
        let plan = Plan { stretches, outage: Some((500_000, 600_000)), paired: 0.5, seed: 1 };
        let history = History { survey: &survey, gallery: &gallery, law: &law };
        let drawn = history.write(&plan, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let records: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), drawn.records);
        let shares = law.reject_shares();
        let is_out = |record: &&Value| {
            let at_ms = crate::story::words::moment_ms(record["at"].as_str().unwrap()).unwrap();
            (500_000..600_000).contains(&at_ms)
        };
        for record in records.iter().filter(is_out) {
            assert_eq!(record["judge"]["name"], SECONDARY, "{record}");
            assert_eq!(
                (&record["route"], &record["attempts"][0]["outcome"]),
                (&json!("failover"), &json!("overloaded"))
            );
        }
        let usual: Vec<_> = records.iter().filter(|one| one["route"] == "primary").collect();
        let rejects = usual.iter().filter(|one| one["verdict"] == "fail").count();
        let share = number(rejects) / number(usual.len());
        assert!((share - shares[PRIMARY]).abs() < 0.02, "{share} is not {}", shares[PRIMARY]);
        let digests: BTreeSet<_> =
            records.iter().filter_map(|one| one["image"]["digest"].as_str()).collect();
        assert_eq!(digests.len(), records.len(), "no image comes twice");
        let said = |record: &Value| {
            let (digest, judge) = (&record["image"]["digest"], &record["judge"]["name"]);
            let judging = law.judging(judge.as_str().unwrap());
            expected_scores_by_digest(digest.as_str().unwrap(), &CRITERIA, &judging).unwrap()
        };
        for record in &records {
            for (criterion, score) in said(record) {
                assert_eq!(record["scores"][&criterion]["score"], json!(score), "{record}");
            }
        }
        let shadows = |record: &&Value| {
            record["attempts"].as_array().unwrap().iter().any(|one| one["route"] == "shadow")
        };
        assert_eq!(records.iter().filter(shadows).count(), drawn.paired);
        assert!((1_800..2_200).contains(&drawn.paired), "{}", drawn.paired);
    }
}
