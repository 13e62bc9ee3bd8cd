//! A sentence says what moved as one engineer would tell another: first how much of the change is
//! what, then what stands behind it.

use jiff::tz::TimeZone;

use crate::drift::decompose::Cause;
use crate::drift::event::{Event, Label};
use crate::drift::interval::{Estimate, Interval, Tally, newcombe};
use crate::drift::summed::{Compared, Sum, served, served_by_judge};

/// Served verdicts from which causes are told apart.
pub(super) const ENOUGH: u64 = 300;

const DAY_MS: i64 = 86_400_000;

/// The longest window that is told without a date.
const MOST_UNDATED_MS: i64 = DAY_MS / 2;

/// The fewest verdicts that a rate is told of.
pub(super) const SHOWN: u64 = 30;

/// Two windows of first judgements, and the later one's stretch of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows<'a> {
    pub(super) before: &'a [Sum],
    pub(super) after: &'a [Sum],
    pub(super) since_ms: i64,
    pub(super) until_ms: i64,
    /// The present: of another day the date is told.
    pub(super) now_ms: i64,
}

/// A drift event in a sentence.
pub(super) fn event_sentence(event: &Event) -> String {
    let Event { label, effect, onset_ms, at_ms, .. } = event;
    if *label == Label::PolicyAnnotation {
        return "a policy that was not seen before serves from here on".to_owned();
    }
    let interval = effect.interval();
    let mut text = format!(
        "{label}: {} points ({} to {}) since {}, known at {}",
        points(effect.effect),
        points(interval.low),
        points(interval.high),
        clock_s(*onset_ms),
        clock_s(*at_ms),
    );
    if event.grounds.as_ref().is_some_and(|grounds| grounds.low_confidence) {
        text.push_str(" (low confidence)");
    }
    text
}

/// What moved between two windows in a sentence.
pub(super) fn change_sentence(windows: Windows<'_>, compared: Option<&Compared>) -> String {
    let n = served(windows.after).n;
    let between = told_between(windows);
    let n_before = served(windows.before).n;
    match compared.filter(|_| SHOWN <= n && SHOWN <= n_before) {
        None if n == 0 => format!("No image was judged {between}."),
        Some(_) if n_before < ENOUGH => too_few_before(n, n_before, &between),
        None if SHOWN <= n && 0 < n_before => too_few_before(n, n_before, &between),
        None if n < SHOWN => {
            let were = if n == 1 { "image was" } else { "images were" };
            format!("Only {n} {were} judged {between}: too few to compare.")
        }
        None => format!(
            "{} images were judged {between}, and none in the time before: there is nothing to \
             compare with.",
            count(n)
        ),
        Some(compared) if n < ENOUGH => format!(
            "Only {n} images were judged {between}: too few to tell causes apart; who judged them \
             is worth {} points.",
            points(compared.expected.unwrap_or_default().effect)
        ),
        Some(compared) => cause_sentence(windows, compared, &between),
    }
}

fn too_few_before(n: u64, n_before: u64, between: &str) -> String {
    let (n, n_before) = (count(n), count(n_before));
    format!("{n} images were judged {between}, only {n_before} before: too few to compare with.")
}

/// The interval of what moved between two windows, of all images or on comparable ones. Where no
/// image was rejected, or every one, the spread says nothing: then Newcombe's.
pub(super) fn moved_within(moved: Estimate, before: Tally, after: Tally) -> Interval {
    if moved.se <= 0.0 { newcombe(before, after) } else { moved.interval() }
}

