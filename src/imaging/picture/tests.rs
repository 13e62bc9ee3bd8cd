//! Pictures whose pixels say where they are.

use super::*;

const WIDE: u32 = 12;
const HIGH: u32 = 7;

const ALL: [Orientation; 8] = [
    Orientation::NoTransforms,
    Orientation::Rotate90,
    Orientation::Rotate180,
    Orientation::Rotate270,
    Orientation::FlipHorizontal,
    Orientation::FlipVertical,
    Orientation::Rotate90FlipH,
    Orientation::Rotate270FlipH,
];

fn places() -> Vec<u8> {
    let place = |n: u32| u8::try_from(n * 3 % 251).unwrap();
    (0..WIDE * HIGH).map(place).collect()
}

/// The same picture in all forms it can be held in, turned.
fn pictures(orientation: Orientation) -> [Picture; 3] {
    let rgb: Vec<u8> = places().iter().flat_map(|level| [*level; 3]).collect();
    let rgba: Vec<u8> = places().iter().flat_map(|at| [*at, *at, *at, 255]).collect();
    let size = (WIDE, HIGH);
    [
        Picture::new(size, Held::Planes(Planes::grey(places(), size)), 1, orientation).unwrap(),
        Picture::upright(size, Pixels::Rgb(rgb), orientation).unwrap(),
        Picture::upright(size, Pixels::Rgba(rgba), orientation).unwrap(),
    ]
}

#[test]
fn a_part_of_a_turned_picture_is_the_part_of_the_upright_one() {
    for orientation in ALL {
        let rgb: Vec<u8> = places().iter().flat_map(|level| [*level; 3]).collect();
        let mut upright = DynamicImage::ImageRgb8(RgbImage::from_raw(WIDE, HIGH, rgb).unwrap());
        upright.apply_orientation(orientation);
        for picture in pictures(orientation) {
            assert_eq!((picture.width_px, picture.height_px), (upright.width(), upright.height()));
            let parts =
                [picture.frame(), Frame { left_px: 1, top_px: 2, width_px: 4, height_px: 3 }];
            for part in parts {
                let Frame { left_px, top_px, width_px, height_px } = part;
                let expected = upright.crop_imm(left_px, top_px, width_px, height_px).to_rgb8();
                let size = (width_px, height_px);
                let small = picture.resized(part, size, FilterType::Hamming).unwrap();
                assert_eq!(small.flattened([9; 3]), expected.as_raw().clone(), "{orientation:?}");
                let seen = match picture.shown(part, size, [9; 3]).unwrap() {
                    Shown::Rgb(rgb) => rgb.into_owned(),
                    Shown::Planes(planes) => planes.to_rgb(size),
                };
                assert_eq!(seen, expected.into_raw(), "{orientation:?} {part:?}");
            }
        }
    }
}

#[test]
fn what_is_held_is_lent_and_not_copied() {
    let [grey, rgb, _] = pictures(Orientation::NoTransforms);
    for picture in [&grey, &rgb] {
        let size = (WIDE, HIGH);
        let is_lent = match picture.shown(picture.frame(), size, [0; 3]).unwrap() {
            Shown::Rgb(rgb) => matches!(rgb, Cow::Borrowed(_)),
            Shown::Planes(planes) => matches!(planes.luma.levels, Cow::Borrowed(_)),
        };
        assert!(is_lent, "{picture:?}");
    }
}

#[test]
fn every_held_pixel_can_be_read_where_a_viewer_sees_it() {
    for orientation in ALL {
        for picture in pictures(orientation) {
            let (wide, high) = picture.held_size();
            assert_eq!((wide, high), (picture.width_px, picture.height_px));
            let whole = picture.resized(picture.frame(), (wide, high), FilterType::Hamming);
            let upright = whole.unwrap().flattened([0; 3]);
            for y in 0..high {
                let mut levels = vec![0; wide as usize];
                picture.read_luma(0, y, &mut levels).unwrap();
                let row = &upright[(y * wide * 3) as usize..][..wide as usize * 3];
                let seen: Vec<u8> = row.chunks_exact(3).map(|pixel| pixel[0]).collect();
                assert_eq!(levels, seen, "{orientation:?}");
                if let Some(row) = picture.alpha_row(y) {
                    assert!(
                        row.iter()
                            .zip(&seen)
                            .all(|(one, level)| *one == [*level, *level, *level, 255])
                    );
                }
            }
            assert_eq!(picture.read_luma(1, 0, &mut vec![0; wide as usize]), None);
            assert_eq!(picture.alpha_row(high), None);
        }
    }
    let [grey, _, cut] = pictures(Orientation::NoTransforms);
    assert!(grey.alpha_row(0).is_none());
    assert!(matches!(cut.alpha_row(0), Some(Cow::Borrowed(_))));
}

