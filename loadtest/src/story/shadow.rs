//! `loadtest shadow`: what it costs an answer that a tenth of the images are shown to another judge
//! behind their verdicts, and who gives way when there is too much to do.
//!
//! The same images at the same moments, each with the same time of its judge, go to a gate without
//! shadows and to one with, by turns: without, with, with, without, so that a machine that gets
//! slower or faster meanwhile counts for neither. Requests are compared in pairs. How much two runs
//! of the gate without differ from each other is the noise: a cost is one only if the whole
//! interval of the difference lies beyond it. On a machine so restless that a cost could hide in the
//! noise, nothing was shown, and the run says so.
//!
//! Then there are seven times as many images as the judges take. Who is asked behind verdicts must
//! be asked no more, and no verdict may be lost to it.

mod paired;
mod play;
mod rows;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use tempfile::TempDir;

use crate::gallery::Gallery;
use crate::gallery::Look;
use crate::rig::RigError;
use crate::rig::gate;
use crate::story::rate;
use crate::story::shadow::play::Load;
use crate::story::shadow::play::Played;
use crate::story::shadow::play::Scene;
use crate::story::shadow::rows::OverloadRow;
use crate::story::shadow::rows::PairRow;
pub use crate::story::shadow::rows::Seen;
pub use crate::story::shadow::rows::Told;

/// Pictures that are drawn; each is sent in twelve prints.
const DRAWINGS: u32 = 192;
/// Their sides: small, and nothing is measured of them, so that the machine has time for answers.
const SIDES_PX: [u16; 3] = [320, 288, 256];
/// How many times as many images as usual are too many.
const SURGE: f64 = 7.0;
/// Requests in one run, at least.
const LEAST_REQUESTS: f64 = 300.0;
/// Who goes first and last in a round: with shadows or without.
const TURNS: [bool; 4] = [false, true, true, false];

/// Arguments of `loadtest shadow`.
#[derive(Args, Clone, Debug)]
pub struct ShadowArgs {
    /// Pictures a second, one rate after the other
    #[arg(long, value_name = "R,R", value_delimiter = ',', default_value = "10,40,80", value_parser = rate)]
    rates: Vec<f64>,
    /// Pictures a second of which seven times as many are too many
    #[arg(long, value_name = "R", default_value_t = 20.0, value_parser = rate)]
    overload: f64,
    /// How often each rate is played, each time without, with, with, without
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// How long one run is measured, in seconds; longer at low rates, for 300 pictures
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    hold: f64,
    /// What all chances hang on
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The gate's program; without it cargo builds one
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Where the table goes as JSON
    #[arg(long, value_name = "DIR", default_value = "target/loadtest-shadow")]
    out: PathBuf,
}

impl ShadowArgs {
    /// Plays every rate and the overload.
    ///
    /// # Errors
    /// A program, a file or a socket fails; a cost that was found is none.
    pub async fn run(&self, tell: impl Fn(&str) + Copy) -> Result<Told, RigError> {
        if !(1.0..=3_600.0).contains(&self.hold) {
            let hold = self.hold;
            return Err(RigError::Usage(format!("--hold {hold}: from 1 to 3600 seconds")));
        }
        let binary = gate::binary(self.gate.as_deref()).await?;
        let folder = TempDir::with_prefix("vlmgate-shadow-");
        let folder = folder.map_err(RigError::io("a folder for the gate's files"))?;
        let look = Look { sides_px: SIDES_PX, blur_px: 0 };
        let gallery = Gallery::draw_as(self.seed, DRAWINGS, &look)?;
        let scene = Scene::set(binary, folder.path().to_path_buf(), gallery)?;
        let mut told = Told::default();
        // what is slow once, on a machine that has not played this yet, is no run's
        let first = Load { rate_per_s: 20.0, seconds: 1.0, is_short_of_judges: false };
        scene.play(first, self.seed, true).await?;
        for rate_per_s in &self.rates {
            let seconds = self.hold.max(LEAST_REQUESTS / rate_per_s);
            let load = Load { rate_per_s: *rate_per_s, seconds, is_short_of_judges: false };
            let rounds = self.rounds(&scene, load).await?;
            let row = PairRow::of(*rate_per_s, &rounds);
            tell(&row.line());
            told.rates.push(row);
        }
        let rate_per_s = self.overload * SURGE;
        let load = Load { rate_per_s, seconds: self.hold, is_short_of_judges: true };
        let row = OverloadRow::of(rate_per_s, &self.rounds(&scene, load).await?);
        tell(&row.line());
        told.overload = Some(row);
        self.keep(&told)?;
        Ok(told)
    }

    /// Every round's four runs.
    async fn rounds(&self, scene: &Scene, load: Load) -> Result<Vec<[Played; 4]>, RigError> {
        let mut rounds = Vec::new();
        for round in 0..self.rounds {
            let seed = self.seed.wrapping_mul(1_000).wrapping_add(round);
            let mut played: [Played; 4] = Default::default();
            for (run, has_shadows) in played.iter_mut().zip(TURNS) {
                *run = scene.play(load, seed, has_shadows).await?;
            }
            rounds.push(played);
        }
        Ok(rounds)
    }

    fn keep(&self, told: &Told) -> Result<(), RigError> {
        let path = self.out.join("shadow.json");
        let io = |why| RigError::io(path.display().to_string())(why);
        fs::create_dir_all(&self.out).map_err(io)?;
        let text = serde_json::to_vec_pretty(told).map_err(|why| io(why.into()))?;
        fs::write(&path, text).map_err(io)
    }
}
