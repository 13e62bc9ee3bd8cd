//! Sight: how many tokens a picture must have cost if the model saw it.
//!
//! Pictures have been dropped on the way without an error, and a model bound to a schema then makes
//! an answer up. What gives it away is the provider's own token count, so a count below a cautious
//! share of the expected one is taken as blindness. Formulas and figures: providers' documentation
//! and public measurements as of the date of the model list.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::domain::Tokens;
use crate::imaging::View;
use crate::provider::model::Traits;
use crate::provider::wire::Ask;

/// Fewer characters than this per token occur in no text we send: a floor, not an average.
const CHARS_PER_TOKEN_MOST: u64 = 8;

/// Characters per token of ordinary English: an average, for estimates.
const CHARS_PER_TOKEN: u64 = 4;

/// How a family counts a picture.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Counting {
    /// 512 px tiles after a fit into 2048 px with a short side of at most 768 px.
    Tiles {
        /// Tokens per picture.
        base: u64,
        /// Tokens per tile.
        tile: u64,
    },
    /// 32 px patches after a fit into `edge_px` and `budget` patches.
    Patches {
        /// Longest edge before counting.
        edge_px: Option<u32>,
        /// Most patches.
        budget: Option<u32>,
        /// Tokens per hundred patches.
        percent: u64,
    },
    /// Square cells of a side; a picture is fitted until edge and budget both hold.
    Cells {
        /// A cell's side.
        side_px: u32,
        /// Longest edge before counting.
        edge_px: u32,
        /// Most cells.
        budget: u32,
    },
    /// Gemini 2: 258 tokens per tile, whose side follows the picture's.
    CropTiles,
    /// The same for every picture.
    Fixed {
        /// Tokens per picture.
        tokens: u64,
    },
    /// Nobody knows.
    Unknown,
}

impl Counting {
    /// Expected tokens for one picture.
    #[must_use]
    pub fn tokens(self, width_px: u32, height_px: u32) -> u64 {
        let (w, h) = (width_px.max(1), height_px.max(1));
        match self {
            Self::Tiles { base, tile } => base + tile * tiles(w, h),
            Self::Patches { edge_px, budget, percent } => {
                (patches(w, h, edge_px, budget) * percent).div_ceil(100)
            }
            Self::Cells { side_px, edge_px, budget } => cells(w, h, side_px, (edge_px, budget)),
            Self::CropTiles => crop_tiles(w, h),
            Self::Fixed { tokens } => tokens,
            Self::Unknown => 0,
        }
    }
}

/// What a call is expected to read: prompts, schema and pictures.
#[must_use]
pub fn expected_input_tokens(traits: &Traits, views: &[View], chars: u64) -> u64 {
    chars.div_ceil(CHARS_PER_TOKEN) + expected_tokens(traits, views)
}

/// Why the model cannot have seen the pictures, by the provider's own count; `None` while it can,
/// or where the provider counts nothing.
#[must_use]
pub fn blindness(traits: &Traits, ask: &Ask<'_>, tokens: Option<Tokens>) -> Option<String> {
    Floor::of(traits, ask).blindness(tokens)
}

/// What a model must have counted of one question if it saw the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    expected: u64,
    pictures: u64,
    text: u64,
}

impl Floor {
    /// The floor for `ask`.
    #[must_use]
    pub fn of(traits: &Traits, ask: &Ask<'_>) -> Self {
        let expected = expected_tokens(traits, ask.views);
        let pictures = expected * traits.floor_percent / 100;
        let chars = ask.system.chars().count() + ask.user.chars().count();
        let text = u64::try_from(chars).unwrap_or(u64::MAX) / CHARS_PER_TOKEN_MOST;
        Self { expected, pictures, text }
    }