/// What is told of enough verdicts.
fn cause_sentence(windows: Windows<'_>, compared: &Compared, between: &str) -> String {
    let (n, change) = (served(windows.after).n, &compared.reading.decomposition);
    let total = change.total;
    match compared.reading.label() {
        Label::Routing => {
            let share = of_total(change.part(Cause::Routing).whole, total);
            format!("{share} routing{}", moved_to(windows, between))
        }
        Label::InputDrift => {
            let (input, within) = (change.part(Cause::Input), change.part(Cause::Within));
            let is_measured = within.whole.effect.abs() < input.whole.effect.abs();
            let effect = if is_measured { input.whole } else { within.whole };
            let why = match (is_measured, effect.effect < 0.0) {
                (true, true) => "the local checks find less that is risky",
                (true, false) => "the local checks find more that is risky",
                (false, _) => "every judge moved alike on images of the same risk",
            };
            format!("{} the images: {why} {between}.", of_total(effect, total))
        }
        Label::PolicyChange => {
            let share = of_total(change.part(Cause::Policy).whole, total);
            format!("{share} the policy: what is asked of the judges changed {between}.")
        }
        Label::ProviderDrift(judge) => {
            let share = of_total(change.part(Cause::Within).whole, total);
            let shift = compared.reading.shifts.get(&judge);
            let (then, now) = shift.map(|one| (one.before, one.after)).unwrap_or_default();
            let (then, now) = (percent(then.rate()), percent(now.rate()));
            format!(
                "{share} {judge} judging differently: it rejects {now} of its images, usually {then}."
            )
        }
        Label::MixedDrift => {
            let share = of_total(change.part(Cause::Within).whole, total);
            format!("{share} judges that moved, each its own way.")
        }
        Label::Unattributed => {
            let share = of_total(change.part(Cause::Within).whole, total);
            format!(
                "{share} other verdicts on comparable images; nothing says whether judge or images."
            )
        }
        Label::PolicyAnnotation | Label::None => {
            let interval = moved_within(total, served(windows.before), served(windows.after));
            format!(
                "Nothing material moved: {} of {} images would not pass {between}, {} points \
                 ({} to {}) from usual.",
                percent(change.rate_after),
                count(n),
                points(total.effect),
                points(interval.low),
                points(interval.high),
            )
        }
    }
}

/// `2.8 of 3.1 points are`, `Of 3.1 points fewer, 2.8 are` of a rate that fell, or both with their
/// signs where one is no part of the other.
fn of_total(part: Estimate, total: Estimate) -> String {
    let is_part = part.effect.signum().total_cmp(&total.effect.signum()).is_eq()
        && part.effect.abs() <= total.effect.abs() + 0.000_5;
    let (own, all) = (part.effect.abs() * 100.0, total.effect.abs() * 100.0);
    match (is_part, total.effect < 0.0) {
        (true, true) => format!("Of {all:.1} points fewer, {own:.1} are"),
        (true, false) => format!("{own:.1} of {all:.1} points are"),
        (false, _) => {
            let (own, all) = (points(part.effect), points(total.effect));
            format!("{own} points, of a change of {all}, are")
        }
    }
}

/// Which judge gained the most images.
fn moved_to(windows: Windows<'_>, between: &str) -> String {
    let (then, now) = (served_by_judge(windows.before), served_by_judge(windows.after));
    let (all_then, all_now) = (served(windows.before).n, served(windows.after).n);
    let share = |tally: Option<&Tally>, all: u64| {
        Tally { n: all, rejects: tally.map_or(0, |tally| tally.n) }.rate()
    };
    let gained = now.iter().map(|(judge, tally)| {
        let (usual, present) = (share(then.get(judge), all_then), share(Some(tally), all_now));
        (judge, usual, present)
    });
    match gained.max_by(|a, b| (a.2 - a.1).total_cmp(&(b.2 - b.1))) {
        Some((judge, usual, present)) => format!(
            ": {} of images went to {judge} {between}, usually {}.",
            percent(present),
            percent(usual)
        ),
        None => ".".to_owned(),
    }
}

/// What one judge says of the images whose verdict another won by a hedge: each with its rejects, and
/// how much more the one rejects that did not win, with its interval.
pub(super) fn hedge_sentence(
    (winner, won): (&str, Tally),
    (other, said): (&str, Tally),
    (difference, interval): (Estimate, Interval),
) -> String {
    let n = count(won.n);
    if won.n < SHOWN {
        let were = if won.n == 1 { "verdict was" } else { "verdicts were" };
        return format!(
            "Only {n} {were} won by a hedge of {winner} and judged by {other} too: too few to \
             compare."
        );
    }
    let [won, said] = [won, said].map(|one| format!("{:.1} %", one.rate() * 100.0));
    format!(
        "Verdicts won by a hedge: {winner} rejected {won}, {other} rejects {said} of the same {n} \
         images, {} points ({} to {}).",
        points(difference.effect),
        points(interval.low),
        points(interval.high),
    )
}

/// `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as points with a sign; a rounded zero has none.
pub(crate) fn points(share: f64) -> String {
    let text = format!("{:.1}", (share * 100.0).abs());
    match () {
        () if text == "0.0" => text,
        () if share < 0.0 => format!("\u{2212}{text}"),
        () => format!("+{text}"),
    }
}

