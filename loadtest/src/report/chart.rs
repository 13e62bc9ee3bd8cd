//! The timeline of one scenario as SVG: every strip shares one time axis, so that a person sees the
//! fault, who judged meanwhile, and the recovery at a glance.
//!
//! From the top: what was switched, who judged, latency against the deadline, breakers, the calls
//! beyond one an image, and what was in flight and waiting. Colours are the judges' or mean that
//! something is wrong.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::outcome::ScenarioRun;
use crate::outcome::Second;
use crate::report::html::escaped;

const WIDTH: f64 = 1_120.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 128.0;
/// The lowest latency on the axis, ms.
const LOWEST_MS: f64 = 100.0;

/// Draws the scenario; empty where nothing was measured.
pub(super) fn timeline(run: &ScenarioRun) -> String {
    let ends: Vec<f64> = run.timeline.iter().map(|second| second.at_s + 1.0).collect();
    let Some(end_s) = ends.into_iter().reduce(f64::max) else { return String::new() };
    let mut chart = Chart { run, end_s, judges: judges(run), svg: String::new(), y: 0.0 };
    chart.switches();
    chart.ribbon();
    chart.latency();
    chart.breakers();
    chart.extra_calls();
    chart.crowd();
    chart.axis();
    chart.hovers();
    let label = escaped(&format!("{} {}: second by second", run.id, run.title));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{label}\">{}</svg>",
        chart.y, chart.svg
    )
}

/// Every judge that gave a verdict or had a breaker, in the order of their names.
pub(super) fn judges(run: &ScenarioRun) -> Vec<String> {
    let seconds = run.timeline.iter();
    let named = seconds.flat_map(|second| second.by_judge.keys().chain(second.breakers.keys()));
    named.cloned().collect::<BTreeSet<String>>().into_iter().collect()
}

/// The class that gives a judge its colour.
pub(super) fn colour(place: usize) -> String {
    format!("j{}", place.min(4) + 1)
}

struct Chart<'a> {
    run: &'a ScenarioRun,
    end_s: f64,
    judges: Vec<String>,
    svg: String,
    /// Where the next strip begins.
    y: f64,
}