    /// Why the model cannot have seen the pictures; `None` while it can, where the provider counts
    /// nothing, or where nobody knows how the model counts.
    #[must_use]
    pub fn blindness(&self, tokens: Option<Tokens>) -> Option<String> {
        let Self { expected, pictures, text } = *self;
        let tokens = tokens?;
        if let Some(seen) = tokens.image {
            // a model we know nothing of must still count something
            let floor = pictures.max(1);
            return (seen < floor).then(|| {
                format!("{seen} image tokens counted, at least {floor} of {expected} expected")
            });
        }
        let floor = text + pictures;
        (0 < pictures && tokens.input < floor).then(|| {
            let read = tokens.input;
            format!(
                "{read} input tokens counted, at least {floor} expected ({expected} for the image)"
            )
        })
    }
}

impl Floor {
    /// Whether `tokens` show that the model saw the pictures. What nobody counted shows nothing, nor does
    /// a count of a model of which nobody knows how it counts, unless it counts pictures by themselves.
    #[must_use]
    pub fn is_shown_by(&self, tokens: Option<Tokens>) -> bool {
        let tells = |tokens: Tokens| 0 < self.pictures || tokens.image.is_some();
        tokens.is_some_and(tells) && self.blindness(tokens).is_none()
    }
}

/// Answers in a row that a judge must have seen its pictures in before it is believed in advance.
const SEEN_IN_A_ROW: u32 = 20;

/// What a judge has shown of its sight: how many of its last complete answers passed the floor,
/// and whether one was found blind after it had left early.
#[derive(Debug, Default)]
pub struct Sight(Mutex<Shown>);

#[derive(Debug, Default)]
struct Shown {
    seen_in_a_row: u32,
    /// How many were seen since one whose count never came; `None`: there was none.
    seen_since_unproven: Option<u32>,
    /// Until [`SEEN_IN_A_ROW`] answers passed again.
    distrusted: bool,
}

impl Sight {
    /// Whether an answer may leave before its end: the model has counted the pictures of this very
    /// one (`tokens`), or it has seen those of its last answers. After a blind answer that had left
    /// early only the latter will do.
    #[must_use]
    pub fn may_leave_early(&self, floor: &Floor, tokens: Option<Tokens>) -> bool {
        if floor.blindness(tokens).is_some() {
            return false;
        }
        let shown = self.shown();
        let proven = SEEN_IN_A_ROW <= shown.seen_in_a_row;
        proven || (floor.is_shown_by(tokens) && !shown.distrusted)
    }

    /// Whether answers may leave before their end, if nothing in them speaks against it; `counts_first`:
    /// the provider counts the pictures before it says anything else.
    #[must_use]
    pub fn is_believed(&self, counts_first: bool) -> bool {
        let shown = self.shown();
        SEEN_IN_A_ROW <= shown.seen_in_a_row || (counts_first && !shown.distrusted)
    }

    /// A sound answer that came to its end, of which the provider counted `tokens`. A provider that
    /// counts nothing cannot be caught, and its complete answers pass; but nothing is shown by them.
    pub fn ended(&self, floor: &Floor, tokens: Option<Tokens>) {
        if floor.is_shown_by(tokens) { self.saw() } else { self.was_unproven() }
    }

    fn saw(&self) {
        let mut shown = self.shown();
        shown.seen_in_a_row = shown.seen_in_a_row.saturating_add(1);
        shown.seen_since_unproven = shown.seen_since_unproven.map(|seen| seen.saturating_add(1));
        if SEEN_IN_A_ROW <= shown.seen_in_a_row {
            shown.distrusted = false;
        }
    }

    /// A complete answer, whose judge did not; `left_early`: it was used before that was known.
    pub fn was_blind(&self, left_early: bool) {
        let mut shown = self.shown();
        shown.seen_in_a_row = 0;
        shown.distrusted |= left_early;
    }

