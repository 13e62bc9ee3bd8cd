//! `loadtest images`: how many images of one kind a gate judges in a second when it judges by itself,
//! and what it holds while it does.
//!
//! A closed loop: so many images are always under way, so the gate's processor is never without work,
//! and never has more than that. What comes of it is throughput; how late answers are at a given rate
//! is for `sustain`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use clap::ValueEnum;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use jpeg_encoder::ColorType;
use jpeg_encoder::Encoder;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::gallery::pixels;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::rig::RigError;
use crate::rig::RunClock;
use crate::rig::gate;
use crate::rig::gate::Gate;
use crate::rig::gate::Start;
use crate::rig::policy::checks;
use crate::rig::policy::shipped;
use crate::rig::watch::EVERY;
use crate::rig::watch::Usage;
use crate::rig::watch::Watch;
use crate::rig::watch::usage;
use crate::scenario::PolicyKind;
use crate::web::Web;

/// How many different images are drawn.
const DRAWINGS: u32 = 8;
/// The longest that one answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest that the gate may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Arguments of `loadtest images`.
#[derive(Args, Clone, Debug)]
pub struct ImagesArgs {
    /// What is sent
    #[arg(long, value_enum)]
    bodies: Bodies,
    /// How many are sent
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    images: u64,
    /// How many are under way at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=512))]
    in_flight: u32,
    /// A built vlmgate, instead of building one
    #[arg(long, value_name = "PATH")]
    gate: Option<PathBuf>,
    /// Hold the gate to cores, as `taskset` writes them
    #[arg(long, value_name = "CORES")]
    cores: Option<String>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bodies {
    /// PNG of 1024 x 1024, RGB.
    #[value(name = "png-1024")]
    Png1024,
    /// JPEG of 1600 x 1200, quality 90, 4:2:0.
    #[value(name = "jpeg-2mp")]
    Jpeg2Mp,
    /// JPEG of 4000 x 3000, quality 90, 4:2:0.
    #[value(name = "jpeg-12mp")]
    Jpeg12Mp,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throughput {
    /// Images sent.
    pub sent: u64,
    /// Those not answered with a verdict.
    pub lost: u64,
    /// Verdicts a second.
    pub images_per_s: f64,
    /// The middle and the slow end of the answers' times.
    pub p50_ms: f64,
    /// 99 of 100 are faster.
    pub p99_ms: f64,
    /// No more than this late came 99 of 100 ticks of the gate's event loop; none without ticks.
    pub loop_lag_p99_ms: Option<f64>,
    /// The gate's memory when it was ready, after the last image, and at its highest.
    pub rss_mb: [f64; 3],
    /// Cores' worth of CPU that the gate used.
    pub cpu_cores: f64,
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [start, end, most] = self.rss_mb;
        let lag = self.loop_lag_p99_ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1}"));
        write!(
            f,
            "{} images, {} lost; {:.1} a second; answered in {:.1} ms (p50), {:.1} ms (p99); event loop \
             late by at most {lag} ms (p99); memory {start:.0} MiB at the start, {end:.0} MiB at the \
             end, {most:.0} MiB at most; {:.2} cores",
            self.sent, self.lost, self.images_per_s, self.p50_ms, self.p99_ms, self.cpu_cores
        )
    }
}

impl ImagesArgs {
    /// Starts a gate, sends everything, and says what came of it.
    ///
    /// # Errors
    /// The rig itself failed; a lost image is none.
    pub async fn run(&self, mut tell: impl FnMut(&str)) -> Result<Throughput, RigError> {
        let bodies: Vec<Bytes> =
            (0..DRAWINGS).map(|n| self.bodies.draw(n)).collect::<Result<_, _>>()?;
        let mean_kb = bodies.iter().map(Bytes::len).sum::<usize>() / bodies.len().max(1) / 1_024;
        tell(&format!("{} different images of {mean_kb} KB on average", bodies.len()));
        let binary = gate::binary(self.gate.as_deref()).await?;
        let folder = tempfile::tempdir().map_err(RigError::io("a folder for the gate"))?;
        write_files(folder.path())?;
        let listen = "127.0.0.1:0".to_owned();
        let start =
            Start { binary, folder: folder.path().to_owned(), cores: self.cores.clone(), listen };
        let web = Web::new();
        let mut gate = Gate::start(&start, &web).await?;
        let throughput = self.drive(&gate, &web, bodies).await;
        gate.terminate().await?;
        gate.ended(STOP_WITHIN).await?;
        Ok(throughput)
    }

