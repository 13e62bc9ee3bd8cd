//! From a policy file to a policy that runs: read, check, resolve its files, compile, digest.
//!
//! A file with problems is still built, with stand-ins where a value is broken, so that its
//! templates and lists are tried as well and one reading tells everything; then it is thrown away.

use crate::config::check_file::CheckForm;
use crate::config::files::PolicyFiles;
use crate::config::form::{Field, List, Table, read_file};
use crate::config::policy_file::behind::{BackfillForm, LosersForm, ShadowForm};
use crate::config::policy_file::{
    AlwaysTrue, CriterionForm, CropForm, FileFormat, HedgeForm, KeptImage, OffsetForm, OpinionWhen,
    PolicyFile, RouteForm, SecondOpinionForm, VariableForm, ViewForm, ViewFormat,
};
use crate::config::policy_rules::check_rules;
use crate::config::problem::{Mark, Problem, Report, Spot, hint};
use crate::config::revision::seal;
use crate::config::units::{Name, Number, Prose, Public, Share, Word};
use crate::domain::policy::{
    BackfillSpec, Criterion, Encoding, Fingerprint, HedgeSpec, Input, Keep, KeepImage, LosersSpec,
    Offset, Owner, Region, RouteSpec, SecondOpinion, SecondOpinionWhen, ShadowSpec, Variable,
    ViewSpec,
};
use crate::domain::{CheckSpec, Digest, Policy};
use crate::prompt::{CompileProblem, LoadedPolicy, Part};

/// Reads the policy at `path` of `files`. With `judges`, every judge it names must be one of them
/// (or the built-in `local`).
pub(crate) fn read_policy(
    path: &str,
    files: &PolicyFiles,
    judges: Option<&[String]>,
) -> Result<LoadedPolicy, Vec<Problem>> {
    let mut report = Report::of(files.shown(path));
    let raw: Option<PolicyFile> = match files.get(path) {
        Some(bytes) => read_file(bytes, &mut report),
        None => {
            report.add_whole("there is no such file");
            None
        }
    };
    let Some(raw) = raw else {
        return Err(report.into_found());
    };
    check_rules(&raw, judges, &mut report);
    let built = Resolver { files, report: &mut report }.build(&raw);
    let Some((policy, sources)) = built else {
        return Err(report.into_found());
    };
    match LoadedPolicy::compile(policy) {
        Ok(loaded) if report.is_empty() => return Ok(loaded),
        Ok(_) => {}
        // without the variables nobody can say which names a template may use
        Err(_) if !vars_are_read(&raw) => {}
        Err(problems) => {
            for problem in problems {
                report.push(sources.place(problem, &report));
            }
        }
    }
    Err(report.into_found())
}

/// Whether every variable could be read.
fn vars_are_read(raw: &PolicyFile) -> bool {
    let vars = raw.input.get().and_then(|input| input.vars.get());
    vars.is_some_and(|vars| {
        vars.0.iter().all(|(name, form)| {
            name.get().is_some() && form.get().is_some_and(|form| form.one_of.get().is_some())
        })
    })
}

/// The user prompt of a policy that writes none.
const USER_PROMPT: &str = "\
Images: {% for v in views %}{{ v.id }} ({{ v.width }}x{{ v.height }}){{ ', ' if not loop.last }}\
{% endfor %}.
{%- if flags %}
Measured beforehand: {{ flags | join(', ') }}.
{%- endif %}
Give each question a score from 0 (surely broken) to 1 (nothing to fault):
{%- for c in criteria %}
- {{ c.id }}: {{ c.ask }}
{%- endfor %}
";

/// Where each compiled text came from.
struct Sources {
    system: Source,
    user: Source,
    checks: Vec<Spot>,
    criteria: Vec<Spot>,
    criteria_list: Spot,
}

/// Where one template came from.
struct Source {
    spot: Spot,
    /// The file it was read from, where it is not the policy itself.
    file: Option<String>,
    /// Whether its lines are the lines of its file, from the spot on.
    is_block: bool,
}

impl Sources {
    fn place(&self, problem: CompileProblem, report: &Report) -> Problem {
        let CompileProblem { part, line, column, message } = problem;
        let at = |file: &str, mark: Mark, spot: &Spot| Problem {
            file: file.into(),
            mark: Some(mark),
            key: spot.key.clone(),
            message,
        };
        let whole = match part {
            Part::System | Part::User => None,
            Part::Check(index) => self.checks.get(index),
            Part::Criterion(index) => self.criteria.get(index),
            Part::Criteria => Some(&self.criteria_list),
        };
        if let Some(spot) = whole {
            return at(&report.file, spot.mark, spot);
        }
        let source = if part == Part::System { &self.system } else { &self.user };
        let Mark { line: first, column: indent } = source.spot.mark;
        let (file, mark) = match &source.file {
            Some(file) => (file.as_str(), Mark { line, column }),
            None if source.is_block => {
                (&*report.file, Mark { line: first + line - 1, column: indent + column - 1 })
            }
            None => (&*report.file, source.spot.mark),
        };
        at(file, mark, &source.spot)
    }
}

