//! The conductor does three things at once: it lets the drive send, switches what goes wrong at its
//! time, and watches.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::sleep_until;

use crate::behaviour::Behaviour;
use crate::evidence::Stop;
use crate::evidence::Tick;
use crate::outcome::ProcessUse;
use crate::outcome::Switch;
use crate::rig::RigError;
use crate::rig::RunClock;
use crate::rig::drive::Drive;
use crate::rig::gate::Gate;
use crate::rig::gate::Start;
use crate::rig::ledger::Ledger;
use crate::rig::policy::ACCEPT_FOR_S;
use crate::rig::providers::Host;
use crate::rig::providers::healthy;
use crate::rig::run::Driven;
use crate::rig::watch::EVERY;
use crate::rig::watch::Watch;
use crate::sample::Sample;
use crate::scenario::BlowKind;
use crate::scenario::Scenario;
use crate::web::Web;

/// After SIGTERM a load balancer needs a moment to see that the gate is not ready any more: here longer
/// than the gate still accepts, so that somebody meets its closed door.
const NOTICED_AFTER: Duration = Duration::from_millis(1_300);

/// How long a gate that was told to stop is waited for, beyond what it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen while the load ran.
pub(super) struct Seen {
    pub(super) ticks: Vec<Tick>,
    pub(super) ledger: Ledger,
    pub(super) switches: Vec<Switch>,
    pub(super) stop: Option<Stop>,
    /// From when to when the gate was gone, where it was killed.
    pub(super) blow: Option<(f64, f64)>,
    pub(super) usage: BTreeMap<String, ProcessUse>,
    /// Cores' worth of CPU time that the machine gave to others.
    pub(super) other_cores: Option<f64>,
}

/// Every so many looks the providers' logs are read: far more often than they fill.
const LOOKS_A_READING: usize = 10;

/// Readings in a row that may fail: the logs hold what they missed for far longer.
const MAY_FAIL: u32 = 3;

/// What happens at a moment.
enum Event {
    Set { name: String, behaviour: Box<Behaviour>, says: String },
    Blow(BlowKind),
}

pub(super) struct Conductor<'a> {
    scenario: &'a Scenario,
    host: &'a Host,
    clock: RunClock,
    rate_per_s: f64,
    halt: watch::Sender<bool>,
}

