//! A date is a day in a file: `2026-11-23`, in UTC.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::policy::offset::Day;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads a date; `None` where `text` is none.
#[must_use]
pub fn read_date(text: &str) -> Option<Day> {
    let is_form = text.len() == 10 && text.bytes().all(|one| one.is_ascii_digit() || one == b'-');
    let at = Timestamp::parse(&format!("{text}T00:00:00Z")).ok().filter(|_| is_form)?;
    Some(day_of(at))
}

/// The day that a moment belongs to.
#[must_use]
pub fn day_of(at: Timestamp) -> Day {
    Day(at.0.div_euclid(micros_of_a_day()))
}

/// The first moment of a day.
#[must_use]
pub fn first_moment(day: Day) -> Timestamp {
    Timestamp(day.0.saturating_mul(micros_of_a_day()))
}

/// A day as files write it.
#[must_use]
pub fn show_date(day: Day) -> String {
    let at = first_moment(day).to_string();
    at.split('T').next().unwrap_or_default().to_owned()
}

fn micros_of_a_day() -> i64 {
    i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_shown_alike() {
        for text in ["1970-01-01", "2026-11-23", "2028-02-29", "1969-12-31"] {
            assert_eq!(read_date(text).map(show_date).as_deref(), Some(text));
        }
        assert_eq!(read_date("1970-01-02"), Some(Day(1)));
        assert_eq!(day_of(Timestamp(-1)), Day(-1), "the last moment of 1969");
        for wrong in ["", "2026-11-31", "2026-1-1", "26-11-23", "2026-11-23T00", "+026-11-23"] {
            assert_eq!(read_date(wrong), None, "{wrong}");
        }
    }
}
