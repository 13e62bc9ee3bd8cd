//! A roll-up is what records add up to, by minute and by hour.
//!
//! Sums are additive: any rows of a table can be added to any others of it, so the figures of a
//! range of time are those of its parts. A batch of records is added up here first and then written
//! as one statement for each row that it touches.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::domain::{AttemptOutcome, Decision, Route};
use crate::drift::event::Watched;
use crate::ledger::form::{AttemptForm, RecordForm};
use crate::ledger::shadows::Purpose;
use crate::ledger::spread::Spread;

/// Seconds of a minute and of an hour: the steps that are kept.
pub(crate) const STEPS_S: [i64; 2] = [MINUTE_S, HOUR_S];
/// Seconds of a minute.
pub(crate) const MINUTE_S: i64 = 60;
/// Seconds of an hour.
pub(crate) const HOUR_S: i64 = 3_600;

/// Stretches of local risk.
const RISKS: f64 = 20.0;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Verdict,
    Attempt,
    Judged,
    Flag,
    Pair,
    Score,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Verdict, Self::Attempt, Self::Judged, Self::Flag, Self::Pair, Self::Score];

    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Verdict => "verdict_rollup",
            Self::Attempt => "attempt_rollup",
            Self::Judged => "judged_rollup",
            Self::Flag => "flag_rollup",
            Self::Pair => "pair_rollup",
            Self::Score => "score_rollup",
        }
    }

    /// The columns that name a row, behind step, start and policy.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Verdict => &["revision", "judge", "route", "basis"],
            Self::Attempt => &["judge", "route", "outcome"],
            Self::Judged => &["judge", "config", "route", "risk"],
            Self::Flag => &["flag"],
            Self::Pair => &["first", "second", "route"],
            Self::Score => &["judge", "criterion", "pass_at"],
        }
    }

    /// The columns that are summed.
    fn sums(self) -> &'static [&'static str] {
        match self {
            Self::Verdict => &[
                "n",
                "passes",
                "fails",
                "reviews",
                "rated",
                "rejects",
                "first_rejects",
                "borderline",
                "client_gone",
                "cost_micro_usd",
            ],
            Self::Attempt => &["n", "cost_micro_usd", "input_tokens", "output_tokens"],
            Self::Judged => &["n", "rejects"],
            Self::Flag => &["n"],
            Self::Pair => &["both", "first_only", "second_only", "neither"],
            Self::Score => &["n", "failed"],
        }
    }

    fn has_spread(self) -> bool {
        match self {
            Self::Verdict | Self::Attempt | Self::Score => true,
            Self::Judged | Self::Flag | Self::Pair => false,
        }
    }

    /// The statement that adds to a row; a spread, which only we can merge, replaces the old one.
    fn upsert(self) -> String {
        let mut columns = vec!["step_s", "start_s", "policy"];
        columns.extend(self.names());
        let key = columns.join(", ");
        columns.extend(self.sums());
        let sum = |column: &&str| format!("{column} = {column} + excluded.{column}");
        let mut sets: Vec<String> = self.sums().iter().map(sum).collect();
        if self.has_spread() {
            columns.push("spread");
            sets.push("spread = excluded.spread".to_owned());
        }
        let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({key}) DO UPDATE SET {}",
            self.table(),
            columns.join(", "),
            places.join(", "),
            sets.join(", ")
        )
    }

    /// The statement that reads a row's spread.
    fn present(self) -> String {
        let names = self.names().iter().zip(4..);
        let names: String = names.map(|(name, place)| format!(" AND {name} = ?{place}")).collect();
        let table = self.table();
        format!(
            "SELECT spread FROM {table} WHERE step_s = ?1 AND start_s = ?2 AND policy = ?3{names}"
        )
    }
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    step_s: i64,
    start_s: i64,
    policy: String,
    names: Vec<String>,
}

/// What is added to a row.
#[derive(Clone, Debug, Default)]
struct Sums {
    sums: Vec<i64>,
    spread: Spread,
}

/// Which peak of evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PeakKey {
    step_s: i64,
    start_s: i64,
    policy: String,
    detector: String,
}

/// What some records add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells {
    rows: BTreeMap<Key, Sums>,
    peaks: BTreeMap<PeakKey, f64>,
}

/// A judgement that is compared with others of the same image.
struct Said<'a> {
    judge: &'a str,
    route: Route,
    reject: bool,
}