/// What switching leaves behind.
#[derive(Default)]
struct Switched {
    switches: Vec<Switch>,
    stop: Option<Stop>,
    blow: Option<(f64, f64)>,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        host: &'a Host,
        clock: RunClock,
        rate_per_s: f64,
        halt: watch::Sender<bool>,
    ) -> Self {
        Self { scenario, host, clock, rate_per_s, halt }
    }

    /// Runs the load to its end.
    pub(super) async fn conduct(
        self,
        drive: Drive<'_>,
        driven: &mut Driven,
        mut watch: Watch,
        web: &Web,
    ) -> Result<(Vec<Sample>, Seen), RigError> {
        let url = driven.url();
        let direct = driven.direct.clone();
        let (tell_pid, pid) = watch::channel(driven.gate.as_ref().and_then(|(gate, _)| gate.pid()));
        let (end, ended) = watch::channel(false);
        let sending = async {
            let samples = drive.run().await;
            end.send_replace(true);
            samples
        };
        let switching = self.switch(driven.gate.as_mut(), tell_pid, web);
        let watching = async {
            let mut ticks = Vec::new();
            let mut ledger = Ledger::new(self.clock);
            let mut failed_readings = 0;
            let mut every = interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !*ended.borrow() {
                every.tick().await;
                let open = self.host.open_calls().await.unwrap_or_default();
                let pids = [
                    ("gate", *pid.borrow()),
                    ("providers", self.host.pid()),
                    ("rig", Some(std::process::id())),
                ];
                let mut tick = watch.look(url.as_deref(), &pids, open).await;
                tick.queued = tick.queued.or(direct.as_ref().map(|direct| direct.queued()));
                ticks.push(tick);
                if ticks.len() % LOOKS_A_READING == 0 {
                    match ledger.follow(self.host).await {
                        Ok(()) => failed_readings = 0,
                        // the next one goes on from where this one stopped
                        Err(_) if failed_readings < MAY_FAIL => failed_readings += 1,
                        Err(problem) => return Err(problem),
                    }
                }
            }
            Ok::<_, RigError>((ticks, ledger))
        };
        let (samples, switched, watched) = tokio::join!(sending, switching, watching);
        let (switched, (ticks, ledger)) = (switched?, watched?);
        let usage = watch.processes(self.clock.now_s(), samples.len());
        let Switched { switches, stop, blow } = switched;
        let other_cores = watch.other_cores();
        Ok((samples, Seen { ticks, ledger, switches, stop, blow, usage, other_cores }))
    }

    /// What happens, by its time.
    fn events(&self) -> Result<Vec<(f64, Event)>, RigError> {
        let (start_s, end_s) =
            (self.scenario.seconds.fault_at_s(), self.scenario.seconds.mended_at_s());
        let mut events = Vec::new();
        for fault in &self.scenario.faults {
            let from_s = start_s + fault.at_s;
            let until_s = fault.for_s.map_or(end_s, |for_s| end_s.min(from_s + for_s));
            if end_s <= from_s {
                continue; // the short form ends before it begins
            }
            for name in &fault.on {
                let well = healthy(name, self.scenario, self.rate_per_s);
                let ill = fault.over(&well, self.rate_per_s);
                let ill = ill.map_err(|why| RigError::Usage(why.to_string()))?;
                let event = |behaviour, says| Event::Set { name: name.clone(), behaviour, says };
                events.push((from_s, event(Box::new(ill), fault.says())));
                events.push((until_s, event(Box::new(well), "healthy".to_owned())));
            }
        }
        if let Some(blow) = self.scenario.blow {
            events.push((start_s + blow.at_s, Event::Blow(blow.signal)));
        }
        // what is mended comes before what breaks in the same moment
        let is_fault =
            |event: &Event| !matches!(event, Event::Set { says, .. } if says == "healthy");
        events.sort_by(|(one_s, one), (other_s, other)| {
            one_s.total_cmp(other_s).then(is_fault(one).cmp(&is_fault(other)))
        });
        Ok(events)
    }

    async fn switch(
        &self,
        mut gate: Option<&mut (Gate, Start)>,
        tell_pid: watch::Sender<Option<u32>>,
        web: &Web,
    ) -> Result<Switched, RigError> {
        let mut switched = Switched::default();
        for (at_s, event) in self.events()? {
            sleep_until(self.clock.instant(at_s)).await;
            let (on, says) = match event {
                Event::Set { name, behaviour, says } => {
                    self.host.set(&name, &behaviour).await?;
                    (name, says)
                }
                Event::Blow(BlowKind::Sigterm) => {
                    let Some((gate, _)) = &mut gate else { continue };
                    switched.stop = Some(self.terminate(gate).await?);
                    ("gate".to_owned(), "SIGTERM".to_owned())
                }
                Event::Blow(BlowKind::Sigkill) => {
                    let Some((gate, start)) = &mut gate else { continue };
                    let killed_at_s = self.clock.now_s();
                    gate.kill().await?;
                    *gate = Gate::start(start, web).await?;
                    tell_pid.send_replace(gate.pid());
                    switched.blow = Some((killed_at_s, self.clock.now_s()));
                    ("gate".to_owned(), "SIGKILL and started again".to_owned())
                }
            };
            switched.switches.push(Switch { at_s, on, says });
        }
        Ok(switched)
    }

    /// Tells the gate to stop, ends the arrivals when that shows, and times the end.
    async fn terminate(&self, gate: &mut Gate) -> Result<Stop, RigError> {
        let told = Instant::now();
        gate.terminate().await?;
        sleep_until(told + NOTICED_AFTER).await;
        self.halt.send_replace(true);
        let within = PATIENCE + Duration::from_secs_f64(ACCEPT_FOR_S);
        let status = gate.ended(within).await?;
        Ok(Stop {
            told_at_s: self.clock.at(told),
            took_s: status.map(|_| told.elapsed().as_secs_f64()),
            is_clean: status.is_some_and(|status| status.success()),
        })
    }
}
