//! Records as they are counted: those that wait, those that came too late, and those that were lost.

use metrics::{counter, gauge};

/// Registers the series of records.
pub(super) fn register() {
    counter!("vlmgate_unrecorded_total").increment(0);
    set_dropped(0, 0, 0);
    set_pending(0);
    set_uncounted(0);
}

/// Sets how many records wait to be written.
pub fn set_pending(records: u64) {
    gauge!("vlmgate_records_pending").set(whole(records));
}

/// Sets how many records the figures do not know yet.
pub fn set_uncounted(records: u64) {
    gauge!("vlmgate_records_uncounted").set(whole(records));
}

/// Counts a verdict answered before its record was written.
pub fn count_unrecorded() {
    counter!("vlmgate_unrecorded_total").increment(1);
}

/// Sets how many records, images and remainders of early answers were lost since the start.
pub fn set_dropped(rows: u64, images: u64, late: u64) {
    counter!("vlmgate_records_dropped_total", "what" => "row").absolute(rows);
    counter!("vlmgate_records_dropped_total", "what" => "image").absolute(images);
    counter!("vlmgate_records_dropped_total", "what" => "late").absolute(late);
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than a double counts")]
fn whole(records: u64) -> f64 {
    records as f64
}
