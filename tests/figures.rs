//! How long the page waits for its figures: `cargo bench --bench figures` seeds ten million made-up
//! records of thirty days into a store of its own and asks a gate on it; `-- 200000` seeds fewer.
//!
//! The records go the way of real ones: through the ledger's writer, and counted by the follower.
//! Ten million take about thirty gigabytes below the system's folder for such things.

#[cfg(test)]
mod seeded;

/// As `tests/it` starts a gate.
#[cfg(test)]
#[path = "it/world.rs"]
#[expect(dead_code, reason = "the bench needs a few of the helpers")]
mod world;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    // cargo adds `--bench`
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let records = match asked.as_slice() {
        [] => Some(10_000_000),
        [number] => number.parse().ok(),
        _ => None,
    };
    let Some(records) = records else {
        eprintln!("cargo bench --bench figures [-- RECORDS]");
        return std::process::ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if runtime.expect("a runtime").block_on(seeded::measure(records)) {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}
