//! A view is cut out, made smaller, laid on a colour and encoded once, for every judge and attempt.
//!
//! All judges of a policy see the same views, though providers count and shrink pictures each in a
//! way of its own. Drift, calibration and second opinions compare what two judges say of one image;
//! were they shown different pictures, nobody could tell a stricter judge from one that saw less. So a
//! policy has one size, and the shipped one is the largest that every family which counts in cells or
//! patches looks at as it was sent; a test holds it to that.

use crate::domain::policy::{Encoding, Region, ViewSpec};
use crate::imaging::encode::{NotMade, encode};
use crate::imaging::lean::Lean;
use crate::imaging::picture::{Frame, Picture};
use crate::imaging::sample::SAMPLE_SIDE_PX;
use crate::imaging::{Base64, View};

/// Makes the views of `picture`, in order. Views of the same part at the same size share bytes, and
/// where `lean` is such a view already it is not encoded again.
pub(crate) fn views(
    picture: &Picture,
    lean: Option<&Lean>,
    specs: &[ViewSpec],
    encoding: Encoding,
) -> Result<Vec<View>, NotMade> {
    let mut made: Vec<(Frame, View)> = Vec::with_capacity(specs.len());
    for spec in specs {
        let frame = frame((picture.width_px, picture.height_px), spec.region);
        let (width_px, height_px) = fitted((frame.width_px, frame.height_px), spec.max_side_px);
        let same = made.iter().find(|(other, view)| {
            *other == frame && view.width_px == width_px && view.height_px == height_px
        });
        let came = lean.filter(|lean| {
            frame == picture.frame() && (lean.width_px, lean.height_px) == (width_px, height_px)
        });
        let view = match (same, came) {
            (Some((_, view)), _) => View { id: spec.id.clone(), ..view.clone() },
            (None, Some(lean)) => as_it_came(lean, &spec.id),
            (None, None) => view(picture, frame, (width_px, height_px), encoding, &spec.id)?,
        };
        made.push((frame, view));
    }
    Ok(made.into_iter().map(|(_, view)| view).collect())
}

/// The views of a picture that is sent as it came: all of them show it whole, none smaller. `None`
/// where one of them does not.
pub(crate) fn unchanged(lean: &Lean, specs: &[ViewSpec]) -> Option<Vec<View>> {
    let size = (lean.width_px, lean.height_px);
    let fits =
        |spec: &ViewSpec| spec.region == Region::WHOLE && fitted(size, spec.max_side_px) == size;
    if !specs.iter().all(fits) {
        return None;
    }
    let view = as_it_came(lean, "");
    Some(specs.iter().map(|spec| View { id: spec.id.clone(), ..view.clone() }).collect())
}

fn as_it_came(lean: &Lean, id: &str) -> View {
    View {
        id: id.to_owned(),
        width_px: lean.width_px,
        height_px: lean.height_px,
        jpeg: Base64::of(&lean.bytes),
    }
}

/// The whole pixels that `region` covers of a picture of `width` x `height`, at least one.
pub(crate) fn frame((width, height): (u32, u32), region: Region) -> Frame {
    let (left_px, width_px) = span(width, region.left, region.width);
    let (top_px, height_px) = span(height, region.top, region.height);
    Frame { left_px, top_px, width_px, height_px }
}

/// The most pixels along a side of a picture of `size` that may become one before anybody looks, a
/// power of two up to 8: still no view has more pixels than are left of its part, and the sample has
/// half as many along a side, so that its numbers hardly depend on how the picture was shrunk.
///
/// What a view is cut around is found only afterwards, and may be small: then the picture keeps all
/// of its pixels.
pub(crate) fn shrink(size: (u32, u32), specs: &[ViewSpec]) -> u32 {
    if specs.iter().any(|spec| spec.around.is_some()) {
        return 1;
    }
    let parts = specs.iter().map(|spec| (frame(size, spec.region), spec.max_side_px));
    let parts = parts.chain([(Frame::whole(size), 2 * SAMPLE_SIDE_PX)]);
    let each = parts.map(|(part, max_side_px)| {
        let (width, height) = fitted((part.width_px, part.height_px), max_side_px);
        (part.width_px / width.max(1)).min(part.height_px / height.max(1))
    });
    match each.min().unwrap_or(1) {
        0..=1 => 1,
        2..=3 => 2,
        4..=7 => 4,
        _ => 8,
    }
}

/// `size` with its longer side at most `max_side_px` and its aspect kept; never larger.
pub(crate) fn fitted((width_px, height_px): (u32, u32), max_side_px: u32) -> (u32, u32) {
    let longer = width_px.max(height_px);
    let max_side = max_side_px.clamp(1, u16::MAX.into());
    if longer <= max_side {
        return (width_px, height_px);
    }
    let scaled = |side: u32| {
        let rounded = (u64::from(side) * u64::from(max_side) * 2 + u64::from(longer))
            / (u64::from(longer) * 2);
        u32::try_from(rounded).unwrap_or(max_side).max(1)
    };
    (scaled(width_px), scaled(height_px))
}

fn span(side_px: u32, from: f64, share: f64) -> (u32, u32) {
    let side = f64::from(side_px);
    let first = whole((side * from).round().clamp(0.0, side - 1.0));
    let last = whole((side * (from + share)).round().clamp(0.0, side));
    (first, last.saturating_sub(first).max(1))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=u32::MAX")]
fn whole(length: f64) -> u32 {
    length as u32
}

fn view(
    picture: &Picture,
    frame: Frame,
    (width_px, height_px): (u32, u32),
    encoding: Encoding,
    id: &str,
) -> Result<View, NotMade> {
    let shown = picture.shown(frame, (width_px, height_px), encoding.flatten_alpha);
    let jpeg = encode(&shown.map_err(|_| NotMade)?, (width_px, height_px), encoding.quality)?;
    Ok(View { id: id.to_owned(), width_px, height_px, jpeg: Base64::of(&jpeg) })
}
