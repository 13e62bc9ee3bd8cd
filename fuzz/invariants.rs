//! What must hold of the stream's readers whatever comes: shared by the fuzz targets, and by the
//! tests that replay the committed inputs. Each target uses one of the two.

#![allow(dead_code, reason = "a fuzz target uses one invariant of the two")]

use vlmgate::panel::Asked;
use vlmgate::provider::answer::Shape;
use vlmgate::provider::scan::ScoreScan;
use vlmgate::provider::sse::{Event, SseError, SseReader};

/// What the scan looks for.
const ASKED: [&str; 3] = ["cutout", "edge_artifacts", "contact_shadow"];

/// The first byte says how the others are cut into pieces: a stream reads the same in pieces of any
/// size.
pub(crate) fn sse(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else { return };
    let size = usize::from(*size).max(1);
    let whole = read(stream, stream.len().max(1));
    assert_eq!(read(stream, size), whole, "in pieces of {size}");
    assert_eq!(read(stream, 1), whole, "byte by byte");
}

fn read(stream: &[u8], size: usize) -> (Vec<Event>, Result<(), SseError>) {
    let mut reader = SseReader::default();
    let mut events = Vec::new();
    let pieces = stream.chunks(size).map(|piece| reader.push(piece, &mut events));
    let results: Vec<_> = pieces.collect();
    let result = results.last().copied().unwrap_or(Ok(()));
    let first_error = results.iter().position(Result::is_err).unwrap_or(results.len());
    assert!(results.iter().skip(first_error).all(|one| *one == result), "a broken stream heals");
    (events, result)
}

/// A score that the scan reports is the one that the strict reading of the whole text reports, and
/// where the text is cut does not matter.
pub(crate) fn scan(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut whole = ScoreScan::new(ASKED);
    whole.push(text);
    let mut pieces = ScoreScan::new(ASKED);
    let mut before = scores(&pieces);
    for c in text.chars() {
        pieces.push(c.encode_utf8(&mut [0; 4]));
        let now = scores(&pieces);
        let kept = before.iter().zip(&now).all(|(before, now)| before.is_none() || before == now);
        assert!(kept, "a score is taken back: {before:?} {now:?}");
        before = now;
    }
    assert_eq!(before, scores(&whole), "in pieces");
    assert_eq!(pieces.scores(), whole.scores(), "in pieces");
    let Some(strict) = strictly(text) else { return };
    for (early, strict) in scores(&whole).iter().zip(strict) {
        assert!(early.is_none_or(|early| early == strict.to_bits()), "{early:?} for {strict}");
    }
}

/// The scores so far, told apart to the bit.
fn scores(scan: &ScoreScan) -> Vec<Option<u64>> {
    let scores: Vec<_> = scan.so_far().map(|(_, score)| score).collect();
    let legal = |score: &Option<f64>| score.is_none_or(|score| (0.0..=1.0).contains(&score));
    assert!(scores.iter().all(legal), "{scores:?}");
    scores.into_iter().map(|score| score.map(f64::to_bits)).collect()
}

/// What the gate's strict reading makes of the whole text.
fn strictly(text: &str) -> Option<Vec<f64>> {
    let asked = |id: &str| Asked { id: id.to_owned(), ask: String::new(), measured_by: Vec::new() };
    let criteria = ASKED.map(asked);
    let said = Shape::of_judgement(&criteria).read(text).ok()?;
    said.judgement(&criteria, 0)?.scores.iter().map(|one| one.score).collect()
}
