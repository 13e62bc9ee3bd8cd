//! Known answers: every number of `tests/fixtures/drift` from its inputs alone.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use vlmgate::drift::adjusted::{Image, adjusted_rate};
use vlmgate::drift::agreement::{Square, agreement, pairs_needed};
use vlmgate::drift::decompose::{Cause, Cell, Counts, Part};
use vlmgate::drift::detector::{Detector, Table};
use vlmgate::drift::event::Label;
use vlmgate::drift::interval::{Estimate, Interval, Tally, jeffreys, newcombe, wilson};
use vlmgate::drift::label::{Window, marginal, read};
use vlmgate::drift::mix::expected_routing;
use vlmgate::drift::pairs::{Pairs, attribute_pairs};
use vlmgate::drift::shift::Story;
use vlmgate::drift::tables::{input_tables, judge_symbol, judge_tables, share_tables};
use vlmgate::drift::threshold::{isotonic, match_rejects};

/// What was compared, and the worst of it.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) values: usize,
    /// Largest error, relative to max(1, |expected|).
    pub(crate) worst: f64,
    pub(crate) worst_at: String,
}

impl Compared {
    fn number(&mut self, at: &str, got: f64, expected: &Value) {
        let expected = expected.as_f64().unwrap_or_else(|| panic!("{at}: {expected}"));
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(!error.is_nan(), "{at}: {got} against {expected}");
        self.values += 1;
        if error > self.worst {
            self.worst = error;
            self.worst_at = format!("{at}: {got} against {expected}");
        }
    }

    fn interval(&mut self, at: &str, got: Interval, expected: &Value) {
        self.number(at, got.low, &expected["lo"]);
        self.number(at, got.high, &expected["hi"]);
    }

    fn estimate(&mut self, at: &str, got: Estimate, expected: &Value) {
        self.number(at, got.effect, &expected["effect"]);
        self.number(at, got.se, &expected["se"]);
        if expected.get("lo").is_some() {
            self.interval(at, got.interval(), expected);
        }
    }
}

/// Compares everything.
pub(crate) fn compare_all() -> Compared {
    let mut compared = Compared::default();
    intervals(&mut compared);
    decompositions(&mut compared);
    routing(&mut compared);
    detectors(&mut compared);
    pairs(&mut compared);
    agreements(&mut compared);
    adjusted(&mut compared);
    thresholds(&mut compared);
    compared
}

#[test]
fn every_known_answer_is_met_to_a_billionth() {
    let compared = compare_all();
    assert!(compared.values > 1300, "only {} values", compared.values);
    assert!(compared.worst <= 1e-9, "{}", compared.worst_at);
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/drift/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Keys and values of an object.
fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().unwrap().iter()
}

fn tally(n: &Value, rejects: &Value) -> Tally {
    Tally { n: count(n), rejects: count(rejects) }
}

fn intervals(compared: &mut Compared) {
    let all = fixture("intervals");
    for one in list(&all["wilson"]) {
        compared.interval("wilson", wilson(tally(&one["n"], &one["r"])), one);
    }
    for one in list(&all["jeffreys"]) {
        compared.interval("jeffreys", jeffreys(tally(&one["n"], &one["r"])), one);
    }
    for one in list(&all["newcombe"]) {
        let (before, after) = (tally(&one["n0"], &one["r0"]), tally(&one["n1"], &one["r1"]));
        compared.interval("newcombe", newcombe(before, after), one);
    }
}

fn counts(cells: &Value) -> Counts {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cell = |one: &Value| {
        let bin = u8::try_from(count(&one["bin"])).unwrap();
        let cell = Cell { bin, judge: text(&one["judge"]), config: text(&one["config"]) };
        (cell, tally(&one["n"], &one["rejects"]))
    };
    list(cells).iter().map(cell).collect()
}