    async fn drive(&self, gate: &Gate, web: &Web, bodies: Vec<Bytes>) -> Throughput {
        let pids = [("gate", gate.pid())];
        let mut watch = Watch::new(RunClock::starting(), web.clone());
        let before = watch.look(Some(&gate.url), &pids, BTreeMap::new()).await;
        let begin = gate.pid().and_then(usage);
        let sender = Arc::new(Sender {
            web: web.clone(),
            url: format!("{}/v1/verdicts", gate.url),
            media_type: self.bodies.media_type(),
            bodies,
            images: self.images,
            next: AtomicU64::new(0),
        });
        let began = Instant::now();
        let mut senders = JoinSet::new();
        for _ in 0..self.in_flight {
            senders.spawn(Arc::clone(&sender).send_all());
        }
        let (mut lost, mut took_ms) = (0, Vec::new());
        while !senders.is_empty() {
            tokio::select! {
                Some(done) = senders.join_next() => {
                    let (own_lost, own_took_ms) = done.unwrap_or_default();
                    lost += own_lost;
                    took_ms.extend(own_took_ms);
                }
                () = sleep(EVERY) => drop(watch.look(None, &pids, BTreeMap::new()).await),
            }
        }
        let took_s = began.elapsed().as_secs_f64();
        let after = watch.look(Some(&gate.url), &pids, BTreeMap::new()).await;
        let end = gate.pid().and_then(usage);
        let rss_mb = |usage: Option<Usage>| usage.map_or(0.0, |one| one.rss_mb);
        let cpu_s = end.zip(begin).map_or(0.0, |(end, begin)| end.cpu_s - begin.cpu_s);
        let most_mb = watch.rss_max_mb.get("gate").copied().unwrap_or_default();
        Throughput {
            sent: self.images,
            // whoever broke sent what it had taken, and told nothing
            lost: lost.max(self.images.saturating_sub(took_ms.len() as u64)),
            images_per_s: number(took_ms.len()) / took_s,
            p50_ms: quantile(&took_ms, 0.5).unwrap_or_default(),
            p99_ms: quantile(&took_ms, 0.99).unwrap_or_default(),
            loop_lag_p99_ms: lag_p99_ms(&before.loop_lags, &after.loop_lags),
            rss_mb: [rss_mb(begin), rss_mb(end), most_mb],
            cpu_cores: cpu_s / took_s,
        }
    }
}

/// What all senders share.
struct Sender {
    web: Web,
    url: String,
    media_type: &'static str,
    bodies: Vec<Bytes>,
    images: u64,
    next: AtomicU64,
}

impl Sender {
    /// Sends one image after the other until all are sent: how many were lost, and the times of the
    /// others in milliseconds.
    async fn send_all(self: Arc<Self>) -> (u64, Vec<f64>) {
        let (mut lost, mut took_ms) = (0, Vec::new());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if self.images <= number {
                return (lost, took_ms);
            }
            let sent = Instant::now();
            if self.send(number).await {
                took_ms.push(sent.elapsed().as_secs_f64() * 1e3);
            } else {
                lost += 1;
            }
        }
    }

    /// Whether a verdict came.
    async fn send(&self, number: u64) -> bool {
        let place = usize::try_from(number).unwrap_or_default() % self.bodies.len().max(1);
        let body = self.bodies.get(place).cloned().unwrap_or_default();
        let request = Request::builder().method(Method::POST).uri(&self.url);
        let request = request.header("content-type", self.media_type).body(Full::new(body));
        let Ok(request) = request else { return false };
        let reply = self.web.call(request, Instant::now() + ANSWER_WITHIN).await;
        reply.is_ok_and(|reply| reply.status == 200)
    }
}