    /// An answer whose count never came, or says nothing: whether its judge saw the pictures stays unknown. One may be
    /// an accident; with a second one among twenty the judge is believed in advance no more, until
    /// twenty in a row were counted.
    pub fn was_unproven(&self) {
        let mut shown = self.shown();
        if shown.seen_since_unproven.is_some_and(|seen| seen < SEEN_IN_A_ROW) {
            shown.seen_in_a_row = 0;
        }
        shown.seen_since_unproven = Some(0);
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // nothing in here can be left half done
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expected_tokens(traits: &Traits, views: &[View]) -> u64 {
    views.iter().map(|view| traits.picture.tokens(view.width_px, view.height_px)).sum()
}

fn tiles(w: u32, h: u32) -> u64 {
    let (w, h) = (f64::from(w), f64::from(h));
    let fit = (2048.0 / w.max(h)).min(1.0);
    let (w, h) = (w * fit, h * fit);
    let fit = (768.0 / w.min(h)).min(1.0);
    whole(((w * fit).floor() / 512.0).ceil()) * whole(((h * fit).floor() / 512.0).ceil())
}

fn patches(w: u32, h: u32, edge_px: Option<u32>, budget: Option<u32>) -> u64 {
    let (mut w, mut h) = (f64::from(w), f64::from(h));
    if let Some(edge) = edge_px.map(f64::from).filter(|edge| *edge < w.max(h)) {
        let fit = edge / w.max(h);
        (w, h) = ((w * fit).round().max(1.0), (h * fit).round().max(1.0));
    }
    let count = |w: f64, h: f64| whole((w / 32.0).ceil()) * whole((h / 32.0).ceil());
    let uncapped = count(w, h);
    let Some(budget) = budget.filter(|budget| u64::from(*budget) < uncapped) else {
        return uncapped;
    };
    // shrink to the budget, then on to whole patches along the edge that loses less
    let fit = (32.0 * 32.0 * f64::from(budget) / (w * h)).sqrt();
    let (across, down) = (w * fit / 32.0, h * fit / 32.0);
    let fit = fit * (across.floor() / across).min(down.floor() / down);
    count((w * fit).floor().max(1.0), (h * fit).floor().max(1.0))
}

fn cells(w: u32, h: u32, side: u32, (edge, budget): (u32, u32)) -> u64 {
    let (long, short) = (u64::from(w.max(h)), u64::from(w.min(h)));
    let side = u64::from(side.max(1));
    let count = |edge: u64| {
        let other = (2 * edge * short + long) / (2 * long);
        edge.div_ceil(side) * other.max(1).div_ceil(side)
    };
    // the count never falls as the edge grows: the longest edge within the budget by bisection
    let (mut low, mut high) = (1, long.min(u64::from(edge)));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if count(middle) <= u64::from(budget) { low = middle } else { high = middle - 1 }
    }
    count(low)
}

fn crop_tiles(w: u32, h: u32) -> u64 {
    if w <= 384 && h <= 384 {
        return 258;
    }
    let unit = (w.min(h) * 2 / 3).clamp(256, 768);
    258 * u64::from(w.div_ceil(unit)) * u64::from(h.div_ceil(unit))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and counts of tiles are small and positive"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH: Counting =
        Counting::Patches { edge_px: Some(2048), budget: Some(2500), percent: 120 };

    #[test]
    fn documented_and_measured_counts_are_met() {
        let tiles = Counting::Tiles { base: 85, tile: 170 };
        assert_eq!(tiles.tokens(1024, 1024), 765);
        assert_eq!(tiles.tokens(2048, 4096), 1105);
        assert_eq!(HIGH.tokens(1024, 1024), 1229);
        assert_eq!(Counting::CropTiles.tokens(960, 540), 6 * 258);
        let claude = Counting::Cells { side_px: 28, edge_px: 1568, budget: 1568 };
        assert_eq!(claude.tokens(1920, 1080), 1560);
    }

    #[test]
    fn no_size_breaks_a_formula() {
        let all = [
            HIGH,
            Counting::Tiles { base: 1, tile: 1 },
            Counting::Cells { side_px: 28, edge_px: 1540, budget: 3025 },
            Counting::CropTiles,
            Counting::Fixed { tokens: 1120 },
        ];
        for counting in all {
            for (w, h) in [(0, 0), (1, 1), (1, 100_000), (u32::MAX / 2, 3), (65_535, 65_535)] {
                assert!(0 < counting.tokens(w, h), "{counting:?} {w} {h}");
            }
        }
    }

    fn floor(pictures: u64) -> Floor {
        Floor { expected: pictures, pictures, text: 0 }
    }

    fn counted(input: u64) -> Option<Tokens> {
        Some(Tokens { input, ..Tokens::default() })
    }

    #[test]
    fn a_count_in_the_stream_lets_an_answer_leave_and_a_low_one_does_not() {
        let sight = Sight::default();
        assert!(sight.may_leave_early(&floor(100), counted(100)));
        assert!(!sight.may_leave_early(&floor(100), counted(99)));
        assert!(!sight.may_leave_early(&floor(100), None));
    }

    #[test]
    fn without_a_count_twenty_answers_in_a_row_must_have_been_seen() {
        let sight = Sight::default();
        for _ in 0..SEEN_IN_A_ROW - 1 {
            sight.saw();
        }
        assert!(!sight.may_leave_early(&floor(100), None));
        sight.saw();
        assert!(sight.may_leave_early(&floor(100), None));
        assert!(!sight.may_leave_early(&floor(100), counted(99)), "this one is blind");
        sight.was_blind(false);
        assert!(!sight.may_leave_early(&floor(100), None));
        assert!(sight.may_leave_early(&floor(100), counted(100)), "nothing blind had left early");
    }

    #[test]
    fn a_judge_whose_ends_never_come_is_not_believed_in_advance_for_ever() {
        let sight = Sight::default();
        let see = |answers: u32| (0..answers).for_each(|_| sight.saw());
        let is_believed = || sight.may_leave_early(&floor(100), None);
        see(SEEN_IN_A_ROW);
        sight.was_unproven();
        assert!(is_believed(), "once is an accident");
        see(SEEN_IN_A_ROW);
        sight.was_unproven();
        assert!(is_believed(), "so is once in a while");
        see(SEEN_IN_A_ROW - 1);
        sight.was_unproven();
        assert!(!is_believed());
        assert!(sight.may_leave_early(&floor(100), counted(100)), "a count in the stream is proof");
        see(SEEN_IN_A_ROW - 1);
        assert!(!is_believed());
        see(1);
        assert!(is_believed());
    }

    #[test]
    fn answers_that_nobody_counts_show_nothing() {
        let sight = Sight::default();
        (0..3 * SEEN_IN_A_ROW).for_each(|_| sight.ended(&floor(100), None));
        assert!(!sight.may_leave_early(&floor(100), None));
        (0..SEEN_IN_A_ROW).for_each(|_| sight.ended(&floor(100), counted(100)));
        assert!(sight.may_leave_early(&floor(100), None));
        (0..2).for_each(|_| sight.ended(&floor(100), None));
        assert!(!sight.may_leave_early(&floor(100), None), "the counts stopped coming");
    }

    #[test]
    fn a_count_over_a_floor_that_nobody_knows_shows_nothing() {
        let (sight, unknown) = (Sight::default(), floor(0));
        assert_eq!(unknown.blindness(counted(1)), None, "a complete answer passes");
        (0..3 * SEEN_IN_A_ROW).for_each(|_| sight.ended(&unknown, counted(5_000)));
        assert!(!sight.may_leave_early(&unknown, counted(5_000)));
        // but a provider that counts pictures by themselves has seen some
        let pictures =
            |image| Some(Tokens { input: 5_000, image: Some(image), ..Tokens::default() });
        assert!(sight.may_leave_early(&unknown, pictures(1)));
        assert!(!sight.may_leave_early(&unknown, pictures(0)));
    }

    #[test]
    fn a_blind_answer_that_left_early_turns_early_answers_off_for_twenty() {
        let sight = Sight::default();
        sight.was_blind(true);
        for _ in 0..SEEN_IN_A_ROW {
            assert!(!sight.may_leave_early(&floor(100), counted(100)));
            sight.saw();
        }
        assert!(sight.may_leave_early(&floor(100), counted(100)));
    }
}
