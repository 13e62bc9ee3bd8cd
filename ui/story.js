// The story: sentences that say what happened, by the answer's own figures. Answer first: state, cause,
// size. Nothing is claimed beyond an interval.
import { html } from '/ui/markup.js';
import { age, count, digest, list, percent, plain, points, span, when } from '/ui/words.js';

// A judge stands in where the usual one's share is this much under what it usually is.
const MISSING = 0.1;
const LEAST_RATED = 10;

// The share of images that is much.
const MUCH = 0.2;

// Images from which causes are told apart.
const ENOUGH = 300;

const sum = values => values.reduce((total, one) => total + one, 0);

// The usual judge and its usual share: the baseline's, or the median bucket's.
function usual(stats) {
  const judges = [...stats.judges].sort(
    (a, b) => (b.usual_share ?? b.served.share ?? 0) - (a.usual_share ?? a.served.share ?? 0),
  );
  const [first] = judges;
  if (!first) return null;
  const { series } = stats;
  const shares = series.rated
    .map((n, at) => (n >= LEAST_RATED ? series.judges[first.judge].served[at] / n : null))
    .filter(one => one !== null)
    .sort((a, b) => a - b);
  return {
    judge: first.judge,
    share: first.usual_share ?? shares[Math.floor(shares.length / 2)] ?? 1,
  };
}

// The latest stretch in which others stood in for the usual judge; null where there was none.
export function departure(stats) {
  const norm = usual(stats);
  if (!norm) return null;
  const { series } = stats;
  const isAway = series.rated.map(
    (n, at) => n >= LEAST_RATED && series.judges[norm.judge].served[at] / n < norm.share - MISSING,
  );
  const last = isAway.lastIndexOf(true);
  if (last < 0) return null;
  let first = last;
  while (first > 0 && (isAway[first - 1] || isAway[first - 2])) first -= 1;
  if (!isAway[first]) first += 1;
  const cut = values => sum(values.slice(first, last + 1));
  const rated = cut(series.rated);
  const others = Object.keys(series.judges).filter(name => name !== norm.judge);
  const stoodIn = others
    .map(name => ({ judge: name, k: cut(series.judges[name].served) }))
    .sort((a, b) => b.k - a.k)[0];
  const failing = series.judges[norm.judge];
  return {
    from: series.start_ms[first],
    to: series.start_ms[last] + stats.bucket_s * 1000,
    judge: norm.judge,
    rated,
    isOver: last < isAway.length - 2,
    to_judge: stoodIn?.judge,
    share: stoodIn ? stoodIn.k / rated : 0,
    failed: cut(failing.failed),
    attempts: cut(failing.attempts),
    undecided: cut(series.on_deadline) + cut(series.on_no_judge),
    n: cut(series.n),
  };
}

// How things stand, as [icon, lead, rest].
export function state(stats, judges, policies) {
  const away = judges.filter(one => one.breaker !== 'closed');
  const moved = departure(stats);
  const idle = policies.filter(one => one.mode !== 'enforce');
  let mood = 'pass',
    lead = 'Serving normally.';
  if (away.length) {
    mood = away.some(one => one.breaker === 'open') ? 'open' : 'half_open';
    lead = `${list(away.map(one => one.name))} ${away.length > 1 ? 'are' : 'is'} ${away.some(one => one.breaker === 'open') ? 'left alone' : 'being tried again'}; the others serve.`;
  } else if (moved && !moved.isOver) {
    mood = 'drift';
    lead = `${moved.to_judge} stands in for ${moved.judge} since ${when(moved.from)}.`;
  } else if (moved) {
    lead = `Serving normally since ${when(moved.to)}.`;
  }
  const rest = moved ? tell(moved) : quiet(stats);
  if (idle.length)
    rest.push(
      `${list(idle.map(one => one.name))} ${idle.length > 1 ? 'are' : 'is'} in mode ${idle[0].mode}.`,
    );
  return { mood, lead, rest: rest.join(' '), moved };
}

function tell(moved) {
  const failing =
    moved.attempts && moved.failed / moved.attempts > 0.02
      ? `${moved.judge} failed on ${percent(moved.failed / moved.attempts, 0)} of ${count(moved.attempts)} calls`
      : `${moved.judge} served fewer images than usual`;
  const missed = moved.undecided
    ? `${count(moved.undecided)} of ${count(moved.n)} got no judge in time`
    : 'every image got a judge in time';
  return [
    `Between ${span(moved.from, moved.to)} ${failing}; ${percent(moved.share, 0)} of images went to ${moved.to_judge} and ${missed}.`,
  ];
}

