//! Tokens are counted as the providers count them, so that prices and "did it see the image" hold.
//!
//! Image rules by family as documented or measured in public (OpenAI: 32 px patches or 512 px tiles;
//! Claude: 28 px patches; Gemini 2: tiles, later: a fixed amount; Mistral: 28 px patches with a break
//! token a row). Text is taken at four bytes a token, an answer, being JSON, at three.

use crate::dialect::Dialect;
use crate::picture::Detail;
use crate::picture::Picture;
use crate::picture::Size;
use crate::request::Question;

/// What one call costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) text_tokens: u64,
    pub(crate) image_tokens: u64,
    pub(crate) output_tokens: u64,
}

impl Usage {
    /// What this question costs before anything is said.
    pub(crate) fn of(dialect: Dialect, question: &Question) -> Self {
        let model = question.model.as_str();
        let image_tokens = question.pictures.iter().map(|p| image_tokens(dialect, model, p)).sum();
        let properties = question.schema.as_ref().map_or(0, crate::schema::Schema::property_count);
        let text_tokens = count(question.prompt.len()).div_ceil(4) + 8 * count(properties);
        Self { text_tokens, image_tokens, output_tokens: 0 }
    }

    pub(crate) const fn input_tokens(self) -> u64 {
        self.text_tokens + self.image_tokens
    }
}

/// The tokens of an answer.
pub(crate) fn output_tokens(answer: &str) -> u64 {
    count(answer.len()).div_ceil(3)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn image_tokens(dialect: Dialect, model: &str, picture: &Picture) -> u64 {
    let (size, detail) = (picture.size, picture.detail);
    match dialect {
        Dialect::OpenAi => openai(model, size, detail),
        Dialect::Anthropic => claude(model, size),
        Dialect::Gemini => gemini(model, size, detail),
        Dialect::Mistral => mistral(model, size),
    }
}

fn openai(model: &str, size: Size, detail: Detail) -> u64 {
    let is = |family: &str| model.starts_with(family);
    if is("gpt-4o-mini") {
        return tiles(size, detail, 2_833, 5_667);
    }
    if is("gpt-4.1-mini") || is("gpt-5-mini") {
        return patches(size, 1.62, Some(2_048), Some(1_536));
    }
    if is("gpt-4.1-nano") || is("gpt-5-nano") {
        return patches(size, 2.46, Some(2_048), Some(1_536));
    }
    if is("gpt-4") {
        return tiles(size, detail, 85, 170);
    }
    if model == "gpt-5" || is("gpt-5-") || is("gpt-5.1") {
        return tiles(size, detail, 70, 140);
    }
    let is_uncapped = is("gpt-5.6") || is("gpt-6");
    match detail {
        Detail::Low => patches(size, 1.2, Some(512), None),
        // "auto" means "original" from gpt-5.5 on
        Detail::Original | Detail::Auto if is_uncapped => patches(size, 1.2, None, None),
        Detail::Original => patches(size, 1.2, Some(6_000), Some(10_000)),
        Detail::Auto if is("gpt-5.5") => patches(size, 1.2, Some(6_000), Some(10_000)),
        Detail::Auto | Detail::Medium | Detail::High if is("gpt-6") => {
            patches(size, 1.2, None, Some(2_500))
        }
        Detail::Auto | Detail::Medium | Detail::High => {
            patches(size, 1.2, Some(2_048), Some(2_500))
        }
    }
}

/// Fit 2048 x 2048, then the short side to 768, then count 512 px tiles.
fn tiles(size: Size, detail: Detail, base: u64, tile: u64) -> u64 {
    if detail == Detail::Low {
        return base;
    }
    let fitted = shrunk(size, 2_048.0 / f64::from(size.width_px.max(size.height_px)));
    let fitted = shrunk(fitted, 768.0 / f64::from(fitted.width_px.min(fitted.height_px)));
    base + tile * grid(fitted, 512)
}

/// 32 px patches within an edge and a budget, times the model's factor.
fn patches(size: Size, factor: f64, edge_px: Option<u32>, budget: Option<u32>) -> u64 {
    let mut size = size;
    let longest_px = size.width_px.max(size.height_px);
    if let Some(edge_px) = edge_px.filter(|&edge_px| edge_px < longest_px) {
        size = shrunk(size, f64::from(edge_px) / f64::from(longest_px));
    }
    let mut patches = grid(size, 32);
    if let Some(budget) = budget.filter(|&budget| u64::from(budget) < patches) {
        let (width, height) = (f64::from(size.width_px), f64::from(size.height_px));
        let ratio = (1_024.0 * f64::from(budget) / (width * height)).sqrt();
        let whole = |edge: f64| (edge * ratio / 32.0).floor() / (edge * ratio / 32.0);
        let ratio = ratio * whole(width).min(whole(height));
        let fitted = Size { width_px: to_px(width * ratio), height_px: to_px(height * ratio) };
        patches = grid(fitted, 32);
    }
    let patches = u32::try_from(patches).unwrap_or(u32::MAX);
    u64::from(to_px((f64::from(patches) * factor).ceil()))
}

/// The largest size within an edge and a budget of 28 px patches.
fn claude(model: &str, size: Size) -> u64 {
    let older = ["-3", "-4-0", "-4-1", "-4-5", "-4-6", "-4-2"];
    let is_standard = older.iter().any(|version| model.contains(version));
    let (edge_px, budget) = if is_standard { (1_568, 1_568) } else { (2_576, 4_784) };
    let (long, short) = (size.width_px.max(size.height_px), size.width_px.min(size.height_px));
    let tokens = |edge_px: u32| {
        let other = f64::from(edge_px) * f64::from(short) / f64::from(long);
        grid(Size { width_px: edge_px, height_px: to_px(other.round_ties_even()) }, 28)
    };
    // The count never falls as the edge grows, so the largest edge that fits is found by halving.
    let (mut low, mut high) = (1, long.min(edge_px));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if tokens(middle) <= budget { low = middle } else { high = middle - 1 }
    }
    tokens(low)
}

