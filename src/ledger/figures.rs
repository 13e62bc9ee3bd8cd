//! Figures are what the roll-ups say of a range of time: summed by the store, put together by
//! whoever shows them.
//!
//! Each query reads one range of one table in the order of its key and comes back as one JSON text:
//! a row at a time through the driver costs more than the sum itself.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;

use crate::ledger::LedgerError;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::rollup::{HOUR_S, MINUTE_S};

/// Which part of the roll-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// One policy; `None`: all.
    pub policy: Option<String>,
    /// From this second on, a whole bucket.
    pub since_s: i64,
    /// Up to this second, a whole bucket.
    pub until_s: i64,
    /// Seconds of a bucket: a multiple of 60.
    pub bucket_s: i64,
}

impl Scope {
    /// The step that is read: hours wherever buckets are made of hours.
    #[must_use]
    pub fn step_s(&self) -> i64 {
        if self.bucket_s % HOUR_S == 0 { HOUR_S } else { MINUTE_S }
    }
}

/// Verdicts of one bucket and judge.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VerdictBucket {
    /// Which bucket, from 0.
    pub bucket: usize,
    /// The judge; empty where none judged.
    pub judge: String,
    /// All.
    pub n: u64,
    /// Passed.
    pub pass: u64,
    /// Failed.
    pub fail: u64,
    /// For a person.
    pub review: u64,
    /// Those that count in rates.
    pub rated: u64,
    /// Fails among them.
    pub rejected: u64,
    /// Rated whose first judgement alone would not pass.
    pub first_rejected: u64,
    /// Rated by route: primary, hedge, failover, probe.
    pub by_route: [u64; 4],
    /// All by basis: check, deadline, `no_judge`.
    pub by_basis: [u64; 3],
    /// Micro-dollars.
    pub cost_micro_usd: u64,
    /// Milliseconds of the whole check, as a spread.
    pub spread: String,
}

/// Verdicts of the whole range, by judge, route and basis.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VerdictSum {
    /// The judge; empty where none judged.
    pub judge: String,
    /// Why it was asked; empty likewise.
    pub route: String,
    /// What the verdicts rest on.
    pub basis: String,
    /// All.
    pub n: u64,
    /// Passed.
    pub pass: u64,
    /// Failed.
    pub fail: u64,
    /// For a person.
    pub review: u64,
    /// Those that count in rates.
    pub rated: u64,
    /// Fails among them.
    pub rejected: u64,
    /// Rated whose first judgement alone would not pass.
    pub first_rejected: u64,
    /// Decided by scores near the line.
    pub borderline: u64,
    /// Whose caller hung up.
    pub client_gone: u64,
}

/// Calls of one bucket and judge.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AttemptBucket {
    /// Which bucket, from 0.
    pub bucket: usize,
    /// The judge.
    pub judge: String,
    /// All.
    pub n: u64,
    /// Those that the judge failed.
    pub failed: u64,
    /// Micro-dollars.
    pub cost_micro_usd: u64,
    /// Milliseconds until the judgement, of those that judged, as a spread.
    pub spread: String,
}

/// Calls of the whole range, by judge, route and outcome.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AttemptSum {
    /// The judge.
    pub judge: String,
    /// Why it was called.
    pub route: String,
    /// How the call ended.
    pub outcome: String,
    /// Calls.
    pub n: u64,
    /// Micro-dollars.
    pub cost_micro_usd: u64,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
}

/// How often a flag was raised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FlagSum {
    /// The flag.
    pub flag: String,
    /// Verdicts that carry it.
    pub n: u64,
}

/// The scores of one judge for one criterion, held to one line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ScoreSum {
    /// The judge.
    pub judge: String,
    /// The criterion.
    pub criterion: String,
    /// The line.
    pub pass_at: String,
    /// Scores.
    pub n: u64,
    /// Those under the line.
    pub failed: u64,
    /// In twentieths, as a spread.
    pub spread: String,
    /// The last step in which it was held to this line.
    pub last_s: i64,
}

/// First judgements of one stratum.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct JudgedSum {
    /// Which bucket, from 0.
    pub bucket: usize,
    /// The judge.
    pub judge: String,
    /// The configuration.
    pub config: String,
    /// Why it was asked.
    pub route: String,
    /// Stretch of risk, `00` to `19`.
    pub risk: String,
    /// Judgements.
    pub n: u64,
    /// Those that would not pass.
    pub rejects: u64,
}

/// Images that two judges judged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PairSum {
    /// One judge; of images that a hedge won the one that did.
    pub first: String,
    /// The other, later in the alphabet but there.
    pub second: String,
    /// Why the second one was asked; `hedge`: whoever was asked, of an image that a hedge won.
    pub route: String,
    /// Both reject.
    pub both: u64,
    /// The first alone rejects.
    pub first_only: u64,
    /// The second alone rejects.
    pub second_only: u64,
    /// Neither rejects.
    pub neither: u64,
}