impl Bodies {
    fn media_type(self) -> &'static str {
        match self {
            Self::Png1024 => "image/png",
            Self::Jpeg2Mp | Self::Jpeg12Mp => "image/jpeg",
        }
    }

    fn size_px(self) -> (u16, u16) {
        match self {
            Self::Png1024 => (1_024, 1_024),
            Self::Jpeg2Mp => (1_600, 1_200),
            Self::Jpeg12Mp => (4_000, 3_000),
        }
    }

    /// Draws image `n`.
    fn draw(self, n: u32) -> Result<Bytes, RigError> {
        let (width_px, height_px) = self.size_px();
        let pixels = pixels(1, n, (width_px, height_px));
        let mut file = Vec::new();
        match self {
            Self::Png1024 => {
                let mut encoder = png::Encoder::new(&mut file, width_px.into(), height_px.into());
                encoder.set_color(png::ColorType::Rgb);
                encoder.set_depth(png::BitDepth::Eight);
                encoder.write_header()?.write_image_data(&pixels)?;
            }
            Self::Jpeg2Mp | Self::Jpeg12Mp => {
                let mut encoder = Encoder::new(&mut file, 90);
                encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
                encoder.encode(&pixels, width_px, height_px, ColorType::Rgb)?;
            }
        }
        Ok(file.into())
    }
}

/// By how much 99 of 100 ticks between two scrapes were late at most: the edge of their bucket, in
/// milliseconds. Buckets are cumulative.
fn lag_p99_ms(before: &[(f64, f64)], after: &[(f64, f64)]) -> Option<f64> {
    let grown = after.iter().map(|(edge_s, count)| {
        let known = before.iter().find(|(edge, _)| edge.total_cmp(edge_s).is_eq());
        (*edge_s, count - known.map_or(0.0, |(_, count)| *count))
    });
    let grown: Vec<(f64, f64)> = grown.collect();
    let all = grown.last().map(|(_, count)| *count).filter(|count| 0.0 < *count)?;
    let edge = grown.iter().find(|(_, count)| 0.99 * all <= *count);
    edge.map(|(edge_s, _)| edge_s * 1e3)
}

/// A gate without providers, and a policy by which it judges alone.
fn write_files(folder: &Path) -> Result<(), RigError> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies).map_err(RigError::io(policies.display().to_string()))?;
    let place = folder.display();
    let service = format!(
        "store: {{ url: \"sqlite://{place}/data/vlmgate.db\" }}\n\
         policies: {{ dir: \"{place}/policies\", reload: off }}\n"
    );
    let policy = format!(
        "format: 1\nname: alone\ndescription: What the gate itself can say of a picture.\nmode: enforce\n\
         input:\n  accept: [jpeg, png]\n  views:\n    - {{ id: whole, max_side: 1024 }}\n{}criteria:\n  \
         - {{ id: cutout, ask: \"Is it cut out well?\", pass_at: 0.5, measured_by: [edge_halo, residue, edge_noise] }}\n  \
         - {{ id: sharp, ask: \"Is it sharp?\", pass_at: 0.5, measured_by: [sharpness, border] }}\n\
         borderline: 0\n\
         prompt:\n  system: You are a product image quality gate.\n  user: |\n    \
         {{%- for c in criteria %}}\n    - {{{{ c.id }}}}: {{{{ c.ask }}}}\n    {{%- endfor %}}\n\
         answer: {{ reason_chars: 160, max_output_tokens: 300 }}\n\
         route:\n  judges: [local]\n  deadline: 5s\n  floor: 100ms\n  keep_back: 20ms\n  \
         max_attempts: 1\n  on_deadline: review\n  on_no_judge: review\nrecord: {{ images: [] }}\n",
        checks(PolicyKind::Shipped)?
    );
    for (file, text) in
        [(folder.join("vlmgate.yaml"), service), (policies.join("alone.yaml"), policy)]
    {
        fs::write(&file, text).map_err(RigError::io(file.display().to_string()))?;
    }
    shipped::write_lists(&policies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_ticks_between_two_scrapes() {
        let before = [(0.001, 900.0), (0.005, 950.0), (f64::INFINITY, 1_000.0)];
        let after = [(0.001, 1_895.0), (0.005, 1_946.0), (f64::INFINITY, 2_000.0)];
        assert_eq!(lag_p99_ms(&before, &after), Some(1.0));
        let late = [(0.001, 1_000.0), (0.005, 1_945.0), (f64::INFINITY, 2_000.0)];
        assert_eq!(lag_p99_ms(&before, &late), Some(5.0));
        assert_eq!(lag_p99_ms(&before, &before), None);
    }

    #[test]
    fn every_kind_of_image_is_what_it_says() {
        let (png, jpeg) = (Bodies::Png1024.draw(0).unwrap(), Bodies::Jpeg2Mp.draw(0).unwrap());
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x04\0"));
        assert!(jpeg.starts_with(&[0xFF, 0xD8]) && 200_000 < jpeg.len());
        assert_ne!(png, Bodies::Png1024.draw(1).unwrap());
    }
}
