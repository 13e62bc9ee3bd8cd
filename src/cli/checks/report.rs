//! The score of a policy's checks as a table for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::cli::checks::fit::{LeftOut, Proposal};
use crate::cli::checks::score::{Beside, Defect, Good};
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
    /// Pictures held to the checks, the refused ones too.
    pub(crate) scored: usize,
    /// Rows of the manifest that are no pictures to score.
    pub(crate) left_out: usize,
    /// The fingerprints.
    pub(crate) twins: Separation,
    /// Whether another tool's scores stand beside.
    pub(crate) is_beside: bool,
    /// Good pictures that the other tool found something in, of those it looked at.
    pub(crate) good_beside: (usize, usize),
    /// What it found in them, with how often.
    pub(crate) good_beside_by: BTreeMap<String, usize>,
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
        writeln!(text, "pictures scored: {}", self.scored)?;
        if self.left_out != 0 {
            writeln!(text, "rows left out (files to break a decoder with): {}", self.left_out)?;
        }
        write!(
            text,
            "good pictures: {count}, stopped {}, flagged {}",
            stopped.len(),
            flagged.len()
        )?;
        let (found, looked) = self.good_beside;
        if self.is_beside {
            let by = self.good_beside_by.iter().map(|(issue, count)| format!("{issue} {count}"));
            let by = by.collect::<Vec<_>>().join(", ");
            write!(text, " (beside: {found} of {looked}: {by})")?;
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
            let mut by = by.collect::<Vec<_>>().join(", ");
            if !defect.beside_by.is_empty() {
                let found =
                    defect.beside_by.iter().map(|(issue, count)| format!("{issue} {count}"));
                write!(by, " (beside: {})", found.collect::<Vec<_>>().join(", "))?;
            }
            writeln!(text, "  {}", by.trim_start())?;
        }
        writeln!(text, "stated defects caught: {caught} of {stated}")?;
        let is_low = |defect: &Defect| defect.caught * 10 < defect.stated * 9;
        let low = self.defects.iter().filter(|(_, defect)| is_low(defect));
        let low: Vec<&str> = low.map(|(name, _)| name.as_str()).collect();
        let low = if low.is_empty() { "none".to_owned() } else { low.join(", ") };
        writeln!(text, "caught less than nine times in ten: {low}")
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

/// What a fit came to.
#[derive(Debug)]
pub(crate) struct Fitted {
    /// The lines.
    pub(crate) proposals: Vec<Proposal>,
    /// The good pictures under these lines.
    pub(crate) good: Good,
    /// Of all defects that something is stated of: caught, and stated.
    pub(crate) caught: (usize, usize),
    /// What leaving each source out makes of them.
    pub(crate) left_out: Vec<LeftOut>,
}

impl Fitted {
    /// Renders it; ends in a line feed.
    #[must_use]
    pub(crate) fn render(&self, checks: &[CheckSpec]) -> String {
        let mut text = String::new();
        // writing to a String cannot fail
        let _ = self.lines_table(&mut text, checks);
        let _ = self.left_out_table(&mut text, checks);
        text
    }

    fn lines_table(&self, text: &mut String, checks: &[CheckSpec]) -> fmt::Result {
        let (now, fitted) = ("now", "fitted");
        writeln!(text, "\n{:<26} {:>5} {:>8} {now:>16} {fitted:>16}", "line", "good", "defects")?;
        let mut others = 0;
        for one in &self.proposals {
            let check = checks.get(one.check).map_or("", |check| check.id.as_str());
            let name = format!("{check}.{}", one.key);
            let (now, fitted) = (shown(one.now), shown(one.fitted));
            write!(text, "{name:<26} {:>5} {:>8} {now:>16} {fitted:>16}", one.good, one.defects)?;
            writeln!(text, "{}", if one.is_now() { "" } else { "  OTHER" })?;
            others += usize::from(!one.is_now());
        }
        writeln!(text, "lines of the policy that are not the fitted ones: {others}")
    }

    fn left_out_table(&self, text: &mut String, checks: &[CheckSpec]) -> fmt::Result {
        let raised = |good: &Good| good.flagged.union(&good.stopped).count();
        let head = ("held to lines fitted without it", "good", "raised");
        writeln!(text, "\n{:<44} {:>5} {:>7}  stated defects caught", head.0, head.1, head.2)?;
        let (caught, stated) = self.caught;
        let (count, flags) = (self.good.count, raised(&self.good));
        writeln!(
            text,
            "{:<44} {count:>5} {flags:>7}  {caught} of {stated}",
            "(all, nothing left out)"
        )?;
        let (mut flags, mut hits, mut all) = (0, 0, 0);
        for LeftOut { source, good, caught: (caught, stated), caught_by_all } in &self.left_out {
            let (count, raised) = (good.count, raised(good));
            write!(text, "{source:<44} {count:>5} {raised:>7}  {caught} of {stated}")?;
            let less = caught_by_all.0.saturating_sub(*caught);
            writeln!(text, "{}", if less == 0 { String::new() } else { format!(", {less} less") })?;
            flags += raised;
            hits += caught;
            all += stated;
        }
        writeln!(text, "{:<44} {count:>5} {flags:>7}  {hits} of {all}", "(all of these)")?;
        for one in &self.left_out {
            for (check, files) in &one.good.by_check {
                let id = checks.get(*check).map_or("", |check| check.id.as_str());
                writeln!(text, "  {id}: {}", files.join(" "))?;
            }
        }
        Ok(())
    }
}

fn shown(limit: Limit) -> String {
    match limit {
        Limit::AtLeast(low) => format!(">= {}", short(low)),
        Limit::AtMost(high) => format!("<= {}", short(high)),
        Limit::Between(low, high) => format!("{} .. {}", short(low), short(high)),
    }
}

/// A number without the digits that binary fractions add.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The files another tool scored, and what it found in them: a CSV file with `file` and any number of
/// columns `is_…_issue`.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read_beside(path: &std::path::Path) -> Result<Beside, csv::Error> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut found = BTreeMap::new();
    for row in reader.deserialize::<BTreeMap<String, String>>() {
        let row = row?;
        let Some(file) = row.get("file") else { continue };
        // whether two of the files are alike is another question
        let counts = |column: &str| column.starts_with("is_") && !column.contains("duplicates");
        let issue = |(column, value): (&String, &String)| {
            let is_found = counts(column) && value.eq_ignore_ascii_case("true");
            let name = column.trim_start_matches("is_").trim_end_matches("_issue");
            is_found.then(|| name.to_owned())
        };
        found.insert(file.clone(), row.iter().filter_map(issue).collect());
    }
    Ok(found)
}
