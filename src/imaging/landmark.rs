//! Landmarks are places found in an image that a view can be cut around, so that a judge is shown
//! the edge and the foot of a small product as large as those of one that fills its frame.
//!
//! They are found on the sample that the checks look at, hence to one part in some hundreds of the
//! frame, and always with some ground around: a crop that touched the edge would hide its halo.

use crate::domain::policy::{Landmark, Region, ViewSpec};
use crate::imaging::placing::cover;
use crate::imaging::sample::Sample;
use crate::imaging::shadow::foot;
use crate::imaging::subject::Subject;

/// Ground around the subject, of the longer side of its box.
const MARGIN: f64 = 0.08;

/// What a view of the contact shows of the subject above its foot, of the height of its box.
const ABOVE: f64 = 0.25;

/// What it shows below the foot, of the same: a shadow falls to within it.
const BELOW: f64 = 0.15;

/// What it shows below the lowest of all that differs from the ground, shadows too, of the same.
const UNDER: f64 = 0.05;

/// What it shows on either side, of the width of the box: shadows fall sideways.
const BESIDE: f64 = 0.15;

/// Least share of a side of the frame that a view shows: of a speck nobody sees more in fewer pixels.
const LEAST: f64 = 0.125;

/// Where the subject of an image lies, in pixels of its sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Landmarks {
    frame: (f64, f64),
    /// First and last column.
    across: (f64, f64),
    /// First and last row.
    down: (f64, f64),
    /// The lowest row that is subject and no shadow.
    foot: f64,
}

impl Landmarks {
    /// The landmarks of a sample; `None` in a scene, where nobody can tell the subject cheaply.
    pub(crate) fn of(sample: &Sample, subject: &Subject) -> Option<Self> {
        let cover = cover(subject)?;
        let (width, height) = subject.mask.size();
        let lowest = foot(sample, subject, &cover).unwrap_or(cover.bottom);
        Some(Self {
            frame: (f64::from(width), f64::from(height)),
            across: (f64::from(cover.left), f64::from(cover.right + 1)),
            down: (f64::from(cover.top), f64::from(cover.bottom + 1)),
            foot: f64::from(lowest.clamp(cover.top, cover.bottom) + 1),
        })
    }

    /// The part of the image that a view around `landmark` shows.
    pub(crate) fn part(&self, landmark: Landmark) -> Region {
        let ((left, right), (top, bottom)) = (self.across, self.down);
        let (wide, high) = (right - left, bottom - top);
        let (across, down) = match landmark {
            Landmark::Subject => {
                let margin = MARGIN * wide.max(high);
                ((left - margin, right + margin), (top - margin, bottom + margin))
            }
            Landmark::Contact => {
                let (above, below, beside) = (ABOVE * high, BELOW * high, BESIDE * wide);
                // of what floats the shadow lies deeper, and that is what is to be seen
                let lowest = (self.foot + below).max(bottom + UNDER * high);
                ((left - beside, right + beside), (self.foot - above, lowest))
            }
        };
        let (left, width) = kept(across, self.frame.0);
        let (top, height) = kept(down, self.frame.1);
        Region { left, top, width, height }
    }
}

/// Start and length of what is kept of a side, as shares of it: what lies in the frame, and where
/// that is too little as much around it, moved away from an edge that it would reach past.
fn kept((from, to): (f64, f64), side: f64) -> (f64, f64) {
    let (from, to) = (from.max(0.0), to.min(side));
    let lacking = (LEAST * side - (to - from)).max(0.0);
    let length = to - from + lacking;
    let from = (from - lacking / 2.0).min(side - length).max(0.0);
    (from / side, length / side)
}

