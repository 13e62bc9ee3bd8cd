//! A revision is the digest of what a policy means, not of how its file is written.
//!
//! It is taken over the checked policy with its defaults filled and its prompts and lists read, as
//! JSON with sorted keys: comments, order of keys and formatting do not count, a changed prompt
//! file does. A second digest covers only what decides the judging, so that a new line in a list
//! or another order of judges does not look like a new way of judging.

use serde_json::{Value as Json, json};

use crate::clock::dates::show_date;
use crate::domain::policy::{
    BackfillSpec, CheckKind, CheckSpec, Combine, Criterion, CriterionOnFail, HedgeSpec, Input,
    Keep, KeepImage, LosersSpec, Offset, Owner, Policy, RouteSpec, SecondOpinion,
    SecondOpinionWhen, ShadowSpec, ViewSpec,
};
use crate::domain::{Digest, Fallback, OnFail};

/// Sets the digests of `policy` to what the rest of it says.
pub fn seal(policy: &mut Policy) {
    policy.revision = digest("policy 1", &whole(policy));
    policy.judging = digest("judging 1", &judging(policy));
    policy.asked = digest("asked 1", &asked(policy));
}

/// What `judging` was before any offset was set: what was judged then is what is judged now, for
/// whoever adds the offsets himself.
#[must_use]
pub fn judging_without_offsets(policy: &Policy) -> Digest {
    let mut plain = policy.clone();
    plain.route.offset_by_judge.clear();
    digest("judging 1", &judging(&plain))
}

fn digest(kind: &str, json: &Json) -> Digest {
    let mut text = format!("vlmgate {kind}\n");
    write_sorted(json, &mut text);
    Digest::of(text.as_bytes())
}

/// JSON with the keys of every object in order, whatever map the library was built with.
fn write_sorted(json: &Json, text: &mut String) {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            text.push_str(&json.to_string());
        }
        Json::Array(items) => {
            text.push('[');
            for item in items {
                write_sorted(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Json::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by(|left, right| left.0.cmp(right.0));
            text.push('{');
            for (key, value) in entries {
                text.push_str(&Json::from(key.as_str()).to_string());
                text.push(':');
                write_sorted(value, text);
                text.push(',');
            }
            text.push('}');
        }
    }
}

/// Everything, as JSON. Taken apart in full, so that a new field cannot be forgotten here.
#[must_use]
pub fn whole(policy: &Policy) -> Json {
    let Policy {
        name,
        description,
        owner,
        mode,
        input,
        checks,
        criteria,
        borderline,
        system_prompt,
        user_prompt,
        reason_chars,
        max_output_tokens,
        route,
        second_opinion,
        cost_per_image,
        keep,
        shadows,
        backfill,
        losers,
        revision: _,
        judging: _,
        asked: _,
    } = policy;
    let Owner { team, on_call, runbook } = owner;
    let json = json!({
        "name": name,
        "description": description,
        "owner": [team, on_call, runbook],
        "mode": mode.label(),
        "input": input_json(input),
        "checks": checks.iter().map(|one| check_json(one, Lists::In)).collect::<Vec<_>>(),
        "criteria": criteria.iter().map(criterion_json).collect::<Vec<_>>(),
        "borderline": borderline,
        "prompt": [system_prompt, user_prompt],
        "answer": [json!(reason_chars), json!(max_output_tokens)],
        "route": route_json(route),
        "second_opinion": second_opinion.as_ref().map(second_opinion_json),
        "cost_per_image": cost_per_image.map(|cost| cost.0),
        "keep": keep_json(keep),
    });
    // only where there is something: policies of before these keys keep their revisions
    let Json::Object(mut whole) = json else { return json };
    if !shadows.is_empty() {
        whole.insert("shadow".to_owned(), shadows.iter().map(shadow_json).collect());
    }
    if let Some(BackfillSpec { share, per_day }) = backfill {
        whole.insert("backfill".to_owned(), json!([share, per_day.0]));
    }
    if let Some(LosersSpec { share, per_day }) = losers {
        whole.insert("losers".to_owned(), json!([share, per_day.0]));
    }
    Json::Object(whole)
}

fn shadow_json(shadow: &ShadowSpec) -> Json {
    let ShadowSpec { id, judge, sample, per_day } = shadow;
    json!([id, judge, sample, per_day.0])
}

