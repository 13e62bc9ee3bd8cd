//! JPEGs of every sampling of the colours, at every scale.

use super::*;

#[tokio::test]
async fn odd_samplings_and_odd_sizes_are_shown_as_they_are() {
    let mut wrong = Vec::new();
    // one column and one row more than whole blocks of colour, on every side of every sampling
    for (wide, high) in [(47, 31), (48, 31), (47, 32), (1, 1), (3, 5), (17, 1)] {
        let pixels: Vec<u8> = (0..usize::from(wide) * usize::from(high))
            .flat_map(|at| if at % usize::from(wide) < usize::from(wide) / 2 { RED } else { GREEN })
            .collect();
        for factor in [
            SamplingFactor::F_1_1,
            SamplingFactor::F_2_1,
            SamplingFactor::F_1_2,
            SamplingFactor::F_2_2,
            SamplingFactor::F_4_1,
            SamplingFactor::F_4_2,
            SamplingFactor::F_1_4,
            SamplingFactor::F_2_4,
        ] {
            for orientation in [1, 3, 6] {
                let mut bytes = Vec::new();
                let mut encoder = Encoder::new(&mut bytes, 95);
                encoder.set_sampling_factor(factor);
                encoder.add_exif_metadata(&exif(orientation)).unwrap();
                encoder.encode(&pixels, wide, high, ColorType::Rgb).unwrap();
                let views = vec![whole(1_000), ViewSpec { max_side_px: 20, ..whole(20) }];
                let made = prepared(bytes, plan(views, [0; 3])).await;
                let is_odd = [SamplingFactor::F_4_2, SamplingFactor::F_1_4, SamplingFactor::F_2_4];
                if is_odd.contains(&factor) && !cfg!(feature = "fast-codecs") {
                    let why = made.unwrap_err().to_string();
                    assert!(why.contains("sampled in a way"), "{why}");
                    continue;
                }
                let made = made.unwrap();
                let side = if orientation == 6 { (high, wide) } else { (wide, high) };
                let size = (u32::from(side.0), u32::from(side.1));
                assert_eq!((made.width_px, made.height_px), size);
                let image = shown(&made.views[0]);
                assert_eq!((image.width(), image.height()), size, "{factor:?} {orientation}");
                if wide < 20 {
                    continue;
                }
                // red begins on the left, turned by half on the right, by a quarter on top
                let (first, last) = if orientation == 3 { (GREEN, RED) } else { (RED, GREEN) };
                for image in [image, shown(&made.views[1])] {
                    let (right, below) = (image.width() - 2, image.height() - 2);
                    let far = if orientation == 6 { (1, below) } else { (right, 1) };
                    for (place, colour) in [((1, 1), first), (far, last)] {
                        if !is_near(&image, place, colour) {
                            let case = format!("{wide} x {high}, {factor:?} turned {orientation}");
                            wrong.push(format!("{case}: {:?}", image.get_pixel(place.0, place.1)));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_large_jpeg_is_shown_whole_and_in_parts_at_any_size() {
    let side = 2_100_u16;
    let pixel = |x: u16, y: u16| match (x < side / 2, y < side / 2) {
        (true, true) => RED,
        (false, true) => GREEN,
        (true, false) => BLUE,
        (false, false) => WHITE,
    };
    let pixels: Vec<u8> =
        (0..side).flat_map(|y| (0..side).flat_map(move |x| pixel(x, y))).collect();
    let part = |id: &str, left, top, max_side_px| ViewSpec {
        id: id.to_owned(),
        around: None,
        region: Region { left, top, width: 0.25, height: 0.25 },
        max_side_px,
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&pixels, side, side, ColorType::Rgb).unwrap();
    // all that is seen at a half and in its own pixels, and so are the parts
    for most in [90, 500, 1_000, 1_500] {
        let views = vec![whole(most), part("right", 0.7, 0.1, most), part("left", 0.1, 0.7, 9)];
        let plan = Plan { max_pixels: 6_000_000, ..Plan::clone(&plan(views, [0; 3])) };
        let made = prepared(bytes.clone(), Arc::new(plan)).await.unwrap();
        assert_eq!((made.width_px, made.height_px), (2_100, 2_100));
        let [all, right, left] = &made.views[..] else { panic!("three views") };
        assert_corners(&shown(all), TURNED[0]);
        assert_eq!(right.width_px, most.min(525));
        assert_near(&shown(right), (40, 40), GREEN);
        assert_near(&shown(left), (4, 4), BLUE);
    }
}

#[tokio::test]
async fn a_grey_jpeg_is_read_whatever_its_sampling_says() {
    let grey: Vec<u8> =
        (0..HIGH).flat_map(|_| (0..WIDE).map(|x| if x < 24 { 40 } else { 200 })).collect();
    let mut bytes = jpeg(&grey, ColorType::Luma, |_| {});
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    for factors in [0x11, 0x22, 0x41, 0x12] {
        bytes[frame + 11] = factors;
        let views = vec![whole(1_000), whole(24)];
        let made = prepared(bytes.clone(), plan(views, [0; 3])).await.unwrap();
        for (view, right) in made.views.iter().zip([44, 20]) {
            let image = shown(view);
            assert_near(&image, (3, 8), [40; 3]);
            assert_near(&image, (right, 8), [200; 3]);
        }
    }
}
