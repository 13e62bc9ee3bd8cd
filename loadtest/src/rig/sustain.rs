//! `loadtest sustain`: the highest rate that a gate holds, and what an image costs at half of it.
//!
//! The rate doubles until the gate's own time per image is over its line or the rig is not on time any
//! more, then the step is halved a few times. With a pixel-free policy the race alone is measured.

use std::path::Path;

use clap::Args;
use clap::ValueEnum;

use crate::figures::SUSTAINED;
use crate::outcome::FORMAT;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::RigFacts;
use crate::outcome::Run;
use crate::outcome::ScenarioRun;
use crate::outcome::Unit;
use crate::rig::RigError;
use crate::rig::command::RunArgs;
use crate::rig::run::Baseline;
use crate::rig::run::World;
use crate::scenario::Scenario;

/// Arguments of `loadtest sustain`.
#[derive(Args, Clone, Debug)]
pub struct SustainArgs {
    /// What the gate does with the pixels
    #[arg(long, value_enum, default_value_t = Pixels::Free)]
    pixels: Pixels,
    /// The gate's own time that 99 of 100 images must stay within; default 5 ms without pixels, and
    /// 250 ms with them
    #[arg(long, value_name = "MS")]
    overhead_ms: Option<f64>,
    /// How long each rate is held, in seconds
    #[arg(long, value_name = "S", default_value_t = 12.0)]
    hold: f64,
    #[command(flatten)]
    run: RunArgs,
}

/// What the gate does with the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pixels {
    /// One view that fits, no checks.
    Free,
    /// One view of at most 768 px, cheap checks.
    Realistic,
    /// The views and checks of the policy that ships.
    Shipped,
}

/// The slowest rate that is tried.
const LEAST_PER_S: f64 = 10.0;
/// The fastest.
const MOST_PER_S: f64 = 2_000.0;
/// How often the step between a held rate and one that was not is halved.
const HALVINGS: u32 = 4;

impl SustainArgs {
    /// Where the outcome goes.
    #[must_use]
    pub fn out(&self) -> &Path {
        self.run.out()
    }

    /// Searches the rate, measures at half of it, and leaves `run.json` in the folder.
    ///
    /// # Errors
    /// The rig itself failed, or the gate holds not even the slowest rate.
    pub async fn run(&self, mut tell: impl FnMut(&str)) -> Result<Run, RigError> {
        let world = self.run.world(&[self.scenario(LEAST_PER_S)?]).await?;
        let rig = self.run.facts(&world).await?;
        let (mut held, mut lost) = (None, None);
        let mut rate = 2.0 * LEAST_PER_S;
        let mut halvings = 0;
        while halvings < HALVINGS {
            let step = self.step(&world, rate).await?;
            let is_held = self.is_held(&step);
            tell(&format!("{rate:.0} a second: {}", told(&step, is_held)));
            if is_held {
                held = Some(rate);
            } else {
                lost = Some(rate);
            }
            rate = match (held, lost) {
                (Some(held), None) if MOST_PER_S <= held => break,
                (Some(held), None) => held * 2.0,
                (held, Some(lost)) => {
                    halvings += 1;
                    (held.unwrap_or(LEAST_PER_S / 2.0) + lost) / 2.0
                }
                (None, None) => break,
            };
        }
        let Some(held) = held else {
            return Err(RigError::NothingHeld { least_per_s: LEAST_PER_S });
        };
        let mut half = self.step(&world, held / 2.0).await?;
        half.title = format!("at half of {held:.0} images a second, the most that is held");
        half.figures.insert(0, sustained(held));
        let other_cores = half.other_cores.unwrap_or_default();
        // its steps are found on the way
        let rig = RigFacts { other_cores, planned: Vec::new(), ..rig };
        let run = Run { format: FORMAT, rig, scenarios: vec![half] };
        self.run.write(&run)?;
        Ok(run)
    }

    fn overhead_ms(&self) -> f64 {
        self.overhead_ms.unwrap_or(match self.pixels {
            Pixels::Free => 5.0,
            Pixels::Realistic | Pixels::Shipped => 250.0,
        })
    }

    fn scenario(&self, rate_per_s: f64) -> Result<Scenario, RigError> {
        let policy = match self.pixels {
            Pixels::Free => "pixel_free",
            Pixels::Realistic => "realistic",
            Pixels::Shipped => "shipped",
        };
        let text = format!(
            "id: T-{policy}\ntitle: held\nrate: {rate_per_s}\npolicy: {policy}\n\
             seconds: {{ warm_up: 4, healthy: {}, fault: 0, recovery: 0 }}\n",
            self.hold
        );
        Scenario::parse(&text).map_err(RigError::Usage)
    }

    async fn step(&self, world: &World, rate_per_s: f64) -> Result<ScenarioRun, RigError> {
        let scenario = self.scenario(rate_per_s)?;
        let step = world.run(scenario, 1, &mut Baseline::default()).await;
        match step.broken.clone() {
            Some(problem) => Err(RigError::Step { rate_per_s, problem }),
            None => Ok(step),
        }
    }

    /// On time by the gate's own account, with every image answered and the rig itself on time.
    fn is_held(&self, step: &ScenarioRun) -> bool {
        let missed = |one: &Figure| one.verdict == FigureVerdict::Missed;
        let overhead = value(step, "overhead_p99_ms");
        let is_quick = overhead.is_some_and(|overhead_ms| overhead_ms <= self.overhead_ms());
        is_quick
            && !step.punctuality.rig_was_bottleneck
            && !step.figures.iter().any(missed)
            && value(step, "shed_share").is_none_or(|share| share <= 0.0)
    }
}

fn value(step: &ScenarioRun, id: &str) -> Option<f64> {
    step.figures.iter().find(|figure| figure.id == id)?.value
}

fn sustained(rate_per_s: f64) -> Figure {
    Figure {
        id: SUSTAINED.to_owned(),
        says: "the highest open-loop rate at which the gate's own time stays within its line"
            .to_owned(),
        value: Some(rate_per_s),
        unit: Unit::PerS,
        limit: None,
        verdict: FigureVerdict::Stated,
        oracle: None,
        sim: None,
        published: None,
        n: 1,
    }
}

/// A step in one line.
fn told(step: &ScenarioRun, is_held: bool) -> String {
    let ms = |id: &str| value(step, id).map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1}"));
    let used = step.processes.iter().map(|(name, used)| format!("{name} {:.2}", used.cpu_cores));
    format!(
        "{}, overhead p50 {} ms, p99 {} ms; seen from outside p50 {} ms, p99 {} ms; event loop late \
         by {} ms (p99); cores: {}; sent late by {:.1} ms (p99)",
        if is_held { "held" } else { "not held" },
        ms("overhead_p50_ms"),
        ms("overhead_p99_ms"),
        ms("seen_overhead_p50_ms"),
        ms("seen_overhead_p99_ms"),
        ms("loop_lag_p99_ms"),
        used.collect::<Vec<_>>().join(", "),
        step.punctuality.late_p99_ms
    )
}
