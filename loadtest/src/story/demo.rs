//! `loadtest demo`: a gate to look at, with a past and something going on.
//!
//! Two made-up days and a made-up today, half an hour ago with six minutes in which the primary
//! answered nothing; then live pictures, and the same once more while somebody looks. No model is
//! asked, nothing leaves the machine, and every verdict says that it is simulated.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::behaviour::Fault;
use crate::gallery::Gallery;
use crate::gallery::Look;
use crate::monotonic::wall_ms;
use crate::rig::RigError;
use crate::rig::gate;
use crate::story::POLICY;
use crate::story::files;
use crate::story::files::BASELINE_DAYS;
use crate::story::files::Policy;
use crate::story::history::History;
use crate::story::history::Plan;
use crate::story::history::Stretch;
use crate::story::law::Law;
use crate::story::law::PRIMARY;
use crate::story::law::SECONDARY;
use crate::story::rate;
use crate::story::stage::Stage;
use crate::story::traffic::Traffic;
use crate::story::words::moment;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
/// Records of a made-up day.
const A_DAY: u64 = 6_000;
/// How far back records come as fast as live ones.
const DENSE_MS: u64 = 60 * MINUTE_MS;
/// When the primary was away, counted back from this minute.
const OUTAGE_MS: (u64, u64) = (31 * MINUTE_MS, 25 * MINUTE_MS);
/// Pictures that are drawn; every image that is sent is a print of its own of one of them.
const DRAWINGS: u32 = 36;
/// How long live pictures come before the primary goes again.
const CALM: Duration = Duration::from_secs(40);
/// Between two looks at whether the gate still runs.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Arguments of `loadtest demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Port of the page on loopback; 0, or one that is taken: any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Live pictures a second
    #[arg(long, value_name = "R", default_value_t = 6.0, value_parser = rate)]
    rate: f64,
    /// How long the primary is away while somebody looks
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    fault_s: u64,
    /// What all chances hang on
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the gate's files here; without it they go when the demo ends
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The gate's program; without it cargo builds one
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
}

impl DemoArgs {
    /// Plays until somebody stops it.
    ///
    /// # Errors
    /// A program, a file or a socket fails.
    pub async fn run(&self, tell: impl Fn(&str)) -> Result<(), RigError> {
        let binary = gate::binary(self.gate.as_deref()).await?;
        let temporary = TempDir::with_prefix("vlmgate-demo-");
        let temporary = temporary.map_err(RigError::io("a folder for the gate's files"))?;
        let folder = match &self.data {
            None => temporary.path().to_path_buf(),
            Some(folder) => {
                let io = || RigError::io(folder.display().to_string());
                fs::create_dir_all(folder).map_err(io())?;
                if fs::read_dir(folder).map_err(io())?.next().is_some() {
                    let told = format!("{} is not empty: name a new folder", folder.display());
                    return Err(RigError::Story(told));
                }
                let absolute = fs::canonicalize(folder);
                absolute.map_err(RigError::io(folder.display().to_string()))?
            }
        };
        tell("making up two days of history: some seconds");
        let law = Law::usual();
        let policy = Policy { hedges: true, ..Policy::default() };
        let look = Look { sides_px: [512, 448, 384], blur_px: 0 };
        let gallery = Arc::new(Gallery::draw_as(self.seed, DRAWINGS, &look)?);
        let listen = format!("127.0.0.1:{}", free(self.port)?);
        let mut begun = Begun { folder: self.data.as_ref().map(|_| folder.clone()) };
        let mut stage = Stage::set(binary, folder, &listen, &law)?;
        let (past, first_live) = self.past(&mut stage, &gallery, &policy, &law).await?;
        let url = stage.open(&policy, &law).await?;
        begun.folder = None;
        announce(&url, past)?;
        let mut traffic = Traffic::new(&stage.web, &url, (&gallery, first_live));
        self.flow(&mut stage, &mut traffic, CALM).await?;
        tell(&format!("{PRIMARY} answers 529 for {} s: {SECONDARY} steps in", self.fault_s));
        stage.play(&law, &BTreeMap::from([(PRIMARY, Fault::status(529))]));
        self.flow(&mut stage, &mut traffic, Duration::from_secs(self.fault_s)).await?;
        stage.play(&law, &BTreeMap::new());
        tell(&format!("{PRIMARY} is back; pictures go on coming until you stop this (Ctrl-C)"));
        loop {
            self.flow(&mut stage, &mut traffic, LOOK_EVERY).await?;
        }
    }

    /// Brings the past into the store; when the primary was away in it, and the number of the first
    /// picture that is not in it.
    async fn past(
        &self,
        stage: &mut Stage,
        gallery: &Gallery,
        policy: &Policy,
        law: &Law,
    ) -> Result<((u64, u64), usize), RigError> {
        let survey = stage.survey(gallery, policy, law).await?;
        files::write(&stage.folder, &stage.providers, policy, law)?;
        let path = stage.folder.join("history.ndjson");
        let plan = self.plan(wall_ms());
        let drawn = History { survey: &survey, gallery, law }.write(&plan, &path)?;
        stage.import(&path).await?;
        fs::remove_file(&path).map_err(RigError::io(path.display().to_string()))?;
        Ok((plan.outage.unwrap_or_default(), survey.records.len() + drawn.records))
    }