/// How high a detector's evidence reached in one bucket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EvidencePeak {
    /// Which bucket, from 0.
    pub bucket: usize,
    /// `input`, `share` or `judge:NAME`.
    pub detector: String,
    /// As a share of an alarm.
    pub ratio: f64,
}

/// Text that takes longer to read than to hand over.
const LONG_BYTES: usize = 16 << 10;

/// The part of each table that a scope means. The tables are keyed by policy before time, so all
/// policies are named one by one: each of them has a mark of its first revision.
const WHERE: &str = "WHERE step_s = ?1 AND start_s >= ?2 AND start_s < ?3 \
    AND policy IN (SELECT ?4 WHERE ?4 IS NOT NULL UNION ALL \
        SELECT policy FROM mark WHERE kind = 'revision' AND ?4 IS NULL) AND ?5 > 0";

const VERDICT_BUCKETS: (&str, &str) = (
    "'bucket', bucket, 'judge', judge, 'n', n, 'pass', pass, 'fail', fail, 'review', review, \
     'rated', rated, 'rejected', rejected, 'first_rejected', first_rejected, \
     'by_route', json_array(primaries, hedges, failovers, probes), \
     'by_basis', json_array(checks, deadlines, no_judges), \
     'cost_micro_usd', cost_micro_usd, 'spread', spread",
    "SELECT (start_s - ?2) / ?5 AS bucket, judge, sum(n) AS n, sum(passes) AS pass, \
     sum(fails) AS fail, sum(reviews) AS review, sum(rated) AS rated, sum(rejects) AS rejected, \
     sum(first_rejects) AS first_rejected, sum(rated * (route = 'primary')) AS primaries, \
     sum(rated * (route = 'hedge')) AS hedges, sum(rated * (route = 'failover')) AS failovers, \
     sum(rated * (route = 'probe')) AS probes, \
     sum(n * (basis = 'check')) AS checks, sum(n * (basis = 'deadline')) AS deadlines, \
     sum(n * (basis = 'no_judge')) AS no_judges, sum(cost_micro_usd) AS cost_micro_usd, \
     group_concat(spread, '') AS spread FROM verdict_rollup WHERE_ GROUP BY 1, 2 ORDER BY 1, 2",
);

const VERDICT_SUMS: (&str, &str) = (
    "'judge', judge, 'route', route, 'basis', basis, 'n', n, 'pass', pass, 'fail', fail, \
     'review', review, 'rated', rated, 'rejected', rejected, 'first_rejected', first_rejected, \
     'borderline', borderline, 'client_gone', client_gone",
    "SELECT judge, route, basis, sum(n) AS n, sum(passes) AS pass, sum(fails) AS fail, \
     sum(reviews) AS review, sum(rated) AS rated, sum(rejects) AS rejected, \
     sum(first_rejects) AS first_rejected, sum(borderline) AS borderline, \
     sum(client_gone) AS client_gone FROM verdict_rollup WHERE_ GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
);

const ATTEMPT_BUCKETS: (&str, &str) = (
    "'bucket', bucket, 'judge', judge, 'n', n, 'failed', failed, \
     'cost_micro_usd', cost_micro_usd, 'spread', spread",
    "SELECT (start_s - ?2) / ?5 AS bucket, judge, sum(n) AS n, \
     sum(n * (outcome NOT IN ('judged', 'cancelled', 'over_budget'))) AS failed, \
     sum(cost_micro_usd) AS cost_micro_usd, \
     coalesce(group_concat(spread, '') FILTER (WHERE outcome = 'judged'), '') AS spread \
     FROM attempt_rollup WHERE_ GROUP BY 1, 2 ORDER BY 1, 2",
);

const ATTEMPT_SUMS: (&str, &str) = (
    "'judge', judge, 'route', route, 'outcome', outcome, 'n', n, \
     'cost_micro_usd', cost_micro_usd, 'input_tokens', input_tokens, \
     'output_tokens', output_tokens",
    "SELECT judge, route, outcome, sum(n) AS n, sum(cost_micro_usd) AS cost_micro_usd, \
     sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens \
     FROM attempt_rollup WHERE_ GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
);

const FLAG_SUMS: (&str, &str) = (
    "'flag', flag, 'n', n",
    "SELECT flag, sum(n) AS n FROM flag_rollup WHERE_ GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100",
);

