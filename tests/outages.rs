//! The figures of the panel under every fault, as tables for a person to read:
//! `cargo bench --bench outages` (short worlds, one seed), `-- long` (as in README.md) or `-- told`
//! (one run, second by second). A word more, as in `-- long 429`, prints the scenarios only in whose
//! names it is. What must hold of them is in `tests/it/outages.rs`.

#[cfg(test)]
fn main() -> std::process::ExitCode {
    // cargo adds `--bench`
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match asked.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => outages::tables::short_worlds(),
        ["long"] => outages::tables::long_worlds(""),
        ["long", word] => outages::tables::long_worlds(word),
        ["told"] => outages::tables::one_run_told(),
        _ => {
            eprintln!("cargo bench --bench outages [-- long [WORD]|told]");
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}

/// The worlds of the integration tests, and the tables that only stand here.
#[cfg(test)]
#[path = "it/outages"]
#[expect(dead_code, reason = "the scenario tests look at figures that no table shows")]
mod outages {
    pub(crate) mod chance;
    pub(crate) mod figures;
    pub(crate) mod judges;
    pub(crate) mod run;
    pub(crate) mod tables;
    pub(crate) mod world;
}
