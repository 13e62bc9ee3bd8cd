//! The scorecard of the statistics: every promise beside what was measured for it, on streams whose
//! truth is known.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts of made-up worlds are small"
)]

use std::collections::BTreeMap;

use vlmgate::clock::Stopwatch;
use vlmgate::drift::adjusted::{Image, Model, adjusted_rate};
use vlmgate::drift::decompose::{Cause, Cell, Counts, decompose};
use vlmgate::drift::detector::{Component, Detector, Table};
use vlmgate::drift::interval::{Estimate, Tally, Z95};
use vlmgate::drift::monitor::{Monitor, Settings};

use crate::drift::promise::{Promise, row};
use crate::drift::runs::{Run, play};
use crate::drift::vectors::compare_all;
use crate::drift::worlds::{Chance, Scenario, World, line};

/// How much is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Streams a scenario.
    pub(crate) streams: u64,
    /// Streams a scenario of the small worlds.
    pub(crate) small_streams: u64,
    /// Quiet streams of thirty monitored days.
    pub(crate) quiet_streams: u64,
    /// Renewals of the quiet detector.
    pub(crate) renewals: u64,
}

/// Prints the scorecard, or one row of it; what every promise was, and what was measured. Whether all
/// that was measured is met: a number that no row has measures nothing, and is not.
pub(crate) fn scorecard(effort: Effort, only: Option<&str>) -> bool {
    println!("| # | what | must | measured | |");
    println!("| --- | --- | --- | --- | --- |");
    let asked = |numbers: &[&str]| only.is_none_or(|only| numbers.contains(&only));
    let changes = ["4", "5", "6", "7", "8", "9a", "9b", "10", "11"];
    let rows: [(&[&str], &dyn Fn() -> bool); 10] = [
        (&["1"], &known_answers),
        (&["2"], &residual),
        (&["3"], &coverage),
        (&changes, &|| scenarios(effort, &asked)),
        (&["12"], &|| quiet(effort)),
        (&["13"], &|| detector(effort)),
        (&["14"], &|| small_worlds(effort)),
        (&["15"], &kills),
        (&["16"], &cost),
        (&["17"], &adjusted),
    ];
    let measured = rows.iter().filter(|(numbers, _)| asked(numbers));
    let met: Vec<bool> = measured.map(|(_, measure)| measure()).collect();
    !met.is_empty() && met.iter().all(|met| *met)
}

fn known_answers() -> bool {
    let compared = compare_all();
    let measured = format!("{:.1e} at worst over {} values", compared.worst, compared.values);
    row("1", "known answers", "1e-9 of max(1, value)", &measured, compared.worst <= 1e-9)
}

fn residual() -> bool {
    let mut chance = Chance::new(2);
    let mut worst: f64 = 0.0;
    for _ in 0..2000 {
        let mut any = || {
            let mut counts = Counts::new();
            for _ in 0..=chance.below(40) {
                let [bin, judge, config] = [5, 4, 3].map(|n| chance.below(n));
                let cell = Cell {
                    bin: bin as u8,
                    judge: format!("j{judge}"),
                    config: format!("{config}"),
                };
                let n = 1 + chance.below(20_000) as u64;
                let rejects = chance.below(n as usize + 1) as u64;
                *counts.entry(cell).or_default() += Tally { n, rejects };
            }
            counts
        };
        let (before, after) = (any(), any());
        worst = worst.max(decompose(&before, &after, 1.0).unwrap().residual.abs());
    }
    let measured = format!("{worst:.1e} over 2000 draws");
    row("2", "residual of the decomposition", "1e-12", &measured, worst <= 1e-12)
}

/// Rates by judge and bin, shares of the bins and of the judges.
struct Law {
    bins: [f64; 5],
    judges: [f64; 2],
    rates: [[f64; 5]; 2],
}

impl Law {
    fn cells(&self) -> impl Iterator<Item = (Cell, f64, f64)> {
        (0..5).flat_map(move |bin| {
            (0..2).map(move |judge| {
                let name = ["A", "B"][judge].to_owned();
                let cell = Cell { bin: bin as u8, judge: name, config: "v1".to_owned() };
                (cell, self.bins[bin] * self.judges[judge], self.rates[judge][bin])
            })
        })
    }

    fn exact(&self) -> Counts {
        let many = 1e9;
        let counted = |(cell, share, rate): (Cell, f64, f64)| {
            let n = (many * share).round();
            (cell, Tally { n: n as u64, rejects: (n * rate).round() as u64 })
        };
        self.cells().map(counted).collect()
    }

