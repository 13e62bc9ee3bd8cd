//! How numbers are told: with their unit, no finer than they are known.

use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::Limit;
use crate::outcome::Op;
use crate::outcome::Unit;

/// A number with its unit.
pub(super) fn told(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => thousands(value),
        Unit::Share => format!("{} %", share(value)),
        Unit::PerImage => format!("{value:.2} an image"),
        Unit::TimesHealthy => format!("{value:.2} × H"),
        Unit::Ratio => format!("{value:.2} ×"),
        Unit::Ms if value < 10.0 => format!("{value:.1} ms"),
        Unit::Ms => format!("{} ms", thousands(value)),
        Unit::S => format!("{value:.1} s"),
        Unit::Points => format!("{} points", signed(value)),
        Unit::Mb => format!("{} MB", thousands(value)),
        Unit::PerS => format!("{value:.1} a second"),
        Unit::Cores => format!("{value:.2} cores"),
    }
}

/// What was measured; a dash for what was not.
pub(super) fn value(figure: &Figure) -> String {
    figure.value.map_or_else(|| "—".to_owned(), |value| told(value, figure.unit))
}

/// The line a figure is held to: `at most 1.35 × H`.
pub(super) fn limit(limit: Limit, unit: Unit) -> String {
    let side = match limit.op {
        Op::AtMost => "at most",
        Op::AtLeast => "at least",
    };
    format!("{side} {}", told(limit.value, unit))
}

/// Whether a figure holds, in a word.
pub(super) const fn verdict(verdict: FigureVerdict) -> &'static str {
    match verdict {
        FigureVerdict::Met => "met",
        FigureVerdict::Missed => "missed",
        FigureVerdict::NotApplicable => "n/a",
        FigureVerdict::Stated => "stated",
    }
}

/// A span of seconds for people: `28 min`, `42 s`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// Three digits where they tell something: 99.96, 53.2, 0.
fn share(value: f64) -> String {
    let percent = value * 100.0;
    let is_whole = (percent - percent.round()).abs() < 1e-9;
    if is_whole {
        format!("{percent:.0}")
    } else if !(1.0..=99.0).contains(&percent) {
        format!("{percent:.2}")
    } else {
        format!("{percent:.1}")
    }
}

/// A rounded zero has no sign, and a minus is a minus.
fn signed(value: f64) -> String {
    let size = format!("{:.1}", value.abs());
    match size.as_str() {
        "0.0" => size,
        _ if value < 0.0 => format!("−{size}"),
        _ => format!("+{size}"),
    }
}

fn thousands(value: f64) -> String {
    let whole = format!("{:.0}", value.abs());
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if 0 < at && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if value < -0.5 { format!("−{grouped}") } else { grouped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, unit: Unit, expected: &str) {
        assert_eq!(told(value, unit), expected);
    }

    #[test]
    fn numbers_carry_their_unit_and_no_more_digits_than_they_are_worth() {
        check(1_234_567.0, Unit::Count, "1,234,567");
        check(0.0, Unit::Count, "0");
        check(-3_900.0, Unit::Count, "−3,900");
        check(0.999_6, Unit::Share, "99.96 %");
        check(0.532_1, Unit::Share, "53.2 %");
        check(1.0, Unit::Share, "100 %");
        check(1.284, Unit::TimesHealthy, "1.28 × H");
        check(812.4, Unit::Ms, "812 ms");
        check(4.25, Unit::Ms, "4.2 ms");
        check(-0.04, Unit::Points, "0.0 points");
        check(-2.96, Unit::Points, "−3.0 points");
        check(0.31, Unit::Points, "+0.3 points");
    }

    #[test]
    fn a_line_says_its_good_side() {
        assert_eq!(limit(Limit::at_most(1.35), Unit::TimesHealthy), "at most 1.35 × H");
        assert_eq!(limit(Limit::at_least(0.999), Unit::Share), "at least 99.90 %");
    }
}