const SCORE_SUMS: (&str, &str) = (
    "'judge', judge, 'criterion', criterion, 'pass_at', pass_at, 'n', n, 'failed', failed, \
     'spread', spread, 'last_s', last_s",
    "SELECT judge, criterion, pass_at, sum(n) AS n, sum(failed) AS failed, \
     group_concat(spread, '') AS spread, max(start_s) AS last_s FROM score_rollup WHERE_ \
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
);

const JUDGED_SUMS: (&str, &str) = (
    "'bucket', bucket, 'judge', judge, 'config', config, 'route', route, 'risk', risk, 'n', n, \
     'rejects', rejects",
    "SELECT (start_s - ?2) / ?5 AS bucket, judge, config, route, risk, sum(n) AS n, \
     sum(rejects) AS rejects FROM judged_rollup WHERE_ GROUP BY 1, 2, 3, 4, 5 \
     ORDER BY 1, 2, 3, 4, 5",
);

const JUDGED_TOTALS: (&str, &str) = (
    JUDGED_SUMS.0,
    "SELECT 0 AS bucket, judge, config, route, risk, sum(n) AS n, sum(rejects) AS rejects \
     FROM judged_rollup WHERE_ GROUP BY 2, 3, 4, 5 ORDER BY 2, 3, 4, 5",
);

const PAIR_SUMS: (&str, &str) = (
    "'first', first, 'second', second, 'route', route, 'both', both_, 'first_only', first_only, \
     'second_only', second_only, 'neither', neither",
    "SELECT first, second, route, sum(both) AS both_, sum(first_only) AS first_only, \
     sum(second_only) AS second_only, sum(neither) AS neither FROM pair_rollup WHERE_ \
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
);

const EVIDENCE_PEAKS: (&str, &str) = (
    "'bucket', bucket, 'detector', detector, 'ratio', ratio",
    "SELECT (start_s - ?2) / ?5 AS bucket, detector, max(ratio) AS ratio FROM evidence_rollup \
     WHERE_ GROUP BY 1, 2 ORDER BY 2, 1",
);

/// Reads what a statement sums up.
macro_rules! sums {
    ($($(#[$doc:meta])* $name:ident: $statement:ident => $row:ty;)*) => {
        impl Reader {
            $($(#[$doc])*
            ///
            /// # Errors
            /// The store cannot be read.
            pub async fn $name(&self, scope: &Scope) -> Result<Vec<$row>, LedgerError> {
                self.summed($statement, scope).await
            })*
        }
    };
}

sums! {
    /// Verdicts by bucket and judge.
    verdict_buckets: VERDICT_BUCKETS => VerdictBucket;
    /// Verdicts by judge, route and basis.
    verdict_sums: VERDICT_SUMS => VerdictSum;
    /// Calls by bucket and judge.
    attempt_buckets: ATTEMPT_BUCKETS => AttemptBucket;
    /// Calls by judge, route and outcome.
    attempt_sums: ATTEMPT_SUMS => AttemptSum;
    /// The most frequent flags, most frequent first.
    flag_sums: FLAG_SUMS => FlagSum;
    /// Scores by judge, criterion and line.
    score_sums: SCORE_SUMS => ScoreSum;
    /// First judgements by bucket and stratum.
    judged_sums: JUDGED_SUMS => JudgedSum;
    /// First judgements of the whole range by stratum, as one bucket.
    judged_totals: JUDGED_TOTALS => JudgedSum;
    /// Images that two judges judged, by the judges and why the second was asked.
    pair_sums: PAIR_SUMS => PairSum;
    /// Peaks of evidence by bucket and detector.
    evidence_peaks: EVIDENCE_PEAKS => EvidencePeak;
}

impl Reader {
    async fn summed<T: DeserializeOwned + Send + 'static>(
        &self,
        (fields, select): (&str, &str),
        scope: &Scope,
    ) -> Result<Vec<T>, LedgerError> {
        let select = select.replace("WHERE_", WHERE);
        let sql = format!("SELECT json_group_array(json_object({fields})) FROM ({select})");
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
        let query = query.bind(scope.step_s()).bind(scope.since_s).bind(scope.until_s);
        let query = query.bind(scope.policy.as_ref()).bind(scope.bucket_s);
        let text = bounded(query.fetch_one(&self.pool)).await?;
        let is_long = LONG_BYTES < text.len();
        let read = move || serde_json::from_str(&text);
        let read = if is_long { self.apart(read).await? } else { read() };
        read.map_err(|why| LedgerError::Store(format!("sums: {why}")))
    }

    /// The policies of which anything was counted, and when the last of each was.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn counted_policies(&self) -> Result<Vec<String>, LedgerError> {
        let query = sqlx::query_scalar(
            "SELECT DISTINCT policy FROM mark WHERE kind = 'revision' ORDER BY policy",
        );
        bounded(query.fetch_all(&self.pool)).await
    }
}
