//! Faults of coding, of cutting out and of placing, drawn in code with a known size each.

use super::*;

/// Noise that is the same in every run: the sum of twelve uniform steps, deviation 1.
fn grain(x: f64, y: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
    let mut state = (x as u64) << 32 | (y as u64) << 1 | 1;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = u32::try_from(state >> 40).unwrap();
        f64::from(bits) / f64::from(1 << 24)
    };
    for _ in 0..4 {
        uniform();
    }
    (0..12).map(|_| uniform()).sum::<f64>() - 6.0
}

fn grey(level: f64) -> [u8; 4] {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let level = level.round().clamp(0.0, 255.0) as u8;
    [level, level, level, 255]
}

fn value_of(picture: &Picture, kind: CheckKind) -> f64 {
    value(picture, kind).unwrap()
}

fn blockiness(picture: &Picture) -> f64 {
    value_of(picture, CheckKind::Blockiness { max_share: 0.5 })
}

#[test]
fn blocks_are_seen_wherever_their_grid_begins_and_a_ramp_has_none() {
    let blocks = |shift: f64| {
        drawn((SIDE, SIDE), |x, y| {
            let (column, row) = (((x + shift) / 8.0).floor(), ((y + shift) / 8.0).floor());
            grey(120.0 + 10.0 * ((column * 0.9).sin() + (row * 0.7).cos()))
        })
    };
    assert!(blockiness(&blocks(0.0)) > 0.9, "{}", blockiness(&blocks(0.0)));
    assert!(blockiness(&blocks(3.0)) > 0.9, "after a crop the grid begins elsewhere");
    let ramp = drawn((SIDE, SIDE), |x, y| grey(x / 2.0 + y / 10.0));
    let texture = drawn((SIDE, SIDE), |x, y| grey(120.0 + 30.0 * grain(x, y)));
    assert!(blockiness(&ramp) < 0.01 && blockiness(&texture) < 0.01);
}

#[test]
fn noise_is_the_deviation_of_the_grain_and_blind_to_light_and_clean_grounds() {
    let noise = |picture: &Picture| value_of(picture, CheckKind::Noise { max_levels: 9.0 });
    let noisy =
        |levels: f64| drawn((SIDE, SIDE), |x, y| grey(60.0 + x / 4.0 + levels * grain(x, y)));
    for levels in [3.0, 10.0, 20.0] {
        let measured = noise(&noisy(levels));
        assert!((measured / levels - 1.0).abs() < 0.1, "{measured} of {levels}");
    }
    assert!(noise(&noisy(0.0)) < 0.5, "a ramp has no grain");
    let textured = drawn((SIDE, SIDE), |x, y| {
        let inside = disc(x, y, MIDDLE, 120.0) > 0.5;
        if inside { grey(120.0 + 30.0 * grain(x, y)) } else { grey(250.0) }
    });
    assert!(noise(&textured) < 0.5, "a texture before a clean ground is no noise");
}

#[test]
fn few_levels_are_bands_and_a_smooth_light_is_none() {
    let banding = |levels: f64| {
        let light = |x: f64, y: f64| 128.0 + 100.0 * ((x / 30.0).sin() * (y / 40.0).cos());
        let few = drawn((SIDE, SIDE), |x, y| grey((light(x, y) / levels).floor() * levels));
        value_of(&few, CheckKind::Banding { max_share: 0.4 })
    };
    assert!(banding(32.0) > 0.8, "{}", banding(32.0));
    assert!(banding(1.0) < 0.05, "{}", banding(1.0));
    let lettered = drawn((SIDE, SIDE), |x, y| {
        let ink = (x / 9.0).sin() * (y / 13.0).sin() > 0.4;
        grey(if ink { 20.0 } else { 240.0 })
    });
    let lettered = value_of(&lettered, CheckKind::Banding { max_share: 0.4 });
    assert!(lettered < 0.05, "lettering has two levels: {lettered}");
}

#[test]
fn what_was_enlarged_has_no_fine_waves() {
    let fall = |soft: f64| {
        let kind = CheckKind::Upscaled { max_fall_db: 23.0 };
        value_of(&product(WHITE, soft), kind)
    };
    assert!(fall(1.0) < 20.0, "{}", fall(1.0));
    assert!(fall(16.0) > 23.0, "{}", fall(16.0));
    let flat = plain([90, 90, 90, 255]);
    assert_eq!(value(&flat, CheckKind::Upscaled { max_fall_db: 23.0 }), None);
}

fn checkerboard(picture: &Picture) -> f64 {
    value_of(picture, CheckKind::Checkerboard { max_share: 0.1 })
}

