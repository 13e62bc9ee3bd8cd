//! A behaviour says how a provider acts for a while: how long it takes, what goes wrong, what it says.
//!
//! It is data, readable from a scenario file, so that tests, demos and load tests share one vocabulary.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::chance::Chance;
use crate::judging::Judging;

/// How a provider acts until it is told otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long an answer takes.
    pub latency: Latency,
    /// What goes wrong with the calls that are hit.
    pub fault: Fault,
    /// The share of calls that the fault hits, 0..1. `refuse` is of the listener and always whole.
    pub share: f64,
    /// What the answers say.
    pub judging: Judging,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency: Latency::default(),
            fault: Fault::default(),
            share: 1.0,
            judging: Judging::default(),
        }
    }
}

impl Behaviour {
    /// Healthy but for this fault, which hits every call.
    #[must_use]
    pub fn failing(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }

    /// Whether nobody listens.
    pub(crate) fn refuses(&self) -> bool {
        self.fault == Fault::Refuse
    }

    /// What goes wrong with the call that this chance belongs to.
    pub(crate) fn fault_of(&self, chance: &Chance) -> Fault {
        if chance.unit("fault") < self.share { self.fault } else { Fault::None }
    }
}

/// How long a provider takes to answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    ConstantMs(u64),
    /// Log-normal: half of the calls are faster than the median, and some are very slow.
    LogNormal {
        /// The median.
        median_ms: u64,
        /// The standard deviation of the logarithm; 0.2 puts p95 at 1.4 times the median.
        sigma: f64,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Self::ConstantMs(0)
    }
}

/// No simulated answer takes longer than this, whatever the distribution drew.
const MAX_LATENCY_MS: u64 = 600_000;

impl Latency {
    pub(crate) fn draw(self, chance: &Chance) -> Duration {
        let longest = Duration::from_millis(MAX_LATENCY_MS);
        match self {
            Self::ConstantMs(ms) => Duration::from_millis(ms).min(longest),
            Self::LogNormal { median_ms, sigma } => {
                let median_s = Duration::from_millis(median_ms.min(MAX_LATENCY_MS)).as_secs_f64();
                let drawn_s = median_s * (sigma * chance.normal("latency")).exp();
                Duration::try_from_secs_f64(drawn_s).map_or(longest, |drawn| drawn.min(longest))
            }
        }
    }
}

/// What can go wrong with a call.
///
/// A fault acts where it would act in life: on the listener, on the socket, on the HTTP framing, in
/// the body, or in what the model says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The listener is closed: connections are refused, idle ones are closed.
    Refuse,
    /// Accepts, reads and never answers; freezes the calls in flight too.
    Blackhole,
    /// Reads the request, then resets the connection.
    Reset,
    /// Answers an error in the dialect's own form.
    Status {
        /// The HTTP status: 400 and above.
        code: u16,
        /// How long the provider takes to say so.
        #[serde(default)]
        after_ms: u64,
        /// The delay that it asks for, in the dialect's own way.
        #[serde(default)]
        retry_after_s: Option<u32>,
    },
    /// Sends status and headers of a good answer, then nothing more.
    HeaderThenSilence,
    /// Declares the whole length, sends half of the body, closes.
    HalfBody,
    /// Sends half of the body and ends it as if it were whole: only the content is short.
    CleanEofEarly,
    /// Sends the body a few bytes at a time.
    SlowDrip {
        /// How many bytes at a time.
        #[serde(default = "default_piece_bytes")]
        piece_bytes: usize,
        /// How long between two pieces.
        #[serde(default = "default_every_ms")]
        every_ms: u64,
    },
    /// 200 whose body is not JSON at all.
    Garbage,
    /// A right answer wrapped in a Markdown fence: still readable.
    Fenced,
    /// The model answers in prose.
    Prose,
    /// The model answers JSON of another schema.
    WrongSchema,
    /// The model answers scores of 7.5.
    OutOfRange,
    /// 200 without a body.
    #[serde(rename = "empty_200")]
    Empty200,
    /// A well-formed answer without text.
    EmptyText,
    /// The model refuses, in the dialect's own way.
    Refusal,
    /// The answer hits the output limit and says so.
    TruncatedOutput,
    /// A body that goes on for this long.
    HugeBody {
        /// The length that is declared and sent.
        #[serde(default = "default_huge_bytes")]
        size_bytes: u64,
    },
    /// A right answer labelled as HTML.
    WrongContentType,
    /// Redirects to `/redirected` on this same provider, where a follower would be logged.
    Redirect,
    /// Answers, but the token count says that no image was seen.
    Blind,
}

const fn default_piece_bytes() -> usize {
    8
}

const fn default_every_ms() -> u64 {
    100
}

const fn default_huge_bytes() -> u64 {
    64 << 20
}

/// A fault that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("\"{text}\" is not a fault: {problem}")]
pub struct UnknownFault {
    text: String,
    problem: serde_json::Error,
}

