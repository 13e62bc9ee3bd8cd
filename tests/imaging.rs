//! What one image costs, by the gate's own image path on one thread, one JSON line a file:
//! `cargo bench --bench imaging -- [--checks] [--side PX] [--passes N] [--out VIEW.jpg] FILE...`
//!
//! A file is decoded, measured with all checks of the product-photo policy where `--checks` asks for
//! it, and made into one view of at most `--side` pixels (1024), in base64. Without checks a small JPEG
//! is not decoded at all. The first pass warms the caches and
//! gives the peak memory; the medians are of the others. `tests/imaging_peers.py` holds the figures
//! against libvips and Pillow. Features and profile decide what is measured: add
//! `--profile dist --features fast-codecs` for the build that is shipped.

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    match bench::Asked::read() {
        Ok(asked) => {
            for file in &asked.files {
                println!("{}", bench::measure(&asked, file));
            }
            std::process::ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}\ncargo bench --bench imaging -- [--checks] [--side PX] FILE...");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod bench {
    use std::sync::Arc;
    use std::time::Duration;

    use vlmgate::clock::{Deadline, Stopwatch};
    use vlmgate::config::files::PolicyFiles;
    use vlmgate::domain::policy::{Encoding, Region, ViewSpec};
    use vlmgate::domain::{Candidate, Format};
    use vlmgate::imaging::{Imaging, Plan, Settings};

    /// The command line.
    pub(crate) struct Asked {
        checks: bool,
        side_px: u32,
        passes: usize,
        out: Option<String>,
        pub(crate) files: Vec<String>,
    }

    impl Asked {
        pub(crate) fn read() -> Result<Self, String> {
            let mut asked =
                Self { checks: false, side_px: 1024, passes: 5, out: None, files: Vec::new() };
            // cargo adds `--bench`
            let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
            while let Some(word) = words.next() {
                let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
                let number = |text: String| text.parse().map_err(|_| format!("{text}: a number?"));
                match word.as_str() {
                    "--checks" => asked.checks = true,
                    "--side" => asked.side_px = number(value()?)?,
                    "--passes" => asked.passes = number(value()?)?.max(1) as usize,
                    "--out" => asked.out = Some(value()?),
                    file => asked.files.push(file.to_owned()),
                }
            }
            Ok(asked)
        }

        fn plan(&self) -> Plan {
            let shipped = || {
                let loaded = PolicyFiles::shipped().load_one("product-photo.yaml", None);
                loaded.expect("the shipped policy").policy.checks
            };
            Plan {
                max_pixels: 40_000_000,
                checks: if self.checks { shipped() } else { Vec::new() },
                views: vec![ViewSpec {
                    id: "whole".to_owned(),
                    around: None,
                    region: Region::WHOLE,
                    max_side_px: self.side_px,
                }],
                encode: Encoding { quality: 85, flatten_alpha: [255; 3] },
                measures: false,
            }
        }
    }

    /// Prepares one file again and again, and tells what it took.
    pub(crate) fn measure(asked: &Asked, file: &str) -> serde_json::Value {
        let bytes = bytes::Bytes::from(std::fs::read(file).expect("a file"));
        let settings = Settings {
            threads: 1,
            max_decode_time: Duration::from_secs(20),
            ..Settings::default()
        };
        let imaging = Imaging::new(settings).expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let plan = Arc::new(asked.plan());
        let (before_mib, mut peak_mib) = (peak_mib_now(), 0.0);
        let mut taken: [Vec<f64>; 5] = Default::default();
        let mut shown = (0, 0, 0);
        for pass in 0..=asked.passes {
            let candidate = Candidate::admit(bytes.clone(), &Format::ALL, 64 << 20);
            let candidate = candidate.expect("an image");
            let (plan, deadline) = (Arc::clone(&plan), Deadline::after(Duration::from_secs(60)));
            let (watch, busy_ms) = (Stopwatch::start(), cpu_ms());
            let made = runtime.block_on(imaging.prepare(candidate, plan, deadline));
            let (total_ms, busy_ms) = (watch.elapsed_ms(), cpu_ms() - busy_ms);
            let made = made.expect("a picture that can be read");
            let view = &made.views[0];
            shown = (view.width_px, view.height_px, view.jpeg.decoded().len());
            if pass == 0 {
                peak_mib = peak_mib_now();
                if let Some(out) = &asked.out {
                    std::fs::write(out, view.jpeg.decoded()).expect("a place to write");
                }
                continue;
            }
            let parts = [made.decode_ms, made.checks_ms, made.views_ms, total_ms, busy_ms];
            taken.iter_mut().zip(parts).for_each(|(all, one)| all.push(one));
        }
        let [decode_ms, checks_ms, views_ms, total_ms, cpu_ms] = taken.map(median);
        serde_json::json!({
            "file": file,
            "build": if cfg!(feature = "fast-codecs") { "fast" } else { "plain" },
            "checks": asked.checks,
            "decode_ms": decode_ms,
            "checks_ms": checks_ms,
            "views_ms": views_ms,
            "total_ms": total_ms,
            "cpu_ms": cpu_ms,
            // the whole path over the path without the checks
            "with_checks": (decode_ms + checks_ms + views_ms) / (decode_ms + views_ms),
            "view_width_px": shown.0,
            "view_height_px": shown.1,
            "view_bytes": shown.2,
            "before_mib": before_mib,
            "peak_mib": peak_mib,
        })
    }

    /// Time that this process's threads have run: what other processes take of the core is not in it.
    fn cpu_ms() -> f64 {
        let ran = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(ran).unwrap_or_default().as_secs_f64() * 1e3
    }

    fn median(mut all: Vec<f64>) -> f64 {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    /// The most memory this process has held, where the system says so.
    fn peak_mib_now() -> f64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }
}
