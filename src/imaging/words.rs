//! Pixels of four channels are looked at as words, several at a time: bytes that lie four apart would be
//! picked up one by one.

use wide::{i16x8, i32x4, u8x16, u32x4};

/// Rec. 601 luma of the colours of `pixels`, alpha aside, as many as `levels` has room for.
pub(crate) fn read_luma(pixels: &[[u8; 4]], levels: &mut [u8]) {
    read(pixels, levels, weighed);
}

/// Luma of premultiplied `pixels` laid on white, as many as `levels` has room for.
pub(crate) fn read_luma_on_white(pixels: &[[u8; 4]], levels: &mut [u8]) {
    read(pixels, levels, |words| {
        // white shines through by what alpha leaves
        let alpha: i32x4 = bytemuck::cast(words >> 24_u32);
        weighed(words) + i32x4::splat(255) - alpha
    });
}

/// `pixels` of light and blue and red less light in RGB, and 255 for alpha.
pub(crate) fn opaque(pixels: &[[u8; 4]]) -> Vec<[u8; 4]> {
    let mut made = Vec::with_capacity(pixels.len());
    let (fours, last) = pixels.as_chunks::<4>();
    for four in fours {
        made.extend_from_slice(&opaque_four(four));
    }
    let mut four = [[0; 4]; 4];
    four.iter_mut().zip(last).for_each(|(pixel, last)| *pixel = *last);
    made.extend(opaque_four(&four).into_iter().take(last.len()));
    made
}

fn read(pixels: &[[u8; 4]], levels: &mut [u8], level: impl Fn(u32x4) -> i32x4) {
    let eight = |pixels: &[[u8; 4]; 8]| {
        let [a, b, c, d, e, f, g, h] = pixels.map(u32::from_le_bytes);
        let both = [level(u32x4::new([a, b, c, d])), level(u32x4::new([e, f, g, h]))];
        let narrow = i16x8::from_i32x8_saturate(bytemuck::cast(both));
        let [made, _]: [[u8; 8]; 2] = bytemuck::cast(u8x16::narrow_i16x8(narrow, narrow));
        made
    };
    let count = pixels.len().min(levels.len());
    let (pixels, last_pixels) = pixels.get(..count).unwrap_or_default().as_chunks::<8>();
    let (levels, last_levels) = levels.get_mut(..count).unwrap_or_default().as_chunks_mut::<8>();
    levels.iter_mut().zip(pixels).for_each(|(levels, pixels)| *levels = eight(pixels));
    let mut last = [[0; 4]; 8];
    last.iter_mut().zip(last_pixels).for_each(|(pixel, last)| *pixel = *last);
    last_levels.iter_mut().zip(eight(&last)).for_each(|(level, made)| *level = made);
}

/// The weights are those of [`weighed`](crate::imaging::picture::weighed), and so is what comes out.
fn weighed(words: u32x4) -> i32x4 {
    const RED_BLUE: i16x8 = i16x8::new([77, 29, 77, 29, 77, 29, 77, 29]);
    const GREEN_ALPHA: i16x8 = i16x8::new([150, 0, 150, 0, 150, 0, 150, 0]);
    let bytes = u32x4::splat(0x00FF_00FF);
    let red_blue: i16x8 = bytemuck::cast(words & bytes);
    let green_alpha: i16x8 = bytemuck::cast((words >> 8_u32) & bytes);
    (red_blue.dot(RED_BLUE) + green_alpha.dot(GREEN_ALPHA) + i32x4::splat(128)) >> 8_u32
}

/// As [`rgb_of`](crate::imaging::planes::rgb_of) makes it.
fn opaque_four(pixels: &[[u8; 4]; 4]) -> [[u8; 4]; 4] {
    let words = u32x4::new(pixels.map(u32::from_le_bytes));
    let luma: i32x4 = bytemuck::cast(words & u32x4::splat(255));
    let blue = (words >> 8_u32) & u32x4::splat(255);
    let colours: i16x8 = bytemuck::cast(blue | (words & u32x4::splat(0x00FF_0000)));
    let colours = colours - i16x8::splat(128);
    // of blue and of red
    let part =
        |blue: i16, red: i16| colours.dot(i16x8::new([blue, red, blue, red, blue, red, blue, red]));
    let rounded = |part: i32x4| (part + i32x4::splat(1 << 15)) >> 16_u32;
    let level =
        |sum: i32x4| -> u32x4 { bytemuck::cast(sum.max(i32x4::splat(0)).min(i32x4::splat(255))) };
    let red = level(luma + part(0, 1) + rounded(part(0, 26_345)));
    let green = level(luma - part(0, 1) + rounded(part(-22_554, 18_734)));
    let blue = level(luma + part(2, 0) + rounded(part(-14_942, 0)));
    let made = red | (green << 8_u32) | (blue << 16_u32) | u32x4::splat(0xFF00_0000);
    made.to_array().map(u32::to_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::picture::weighed as slowly;
    use crate::imaging::planes::rgb_of;

    /// Pixels that have every two levels beside each other somewhere.
    fn pixels() -> Vec<[u8; 4]> {
        let byte = |n: u32, by: u32| n.wrapping_mul(by).to_be_bytes()[0];
        let one = |n: u32| [byte(n, 2_654_435_761), byte(n, 97 << 24), byte(n, 1 << 16), 0];
        (0..65_536).map(one).chain([[255; 4], [0; 4], [0, 255, 0, 1], [255, 0, 0, 9]]).collect()
    }

    #[test]
    fn luma_is_that_of_one_pixel_after_the_other() {
        let pixels = pixels();
        for count in [0, 1, 7, 8, 9, 30, pixels.len()] {
            for room in [count, count / 2, count + 5] {
                let mut levels = vec![3; room];
                read_luma(&pixels[..count], &mut levels);
                let known = pixels[..count].iter().map(|[r, g, b, _]| slowly([*r, *g, *b]));
                let known: Vec<u8> = known.chain([3; 5]).take(room).collect();
                assert_eq!(levels, known, "{count} into {room}");
            }
        }
    }

    #[test]
    fn what_is_see_through_is_as_light_as_what_lies_under_it() {
        let pixels: Vec<[u8; 4]> =
            (0..=255).map(|alpha| [alpha, alpha / 2, alpha / 3, alpha]).collect();
        let mut levels = vec![0; pixels.len()];
        read_luma_on_white(&pixels, &mut levels);
        let known = pixels.iter().map(|[r, g, b, a]| slowly([*r, *g, *b]).saturating_add(255 - a));
        assert_eq!(levels, known.collect::<Vec<_>>());
    }

    #[test]
    fn colours_are_those_of_one_pixel_after_the_other() {
        let pixels = pixels();
        for count in [0, 1, 3, 4, 5, pixels.len()] {
            let known = pixels[..count].iter().map(|[luma, blue, red, _]| {
                let [r, g, b] = rgb_of(*luma, *blue, *red);
                [r, g, b, 255]
            });
            assert_eq!(opaque(&pixels[..count]), known.collect::<Vec<_>>());
        }
    }
}
