//! A run is a world put before a panel: every image raced as it comes, on a clock that jumps from
//! one event to the next, so that minutes of traffic take a second and end alike on any machine.

use std::cell::Cell;
use std::future::ready;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Builder;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use vlmgate::clock::{Deadline, Stopwatch};
use vlmgate::config::files::PolicyFiles;
use vlmgate::domain::policy::RouteSpec;
use vlmgate::imaging::{Base64, Measurements, View};
use vlmgate::panel::race::{Outcome, Race};
use vlmgate::panel::struck::Struck;
use vlmgate::panel::{Asked, BreakerState, Care, Judge, Panel, Question};

use crate::outages::chance::Chance;
use crate::outages::judges::{NAMES, Seen, SimulatedJudge};
use crate::outages::world::World;

/// How often somebody looks at the breakers.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often those that wait look whether a judge has room.
const ROOM_EVERY: Duration = Duration::from_millis(10);

/// What became of one image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// When it came, in seconds.
    pub(crate) at: f64,
    /// How long it was raced, in seconds.
    pub(crate) took: f64,
    /// Whose judgement it was, by place in the route; `None`: nobody's.
    pub(crate) by: Option<usize>,
}

/// A breaker that changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// When it was seen, in seconds.
    pub(crate) at: f64,
    /// Whose, by place in the route.
    pub(crate) judge: usize,
    /// What it is now.
    pub(crate) state: BreakerState,
}

/// A world that has run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    /// What became of each image, by arrival.
    pub(crate) images: Vec<Image>,
    /// Every call, by judge.
    pub(crate) calls: Vec<Vec<Seen>>,
    /// The breakers' changes, in order.
    pub(crate) turns: Vec<Turn>,
    /// The most images that were raced at once.
    pub(crate) most_at_once: usize,
    /// The most images that waited for a judge with room.
    pub(crate) longest_line: usize,
}

impl Run {
    /// Runs `world` through a panel with the shipped policy's route and defaults.
    pub(crate) fn of(world: World) -> Self {
        Self::with(world, Care::default())
    }

    /// The same with the judges' health looked after as said.
    pub(crate) fn with(world: World, care: Care) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(drive(Arc::new(world), care))
    }
}

thread_local! {
    /// The seed and the beginning of this thread's world: a panel's jitter is a plain function.
    static JITTER: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

/// Depends on the moment alone: who is woken first by an opening breaker is left to chance, and
/// must not decide who draws what.
fn jitter() -> f64 {
    let (seed, began) = JITTER.get().expect("a world began");
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap();
    Chance::of(&[seed, 19, micros]).unit()
}

async fn drive(world: Arc<World>, care: Care) -> Run {
    let began = Instant::now();
    JITTER.set(Some((world.seed, began)));
    let place = |place| Arc::new(SimulatedJudge::new(&world, place));
    let judges: Vec<Arc<SimulatedJudge>> = (0..world.judges).map(place).collect();
    let seated = judges.iter().map(|judge| (Arc::clone(judge) as Arc<dyn Judge>, care)).collect();
    let panel = Panel::seated(seated, jitter);
    let route = shipped_route(world.judges);

    let mut coming = world.arrivals().into_iter().zip(0_u64..).peekable();
    let mut line = Line { route: &route, began, waiting: Vec::new() };
    let mut racing = FuturesUnordered::new();
    let mut images: Vec<(u64, Image)> = Vec::new();
    let mut watch = Watch::new(world.judges);
    let mut most_at_once = 0;
    let mut longest_line = 0;
    let mut looking = pin!(time::sleep(LOOK_EVERY));
    let mut room = pin!(time::sleep(ROOM_EVERY));
    loop {
        let next_at = coming.peek().map(|(at, _)| began + Duration::from_secs_f64(*at));
        if next_at.is_none() && racing.is_empty() && line.waiting.is_empty() {
            break;
        }
        let waits = !line.waiting.is_empty();
        tokio::select! {
            biased;
            Some(done) = racing.next() => images.push(done),
            () = ready(()), if waits && panel.has_room() => {
                let (image, at) = line.waiting.pop().unwrap();
                racing.push(race(&panel, &route, image, (at, line.came(at))));
                most_at_once = most_at_once.max(racing.len());
            }
            () = time::sleep_until(next_at.unwrap_or(began)), if next_at.is_some() => {
                let (at, image) = coming.next().unwrap();
                line.waiting.push((image, at));
                longest_line = longest_line.max(line.waiting.len());
            }
            () = &mut room, if waits => {
                images.extend(line.too_late(&panel));
                room.as_mut().reset(Instant::now() + ROOM_EVERY);
            }
            () = &mut looking => {
                watch.look(&panel, began.elapsed().as_secs_f64());
                looking.as_mut().reset(Instant::now() + LOOK_EVERY);
            }
        }
    }
    drop(racing);
    images.sort_by_key(|(image, _)| *image);
    let images = images.into_iter().map(|(_, image)| image).collect();
    let calls = judges.iter().map(|judge| judge.seen()).collect();
    Run { world, images, calls, turns: watch.turns, most_at_once, longest_line }
}

async fn race(
    panel: &Panel,
    route: &RouteSpec,
    image: u64,
    (at, came): (f64, Instant),
) -> (u64, Image) {
    let question = question(image);
    let caller_gone = CancellationToken::new();
    let began = Stopwatch::start();
    let entry = Race {
        question: &question,
        route,
        cost_cap: None,
        deadline: Deadline::at(came, route.deadline).less(route.keep_back),
        began,
        caller_gone: &caller_gone,
    };
    let raced = panel.race(entry).await;
    let by = match raced.outcome {
        Outcome::Judged { judge, .. } => NAMES.iter().position(|name| *name == judge.name),
        Outcome::Exhausted | Outcome::Late => None,
    };
    (image, Image { at, took: came.elapsed().as_secs_f64(), by })
}

/// Images that wait before the gate because no judge has room, as the gate has them wait: the
/// newest goes first, and who can no longer be judged in time leaves.
struct Line<'a> {
    route: &'a RouteSpec,
    began: Instant,
    waiting: Vec<(u64, f64)>,
}