fn decompositions(compared: &mut Compared) {
    for case in list(&fixture("decomposition")["cases"]) {
        let at = case["name"].as_str().unwrap();
        let (before, after) = (counts(&case["baseline"]), counts(&case["current"]));
        let (then, now) = (marginal(&before), marginal(&after));
        let reading = read(
            Window { served: &before, evidence: &then },
            Window { served: &after, evidence: &now },
            1.0,
        )
        .unwrap();
        let (got, expected) = (&reading.decomposition, &case["decomposition"]);
        compared.estimate(at, got.total, &expected["total"]);
        compared.number(at, got.rate_before, &expected["rate0"]);
        compared.number(at, got.rate_after, &expected["rate1"]);
        compared.number(at, got.borrowed_share, &expected["borrowed_share"]);
        assert!(got.residual.abs() <= 1e-12, "{at}");
        let named = ["input", "routing", "policy", "within"];
        for (cause, name) in Cause::ALL.into_iter().zip(named) {
            part(compared, &format!("{at}/{name}"), got.part(cause), &expected[name]);
        }
        assert_eq!(reading.label().to_string(), case["label"].as_str().unwrap(), "{at}");
        let all: Vec<String> = reading.all.iter().map(Label::to_string).collect();
        assert_eq!(serde_json::json!(all), case["all"], "{at}");
        assert_eq!(reading.shifts.len(), case["shifts"].as_object().unwrap().len(), "{at}");
        for (judge, shift) in entries(&case["shifts"]) {
            let got = &reading.shifts[judge];
            compared.number(at, got.log_odds_ratio, &shift["logor"]);
            compared.number(at, got.variance, &shift["var"]);
            compared.number(at, got.before.rate(), &shift["rate0"]);
            compared.number(at, got.after.rate(), &shift["rate1"]);
            assert_eq!(got.before.n, count(&shift["n0"]));
            assert_eq!(got.after.n, count(&shift["n1"]));
        }
        story(compared, at, &reading.attribution, &case["attribution"]);
    }
}

fn part(compared: &mut Compared, at: &str, got: &Part, expected: &Value) {
    compared.estimate(at, got.whole, expected);
    assert_eq!(got.by.len(), expected["by"].as_object().unwrap().len(), "{at}");
    for (name, one) in entries(&expected["by"]) {
        compared.estimate(&format!("{at}/{name}"), got.by[name], one);
    }
}

fn story(
    compared: &mut Compared,
    at: &str,
    got: &vlmgate::drift::shift::Attribution,
    expected: &Value,
) {
    let (model, judge) = match &got.story {
        Story::Insufficient => ("insufficient", None),
        Story::None => ("none", None),
        Story::Common => ("common", None),
        Story::One(judge) => ("one", Some(judge.as_str())),
        Story::Separate => ("separate", None),
        Story::Unattributed => ("unattributed", None),
        Story::Ambiguous => ("ambiguous", None),
    };
    assert_eq!((Some(model), judge), (expected["model"].as_str(), expected["judge"].as_str()));
    compared.number(at, got.gap, &expected["gap"]);
    assert_eq!(got.bic.len(), expected["bic"].as_object().unwrap().len(), "{at}");
    for (name, bic) in entries(&expected["bic"]) {
        compared.number(at, got.bic[name], bic);
    }
}

fn routing(compared: &mut Compared) {
    for one in list(&fixture("expected_routing")) {
        let rate = |(judge, pair): (&String, &Value)| (judge.clone(), tally(&pair[0], &pair[1]));
        let share = |(judge, n): (&String, &Value)| (judge.clone(), count(n));
        let rates = entries(&one["ref_rate"]).map(rate).collect();
        let then = entries(&one["ref_share"]).map(share).collect();
        let now = entries(&one["cur_share"]).map(share).collect();
        let got = expected_routing(&rates, &then, &now).unwrap();
        compared.estimate("expected_routing", got, &one["out"]);
    }
}

/// Tallies or counts by bin, in the order of the bins.
fn by_bin<T>(bins: &Value, f: impl Fn(&Value) -> T) -> Vec<T> {
    let sorted: BTreeMap<u8, T> =
        entries(bins).map(|(bin, value)| (bin.parse().unwrap(), f(value))).collect();
    sorted.into_values().collect()
}

