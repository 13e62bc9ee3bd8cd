//! `loadtest drift`: what the gate says of four things that truly happened, each with the size that it
//! truly has.
//!
//! Every step begins with two days of history drawn from the providers' own law, so that a baseline
//! exists, and goes on with live pictures. Then the primary is away for six minutes; the same again with
//! calibrated lines; the primary itself judges more strictly; all pictures are blurred. A step ends with
//! rows of a table: what had to be told, what was told, and what was so: on `/v1/drift`, `/v1/events`
//! and the metrics, by the alerts of a real Prometheus, and by the page in a real browser. No image comes twice: those of
//! the history, on which judges are calibrated too, are none of the live ones.
//!
//! At the usual 20 pictures a second six minutes are 7 200 pictures: at 3 points that is an interval of
//! a point. The routing event itself needs thirty verdicts and comes within seconds, so the short form's
//! two minutes tell the same event, with a wider interval of the whole outage.

mod alarms;
mod onlookers;
mod page;
mod pasted;
mod rows;
mod shifted;
mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::ValueEnum;
use tempfile::TempDir;

use crate::gallery::Gallery;
use crate::gallery::Look;
use crate::rig::RigError;
use crate::rig::gate;
use crate::story::drift::onlookers::Onlookers;
use crate::story::drift::steps::Playing;
use crate::story::files::Policy;
use crate::story::law::Law;
use crate::story::rate;
use crate::story::stage::Stage;
pub use crate::story::table::Held;

/// Pictures that are drawn; every image that is sent is a print of its own of one of them.
const DRAWINGS: u32 = 96;
/// Their sides: small, so that the machine has time for judging.
const SIDES_PX: [u16; 3] = [512, 448, 384];
/// How far a blurred picture's pixels are spread.
const BLUR_PX: usize = 1;

/// Arguments of `loadtest drift`.
#[derive(Args, Clone, Debug)]
pub struct DriftArgs {
    /// The short form: an outage of two minutes, a thinner history
    #[arg(long)]
    short: bool,
    /// Only these steps
    #[arg(long, value_name = "STEP,STEP", value_delimiter = ',')]
    only: Vec<StepName>,
    /// Pictures a second
    #[arg(long, value_name = "R", default_value_t = 20.0, value_parser = rate)]
    rate: f64,
    /// What all chances hang on
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How live images are judged twice, which tells a judge from the images
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PairsBy::SecondOpinion)]
    pairs: PairsBy,
    /// The gate's program; without it cargo builds one
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// The Prometheus that looks at the alerts; without it the one on the PATH, or that of tests/ops
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// The browser that looks at the page
    #[arg(long, value_name = "FILE", env = "CHROMIUM", default_value = "/usr/bin/chromium")]
    chromium: PathBuf,
    /// Miss the rows for which a Prometheus, a browser or a command of the gate is not there; without
    /// it they are skipped
    #[arg(long)]
    require_all: bool,
    /// Where the table goes as JSON
    #[arg(long, value_name = "DIR", default_value = "target/loadtest-drift")]
    out: PathBuf,
}

/// What a step makes happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StepName {
    /// The primary is away for a while
    Routing,
    /// The same with calibrated lines
    Calibrated,
    /// The primary judges more strictly
    Provider,
    /// All pictures are blurred
    Input,
}

/// How live images are judged twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PairsBy {
    /// A second opinion on one image in two: judges differ on few, and it takes forty of those
    SecondOpinion,
    /// Shadow judging of one image in five, and of more once something is suspected
    Shadow,
}

impl PairsBy {
    /// The policy's lines.
    fn lines(self) -> String {
        match self {
            Self::SecondOpinion => "second_opinion:\n  when: [{ sample: 50% }]\n  \
                ask: [claude-haiku, gemini-flash]\n  max_share: 60%\n"
                .to_owned(),
            Self::Shadow => {
                "shadow:\n  - { id: beside, judge: claude-haiku, sample: 20%, per_day: 1000 USD }\n  \
                - { id: third, judge: gemini-flash, sample: 5%, per_day: 1000 USD }\n"
                    .to_owned()
            }
        }
    }
}

impl DriftArgs {
    /// Plays every step, up to one that breaks off.
    ///
    /// # Errors
    /// A program, a file or a socket fails before the first, or the table cannot be kept.
    pub async fn run(&self, tell: impl Fn(&str) + Copy) -> Result<Held, RigError> {
        let binary = gate::binary(self.gate.as_deref()).await?;
        let prometheus = self.prometheus.as_deref();
        let onlookers = Onlookers::find(prometheus, &self.chromium, self.require_all).await;
        onlookers.missing().iter().for_each(|why| tell(why));
        let folder = TempDir::with_prefix("vlmgate-drift-");
        let folder = folder.map_err(RigError::io("a folder for the gate's files"))?;
        let law = Law::usual();
        let sharp = self.gallery(0)?;
        let stage = Stage::set(binary, folder.path().to_path_buf(), "127.0.0.1:0", &law)?;
        let policy = Policy { pairs: self.pairs.lines(), ..Policy::default() };
        let shares = law.reject_shares();
        tell(&told_shares(&shares));
        let survey = None;
        let (first_live, paired) = (0, 0);
        let mut playing = Playing {
            args: self,
            stage,
            onlookers,
            law,
            policy,
            sharp,
            shares,
            survey,
            first_live,
            paired,
        };
        let mut held = Held::default();
        for step in StepName::value_variants() {
            if !self.only.is_empty() && !self.only.contains(step) {
                continue;
            }
            let name = step.to_possible_value().map(|name| name.get_name().to_owned());
            let name = name.unwrap_or_default();
            tell(&format!("{name}:"));
            let goes_on = held.take(&name, Box::pin(playing.play(*step, tell)).await);
            // with every step: who stops the run keeps what was held until then
            self.keep(&held)?;
            if !goes_on {
                break;
            }
        }
        let closed = playing.stage.close().await;
        if held.is_whole() && !held.take("the end", closed.map(|()| Vec::new())) {
            self.keep(&held)?;
        }
        Ok(held)
    }

    fn gallery(&self, blur_px: usize) -> Result<Arc<Gallery>, RigError> {
        let drawings = if self.short { DRAWINGS / 2 } else { DRAWINGS };
        let look = Look { sides_px: SIDES_PX, blur_px };
        Ok(Arc::new(Gallery::draw_as(self.seed, drawings, &look)?))
    }

    fn keep(&self, held: &Held) -> Result<(), RigError> {
        let path = self.out.join("drift.json");
        let io = |why| RigError::io(path.display().to_string())(why);
        fs::create_dir_all(&self.out).map_err(io)?;
        let text = serde_json::to_vec_pretty(held).map_err(|why| io(why.into()))?;
        fs::write(&path, text).map_err(io)
    }
}

fn told_shares(shares: &BTreeMap<String, f64>) -> String {
    let share = |(judge, share): (&String, &f64)| format!("{judge} {:.2} %", share * 100.0);
    let shares: Vec<String> = shares.iter().map(share).collect();
    format!("of all pictures each judge rejects: {}", shares.join(", "))
}