function quiet(stats) {
  const { total } = stats;
  const missed = total.by_basis.deadline + total.by_basis.no_judge;
  return [
    missed
      ? `${count(missed)} of ${count(total.n)} verdicts had no judge in time.`
      : `Every one of ${count(total.n)} images was answered in time.`,
  ];
}

const isPart = (own, total) =>
  Math.sign(own) === Math.sign(total) && Math.abs(own) <= Math.abs(total) + 5e-4;

// Points without a sign, where a word says which way: "2.8".
const bare = ratio => plain(Math.abs(ratio) * 100);

// "2.8 of 3.1 points are", "Of 3.1 points fewer, 2.8 are" where the rate fell, or both with signs
// where one is no part of the other.
function ofTotal(own, total) {
  if (!isPart(own, total)) return `${points(own)} points, of a change of ${points(total)}, are`;
  return total < 0
    ? `Of ${bare(total)} points fewer, ${bare(own)} are`
    : `${bare(own)} of ${bare(total)} points are`;
}

// The images by which way they moved the rate: fewer rejects are as much of a drift as more.
function images(effect) {
  if (effect > 0) return 'harder images';
  return effect < 0 ? 'easier images' : 'other images';
}

const CAUSES = {
  routing: 'routing',
  policy: 'the policy',
  within: 'the judges themselves',
};

// The name of a cause that moved the rate by `effect`, as words.
const causeOf = ({ cause, effect }) => (cause === 'input' ? images(effect) : CAUSES[cause]);

// The name of a drift label as words, of a change by `effect`.
export function label(text, effect) {
  if (text.startsWith('provider_drift:')) return `${text.split(':')[1]} itself`;
  if (text === 'input_drift') return images(effect);
  return (
    {
      none: 'nothing moved',
      routing: 'routing',
      policy_change: 'the policy',
      mixed_drift: 'several causes',
      unattributed: 'not told apart yet',
      unknown: 'too few images',
    }[text] ?? text.replaceAll('_', ' ')
  );
}

const part = (drift, cause) => drift.change?.parts.find(one => one.cause === cause);

// How far the rate moved, with what routing is worth of it where that is the label.
export function size(drift) {
  const total = drift.change.total.effect;
  const moved = `The rate of first judgements that would not pass moved by ${points(total)} points`;
  if (drift.label !== 'routing') return `${moved}.`;
  const own = part(drift, 'routing').effect;
  return isPart(own, total)
    ? `${moved}, ${points(own)} of them routing.`
    : `${moved}; routing alone is worth ${points(own)}.`;
}

// What of a good part of the images is not known from the time they are compared with, as a sentence: their
// judges judged none then, or none under these lines and instructions. Null where nothing is.
export function unseen(drift) {
  if (!drift.change) return null;
  const isNew = one => one.share_before.count === 0 && one.share_after.count > 0;
  const fresh = drift.judges.filter(isNew);
  const share = sum(fresh.map(one => one.share_after.share ?? 0));
  const names = list(fresh.map(one => one.judge));
  const told = [];
  if (share > MUCH)
    told.push(
      `${percent(share, 0)} of the images went to ${names}, which judged none in the time they are compared with.`,
    );
  // the rest is of judges that are known
  const otherwise = drift.change.unseen_share - share;
  if (otherwise > MUCH)
    told.push(
      `${percent(otherwise, 0)} of the images were judged as none was in the time they are compared with: under other lines or instructions, by a hedge, or at another risk.`,
    );
  return told.join(' ') || null;
}

// Who gained the most images between the two windows.
export function gainer(drift) {
  const gain = one => (one.share_after.share ?? 0) - (one.share_before.share ?? 0);
  return [...drift.judges].sort((a, b) => gain(b) - gain(a))[0] ?? null;
}

