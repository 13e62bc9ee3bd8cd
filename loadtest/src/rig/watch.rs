//! The watch looks at the processes from outside, twice a second: metrics, memory, CPU, open calls.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::evidence::Tick;
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
    pub(crate) first: BTreeMap<&'static str, f64>,
    pub(crate) last: BTreeMap<&'static str, Usage>,
    pub(crate) rss_max_mb: BTreeMap<&'static str, f64>,
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
        }
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
        for (name, pid) in pids {
            let Some(usage) = pid.and_then(usage) else { continue };
            if let Some((before_s, before_cpu_s)) = self.before.insert(name, (at_s, usage.cpu_s)) {
                // a process that was started again begins at nothing
                let cores = (usage.cpu_s - before_cpu_s).max(0.0) / (at_s - before_s).max(0.001);
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

/// Takes the queue and the breakers from a scrape.
fn read_metrics(text: &str, tick: &mut Tick) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        if series == "vlmgate_queued" {
            tick.queued = Some(whole(value));
        } else if series.starts_with("vlmgate_breaker_state{")
            && 0.5 < value
            && let (Some(judge), Some(state)) = (label(series, "judge"), label(series, "state"))
        {
            tick.breakers.insert(judge.to_owned(), state.to_owned());
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
    value.clamp(0.0, number(usize::from(u16::MAX))) as u64
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
        let text = "# HELP x\nvlmgate_queued 3\nvlmgate_queued_other 9\n\
            vlmgate_breaker_state{judge=\"a\",state=\"open\"} 1\n\
            vlmgate_breaker_state{judge=\"a\",state=\"closed\"} 0\n\
            vlmgate_breaker_state{judge=\"b\",state=\"half_open\"} 1\nbroken\n";
        let mut tick = Tick::default();
        read_metrics(text, &mut tick);
        assert_eq!(tick.queued, Some(3));
        assert_eq!(tick.breakers["a"], "open");
        assert_eq!(tick.breakers["b"], "half_open");
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(0.1 < usage.rss_mb);
    }
}
