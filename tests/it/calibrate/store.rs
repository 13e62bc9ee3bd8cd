//! A store of images that two judges judged, by a law that is known.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::config::casting::Casting;
use vlmgate::config::environment::Environment;
use vlmgate::config::files::PolicyFiles;
use vlmgate::config::{Config, Overrides};
use vlmgate::domain::record::BLIND_LATE;
use vlmgate::domain::verdict::{Opinion, say};
use vlmgate::domain::{
    Attempt, AttemptOutcome, Basis, Decision, Digest, JudgeId, Judgement, MicroUsd, Policy, Record,
    Route, Score,
};
use vlmgate::ledger::form::AttemptForm;
use vlmgate::ledger::labelled::Labelled;
use vlmgate::ledger::labels::{NewLabel, Said};
use vlmgate::ledger::reader::Filter;
use vlmgate::ledger::{Entry, Ledger};
use vlmgate::rehearse::Role;

use crate::ledger::records;

pub(crate) const SERVICE: &str = "\
providers:
  openai: { kind: openai, key: none }
  anthropic: { kind: anthropic, key: none }
judges:
  mini: { provider: openai, model: gpt-6-luna }
  haiku: { provider: anthropic, model: claude-haiku-4-5 }
policies: { dir: policies }
store: { url: \"sqlite://data/vlmgate.db\" }
";

pub(crate) const POLICY: &str = "\
format: 1
name: shop
criteria:
  - { id: cutout, ask: Is the outline clean?, pass_at: 0.7 }
  - { id: shadow, ask: Is the shadow right?, pass_at: 0.6, on_fail: review }
prompt:
  system: You judge cutout and shadow.
route:
  judges: [mini, haiku]
";

/// One image in so many minutes.
const EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Store {
    ledger: Ledger,
    policy: Policy,
    casting: Casting,
    folder: std::path::PathBuf,
    until: Timestamp,
}

/// What a judge is said to have said of an image, and why it was asked.
#[derive(Clone, Copy)]
struct Asked(&'static str, Route);

impl Store {
    pub(crate) async fn open(folder: &Path) -> Self {
        let file = folder.join("vlmgate.yaml");
        let bytes = fs::read(&file).unwrap();
        let nothing = Environment::of([] as [(&str, &str); 0]);
        let shown = file.display().to_string();
        let config = Config::parse(&shown, &bytes, &nothing, &Overrides::default()).unwrap();
        let policies = PolicyFiles::read(&folder.join("policies")).unwrap().load(None).unwrap();
        Self {
            ledger: Ledger::open(config.ledger_settings()).await.unwrap(),
            policy: policies[0].policy.clone(),
            casting: Casting::read(&file).unwrap(),
            folder: folder.to_owned(),
            until: Timestamp::now(),
        }
    }

    pub(crate) async fn close(self) {
        self.ledger.close(Deadline::after(Duration::from_secs(30))).await.unwrap();
    }

    /// Pairs that count, and some of each kind that does not.
    pub(crate) async fn fill(&self) {
        self.pairs(0..1_200).await;
        self.shadows(1_200..2_400, "sample").await;
        self.shadows(2_400..2_410, "burst").await;
        let of = |range: Range<u32>, first, second| {
            range.map(move |n| (n, vec![first, second])).collect::<Vec<_>>()
        };
        let mini = Asked("mini", Route::Primary);
        let opinion = Asked("haiku", Route::SecondOpinion);
        self.store(of(2_500..2_550, mini, opinion), |_| ()).await;
        let hedge = Asked("haiku", Route::Hedge);
        self.store(of(2_600..2_620, hedge, Asked("mini", Route::Primary)), |_| ()).await;
        self.shadows(2_620..2_625, "hedge").await;
        let probe = Asked("haiku", Route::Probe);
        let otherwise = |record: &mut Record| record.judged_by = Digest::of(b"last month");
        self.store(of(2_700..2_730, mini, probe), otherwise).await;
        let again = |record: &mut Record| record.image.digest = Digest::of(&7_u32.to_be_bytes());
        self.store(of(2_800..2_804, mini, probe), again).await;
        let blind = |record: &mut Record| {
            record.attempts[1].scores.iter_mut().for_each(|one| one.score = None);
        };
        self.store(of(2_900..2_903, mini, probe), blind).await;
        // a failover, and the one who was away is probed; nobody's second judge; too long ago
        let failover = Asked("haiku", Route::Failover);
        self.store(of(3_000..3_040, failover, Asked("mini", Route::Probe)), |_| ()).await;
        self.store((3_100..3_150).map(|n| (n, vec![mini])).collect(), |_| ()).await;
        let old = |record: &mut Record| {
            record.at_us = self.until.before(Duration::from_secs(31 * 86_400)).0;
        };
        self.store(of(3_200..3_210, mini, probe), old).await;
    }

    /// Images that `mini` judged and on which `haiku` was probed.
    pub(crate) async fn pairs(&self, range: Range<u32>) {
        let asked = vec![Asked("mini", Route::Primary), Asked("haiku", Route::Probe)];
        self.store(range.map(|n| (n, asked.clone())).collect(), |_| ()).await;
    }

    /// Images that both judges judged alike.
    pub(crate) async fn twins(&self, range: Range<u32>) {
        let asked = vec![Asked("mini", Route::Primary), Asked("haiku", Route::Probe)];
        let alike = |record: &mut Record| {
            for attempt in &mut record.attempts {
                attempt.said = Some(Decision::Pass);
                attempt.scores.iter_mut().for_each(|one| one.score = Some(0.95));
            }
        };
        self.store(range.map(|n| (n, asked.clone())).collect(), alike).await;
    }

    /// Images that `mini` alone judged.
    pub(crate) async fn served(&self, range: Range<u32>) {
        let alone = vec![Asked("mini", Route::Primary)];
        self.store(range.map(|n| (n, alone.clone())).collect(), |_| ()).await;
    }

    /// The same, and nobody had seen them, which was found behind the verdict.
    pub(crate) async fn blind(&self, range: Range<u32>) {
        let alone = vec![Asked("mini", Route::Primary)];
        let blind = |record: &mut Record| record.verdict.flags = vec![BLIND_LATE.to_owned()];
        self.store(range.map(|n| (n, alone.clone())).collect(), blind).await;
    }

    /// Images that `mini` alone judged, all of them image 0.
    pub(crate) async fn again(&self, range: Range<u32>) {
        let alone = vec![Asked("mini", Route::Primary)];
        let again = |record: &mut Record| record.image.digest = records::record(0).image.digest;
        self.store(range.map(|n| (n, alone.clone())).collect(), again).await;
    }

    /// The newest images that people looked at, so many at `most`, and whether that is all.
    pub(crate) async fn looks(&self, most: u32) -> (Vec<u128>, bool) {
        let window = (self.until.before(Duration::from_secs(30 * 86_400)), self.until);
        let looks = self.ledger.reader().labelled(&self.policy.name, window, most).await.unwrap();
        let n = |one: &Labelled| one.judgements.id.as_u128() - records::record(0).id.as_u128();
        (looks.newest.iter().map(n).collect(), looks.is_all)
    }

    /// What `by` says of image `n`.
    pub(crate) async fn label(&self, n: u32, said: Said, by: &str) {
        let label = NewLabel {
            verdict: records::record(n).id,
            at: self.until,
            said,
            criterion: None,
            note: None,
            by: by.to_owned(),
        };
        assert!(self.ledger.label(label).await.unwrap().is_some(), "there is image {n}");
    }

    /// A person's look at image `n`, whose line is 0.1 higher than that of `mini`.
    pub(crate) async fn look(&self, n: u32) {
        let said = if mini_margin(n) < 0.1 - 1e-9 { Said::Defect } else { Said::Ok };
        self.label(n, said, "ann").await;
    }

    /// Everything, as an export has it.
    pub(crate) async fn exported(&self) -> String {
        let all = self.ledger.reader().export(Filter::default());
        let all: Vec<_> = all.try_collect().await.unwrap();
        all.iter().map(|one| serde_json::to_string(one).unwrap() + "\n").collect()
    }

    /// The same where `haiku` was asked behind the verdict.
    async fn shadows(&self, range: Range<u32>, purpose: &str) {
        let alone = vec![Asked("mini", Route::Primary)];
        self.store(range.clone().map(|n| (n, alone.clone())).collect(), |_| ()).await;
        let file = self.folder.join("data/vlmgate.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
        let judged_by = self.judged_by("haiku").to_string();
        let mut tx = conn.begin().await.unwrap();
        for n in range {
            let attempt = self.attempt(n, Asked("haiku", Route::Shadow));
            let form = serde_json::to_string(&AttemptForm::from(&attempt)).unwrap();
            let insert = sqlx::query(
                "INSERT INTO shadow (seq, at_us, policy, judge, purpose, entry, propensity, \
                 judged_by, cost_micro_usd, form) SELECT seq, at_us, policy, 'haiku', ?2, 'try', \
                 0.03, ?3, 90, ?4 FROM record WHERE id = ?1",
            );
            let id = records::record(n).id.to_string();
            let insert = insert.bind(id).bind(purpose).bind(&judged_by).bind(form);
            assert_eq!(insert.execute(&mut *tx).await.unwrap().rows_affected(), 1);
        }
        tx.commit().await.unwrap();
    }

    async fn store(&self, images: Vec<(u32, Vec<Asked>)>, edit: impl Fn(&mut Record)) {
        let appended = images.into_iter().map(|(n, asked)| {
            let mut record = self.record(n, &asked);
            edit(&mut record);
            let entry = Entry { record, keep: Vec::new(), mark: None };
            let slot = self.ledger.reserve().unwrap();
            self.ledger.append(slot, entry, Deadline::after(Duration::from_secs(60)))
        });
        let appended: Vec<_> = appended.collect();
        assert!(join_all(appended).await.iter().all(|one| one.recorded));
    }

    fn record(&self, n: u32, asked: &[Asked]) -> Record {
        let attempts: Vec<_> = asked.iter().map(|one| self.attempt(n, *one)).collect();
        let first = &attempts[0];
        let mut record = records::record(n);
        record.at_us = self.until.before(EVERY * (n + 1)).0;
        record.policy.name = self.policy.name.clone();
        record.policy.revision = self.policy.revision;
        let said = first.said.unwrap();
        record.verdict = records::verdict(said, Basis::Judge);
        record.verdict.first_verdict = Some(said);
        record.judged_by = self.judged_by(&first.judge.name);
        (record.judge, record.route) = (Some(first.judge.clone()), Some(first.route));
        record.attempts = attempts;
        record
    }

    fn attempt(&self, n: u32, Asked(judge, route): Asked) -> Attempt {
        let scores = scores(judge, n);
        let judgement = Judgement { scores: scores.clone() };
        let asked: Vec<_> = self.policy.criteria.iter().collect();
        let lot = records::record(n).image.digest.lot();
        let opinion = Opinion { judge, judgement: &judgement, lot };
        let said: Decision = say(&self.policy, &asked, opinion).0;
        Attempt {
            judge: self.id(judge),
            route,
            outcome: AttemptOutcome::Judged,
            said: Some(said),
            scores,
            started_ms: 5,
            took_ms: 600,
            ended_ms: Some(600),
            tokens: None,
            cost: MicroUsd(90),
            request_id: None,
            detail: None,
        }
    }

    fn id(&self, judge: &str) -> JudgeId {
        match self.casting.role(judge).unwrap() {
            Role::Called(profile) => profile.id.clone(),
            Role::Local(_) => panic!("{judge} is no judge of a provider"),
        }
    }

    fn judged_by(&self, judge: &str) -> Digest {
        match self.casting.role(judge).unwrap() {
            Role::Called(profile) => Policy::judged_by(self.policy.judging, &profile.parameters),
            Role::Local(_) => panic!("{judge} is no judge of a provider"),
        }
    }
}

/// The smallest margin of `mini` on image `n`.
pub(crate) fn mini_margin(n: u32) -> f64 {
    let scores = scores("mini", n);
    let margin = |(score, line): (&Score, f64)| score.score.unwrap() - line;
    scores.iter().zip([0.7, 0.6]).map(margin).fold(f64::INFINITY, f64::min)
}

/// What a judge scores image `n`: each sees its quality with an error of its own, `haiku` scores it
/// 0.05 lower, in steps of 0.05.
fn scores(judge: &str, n: u32) -> Vec<Score> {
    let bell = |random: &mut SmallRng| (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    let mut image = SmallRng::seed_from_u64(u64::from(n));
    let mut eye = SmallRng::seed_from_u64(u64::from(n) << 32 | u64::from(judge == "haiku"));
    let lower = if judge == "haiku" { 0.05 } else { 0.0 };
    let mut score = |criterion: &str| {
        let seen = 0.88 + 0.12 * bell(&mut image) - lower + 0.02 * bell(&mut eye);
        let coarse = (seen.clamp(0.0, 1.0) * 20.0).round() / 20.0;
        Score { criterion: criterion.to_owned(), score: Some(coarse), reason: None }
    };
    vec![score("cutout"), score("shadow")]
}