    fn draw(&self, n: usize, chance: &mut Chance) -> Counts {
        let cells: Vec<_> = self.cells().collect();
        let mut counts = Counts::new();
        for _ in 0..n {
            let mut at = chance.share();
            let hit = cells.iter().find(|(_, share, _)| {
                at -= share;
                at < 0.0
            });
            let (cell, _, rate) = hit.unwrap_or(&cells[0]);
            counts.entry(cell.clone()).or_default().count(chance.share() < *rate);
        }
        counts
    }
}

fn coverage() -> bool {
    let rates = [[0.02, 0.04, 0.07, 0.10, 0.17], [0.035, 0.06, 0.10, 0.14, 0.215]];
    let before = Law { bins: [0.2; 5], judges: [0.97, 0.03], rates };
    let worse = [rates[0].map(|rate| rate * 1.25), rates[1]];
    let after = Law { bins: [0.15, 0.18, 0.2, 0.22, 0.25], judges: [0.6, 0.4], rates: worse };
    let truth = decompose(&before.exact(), &after.exact(), 1.0).unwrap();
    let mut chance = Chance::new(3);
    let mut covered: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..200 {
        let got =
            decompose(&before.draw(20_000, &mut chance), &after.draw(2_000, &mut chance), 1.0)
                .unwrap();
        let mut see = |name, got: Estimate, truth: Estimate| {
            let interval = got.interval();
            let holds = interval.low <= truth.effect && truth.effect <= interval.high;
            *covered.entry(name).or_default() += u32::from(holds);
        };
        see("total", got.total, truth.total);
        let named =
            [("input", Cause::Input), ("routing", Cause::Routing), ("within", Cause::Within)];
        for (name, cause) in named {
            see(name, got.part(cause).whole, truth.part(cause).whole);
        }
    }
    let share = |n: &u32| f64::from(*n) / 200.0;
    let shown: Vec<String> =
        covered.iter().map(|(name, n)| format!("{name} {:.3}", share(n))).collect();
    let met = covered.values().all(|n| 0.91 <= share(n) && share(n) <= 0.985);
    row("3", "coverage of the 95 % intervals", "0.91 to 0.985", &shown.join(", "), met)
}

fn scenarios(effort: Effort, asked: &dyn Fn(&[&str]) -> bool) -> bool {
    let always = |right| (1.0, right);
    let routing = "routing, 40 % of the mix";
    let mut all = vec![
        Promise::of("4", routing, Scenario::Routing, always(0.98)),
        Promise::of("5", "six-minute outage, 100k a day", Scenario::Outage, always(0.98)),
        Promise::of("6", "the primary rejects +5 points", Scenario::Regression, always(0.90)),
        Promise::of("7", "the primary rejects +3 points", Scenario::Regression, (0.0, 0.80)),
        Promise::of("8", "a standby rejects +10", Scenario::SecondaryRegression, (0.90, 0.90)),
        Promise::of("9a", "worse images, measured", Scenario::InputDrift, (0.0, 0.90)),
        Promise::of("9b", "worse images, hidden", Scenario::HiddenInputDrift, (0.0, 0.85)),
        Promise::of("10", "policy change", Scenario::PolicyChange, (0.0, 0.95)),
        Promise::of("11", "slow ramp, 8 points in a day", Scenario::SlowRamp, always(0.80)),
    ];
    let mut all_met = true;
    for must in all.iter_mut().filter(|must| asked(&[must.number])) {
        match must.number {
            "4" => must.label_min = Some(10.0),
            "5" => (must.label_min, must.blames_nobody) = (Some(2.0), true),
            "6" => (must.alarm_min, must.label_min) = (Some(150.0), Some(90.0)),
            "7" => must.world.shift = 0.03,
            "10" => must.tells_once = true,
            _ => {}
        }
        let run = |seed| play(must.world, 40_000 + seed, Settings::default());
        let runs: Vec<Run> = (0..effort.streams).map(run).collect();
        all_met &= must.judge(&runs);
    }
    all_met
}