struct Resolver<'a> {
    files: &'a PolicyFiles,
    report: &'a mut Report,
}

impl Resolver<'_> {
    /// The policy with its files read; `None` where something it cannot be without is missing.
    fn build(&mut self, raw: &PolicyFile) -> Option<(Policy, Sources)> {
        let prompt = raw.prompt.filled();
        let system = prompt.map(|prompt| (&prompt.system.spot, prompt.system.filled()));
        let user = prompt.map(|prompt| (&prompt.user.spot, prompt.user.filled()));
        let user = user.map(|(spot, text)| (spot, text.and_then(Option::as_ref)));
        let (system_prompt, system) = self.template(system, "", &raw.prompt.spot);
        let (user_prompt, user) = self.template(user, USER_PROMPT, &raw.prompt.spot);
        let checks: Vec<_> = raw.checks.filled()?.values().collect();
        let criteria: Vec<_> = raw.criteria.filled().map(|list| list.values().collect())?;
        let sources = Sources {
            system,
            user,
            checks: checks.iter().map(|one| one.head.when.spot.clone()).collect(),
            criteria: criteria.iter().map(|one| one.when.spot.clone()).collect(),
            criteria_list: raw.criteria.spot.clone(),
        };
        let FileFormat = raw.format.or(FileFormat);
        let answer = raw.answer.filled()?;
        let owner = raw.owner.filled()?;
        let mut policy = Policy {
            name: raw.name.filled().map(|name| name.text.clone()).unwrap_or_default(),
            description: text_of(&raw.description).unwrap_or_default(),
            owner: Owner {
                team: text_of(&owner.team),
                on_call: text_of(&owner.on_call),
                runbook: text_of(&owner.runbook),
            },
            mode: *raw.mode.filled()?,
            input: input(raw)?,
            checks: checks.into_iter().filter_map(|one| self.check(one)).collect(),
            criteria: criteria.into_iter().filter_map(criterion).collect(),
            borderline: raw.borderline.filled()?.0,
            system_prompt,
            user_prompt,
            reason_chars: count(answer.reason_chars.filled()?.0),
            max_output_tokens: answer.max_output_tokens.filled()?.0,
            route: route(raw.route.filled()?)?,
            second_opinion: raw.second_opinion.filled()?.as_ref().and_then(second_opinion),
            cost_per_image: raw.cost.filled()?.per_image.filled()?.map(|money| money.0),
            keep: keep(raw)?,
            shadows: raw.shadow.filled()?.values().filter_map(shadow).collect(),
            backfill: raw.backfill.filled()?.as_ref().and_then(backfill),
            losers: raw.losers.filled()?.as_ref().and_then(losers),
            revision: Digest::of(b""),
            judging: Digest::of(b""),
            asked: Digest::of(b""),
        };
        seal(&mut policy);
        Some((policy, sources))
    }

    /// A template's text and where it came from; `file:` and a path reads it from beside the policy.
    fn template<const MOST: usize>(
        &mut self,
        written: Option<(&Spot, Option<&Prose<MOST>>)>,
        default: &str,
        prompt: &Spot,
    ) -> (String, Source) {
        let spot = written.map_or(prompt, |(spot, _)| spot).clone();
        let Some(prose) = written.and_then(|(_, text)| text) else {
            return (default.to_owned(), Source { spot, file: None, is_block: false });
        };
        let Some(path) = prose.text.strip_prefix("file:") else {
            let source = Source { spot, file: None, is_block: prose.is_block };
            return (prose.text.clone(), source);
        };
        let text = self.beside(path.trim(), &spot).unwrap_or_default();
        let file = Some(self.files.shown(path.trim()));
        (text, Source { spot, file, is_block: false })
    }

    /// The text of a file beside the policy.
    fn beside(&mut self, path: &str, spot: &Spot) -> Option<String> {
        let path = path.strip_prefix("./").unwrap_or(path);
        let Some(bytes) = self.files.get(path) else {
            let dir = self.files.dir();
            let hint = if PolicyFiles::is_part(path) {
                hint(path, self.files.paths().filter(|one| !one.ends_with(".yaml")))
            } else {
                "; prompts and lists end in .j2, .jinja, .md or .txt".to_owned()
            };
            self.report.add(spot, format!("there is no file {path:?} in {dir}{hint}"));
            return None;
        };
        let text = std::str::from_utf8(bytes).ok();
        if text.is_none() {
            self.report.add(spot, format!("the file {path:?} is not UTF-8"));
        }
        text.map(str::to_owned)
    }

    fn check(&mut self, form: &CheckForm) -> Option<CheckSpec> {
        let kind = form.body.kind(|path, spot| self.list(path, spot))?;
        Some(CheckSpec {
            id: form.head.id.filled().map(|id| id.text.clone()).unwrap_or_default(),
            kind,
            when: text_of(&form.head.when),
            on_fail: *form.head.on_fail.filled()?,
        })
    }

    /// A list of perceptual hashes: 16 hex digits a line, `#` begins a comment.
    fn list(&mut self, path: &str, spot: &Spot) -> Vec<Fingerprint> {
        let text = self.beside(path, spot).unwrap_or_default();
        let mut list = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let is_hash = entry.len() == 16 && entry.chars().all(|one| one.is_ascii_hexdigit());
            match u64::from_str_radix(entry, 16) {
                Ok(hash) if is_hash => list.push(Fingerprint(hash)),
                Ok(_) | Err(_) => {
                    let shown: String = entry.chars().take(40).collect();
                    self.report.push(Problem {
                        file: self.files.shown(path).into(),
                        mark: Some(Mark { line: index + 1, column: 1 }),
                        key: spot.key.clone(),
                        message: format!("{shown:?} is not a hash of 16 hex digits"),
                    });
                }
            }
        }
        list
    }
}