#[test]
fn what_is_see_through_takes_the_colour_under_it() {
    let pixels = vec![200, 100, 0, 255, 200, 100, 0, 128, 200, 100, 0, 0];
    let picture =
        Picture::upright((3, 1), Pixels::Rgba(pixels), Orientation::NoTransforms).unwrap();
    let Shown::Rgb(rgb) = picture.shown(picture.frame(), (3, 1), [0, 100, 255]).unwrap() else {
        panic!("no planes")
    };
    assert_eq!(*rgb, [200, 100, 0, 100, 100, 127, 0, 100, 255]);
}

#[test]
fn samples_that_do_not_fill_the_picture_are_refused() {
    let held = || Held::Rgb(Buffer::Own(vec![0; 3 * 3 * 2]));
    assert!(Picture::new((5, 4), held(), 2, Orientation::NoTransforms).is_ok());
    assert!(Picture::new((5, 4), held(), 1, Orientation::NoTransforms).is_err());
    let planes = Held::Planes(Planes::grey(vec![0; 8], (4, 2)));
    assert!(Picture::new((5, 2), planes, 1, Orientation::NoTransforms).is_err());
}

#[test]
fn a_sample_is_turned_as_the_picture_is() {
    for orientation in ALL {
        let upright = pictures(Orientation::NoTransforms);
        for (upright, turned) in upright.iter().zip(pictures(orientation)) {
            for size in [(3, 2), (5, 3), (6, 4), (9, 5), (WIDE, HIGH)] {
                let sample = upright.sampled(size).unwrap().into_flattened();
                let image = RgbaImage::from_raw(size.0, size.1, sample).unwrap();
                let mut image = DynamicImage::ImageRgba8(image);
                image.apply_orientation(orientation);
                let sample = turned.sampled((image.width(), image.height())).unwrap();
                let expected = image.into_rgba8().into_raw();
                assert_eq!(sample.into_flattened(), expected, "{orientation:?} {size:?}");
            }
        }
    }
}

#[test]
fn a_sample_hardly_depends_on_how_the_picture_is_held() {
    let size = (1_100, 640);
    let wave = |n: u32| ((n * 7 % 1_100).abs_diff(550) / 5 + 70).to_le_bytes()[0];
    let plane = |(width_px, height_px): (u32, u32), of: &dyn Fn(u32, u32) -> u8| {
        let places = (0..height_px).flat_map(|y| (0..width_px).map(move |x| (x, y)));
        let levels: Vec<u8> = places.map(|(x, y)| of(x, y)).collect();
        crate::imaging::planes::Plane { width_px, height_px, levels: levels.into() }
    };
    let luma = plane(size, &|x, y| wave(x / 7 + y / 3));
    let blue = plane((550, 320), &|x, y| 100 + wave(x / 9 + y / 2) / 4);
    let red = plane((550, 320), &|x, _| 90 + wave(x / 5) / 4);
    let chroma = crate::imaging::planes::Chroma { blue, red, across: 2, down: 2 };
    let planes = Planes { luma, chroma: Some(chroma) };
    let rgb = planes.to_rgb(size);
    let rgba = rgb.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
    let flat = Orientation::NoTransforms;
    let in_planes = Picture::new(size, Held::Planes(planes), 1, flat).unwrap();
    let sample = in_planes.sampled((512, 298)).unwrap();
    for pixels in [Pixels::Rgb(rgb), Pixels::Rgba(rgba)] {
        let other = Picture::upright(size, pixels, flat).unwrap().sampled((512, 298)).unwrap();
        let apart = sample.as_flattened().iter().zip(other.as_flattened());
        let furthest = apart.map(|(one, other)| one.abs_diff(*other)).max();
        assert!(furthest <= Some(3), "{furthest:?}");
    }
}
