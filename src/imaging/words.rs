//! Pixels of four channels are looked at as words, several at a time: bytes that lie four apart would be
//! picked up one by one.

use wide::{i8x16, i16x8, i32x4, u8x16, u16x8, u32x4};

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
    let (many, last) = pixels.as_chunks::<16>();
    for pixels in many {
        made.extend_from_slice(&opaque_sixteen(pixels));
    }
    let mut pixels = [[0; 4]; 16];
    pixels.iter_mut().zip(last).for_each(|(pixel, last)| *pixel = *last);
    made.extend(opaque_sixteen(&pixels).into_iter().take(last.len()));
    made
}

/// Most pixels that [`far`] looks at together.
pub(crate) const FAR_AT_ONCE: usize = 64;

/// Which of the first [`FAR_AT_ONCE`] `pixels`, the first lowest, have a channel that differs from that
/// of `base` by more than `by` says. Of fewer pixels the bits past the last are 0.
pub(crate) fn far(pixels: &[[u8; 4]], base: [u8; 4], by: [u8; 4]) -> u64 {
    let [all_base, all_by] = [base, by].map(|of| -> u8x16 { bytemuck::cast([of; 4]) });
    let near = |four: u8x16| -> i32x4 {
        let apart = four.saturating_sub(all_base) | all_base.saturating_sub(four);
        let more: i32x4 = bytemuck::cast(apart.saturating_sub(all_by));
        more.simd_eq(i32x4::ZERO)
    };
    let sixteen = |pixels: &[[u8; 4]; 16]| {
        let [a, b, c, d]: [u8x16; 4] = bytemuck::cast(*pixels);
        let halves = narrowed([near(a), near(b), near(c), near(d)]);
        let near: u8x16 = bytemuck::cast(i8x16::from_i16x16_saturate(bytemuck::cast(halves)));
        u64::from(!near.to_bitmask() & 0xFFFF)
    };
    let (many, last) = pixels.as_chunks::<16>();
    let mut filled = [base; 16];
    filled.iter_mut().zip(last).for_each(|(pixel, last)| *pixel = *last);
    let all = many.iter().chain([&filled]);
    (0..u64::BITS).step_by(16).zip(all).fold(0, |bits, (at, pixels)| bits | sixteen(pixels) << at)
}

/// Adds to `into` the pixels that have these three channels, as many as the shortest has, and 255.
pub(crate) fn put_together(channels: [&[u8]; 3], into: &mut Vec<[u8; 4]>) {
    let count = channels.iter().map(|of| of.len()).min().unwrap_or(0);
    let [(one, last_one), (two, last_two), (three, last_three)] =
        channels.map(|of| of.get(..count).unwrap_or_default().as_chunks::<16>());
    for ((one, two), three) in one.iter().zip(two).zip(three) {
        let [one, two, three] = [*one, *two, *three].map(u8x16::new);
        into.extend_from_slice(&together(one, two, three));
    }
    let last = last_one.iter().zip(last_two).zip(last_three);
    into.extend(last.map(|((one, two), three)| [*one, *two, *three, u8::MAX]));
}

/// Adds to `into` the mean of every two `levels`, rounded down, and a last one that is alone.
pub(crate) fn put_means(levels: &[u8], into: &mut Vec<u8>) {
    let (many, rest) = levels.as_chunks::<32>();
    for pairs in many {
        let pairs: [u16x8; 2] = bytemuck::cast(*pairs);
        let [one, other] = pairs.map(|pair| -> i16x8 {
            bytemuck::cast(((pair & u16x8::splat(255)) + (pair >> 8_u32)) >> 1_u32)
        });
        into.extend_from_slice(&u8x16::narrow_i16x8(one, other).to_array());
    }
    let (pairs, last) = rest.as_chunks::<2>();
    into.extend(pairs.iter().map(|[one, other]| one.midpoint(*other)));
    into.extend_from_slice(last);
}

