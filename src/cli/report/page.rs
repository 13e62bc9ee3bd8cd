//! The page of a report: sentences and tables as they stand, pictures drawn over the same figures.
//!
//! It is one file that loads nothing: its content policy names the digests of its own two scripts and
//! of its style sheet, and refuses the rest. Without its script, and on paper, nothing is missing
//! but the pictures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::app::AppError;
use crate::cli::report::Findings;
use crate::cli::report::html::Html;
use crate::cli::report::script::script;
use crate::cli::report::tables;
use crate::cli::report::words::{
    FEW, date, lasting, moment, money, per_thousand, percent, plural, points_range, range, seconds,
    whole,
};
use crate::http::page::text_of;
use crate::http::sentence::{count, points};

/// What a report adds to the page's own style.
const STYLE: &str = include_str!("page.css");

/// Beyond so much a judge's own change is no longer "none measurable".
const UNTOLD: f64 = 0.02;

/// The whole file.
pub(super) fn document(found: &Findings, figures: &str) -> Result<String, AppError> {
    let broken = |why: String| AppError::Internal(format!("the report's own files: {why}"));
    let lacks = |file: &str| broken(format!("{file} is missing"));
    let theme = text_of("theme.js").ok_or_else(|| lacks("theme.js"))?;
    let base = text_of("base.css").ok_or_else(|| lacks("base.css"))?;
    let script = script().map_err(broken)?;
    let style = format!("{}{STYLE}", without_addresses(base));
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; img-src data:; base-uri 'none'; \
         form-action 'none'",
        digest(theme),
        digest(&script),
        digest(&style)
    );
    let mut page = Html::default();
    page.mark("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.mark("<meta http-equiv=\"Content-Security-Policy\" content=\"").say(policy);
    page.mark("\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
    page.mark("<meta name=\"color-scheme\" content=\"light dark\">\n<title>").say(title(found));
    page.mark("</title>\n<style>").inline(&style).mark("</style>\n<script>").inline(theme);
    page.mark("</script>\n</head>\n<body>\n<main>\n");
    head(&mut page, found);
    answer(&mut page, found);
    numbers(&mut page, found);
    sections(&mut page, found);
    page.mark("</main>\n<script type=\"application/json\" id=\"figures\">").inline(figures);
    page.mark("</script>\n<script>").inline(&script).mark("</script>\n</body>\n</html>\n");
    Ok(page.done())
}

