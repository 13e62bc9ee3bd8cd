//! The rules between the keys of a policy: names that must exist, ids that must differ, and time
//! that must suffice for every judge of the route to be asked.

use std::time::Duration;

use crate::config::LOCAL_JUDGE;
use crate::config::check_file::CheckBody;
use crate::config::form::{Field, List, Table};
use crate::config::policy_file::{
    CropForm, HedgeForm, InputForm, PolicyFile, RecordForm, RouteForm, SecondOpinionForm,
};
use crate::config::problem::{Report, Spot, hint};
use crate::config::units::{Money, Name, Public, Share, Time, show_time};
use crate::domain::MicroUsd;
use crate::domain::policy::offset::LABELS;

const MOST_BYTES: u64 = 64 << 20;
const MOST_PIXELS: u64 = 200_000_000;
const LONGEST_DEADLINE: Duration = Duration::from_secs(120);
/// Least time in which an attempt is worth starting.
const LEAST_ATTEMPT: Duration = Duration::from_millis(50);

/// A criterion's name, its score and what stands around them.
const TOKENS_OF_A_SCORE: u32 = 10;
/// English comes to 4 characters a token, and hardly ever to more than this.
const MOST_CHARS_OF_A_TOKEN: u32 = 5;

/// Checks every rule; with `judges`, every judge named must be one of them or [`LOCAL_JUDGE`].
pub(crate) fn check_rules(raw: &PolicyFile, judges: Option<&[String]>, report: &mut Report) {
    check_ids(raw, report);
    if let Some(input) = raw.input.filled() {
        check_input(input, report);
    }
    check_bands(raw, report);
    check_answer(raw, report);
    if let Some(judges) = judges {
        check_judges(raw, judges, report);
    }
    if let Some(route) = raw.route.get() {
        check_times(route, report);
        check_reach(route, report);
        check_hedge(route, report);
        if let Some(Some(opinion)) = raw.second_opinion.get() {
            check_second_opinion(opinion, route, report);
        }
    }
    if let Some(record) = raw.record.filled() {
        check_record(record, report);
    }
    check_shadows(raw, report);
}

/// Reports every name that stood before.
fn differ<'a>(names: impl Iterator<Item = (&'a Spot, &'a str)>, report: &mut Report) {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for (spot, name) in names {
        match seen.iter().find(|(other, _)| *other == name) {
            Some((_, line)) => {
                report.add(spot, format!("\"{name}\" stands twice; first on line {line}"));
            }
            None => seen.push((name, spot.mark.line)),
        }
    }
}

fn id_of<S>(id: &Field<Name<S>>) -> Option<(&Spot, &str)> {
    id.get().map(|name| (&id.spot, name.text.as_str()))
}

fn check_ids(raw: &PolicyFile, report: &mut Report) {
    let checks = raw.checks.get().into_iter().flat_map(List::values);
    differ(checks.filter_map(|one| id_of(&one.head.id)), report);
    let criteria = raw.criteria.get().into_iter().flat_map(List::values);
    differ(criteria.filter_map(|one| id_of(&one.id)), report);
    let views = raw.input.get().and_then(|input| input.views.get()?.as_ref());
    differ(views.into_iter().flat_map(List::values).filter_map(|one| id_of(&one.id)), report);
    let route = raw.route.get().and_then(|route| route.judges.get());
    let judges = route.into_iter().flat_map(List::each);
    differ(judges.map(|(spot, name)| (spot, name.text.as_str())), report);
    let shadows = raw.shadow.get().into_iter().flat_map(List::values);
    differ(shadows.filter_map(|one| id_of(&one.id)), report);
}

