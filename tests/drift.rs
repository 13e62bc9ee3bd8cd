//! The scorecard of the drift statistics: `cargo bench --bench drift` (a minute or two), `-- long`
//! (as many streams as the promises ask for), and a row's number for that row alone; exit code 1 where a
//! row is missed. What must hold of them in every build is in `tests/it/drift.rs`.

#[cfg(test)]
fn main() -> std::process::ExitCode {
    use crate::drift::studies::{Effort, scorecard};

    // cargo adds `--bench`
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let short = Effort { streams: 4, small_streams: 3, quiet_streams: 2, renewals: 50 };
    let long = Effort { streams: 16, small_streams: 20, quiet_streams: 10, renewals: 500 };
    let is_met = match asked.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => scorecard(short, None),
        ["long"] => scorecard(long, None),
        ["long", number] => scorecard(long, Some(number)),
        [number] => scorecard(short, Some(number)),
        _ => {
            eprintln!("cargo bench --bench drift [-- [long] [NUMBER]]");
            return std::process::ExitCode::from(2);
        }
    };
    if is_met { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// The streams of the integration tests, and the scorecard that only stands here.
#[cfg(test)]
#[path = "it/drift"]
mod drift {
    pub(crate) mod promise;
    pub(crate) mod runs;
    pub(crate) mod studies;
    pub(crate) mod vectors;
    pub(crate) mod worlds;
}