impl Cells {
    /// Adds one record, whose rest has come; `config` names what decided its judging.
    pub(crate) fn add(&mut self, form: &RecordForm, config: &str) {
        let (at, policy) = (form.at.0.div_euclid(1_000_000), form.policy.name.as_str());
        let mut adding = Adding { cells: self, at_s: at, policy };
        adding.verdict(form);
        for attempt in &form.attempts {
            adding.attempt(attempt);
        }
        for flag in &form.flags {
            adding.add(Kind::Flag, &[flag], &[1], |_| {});
        }
        if form.is_rated() {
            adding.judged(form, config);
            adding.pairs(form);
            adding.scores(form);
        }
    }

    /// Adds what was said behind a record's verdict: the call when it was made, what it said when
    /// its image was judged. `config` names what decided the judging.
    pub(crate) fn add_shadow(
        &mut self,
        form: &RecordForm,
        (attempt, at, purpose): (&AttemptForm, Timestamp, Purpose),
        config: &str,
    ) {
        let policy = form.policy.name.as_str();
        let seconds = |at: Timestamp| at.0.div_euclid(1_000_000);
        Adding { cells: self, at_s: seconds(at), policy }.attempt(attempt);
        let Some((route, judge, reject)) = said_aside(form, attempt) else { return };
        let said = Said { judge, route, reject };
        let mut adding = Adding { cells: self, at_s: seconds(form.at), policy };
        if purpose.is_evidence() {
            adding.judgement(&said, &risk(form), config);
        }
        if let Some(first) = judgements(form).first().filter(|first| first.judge != judge) {
            adding.pair(first, &said);
        }
    }

    /// Notes how high a detector's evidence stands at a moment.
    pub(crate) fn note(&mut self, policy: &str, at_ms: i64, watched: &Watched, ratio: f64) {
        let at_s = at_ms.div_euclid(1_000);
        for step_s in STEPS_S {
            let start_s = at_s - at_s.rem_euclid(step_s);
            let detector = detector_name(watched);
            let key = PeakKey { step_s, start_s, policy: policy.to_owned(), detector };
            let peak = self.peaks.entry(key).or_insert(0.0);
            *peak = peak.max(ratio);
        }
    }

    /// Writes everything, within the caller's transaction.
    pub(crate) async fn write(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let statements: BTreeMap<Kind, (String, String)> =
            Kind::ALL.into_iter().map(|kind| (kind, (kind.present(), kind.upsert()))).collect();
        for (key, added) in &self.rows {
            let Some((present, upsert)) = statements.get(&key.kind) else { continue };
            let mut spread = added.spread.clone();
            if key.kind.has_spread() {
                let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(present.as_str()));
                let mut query = query.bind(key.step_s).bind(key.start_s).bind(&key.policy);
                for name in &key.names {
                    query = query.bind(name);
                }
                if let Some(text) = query.fetch_optional(&mut *conn).await? {
                    spread.add(&text);
                }
            }
            let query = sqlx::query(AssertSqlSafe(upsert.as_str()));
            let mut query = query.bind(key.step_s).bind(key.start_s).bind(&key.policy);
            for name in &key.names {
                query = query.bind(name);
            }
            for sum in &added.sums {
                query = query.bind(sum);
            }
            if key.kind.has_spread() {
                query = query.bind(spread.to_string());
            }
            query.execute(&mut *conn).await?;
        }
        for (key, ratio) in &self.peaks {
            let upsert = sqlx::query(UPSERT_PEAK).bind(key.step_s).bind(key.start_s);
            let upsert = upsert.bind(&key.policy).bind(&key.detector).bind(ratio);
            upsert.execute(&mut *conn).await?;
        }
        Ok(())
    }
}

const UPSERT_PEAK: &str = "INSERT INTO evidence_rollup (step_s, start_s, policy, detector, ratio) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (step_s, start_s, policy, detector) \
    DO UPDATE SET ratio = max(ratio, excluded.ratio)";

