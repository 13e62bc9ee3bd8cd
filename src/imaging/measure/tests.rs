//! Pictures drawn in code, each with one thing about it that a measure has to see.

use super::*;
use crate::domain::OnFail;
use crate::domain::policy::Encoding;
use crate::imaging::picture::Pixels;

mod faults;

const SIDE: u32 = 400;

/// A picture whose pixel at (x, y) is `colour(x, y)` with straight alpha.
fn drawn(size: (u32, u32), colour: impl Fn(f64, f64) -> [u8; 4]) -> Picture {
    let mut bytes = Vec::new();
    for y in 0..size.1 {
        for x in 0..size.0 {
            bytes.extend(colour(f64::from(x) + 0.5, f64::from(y) + 0.5));
        }
    }
    let pixels = if bytes.chunks_exact(4).all(|pixel| pixel[3] == 255) {
        Pixels::Rgb(
            bytes.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        )
    } else {
        Pixels::Rgba(bytes)
    };
    Picture::upright(size, pixels, image::metadata::Orientation::NoTransforms).unwrap()
}

/// Share of a pixel that lies inside a disc: 1 inside, 0 outside, soft between.
fn disc(x: f64, y: f64, (cx, cy): (f64, f64), radius: f64) -> f64 {
    (radius - (x - cx).hypot(y - cy) + 0.5).clamp(0.0, 1.0)
}

fn mix(under: [u8; 3], over: [u8; 3], share: f64) -> [u8; 4] {
    let channel = |i: usize| {
        let level = f64::from(under[i]) + (f64::from(over[i]) - f64::from(under[i])) * share;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255")]
        let level = level.round() as u8;
        level
    };
    [channel(0), channel(1), channel(2), 255]
}

fn alpha(colour: [u8; 3], share: f64) -> [u8; 4] {
    let [.., level, _] = mix([0; 3], [255; 3], share);
    [colour[0], colour[1], colour[2], level]
}

const MIDDLE: (f64, f64) = (200.0, 200.0);
const BLUE: [u8; 3] = [40, 70, 140];
const WHITE: [u8; 3] = [250; 3];

/// A striped disc on a ground, its edges `soft` pixels wide.
fn product(ground: [u8; 3], soft: f64) -> Picture {
    drawn((SIDE, SIDE), |x, y| {
        let inside = ((120.0 - (x - MIDDLE.0).hypot(y - MIDDLE.1)) / soft + 0.5).clamp(0.0, 1.0);
        let stripe = ((x / 12.0).sin() * 6.0 / soft + 0.5).clamp(0.0, 1.0);
        let [r, g, b, _] = mix(BLUE, [200, 180, 60], stripe);
        mix(ground, [r, g, b], inside)
    })
}

/// A blue disc cut out, with a ring of `ring` around it, `wide` pixels thick.
fn cutout(ring: [u8; 3], wide: f64) -> Picture {
    drawn((SIDE, SIDE), |x, y| {
        let [r, g, b, _] = mix(ring, BLUE, disc(x, y, MIDDLE, 120.0));
        alpha([r, g, b], disc(x, y, MIDDLE, 120.0 + wide))
    })
}

/// What is wanted of a picture that is only measured.
fn plan(checks: Vec<CheckSpec>, measures: bool) -> Plan {
    let encode = Encoding { quality: 85, flatten_alpha: WHITE };
    Plan { max_pixels: u64::MAX, checks, views: Vec::new(), encode, measures }
}

fn measured(picture: &Picture) -> Measurements {
    measure(picture, &plan(Vec::new(), true)).unwrap().measurements
}

/// The value of one check, whatever its line.
fn value(picture: &Picture, kind: CheckKind) -> Option<f64> {
    finding(picture, kind).value
}

fn finding(picture: &Picture, kind: CheckKind) -> Finding {
    let spec = CheckSpec { id: "it".to_owned(), kind, when: None, on_fail: OnFail::Flag };
    measure(picture, &plan(vec![spec], false)).unwrap().findings.remove(0)
}

fn deviation(picture: &Picture) -> f64 {
    value(picture, CheckKind::Contrast { min_stddev: 4.0 }).unwrap()
}

