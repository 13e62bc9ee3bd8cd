//! Paired: the same images at the same moments, to a gate that shows a tenth of them to another judge
//! behind their verdicts, and to one that does not.

use std::sync::Arc;
use std::time::Duration;

use loadtest::{Behaviour, Latency};
use tokio::task::JoinSet;
use vlmgate::clock::Stopwatch;

use crate::drawn::photo_jpeg;
use crate::shadow::plan;
use crate::world::{World, healthy};

/// Images to each gate.
const IMAGES: usize = 600;
/// From one to the next.
const EVERY: Duration = Duration::from_millis(200);

/// A gate whose judges take their time.
async fn world(lines: &str) -> Arc<World> {
    let world = World::of(plan(&["openai-mini", "claude-haiku"], lines, "")).await;
    for provider in &world.providers {
        provider.set_behaviour(Behaviour {
            latency: Latency::LogNormal { median_ms: 300, sigma: 0.25 },
            ..healthy()
        });
    }
    Arc::new(world)
}

fn told(name: &str, mut took_ms: Vec<f64>) {
    took_ms.sort_by(f64::total_cmp);
    let at = |percent: usize| took_ms[took_ms.len() * percent / 100];
    println!("{name}: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms", at(50), at(95), at(99));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for two minutes, and prints what it measured"]
async fn a_tenth_shown_behind_changes_no_answer_and_its_time_is_printed_beside_none() {
    let entry = "shadow: [{ id: standby, judge: gemini-flash, sample: 10%, per_day: 50 USD }]";
    let worlds = [world("").await, world(entry).await];
    let mut asked = JoinSet::new();
    for n in 0..IMAGES {
        let image = photo_jpeg(256, n as u64);
        for turn in 0..2 {
            // each is asked first every other time
            let which = (n + turn) % 2;
            let (world, image) = (Arc::clone(&worlds[which]), image.clone());
            asked.spawn(async move {
                let watch = Stopwatch::start();
                let (status, verdict) = world.post(image).await;
                (which, watch.elapsed_ms(), status, verdict["verdict"].as_str() == Some("pass"))
            });
        }
        tokio::time::sleep(EVERY).await;
    }
    let mut took_ms = [Vec::new(), Vec::new()];
    while let Some(answered) = asked.join_next().await {
        let (which, took, status, is_pass) = answered.unwrap();
        assert_eq!((status, is_pass), (200, true));
        took_ms[which].push(took);
    }
    let [without, with] = took_ms;
    told("without", without);
    told("with a tenth shown behind", with);
    let [shown_without, shown] = worlds.each_ref().map(|world| world.questions("gemini-flash"));
    println!("{shown} of {IMAGES} were shown");
    assert_eq!(shown_without, 0);
    assert!((30..100).contains(&shown), "{shown}");
}