fn check_input(input: &InputForm, report: &mut Report) {
    if let Some(bytes) = input.max_bytes.get().filter(|bytes| MOST_BYTES < bytes.0) {
        let message = format!("{} bytes are over the limit of {MOST_BYTES} (64MiB)", bytes.0);
        report.add(&input.max_bytes.spot, message);
    }
    if let Some(pixels) = input.max_pixels.get().filter(|pixels| MOST_PIXELS < pixels.0) {
        let message = format!("{} pixels are over the limit of {MOST_PIXELS} (200MP)", pixels.0);
        report.add(&input.max_pixels.spot, message);
    }
    for (_, _, variable) in input.vars.get().into_iter().flat_map(Table::each) {
        let Some(values) = variable.one_of.get() else {
            continue;
        };
        let texts = || values.each().map(|(spot, value)| (spot, value.text.as_str()));
        differ(texts(), report);
        if let Some(Some(default)) = variable.default.get()
            && !texts().any(|(_, text)| text == default.text)
        {
            let hint = hint(&default.text, texts().map(|(_, text)| text));
            let message = format!("\"{}\" is not in one_of{hint}", default.text);
            report.add(&variable.default.spot, message);
        }
    }
    let views = input.views.get().and_then(Option::as_ref);
    for view in views.into_iter().flat_map(List::values) {
        if let Some(Some(crop)) = view.crop.get() {
            check_crop(crop, report);
        }
    }
}

fn check_crop(crop: &CropForm, report: &mut Report) {
    for (one, other, word) in [(&crop.top, &crop.bottom, "top"), (&crop.left, &crop.right, "left")]
    {
        if let (Some(Some(_)), Some(Some(_))) = (one.get(), other.get()) {
            let message = format!("stands beside `{word}`; a view keeps one side of each pair");
            report.add(&other.spot, message);
        }
        for side in [one, other] {
            if let Some(Some(Share(share))) = side.get()
                && *share <= 0.0
            {
                report.add(&side.spot, "0 keeps nothing of the image");
            }
        }
    }
}

/// The background check's band, which a share alone does not bound.
fn check_bands(raw: &PolicyFile, report: &mut Report) {
    for check in raw.checks.get().into_iter().flat_map(List::values) {
        if let CheckBody::Background(body) = &check.body
            && let Some(Share(border)) = body.border.get()
            && !(0.0 < *border && *border <= 0.5)
        {
            let message =
                format!("{border} is not a band of more than 0 and at most half the side");
            report.add(&body.border.spot, message);
        }
    }
}

/// An answer that is cut off is none: there must be room for every score and for every reason, as
/// short as text of such a length comes out.
fn check_answer(raw: &PolicyFile, report: &mut Report) {
    let Some(answer) = raw.answer.filled() else { return };
    let criteria = raw.criteria.get().map_or(0, |criteria| criteria.values().count());
    let (Some(reason), Some(allowed)) =
        (answer.reason_chars.filled(), answer.max_output_tokens.filled())
    else {
        return;
    };
    let each = TOKENS_OF_A_SCORE + reason.0 / MOST_CHARS_OF_A_TOKEN;
    let needed = each.saturating_mul(u32::try_from(criteria).unwrap_or(u32::MAX));
    if allowed.0 < needed {
        let message = format!(
            "{} tokens cut off the answer to {criteria} criteria with reasons of up to {} \
             characters: at least {needed}",
            allowed.0, reason.0
        );
        report.add(&answer.max_output_tokens.spot, message);
    }
}

fn check_judges(raw: &PolicyFile, judges: &[String], report: &mut Report) {
    let known = || judges.iter().map(String::as_str).chain([LOCAL_JUDGE]);
    let mut check = |spot: &Spot, name: &str| {
        if !known().any(|one| one == name) {
            report.add(spot, format!("no judge is called \"{name}\"{}", hint(name, known())));
        }
    };
    let route = raw.route.get().and_then(|route| route.judges.get());
    let opinion = raw.second_opinion.get().and_then(|one| one.as_ref()?.ask.get());
    for (spot, name) in route.into_iter().chain(opinion).flat_map(List::each) {
        check(spot, &name.text);
    }
    let offsets = raw.route.get().and_then(|route| route.offset_by_judge.get());
    for (key, name, form) in offsets.into_iter().flat_map(Table::each) {
        check(&key.spot, &name.text);
        if let Some(Some(against)) = form.against.get()
            && against.text != LABELS
        {
            check(&form.against.spot, &against.text);
        }
    }
    for shadow in raw.shadow.get().into_iter().flat_map(List::values) {
        if let Some((spot, name)) = id_of(&shadow.judge) {
            check(spot, name);
        }
    }
    for criterion in raw.criteria.get().into_iter().flat_map(List::values) {
        let lines = criterion.pass_at_by_judge.get();
        for (key, name, _) in lines.into_iter().flat_map(Table::each) {
            check(&key.spot, &name.text);
        }
    }
}