/// What a judge reads and sees, whatever line its scores are held to.
fn asked(policy: &Policy) -> Json {
    let told = policy.checks.iter().filter(|one| one.on_fail == OnFail::Flag);
    let question = |one: &Criterion| json!([one.id, one.ask, one.when, measured_by(one)]);
    json!({
        "views": policy.input.views.iter().map(view_json).collect::<Vec<_>>(),
        "encode": encode_json(&policy.input),
        "flags": told.map(|one| check_json(one, Lists::Out)).collect::<Vec<_>>(),
        "criteria": policy.criteria.iter().map(question).collect::<Vec<_>>(),
        "prompt": [&policy.system_prompt, &policy.user_prompt],
        "answer": [json!(policy.reason_chars), json!(policy.max_output_tokens)],
    })
}

/// What a judge reads and the lines its scores are held to. A check that only flags is a part of
/// it, since its name is told to the judge; one that answers by itself is not, nor is any list, nor
/// what an offset rests on.
fn judging(policy: &Policy) -> Json {
    let told = policy.checks.iter().filter(|one| one.on_fail == OnFail::Flag);
    let offset = |(judge, one): (&String, &Offset)| json!([judge, one.add, one.at_line]);
    // one that adds nothing says only that somebody looked
    let decides = |(_, one): &(&String, &Offset)| 0.0 < one.add.abs() || 0.0 < one.at_line;
    let offsets = policy.route.offset_by_judge.iter().filter(decides);
    let offsets: Vec<_> = offsets.map(offset).collect();
    let mut json = json!({
        "views": policy.input.views.iter().map(view_json).collect::<Vec<_>>(),
        "encode": encode_json(&policy.input),
        "flags": told.map(|one| check_json(one, Lists::Out)).collect::<Vec<_>>(),
        "criteria": policy.criteria.iter().map(criterion_json).collect::<Vec<_>>(),
        "borderline": policy.borderline,
        "prompt": [&policy.system_prompt, &policy.user_prompt],
        "answer": [json!(policy.reason_chars), json!(policy.max_output_tokens)],
    });
    put_offsets(&mut json, offsets);
    json
}

/// A policy without offsets has the digests that it had before there were any.
fn put_offsets(json: &mut Json, offsets: Vec<Json>) {
    if let (Json::Object(object), false) = (json, offsets.is_empty()) {
        object.insert("offset_by_judge".to_owned(), Json::Array(offsets));
    }
}

fn input_json(input: &Input) -> Json {
    let Input { accept, max_bytes, max_pixels, vars, views, encode: _ } = input;
    let vars = vars.iter().map(|(name, one)| json!([name, one.one_of, one.default]));
    json!({
        "accept": accept.iter().map(|one| one.label()).collect::<Vec<_>>(),
        "max_bytes": max_bytes,
        "max_pixels": max_pixels,
        "vars": vars.collect::<Vec<_>>(),
        "views": views.iter().map(view_json).collect::<Vec<_>>(),
        "encode": encode_json(input),
    })
}

fn view_json(view: &ViewSpec) -> Json {
    let ViewSpec { id, around, region, max_side_px } = view;
    let shown = json!([id, region.left, region.top, region.width, region.height, max_side_px]);
    match around {
        // such a view keeps the digest that it had before there were others
        None => shown,
        Some(around) => json!([shown, around.label()]),
    }
}

fn encode_json(input: &Input) -> Json {
    json!([input.encode.quality, input.encode.flatten_alpha])
}

#[derive(Clone, Copy)]
enum Lists {
    In,
    Out,
}

fn check_json(check: &CheckSpec, lists: Lists) -> Json {
    let CheckSpec { id, kind, when, on_fail } = check;
    let word = kind.label();
    let kind = match kind {
        CheckKind::Size { min_width_px, min_height_px, aspect } => {
            json!([word, min_width_px, min_height_px, aspect])
        }
        CheckKind::Contrast { min_stddev: line }
        | CheckKind::Opacity { min_alpha: line }
        | CheckKind::Sharpness { min_laplacian_var: line }
        | CheckKind::Upscaled { max_fall_db: line }
        | CheckKind::Blockiness { max_share: line }
        | CheckKind::Noise { max_levels: line }
        | CheckKind::Banding { max_share: line }
        | CheckKind::Checkerboard { max_share: line }
        | CheckKind::Bars { max_share: line }
        | CheckKind::Residue { max_share: line }
        | CheckKind::EdgeHalo { max_ratio: line }
        | CheckKind::HardEdge { max_share: line }
        | CheckKind::Stairs { max_share: line }
        | CheckKind::BorderTouch { max_share: line }
        | CheckKind::Centring { max_offset: line }
        | CheckKind::Floating { max_gap: line } => json!([word, line]),
        CheckKind::Specks { max_count } | CheckKind::Holes { max_count } => {
            json!([word, max_count])
        }
        CheckKind::Exposure { subject, max_clipped, min_highlight, max_blown } => {
            json!([word, subject, max_clipped, min_highlight, max_blown])
        }
        CheckKind::SubjectArea { share } => json!([word, share]),
        CheckKind::Background { border, min_white } => json!([word, border, min_white]),
        CheckKind::Phash { list, max_distance } => {
            let list = match lists {
                Lists::In => list.iter().map(|one| format!("{:016x}", one.0)).collect(),
                Lists::Out => Vec::new(),
            };
            json!([word, list, max_distance])
        }
    };
    json!([id, kind, when, on_fail.label()])
}

