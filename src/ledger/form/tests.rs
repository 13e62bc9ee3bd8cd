use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;
use crate::domain::{Limit, MicroUsd, Score, Tokens, Verdict};

/// One check as it usually goes: a slow primary, a hedge that judged, one flag.
pub(crate) fn sample() -> Record {
    Record {
        id: Uuid::from_u128(0x0192_f3c1_0000_7000_8000_0000_0000_0001),
        at_us: 1_795_269_720_000_250,
        request_id: "r-1".to_owned(),
        policy: PolicyRef {
            name: "product-photo".to_owned(),
            revision: Digest::of(b"policy"),
            mode: Mode::Enforce,
        },
        verdict: verdict(),
        judge: Some(judge("openai-mini", "openai", "gpt-6-luna")),
        route: Some(Route::Hedge),
        attempts: vec![cancelled(), judged()],
        findings: vec![
            Finding::new("sharp", Some(212.4), Limit::AtLeast(35.0), "variance", OnFail::Fail),
            Finding::new("halo", Some(0.11), Limit::AtMost(0.06), "ratio", OnFail::Flag),
            Finding::new("light", None, Limit::Between(0.06, 0.97), "ratio", OnFail::Review),
        ],
        timing: Timing {
            total: 655.25,
            read: 1.0,
            decode: 4.5,
            checks: 2.0,
            prepare: 2.0,
            judge: 640.0,
            record: None,
        },
        deadline_ms: 5_000,
        cost: MicroUsd(310),
        complete: true,
        recorded: false,
        client_gone: false,
        image: ImageFacts {
            digest: Digest::of(b"image"),
            format: Format::Jpeg,
            width_px: 2_048,
            height_px: 1_536,
            size_bytes: 412_331,
        },
        vars: BTreeMap::from([("category".to_owned(), "footwear".to_owned())]),
        team: None,
        external_id: Some("sku-1".to_owned()),
        pre: 1.0,
        propensity: 1.0,
        judged_by: Digest::of(b"judging"),
    }
}

fn verdict() -> Verdict {
    Verdict {
        decision: Decision::Pass,
        would_be: None,
        basis: Basis::Judge,
        scores: vec![
            scored("cutout", Some(0.91), Some("clean outline")),
            scored("anatomy", None, None),
        ],
        failed: Vec::new(),
        flags: vec!["halo".to_owned()],
        borderline: false,
        first_verdict: Some(Decision::Pass),
    }
}

fn cancelled() -> Attempt {
    Attempt {
        judge: judge("claude-mini", "anthropic", "claude-haiku-6"),
        route: Route::Primary,
        outcome: AttemptOutcome::Cancelled,
        said: None,
        scores: Vec::new(),
        started_ms: 9,
        took_ms: 640,
        ended_ms: Some(640),
        tokens: None,
        cost: MicroUsd(120),
        request_id: None,
        detail: Some("lost the race".to_owned()),
    }
}

fn judged() -> Attempt {
    let score = Score {
        criterion: "cutout".to_owned(),
        score: Some(0.91),
        reason: Some("clean outline".to_owned()),
    };
    Attempt {
        judge: judge("openai-mini", "openai", "gpt-6-luna"),
        route: Route::Hedge,
        outcome: AttemptOutcome::Judged,
        said: Some(Decision::Pass),
        scores: vec![score],
        started_ms: 310,
        took_ms: 339,
        ended_ms: Some(339),
        tokens: Some(Tokens { input: 1_605, cached: 5, output: 58, image: Some(1_105) }),
        cost: MicroUsd(190),
        request_id: Some("req_7".to_owned()),
        detail: None,
    }
}

fn judge(name: &str, provider: &str, model: &str) -> JudgeId {
    JudgeId { name: name.to_owned(), provider: provider.to_owned(), model: model.to_owned() }
}

fn scored(criterion: &str, score: Option<f64>, reason: Option<&str>) -> Scored {
    Scored {
        criterion: criterion.to_owned(),
        score,
        pass_at: 0.7,
        passed: score.map(|score| 0.7 <= score),
        reason: reason.map(str::to_owned),
    }
}