/// Who is asked behind a verdict is one that looks, of some images, for some money.
fn check_shadows(raw: &PolicyFile, report: &mut Report) {
    let mut is_some = |share: &Field<Share>, per_day: &Field<Money>| {
        if share.get().is_some_and(|share| share.0 <= 0.0) {
            report.add(&share.spot, "0 shows it no image: leave the entry out instead");
        }
        if per_day.get().is_some_and(|money| money.0 == MicroUsd(0)) {
            report.add(&per_day.spot, "0 USD asks nobody: leave the entry out instead");
        }
    };
    for shadow in raw.shadow.get().into_iter().flat_map(List::values) {
        is_some(&shadow.sample, &shadow.per_day);
    }
    if let Some(Some(backfill)) = raw.backfill.get() {
        is_some(&backfill.share, &backfill.per_day);
    }
    if let Some(Some(losers)) = raw.losers.get() {
        is_some(&losers.share, &losers.per_day);
        let route = raw.route.get().and_then(|route| route.hedge.get());
        if matches!(route, Some(HedgeForm::Off)) {
            let never = "nobody loses a hedge while route.hedge is off: leave it out";
            report.add(&raw.losers.spot, never);
        }
    }
    for shadow in raw.shadow.get().into_iter().flat_map(List::values) {
        if let Some((spot, LOCAL_JUDGE)) = id_of(&shadow.judge) {
            report.add(spot, "it measures and does not look: there is nothing to learn from it");
        }
    }
}

fn check_times(route: &RouteForm, report: &mut Report) {
    let (deadline, floor, keep_back) =
        (route.deadline.get(), route.floor.get(), route.keep_back.get());
    if let Some(Time(deadline)) = deadline
        && LONGEST_DEADLINE < *deadline
    {
        let message = format!(
            "{} is over the limit of {}",
            show_time(*deadline),
            show_time(LONGEST_DEADLINE)
        );
        report.add(&route.deadline.spot, message);
    }
    if let (Some(Time(deadline)), Some(Time(floor))) = (deadline, floor)
        && deadline <= floor
    {
        let message =
            format!("{} is not under the deadline of {}", show_time(*floor), show_time(*deadline));
        report.add(&route.floor.spot, message);
    }
    if let (Some(Time(floor)), Some(Time(keep_back))) = (floor, keep_back)
        && floor <= keep_back
    {
        let message =
            format!("{} is not under the floor of {}", show_time(*keep_back), show_time(*floor));
        report.add(&route.keep_back.spot, message);
    }
}

/// What the judges have between them: the deadline less what is kept back.
fn usable(route: &RouteForm) -> Option<Duration> {
    route.deadline.get()?.0.checked_sub(route.keep_back.get()?.0)
}

/// Which judge of the route is asked by no image, and why. On top of `max_attempts` comes one last
/// chance where somebody may be asked beside a slow judge at all, and the one that stands in.
fn unreached(route: &RouteForm, names: &[&Name<Public>], attempts: u32) -> Option<String> {
    let attempted = usize::try_from(attempts).unwrap_or(usize::MAX);
    let hedges = !matches!(route.hedge.get(), Some(HedgeForm::Off));
    let stands_in = names.get(attempted).is_some_and(|name| name.text == LOCAL_JUDGE);
    let reached = attempted.saturating_add(usize::from(hedges || stands_in));
    let never = &names.get(reached)?.text;
    Some(if hedges {
        format!(
            "\"{never}\" is never asked: max_attempts {attempts} and one last chance reach \
             {reached} judges"
        )
    } else {
        format!(
            "\"{never}\" is never asked: max_attempts is {attempts}, and without hedges there is no \
             last chance"
        )
    })
}