fn detectors(compared: &mut Compared) {
    let judge = fixture("mixsr_judge");
    let pair = |value: &Value| tally(&value[0], &value[1]);
    let tables = judge_tables(&by_bin(&judge["cells"], pair), &by_bin(&judge["marginal"], pair));
    let symbol = |bin: u64, reject: u64| judge_symbol(u8::try_from(bin).unwrap(), reject == 1);
    let named = |name: &str| {
        let (bin, reject) = name.split_once(',').unwrap();
        symbol(bin.parse().unwrap(), reject.parse().unwrap())
    };
    let event = |event: &Value| symbol(count(&event[1]), count(&event[2]));
    detector(compared, &judge, tables, &Symbols { named: &named, event: &event });

    let plain = |name: &str| name.parse().unwrap();
    let event = |event: &Value| usize::try_from(count(&event[1])).unwrap();
    let symbols = Symbols { named: &plain, event: &event };
    let input = fixture("mixsr_input");
    detector(compared, &input, input_tables(&by_bin(&input["counts"], count)), &symbols);
    let share = fixture("mixsr_share");
    let tables = share_tables(count(&share["n"]), count(&share["k"]));
    detector(compared, &share, tables, &symbols);
}

/// How a fixture writes its symbols.
struct Symbols<'a> {
    named: &'a dyn Fn(&str) -> usize,
    event: &'a dyn Fn(&Value) -> usize,
}

fn detector(compared: &mut Compared, fixture: &Value, tables: Vec<Table>, symbols: &Symbols<'_>) {
    assert_eq!(tables.len(), list(&fixture["tables"]).len());
    for (table, expected) in tables.iter().zip(list(&fixture["tables"])) {
        for (name, ratio) in entries(expected) {
            compared.number("tables", table.ratio((symbols.named)(name)), ratio);
        }
    }
    let out = &fixture["out"];
    let mut watched = Detector::new(tables, fixture["threshold_days"].as_f64().unwrap());
    let mut restarted: Option<Detector> = None;
    let mut checkpoints = list(&out["checkpoints"]).iter().peekable();
    for (i, event) in list(&fixture["events"]).iter().enumerate() {
        let (at_ms, symbol) = (event[0].as_i64().unwrap(), (symbols.event)(event));
        let evidence = watched.observe(at_ms, symbol);
        if let Some(restarted) = &mut restarted {
            restarted.observe(at_ms, symbol);
        }
        if let Some(point) = checkpoints.next_if(|point| point["i"] == i) {
            compared.number("checkpoint", evidence, &point["stat"]);
        }
        if i == 149 {
            state(compared, &watched, &out["state_after_150"]);
            // the process dies here: what was written is all there is
            let written = serde_json::to_string(&watched).unwrap();
            restarted = Some(serde_json::from_str(&written).unwrap());
        }
    }
    assert!(checkpoints.next().is_none());
    state(compared, &watched, &out["final"]);
    assert_eq!(restarted.as_ref(), Some(&watched), "a restart must not be seen in the state");
    let (alarm, expected) = (watched.alarm(), &out["alarm"]);
    assert_eq!(alarm.is_none(), expected.is_null());
    if let Some(alarm) = alarm {
        assert_eq!(Some(alarm.at_ms), expected["at"].as_i64());
        assert_eq!(Some(alarm.onset_ms), expected["onset"].as_i64());
        assert_eq!(alarm.n, count(&expected["n"]));
        assert_eq!(alarm.component as u64, count(&expected["component"]));
        compared.number("alarm", alarm.evidence, &expected["stat"]);
    }
}

fn state(compared: &mut Compared, watched: &Detector, expected: &Value) {
    for (k, component) in watched.components().iter().enumerate() {
        compared.number("R", component.evidence, &expected["R"][k]);
        compared.number("C", component.excess, &expected["C"][k]);
        assert_eq!(component.onset_ms, expected["t0"][k].as_i64());
    }
    assert_eq!(watched.seen(), (count(&expected["n"]), expected["last"].as_i64()));
}