/// Deletes at most `most` rows of each table of one policy and step that began before a moment.
pub(crate) async fn delete(
    conn: &mut SqliteConnection,
    (policy, step_s): (&str, i64),
    before: Timestamp,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let mut rows = 0;
    for table in Kind::ALL.map(Kind::table).into_iter().chain(["evidence_rollup"]) {
        // keyed by step, policy and start: the oldest come first, and nobody else's are looked at
        let delete = format!(
            "DELETE FROM {table} WHERE step_s = ?1 AND policy = ?2 AND start_s IN (SELECT start_s \
             FROM {table} WHERE step_s = ?1 AND policy = ?2 AND start_s < ?3 \
             ORDER BY start_s LIMIT ?4)"
        );
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(step_s).bind(policy);
        let delete = delete.bind(before.0.div_euclid(1_000_000)).bind(most);
        rows += delete.execute(&mut *conn).await?.rows_affected();
    }
    Ok(rows)
}

/// The word for a detector: `input`, `share`, `config`, `judge:NAME`.
pub(crate) fn detector_name(watched: &Watched) -> String {
    match watched {
        Watched::Judge(judge) => format!("judge:{judge}"),
        Watched::Input | Watched::Share | Watched::Config => watched.to_string(),
    }
}

/// One record on its way into the sums.
struct Adding<'a> {
    cells: &'a mut Cells,
    at_s: i64,
    policy: &'a str,
}

impl Adding<'_> {
    fn add(&mut self, kind: Kind, names: &[&str], by: &[i64], spread: impl Fn(&mut Spread)) {
        for step_s in STEPS_S {
            let key = Key {
                kind,
                step_s,
                start_s: self.at_s - self.at_s.rem_euclid(step_s),
                policy: self.policy.to_owned(),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            };
            let row = self.cells.rows.entry(key).or_default();
            row.sums.resize(by.len(), 0);
            for (sum, by) in row.sums.iter_mut().zip(by) {
                *sum += by;
            }
            spread(&mut row.spread);
        }
    }

    fn verdict(&mut self, form: &RecordForm) {
        let decided = form.would_be.unwrap_or(form.verdict);
        let is_rated = form.is_rated();
        let rejects_first = form.first_verdict.is_some_and(|first| first != Decision::Pass);
        let revision = form.policy.revision.to_string();
        let judge = form.judge.as_ref().map_or("", |judge| judge.name.as_str());
        let route = form.route.map_or("", Route::label);
        let names = [revision.as_str(), judge, route, form.basis.label()];
        let by = [
            1,
            i64::from(decided == Decision::Pass),
            i64::from(decided == Decision::Fail),
            i64::from(decided == Decision::Review),
            i64::from(is_rated),
            i64::from(is_rated && decided == Decision::Fail),
            i64::from(is_rated && rejects_first),
            i64::from(form.borderline),
            i64::from(form.client_gone),
            whole(known_cost(form)),
        ];
        self.add(Kind::Verdict, &names, &by, |spread| spread.count_ms(form.timing_ms.total));
    }

    fn attempt(&mut self, attempt: &AttemptForm) {
        let names = [attempt.judge.as_str(), attempt.route.label(), attempt.outcome.label()];
        let tokens = |tokens: Option<u64>| whole(tokens.unwrap_or_default());
        let by = [
            1,
            whole(attempt.cost_micro_usd.unwrap_or_default()),
            tokens(attempt.input_tokens),
            tokens(attempt.output_tokens),
        ];
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call")]
        let took_ms = attempt.took_ms as f64;
        self.add(Kind::Attempt, &names, &by, |spread| spread.count_ms(took_ms));
    }

    fn judged(&mut self, form: &RecordForm, config: &str) {
        let risk = risk(form);
        for said in watched(form) {
            if said.route == Route::SecondOpinion {
                continue; // asked because of what the first said
            }
            self.judgement(&said, &risk, config);
        }
    }

    fn judgement(&mut self, said: &Said<'_>, risk: &str, config: &str) {
        let names = [said.judge, config, said.route.label(), risk];
        self.add(Kind::Judged, &names, &[1, i64::from(said.reject)], |_| {});
    }

    fn pairs(&mut self, form: &RecordForm) {
        let said = judgements(form);
        let Some((first, others)) = said.split_first() else { return };
        for other in others.iter().filter(|other| other.judge != first.judge) {
            self.pair(first, other);
        }
    }

    /// Adds an image that two judges judged. One that a hedge won was chosen by who was faster: it
    /// is kept apart, under that route, and the one that won comes first.
    fn pair(&mut self, first: &Said<'_>, other: &Said<'_>) {
        let is_won = first.route == Route::Hedge && other.route != Route::SecondOpinion;
        let route = if is_won { Route::Hedge } else { other.route };
        let is_first = is_won || first.judge < other.judge;
        let (a, b) = if is_first { (first, other) } else { (other, first) };
        let by = [
            i64::from(a.reject && b.reject),
            i64::from(a.reject && !b.reject),
            i64::from(!a.reject && b.reject),
            i64::from(!a.reject && !b.reject),
        ];
        self.add(Kind::Pair, &[a.judge, b.judge, route.label()], &by, |_| {});
    }

    /// The first judgement's scores; the lines are the verdict's, which hold for that judge.
    fn scores(&mut self, form: &RecordForm) {
        let Some(judge) = &form.judge else { return };
        let first = form.attempts.iter().find(|one| {
            let is_its_own = one.judge == judge.name && Some(one.route) == form.route;
            is_its_own && one.outcome == AttemptOutcome::Judged
        });
        for (criterion, scored) in &form.scores.0 {
            let own = first.and_then(|one| one.scores.get(criterion).copied().flatten());
            let Some(score) = own.or(scored.score) else { continue };
            let pass_at = scored.pass_at.to_string();
            let names = [judge.name.as_str(), criterion.as_str(), pass_at.as_str()];
            let failed = i64::from(score < scored.pass_at);
            self.add(Kind::Score, &names, &[1, failed], |spread| spread.count_score(score));
        }
    }
}