/// As a content policy names what it allows.
fn digest(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// The page's style without what it would load: arrows of controls, of which a report has none.
fn without_addresses(style: &str) -> String {
    let kept = style.lines().filter(|line| !line.contains("url("));
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn title(found: &Findings) -> String {
    let (since, until) = found.window;
    format!("{}, {} to {}", found.policy, date(since), date(until))
}

fn head(page: &mut Html, found: &Findings) {
    let (since, until) = found.window;
    page.mark("<header class=\"top\"><p class=\"from\"><b>vlmgate</b> report");
    if found.is_simulated {
        page.mark(" <span class=\"sim\" title=\"Verdicts here come from simulated judges\">");
        page.mark("simulated</span>");
    }
    page.mark("</p><h1>").say(&found.policy).mark("</h1><p class=\"q\">");
    page.say(format!(
        "{} to {} UTC, {}; made {} UTC",
        whole(since),
        whole(until),
        lasting(until.0 - since.0),
        whole(found.made_at)
    ));
    if let Some(at) = found.counted_until() {
        page.say(format!(", counted up to {} UTC", moment(at)));
    }
    page.mark("</p></header>\n");
}

/// What moved, and whether a judge is to blame.
fn answer(page: &mut Html, found: &Findings) {
    let sentence = &found.drift.sentence;
    // the answer stands first: what is behind the colon is how it came
    let (lead, rest) = match sentence.split_once(": ") {
        Some((lead, rest)) => (format!("{lead}:"), rest),
        None => (sentence.clone(), ""),
    };
    page.mark("<p class=\"told\"><em>").say(lead).mark("</em> ").say(rest).mark("</p>\n");
    page.mark("<p class=\"told-more\">");
    if let Some((lead, rest, range)) = blame(found) {
        page.mark("<b>").say(lead).mark("</b>").say(rest);
        page.mark(" <span class=\"q\">(").say(range).mark(")</span>. ");
    }
    if let Some(rate) = &found.drift.adjusted {
        let from = match rate.basis.as_str() {
            "served" => String::new(),
            "modelled" => format!(", modelled from {}", plural(rate.pairs, "pair")),
            _ => format!(", from {}", plural(rate.pairs, "pair")),
        };
        page.say(format!("Had {} judged every image, the rate would have been ", rate.primary));
        page.say(percent(rate.rate)).mark(" <span class=\"q\">(");
        page.say(format!("{} to {}{from}", percent(rate.low), percent(rate.high)));
        page.mark(")</span>. ");
    }
    let before = &found.drift.before;
    let compared = found.compared_with();
    page.say(format!("Compared with {compared}"));
    page.mark(" <span class=\"q\">n ").say(count(before.frozen.unwrap_or(before.first_reject.n)));
    page.mark("</span>; intervals are 95\u{a0}%.</p>\n");
}

/// Whether a judge itself changed: nothing is claimed beyond the interval.
fn blame(found: &Findings) -> Option<(&'static str, String, String)> {
    let parts = &found.drift.change.as_ref()?.parts;
    let within = parts.iter().find(|part| part.cause == "within")?.effect;
    let moved = points(within.effect);
    let interval = points_range(&within);
    if 0.0 < within.low || within.high < 0.0 {
        let rest = format!(" by {moved} points on their own images");
        return Some(("The judges themselves moved", rest, interval));
    }
    let rest = format!(" on their own images all moved {moved}");
    let lead = if within.low < -UNTOLD || UNTOLD < within.high {
        "Whether a judge itself changed, too few images tell:"
    } else if found.drift.label == "routing" {
        "No judge is to blame, none measurably changed:"
    } else {
        "No judge measurably changed:"
    };
    Some((lead, rest, interval))
}

/// One of the four figures.
struct Number {
    title: String,
    n: String,
    big: String,
    unit: String,
    is_thin: bool,
}

fn numbers(page: &mut Html, found: &Findings) {
    let total = &found.stats.total;
    let all = plural(total.n, "image");
    let late = found.deadline_ms.map_or_else(
        || "p95".to_owned(),
        |deadline| format!("p95, deadline {}.{} s", deadline / 1_000, deadline % 1_000 / 100),
    );
    let spare = match (found.deadline_ms, total.total_ms.p95) {
        (Some(deadline), Some(p95)) if p95 <= deadline => {
            format!("{} to spare", seconds(deadline - p95))
        }
        _ => String::new(),
    };
    let rate = total.reject;
    let numbers = [
        Number {
            title: "Verdicts".to_owned(),
            n: lasting(found.window.1.0 - found.window.0.0),
            big: count(total.n),
            unit: format!("{} went to a person", count(total.review)),
            is_thin: false,
        },
        Number {
            title: late,
            n: format!("n {}", count(total.total_ms.n)),
            big: total.total_ms.p95.map_or_else(|| "\u{2013}".to_owned(), seconds),
            unit: spare,
            is_thin: total.total_ms.n < FEW,
        },
        Number {
            title: "Rejected".to_owned(),
            n: format!("n {}", count(rate.n)),
            big: rate.share.map_or_else(|| "\u{2013}".to_owned(), percent),
            unit: rate.share.map(|_| range(&rate)).unwrap_or_default(),
            is_thin: rate.n < FEW,
        },
        Number {
            title: "Spent".to_owned(),
            n: all,
            big: money(total.cost_micro_usd),
            unit: per_thousand(total.cost_micro_usd, total.n)
                .map(|each| format!("{each} per 1,000"))
                .unwrap_or_default(),
            is_thin: false,
        },
    ];
    page.mark("<div class=\"four\">");
    for (at, one) in numbers.iter().enumerate() {
        page.mark("<div><div class=\"lab\"><span>").say(&one.title);
        page.mark("</span><span class=\"q\">").say(&one.n).mark("</span></div>");
        page.mark(if one.is_thin { "<div class=\"big thin\">" } else { "<div class=\"big\">" });
        page.say(&one.big).mark(" <small>").say(&one.unit).mark("</small></div>");
        page.mark("<div class=\"spark\" data-spark=\"").say(at).mark("\"></div></div>\n");
    }
    page.mark("</div>\n");
}

fn sections(page: &mut Html, found: &Findings) {
    section(page, "What happened", "drift that a detector told; times are UTC");
    events(page, found);
    page.mark("</section>\n");
    let note = "share of images by judge, above the reject rate; times are UTC";
    section(page, "Who judged, and what was rejected", note);
    page.mark("<div class=\"names\" data-chart=\"names\"></div>");
    page.mark("<div class=\"chart\" data-chart=\"routing\"></div>\n");
    tables::by_day(page, found);
    page.mark("</section>\n");
    if found.drift.change.is_some() {
        let note = "points of the rate of first judgements that would not pass; the parts add up \
            exactly";
        section(page, "Where the change comes from", note);
        page.mark("<div class=\"pair\"><div class=\"chart\" data-chart=\"fall\"></div>");
        page.mark("<div class=\"chart\" data-chart=\"effects\"></div></div>\n");
        tables::parts(page, found);
        page.mark("</section>\n");
    }
    if !found.drift.evidence.is_empty() {
        section(page, "Evidence", "peak, as a multiple of the alarm threshold; log scale");
        page.mark("<div class=\"chart\" data-chart=\"evidence\"></div>\n");
        tables::evidence(page, found);
        page.mark("</section>\n");
    }
    section(page, "Judges", "share and rejects of the images each served");
    tables::judges(page, found);
    page.mark("</section>\n");
    tables::flags(page, found);
    tables::criteria(page, found);
    tables::people(page, found);
    reading(page);
}

/// Opens a section; its end is whoever opened it to write.
pub(super) fn section(page: &mut Html, title: &'static str, note: &'static str) {
    page.mark("<section><div class=\"head\"><h2>").mark(title);
    page.mark("</h2><span class=\"small q\">").mark(note).mark("</span></div>\n");
}

fn events(page: &mut Html, found: &Findings) {
    if found.events.is_empty() {
        page.mark("<p class=\"note\">No detector has spoken in this time.</p>\n");
        return;
    }
    page.mark("<ol class=\"told-events\">");
    for one in &found.events {
        page.mark("<li><time>").say(moment(one.at)).mark("</time><div><b>");
        page.say(label(&one.event.label, one.event.effect.effect)).mark("</b> <span class=\"q\">");
        page.say(&one.event.severity).mark("</span><p>");
        match &one.moved {
            Some(moved) => page.say(&moved.sentence),
            None => page.say(&one.event.sentence).mark("."),
        };
        page.mark("</p></div></li>\n");
    }
    page.mark("</ol>\n");
    if found.events_left_out != 0 {
        page.mark("<p class=\"note\">").say(plural(found.events_left_out, "earlier event"));
        page.mark(" left out.</p>\n");
    }
}

/// A drift label in words, of a change by `effect`.
fn label(label: &str, effect: f64) -> String {
    if let Some(judge) = label.strip_prefix("provider_drift:") {
        return format!("{judge} itself");
    }
    let words = match label {
        "routing" => "Routing",
        "input_drift" if 0.0 < effect => "Harder images",
        "input_drift" if effect < 0.0 => "Easier images",
        "input_drift" => "Other images",
        "policy_change" | "policy_annotation" => "The policy",
        "mixed_drift" => "Several causes",
        "unattributed" => "Not told apart",
        other => other,
    };
    words.to_owned()
}

/// How to read it, for who has never seen the gate.
fn reading(page: &mut Html) {
    page.mark(
        "<section class=\"reading\"><h2>How to read this</h2>\
         <p>Every image is measured and shown to a judge, a vision-language model; when one does \
         not answer in time another does. <b>Rejected</b> is the share of <i>fail</i> among \
         images that a judge judged; what no judge saw does not count. <b>Where the change comes \
         from</b> takes first judgements that would not pass, and splits what moved since the \
         time it is compared with: <i>input</i> is other images, <i>routing</i> other judges, \
         <i>policy</i> other questions, <i>within</i> the judges themselves on their own images. \
         Every number stands with its n; shares of fewer than 30 images are greyed.</p></section>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_which_fewer_are_rejected_were_told_as_harder_ones() {
        let told = [0.055, -0.061, 0.0].map(|effect| label("input_drift", effect));
        assert_eq!(told, ["Harder images", "Easier images", "Other images"]);
        assert_eq!(label("provider_drift:openai-mini", -0.05), "openai-mini itself");
        assert_eq!(label("routing", -0.03), "Routing");
    }
}