fn subject_luma(picture: &Picture) -> f64 {
    value(
        picture,
        CheckKind::Exposure {
            subject: (0.06, 0.97),
            max_clipped: 1.0,
            min_highlight: 0.0,
            max_blown: 1.0,
        },
    )
    .unwrap()
}

fn whiteness(picture: &Picture) -> f64 {
    value(picture, CheckKind::Background { border: 0.02, min_white: 0.97 }).unwrap()
}

fn plain(colour: [u8; 4]) -> Picture {
    drawn((SIDE, SIDE), |_, _| colour)
}

#[test]
fn a_broken_aspect_shows_even_where_a_side_lies_on_its_line() {
    let kind = |aspect| CheckKind::Size { min_width_px: 256, min_height_px: 256, aspect };
    let wide = drawn((1024, 256), |_, _| [9, 9, 9, 255]);
    let broken = finding(&wide, kind(Some((0.33, 3.0))));
    assert_eq!((broken.value, broken.passed, broken.unit), (Some(4.0), false, "ratio"));
    let kept = finding(&wide, kind(None));
    assert_eq!((kept.value, kept.passed, kept.unit), (Some(256.0), true, "px"));
    let small = finding(&drawn((300, 100), |_, _| [9, 9, 9, 255]), kind(Some((0.33, 3.0))));
    assert_eq!((small.value, small.passed), (Some(100.0), false));
}

#[test]
fn one_colour_and_what_cannot_be_seen_are_blank_and_a_plain_cutout_is_not() {
    assert!(deviation(&plain([128, 128, 128, 255])) < 0.1);
    assert!(deviation(&plain([200, 30, 40, 0])) < 0.1);
    assert!(deviation(&plain([200, 30, 40, 1])) < 1.0);
    let hidden = drawn((SIDE, SIDE), |x, _| [if x < 200.0 { 255 } else { 0 }, 90, 10, 0]);
    assert!(deviation(&hidden) < 0.1, "colours under full transparency are not there");
    assert!(deviation(&cutout([250; 3], 0.0)) > 40.0);
    let white = drawn((SIDE, SIDE), |x, y| alpha([255; 3], disc(x, y, MIDDLE, 120.0)));
    assert!(deviation(&white) > 40.0, "a plain white product is a picture");
}

#[test]
fn exposure_looks_at_the_subject_and_not_at_the_ground() {
    let on_white = subject_luma(&product(WHITE, 1.0));
    let in_the_dark = subject_luma(&product([6; 3], 1.0));
    assert!((0.2..0.7).contains(&on_white), "{on_white}");
    assert!((on_white - in_the_dark).abs() < 0.1, "{on_white} and {in_the_dark}");
    assert!(subject_luma(&plain([3, 3, 3, 255])) < 0.06, "all dark is under-exposed");
    assert!(subject_luma(&plain([254, 254, 254, 255])) > 0.97, "all white is over-exposed");
}

#[test]
fn a_blurred_product_is_not_sharp_however_sharp_its_alpha_edge() {
    let sharp = measured(&product(WHITE, 1.0)).sharpness.unwrap();
    let blurred = measured(&product(WHITE, 24.0)).sharpness.unwrap();
    assert!(sharp > 350.0 && blurred < 35.0, "{sharp} and {blurred}");
    let cut = |soft: f64| {
        drawn((SIDE, SIDE), |x, y| {
            let [r, g, b, _] = mix(BLUE, [220; 3], ((x - 200.0) / soft + 0.5).clamp(0.0, 1.0));
            alpha([r, g, b], disc(x, y, MIDDLE, 120.0))
        })
    };
    let sharp = measured(&cut(1.0)).sharpness.unwrap();
    let blurred = measured(&cut(40.0)).sharpness.unwrap();
    assert!(sharp > 350.0 && blurred < 35.0, "{sharp} and {blurred}");
}

#[test]
fn sharpness_is_measured_at_one_scale() {
    let at = |side: u32| {
        let scale = f64::from(side) / 400.0;
        drawn((side, side), |x, y| mix(WHITE, BLUE, disc(x / scale, y / scale, MIDDLE, 120.0)))
    };
    let (one, two) = (measured(&at(512)).sharpness, measured(&at(1024)).sharpness);
    let ratio = one.unwrap() / two.unwrap();
    assert!((0.4..2.5).contains(&ratio), "{one:?} and {two:?}");
}