/// Every judge of the route must be asked in time even when all before it hang: a fallback that
/// arithmetic puts behind the deadline is none.
fn check_reach(route: &RouteForm, report: &mut Report) {
    let Some(judges) = route.judges.get() else {
        return;
    };
    let names: Vec<&Name<Public>> = judges.values().collect();
    let Some(attempts) = route.max_attempts.get().map(|attempts| attempts.0) else {
        return;
    };
    if let Some(message) = unreached(route, &names, attempts) {
        report.add(&route.judges.spot, message);
    }
    let Some(usable) = usable(route) else {
        return;
    };
    let count = u32::try_from(names.len()).unwrap_or(u32::MAX).min(attempts);
    let least = LEAST_ATTEMPT * attempts;
    if usable < least {
        let message = format!(
            "{} less keep_back leaves {}; {attempts} attempts need at least {}",
            route.deadline.get().map(|one| show_time(one.0)).unwrap_or_default(),
            show_time(usable),
            show_time(least)
        );
        report.add(&route.deadline.spot, message);
    }
    let Some(Some(Time(cap))) = route.attempt_cap.get() else {
        return;
    };
    let before_last = cap.saturating_mul(count.saturating_sub(1));
    if *cap < LEAST_ATTEMPT || usable < *cap {
        let message = format!(
            "{} is not between {} and the {} that the deadline leaves",
            show_time(*cap),
            show_time(LEAST_ATTEMPT),
            show_time(usable)
        );
        report.add(&route.attempt_cap.spot, message);
    } else if usable < before_last + LEAST_ATTEMPT {
        let last = names.get(usize::try_from(count).unwrap_or_default().saturating_sub(1));
        let message = format!(
            "{} leaves no time for \"{}\": the attempts before it take {} of {} when they hang",
            show_time(*cap),
            last.map(|name| name.text.as_str()).unwrap_or_default(),
            show_time(before_last),
            show_time(usable)
        );
        report.add(&route.attempt_cap.spot, message);
    }
}

/// Healthy calls alone spend `1 - quantile`; a budget that is no larger is empty when it is needed.
fn check_hedge(route: &RouteForm, report: &mut Report) {
    let Some(HedgeForm::On(hedge)) = route.hedge.get() else {
        return;
    };
    if let (Some(after), Some(budget)) = (hedge.after.get(), hedge.budget.get())
        && budget.0 < 1.0 - after.0 + 1e-9
    {
        let usual = percent(1.0 - after.0);
        let message = format!(
            "{} is spent by the {usual} of healthy attempts that are slower than p{:.0}; \
             give more than {usual}, or say hedge: off",
            percent(budget.0),
            after.0 * 100.0
        );
        report.add(&hedge.budget.spot, message);
    }
}

fn percent(share: f64) -> String {
    let tenths = (share * 1_000.0).round() / 10.0;
    format!("{tenths}%")
}

fn check_second_opinion(opinion: &SecondOpinionForm, route: &RouteForm, report: &mut Report) {
    if let (Some(Time(needs)), Some(usable)) = (opinion.needs.get(), usable(route))
        && usable <= *needs
    {
        let message = format!(
            "{} is not under the {} that the deadline leaves: no second judge is ever asked",
            show_time(*needs),
            show_time(usable)
        );
        report.add(&opinion.needs.spot, message);
    }
    let names = |field: Option<&Vec<&Name<Public>>>| -> Vec<String> {
        field.into_iter().flatten().map(|name| name.text.clone()).collect()
    };
    let first: Vec<_> = route.judges.get().into_iter().flat_map(List::values).collect();
    let second: Vec<_> = opinion.ask.get().into_iter().flat_map(List::values).collect();
    let (first, second) = (names(Some(&first)), names(Some(&second)));
    if let ([only], [other]) = (first.as_slice(), second.as_slice())
        && only == other
    {
        let message = format!("\"{other}\" always gives the first answer; name another judge");
        report.add(&opinion.ask.spot, message);
    }
}

fn check_record(record: &RecordForm, report: &mut Report) {
    let Some(keep) = record.keep.filled() else {
        return;
    };
    if let (Some(Time(verdicts)), Some(Time(images))) = (keep.verdicts.get(), keep.images.get())
        && verdicts < images
    {
        let message = format!(
            "{} is longer than the {} that records are kept",
            show_time(*images),
            show_time(*verdicts)
        );
        report.add(&keep.images.spot, message);
    }
    for (time, word) in [(&keep.verdicts, "record"), (&keep.images, "image")] {
        if let Some(Time(kept)) = time.get()
            && *kept < Duration::from_secs(60)
        {
            report.add(&time.spot, format!("{} keeps no {word}: least is 1m", show_time(*kept)));
        }
    }
}