/// The stretch of local risk.
fn risk(form: &RecordForm) -> String {
    format!("{:02}", (form.pre.clamp(0.0, 1.0) * RISKS).floor().min(RISKS - 1.0))
}

/// What every judge of the image said alone: the first judgement first.
fn judgements(form: &RecordForm) -> Vec<Said<'_>> {
    let (Some(judge), Some(route), Some(first)) = (&form.judge, form.route, form.first_verdict)
    else {
        return Vec::new();
    };
    let first = Said { judge: &judge.name, route, reject: first != Decision::Pass };
    let others = form.attempts.iter().filter(|one| {
        let is_beside = matches!(one.route, Route::SecondOpinion | Route::Probe | Route::Shadow);
        is_beside && one.outcome == AttemptOutcome::Judged && one.judge != judge.name
    });
    let others = others.filter_map(|one| {
        let reject = one.said? != Decision::Pass;
        Some(Said { judge: &one.judge, route: one.route, reject })
    });
    std::iter::once(first).chain(others).collect()
}

/// The same as drift takes them: a probe that is not the verdict only looks on, like a shadow.
fn watched(form: &RecordForm) -> impl Iterator<Item = Said<'_>> {
    judgements(form).into_iter().enumerate().map(|(at, said)| {
        let looks_on = at != 0 && said.route == Route::Probe;
        Said { route: if looks_on { Route::Shadow } else { said.route }, ..said }
    })
}

/// What is known of the bill: all of it once the rest has come.
fn known_cost(form: &RecordForm) -> u64 {
    let known = || form.attempts.iter().filter_map(|one| one.cost_micro_usd).sum();
    form.cost_micro_usd.unwrap_or_else(known)
}

/// What one record may add at most: a sum of any number of records is then still a whole number.
const MAX_ADDED: u64 = 1 << 32;

fn whole(count: u64) -> i64 {
    i64::try_from(count.min(MAX_ADDED)).unwrap_or(i64::MAX)
}

/// What a judge said behind the verdict, as the statistics of drift take it: nothing where it did
/// not judge, or no judge gave the verdict. What the rest of an early answer says of the verdict is no
/// part of it: that may come before or after, and a copy of the record has it from the beginning.
pub(crate) fn said_aside<'a>(
    form: &RecordForm,
    attempt: &'a AttemptForm,
) -> Option<(Route, &'a str, bool)> {
    let is_judged = form.basis.is_judged() && attempt.outcome == AttemptOutcome::Judged;
    let said = attempt.said.filter(|_| is_judged)?;
    Some((attempt.route, &attempt.judge, said != Decision::Pass))
}

/// The same judgements as the statistics of drift take them: route, judge, whether it rejects.
pub(crate) fn judged(form: &RecordForm) -> Vec<(Route, &str, bool)> {
    if !form.is_rated() {
        return Vec::new();
    }
    watched(form).map(|said| (said.route, said.judge, said.reject)).collect()
}