#[test]
fn a_white_band_is_white_and_grey_squares_stains_and_a_grey_page_are_not() {
    let fall_off = drawn((SIDE, SIDE), |x, _| {
        let share = (x / 400.0 - 0.5).abs() * 2.0;
        mix([250; 3], [228; 3], share)
    });
    assert!(whiteness(&fall_off) > 0.97);
    let squares = drawn((SIDE, SIDE), |x, y| {
        let odd = ((x / 16.0).floor() + (y / 16.0).floor()).rem_euclid(2.0) > 0.5;
        if odd { [204, 204, 204, 255] } else { [255, 255, 255, 255] }
    });
    assert!(whiteness(&squares) < 0.8);
    let stained = drawn((SIDE, SIDE), |x, y| mix(WHITE, [180; 3], disc(x, y, (60.0, 0.0), 30.0)));
    assert!(whiteness(&stained) < 0.97);
    assert!(whiteness(&plain([180, 180, 180, 255])) < 0.1);
    assert!(whiteness(&cutout(WHITE, 0.0)) > 0.99, "nothing is laid on white");
}

#[test]
fn a_ring_of_white_green_or_black_is_a_halo_and_a_clean_edge_is_not() {
    let halo = |ring, wide| measured(&cutout(ring, wide)).edge_halo.unwrap();
    assert!(halo(WHITE, 0.0) < 0.01);
    for ring in [WHITE, [20, 235, 30]] {
        for wide in [2.0, 3.0, 4.0] {
            assert!(halo(ring, wide) > 0.5, "{ring:?} {wide} px: {}", halo(ring, wide));
        }
    }
    let dark_on_light = drawn((SIDE, SIDE), |x, y| {
        let [r, g, b, _] = mix([2; 3], [200, 190, 170], disc(x, y, MIDDLE, 120.0));
        alpha([r, g, b], disc(x, y, MIDDLE, 123.0))
    });
    assert!(measured(&dark_on_light).edge_halo.unwrap() > 0.5);
}

#[test]
fn a_broad_white_sole_and_soft_hair_are_no_halo() {
    let sole = cutout(WHITE, 14.0);
    assert!(measured(&sole).edge_halo.unwrap() < 0.06);
    let hair = drawn((SIDE, SIDE), |x, y| {
        let inside = ((128.0 - (x - MIDDLE.0).hypot(y - MIDDLE.1)) / 16.0).clamp(0.0, 1.0);
        alpha(BLUE, inside)
    });
    assert!(measured(&hair).edge_halo.unwrap() < 0.06);
}

#[test]
fn a_fringe_shows_on_a_coloured_ground_and_in_a_scene_nobody_can_tell() {
    let pasted = |wide: f64| {
        drawn((SIDE, SIDE), |x, y| {
            let [r, g, b, _] = mix([250; 3], BLUE, disc(x, y, MIDDLE, 120.0));
            mix([150, 120, 110], [r, g, b], disc(x, y, MIDDLE, 120.0 + wide))
        })
    };
    assert!(measured(&pasted(0.0)).edge_halo.unwrap() < 0.01);
    assert!(measured(&pasted(3.0)).edge_halo.unwrap() > 0.5);
    let scene = drawn((SIDE, SIDE), |x, y| mix([10; 3], [240; 3], (x * y / 977.0).fract()));
    let measured = measured(&scene);
    assert_eq!((measured.edge_halo, measured.border, measured.residue), (None, None, None));
}

#[test]
fn specks_and_holes_are_noise_and_litter_and_a_second_product_is_not() {
    let clean = measured(&cutout(WHITE, 0.0));
    assert!(clean.edge_noise.unwrap() < 0.05 && clean.residue.unwrap() < 1e-6);
    let specks = drawn((SIDE, SIDE), |x, y| {
        let near = (x.rem_euclid(40.0) - 20.0).hypot(y.rem_euclid(40.0) - 20.0) < 2.0;
        let inside = disc(x, y, MIDDLE, 120.0);
        alpha(BLUE, if near { 1.0 - inside } else { inside })
    });
    let littered = measured(&specks);
    assert!(littered.edge_noise.unwrap() > 0.3, "{littered:?}");
    assert!(littered.residue.unwrap() > 0.002, "{littered:?}");
    let pair = drawn((SIDE, SIDE), |x, y| {
        let two = disc(x, y, (120.0, 200.0), 70.0).max(disc(x, y, (300.0, 200.0), 40.0));
        alpha(BLUE, two)
    });
    assert!(measured(&pair).residue.unwrap() < 1e-6);
}