    /// Whole days to learn from, that end before the outage; then until now, the last part as dense as
    /// the live pictures.
    fn plan(&self, now_ms: u64) -> Plan {
        let learnt_ms = now_ms - DENSE_MS;
        let from_ms = learnt_ms - learnt_ms % DAY_MS - u64::from(BASELINE_DAYS) * DAY_MS;
        let sparse = (learnt_ms - from_ms) * A_DAY / DAY_MS;
        let dense = self.rate * Duration::from_millis(DENSE_MS).as_secs_f64();
        let stretch = |from_ms, to_ms, records| Stretch { from_ms, to_ms, records };
        Plan {
            stretches: vec![
                stretch(from_ms, learnt_ms, usize::try_from(sparse).unwrap_or_default()),
                stretch(learnt_ms, now_ms, count(dense)),
            ],
            // whole minutes: the figures of its window are those of nothing else
            outage: Some((minute(now_ms) - OUTAGE_MS.0, minute(now_ms) - OUTAGE_MS.1)),
            paired: 0.1,
            seed: self.seed,
        }
    }

    async fn flow(
        &self,
        stage: &mut Stage,
        traffic: &mut Traffic,
        lasts: Duration,
    ) -> Result<(), RigError> {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            traffic.flow(self.rate, until.min(Instant::now() + LOOK_EVERY)).await;
            if let Some(words) = stage.last_words()? {
                return Err(RigError::Story(format!("the gate ended: {words}")));
            }
        }
        Ok(())
    }
}

/// A folder that was empty when the demo began to fill it. Until the gate is up it is emptied again
/// where the demo ends, whatever ends it: half a past is of no use, and the folder can be named anew.
struct Begun {
    folder: Option<PathBuf>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(folder) = &self.folder else { return };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // what cannot be taken away stays, and the next demo says that the folder is not empty
            let _gone = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// The minute that a moment is in.
const fn minute(at_ms: u64) -> u64 {
    at_ms - at_ms % MINUTE_MS
}

/// A count of records that fits any store.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held to a range first"
)]
fn count(records: f64) -> usize {
    records.clamp(0.0, 1e6) as usize
}

/// The port, or any free one where somebody has it.
fn free(port: u16) -> Result<u16, RigError> {
    let bound = TcpListener::bind(("127.0.0.1", port));
    let bound = bound.or_else(|_taken| TcpListener::bind(("127.0.0.1", 0)));
    let bound = bound.map_err(RigError::io("a port for the page"))?;
    let address = bound.local_addr().map_err(RigError::io("a port for the page"))?;
    Ok(address.port())
}

/// Says where to look.
fn announce(url: &str, (from_ms, to_ms): (u64, u64)) -> Result<(), RigError> {
    let window = format!("since={}&until={}", moment(from_ms), moment(to_ms));
    let told = writeln!(
        io::stdout(),
        "the page:       {url}/ui/\n\
         why it moved:   {url}/ui/why?policy={POLICY}&{window}\n\
         everything here is simulated: no model is asked, no picture leaves this machine"
    );
    told.map_err(RigError::io("stdout"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    #[test]
    fn the_days_to_learn_from_end_before_the_outage_at_any_hour() {
        let demo = Cli::try_parse_from(["demo"]).unwrap().demo;
        let midnight_ms = 20_780 * DAY_MS;
        for after_ms in (0..DAY_MS).step_by(600_000) {
            let plan = demo.plan(midnight_ms + after_ms);
            let first_ms = plan.stretches[0].from_ms;
            assert_eq!(first_ms % DAY_MS, 0);
            let learnt_ms = first_ms + u64::from(BASELINE_DAYS) * DAY_MS;
            let (from_ms, to_ms) = plan.outage.unwrap();
            assert!(learnt_ms < from_ms && from_ms < to_ms, "{after_ms}");
            assert!(plan.stretches[1].from_ms < from_ms, "every minute of it is dense");
            assert_eq!(plan.stretches[1].records, 21_600);
        }
    }

    #[test]
    fn a_demo_that_does_not_begin_leaves_its_folder_empty_and_one_that_did_keeps_it() {
        let filled = || {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("data")).unwrap();
            fs::write(folder.path().join("data/vlmgate.db"), "half").unwrap();
            fs::write(folder.path().join("vlmgate.yaml"), "format: 1").unwrap();
            folder
        };
        let (broken, kept) = (filled(), filled());
        drop(Begun { folder: Some(broken.path().to_path_buf()) });
        drop(Begun { folder: None });
        assert_eq!(fs::read_dir(broken.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_port_that_is_taken_is_no_reason_to_stop() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free(port).unwrap(), port);
    }
}
