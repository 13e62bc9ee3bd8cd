//! The score of a policy's checks as a table for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::cli::checks::fit::{LeftOut, Proposal};
use crate::cli::checks::score::{Defect, Good};
use crate::cli::checks::twins::{Pair, Separation};
use crate::domain::Limit;
use crate::domain::policy::CheckSpec;

/// What each check took over all pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Costs {
    /// Milliseconds by the check's place.
    pub(crate) by_check: BTreeMap<usize, f64>,
    /// Milliseconds of what all checks share: the sample, the subject.
    pub(crate) shared: f64,
    /// Milliseconds of decoding.
    pub(crate) decode: f64,
    /// Millions of pixels measured.
    pub(crate) megapixels: f64,
    /// Pictures measured.
    pub(crate) count: usize,
}

/// Everything that is told about a run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// The policy's checks.
    pub(crate) checks: &'a [CheckSpec],
    /// The good pictures.
    pub(crate) good: Good,
    /// The defects by name.
    pub(crate) defects: BTreeMap<String, Defect>,
    /// What it took.
    pub(crate) costs: Costs,
    /// The fingerprints.
    pub(crate) twins: Separation,
    /// Whether another tool's scores stand beside.
    pub(crate) is_beside: bool,
    /// Good pictures that the other tool found something in, of those it looked at.
    pub(crate) good_beside: (usize, usize),
}