impl Fault {
    /// The fixed name, as in scenario files.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
            Self::Reset => "reset",
            Self::Status { .. } => "status",
            Self::HeaderThenSilence => "header_then_silence",
            Self::HalfBody => "half_body",
            Self::CleanEofEarly => "clean_eof_early",
            Self::SlowDrip { .. } => "slow_drip",
            Self::Garbage => "garbage",
            Self::Fenced => "fenced",
            Self::Prose => "prose",
            Self::WrongSchema => "wrong_schema",
            Self::OutOfRange => "out_of_range",
            Self::Empty200 => "empty_200",
            Self::EmptyText => "empty_text",
            Self::Refusal => "refusal",
            Self::TruncatedOutput => "truncated_output",
            Self::HugeBody { .. } => "huge_body",
            Self::WrongContentType => "wrong_content_type",
            Self::Redirect => "redirect",
            Self::Blind => "blind",
        }
    }

    /// An error status at once, without a delay to wait for.
    #[must_use]
    pub const fn status(code: u16) -> Self {
        Self::Status { code, after_ms: 0, retry_after_s: None }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    /// Reads JSON as in scenario files, a bare name (`slow_drip`), or a bare status (`503`).
    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        if let Ok(code) = text.parse::<u16>() {
            return Ok(Self::status(code));
        }
        let unreadable = |problem| UnknownFault { text: text.to_owned(), problem };
        if text.starts_with('{') {
            return serde_json::from_str(text).map_err(unreadable);
        }
        serde_json::from_value(serde_json::json!(text))
            // A fault with settings is written as a map; by its bare name it takes the defaults.
            .or_else(|problem| {
                serde_json::from_value(serde_json::json!({ text: {} })).map_err(|_| problem)
            })
            .map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_from_json_from_a_name_and_from_a_status() {
        let read = |text: &str| text.parse::<Fault>().unwrap();
        assert_eq!(read("blackhole"), Fault::Blackhole);
        assert_eq!(read("empty_200"), Fault::Empty200);
        assert_eq!(read("503"), Fault::status(503));
        assert_eq!(read("slow_drip"), Fault::SlowDrip { piece_bytes: 8, every_ms: 100 });
        assert_eq!(
            read(r#"{"status":{"code":429,"retry_after_s":2}}"#),
            Fault::Status { code: 429, after_ms: 0, retry_after_s: Some(2) }
        );
        let refused = "explode".parse::<Fault>().unwrap_err().to_string();
        assert!(refused.contains("\"explode\" is not a fault"), "{refused}");
        assert!(r#"{"status":{"cod":429}}"#.parse::<Fault>().is_err());
    }

    #[test]
    fn every_fault_is_written_under_its_label() {
        for fault in [Fault::None, Fault::Empty200, Fault::OutOfRange, Fault::HeaderThenSilence] {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.label());
        }
        let written = serde_json::to_value(Fault::status(503)).unwrap();
        assert_eq!(written["status"]["code"], 503);
    }

    #[test]
    fn a_behaviour_survives_a_file_and_refuses_a_misspelt_key() {
        let behaviour: Behaviour = serde_json::from_str(
            r#"{"latency":{"log_normal":{"median_ms":630,"sigma":0.2}},"fault":"blackhole","share":0.4}"#,
        )
        .unwrap();
        assert!((behaviour.share - 0.4).abs() < 1e-9);
        assert_eq!(behaviour.latency, Latency::LogNormal { median_ms: 630, sigma: 0.2 });
        let again = serde_json::to_string(&behaviour).unwrap();
        assert_eq!(serde_json::from_str::<Behaviour>(&again).unwrap(), behaviour);
        assert!(serde_json::from_str::<Behaviour>(r#"{"shared":0.4}"#).is_err());
    }

    #[test]
    fn a_share_of_the_calls_is_hit_and_always_the_same_ones() {
        let behaviour = Behaviour { share: 0.4, ..Behaviour::failing(Fault::Reset) };
        let hit = |n: u32| behaviour.fault_of(&Chance::of(&[&n.to_le_bytes()])) == Fault::Reset;
        let hits = (0..2_000).filter(|&n| hit(n)).count();
        assert!((730..870).contains(&hits), "{hits} of 2000");
        assert!((0..50).all(|n| hit(n) == hit(n)));
    }

    #[test]
    fn half_of_log_normal_latencies_are_under_the_median() {
        let latency = Latency::LogNormal { median_ms: 600, sigma: 0.2 };
        let draw = |n: u32| latency.draw(&Chance::of(&[&n.to_le_bytes()])).as_millis();
        let under = (0..2_000).filter(|&n| draw(n) < 600).count();
        assert!((930..1_070).contains(&under), "{under} of 2000");
        let endless = Latency::LogNormal { median_ms: 600, sigma: 1e6 };
        let longest = (0_u32..8).map(|n| endless.draw(&Chance::of(&[&n.to_le_bytes()]))).max();
        assert_eq!(longest, Some(Duration::from_millis(MAX_LATENCY_MS)));
    }
}
