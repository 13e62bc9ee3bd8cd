//! The scan looks for the scores in an answer that is still being written.
//!
//! An answer is `{"scores":{…},"reasons":{…}}`: when the scores are closed, the verdict can leave
//! although the prose has just begun. A score is complete at the `,` or `}` behind it, not before:
//! `0.9` may go on as `0.95`. The scan is the stricter reader of the two: at anything that is not
//! exactly this (a fence, prose, a key twice, an unknown key, an escape) it gives up, and the whole
//! answer is then read by [`crate::provider::answer`] as if there had been no scan. What it does
//! report is what that reading will say, if it says anything.

/// Longest spelling of a score.
const MAX_NUMBER_BYTES: usize = 32;

/// What is known of an answer's scores so far.
#[derive(Clone, Debug)]
pub struct ScoreScan {
    asked: Vec<(String, Option<f64>)>,
    at: At,
    /// The key or number that is being read.
    word: String,
    /// The criterion whose score is being read.
    place: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// `{`
    Open,
    /// The `"` before `scores`.
    RootQuote,
    /// The rest of `scores"`.
    RootKey,
    /// `:`
    RootColon,
    /// `{`
    ScoresOpen,
    /// The `"` before a criterion.
    Quote,
    /// The rest of a criterion and its `"`.
    Key,
    /// `:`
    Colon,
    /// The first byte of a score.
    Value,
    /// The rest of a score.
    Number,
    /// `,` or `}`
    AfterNumber,
    /// Nothing: the scores are closed.
    Closed,
    /// Nothing: this is not the asked answer, or not in the asked order.
    GivenUp,
}