// The answer of *Why* in one sentence: {lead, rest}.
export function answer(drift, window) {
  const told = span(window.from, window.to);
  const total = drift.change?.total;
  if (!total)
    return {
      lead: 'Too few images to tell:',
      rest: `${count(drift.after.first_reject.n)} were rated between ${told}; it takes 30.`,
    };
  const n = drift.after.first_reject.n;
  if (n < ENOUGH) {
    const mix = drift.expected
      ? `; who judged them is worth ${points(drift.expected.effect)} points`
      : '';
    return {
      lead: 'Too few images to tell causes apart:',
      rest: `${count(n)} were rated between ${told}, it takes ${ENOUGH}${mix}.`,
    };
  }
  if (drift.label === 'routing') {
    const to = gainer(drift);
    return {
      lead: `${ofTotal(part(drift, 'routing').effect, total.effect)} routing:`,
      rest: `${percent(to.share_after.share, 0)} of images went to ${to.judge} between ${told}.`,
    };
  }
  if (drift.label.startsWith('provider_drift:')) {
    const name = drift.label.split(':')[1];
    const own = drift.judges.find(one => one.judge === name);
    const moved = own?.moved?.effect ?? part(drift, 'within').effect;
    const difference = `${bare(moved)} points ${moved < 0 ? 'fewer' : 'more'}`;
    return {
      lead: `${name} itself changed:`,
      rest: `it rejects ${difference} than it did; the others do not.`,
    };
  }
  if (drift.label === 'input_drift') {
    const [input, within] = ['input', 'within'].map(cause => part(drift, cause).effect);
    const moved = Math.abs(within) > Math.abs(input) ? within : input;
    return {
      lead: `The images got ${moved < 0 ? 'easier' : 'harder'}:`,
      rest: `every judge rejects ${moved < 0 ? 'fewer' : 'more'}, ${bare(moved)} points in all.`,
    };
  }
  if (drift.label === 'policy_change')
    return {
      lead: 'The policy moved it:',
      rest: `a revision is worth ${points(part(drift, 'policy').effect)} points.`,
    };
  if (drift.label === 'mixed_drift') {
    const by = [...drift.change.parts]
      .sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect))
      .slice(0, 2);
    return {
      lead: `${points(total.effect)} points, from more than one cause:`,
      rest: `${list(by.map(one => `${causeOf(one)} ${points(one.effect)}`))}.`,
    };
  }
  if (drift.label === 'none' || (total.low <= 0 && total.high >= 0))
    return {
      lead: 'Nothing measurably moved:',
      rest: `${points(total.effect)} points between ${told}, and the interval spans zero.`,
    };
  return {
    lead: `${points(total.effect)} points, and the causes cannot be told apart yet.`,
    rest:
      drift.label === 'unattributed'
        ? 'Images judged by two judges would tell.'
        : drift.sentence.replace(/ UTC/g, ' (UTC)'),
  };
}

// What stands under the answer: whether a judge itself changed, and what stays.
export function verdictOnJudges(drift) {
  const within = part(drift, 'within');
  if (!within) return null;
  const range = `${points(within.low)} to ${points(within.high)}`;
  if (within.low > 0 || within.high < 0)
    return {
      lead: 'The judges themselves moved',
      rest: ` by ${points(within.effect)} points on their own images`,
      range,
    };
  if (within.low < -0.02 || within.high > 0.02)
    return {
      lead: 'Whether a judge itself changed, too few images tell:',
      rest: ` on their own images all moved ${points(within.effect)}`,
      range,
    };
  const blame =
    drift.label === 'routing'
      ? 'No judge is to blame, none measurably changed:'
      : 'No judge measurably changed:';
  return { lead: blame, rest: ` on their own images all moved ${points(within.effect)}`, range };
}

// The points that stand first in "−6.1 points (−9.5 to −1.5)", as they read.
const effectIn = text => Number.parseFloat(text.replace('\u2212', '-'));

// One mark as an event: {icon, words}.
export function event(mark) {
  const at = Date.parse(mark.at),
    until = mark.until ? Date.parse(mark.until) : null;
  if (mark.kind === 'breaker') {
    return {
      icon: until ? 'closed' : 'open',
      words: until
        ? html`${mark.judge} was left alone for ${age(until - at)}`
        : html`<b>${mark.judge}</b> is left alone since ${when(at)}`,
    };
  }
  if (mark.kind === 'revision')
    return {
      icon: 'policy',
      words: html`${mark.policy} <code>${digest(mark.detail?.revision ?? mark.text.replace('revision ', ''))}</code> in force`,
    };
  if (mark.kind === 'acknowledged')
    return {
      icon: 'person',
      words: html`${mark.text}${mark.detail?.note ? html` <span class="q">${mark.detail.note}</span>` : ''}`,
    };
  if (mark.kind === 'drill') return { icon: 'drill', words: html`${mark.judge}: ${mark.text}` };
  if (mark.detail?.label === 'policy_annotation') return { icon: 'policy', words: mark.text };
  const [head, ...rest] = mark.text.replace(/ since .*$/, '').split(': ');
  return {
    icon: 'drift',
    words: html`<b>${label(mark.detail?.label ?? head, effectIn(rest.join(': ')))}</b>${mark.detail?.severity ? `, ${mark.detail.severity}` : ''}${rest.length ? `: ${rest.join(': ')}` : ''}`,
  };
}
