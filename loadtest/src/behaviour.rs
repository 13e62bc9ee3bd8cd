//! A behaviour says how a provider acts for a while: how long it takes, what goes wrong, what it says.
//!
//! It is data, readable from a scenario file, so that tests, demos and load tests share one vocabulary.

use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::judging::Judging;
use crate::latency::Latency;

/// How a provider acts until it is told otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long an answer takes.
    pub latency: Latency,
    /// The share of a streamed answer's time after which every score is said, 0..1; drawn around 0.6
    /// when it is not stated.
    pub scored_share: Option<f64>,
    /// What goes wrong with the calls that are hit.
    pub fault: Fault,
    /// The share of calls that the fault hits, 0..1. `refuse` is of the listener and always whole.
    pub share: f64,
    /// Further faults, each with a share of its own beside the first one's.
    pub also: Vec<Hit>,
    /// The faults come and go; without it they stay.
    pub flap: Option<Flap>,
    /// How many calls are worked on at once; more are refused with 429. Without it there is no bound
    /// and no congestion.
    pub slots: Option<u32>,
    /// What the answers say.
    pub judging: Judging,
}

/// A fault beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hit {
    /// What goes wrong.
    pub fault: Fault,
    /// With which share of the calls, 0..1.
    pub share: f64,
}

/// How a fault comes and goes, beginning with its coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// How long it stays.
    pub on_ms: u64,
    /// How long it stays away.
    pub off_ms: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency: Latency::default(),
            scored_share: None,
            fault: Fault::default(),
            share: 1.0,
            also: Vec::new(),
            flap: None,
            slots: None,
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

    /// What goes wrong with the call at this place in 0..1: the faults divide it by their shares.
    pub(crate) fn fault_at(&self, place: f64) -> Fault {
        let first = Hit { fault: self.fault, share: self.share };
        let mut below = 0.0;
        for hit in std::iter::once(&first).chain(&self.also) {
            below += hit.share;
            if place < below {
                return hit.fault;
            }
        }
        Fault::None
    }
}

/// What can go wrong with a call.
///
/// A fault acts where it would act in life: on the listener, on the socket, on the HTTP framing, in
/// the body, or in what the model says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Answers right, so many times slower.
    Slow {
        /// How many times.
        factor: f64,
    },
    /// Serves so many calls a second and refuses the rest with 429.
    RateLimit {
        /// Calls a second, on the long run.
        per_s: f64,
        /// How many calls may come at once after a pause; one second's when it is not stated.
        #[serde(default)]
        burst: Option<f64>,
        /// The delay that it asks for, in the dialect's own way.
        #[serde(default = "default_limited_for_s")]
        retry_after_s: u32,
    },
    /// Sends status and headers of a good answer, then nothing more.
    HeaderThenSilence,
    /// Stops for ever inside of the answer. An answer that is not streamed stops at half.
    MidStreamStall {
        /// The share of streams that stop only after every score was said.
        #[serde(default = "default_after_scores")]
        after_scores: f64,
    },
    /// Declares the whole length, sends half of the body, closes. A stream lacks its last chunk.
    HalfBody,
    /// Sends half of the body, then resets the connection.
    CutConnection,
    /// Sends half of the body and ends it as if it were whole: only the content is short.
    CleanEofEarly,
    /// A stream that says everything but that it is over; harmless where nothing is streamed.
    NoTerminalMarker,
    /// An error in the dialect's own form, inside of an answer that began with 200.
    ErrorEvent,
    /// An event that is not JSON, inside of a good stream. An answer that is not streamed is garbage.
    GarbageEvent,
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

const fn default_limited_for_s() -> u32 {
    2
}

const fn default_after_scores() -> f64 {
    0.7
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
            Self::Slow { .. } => "slow",
            Self::RateLimit { .. } => "rate_limit",
            Self::HeaderThenSilence => "header_then_silence",
            Self::MidStreamStall { .. } => "mid_stream_stall",
            Self::CutConnection => "cut_connection",
            Self::NoTerminalMarker => "no_terminal_marker",
            Self::ErrorEvent => "error_event",
            Self::GarbageEvent => "garbage_event",
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

    /// How many times slower it makes a call.
    pub(crate) const fn factor(self) -> f64 {
        if let Self::Slow { factor } = self { factor } else { 1.0 }
    }

    /// The rate and the burst that it lets through.
    pub(crate) fn rate(self) -> Option<(f64, f64)> {
        let Self::RateLimit { per_s, burst, .. } = self else { return None };
        Some((per_s, burst.unwrap_or(per_s).max(1.0)))
    }

    /// The delay that it asks for.
    pub(crate) const fn retry_after_s(self) -> Option<u32> {
        if let Self::RateLimit { retry_after_s, .. } = self {
            return Some(retry_after_s);
        }
        if let Self::Status { retry_after_s, .. } = self { retry_after_s } else { None }
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
    use crate::chance::Chance;

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
    fn several_faults_share_the_calls_among_them() {
        let behaviour: Behaviour = serde_json::from_str(
            r#"{"fault":{"status":{"code":529}},"share":0.4,
                "also":[{"fault":"blackhole","share":0.4}],"flap":{"on_ms":5000,"off_ms":5000}}"#,
        )
        .unwrap();
        assert_eq!(behaviour.fault_at(0.39), Fault::status(529));
        assert_eq!(behaviour.fault_at(0.41), Fault::Blackhole);
        assert_eq!(behaviour.fault_at(0.81), Fault::None);
        assert_eq!(behaviour.flap, Some(Flap { on_ms: 5_000, off_ms: 5_000 }));
    }

    #[test]
    fn a_share_of_the_calls_is_hit_and_always_the_same_ones() {
        let behaviour = Behaviour { share: 0.4, ..Behaviour::failing(Fault::Reset) };
        let place = |n: u32| Chance::of(&[&n.to_le_bytes()]).unit("fault");
        let hit = |n: u32| behaviour.fault_at(place(n)) == Fault::Reset;
        let hits = (0..2_000).filter(|&n| hit(n)).count();
        assert!((730..870).contains(&hits), "{hits} of 2000");
        assert!((0..50).all(|n| hit(n) == hit(n)));
    }
}