/// One line for each key, in the order it is written.
fn lines(form: &RecordForm) -> String {
    let json = serde_json::to_string(form).unwrap();
    let keys: Keyed<Box<RawValue>> = serde_json::from_str(&json).unwrap();
    keys.0.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

#[test]
fn the_form_is_the_contract_key_by_key() {
    insta::assert_snapshot!(lines(&RecordForm::from(&sample())), @r#"
    id: "0192f3c1-0000-7000-8000-000000000001"
    verdict: "pass"
    basis: "judge"
    policy: {"name":"product-photo","revision":"b3:ff096070fb25d5456f50000af78f1c92fda605bdb7bc3d1e7d1cc0091204e61c","mode":"enforce"}
    judge: {"name":"openai-mini","provider":"openai","model":"gpt-6-luna"}
    route: "hedge"
    scores: {"cutout":{"score":0.91,"pass_at":0.7,"passed":true,"reason":"clean outline"},"anatomy":{"score":null,"pass_at":0.7,"passed":null,"reason":null}}
    failed: []
    flags: ["halo"]
    borderline: false
    would_be: null
    attempts: [{"judge":"claude-mini","provider":"anthropic","model":"claude-haiku-6","route":"primary","outcome":"cancelled","said":null,"scores":{},"started_ms":9,"took_ms":640,"input_tokens":null,"output_tokens":null,"cost_micro_usd":120,"request_id":null,"detail":"lost the race","cached_tokens":null,"image_tokens":null},{"judge":"openai-mini","provider":"openai","model":"gpt-6-luna","route":"hedge","outcome":"judged","said":"pass","scores":{"cutout":0.91},"started_ms":310,"took_ms":339,"input_tokens":1605,"output_tokens":58,"cost_micro_usd":190,"request_id":"req_7","detail":null,"cached_tokens":5,"image_tokens":1105}]
    findings: [{"check":"sharp","value":212.4,"limit":35.0,"passed":true,"unit":"variance","on_fail":"fail"},{"check":"halo","value":0.11,"limit":0.06,"passed":false,"unit":"ratio","on_fail":"flag"},{"check":"light","value":null,"limit":0.06,"passed":true,"unit":"ratio","on_fail":"review"}]
    timing_ms: {"total":655.25,"read":1.0,"decode":4.5,"checks":2.0,"prepare":2.0,"judge":640.0,"record":null}
    deadline_ms: 5000
    cost_micro_usd: 310
    complete: true
    recorded: false
    client_gone: false
    image: {"digest":"b3:0229ff7dec8a365f7300835d175494866d46e56fec330dad33cd3dc93df3c16d","format":"jpeg","width_px":2048,"height_px":1536,"size_bytes":412331}
    team: null
    external_id: "sku-1"
    seq: null
    at: "2026-11-21T14:02:00.000250Z"
    request_id: "r-1"
    vars: {"category":"footwear"}
    first_verdict: "pass"
    pre: 1.0
    propensity: 1.0
    judged_by: "b3:99a82cb980ef8d8fa0ff90518bb08761731002f2c523b66ce328448bb122fdf6"
    "#);
}

#[test]
fn no_judge_is_named_unless_one_judged() {
    for basis in Basis::ALL {
        let mut record = sample();
        record.verdict.basis = basis;
        let form = RecordForm::from(&record);
        assert_eq!(form.judge.is_some(), basis.is_judged(), "{basis:?}");
        assert_eq!(form.route.is_some(), basis.is_judged(), "{basis:?}");
    }
}

#[test]
fn a_form_reads_back_as_itself() {
    let form = RecordForm::from(&sample());
    let json = serde_json::to_string(&form).unwrap();
    assert_eq!(serde_json::from_str::<RecordForm>(&json).unwrap(), form);
}

#[test]
fn a_number_that_json_cannot_say_is_null_and_still_reads_back() {
    let mut record = sample();
    let infinite = Limit::AtMost(f64::INFINITY);
    record.findings = vec![Finding::new("odd", Some(f64::NAN), infinite, "ratio", OnFail::Flag)];
    let form = RecordForm::from(&record);
    assert_eq!((form.findings[0].value, form.findings[0].limit), (None, None));
    let json = serde_json::to_string(&form).unwrap();
    assert_eq!(serde_json::from_str::<RecordForm>(&json).unwrap(), form);
}

#[test]
fn an_unknown_word_is_refused_with_the_known_ones() {
    let json = serde_json::to_string(&RecordForm::from(&sample())).unwrap();
    let json = json.replace(r#""verdict":"pass""#, r#""verdict":"fine""#);
    let why = serde_json::from_str::<RecordForm>(&json).unwrap_err().to_string();
    assert!(why.contains(r#"is "fine", expected one of: pass, review, fail"#), "{why}");
}