#[test]
fn a_painted_checkerboard_is_found_at_any_size_and_stripes_are_none() {
    let checked = |side: f64, levels: [f64; 2]| {
        drawn((SIDE, SIDE), |x, y| {
            let [red, green, blue, _] = mix([0; 3], BLUE, 1.0);
            if disc(x, y, MIDDLE, 120.0) > 0.5 {
                return [red, green, blue, 255];
            }
            let odd = ((x / side).floor() + (y / side).floor()).rem_euclid(2.0) > 0.5;
            grey(if odd { levels[1] } else { levels[0] })
        })
    };
    for (side, levels) in [(16.0, [255.0, 204.0]), (8.0, [255.0, 239.0]), (10.5, [102.0, 153.0])] {
        let share = checkerboard(&checked(side, levels));
        assert!(share > 0.7, "{share} for squares of {side}");
    }
    let striped =
        drawn((SIDE, SIDE), |x, _| grey(if (x / 8.0).sin() > 0.0 { 255.0 } else { 204.0 }));
    assert!(checkerboard(&striped) < 0.01);
    assert!(checkerboard(&product(WHITE, 1.0)) < 0.01);
    let shirt = drawn((SIDE, SIDE), |x, y| {
        let odd = ((x / 10.0).floor() + (y / 10.0).floor()).rem_euclid(2.0) > 0.5;
        let inside = (x - 200.0).abs() < 100.0 && (y - 200.0).abs() < 100.0;
        grey(if inside && odd { 180.0 } else { 250.0 })
    });
    assert!(checkerboard(&shirt) < 0.01, "a checked product is a product");
}

#[test]
fn bars_lie_at_both_ends_and_a_white_margin_is_none() {
    let bars = |picture: &Picture| value_of(picture, CheckKind::Bars { max_share: 0.02 });
    let scene = |x: f64, y: f64| grey(128.0 + 60.0 * (x / 11.0).sin() * (y / 17.0).cos());
    let boxed =
        drawn(
            (SIDE, SIDE),
            |x, y| {
                if (80.0..320.0).contains(&y) { scene(x, y) } else { [0, 0, 0, 255] }
            },
        );
    assert!((bars(&boxed) - 0.4).abs() < 0.02, "{}", bars(&boxed));
    let pillars =
        drawn(
            (SIDE, SIDE),
            |x, y| {
                if (100.0..300.0).contains(&x) { scene(x, y) } else { [255; 4] }
            },
        );
    assert!((bars(&pillars) - 0.5).abs() < 0.02, "{}", bars(&pillars));
    assert!(bars(&drawn((SIDE, SIDE), scene)) < 1e-9);
    assert!(bars(&product(WHITE, 1.0)) < 1e-9, "the ground around a product is no bar");
}

#[test]
fn the_ground_around_a_straight_edged_product_was_taken_for_bars() {
    let bars = |picture: &Picture| value_of(picture, CheckKind::Bars { max_share: 0.02 });
    let poster = |across: std::ops::Range<f64>| {
        drawn((SIDE, SIDE), |x, y| {
            let is_inside = across.contains(&x) && (120.0..280.0).contains(&y);
            if is_inside { grey(90.0 + x / 9.0) } else { [255; 4] }
        })
    };
    assert!(bars(&poster(40.0..360.0)) < 1e-9);
    // what reaches both sides has bars above and below it, whatever it is
    assert!((bars(&poster(0.0..400.0)) - 0.6).abs() < 0.02);
}

#[test]
fn opacity_is_that_of_the_subject_and_not_of_its_shadow() {
    let opacity = |picture: &Picture| value(picture, CheckKind::Opacity { min_alpha: 0.9 });
    let of = |level: f64| {
        drawn((SIDE, SIDE), |x, y| {
            let shadow = 0.2 * disc(x, y, (200.0, 340.0), 50.0);
            alpha(BLUE, (level * disc(x, y, MIDDLE, 100.0)).max(shadow))
        })
    };
    assert!((opacity(&of(1.0)).unwrap() - 1.0).abs() < 0.01);
    assert!((opacity(&of(0.45)).unwrap() - 0.45).abs() < 0.01);
    assert_eq!(opacity(&plain([9, 9, 9, 0])), Some(0.0));
    assert_eq!(opacity(&plain([9, 9, 9, 1])), Some(0.0));
    assert_eq!(opacity(&product(WHITE, 1.0)), None);
}

#[test]
fn specks_and_holes_are_counted_and_a_handle_is_no_hole() {
    let specks = [(40.0, 40.0), (350.0, 60.0), (60.0, 350.0)];
    let holes = [(180.0, 180.0), (230.0, 200.0)];
    let broken = drawn((SIDE, SIDE), |x, y| {
        let at = |(cx, cy): &(f64, f64)| (x - cx).abs() < 4.0 && (y - cy).abs() < 4.0;
        let inside = disc(x, y, MIDDLE, 120.0) > 0.5 && !holes.iter().any(at);
        alpha(BLUE, if inside || specks.iter().any(at) { 1.0 } else { 0.0 })
    });
    let counts = |picture: &Picture| {
        let specks = value_of(picture, CheckKind::Specks { max_count: 3 });
        (specks, value_of(picture, CheckKind::Holes { max_count: 3 }))
    };
    assert_eq!(counts(&broken), (3.0, 2.0));
    let handled = drawn((SIDE, SIDE), |x, y| {
        alpha(BLUE, disc(x, y, MIDDLE, 120.0) - disc(x, y, MIDDLE, 30.0))
    });
    assert_eq!(counts(&handled), (0.0, 0.0));
}