/// Adds the darkest of the three colours of each of `pixels`, and how far the lightest lies above it.
pub(crate) fn put_extremes(pixels: &[[u8; 4]], darkest: &mut Vec<u8>, apart: &mut Vec<u8>) {
    let (eights, last) = pixels.as_chunks::<8>();
    for eight in eights {
        let [a, b, c, d, e, f, g, h] = eight.map(u32::from_le_bytes);
        let fours = [u32x4::new([a, b, c, d]), u32x4::new([e, f, g, h])];
        let [red, green, blue] = [0_u32, 8, 16].map(|by| {
            let of = fours.map(|four| (four >> by) & u32x4::splat(255));
            i16x8::from_i32x8_saturate(bytemuck::cast(of))
        });
        let least = red.min(green).min(blue);
        let most = red.max(green).max(blue);
        let both = u8x16::narrow_i16x8(least, most - least);
        let [least, more]: [[u8; 8]; 2] = bytemuck::cast(both);
        darkest.extend_from_slice(&least);
        apart.extend_from_slice(&more);
    }
    for [red, green, blue, _] in last {
        let least = *red.min(green).min(blue);
        darkest.push(least);
        apart.push(*red.max(green).max(blue) - least);
    }
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
fn opaque_sixteen(pixels: &[[u8; 4]; 16]) -> [[u8; 4]; 16] {
    const GREEN: i16x8 =
        i16x8::new([-22_554, 18_734, -22_554, 18_734, -22_554, 18_734, -22_554, 18_734]);
    let fours: [u32x4; 4] = bytemuck::cast(*pixels);
    let levels = |by: u32| narrowed(fours.map(|four| bytemuck::cast((four >> by) & 255)));
    // what blue and red take from green is summed in 32 bits, as it does not fit into 16
    let [one_green, other_green] = narrowed(fours.map(|four| {
        let colours = ((four >> 8_u32) & 0xFF) | (four & 0x00FF_0000);
        let colours: i16x8 = bytemuck::cast(colours);
        ((colours - i16x8::splat(128)).dot(GREEN) + i32x4::splat(1 << 15)) >> 16_u32
    }));
    let [(one_light, other_light), (one_blue, other_blue), (one_red, other_red)] =
        [levels(0), levels(8), levels(16)].map(|[one, other]| (one, other));
    let eight = |light: i16x8, blue: i16x8, red: i16x8, green: i16x8| {
        let [blue, red] = [blue, red].map(|level| level - i16x8::splat(128));
        let blue_light = light + blue + blue + scaled(blue, -14_942);
        [light + red + scaled(red, 26_345), light - red + green, blue_light]
    };
    let [red, green, blue] = eight(one_light, one_blue, one_red, one_green);
    let [more_red, more_green, more_blue] = eight(other_light, other_blue, other_red, other_green);
    // what lies below 0 or above 255 is cut off on the way from 16 bits to 8
    let [red, green, blue] = [(red, more_red), (green, more_green), (blue, more_blue)]
        .map(|(one, other)| u8x16::narrow_i16x8(one, other));
    together(red, green, blue)
}

/// Four times four in the order they stand in, each known to fit.
fn narrowed([a, b, c, d]: [i32x4; 4]) -> [i16x8; 2] {
    [[a, b], [c, d]].map(|eight| i16x8::from_i32x8_saturate(bytemuck::cast(eight)))
}

/// `levels` times `by` / 65,536, rounded: half of twice as much, and a half, rounded down.
fn scaled(levels: i16x8, by: i16) -> i16x8 {
    ((levels + levels).mul_keep_high(i16x8::splat(by)) + i16x8::splat(1)) >> 1_u32
}

/// Pixels of these channels, and 255.
fn together(one: u8x16, two: u8x16, three: u8x16) -> [[u8; 4]; 16] {
    let full = u8x16::splat(u8::MAX);
    let low = [u8x16::unpack_low(one, three), u8x16::unpack_low(two, full)];
    let high = [u8x16::unpack_high(one, three), u8x16::unpack_high(two, full)];
    // first and third, and second and fourth
    let woven =
        |[odd, even]: [u8x16; 2]| [u8x16::unpack_low(odd, even), u8x16::unpack_high(odd, even)];
    bytemuck::cast([woven(low), woven(high)])
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
        for count in [0, 1, 15, 16, 17, pixels.len()] {
            let known = pixels[..count].iter().map(|[luma, blue, red, _]| {
                let [r, g, b] = rgb_of(*luma, *blue, *red);
                [r, g, b, 255]
            });
            assert_eq!(opaque(&pixels[..count]), known.collect::<Vec<_>>());
        }
    }

    #[test]
    fn channels_are_put_together_as_they_stand() {
        let bytes: Vec<u8> = pixels().into_iter().flatten().take(1_000).collect();
        for count in [0, 1, 15, 16, 17, 100] {
            let of = |first: usize| &bytes[first..first + count];
            let mut made = vec![[7; 4]];
            put_together([of(0), of(300), of(600)], &mut made);
            let known = (0..count).map(|at| [bytes[at], bytes[300 + at], bytes[600 + at], 255]);
            let known: Vec<_> = [[7; 4]].into_iter().chain(known).collect();
            assert_eq!(made, known);
            made.truncate(1);
            put_together([&bytes[..count + 40], of(300), &bytes[600..]], &mut made);
            assert_eq!(made, known, "as many as the shortest has");
        }
    }

    #[test]
    fn extremes_are_those_of_one_pixel_after_the_other() {
        let pixels = pixels();
        for count in [0, 1, 7, 8, 9, pixels.len()] {
            let (mut darkest, mut apart) = (vec![1], vec![2]);
            put_extremes(&pixels[..count], &mut darkest, &mut apart);
            let colours = pixels[..count].iter().map(|[colours @ .., _]| colours);
            let least = colours.clone().map(|of| *of.iter().min().unwrap());
            let more = colours.map(|of| of.iter().max().unwrap() - of.iter().min().unwrap());
            assert!([1].into_iter().chain(least).eq(darkest), "{count}");
            assert!([2].into_iter().chain(more).eq(apart), "{count}");
        }
    }

    #[test]
    fn what_is_far_is_told_pixel_by_pixel() {
        let all = pixels();
        for (base, by) in
            [([0; 4], [252, 252, 252, 255]), ([200, 7, 90, 0], [28, 28, 28, 255]), ([9; 4], [0; 4])]
        {
            let is_far = |pixel: &[u8; 4]| {
                let apart = pixel.iter().zip(base).map(|(one, other)| one.abs_diff(other));
                apart.zip(by).any(|(apart, by)| by < apart)
            };
            for pixels in all.chunks(64).take(99).chain([&all[..1], &all[..15], &all[..33], &[]]) {
                let known = pixels.iter().map(is_far);
                let known = (0..).zip(known).fold(0, |bits, (at, far)| bits | u64::from(far) << at);
                assert_eq!(far(pixels, base, by), known, "{} from {base:?}", pixels.len());
            }
        }
    }

    #[test]
    fn means_of_two_are_rounded_down_and_a_last_one_stays() {
        let every: Vec<u8> =
            (0..=255).flat_map(|one| (0..=255).flat_map(move |n| [one, n])).collect();
        for levels in [&every[..], &every[..1], &every[5..36], &every[300..333], &[]] {
            let mut made = vec![9];
            put_means(levels, &mut made);
            let known = levels.chunks(2).map(|two| match two {
                [one, other] => (u16::from(*one) + u16::from(*other)) / 2,
                _ => u16::from(two[0]),
            });
            assert_eq!(made[0], 9);
            assert!(made[1..].iter().map(|one| u16::from(*one)).eq(known), "{}", levels.len());
        }
    }
}