impl Chart<'_> {
    fn x(&self, at_s: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at_s / self.end_s).clamp(0.0, 1.0)
    }

    /// What was switched, and the fault as a band through all strips.
    fn switches(&mut self) {
        let run = self.run;
        for phase in run.phases.iter().filter(|phase| phase.name == "fault") {
            let (x, to) = (self.x(phase.start_s), self.x(phase.end_s));
            let width = to - x;
            self.add(&format!(
                "<rect class=\"fault\" x=\"{x:.1}\" y=\"18\" width=\"{width:.1}\" height=\"100%\"/>"
            ));
        }
        let mut free_x = 0.0;
        for switch in &run.switches {
            let x = self.x(switch.at_s);
            let words = format!("{} {}", switch.on, switch.says);
            self.add(&format!("<path class=\"edge\" d=\"M{x:.1} 14V20\"/>"));
            if free_x <= x {
                self.text((x, 11.0), "start", "mark", &words);
                free_x = x + 6.2 * characters(&words) + 8.0;
            }
        }
        self.y = 26.0;
    }

    /// Who judged: shares of each second's answers. The norm is quiet, the exception loud.
    fn ribbon(&mut self) {
        const HEIGHT: f64 = 52.0;
        let top = self.y;
        self.heading("who judged");
        for second in &self.run.timeline {
            let Some(all) = positive(second.answered) else { continue };
            let (x, width) = self.column(second);
            let mut y = top + HEIGHT;
            for (place, judge) in self.judges.clone().iter().enumerate() {
                let part = second.by_judge.get(judge).copied().unwrap_or(0);
                let height = HEIGHT * number(part) / all;
                y -= height;
                let loud = if place == 0 { " quiet" } else { "" };
                self.bar((x, y, width, height), &format!("{}{loud}", colour(place)));
            }
            let unjudged = second.answered.saturating_sub(second.verdicts);
            let height = HEIGHT * number(unjudged) / all;
            self.bar((x, y - height, width, height), "wrong");
        }
        for (place, judge) in self.judges.clone().iter().enumerate() {
            let y = top + 12.0 + 14.0 * place_number(place);
            let x = WIDTH - RIGHT + 8.0;
            self.bar((x, y - 8.0, 8.0, 8.0), &colour(place));
            self.text((x + 13.0, y), "start", "name", judge);
        }
        self.y = top + HEIGHT + 14.0;
    }

    /// Percentiles on a log axis that always reaches the deadline: the room left is the message.
    fn latency(&mut self) {
        const HEIGHT: f64 = 168.0;
        let top = self.y;
        let deadline_ms = number(self.run.deadline_ms);
        let worst = self.run.timeline.iter().filter_map(|second| second.p99_ms);
        let highest_ms = worst.fold(deadline_ms * 1.15, f64::max).max(LOWEST_MS * 2.0);
        let place = |ms: f64| {
            let share = (ms.max(LOWEST_MS) / LOWEST_MS).ln() / (highest_ms / LOWEST_MS).ln();
            top + HEIGHT * (1.0 - share)
        };
        self.heading("latency");
        for (ms, words) in [(250.0, "0.25 s"), (500.0, "0.5 s"), (1_000.0, "1 s"), (2_000.0, "2 s")]
        {
            if ms < deadline_ms * 0.8 {
                self.level(place(ms), "grid", words);
            }
        }
        let words = format!("{} s", seconds(deadline_ms));
        self.level(place(deadline_ms), "deadline", &words);
        self.text((WIDTH - RIGHT + 8.0, place(deadline_ms) + 4.0), "start", "name", "deadline");
        type Pick = fn(&Second) -> Option<f64>;
        let curves: [(&str, Pick); 3] = [
            ("p99", |second| second.p99_ms),
            ("p50", |second| second.p50_ms),
            ("p95", |second| second.p95_ms),
        ];
        let mut labels = Vec::new();
        for (name, pick) in curves {
            let points = self.run.timeline.iter().map(|one| (one.at_s + 0.5, pick(one).map(place)));
            let points: Vec<(f64, Option<f64>)> = points.collect();
            labels.extend(points.iter().rev().find_map(|&(_, y)| y).map(|y| (y, name)));
            self.curve(&points, name);
        }
        labels.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free_y = 0.0_f64;
        for (y, name) in labels {
            let y = y.max(free_y);
            self.text((WIDTH - RIGHT + 8.0, y + 4.0), "start", "name", name);
            free_y = y + 13.0;
        }
        self.y = top + HEIGHT + 16.0;
    }

    /// A thin line where a breaker is closed, a bar where it is not.
    fn breakers(&mut self) {
        let known = |judge: &&String| {
            self.run.timeline.iter().any(|second| second.breakers.contains_key(*judge))
        };
        let judges: Vec<String> = self.judges.iter().filter(known).cloned().collect();
        if judges.is_empty() {
            return;
        }
        self.heading("breakers");
        for judge in judges {
            let y = self.y + 8.0;
            for second in &self.run.timeline {
                let (x, width) = self.column(second);
                match second.breakers.get(&judge).map(String::as_str) {
                    Some("closed") => self.bar((x, y - 0.75, width, 1.5), "calm"),
                    Some("half_open") => self.bar((x, y - 2.5, width, 5.0), "half"),
                    Some(_) => self.bar((x, y - 5.0, width, 10.0), "wrong"),
                    None => {}
                }
            }
            self.text((WIDTH - RIGHT + 8.0, y + 4.0), "start", "name", &judge);
            self.y += 16.0;
        }
        self.y += 12.0;
    }

    /// Calls beyond one an image, as bars from zero.
    fn extra_calls(&mut self) {
        const HEIGHT: f64 = 44.0;
        let top = self.y;
        let most = self.run.timeline.iter().map(|second| second.extra_calls).max().unwrap_or(0);
        let most = count(most).max(4.0);
        self.y += 10.0;
        self.heading("extra calls");
        self.level(top, "grid", &format!("{most:.0}/s"));
        for second in &self.run.timeline {
            let (x, width) = self.column(second);
            let height = HEIGHT * count(second.extra_calls) / most;
            self.bar((x, top + HEIGHT - height, (width - 1.0).max(0.5), height), "grey");
        }
        self.level(top + HEIGHT, "grid", "");
        self.y = top + HEIGHT + 16.0;
    }

    /// What was in flight, and what waited in line.
    fn crowd(&mut self) {
        const HEIGHT: f64 = 52.0;
        let top = self.y;
        let waiting = |second: &Second| second.queued.unwrap_or(0);
        let most = |one: &Second| one.in_flight.max(waiting(one));
        let most = self.run.timeline.iter().map(most).max().unwrap_or(0);
        let most = number(most).max(10.0);
        self.heading("in flight");
        self.level(top, "grid", &format!("{most:.0}"));
        for second in &self.run.timeline {
            let (x, width) = self.column(second);
            let height = HEIGHT * number(second.in_flight) / most;
            self.bar((x, top + HEIGHT - height, width, height), "pale");
            let height = HEIGHT * number(waiting(second)) / most;
            self.bar((x, top + HEIGHT - height, width, height), "wrong");
        }
        self.level(top + HEIGHT, "grid", "");
        self.text((WIDTH - RIGHT + 8.0, top + HEIGHT), "start", "name", "red: in line");
        self.y = top + HEIGHT + 4.0;
    }

    fn axis(&mut self) {
        let step = [5.0, 10.0, 20.0, 60.0, 300.0, 1_800.0];
        let step = step.into_iter().find(|step| self.end_s / step <= 14.0).unwrap_or(7_200.0);
        let y = self.y + 14.0;
        let mut at_s = 0.0;
        while at_s <= self.end_s {
            let x = self.x(at_s);
            self.text((x, y), "middle", "tick", &format!("{at_s:.0} s"));
            at_s += step;
        }
        self.y = y + 8.0;
    }

    /// Every second tells its numbers to who points at it.
    fn hovers(&mut self) {
        let height = self.y;
        for second in &self.run.timeline {
            let (x, width) = self.column(second);
            let told = escaped(&told(second));
            self.add(&format!(
                "<rect class=\"hover\" x=\"{x:.1}\" y=\"18\" width=\"{width:.1}\" \
                 height=\"{height:.0}\"><title>{told}</title></rect>"
            ));
        }
    }

    fn column(&self, second: &Second) -> (f64, f64) {
        let x = self.x(second.at_s);
        (x, self.x(second.at_s + 1.0) - x)
    }

    fn curve(&mut self, points: &[(f64, Option<f64>)], class: &str) {
        let mut path = String::new();
        let mut pen_is_down = false;
        for &(at_s, y) in points {
            let Some(y) = y else {
                pen_is_down = false;
                continue;
            };
            let command = if pen_is_down { 'L' } else { 'M' };
            let _ = write!(path, "{command}{:.1} {y:.1}", self.x(at_s));
            pen_is_down = true;
        }
        self.add(&format!("<path class=\"curve {class}\" d=\"{path}\"/>"));
    }

    fn heading(&mut self, words: &str) {
        let y = self.y + 12.0;
        self.text((0.0, y), "start", "strip", words);
    }

    /// A line across, with its value at the left.
    fn level(&mut self, y: f64, class: &str, words: &str) {
        let to = WIDTH - RIGHT;
        self.add(&format!("<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{to}\"/>"));
        if !words.is_empty() {
            self.text((LEFT - 6.0, y + 4.0), "end", "tick", words);
        }
    }

    fn bar(&mut self, (x, y, width, height): (f64, f64, f64, f64), class: &str) {
        if 0.0 < height {
            self.add(&format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.2}\" \
                 height=\"{height:.1}\"/>"
            ));
        }
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, class: &str, words: &str) {
        let words = escaped(words);
        self.add(&format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
        ));
    }

    fn add(&mut self, element: &str) {
        self.svg.push_str(element);
    }
}