fn text_of<const MOST: usize>(field: &Field<Option<Prose<MOST>>>) -> Option<String> {
    field.filled().and_then(|text| text.as_ref().map(|text| text.text.clone()))
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn names<const LEAST: usize, const MOST: usize>(
    field: &Field<List<Name<Public>, LEAST, MOST>>,
) -> Vec<String> {
    field.filled().into_iter().flat_map(List::values).map(|name| name.text.clone()).collect()
}

fn input(raw: &PolicyFile) -> Option<Input> {
    let form = raw.input.filled()?;
    let encode = form.encode.filled()?;
    // both say what is so in any case
    let (ViewFormat, AlwaysTrue) = (encode.format.filled()?, encode.strip_metadata.filled()?);
    let variable = |(_, name, form): (&Field<Name<Word>>, &Name<Word>, &VariableForm)| {
        let one_of = form.one_of.filled()?.values().map(|value| value.text.clone()).collect();
        Some((name.text.clone(), Variable { one_of, default: text_of(&form.default) }))
    };
    let whole = || ViewSpec {
        id: "whole".to_owned(),
        around: None,
        region: Region::WHOLE,
        max_side_px: 1024,
    };
    Some(Input {
        accept: form.accept.filled()?.values().copied().collect(),
        max_bytes: form.max_bytes.filled()?.0,
        max_pixels: form.max_pixels.filled()?.0,
        vars: form.vars.filled().into_iter().flat_map(Table::each).filter_map(variable).collect(),
        views: match form.views.filled()? {
            Some(views) => views.values().filter_map(view).collect(),
            None => vec![whole()],
        },
        encode: Encoding {
            quality: u8::try_from(encode.quality.filled()?.0).ok()?,
            flatten_alpha: encode.flatten_alpha.filled()?.0,
        },
    })
}

fn view(form: &ViewForm) -> Option<ViewSpec> {
    let crop = form.crop.filled()?.as_ref();
    Some(ViewSpec {
        id: form.id.filled().map(|id| id.text.clone()).unwrap_or_default(),
        around: crop.and_then(|crop| crop.around.filled().copied().flatten()),
        region: crop.map_or(Region::WHOLE, region),
        max_side_px: form.max_side.filled()?.0,
    })
}

/// What a crop keeps: each share counts from its own edge.
fn region(crop: &CropForm) -> Region {
    let share = |field: &Field<Option<Share>>| field.filled().copied().flatten().map(|one| one.0);
    let (top, height) = kept(share(&crop.top), share(&crop.bottom));
    let (left, width) = kept(share(&crop.left), share(&crop.right));
    Region { left, top, width, height }
}

/// Start and length of what is kept of a side of length 1.
fn kept(from_start: Option<f64>, from_end: Option<f64>) -> (f64, f64) {
    match (from_start, from_end) {
        (Some(share), _) => (0.0, share),
        (None, Some(share)) => (1.0 - share, share),
        (None, None) => (0.0, 1.0),
    }
}

fn criterion(form: &CriterionForm) -> Option<Criterion> {
    let lines = form.pass_at_by_judge.filled().into_iter().flat_map(Table::each);
    Some(Criterion {
        id: form.id.filled().map(|id| id.text.clone()).unwrap_or_default(),
        ask: form.ask.filled().map(|ask| ask.text.trim().to_owned()).unwrap_or_default(),
        pass_at: form.pass_at.or(Number(1.0)).0,
        pass_at_by_judge: lines.map(|(_, name, line)| (name.text.clone(), line.0)).collect(),
        when: text_of(&form.when),
        on_fail: *form.on_fail.filled()?,
        measured_by: form.measured_by.filled()?.values().copied().collect(),
    })
}

fn route(form: &RouteForm) -> Option<RouteSpec> {
    let offsets = form.offset_by_judge.filled().into_iter().flat_map(Table::each);
    Some(RouteSpec {
        judges: names(&form.judges),
        offset_by_judge: offsets
            .filter_map(|(_, name, form)| Some((name.text.clone(), offset(form)?)))
            .collect(),
        deadline: form.deadline.filled()?.0,
        floor: form.floor.filled()?.0,
        keep_back: form.keep_back.filled()?.0,
        max_attempts: form.max_attempts.filled()?.0,
        attempt_cap: form.attempt_cap.filled()?.map(|cap| cap.0),
        hedge: match form.hedge.filled()? {
            HedgeForm::Off => None,
            HedgeForm::On(hedge) => Some(HedgeSpec {
                after_quantile: hedge.after.filled()?.0,
                budget_ratio: hedge.budget.filled()?.0,
            }),
        },
        stream: *form.stream.filled()?,
        on_deadline: *form.on_deadline.filled()?,
        on_no_judge: *form.on_no_judge.filled()?,
    })
}

fn offset(form: &OffsetForm) -> Option<Offset> {
    Some(Offset {
        add: form.add.filled()?.0,
        at_line: form.at_line.filled()?.0,
        fitted: form.fitted.filled().copied().flatten().map(|date| date.0),
        pairs: form.pairs.filled().copied().flatten().map(|pairs| pairs.0),
        against: form.against.filled()?.as_ref().map(|name| name.text.clone()),
        asked: form.asked.filled().copied().flatten().map(|asked| asked.0),
    })
}

fn second_opinion(form: &SecondOpinionForm) -> Option<SecondOpinion> {
    let when = |one: &OpinionWhen| match one {
        OpinionWhen::Borderline => SecondOpinionWhen::Borderline,
        OpinionWhen::Fail => SecondOpinionWhen::Fail,
        OpinionWhen::Sample(share) => SecondOpinionWhen::Sample(*share),
    };
    Some(SecondOpinion {
        when: form.when.filled()?.values().map(when).collect(),
        ask: names(&form.ask),
        combine: *form.combine.filled()?,
        needs: form.needs.filled()?.0,
        split: *form.split.filled()?,
        max_share: form.max_share.filled()?.0,
    })
}

fn shadow(form: &ShadowForm) -> Option<ShadowSpec> {
    Some(ShadowSpec {
        id: form.id.filled()?.text.clone(),
        judge: form.judge.filled()?.text.clone(),
        sample: form.sample.filled()?.0,
        per_day: form.per_day.filled()?.0,
    })
}

fn backfill(form: &BackfillForm) -> Option<BackfillSpec> {
    Some(BackfillSpec { share: form.share.filled()?.0, per_day: form.per_day.filled()?.0 })
}

fn losers(form: &LosersForm) -> Option<LosersSpec> {
    Some(LosersSpec { share: form.share.filled()?.0, per_day: form.per_day.filled()?.0 })
}

fn keep(raw: &PolicyFile) -> Option<Keep> {
    let record = raw.record.filled()?;
    let keep = record.keep.filled()?;
    let image = |one: &KeptImage| match one {
        KeptImage::Pass => KeepImage::Pass,
        KeptImage::Fail => KeepImage::Fail,
        KeptImage::Review => KeepImage::Review,
        KeptImage::Borderline => KeepImage::Borderline,
        KeptImage::Sample(share) => KeepImage::Sample(*share),
    };
    Some(Keep {
        images: record.images.filled()?.values().map(image).collect(),
        verdicts_for: keep.verdicts.filled()?.0,
        images_for: keep.images.filled()?.0,
    })
}
