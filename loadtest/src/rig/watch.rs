//! The watch looks at the processes from outside, twice a second: metrics, memory, CPU, open calls.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::evidence::Tick;
use crate::outcome::ProcessUse;
use crate::quantile::number;
use crate::rig::RunClock;
use crate::web::Web;

/// How often it looks.
pub(crate) const EVERY: Duration = Duration::from_millis(500);

/// The system's unit of CPU time in /proc; fixed for user space.
const TICKS_PER_S: f64 = 100.0;

/// The size of a page of memory.
const PAGE_BYTES: f64 = 4_096.0;

/// What one look at a process shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_s: f64,
    pub(crate) rss_mb: f64,
}

/// CPU time of everything on the machine since it started; none where that cannot be known.
fn machine_cpu_s() -> Option<f64> {
    parse_machine(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of `/proc/stat`: all of the time but the idle and that spent waiting for disks.
/// Guests (fields 9 and 10) are counted with their hosts already.
fn parse_machine(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let fields: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let resting = fields.get(3)? + fields.get(4)?;
    Some((fields.iter().sum::<f64>() - resting) / TICKS_PER_S)
}

/// CPU time and memory of a process; none when it is gone.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat)
}

/// Fields 14, 15 and 24 of `/proc/PID/stat`; the second may hold anything in parentheses.
fn parse_stat(stat: &str) -> Option<Usage> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3)?.parse::<f64>().ok();
    let cpu_s = (field(14)? + field(15)?) / TICKS_PER_S;
    Some(Usage { cpu_s, rss_mb: field(24)? * PAGE_BYTES / 1_048_576.0 })
}

/// Looks at everything and remembers what the CPU times were.
pub(crate) struct Watch {
    clock: RunClock,
    web: Web,
    before: BTreeMap<&'static str, (f64, f64)>,
    first: BTreeMap<&'static str, f64>,
    last: BTreeMap<&'static str, Usage>,
    pub(crate) rss_max_mb: BTreeMap<&'static str, f64>,
    /// When the machine was looked at first and last, and its CPU time then.
    machine: Option<[(f64, f64); 2]>,
    /// What the processes that are watched used between the two.
    own_cpu_s: f64,
}

impl Watch {
    pub(crate) fn new(clock: RunClock, web: Web) -> Self {
        Self {
            clock,
            web,
            before: BTreeMap::new(),
            first: BTreeMap::new(),
            last: BTreeMap::new(),
            rss_max_mb: BTreeMap::new(),
            machine: None,
            own_cpu_s: 0.0,
        }
    }

    /// Cores' worth of CPU time that went neither to rest nor to the processes that are watched.
    pub(crate) fn other_cores(&self) -> Option<f64> {
        let [(from_s, before_s), (until_s, after_s)] = self.machine?;
        let others_s = after_s - before_s - self.own_cpu_s;
        (from_s < until_s).then(|| (others_s / (until_s - from_s)).max(0.0))
    }

    /// What each process used in all, from the first look to the last.
    pub(crate) fn processes(&self, took_s: f64, images: usize) -> BTreeMap<String, ProcessUse> {
        let mut processes = BTreeMap::new();
        for (name, last) in &self.last {
            let first_s = self.first.get(name).copied().unwrap_or_default();
            let cpu_s = (last.cpu_s - first_s).max(0.0);
            let rss_max_mb = self.rss_max_mb.get(name).copied().unwrap_or_default();
            let cpu_ms_per_image = cpu_s * 1_000.0 / number(images.max(1));
            let cpu_cores = cpu_s / took_s.max(1.0);
            let used = ProcessUse { cpu_cores, cpu_ms_per_image, rss_max_mb };
            processes.insert((*name).to_owned(), used);
        }
        processes
    }

    fn look_at_machine(&mut self, at_s: f64) {
        let Some(cpu_s) = machine_cpu_s() else { return };
        let [first, _] = self.machine.unwrap_or([(at_s, cpu_s); 2]);
        self.machine = Some([first, (at_s, cpu_s)]);
    }