fn criterion_json(criterion: &Criterion) -> Json {
    let Criterion { id, ask, pass_at, pass_at_by_judge, when, on_fail, measured_by } = criterion;
    let on_fail = match on_fail {
        CriterionOnFail::Fail => "fail",
        CriterionOnFail::Review => "review",
    };
    let measured_by: Vec<_> = measured_by.iter().map(|one| one.label()).collect();
    json!([id, ask, pass_at, pass_at_by_judge, when, on_fail, measured_by])
}

fn measured_by(criterion: &Criterion) -> Vec<&'static str> {
    criterion.measured_by.iter().map(|one| one.label()).collect()
}

fn offset_json((judge, offset): (&String, &Offset)) -> Json {
    let Offset { add, at_line, fitted, pairs, against, asked } = offset;
    let fitted = fitted.map(show_date);
    json!([judge, add, at_line, fitted, pairs, against, asked.map(|asked| asked.to_string())])
}

fn route_json(route: &RouteSpec) -> Json {
    let RouteSpec {
        judges,
        offset_by_judge,
        deadline,
        floor,
        keep_back,
        max_attempts,
        attempt_cap,
        hedge,
        stream,
        on_deadline,
        on_no_judge,
    } = route;
    let hedge =
        hedge.map(|HedgeSpec { after_quantile, budget_ratio }| [after_quantile, budget_ratio]);
    let mut json = json!({
        "judges": judges,
        "deadline": deadline.as_secs_f64(),
        "floor": floor.as_secs_f64(),
        "keep_back": keep_back.as_secs_f64(),
        "max_attempts": max_attempts,
        "attempt_cap": attempt_cap.map(|cap| cap.as_secs_f64()),
        "hedge": hedge,
        "stream": stream,
        "on_deadline": fallback_word(*on_deadline),
        "on_no_judge": fallback_word(*on_no_judge),
    });
    put_offsets(&mut json, offset_by_judge.iter().map(offset_json).collect());
    json
}

fn second_opinion_json(opinion: &SecondOpinion) -> Json {
    let SecondOpinion { when, ask, combine, needs, split, max_share } = opinion;
    let when = when.iter().map(|one| match one {
        SecondOpinionWhen::Borderline => json!("borderline"),
        SecondOpinionWhen::Fail => json!("fail"),
        SecondOpinionWhen::Sample(share) => json!({ "sample": share }),
    });
    let combine = match combine {
        Combine::Mean => "mean",
        Combine::Strictest => "strictest",
        Combine::Kindest => "kindest",
    };
    json!({
        "when": when.collect::<Vec<_>>(),
        "ask": ask,
        "combine": combine,
        "needs": needs.as_secs_f64(),
        "split": fallback_word(*split),
        "max_share": max_share,
    })
}

fn keep_json(keep: &Keep) -> Json {
    let Keep { images, verdicts_for, images_for } = keep;
    let images = images.iter().map(|one| match one {
        KeepImage::Pass => json!("pass"),
        KeepImage::Fail => json!("fail"),
        KeepImage::Review => json!("review"),
        KeepImage::Borderline => json!("borderline"),
        KeepImage::Sample(share) => json!({ "sample": share }),
    });
    json!({
        "images": images.collect::<Vec<_>>(),
        "verdicts": verdicts_for.as_secs(),
        "images_for": images_for.as_secs(),
    })
}

fn fallback_word(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::Pass => "pass",
        Fallback::Fail => "fail",
        Fallback::Review => "review",
        Fallback::Local => "local",
    }
}
