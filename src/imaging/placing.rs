//! Placing is where in the frame the subject lies and how much of it it fills. Nothing of it can be
//! told in a scene, where the subject is not known.

use crate::imaging::grid::share;
use crate::imaging::marks::Marks;
use crate::imaging::parts::Part;
use crate::imaging::subject::{Ground, Subject};

/// A part smaller than this share of the largest is litter and moves nothing.
const LEAST_PART: f64 = 0.02;

/// Share of the frame that the subject covers, 0..1. `None` in a scene.
pub(crate) fn area(subject: &Subject, marks: &mut Marks) -> Option<f64> {
    let covered = cover(subject)?;
    marks.block(subject.mask.size(), (covered.left, covered.top), covered.size());
    Some(share(covered.area, subject.mask.places_in_all()))
}

/// Distance between the middle of the box around the subject and the middle of the frame, as a share
/// of the frame's side: of the direction where it is larger, 0..0.5. `None` in a scene.
pub(crate) fn offset(subject: &Subject, marks: &mut Marks) -> Option<f64> {
    let covered = cover(subject)?;
    marks.block(subject.mask.size(), (covered.left, covered.top), covered.size());
    let apart = |first: i32, last: i32, side: i32| {
        (f64::from(first + last + 1) / 2.0 / f64::from(side.max(1)) - 0.5).abs()
    };
    let (width, height) = subject.mask.size();
    let across = apart(covered.left, covered.right, width);
    let down = apart(covered.top, covered.bottom, height);
    Some(across.max(down))
}

/// The subject's parts as one. `None` in a scene.
pub(crate) fn cover(subject: &Subject) -> Option<Part> {
    if subject.ground == Ground::Busy {
        return None;
    }
    let parts = subject.parts();
    let largest = parts.largest();
    let large = |part: &&Part| LEAST_PART <= share(part.area, largest);
    parts.list().filter(large).copied().reduce(Part::with)
}
