//! Records for tests: a plain one to change, and any at all.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;
use vlmgate::domain::record::{ImageFacts, PolicyRef, Timing};
use vlmgate::domain::verdict::Scored;
use vlmgate::domain::{
    Attempt, AttemptOutcome, Basis, Decision, Digest, Finding, Format, JudgeId, Limit, MicroUsd,
    Mode, OnFail, Record, Route, Score, Tokens, Verdict,
};

/// The moment of record 0: one second before that of record 1.
pub(crate) const START_US: i64 = 1_795_269_720_000_000;

/// Record `n` of a quiet day: judged, passed, nothing special.
pub(crate) fn record(n: u32) -> Record {
    Record {
        id: Uuid::from_u128(u128::from(n) + (0x7 << 76)),
        at_us: START_US + i64::from(n) * 1_000_000,
        request_id: format!("r-{n}"),
        policy: PolicyRef {
            name: "product-photo".to_owned(),
            revision: Digest::of(b"policy"),
            mode: Mode::Enforce,
        },
        verdict: verdict(Decision::Pass, Basis::Judge),
        judge: Some(judge("openai-mini")),
        route: Some(Route::Primary),
        attempts: vec![attempt("openai-mini", AttemptOutcome::Judged)],
        findings: Vec::new(),
        timing: Timing::default(),
        deadline_ms: 5_000,
        cost: MicroUsd(190),
        complete: true,
        recorded: false,
        client_gone: false,
        image: ImageFacts {
            digest: Digest::of(&n.to_be_bytes()),
            format: Format::Jpeg,
            width_px: 64,
            height_px: 64,
            size_bytes: 1_000,
        },
        vars: BTreeMap::new(),
        team: None,
        external_id: None,
        pre: 0.25,
        propensity: 1.0,
        judged_by: Digest::of(b"judging"),
    }
}

/// A mixed day: every filter tells some of these apart.
pub(crate) fn mixed(n: u32) -> Record {
    let mut one = record(n);
    one.verdict = verdict(Decision::ALL[n as usize % 3], Basis::ALL[n as usize % 5]);
    one.verdict.flags =
        ["halo", "soft"].iter().take(n as usize % 3).map(|&f| f.to_owned()).collect();
    one.verdict.failed =
        ["cutout", "edges"].iter().take(n as usize / 2 % 3).map(|&one| one.to_owned()).collect();
    one.route = Some([Route::Primary, Route::Hedge, Route::Failover][n as usize / 3 % 3]);
    one.judge = Some(judge(["openai-mini", "claude-mini"][n as usize % 2]));
    one.team = n.is_multiple_of(4).then(|| "shoes".to_owned());
    one.external_id = Some(format!("sku-{}", n % 7));
    one.policy.name = ["product-photo", "banner"][n as usize / 20 % 2].to_owned();
    one
}

pub(crate) fn judge(name: &str) -> JudgeId {
    JudgeId { name: name.to_owned(), provider: "openai".to_owned(), model: "luna".to_owned() }
}

pub(crate) fn verdict(decision: Decision, basis: Basis) -> Verdict {
    Verdict {
        decision,
        would_be: None,
        basis,
        scores: Vec::new(),
        failed: Vec::new(),
        flags: Vec::new(),
        borderline: false,
        first_verdict: None,
    }
}

fn attempt(name: &str, outcome: AttemptOutcome) -> Attempt {
    Attempt {
        judge: judge(name),
        route: Route::Primary,
        outcome,
        said: None,
        scores: Vec::new(),
        started_ms: 9,
        took_ms: 640,
        ended_ms: Some(640),
        tokens: None,
        cost: MicroUsd(190),
        request_id: None,
        detail: None,
    }
}

/// Any record; its id and moment are `n`'s.
pub(crate) fn any_record(n: u32) -> impl Strategy<Value = Record> {
    let who = (option::of(any_judge()), option::of(select(&Route::ALL[..])), text());
    let what = (any_verdict(), vec(any_attempt(), 0..4), vec(any_finding(), 0..4));
    let facts = (any_image(), any_policy(), any_timing());
    let names = (btree_map(text(), text(), 0..3), option::of(text()), option::of(text()));
    let numbers = (ratio(), ratio(), any::<u64>(), any::<[bool; 2]>());
    (who, what, facts, names, numbers).prop_map(move |(who, what, facts, names, numbers)| Record {
        judge: who.0,
        route: who.1,
        request_id: who.2,
        verdict: what.0,
        attempts: what.1,
        findings: what.2,
        image: facts.0,
        policy: facts.1,
        timing: facts.2,
        vars: names.0,
        team: names.1,
        external_id: names.2,
        pre: numbers.0,
        propensity: numbers.1,
        cost: MicroUsd(numbers.2),
        deadline_ms: numbers.2 / 3,
        complete: numbers.3[0],
        client_gone: numbers.3[1],
        ..record(n)
    })
}