/// The views as they are to be cut from an image with these landmarks.
pub(crate) fn placed(views: &[ViewSpec], landmarks: Option<&Landmarks>) -> Vec<ViewSpec> {
    let place = |view: &ViewSpec| {
        let found = view.around.and_then(|around| Some(landmarks?.part(around)));
        ViewSpec { around: None, region: found.unwrap_or(view.region), ..view.clone() }
    };
    views.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::*;
    use crate::imaging::picture::{Picture, Pixels};

    /// A mug in the middle of a wide frame, its shadow to the right of it and below.
    const MUG: Landmarks = Landmarks {
        frame: (400.0, 200.0),
        across: (150.0, 250.0),
        down: (60.0, 160.0),
        foot: 150.0,
    };

    /// Left, top, width and height of the part, in whole pixels.
    fn pixels(landmarks: &Landmarks, landmark: Landmark) -> String {
        let Region { left, top, width, height } = landmarks.part(landmark);
        let (wide, high) = landmarks.frame;
        let sides = [left * wide, top * high, width * wide, height * high];
        sides.map(|side| format!("{side:.0}")).join(" ")
    }

    #[test]
    fn a_view_of_the_subject_has_ground_on_every_side() {
        assert_eq!(pixels(&MUG, Landmark::Subject), "142 52 116 116");
    }

    #[test]
    fn a_view_of_the_contact_shows_the_foot_and_the_ground_below_it() {
        assert_eq!(pixels(&MUG, Landmark::Contact), "135 125 130 40");
    }

    #[test]
    fn a_view_of_the_contact_shows_the_shadow_of_what_floats() {
        let floating = Landmarks { foot: 110.0, ..MUG };
        assert_eq!(pixels(&floating, Landmark::Contact), "135 85 130 80");
    }

    #[test]
    fn a_view_ends_where_the_frame_does() {
        let low = Landmarks { down: (120.0, 200.0), foot: 200.0, ..MUG };
        assert_eq!(pixels(&low, Landmark::Contact), "135 175 130 25");
        let full = Landmarks { across: (0.0, 400.0), down: (0.0, 200.0), ..MUG };
        assert_eq!(full.part(Landmark::Subject), Region::WHOLE);
    }

    #[test]
    fn a_speck_is_shown_with_an_eighth_of_the_frame() {
        let speck = Landmarks { across: (10.0, 12.0), down: (100.0, 101.0), foot: 101.0, ..MUG };
        assert_eq!(pixels(&speck, Landmark::Subject), "0 88 50 25");
        let below = Landmarks { across: (398.0, 400.0), down: (198.0, 200.0), foot: 200.0, ..MUG };
        for landmark in [Landmark::Subject, Landmark::Contact] {
            assert_eq!(pixels(&below, landmark), "350 175 50 25");
        }
    }

    #[test]
    fn litter_below_a_floating_product_hides_neither_its_foot_nor_the_gap() {
        const SHADOW: [u8; 10] = [236, 222, 208, 194, 190, 190, 194, 208, 222, 236];
        // a box that floats 40 rows above its soft shadow, a speck under it and one beside it
        let pixel = |x: u32, y: u32| match (x, y) {
            (60..140, 60..110) => [20, 40, 160],
            (98..102, 190..193) | (20..23, 120..123) => [20; 3],
            (60..140, 150..160) => [SHADOW[y as usize - 150]; 3],
            _ => [250; 3],
        };
        let pixels = (0..200).flat_map(|y| (0..200).flat_map(move |x| pixel(x, y))).collect();
        let upright = Orientation::NoTransforms;
        let picture = Picture::upright((200, 200), Pixels::Rgb(pixels), upright).unwrap();
        let sample = Sample::of(&picture).unwrap();
        let found = Landmarks::of(&sample, &Subject::of(&sample)).unwrap();
        assert_eq!((found.across, found.down.0), ((60.0, 140.0), 60.0));
        assert!((150.0..=160.0).contains(&found.down.1), "the shadow is within: {found:?}");
        assert!((110.0..=111.0).contains(&found.foot), "{found:?}");
        let Region { top, height, .. } = found.part(Landmark::Contact);
        let (first, last) = (top * 200.0, (top + height) * 200.0);
        assert!(first < 100.0 && 160.0 < last && last < 190.0, "rows {first} to {last}");
    }
}