    /// One look: the gate's metrics at `url`, the processes by name, and what else is known.
    pub(crate) async fn look(
        &mut self,
        url: Option<&str>,
        pids: &[(&'static str, Option<u32>)],
        open_calls: BTreeMap<String, u64>,
    ) -> Tick {
        let at_s = self.clock.now_s();
        let mut tick = Tick { at_s, open_calls, ..Tick::default() };
        self.look_at_machine(at_s);
        for (name, pid) in pids {
            let Some(usage) = pid.and_then(usage) else { continue };
            if let Some((before_s, before_cpu_s)) = self.before.insert(name, (at_s, usage.cpu_s)) {
                // a process that was started again begins at nothing
                let used_s = (usage.cpu_s - before_cpu_s).max(0.0);
                let cores = used_s / (at_s - before_s).max(0.001);
                self.own_cpu_s += used_s;
                tick.cpu_cores.insert((*name).to_owned(), cores);
            }
            self.first.entry(name).or_insert(usage.cpu_s);
            self.last.insert(name, usage);
            let most = self.rss_max_mb.entry(name).or_default();
            *most = most.max(usage.rss_mb);
            if *name == "gate" {
                tick.rss_mb = Some(usage.rss_mb);
            }
        }
        if let Some(url) = url {
            let metrics = self.web.get(&format!("{url}/metrics"), Duration::from_secs(2)).await;
            if let Ok(reply) = metrics {
                read_metrics(&String::from_utf8_lossy(&reply.body), &mut tick);
            }
        }
        tick
    }
}

/// Takes the queue, the breakers and the lag of the event loop from a scrape.
fn read_metrics(text: &str, tick: &mut Tick) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        if series == "vlmgate_queued" {
            tick.queued = Some(whole(value));
        } else if series == "vlmgate_in_flight" {
            tick.in_flight = Some(whole(value));
        } else if series.starts_with("vlmgate_queue_seconds_count") {
            // one series for each way in which a wait ended
            tick.waited = Some(tick.waited.unwrap_or_default() + whole(value));
        } else if series.starts_with("vlmgate_panics_total") {
            tick.panics = Some(tick.panics.unwrap_or_default() + whole(value));
        } else if series.starts_with("vlmgate_breaker_state{")
            && 0.5 < value
            && let (Some(judge), Some(state)) = (label(series, "judge"), label(series, "state"))
        {
            tick.breakers.insert(judge.to_owned(), state.to_owned());
        } else if series.starts_with("vlmgate_breaker_score{")
            && let Some(judge) = label(series, "judge")
        {
            tick.breaker_scores.insert(judge.to_owned(), value);
        } else if series.starts_with("vlmgate_event_loop_lag_seconds_bucket{")
            && let Some(Ok(most_s)) = label(series, "le").map(str::parse::<f64>)
        {
            // the last bucket is written `+Inf`, which is a number
            tick.loop_lags.push((most_s, value));
        }
    }
}

/// The value of a label of a series.
fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = series.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// A gauge of whole things.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a gauge that counts things, held to what a count can be"
)]
fn whole(value: f64) -> u64 {
    value.clamp(0.0, f64::from(u32::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_after_its_name_whatever_that_holds() {
        let mut fields = vec!["0"; 50];
        (fields[11], fields[12], fields[21]) = ("250", "50", "25600");
        let stat = format!("77 (a (b) c) {}", fields.join(" "));
        assert_eq!(parse_stat(&stat), Some(Usage { cpu_s: 3.0, rss_mb: 100.0 }));
        assert_eq!(parse_stat("77 (x) S"), None);
    }

    #[test]
    fn queue_and_breakers_are_taken_from_a_scrape() {
        let text = "# HELP x\nvlmgate_queued 3\nvlmgate_queued_other 9\nvlmgate_in_flight 5\n\
            vlmgate_queue_seconds_count{end=\"served\"} 4\n\
            vlmgate_queue_seconds_count{end=\"shed\"} 2\nvlmgate_panics_total 1\n\
            vlmgate_breaker_state{judge=\"a\",state=\"open\"} 1\n\
            vlmgate_breaker_state{judge=\"a\",state=\"closed\"} 0\n\
            vlmgate_breaker_state{judge=\"b\",state=\"half_open\"} 1\nbroken\n\
            vlmgate_breaker_score{judge=\"a\"} 9.2\n\
            vlmgate_event_loop_lag_seconds_bucket{le=\"0.005\"} 7\n\
            vlmgate_event_loop_lag_seconds_bucket{le=\"+Inf\"} 8\n";
        let mut tick = Tick::default();
        read_metrics(text, &mut tick);
        assert_eq!((tick.queued, tick.waited, tick.panics), (Some(3), Some(6), Some(1)));
        assert_eq!(tick.in_flight, Some(5));
        assert_eq!(tick.breakers["a"], "open");
        assert_eq!(tick.breakers["b"], "half_open");
        assert!((tick.breaker_scores["a"] - 9.2).abs() < 1e-9);
        assert_eq!(tick.loop_lags, [(0.005, 7.0), (f64::INFINITY, 8.0)]);
    }

    #[test]
    fn other_work_on_the_machine_does_not_pass_for_nobodys() {
        let stat = "cpu  100 50 50 900 40 10 20 30 5 5\ncpu0 1 2 3 4\n";
        assert_eq!(parse_machine(stat), Some(2.6));
        assert_eq!(parse_machine("intr 1 2"), None);
        let mut watch = Watch::new(RunClock::starting(), Web::new());
        assert_eq!(watch.other_cores(), None);
        watch.machine = Some([(1.0, 10.0), (11.0, 24.0)]);
        watch.own_cpu_s = 9.0;
        assert_eq!(watch.other_cores(), Some(0.5));
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(0.1 < usage.rss_mb);
    }
}