fn pairs(compared: &mut Compared) {
    for case in list(&fixture("attribution_pairs")) {
        let of = |(judge, one): (&String, &Value)| {
            let [only_ours, only_other, n] = [0, 1, 2].map(|i| count(&one[i]));
            (judge.clone(), Pairs { only_ours, only_other, n })
        };
        let (before, after) = (
            entries(&case["pairs0"]).map(of).collect(),
            entries(&case["pairs1"]).map(of).collect(),
        );
        let got = attribute_pairs(&before, &after, case["delta"].as_f64().unwrap());
        let out = &case["out"];
        compared.number("pairs", got.log_ratio, &out["llr"]);
        assert_eq!(got.discordant, count(&out["discordant"]));
        assert_eq!(got.contrasts.len(), out["contrast"].as_object().unwrap().len());
        for (judge, expected) in entries(&out["contrast"]) {
            compared.number("pairs", got.contrasts[judge].moved, &expected["d"]);
            compared.number("pairs", got.contrasts[judge].se, &expected["se"]);
            compared.number("pairs", got.contrasts[judge].expected, &expected["expected"]);
        }
        let model = match (got.discordant, got.log_ratio > 0.0) {
            (0, _) => "insufficient",
            (_, true) => "one",
            (_, false) => "common",
        };
        assert_eq!(Some(model), out["model"].as_str());
    }
}

fn agreements(compared: &mut Compared) {
    let all = fixture("agreement");
    for table in list(&all["tables"]) {
        let [both, first_only, second_only, neither] =
            ["a", "b", "c", "d"].map(|cell| count(&table[cell]));
        let got = agreement(Square { both, first_only, second_only, neither }).unwrap();
        let (out, kappa) = (&table["out"], got.kappa.unwrap());
        let numbers = [
            ("po", got.observed),
            ("kappa", kappa.effect),
            ("kappa_se", kappa.se),
            ("ac1", got.ac1.effect),
            ("ac1_se", got.ac1.se),
            ("rate1", got.first_rate),
            ("rate2", got.second_rate),
            ("diff", got.difference.effect),
            ("diff_se", got.difference.se),
            ("diff_lo", got.difference.interval().low),
            ("diff_hi", got.difference.interval().high),
            ("mcnemar_exact", got.mcnemar_exact),
            ("mcnemar_midp", got.mcnemar_mid_p),
        ];
        assert_eq!(numbers.len() + 1, out.as_object().unwrap().len());
        assert_eq!(got.n, count(&out["n"]));
        for (name, number) in numbers {
            compared.number(name, number, &out[name]);
        }
    }
    for one in list(&all["pairs_needed"]) {
        let (psi, delta) = (one["psi"].as_f64().unwrap(), one["delta"].as_f64().unwrap());
        assert_eq!(pairs_needed(psi, delta), one["n"].as_u64());
    }
}

fn adjusted(compared: &mut Compared) {
    let all = fixture("adjusted_rate");
    let image = |row: &Value| {
        let reject = row[0].as_u64().map(|reject| reject == 1);
        match row[2].as_f64() {
            None => Image::Primary { reject: reject.unwrap() },
            Some(propensity) => Image::Elsewhere {
                expected: row[1].as_f64().unwrap(),
                propensity,
                backfilled: reject,
            },
        }
    };
    let images: Vec<Image> = list(&all["rows"]).iter().map(image).collect();
    let (got, out) = (adjusted_rate(&images).unwrap(), &all["out"]);
    compared.number("adjusted", got.effect, &out["rate"]);
    compared.number("adjusted", got.se, &out["se"]);
    compared.interval("adjusted", got.interval(), out);
    assert_eq!(images.len() as u64, count(&out["n"]));
}

fn thresholds(compared: &mut Compared) {
    let all = fixture("threshold");
    let scores: Vec<f64> = list(&all["scores"]).iter().map(|s| s.as_f64().unwrap()).collect();
    for one in list(&all["match"]) {
        let line = match_rejects(&scores, count(&one["target_rejects"])).unwrap();
        compared.number("match", line.at, &one["t"]);
        compared.number("match", line.share_at, &one["rho"]);
    }
    let rejects = list(&all["labels"]).iter().map(|label| count(label) == 1);
    let steps = isotonic(&scores.iter().copied().zip(rejects).collect::<Vec<_>>());
    assert_eq!(steps.len(), list(&all["isotonic"]).len());
    for (step, expected) in steps.iter().zip(list(&all["isotonic"])) {
        compared.interval("isotonic", Interval { low: step.low, high: step.high }, expected);
        compared.number("isotonic", step.value, &expected["value"]);
        assert_eq!(step.weight, count(&expected["weight"]));
    }
}