/// A share in percent, whole from ten on.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// `between 14:02 and 14:08 UTC`, with the dates where the clock alone would not tell which.
fn told_between(Windows { since_ms, until_ms, now_ms, .. }: Windows<'_>) -> String {
    let day = |ms: i64| ms.div_euclid(DAY_MS);
    let is_one_day = day(since_ms) == day(until_ms - 1);
    let is_clear = day(since_ms) == day(now_ms) && until_ms - since_ms <= MOST_UNDATED_MS;
    let (since, until) = (told(since_ms, "%H:%M"), told(until_ms, "%H:%M"));
    match (is_one_day, is_clear) {
        (true, true) => format!("between {since} and {until} UTC"),
        (true, false) => {
            format!("on {} between {since} and {until} UTC", told(since_ms, "%-d %b"))
        }
        (false, _) => {
            let (since, until) = (told(since_ms, "%-d %b %H:%M"), told(until_ms, "%-d %b %H:%M"));
            format!("between {since} and {until} UTC")
        }
    }
}

fn clock_s(at_ms: i64) -> String {
    told(at_ms, "%-d %b %H:%M:%S UTC")
}

/// A moment in UTC; a number that is none is shown as it is.
fn told(at_ms: i64, form: &str) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime(form).to_string(),
        Err(_) => at_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::event::{Severity, Watched};
    use crate::drift::judged::Route;
    use crate::drift::summed::compare;

    fn sum(judge: &str, route: Route, (n, rejects): (u64, u64)) -> Sum {
        let tally = Tally { n, rejects };
        Sum { judge: judge.to_owned(), config: "c".to_owned(), route, risk: 0, tally }
    }

    #[test]
    fn images_that_a_hedge_won_are_told_of_apart_and_few_are_not_compared() {
        let told = |n, won, said: u64| {
            let tallies = [won, said].map(|rejects| Tally { n, rejects });
            let alone = Tally { n, rejects: said - won };
            let difference = Estimate { effect: alone.rate(), se: 0.01 };
            let interval = difference.interval();
            hedge_sentence(("b", tallies[0]), ("a", tallies[1]), (difference, interval))
        };
        assert_eq!(
            told(1_000, 170, 211),
            "Verdicts won by a hedge: b rejected 17.0 %, a rejects 21.1 % of the same 1,000 images, \
             +4.1 points (+2.1 to +6.1)."
        );
        let few = "Only 1 verdict was won by a hedge of b and judged by a too: too few to compare.";
        assert_eq!(told(1, 0, 1), few);
        assert!(told(29, 0, 1).starts_with("Only 29 verdicts were won by a hedge of b"));
    }

    fn sentence(before: &[Sum], after: &[Sum]) -> String {
        // 14:02 to 14:08 of some day
        let (since_ms, until_ms) = (50_520_000, 50_880_000);
        let compared = compare(before, after, 1.0);
        let windows = Windows { before, after, since_ms, until_ms, now_ms: until_ms };
        change_sentence(windows, compared.as_ref())
    }

    #[test]
    fn a_failover_is_told_with_who_took_over() {
        let before = [
            sum("openai-mini", Route::Primary, (98_400, 6_101)),
            sum("claude-haiku", Route::Failover, (1_600, 213)),
        ];
        let after = [
            sum("openai-mini", Route::Primary, (2_570, 162)),
            sum("claude-haiku", Route::Failover, (1_786, 245)),
        ];
        assert_eq!(
            sentence(&before, &after),
            "2.9 of 3.0 points are routing: 41 % of images went to claude-haiku between 14:02 and \
             14:08 UTC, usually 1.6 %."
        );
    }

    /// Windows of one judge whose images lie so often at five risks, the riskier the more rejected.
    fn of_risks(scale: [u64; 5]) -> Vec<Sum> {
        let risks = (0_u8..5).zip(scale);
        let cell = |(risk, n): (u8, u64)| {
            let rejects = n * (u64::from(risk) + 1) / 20;
            Sum { risk: risk * 4, ..sum("a", Route::Primary, (n, rejects)) }
        };
        risks.map(cell).collect()
    }

    #[test]
    fn a_rate_that_fell_is_told_as_fewer_whatever_the_cause() {
        let before = [
            sum("openai-mini", Route::Primary, (98_400, 13_087)),
            sum("claude-haiku", Route::Failover, (1_600, 99)),
        ];
        let after = [
            sum("openai-mini", Route::Primary, (2_570, 342)),
            sum("claude-haiku", Route::Failover, (1_786, 111)),
        ];
        assert_eq!(
            sentence(&before, &after),
            "Of 2.8 points fewer, 2.8 are routing: 41 % of images went to claude-haiku between \
             14:02 and 14:08 UTC, usually 1.6 %."
        );
        let before =
            [sum("a", Route::Primary, (80_000, 8_000)), sum("b", Route::Failover, (20_000, 2_000))];
        let after =
            [sum("a", Route::Primary, (8_000, 400)), sum("b", Route::Failover, (2_000, 200))];
        assert_eq!(
            sentence(&before, &after),
            "Of 4.0 points fewer, 4.0 are a judging differently: it rejects 5.0 % of its images, \
             usually 10 %."
        );
    }

    #[test]
    fn easier_images_were_told_as_more_that_is_risky() {
        let told = |scale| sentence(&of_risks([4_000; 5]), &of_risks(scale));
        assert_eq!(
            told([6_000, 1_000, 1_000, 1_000, 1_000]),
            "Of 5.0 points fewer, 5.0 are the images: the local checks find less that is risky \
             between 14:02 and 14:08 UTC."
        );
        assert_eq!(
            told([1_000, 1_000, 1_000, 1_000, 6_000]),
            "5.0 of 5.0 points are the images: the local checks find more that is risky between \
             14:02 and 14:08 UTC."
        );
    }

    #[test]
    fn an_event_of_a_rate_that_fell_keeps_its_signs_and_its_interval_from_low_to_high() {
        let event = Event {
            at_ms: 60_000,
            alarm_at_ms: 30_000,
            onset_ms: 0,
            watched: Watched::Input,
            label: Label::InputDrift,
            all: vec![Label::InputDrift],
            severity: Severity::Warn,
            effect: Estimate { effect: -0.061, se: 0.01 },
            grounds: None,
        };
        assert_eq!(
            event_sentence(&event),
            "input_drift: \u{2212}6.1 points (\u{2212}8.1 to \u{2212}4.1) since 1 Jan 00:00:00 \
             UTC, known at 1 Jan 00:01:00 UTC"
        );
    }

    #[test]
    fn a_window_of_another_day_or_of_many_hours_is_told_with_its_date() {
        let said = |(since_ms, until_ms): (i64, i64), now_ms| {
            told_between(Windows { before: &[], after: &[], since_ms, until_ms, now_ms })
        };
        let (afternoon, hour) = (50_520_000, 3_600_000);
        let window = (afternoon, afternoon + 360_000);
        assert_eq!(said(window, afternoon + hour), "between 14:02 and 14:08 UTC");
        assert_eq!(said(window, DAY_MS), "on 1 Jan between 14:02 and 14:08 UTC");
        assert_eq!(said((0, 12 * hour), 13 * hour), "between 00:00 and 12:00 UTC");
        assert_eq!(said((0, 13 * hour), 14 * hour), "on 1 Jan between 00:00 and 13:00 UTC");
        let week = (afternoon, afternoon + 7 * DAY_MS);
        assert_eq!(said(week, week.1), "between 1 Jan 14:02 and 8 Jan 14:02 UTC");
    }

    #[test]
    fn ten_images_before_make_no_story() {
        let after = [sum("a", Route::Primary, (5_000, 320))];
        for (n, rejects) in [(10, 5), (29, 1), (299, 120)] {
            let before = [sum("a", Route::Primary, (n, rejects))];
            let said = sentence(&before, &after);
            assert!(said.contains(&format!("only {n} before: too few")), "{said}");
        }
    }

    #[test]
    fn no_rejects_at_all_were_told_as_if_a_few_images_were_certain() {
        let before = [sum("a", Route::Primary, (400, 0))];
        let said = sentence(&before, &[sum("a", Route::Primary, (400, 0))]);
        assert!(said.contains("0.0 points (\u{2212}1.0 to +1.0) from usual"), "{said}");
    }

    #[test]
    fn little_or_nothing_is_told_as_that() {
        let before = [sum("a", Route::Primary, (100_000, 6_400))];
        let after = |tally| [sum("a", Route::Primary, tally)];
        assert_eq!(sentence(&before, &[]), "No image was judged between 14:02 and 14:08 UTC.");
        assert_eq!(
            sentence(&before, &after((12, 1))),
            "Only 12 images were judged between 14:02 and 14:08 UTC: too few to compare."
        );
        assert!(sentence(&before, &after((1, 0))).starts_with("Only 1 image was judged"));
        assert_eq!(
            sentence(&[], &after((1_200, 60))),
            "1,200 images were judged between 14:02 and 14:08 UTC, and none in the time before: there \
             is nothing to compare with."
        );
        assert!(sentence(&before, &after((200, 11))).contains("too few to tell causes apart"));
        assert!(
            sentence(&before, &after((5_000, 320))).starts_with("Nothing material moved: 6.4 %")
        );
    }
}
