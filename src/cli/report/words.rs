//! Words: how numbers, shares, moments and money read in a report. As on the page: one decimal for
//! rates and points, a real minus, thousands with a comma, a rounded zero without a sign.

use jiff::tz::TimeZone;

use crate::cli::report::figures::{Effect, Share};
use crate::clock::Timestamp;
use crate::http::sentence::{count, points};

/// A share of fewer images than this is greyed: it says little.
pub(super) const FEW: u64 = 30;

const NBSP: char = '\u{a0}';

/// `1 image`, `12,345 images`.
pub(super) fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `6.4 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1}{NBSP}%", ratio * 100.0)
}

/// `+2.4 to +3.2`.
pub(super) fn points_range(of: &Effect) -> String {
    format!("{} to {}", points(of.low), points(of.high))
}

/// `5.9 to 6.9 %` of a share.
pub(super) fn range(of: &Share) -> String {
    format!("{:.1} to {}", of.low * 100.0, percent(of.high))
}

/// `0.64 s`.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:02}{NBSP}s", ms / 1_000, ms % 1_000 / 10)
}

/// Micro-dollars as `$12.34`, halves up.
pub(super) fn money(micro_usd: u64) -> String {
    let cents = micro_usd.saturating_add(5_000) / 10_000;
    format!("${}.{:02}", count(cents / 100), cents % 100)
}

/// Micro-dollars of one thousand images, of `cost` for `n`.
pub(super) fn per_thousand(cost_micro_usd: u64, n: u64) -> Option<String> {
    let each = u128::from(cost_micro_usd) * 1_000 / u128::from(n.max(1));
    (n != 0).then(|| money(u64::try_from(each).unwrap_or(u64::MAX)))
}

/// `21 Nov 2026`.
pub(super) fn date(at: Timestamp) -> String {
    told(at, "%-d %b %Y")
}

/// `21 Nov 14:02`.
pub(super) fn moment(at: Timestamp) -> String {
    told(at, "%-d %b %H:%M")
}

/// `21 Nov 2026, 14:02`.
pub(super) fn whole(at: Timestamp) -> String {
    told(at, "%-d %b %Y, %H:%M")
}

/// `Sat 21 Nov`.
pub(super) fn day(at: Timestamp) -> String {
    told(at, "%a %-d %b")
}

fn told(at: Timestamp, form: &str) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(moment) => moment.to_zoned(TimeZone::UTC).strftime(form).to_string(),
        Err(_) => at.to_string(),
    }
}

/// `30 minutes`, `24 hours`, `7 days`: the whole ones that fit, so never longer than it was.
pub(super) fn lasting(us: i64) -> String {
    let minutes = us.max(0).unsigned_abs() / 60_000_000;
    match minutes {
        0..60 => plural(minutes, "minute"),
        60..2_880 => plural(minutes / 60, "hour"),
        _ => plural(minutes / 1_440, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_on_the_page() {
        let counts = [0, 999, 1_000, 12_345, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "12,345", "1,234,567"]);
        let moved = [0.028, -0.003, -0.000_4, 0.000_4].map(points);
        assert_eq!(moved, ["+2.8", "\u{2212}0.3", "0.0", "0.0"]);
        assert_eq!((percent(0.0638), seconds(640)), ("6.4\u{a0}%".into(), "0.64\u{a0}s".into()));
        assert_eq!(
            (money(12_344_999), money(1_234_000_000_000)),
            ("$12.34".into(), "$1,234,000.00".into())
        );
        assert_eq!(per_thousand(190_000, 1_000).as_deref(), Some("$0.19"));
        assert_eq!(per_thousand(1, 0), None);
        assert_eq!(plural(1, "event"), "1 event");
    }

    #[test]
    fn a_stretch_is_never_told_longer_than_it_is() {
        let hour = 3_600_000_000;
        assert_eq!(lasting(168 * hour), "7 days");
        assert_eq!(lasting(145 * hour), "6 days");
        assert_eq!(lasting(167 * hour), "6 days");
        assert_eq!(lasting(24 * hour), "24 hours");
        assert_eq!(lasting(hour), "1 hour");
        assert_eq!(lasting(hour / 2), "30 minutes");
        assert_eq!(lasting(-hour), "0 minutes");
    }

    #[test]
    fn moments_are_told_in_utc() {
        let at = Timestamp::parse("2026-11-21T14:02:00Z").unwrap();
        assert_eq!(whole(at), "21 Nov 2026, 14:02");
        assert_eq!((moment(at), day(at)), ("21 Nov 14:02".into(), "Sat 21 Nov".into()));
    }
}
