//! Parameters are the query of a request, taken out one by one: what is left at the end is a
//! parameter that the route does not know, and a typing error must not widen a search.

use axum::extract::Query;
use axum::http::Uri;

use crate::http::problem::{Problem, ProblemKind, pointer};

/// Most parameters of one request.
const MAX_PARAMETERS: usize = 64;

/// Similarity, 0..1, from which a known word is offered for an unknown one.
const NEAR: f64 = 0.7;

/// The parameters that nobody has taken yet, each name at most once.
#[derive(Clone, Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of `uri`.
    ///
    /// # Errors
    /// `bad_request` for a query that cannot be read, too many parameters, or one given twice.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|why| Problem::new(ProblemKind::BadRequest, why.body_text()))?;
        if MAX_PARAMETERS < pairs.len() {
            let detail =
                format!("the query has {} parameters, the limit is {MAX_PARAMETERS}", pairs.len());
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        let mut names: Vec<_> = pairs.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let twice = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next);
        match twice {
            Some((name, _)) => Err(Problem::bad_field(&pointer(&[name]), "is given twice")),
            None => Ok(Self(pairs)),
        }
    }

    /// Takes the value of `name`.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(one, _)| one == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes every parameter whose name begins with `prefix`; the names come without it.
    pub fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (taken, left) =
            std::mem::take(&mut self.0).into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.0 = left;
        let strip = |(name, value): (String, String)| {
            (name.strip_prefix(prefix).unwrap_or_default().to_owned(), value)
        };
        Vec::into_iter(taken).map(strip).collect()
    }

    /// Makes sure that nothing is left; `known` are the names the route takes, for the advice.
    ///
    /// # Errors
    /// `bad_request` that names every unknown parameter and the known one it resembles.
    pub fn finish(self, known: &[&str]) -> Result<(), Problem> {
        let mut left = self.0.iter().map(|(name, _)| name.as_str());
        let Some(first) = left.next() else {
            return Ok(());
        };
        let advice = |name: &str| match nearest(name, known) {
            Some(near) => format!("unknown parameter {name:?}, did you mean {near:?}?"),
            None => format!("unknown parameter {name:?}, known are {}", known.join(", ")),
        };
        let problem = Problem::new(ProblemKind::BadRequest, advice(first));
        let problem = problem.at(pointer(&[first]), advice(first));
        Err(left.fold(problem, |problem, name| problem.at(pointer(&[name]), advice(name))))
    }
}

/// The known word that `word` is most like, where it is like one at all.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |one: &&str| strsim::normalized_damerau_levenshtein(word, one);
    let best = known.iter().copied().map(|one| (likeness(&one), one));
    let (score, one) = best.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (NEAR <= score).then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Result<Parameters, Problem> {
        Parameters::of(&format!("/v1/verdicts?{query}").parse().unwrap())
    }

    #[test]
    fn a_typing_error_is_named_with_the_word_it_resembles() {
        let mut left = parameters("polcy=a&verdict=fail").unwrap();
        assert_eq!(left.take("verdict").as_deref(), Some("fail"));
        let refused = left.finish(&["policy", "verdict"]).unwrap_err();
        assert_eq!(refused.detail, "unknown parameter \"polcy\", did you mean \"policy\"?");
        assert_eq!(refused.errors.first().unwrap().pointer, "/polcy");
    }

    #[test]
    fn a_word_like_nothing_known_gets_the_list() {
        let refused = parameters("zebra=1").unwrap().finish(&["policy", "team"]).unwrap_err();
        assert_eq!(refused.detail, "unknown parameter \"zebra\", known are policy, team");
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let refused = parameters("policy=a&x=1&policy=b").unwrap_err();
        assert_eq!(refused.detail, "/policy: is given twice");
    }

    #[test]
    fn values_are_percent_decoded_and_prefixes_stripped() {
        let mut left = parameters("vars.a=b%20c&vars.d=e+f&on=strict").unwrap();
        let mut vars = left.take_prefixed("vars.");
        vars.sort();
        let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
        assert_eq!(vars, [pair("a", "b c"), pair("d", "e f")]);
        assert_eq!(left.take("on").as_deref(), Some("strict"));
        assert!(left.finish(&[]).is_ok());
    }

    #[test]
    fn more_parameters_than_anybody_needs_are_refused() {
        let query: Vec<_> = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect();
        let refused = parameters(&query.join("&")).unwrap_err();
        assert_eq!(refused.detail, "the query has 65 parameters, the limit is 64");
    }
}
