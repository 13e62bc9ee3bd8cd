//! Views that are cut around what is found in a picture.

use super::*;
use crate::domain::policy::Landmark;

/// A picture drawn at any size, as JPEG.
fn drawn_jpeg(image: &image::RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let side = |px: u32| u16::try_from(px).unwrap();
    Encoder::new(&mut bytes, 95)
        .encode(image, side(image.width()), side(image.height()), ColorType::Rgb)
        .unwrap();
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
    let views = vec![whole(64), around(Landmark::Subject, 512), around(Landmark::Contact, 512)];
    let bytes = drawn_jpeg(&bottle());
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
async fn where_nothing_is_found_a_view_shows_the_part_that_the_policy_names() {
    let busy = image::RgbImage::from_fn(80, 80, |x, y| {
        let level = |by: u32| u8::try_from((x * by + y * 7 + x * y) % 256).unwrap();
        image::Rgb([level(31), level(17), level(57)])
    });
    let bytes = drawn_jpeg(&busy);
    let made = prepared(bytes, plan(vec![around(Landmark::Contact, 512)], [0; 3])).await.unwrap();
    assert_eq!((made.views[0].width_px, made.views[0].height_px), (80, 40));
}