impl Report<'_> {
    /// Renders it; ends in a line feed.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // writing to a String cannot fail
        let _ = self.checks_table(&mut text);
        let _ = self.defects_table(&mut text);
        let _ = self.misses(&mut text);
        let _ = self.twins_lines(&mut text);
        text
    }

    fn checks_table(&self, text: &mut String) -> fmt::Result {
        let Good { count, stopped, flagged, by_check } = &self.good;
        write!(
            text,
            "good pictures: {count}, stopped {}, flagged {}",
            stopped.len(),
            flagged.len()
        )?;
        let (found, looked) = self.good_beside;
        if self.is_beside {
            write!(text, " (beside: {found} of {looked})")?;
        }
        writeln!(text)?;
        for file in stopped {
            writeln!(text, "  STOPPED {file}")?;
        }
        let Costs { shared, decode, megapixels, count, .. } = &self.costs;
        let pictures = f64::from(u32::try_from(*count).unwrap_or(u32::MAX)).max(1.0);
        let pixels = megapixels.max(f64::MIN_POSITIVE);
        let per = |ms: f64| format!("{:>7.2} {:>8.2}", ms / pictures, ms / pixels);
        writeln!(
            text,
            "\n{:<16} {:<13} {:<6} good flagged   ms/one    ms/MP",
            "check", "type", "does"
        )?;
        for (number, check) in self.checks.iter().enumerate() {
            let files = by_check.get(&number).map_or(&[][..], Vec::as_slice);
            let ms = self.costs.by_check.get(&number).copied().unwrap_or_default();
            let (kind, does) = (check.kind.label(), check.on_fail.label());
            let id = &check.id;
            let line = format!("{id:<16} {kind:<13} {does:<6} {:>12}  {}", files.len(), per(ms));
            writeln!(text, "{line}  {}", files.join(" "))?;
        }
        writeln!(text, "{:<50}  {}", "what all of them share", per(*shared))?;
        writeln!(text, "{:<50}  {}", "decoding, for comparison", per(*decode))
    }

    fn defects_table(&self, text: &mut String) -> fmt::Result {
        let beside = if self.is_beside { "  beside" } else { "" };
        writeln!(text, "\n{:<28} pictures   stated  caught  noticed{beside}  by", "defect")?;
        let (mut stated, mut caught) = (0, 0);
        for (name, defect) in &self.defects {
            stated += defect.stated;
            caught += defect.caught;
            write!(text, "{name:<28} {:>8} {:>8}", defect.count, dash(defect.stated))?;
            let hits = if defect.stated == 0 { "-".to_owned() } else { defect.caught.to_string() };
            write!(text, " {hits:>7} {:>8}", defect.noticed)?;
            if self.is_beside {
                let (found, looked) = defect.beside;
                write!(text, " {:>7}", format!("{found}/{looked}"))?;
            }
            let name_of = |check: &usize| self.checks.get(*check).map_or("", |one| one.id.as_str());
            let by =
                defect.by_check.iter().map(|(check, count)| format!("{} {count}", name_of(check)));
            writeln!(text, "  {}", by.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(text, "stated defects caught: {caught} of {stated}")
    }

    fn misses(&self, text: &mut String) -> fmt::Result {
        for (name, defect) in &self.defects {
            for file in &defect.missed {
                writeln!(text, "  MISSED {name}: {file}")?;
            }
        }
        Ok(())
    }

    fn twins_lines(&self, text: &mut String) -> fmt::Result {
        let Separation { same, different } = &self.twins;
        let (Some(far), Some(near)) = (same.first(), different.first()) else { return Ok(()) };
        let (pairs, others) = (same.len(), different.len());
        writeln!(
            text,
            "\nfingerprints: {pairs} pairs of duplicates, {others} of different pictures"
        )?;
        let mut pair = |what: &str, Pair { distance, one, other }: &Pair| {
            writeln!(text, "  {what} {distance} bits: {one} {other}")
        };
        pair("farthest duplicates", far)?;
        pair("nearest different  ", near)?;
        let overlap = different.iter().take_while(|other| other.distance <= far.distance);
        for other in overlap.skip(1) {
            pair("  as near          ", other)?;
        }
        Ok(())
    }
}

fn dash(count: usize) -> String {
    if count == 0 { "-".to_owned() } else { count.to_string() }
}

/// Renders the lines a fit proposes and what leaving each source out makes of them.
#[must_use]
pub(crate) fn render_fit(
    checks: &[CheckSpec],
    proposals: &[Proposal],
    whole: (&Good, (usize, usize)),
    left_out: &[LeftOut],
) -> String {
    let mut text = String::new();
    let _ = fit_table(&mut text, checks, proposals);
    let _ = left_out_table(&mut text, checks, whole, left_out);
    text
}

fn fit_table(text: &mut String, checks: &[CheckSpec], proposals: &[Proposal]) -> fmt::Result {
    writeln!(text, "\n{:<34} {:>5} {:>18} {:>18}", "fitted to the good", "of", "now", "proposed")?;
    for one in proposals {
        let check = checks.get(one.check).map_or("", |check| check.id.as_str());
        let name = format!("{check}.{}", one.key);
        let (now, fitted) = (shown(one.now), shown(one.fitted));
        writeln!(text, "{name:<34} {:>5} {now:>18} {fitted:>18}", one.count)?;
    }
    Ok(())
}

fn left_out_table(
    text: &mut String,
    checks: &[CheckSpec],
    (good, (caught, stated)): (&Good, (usize, usize)),
    left_out: &[LeftOut],
) -> fmt::Result {
    writeln!(text, "\n{:<44} good  flagged  stated defects caught", "fitted without")?;
    let mut row = |name: &str, good: &Good, caught: usize, stated: usize| {
        let raised = good.flagged.union(&good.stopped).count();
        writeln!(text, "{name:<44} {:>4} {raised:>8}  {caught} of {stated}", good.count)
    };
    row("(nothing left out)", good, caught, stated)?;
    for one in left_out {
        row(&one.source, &one.good, one.caught.0, one.caught.1)?;
    }
    let raised = left_out.iter().flat_map(|one| one.good.flagged.union(&one.good.stopped));
    let files: Vec<_> = raised.map(String::as_str).collect();
    writeln!(text, "flagged by lines fitted without their source: {}", files.len())?;
    for one in left_out {
        for (check, files) in &one.good.by_check {
            let id = checks.get(*check).map_or("", |check| check.id.as_str());
            writeln!(text, "  {id}: {}", files.join(" "))?;
        }
    }
    Ok(())
}

fn shown(limit: Limit) -> String {
    match limit {
        Limit::AtLeast(low) => format!(">= {low:.4}"),
        Limit::AtMost(high) => format!("<= {high:.4}"),
        Limit::Between(low, high) => format!("{low:.4} .. {high:.4}"),
    }
}

/// The files another tool scored, and whether it found anything in them: a CSV file with `file` and
/// any number of columns `is_…_issue`.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read_beside(path: &std::path::Path) -> Result<BTreeMap<String, bool>, csv::Error> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut found = BTreeMap::new();
    for row in reader.deserialize::<BTreeMap<String, String>>() {
        let row = row?;
        let Some(file) = row.get("file") else { continue };
        // whether two of the files are alike is another question
        let counts = |column: &str| column.starts_with("is_") && !column.contains("duplicates");
        let is_issue = |(column, value): (&String, &String)| {
            counts(column) && value.eq_ignore_ascii_case("true")
        };
        found.insert(file.clone(), row.iter().any(is_issue));
    }
    Ok(found)
}