fn quiet(effort: Effort) -> bool {
    let (mut days, mut events) = (0.0, 0);
    for (scenario, streams) in
        [(Scenario::Quiet, effort.quiet_streams), (Scenario::DiurnalMix, effort.quiet_streams / 2)]
    {
        for seed in 0..streams {
            let per_day = if seed % 2 == 0 { 2_000.0 } else { 10_000.0 };
            let (baseline_days, onset_day) = (7.0, 37.0);
            let world =
                World { per_day, baseline_days, onset_day, days: 37.0, ..World::of(scenario) };
            let mut monitor = Monitor::new(Settings::default(), world.baseline_until_ms());
            for judged in &world.draw(50_000 + seed).verdicts {
                let told = monitor.observe(judged).len();
                if told > 0 {
                    events += told;
                    monitor.acknowledge();
                }
            }
            days += 30.0;
        }
    }
    let rate = 30.0 * events as f64 / days;
    let measured = format!("{events} in {days:.0} days, {rate:.2} per 30 days");
    row(
        "12",
        "quiet, and a mix that follows the day",
        "0.5 events per 30 days",
        &measured,
        rate <= 0.5,
    )
}

/// Two-sided tables about a known rate, without a band.
fn plain_tables(rate: f64) -> Vec<Table> {
    let log_odds = (rate / (1.0 - rate)).ln();
    let odds: [f64; 5] = [1.15, 1.35, 1.7, 2.5, 5.0];
    let table = |step: f64| {
        let other = 1.0 / (1.0 + (-(log_odds + step)).exp());
        Table::of(&[(1.0 - other) / (1.0 - rate), other / rate])
    };
    odds.iter()
        .map(|odds| table(odds.ln()))
        .chain(odds.iter().map(|odds| table(-odds.ln())))
        .collect()
}

/// Verdicts until the alarm of a detector whose budget is `verdicts` of them.
fn verdicts_to_alarm(
    tables: &[Table],
    verdicts: f64,
    chance: &mut Chance,
    rate: impl Fn(u64) -> f64,
) -> u64 {
    // a verdict an hour, so that a day is 24 of them
    let mut detector = Detector::new(tables.to_vec(), verdicts / 24.0);
    for n in 0.. {
        detector.observe(n * 3_600_000, usize::from(chance.share() < rate(n as u64)));
        if detector.alarm().is_some() {
            return n as u64 + 1;
        }
    }
    u64::MAX
}

fn detector(effort: Effort) -> bool {
    const BUDGET: f64 = 1e5;
    const QUIET: u64 = 2000;
    // mean delays of the one-sided CUSUM that knows both rates, at a run length of 1e5
    let oracles = [
        (0.02, [(0.03, 334.0), (0.05, 161.0), (0.10, 64.0)]),
        (0.08, [(0.03, 889.0), (0.05, 394.0), (0.10, 144.0)]),
        (0.20, [(0.03, 1502.0), (0.05, 667.0), (0.10, 228.0)]),
    ];
    let mut all_met = true;
    for (rate, shifts) in oracles {
        let tables = plain_tables(rate);
        let mut chance = Chance::new(13);
        let runs = (0..effort.renewals)
            .map(|_| verdicts_to_alarm(&tables, BUDGET, &mut chance, |_| rate) as f64);
        let run_length = runs.sum::<f64>() / effort.renewals as f64;
        let mut met = 0.95 * BUDGET <= run_length;
        let mut shown = format!("run length {:.2} of the budget", run_length / BUDGET);
        for (shift, oracle) in shifts {
            let mut delays = Vec::new();
            while delays.len() < 1000 {
                let now = |n| if n < QUIET { rate } else { rate + shift };
                let alarm = verdicts_to_alarm(&tables, BUDGET, &mut chance, now);
                if QUIET < alarm {
                    delays.push((alarm - QUIET) as f64);
                }
            }
            let mean = delays.iter().sum::<f64>() / delays.len() as f64;
            met &= mean <= 1.5 * oracle;
            shown += &format!(", {:+.0} points {:.2}x", shift * 100.0, mean / oracle);
        }
        let what = format!("detector at {:.0} %, {} renewals", rate * 100.0, effort.renewals);
        all_met &= row("13", &what, "run length 0.95, delay 1.5x the oracle's", &shown, met);
    }
    all_met
}

fn small_worlds(effort: Effort) -> bool {
    let open_loop = Settings { burst_images: 0, ..Settings::default() };
    let (mut right, mut all) = (0, 0);
    let mut missed = Vec::new();
    for scenario in Scenario::ALL {
        let mut ours = 0;
        for seed in 0..effort.small_streams {
            let run = play(World::example(scenario), 90_000 + seed, open_loop);
            let quiet = scenario.label() == "none";
            let good = if quiet { run.events.is_empty() } else { run.right() };
            ours += u64::from(good);
        }
        if ours < effort.small_streams {
            missed.push(format!("{scenario:?} {ours}/{}", effort.small_streams));
        }
        (right, all) = (right + ours, all + effort.small_streams);
    }
    let but = if missed.is_empty() { String::new() } else { format!(" ({})", missed.join(", ")) };
    let what = format!("ten small worlds, {} fresh seeds each, no burst", effort.small_streams);
    row("14", &what, "9 of 10", &format!("{right}/{all}{but}"), 10 * right >= 9 * all)
}