#[test]
fn a_product_that_leaves_the_frame_touches_its_border() {
    let at = |place| drawn((SIDE, SIDE), |x, y| mix(WHITE, BLUE, disc(x, y, place, 120.0)));
    assert_eq!(measured(&at(MIDDLE)).border, Some(0.0));
    let cut = measured(&at((200.0, 340.0))).border.unwrap();
    assert!((0.05..0.25).contains(&cut), "{cut}");
    let shaded = drawn((SIDE, SIDE), |x, y| {
        let [r, g, b, _] = mix(WHITE, [205; 3], disc(x, y, (200.0, 400.0), 60.0));
        mix([r, g, b], BLUE, disc(x, y, MIDDLE, 100.0))
    });
    assert_eq!(measured(&shaded).border, Some(0.0), "a soft shadow may leave the frame");
}

#[test]
fn a_shadow_under_the_foot_is_contact_and_one_further_down_a_gap() {
    let standing = |gap: f64| {
        drawn((SIDE, SIDE), |x, y| {
            let foot = 260.0;
            let fall = ((x - 200.0) / 110.0).powi(2) + ((y - foot - gap) / 9.0).powi(2);
            let ground = mix(WHITE, [120; 3], (-fall).exp());
            let inside = (120.0..280.0).contains(&x) && (100.0..foot).contains(&y);
            mix([ground[0], ground[1], ground[2]], BLUE, f64::from(u8::from(inside)))
        })
    };
    assert_eq!(measured(&standing(0.0)).contact_shadow, Some(0.0));
    let floating = measured(&standing(40.0)).contact_shadow.unwrap();
    assert!((0.08..0.20).contains(&floating), "{floating}");
    assert_eq!(measured(&product(WHITE, 1.0)).contact_shadow, None, "no shadow, nothing to tell");
    assert_eq!(measured(&cutout(WHITE, 0.0)).contact_shadow, None);
}

#[test]
fn a_known_picture_is_recognised_scaled_and_brightened_and_another_is_not() {
    let original = product(WHITE, 1.0);
    let list = vec![Scene::of(&original).print().unwrap()];
    let kind = CheckKind::Phash { list, max_distance: 6 };
    let again = drawn((310, 310), |x, y| {
        let (x, y) = (x * 400.0 / 310.0, y * 400.0 / 310.0);
        let stripe = ((x / 12.0).sin() * 6.0 + 0.5).clamp(0.0, 1.0);
        let [r, g, b, _] = mix([60, 90, 160], [215, 195, 80], stripe);
        mix([255; 3], [r, g, b], disc(x, y, MIDDLE, 120.0))
    });
    let known = finding(&again, kind.clone());
    assert!(!known.passed && known.value.unwrap() <= 6.0, "{known:?}");
    let other = drawn((SIDE, SIDE), |x, y| mix(WHITE, BLUE, disc(x, y, (120.0, 260.0), 60.0)));
    assert!(finding(&other, kind).passed);
    let nothing = finding(&original, CheckKind::Phash { list: Vec::new(), max_distance: 6 });
    assert_eq!((nothing.value, nothing.passed), (None, true));
}

#[test]
fn a_picture_of_one_pixel_is_measured_without_a_panic() {
    let measured = measured(&plain_of((1, 1)));
    assert_eq!((measured.sharpness, measured.edge_noise), (None, None));
    for size in [(1, 700), (700, 1), (2, 2), (3, 5)] {
        let measured = measure(&plain_of(size), &plan(Vec::new(), true)).unwrap();
        assert_eq!(measured.findings.len(), 0);
    }
}

fn plain_of(size: (u32, u32)) -> Picture {
    drawn(size, |_, _| [90, 120, 30, 255])
}