#[test]
fn a_hard_edge_has_no_soft_pixel_and_stairs_have_steps() {
    let edges = |picture: &Picture| {
        let hard = value_of(picture, CheckKind::HardEdge { max_share: 0.1 });
        (hard, value_of(picture, CheckKind::Stairs { max_share: 0.1 }))
    };
    let soft = drawn((SIDE, SIDE), |x, y| alpha(BLUE, disc(x, y, MIDDLE, 120.0)));
    let hard = drawn((SIDE, SIDE), |x, y| alpha(BLUE, disc(x, y, MIDDLE, 120.0).round()));
    let jagged = drawn((SIDE, SIDE), |x, y| {
        let middle = |place: f64| (place / 8.0).floor() * 8.0 + 4.0;
        alpha(BLUE, disc(middle(x), middle(y), MIDDLE, 120.0).round())
    });
    let ((soft, smooth), (hard, still_smooth)) = (edges(&soft), edges(&hard));
    assert!(soft < 0.05 && smooth < 0.1, "{soft} {smooth}");
    assert!(hard > 0.95 && still_smooth < 0.1, "{hard} {still_smooth}");
    assert!(edges(&jagged).1 > 0.25, "{:?}", edges(&jagged));
}

#[test]
fn the_subjects_area_and_place_are_those_of_its_shape() {
    let at =
        |centre: (f64, f64)| drawn((SIDE, SIDE), |x, y| mix(WHITE, BLUE, disc(x, y, centre, 80.0)));
    let area = value_of(&at(MIDDLE), CheckKind::SubjectArea { share: (0.01, 0.98) });
    assert!((area - std::f64::consts::PI * 0.04).abs() < 0.005, "{area}");
    let offset = |centre| value_of(&at(centre), CheckKind::Centring { max_offset: 0.3 });
    assert!(offset(MIDDLE) < 0.005);
    assert!((offset((120.0, 220.0)) - 0.2).abs() < 0.005, "{}", offset((120.0, 220.0)));
}

#[test]
fn a_stain_counts_wherever_it_lies_and_a_lamps_fall_off_does_not() {
    let white = |picture: &Picture| {
        value_of(picture, CheckKind::Background { border: 0.02, min_white: 0.93 })
    };
    let lit = |x: f64, y: f64| 250.0 - 70.0 * ((x - 200.0).hypot(y - 200.0) / 283.0).powi(2);
    let sweep = drawn((SIDE, SIDE), |x, y| {
        let [level, ..] = grey(lit(x, y));
        mix([level; 3], BLUE, disc(x, y, MIDDLE, 80.0))
    });
    assert!(white(&sweep) > 0.95, "{}", white(&sweep));
    let stained = drawn((SIDE, SIDE), |x, y| {
        let [red, green, blue, _] = mix(WHITE, BLUE, disc(x, y, MIDDLE, 80.0));
        let stain = [(70.0, 80.0), (330.0, 90.0), (80.0, 330.0)];
        let inside = stain.iter().any(|place| disc(x, y, *place, 10.0) > 0.5);
        if inside { [190, 190, 186, 255] } else { [red, green, blue, 255] }
    });
    assert!(white(&stained) < 0.93, "{}", white(&stained));
}

#[test]
fn a_picture_without_lights_is_under_exposed_and_a_dark_product_is_not() {
    let kind = CheckKind::Exposure {
        subject: (0.0, 1.0),
        max_clipped: 1.0,
        min_highlight: 0.15,
        max_blown: 1.0,
    };
    let dark = drawn((SIDE, SIDE), |x, y| {
        let label = (x - 200.0).abs() < 30.0 && (y - 200.0).abs() < 30.0;
        let level = if label { 200 } else { 22 };
        mix(WHITE, [level; 3], disc(x, y, MIDDLE, 120.0))
    });
    assert!(finding(&dark, kind.clone()).passed);
    let unlit = drawn((SIDE, SIDE), |x, _| grey(12.0 + 10.0 * (x / 9.0).sin()));
    let found = finding(&unlit, kind);
    assert!(!found.passed && found.value.unwrap() < 0.1, "{found:?}");
}

#[test]
fn the_places_of_a_number_are_where_it_was_counted() {
    let speck = drawn((SIDE, SIDE), |x, y| {
        let near = (x - 40.0).abs() < 5.0 && (y - 60.0).abs() < 5.0;
        alpha(BLUE, if near { 1.0 } else { disc(x, y, MIDDLE, 100.0) })
    });
    let spec = CheckSpec {
        id: "specks".to_owned(),
        kind: CheckKind::Specks { max_count: 0 },
        when: None,
        on_fail: OnFail::Flag,
    };
    let looked = look(&speck, std::slice::from_ref(&spec), Marks::wanted).unwrap();
    let [area] = looked.checks[0].areas.as_slice() else { panic!("one speck") };
    assert!((area.left - 0.0875).abs() < 0.004 && (area.bottom - 0.1625).abs() < 0.004, "{area:?}");
    let unmarked = look(&speck, &[spec], Marks::default).unwrap();
    assert!(unmarked.checks[0].areas.is_empty());
    assert!(speck.alpha_row(0).is_some());
}