fn kills() -> bool {
    let world = World::example(Scenario::Regression);
    let drawn = world.draw(15);
    let (mut chance, mut same) = (Chance::new(15), 0);
    for _ in 0..50 {
        let at = chance.below(drawn.verdicts.len());
        let mut whole = Monitor::new(Settings::default(), world.baseline_until_ms());
        let mut killed = whole.clone();
        for (i, judged) in drawn.verdicts.iter().enumerate() {
            whole.observe(judged);
            killed.observe(judged);
            if i == at {
                killed = serde_json::from_slice(&serde_json::to_vec(&killed).unwrap()).unwrap();
            }
        }
        same +=
            u32::from(serde_json::to_vec(&whole).unwrap() == serde_json::to_vec(&killed).unwrap());
    }
    row(
        "15",
        "written out after a random record, read back",
        "the same bits",
        &format!("{same}/50"),
        same == 50,
    )
}

fn cost() -> bool {
    let world = World { per_day: 100_000.0, ..World::of(Scenario::Quiet) };
    let drawn = world.draw(16);
    let mut monitor = Monitor::new(Settings::default(), world.baseline_until_ms());
    let split = drawn.verdicts.iter().position(|judged| world.baseline_until_ms() <= judged.at_ms);
    let (learnt, watched) = drawn.verdicts.split_at(split.unwrap() + 1);
    learnt.iter().for_each(|judged| drop(monitor.observe(judged)));
    let watch = Stopwatch::start();
    watched.iter().for_each(|judged| drop(monitor.observe(judged)));
    let each_us = watch.elapsed_ms() * 1000.0 / watched.len() as f64;
    // ten judges with ten alternatives each, eight of the input, five of the share; and of each of the
    // twelve the moment of its last verdict, how many it has seen and its evidence
    let state = (10 * 10 + 8 + 5) * size_of::<Component>() + 12 * 3 * size_of::<u64>();
    let measured = format!("{each_us:.2} us with three judges, everything; {state} bytes");
    let must = "2 us a verdict, 4 KiB of detectors for ten judges";
    row("16", "cost", must, &measured, each_us <= 2.0 && state <= 4096)
}

fn adjusted() -> bool {
    let spread = 0.35;
    let (ours, theirs) = (line(0.08, spread), line(0.11, spread));
    let mut chance = Chance::new(17);
    let (mut bias, mut naive, mut covered) = (0.0, 0.0, 0);
    for _ in 0..300 {
        let judge = |severity: f64, chance: &mut Chance| {
            let [a, b] = [chance.normal(), chance.normal()].map(|one| severity + spread * one);
            (a > ours, b > theirs)
        };
        let pairs: Vec<(bool, bool)> = (0..1000)
            .map(|_| {
                let severity = chance.normal();
                judge(severity, &mut chance)
            })
            .collect();
        let model = Model::learn(&pairs);
        let (mut images, mut truth, mut served) = (Vec::new(), 0, 0);
        for _ in 0..5000 {
            let severity = chance.normal();
            let (primary, other) = judge(severity, &mut chance);
            truth += u32::from(primary);
            // harder images fail over more
            let elsewhere = chance.share() < 1.0 / (1.0 + (0.5 - 0.5 * severity).exp());
            served += u32::from(if elsewhere { other } else { primary });
            images.push(if elsewhere {
                let backfilled = (chance.share() < 0.10).then_some(primary);
                Image::Elsewhere { expected: model.expects(other), propensity: 0.10, backfilled }
            } else {
                Image::Primary { reject: primary }
            });
        }
        let got = adjusted_rate(&images).unwrap();
        let truth = f64::from(truth) / 5000.0;
        bias += (got.effect - truth) / 300.0;
        naive += (f64::from(served) / 5000.0 - truth) / 300.0;
        covered += u32::from((got.effect - truth).abs() < Z95 * got.se);
    }
    let coverage = f64::from(covered) / 300.0;
    let measured = format!(
        "bias {:+.2} points (as served {:+.2}), coverage {coverage:.3}",
        bias * 100.0,
        naive * 100.0
    );
    let met = bias.abs() <= 0.001 && (0.92..=0.98).contains(&coverage);
    row("17", "routing-adjusted rate", "bias 0.1 point, coverage 0.92 to 0.98", &measured, met)
}