/// Any text, with whatever a caller or a provider may put into one.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,12}", any::<String>(), Just("'; DROP TABLE record; --\0".to_owned())]
}

/// A decimal fraction, as scores and lines are.
fn ratio() -> impl Strategy<Value = f64> {
    (0..=1_000_u32).prop_map(|thousandths| f64::from(thousandths) / 1_000.0)
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 4]>().prop_map(|bytes| Digest::of(&bytes))
}

fn any_judge() -> impl Strategy<Value = JudgeId> {
    (text(), text(), text()).prop_map(|(name, provider, model)| JudgeId { name, provider, model })
}

fn any_decision() -> impl Strategy<Value = Decision> {
    select(&Decision::ALL[..])
}

fn any_scored() -> impl Strategy<Value = Scored> {
    let said = (option::of(ratio()), ratio(), option::of(any::<bool>()), option::of(text()));
    (text(), said).prop_map(|(criterion, (score, pass_at, passed, reason))| Scored {
        criterion,
        score,
        pass_at,
        passed,
        reason,
    })
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let said = (any_decision(), option::of(any_decision()), option::of(any_decision()));
    let lists = (vec(any_scored(), 0..4), vec(text(), 0..3), vec(text(), 0..3));
    (said, select(&Basis::ALL[..]), lists, any::<bool>()).prop_map(
        |(said, basis, lists, borderline)| Verdict {
            decision: said.0,
            would_be: said.1,
            first_verdict: said.2,
            basis,
            scores: lists.0,
            failed: lists.1,
            flags: lists.2,
            borderline,
        },
    )
}

fn any_tokens() -> impl Strategy<Value = Tokens> {
    (any::<u64>(), any::<u64>(), any::<u64>(), option::of(any::<u64>()))
        .prop_map(|(input, cached, output, image)| Tokens { input, cached, output, image })
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let how = (select(&Route::ALL[..]), select(&AttemptOutcome::ALL[..]), any_judge());
    let score = (text(), option::of(ratio())).prop_map(|(criterion, score)| Score {
        criterion,
        score,
        reason: None,
    });
    let said = (option::of(any_decision()), vec(score, 0..3), option::of(any_tokens()));
    let notes = (option::of(text()), option::of(text()));
    (how, said, notes, any::<[u64; 3]>()).prop_map(|(how, said, notes, numbers)| Attempt {
        route: how.0,
        outcome: how.1,
        judge: how.2,
        said: said.0,
        scores: said.1,
        tokens: said.2,
        request_id: notes.0,
        detail: notes.1,
        started_ms: numbers[0],
        took_ms: numbers[1],
        ended_ms: Some(numbers[1]),
        cost: MicroUsd(numbers[2]),
    })
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let limit = prop_oneof![
        ratio().prop_map(Limit::AtLeast),
        ratio().prop_map(Limit::AtMost),
        (ratio(), ratio()).prop_map(|(low, high)| Limit::Between(low, high)),
    ];
    let on_fail = select(&[OnFail::Fail, OnFail::Review, OnFail::Flag][..]);
    (text(), option::of(ratio()), limit, on_fail).prop_map(|(check, value, limit, on_fail)| {
        Finding::new(&check, value, limit, "ratio", on_fail)
    })
}

fn any_image() -> impl Strategy<Value = ImageFacts> {
    let size = (any::<u32>(), any::<u32>(), any::<u64>());
    (any_digest(), select(&Format::ALL[..]), size).prop_map(|(digest, format, size)| ImageFacts {
        digest,
        format,
        width_px: size.0,
        height_px: size.1,
        size_bytes: size.2,
    })
}

fn any_policy() -> impl Strategy<Value = PolicyRef> {
    let mode = select(&[Mode::Enforce, Mode::Observe, Mode::Off][..]);
    (text(), any_digest(), mode).prop_map(|(name, revision, mode)| PolicyRef {
        name,
        revision,
        mode,
    })
}

fn any_timing() -> impl Strategy<Value = Timing> {
    (ratio(), ratio(), ratio(), option::of(ratio())).prop_map(|(total, read, judge, record)| {
        Timing { total, read, judge, record, ..Timing::default() }
    })
}