fn gemini(model: &str, size: Size, detail: Detail) -> u64 {
    if model.starts_with("gemini-2") {
        if size.width_px <= 384 && size.height_px <= 384 {
            return 258;
        }
        let shortest = f64::from(size.width_px.min(size.height_px));
        return 258 * grid(size, to_px((shortest / 1.5).floor()).clamp(256, 768));
    }
    match detail {
        Detail::Low => 280,
        Detail::Medium => 560,
        // Documented as 1120 at most, measured between 1065 and 1101.
        Detail::Auto | Detail::High => 1_090,
        Detail::Original => 2_240,
    }
}

fn mistral(model: &str, size: Size) -> u64 {
    let (patch_px, edge_px) = if model.contains("pixtral") { (16, 1_024) } else { (28, 1_540) };
    let longest_px = size.width_px.max(size.height_px);
    let ratio = (f64::from(edge_px) / f64::from(longest_px)).min(1.0);
    let fitted = Size {
        width_px: to_px((f64::from(size.width_px) * ratio).round_ties_even()),
        height_px: to_px((f64::from(size.height_px) * ratio).round_ties_even()),
    };
    grid(fitted, patch_px) + u64::from(fitted.height_px.div_ceil(patch_px))
}

fn grid(size: Size, cell_px: u32) -> u64 {
    u64::from(size.width_px.div_ceil(cell_px)) * u64::from(size.height_px.div_ceil(cell_px))
}

/// Scales down, never up.
fn shrunk(size: Size, ratio: f64) -> Size {
    if 1.0 <= ratio {
        return size;
    }
    Size {
        width_px: to_px(f64::from(size.width_px) * ratio),
        height_px: to_px(f64::from(size.height_px) * ratio),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits; a fraction of a pixel is dropped on purpose"
)]
fn to_px(value: f64) -> u32 {
    value.clamp(1.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width_px: u32, height_px: u32) -> Size {
        Size { width_px, height_px }
    }

    /// The worked examples of the documentation and the public measurements.
    #[test]
    fn counts_agree_with_documented_and_measured_ones() {
        let count = |model, w, h, detail| openai(model, size(w, h), detail);
        assert_eq!(count("gpt-4o", 1024, 1024, Detail::High), 765);
        assert_eq!(count("gpt-4o", 2048, 4096, Detail::High), 1_105);
        for (w, h, auto6, high6, auto55) in [
            (256, 256, 77, 77, 77),
            (1024, 1024, 1_229, 1_229, 1_229),
            (1920, 1080, 2_448, 2_448, 2_448),
            (2560, 1440, 4_320, 2_931, 4_320),
            (4032, 3024, 14_364, 2_942, 11_868),
        ] {
            assert_eq!(count("gpt-6-astra", w, h, Detail::Auto), auto6);
            assert_eq!(count("gpt-6-astra", w, h, Detail::High), high6);
            assert_eq!(count("gpt-5.5", w, h, Detail::Auto), auto55);
        }
        for (w, h, high_res, standard) in
            [(256, 256, 100, 100), (768, 768, 784, 784), (1920, 1080, 2_691, 1_560)]
        {
            assert_eq!(claude("claude-haiku-5-5", size(w, h)), high_res);
            assert_eq!(claude("claude-haiku-4-5", size(w, h)), standard);
        }
        assert_eq!(gemini("gemini-2.5-flash", size(960, 540), Detail::Auto), 6 * 258);
        assert_eq!(gemini("gemini-3.5-flash-lite", size(64, 48), Detail::Low), 280);
        assert_eq!(mistral("mistral-small-latest", size(512, 512)), 380);
        assert_eq!(mistral("pixtral-12b", size(512, 512)), 1_056);
    }
}