fn told(second: &Second) -> String {
    let mut told =
        format!("{:.0} s: {} sent, {} answered", second.at_s, second.sent, second.answered);
    if let Some(p95_ms) = second.p95_ms {
        let _ = write!(told, ", p95 {p95_ms:.0} ms");
    }
    for (judge, verdicts) in &second.by_judge {
        let _ = write!(told, "\n{judge} judged {verdicts}");
    }
    for (basis, answers) in &second.by_basis {
        let _ = write!(told, "\n{answers} by {basis}");
    }
    for (judge, state) in second.breakers.iter().filter(|(_, state)| *state != "closed") {
        let _ = write!(told, "\n{judge} is {}", state.replace('_', " "));
    }
    let _ = write!(told, "\n{} extra calls, {} in flight", second.extra_calls, second.in_flight);
    if let Some(queued) = second.queued.filter(|queued| *queued != 0) {
        let _ = write!(told, ", {queued} in line");
    }
    told
}

fn seconds(ms: f64) -> String {
    let text = format!("{:.1}", ms / 1e3);
    text.trim_end_matches(".0").to_owned()
}

fn positive(count: u64) -> Option<f64> {
    (count != 0).then(|| number(count))
}

/// Counts of a load test are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "drawn, and far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

fn count(signed: i64) -> f64 {
    number(u64::try_from(signed).unwrap_or(0))
}

fn place_number(place: usize) -> f64 {
    number(u64::try_from(place).unwrap_or(0))
}

fn characters(words: &str) -> f64 {
    place_number(words.chars().count())
}
