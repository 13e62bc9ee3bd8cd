//! Views that are cut around what is found in a picture.

use super::*;
use crate::domain::policy::Landmark;

/// A picture drawn at any size, as JPEG.
fn drawn_jpeg(image: &image::RgbImage, orientation: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let side = |px: u32| u16::try_from(px).unwrap();
    let mut encoder = Encoder::new(&mut bytes, 95);
    encoder.add_exif_metadata(&exif(orientation)).unwrap();
    encoder.encode(image, side(image.width()), side(image.height()), ColorType::Rgb).unwrap();
    bytes
}

/// A blue bottle right of the middle on white, a soft grey shadow under its foot.
fn bottle() -> image::RgbImage {
    image::RgbImage::from_fn(400, 400, |x, y| {
        let within = |columns: std::ops::Range<u32>, rows: std::ops::Range<u32>| {
            columns.contains(&x) && rows.contains(&y)
        };
        match () {
            () if within(240..320, 120..280) => image::Rgb([20, 40, 160]),
            () if within(230..330, 280..292) => image::Rgb([215, 215, 215]),
            () => image::Rgb([250, 250, 250]),
        }
    })
}

fn around(landmark: Landmark, max_side_px: u32) -> ViewSpec {
    let region = Region { left: 0.0, top: 0.5, width: 1.0, height: 0.5 };
    ViewSpec { id: landmark.label().to_owned(), around: Some(landmark), region, max_side_px }
}

#[tokio::test]
async fn a_view_is_cut_around_what_is_found_and_shows_every_pixel_of_it() {
    assert_shows_the_bottle(drawn_jpeg(&bottle(), 1)).await;
}

#[tokio::test]
async fn a_view_is_cut_around_what_is_found_in_a_picture_that_lies_on_its_side() {
    // a viewer turns it by a quarter to the right
    let lying = image::imageops::rotate270(&bottle());
    assert_shows_the_bottle(drawn_jpeg(&lying, 6)).await;
}

async fn assert_shows_the_bottle(bytes: Vec<u8>) {
    let views = vec![whole(64), around(Landmark::Subject, 512), around(Landmark::Contact, 512)];
    let free = Plan { measures: false, ..Plan::clone(&plan(views, [0; 3])) };
    let made = prepared(bytes, Arc::new(free)).await.unwrap();
    let sizes: Vec<_> = made.views.iter().map(|one| (one.width_px, one.height_px)).collect();
    // the box holds the shadow as well, 100 x 172; the foot is the bottle's
    assert_eq!(sizes, [(64, 64), (128, 200), (130, 69)]);
    let [_, (width, height), (foot_width, foot_height)] = sizes[..] else { panic!("three views") };
    let subject = shown(&made.views[1]);
    assert_near(&subject, (width / 2, height / 2), [20, 40, 160]);
    assert_near(&subject, (2, 2), [250; 3]);
    let foot = shown(&made.views[2]);
    assert_near(&foot, (foot_width / 2, 8), [20, 40, 160]);
    assert_near(&foot, (foot_width / 2, foot_height - 2), [250; 3]);
    let dark = (0..foot_height).filter(|y| is_near(&foot, (foot_width / 2, *y), [215; 3])).count();
    assert!((8..=14).contains(&dark), "the shadow is in it: {dark} rows");
}

#[tokio::test]
async fn a_view_is_cut_around_what_alpha_cuts_out() {
    const GROUND: [u8; 3] = [0, 200, 0];
    let cutout = image::RgbaImage::from_fn(400, 400, |x, y| {
        let is_bottle = (240..320).contains(&x) && (120..280).contains(&y);
        image::Rgba(if is_bottle { [20, 40, 160, 255] } else { [250, 250, 250, 0] })
    });
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(&cutout, 400, 400, ExtendedColorType::Rgba8).unwrap();
    let views = vec![around(Landmark::Subject, 512), around(Landmark::Contact, 512)];
    let made = prepared(bytes, plan(views, GROUND)).await.unwrap();
    let sizes: Vec<_> = made.views.iter().map(|one| (one.width_px, one.height_px)).collect();
    assert_eq!(sizes, [(106, 186), (104, 64)]);
    let [subject, foot] = [0, 1].map(|at: usize| shown(&made.views[at]));
    assert_near(&subject, (53, 93), [20, 40, 160]);
    assert_near(&subject, (2, 2), GROUND);
    // alpha has no shadow: the foot is where the cutout ends
    assert_near(&foot, (52, 30), [20, 40, 160]);
    assert_near(&foot, (52, 50), GROUND);
}

#[tokio::test]
async fn where_nothing_is_found_a_view_shows_the_part_that_the_policy_names() {
    let busy = image::RgbImage::from_fn(80, 80, |x, y| {
        let level = |by: u32| u8::try_from((x * by + y * 7 + x * y) % 256).unwrap();
        image::Rgb([level(31), level(17), level(57)])
    });
    let bytes = drawn_jpeg(&busy, 1);
    let made = prepared(bytes, plan(vec![around(Landmark::Contact, 512)], [0; 3])).await.unwrap();
    assert_eq!((made.views[0].width_px, made.views[0].height_px), (80, 40));
}
