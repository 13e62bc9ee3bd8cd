//! Every scenario's figures as a table, to read and to compare with the simulation's.

use crate::outages::figures::Figures;
use crate::outages::judges::NAMES;
use crate::outages::run::Run;
use crate::outages::world::{Fault, Spans, World};

/// The spans of the published simulation.
const LONG: Spans = Spans { warm_up: 40.0, healthy: 40.0, fault: 120.0, recovery: 50.0 };

/// Every fault of the published simulation.
fn scenarios() -> Vec<(&'static str, World)> {
    let both = |a, b| World { faults: vec![(0, a), (1, b)], ..World::healthy() };
    let all = World {
        faults: vec![(0, Fault::Blackhole), (1, Fault::Refused), (2, Fault::OverloadedLate(1.0))],
        ..World::healthy()
    };
    let alone = |world| World { judges: 1, ..world };
    vec![
        ("healthy", World::healthy()),
        ("refused", World::primary(Fault::Refused)),
        ("blackhole", World::primary(Fault::Blackhole)),
        ("severed", World::primary(Fault::Severed)),
        ("529 fast 40 %", World::primary(Fault::Overloaded(0.4))),
        ("529 hang 40 %", World::primary(Fault::OverloadedLate(0.4))),
        ("slow x4", World::primary(Fault::Slow(4.0))),
        ("429 brownout", World::primary(Fault::Limited(16.0))),
        ("garbage 30 %", World::primary(Fault::Garbage(0.3))),
        ("stall 50 %", World::primary(Fault::Stall(0.5))),
        ("flap 5 s/5 s", World::primary(Fault::Flap(5.0))),
        ("A+B blackhole", both(Fault::Blackhole, Fault::Blackhole)),
        ("all down", all),
        ("surge x7", World { surge: 7.0, ..World::healthy() }),
        ("one: healthy", alone(World::healthy())),
        ("one: hang 40 %", alone(World::primary(Fault::OverloadedLate(0.4)))),
        ("one: fast 40 %", alone(World::primary(Fault::Overloaded(0.4)))),
        ("one: blackhole", alone(World::primary(Fault::Blackhole))),
    ]
}

/// Prints a line per scenario and seed, of scenarios with `word` in their name.
fn print(title: &str, (seeds, word): (&[u64], &str), of: impl Fn(World) -> World) {
    println!("\n{title}\n{:<18}{}", "", Figures::heads());
    for (name, world) in scenarios().into_iter().filter(|(name, _)| name.contains(word)) {
        for &seed in seeds {
            println!(
                "{name:<16}{seed:>2}{}",
                Figures::of(&[Run::of(of(World { seed, ..world.clone() }))])
            );
        }
    }
}

/// One seed of short worlds: seconds of work.
pub(crate) fn short_worlds() {
    let seeds = (&[1][..], "");
    print("40 images a second", seeds, |world| world);
    print("40 images a second, streaming", seeds, |world| World { streams: true, ..world });
}

/// Three seeds of long worlds, as in the published simulation: minutes of work.
pub(crate) fn long_worlds(word: &str) {
    let long = |world| World { spans: LONG, ..world };
    let seeds = (&[1, 2, 3][..], word);
    print("40 images a second", seeds, long);
    print("40 images a second, streaming", seeds, |world| World { streams: true, ..long(world) });
    print("10 images a second", seeds, |world| World { rate: 10.0, ..long(world) });
}

/// Tells a run second by second.
fn tell(world: World) {
    let run = Run::of(world);
    let begins = run.world.spans.fault_at();
    for turn in &run.turns {
        let at = turn.at - begins;
        println!("{at:>8.2} s  {} {}", NAMES[turn.judge], turn.state.label());
    }
    for second in 0..20 {
        let at = begins + f64::from(second);
        let mut took: Vec<f64> = run
            .images
            .iter()
            .filter(|image| (at..at + 1.0).contains(&image.at))
            .map(|image| image.took)
            .collect();
        took.sort_by(f64::total_cmp);
        let said: Vec<String> = took.iter().step_by(4).map(|took| format!("{took:.2}")).collect();
        println!("{second:>3} s  {}", said.join(" "));
    }
}

/// One run, second by second.
pub(crate) fn one_run_told() {
    let both = vec![(0, Fault::Blackhole), (1, Fault::Blackhole)];
    tell(World { faults: both, ..World::healthy() });
}