impl ScoreScan {
    /// A scan for a score of each of `asked`.
    #[must_use]
    pub fn new<'a>(asked: impl IntoIterator<Item = &'a str>) -> Self {
        let asked = asked.into_iter().map(|id| (id.to_owned(), None)).collect();
        Self { asked, at: At::Open, word: String::new(), place: 0 }
    }

    /// Takes the next part of the text.
    pub fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            if matches!(self.at, At::Closed | At::GivenUp) {
                return;
            }
            self.at = self.step(byte).unwrap_or(At::GivenUp);
        }
    }

    /// The scores that are complete, and nothing for the others, in the asked order.
    pub fn so_far(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        self.asked.iter().map(|(id, score)| (id.as_str(), *score))
    }

    /// Every score in the asked order, once all are in and closed.
    #[must_use]
    pub fn scores(&self) -> Option<Vec<f64>> {
        let closed = self.at == At::Closed;
        closed.then(|| self.asked.iter().filter_map(|(_, score)| *score).collect())
    }

    /// What follows `byte`; `None`: give up.
    fn step(&mut self, byte: u8) -> Option<At> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.at {
            At::RootKey | At::Key => self.step_in_key(byte),
            At::Number if is_space => Some(At::AfterNumber),
            At::Number | At::AfterNumber if matches!(byte, b',' | b'}') => self.end_number(byte),
            At::Number => self.step_in_number(byte),
            at if is_space => Some(at),
            At::Open if byte == b'{' => Some(At::RootQuote),
            At::RootQuote if byte == b'"' => Some(At::RootKey),
            At::RootColon if byte == b':' => Some(At::ScoresOpen),
            At::ScoresOpen if byte == b'{' => Some(At::Quote),
            At::Quote if byte == b'"' => Some(At::Key),
            At::Colon if byte == b':' => Some(At::Value),
            At::Value => self.step_in_number(byte),
            At::Open
            | At::RootQuote
            | At::RootColon
            | At::ScoresOpen
            | At::Quote
            | At::Colon
            | At::AfterNumber
            | At::Closed
            | At::GivenUp => None,
        }
    }

    fn step_in_key(&mut self, byte: u8) -> Option<At> {
        if byte != b'"' {
            let longest = self.asked.iter().map(|(id, _)| id.len()).max()?.max("scores".len());
            // an escape could spell any key in another way, and criteria are plain words
            let is_plain = byte.is_ascii_graphic() && byte != b'\\';
            (is_plain && self.word.len() < longest).then(|| self.word.push(char::from(byte)))?;
            return Some(self.at);
        }
        let key = std::mem::take(&mut self.word);
        if self.at == At::RootKey {
            return (key == "scores").then_some(At::RootColon);
        }
        let place = self.asked.iter().position(|(id, score)| *id == key && score.is_none())?;
        self.place = place;
        Some(At::Colon)
    }

    fn step_in_number(&mut self, byte: u8) -> Option<At> {
        let may_be = byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        (may_be && self.word.len() < MAX_NUMBER_BYTES).then(|| self.word.push(char::from(byte)))?;
        Some(At::Number)
    }

    /// A comma promises one more score: behind the last one it is a key too many.
    fn end_number(&mut self, byte: u8) -> Option<At> {
        // the very rules of the strict reading
        let score: f64 = serde_json::from_str(&std::mem::take(&mut self.word)).ok()?;
        let legal = (0.0..=1.0).contains(&score);
        let (_, place) = self.asked.get_mut(self.place)?;
        *place = Some(legal.then_some(score + 0.0)?); // adding zero turns -0 into 0
        let whole = self.asked.iter().all(|(_, score)| score.is_some());
        match (byte, whole) {
            (b'}', true) => Some(At::Closed),
            (b',', false) => Some(At::Quote),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::panel::Asked;
    use crate::provider::answer::Shape;

    const ASKED: [&str; 2] = ["sharp", "cutout"];
    const GOOD: &str =
        r#"{"scores":{"sharp":0.9,"cutout":1},"reasons":{"sharp":"crisp — edges","cutout":""}}"#;

    fn scan(text: &str) -> ScoreScan {
        let mut scan = ScoreScan::new(ASKED);
        scan.push(text);
        scan
    }

    fn strictly(text: &str) -> Option<Vec<f64>> {
        let asked =
            |id: &str| Asked { id: id.to_owned(), ask: "?".to_owned(), measured_by: vec![] };
        let criteria = ASKED.map(asked);
        let said = Shape::of_judgement(&criteria).read(text).ok()?;
        let judgement = said.judgement(&criteria, 100)?;
        judgement.scores.iter().map(|one| one.score).collect()
    }

    #[test]
    fn the_scores_are_in_at_the_brace_that_closes_them() {
        let closed = GOOD.find('}').unwrap() + 1;
        for len in 0..GOOD.len() {
            let Some(cut) = GOOD.get(..len) else { continue };
            let expected = (closed <= len).then(|| vec![0.9, 1.0]);
            assert_eq!(scan(cut).scores(), expected, "{cut}");
        }
    }

    #[test]
    fn a_score_is_complete_at_what_stands_behind_it() {
        let at = |text: &str| scan(text).so_far().map(|(_, score)| score).collect::<Vec<_>>();
        assert_eq!(at(r#"{"scores":{"sharp":0.9"#), [None, None]);
        assert_eq!(at(r#"{"scores":{"sharp":0.9 "#), [None, None]);
        assert_eq!(at(r#"{"scores":{"sharp":0.9 ,"#), [Some(0.9), None]);
    }

    #[test]
    fn space_and_the_order_of_criteria_do_not_matter() {
        let spaced = "\n { \"scores\" :\t{ \"cutout\" : 1e-1 ,\r\n\"sharp\":-0 } , ";
        assert_eq!(scan(spaced).scores(), Some(vec![0.0, 0.1]));
    }

    #[test]
    fn anything_odd_means_no_early_answer() {
        let odd = [
            format!("```json\n{GOOD}"),
            format!("Here it is: {GOOD}"),
            format!("[{GOOD}"),
            GOOD.replace("\"scores\"", "\"Scores\""),
            GOOD.replace("\"scores\"", "\"\\u0073cores\""),
            GOOD.replace("{\"scores\"", "{\"note\":1,\"scores\""),
            GOOD.replace("\"scores\":{", "\"scores\":{\"scores\":{"),
            GOOD.replace("\"cutout\":1", "\"sharp\":0.9,\"cutout\":1"),
            GOOD.replace("\"cutout\":1", "\"other\":0.9,\"cutout\":1"),
            GOOD.replace("\"cutout\":1", "\"cutout\":1,\"other\":1"),
            GOOD.replace("\"cutout\":1", "\"cutout\":1,"),
            GOOD.replace(",\"cutout\":1", ""),
            GOOD.replace("\"sharp\":0.9", "\"sh\\u0061rp\":0.9"),
            format!("{{\"scores\":{{\"{}", "x".repeat(10_000)),
            format!("{{\"scores\":{{\"sharp\":0.{}", "9".repeat(10_000)),
            "{\"reasons\":{}".to_owned(),
        ];
        let scores = [
            "\"0.9\"", "90", "1.01", "-0.01", "null", "true", "1e999", "NaN", "[0.9]", ".9", "1.",
            "01", "+1", "0 .9", "0,9", "",
        ];
        let wrong = scores.iter().map(|score| GOOD.replace("0.9", score));
        for text in odd.into_iter().chain(wrong) {
            let cut: String = text.chars().take(80).collect();
            assert_eq!(scan(&text).scores(), None, "{cut}");
        }
    }

    /// Texts near the asked answer.
    fn answer() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            8 => Just("{\"scores\":{"),
            4 => Just("\"sharp\":"),
            4 => Just("\"cutout\":"),
            4 => Just("0.9"),
            2 => Just("1"),
            1 => Just("-0"),
            2 => Just("5e-1"),
            4 => Just(","),
            4 => Just("}"),
            4 => Just("},\"reasons\":{\"sharp\":\"\",\"cutout\":\"—\"}}"),
            1 => Just(" "),
            1 => Just("```"),
            1 => Just("\\"),
        ];
        let free = prop::collection::vec(word, 0..16).prop_map(|words| words.concat());
        let near = (0..GOOD.len(), "\\PC{0,2}").prop_map(|(at, with)| {
            let at = (at..).find(|at| GOOD.is_char_boundary(*at)).unwrap_or(0);
            let (before, after) = GOOD.split_at(at);
            format!("{before}{with}{after}")
        });
        prop_oneof![free, near]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_scanned_is_what_the_strict_reading_says(text in answer()) {
            let scan = scan(&text);
            if let Some(strict) = strictly(&text) {
                for ((id, early), strict) in scan.so_far().zip(strict) {
                    prop_assert!(early.is_none_or(|early| early.to_bits() == strict.to_bits()), "{id}");
                }
            }
        }

        #[test]
        fn where_the_text_is_cut_changes_nothing(text in answer()) {
            let whole: Vec<_> = scan(&text).so_far().map(|(_, score)| score).collect();
            let mut pieces = ScoreScan::new(ASKED);
            let mut buffer = [0; 4];
            text.chars().for_each(|c| pieces.push(c.encode_utf8(&mut buffer)));
            prop_assert_eq!(pieces.so_far().map(|(_, score)| score).collect::<Vec<_>>(), whole);
            prop_assert_eq!(pieces.scores(), scan(&text).scores());
        }

        #[test]
        fn every_legal_pair_of_scores_is_found(sharp in 0.0..=1.0_f64, cutout in 0.0..=1.0_f64) {
            let text = format!("{{\"scores\":{{\"sharp\":{sharp},\"cutout\":{cutout}}}");
            prop_assert_eq!(scan(&text).scores(), Some(vec![sharp, cutout]));
        }
    }
}
