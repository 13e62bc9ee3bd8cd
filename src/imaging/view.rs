//! A view is cut out, made smaller, laid on a colour and encoded once, for every judge and attempt.

use fast_image_resize::FilterType;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::domain::policy::{Encoding, Region, ViewSpec};
use crate::imaging::lean::Lean;
use crate::imaging::picture::{Frame, Picture};
use crate::imaging::{Base64, View};

/// The view could not be made: the encoder refused a size or wrote nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotMade;

/// Makes the views of `picture`, in order. Views of the same part at the same size share bytes.
pub(crate) fn views(
    picture: &Picture,
    specs: &[ViewSpec],
    encoding: Encoding,
) -> Result<Vec<View>, NotMade> {
    let mut made: Vec<(Frame, View)> = Vec::with_capacity(specs.len());
    for spec in specs {
        let frame = frame(picture, spec.region);
        let (width_px, height_px) = fitted((frame.width_px, frame.height_px), spec.max_side_px);
        let same = made.iter().find(|(other, view)| {
            *other == frame && view.width_px == width_px && view.height_px == height_px
        });
        let view = match same {
            Some((_, view)) => View { id: spec.id.clone(), ..view.clone() },
            None => view(picture, frame, (width_px, height_px), encoding, &spec.id)?,
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
    let jpeg = Base64::of(&lean.bytes);
    let view = |spec: &ViewSpec| View {
        id: spec.id.clone(),
        width_px: lean.width_px,
        height_px: lean.height_px,
        jpeg: jpeg.clone(),
    };
    Some(specs.iter().map(view).collect())
}

/// The whole pixels that `region` covers, at least one.
pub(crate) fn frame(picture: &Picture, region: Region) -> Frame {
    let (left_px, width_px) = span(picture.width_px, region.left, region.width);
    let (top_px, height_px) = span(picture.height_px, region.top, region.height);
    Frame { left_px, top_px, width_px, height_px }
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
    let small = picture.resized(frame, (width_px, height_px), FilterType::Lanczos3);
    let rgb = small.map_err(|_| NotMade)?.flattened(encoding.flatten_alpha);
    let width = u16::try_from(width_px).map_err(|_| NotMade)?;
    let height = u16::try_from(height_px).map_err(|_| NotMade)?;
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, encoding.quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&rgb, width, height, ColorType::Rgb).map_err(|_| NotMade)?;
    Ok(View { id: id.to_owned(), width_px, height_px, jpeg: Base64::of(&jpeg) })
}