impl Line<'_> {
    fn came(&self, at: f64) -> Instant {
        self.began + Duration::from_secs_f64(at)
    }

    /// Those for whom it is too late, which leave.
    fn too_late(&mut self, panel: &Panel) -> Vec<(u64, Image)> {
        let needs = panel.fastest_p50(&self.route.judges).unwrap_or(self.route.floor);
        let is_late = |at: f64| self.route.deadline < self.came(at).elapsed() + needs;
        let (late, waiting) = self.waiting.iter().partition(|(_, at)| is_late(*at));
        let left = |(image, at): (u64, f64)| {
            (image, Image { at, took: self.came(at).elapsed().as_secs_f64(), by: None })
        };
        let late: Vec<(u64, f64)> = late;
        let left = late.into_iter().map(left).collect();
        self.waiting = waiting;
        left
    }
}

/// The breakers as they were last seen.
struct Watch {
    last: Vec<BreakerState>,
    turns: Vec<Turn>,
}

impl Watch {
    fn new(judges: usize) -> Self {
        Self { last: vec![BreakerState::Closed; judges], turns: Vec::new() }
    }

    fn look(&mut self, panel: &Panel, at: f64) {
        for (judge, status) in panel.statuses().into_iter().enumerate() {
            if self.last[judge] != status.breaker {
                self.last[judge] = status.breaker;
                self.turns.push(Turn { at, judge, state: status.breaker });
            }
        }
    }
}

/// The route of the policy in the box, over this world's judges.
fn shipped_route(judges: usize) -> RouteSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/product-photo.yaml");
    let shipped = PolicyFiles::read_policy(&path, None).expect("the shipped policy");
    let names = NAMES.iter().take(judges).map(|&name| name.to_owned()).collect();
    RouteSpec { judges: names, ..shipped.policy.route.clone() }
}

fn question(image: u64) -> Question {
    Question {
        criteria: vec![Asked {
            id: "cutout".to_owned(),
            ask: "Is it well done?".to_owned(),
            measured_by: Vec::new(),
        }],
        system: String::new(),
        user: image.to_string(),
        views: vec![View {
            id: "whole".to_owned(),
            width_px: 1,
            height_px: 1,
            jpeg: Base64::of(b""),
        }],
        measurements: Measurements::default(),
        struck: Struck::default(),
        early: true,
        reason_chars: 200,
        max_output_tokens: 200,
    }
}
