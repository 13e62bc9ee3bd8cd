// The reading: an answer of /v1/drift as the rows of its charts.
import { colour, sorted } from '/ui/palette.js';
import * as story from '/ui/story.js';
import { between, count, percent } from '/ui/words.js';

const NOTES = {
  input: part =>
    Math.abs(part.effect) < 5e-4
      ? 'images as hard as usual'
      : part.effect > 0
        ? 'images harder than usual'
        : 'images easier than usual',
  policy: part =>
    part.low === part.high ? 'one judging throughout' : 'revisions between the windows',
  within: () => 'judges on their own images',
};

// The waterfall: the rate before, the parts between, the rate of `window_` ({from, to}).
export function fallRows(drift, window_) {
  const to = story.gainer(drift);
  const routingNote =
    to && to.share_before.share !== null
      ? `${to.judge} ${percent(to.share_before.share)} → ${percent(to.share_after.share)} of images`
      : 'who judged';
  const parts = drift.change.parts.map(part => ({
    ...part,
    name: part.cause,
    note: part.cause === 'routing' ? routingNote : NOTES[part.cause](part),
    colour: isLeading(drift, part)
      ? part.cause === 'routing' && to
        ? colour(to.judge)
        : 'var(--warn)'
      : undefined,
  }));
  return [
    {
      name: drift.before.baseline ? 'usual' : 'before',
      note: drift.before.baseline
        ? 'frozen baseline'
        : between(Date.parse(drift.before.since), Date.parse(drift.before.until)),
      total: drift.before.first_reject.share,
      n: `n ${count(drift.before.frozen ?? drift.before.first_reject.n)}`,
    },
    ...parts,
    {
      name: 'window',
      note: between(window_.from, window_.to),
      total: drift.after.first_reject.share,
      n: `n ${count(drift.after.first_reject.n)}`,
    },
  ];
}

// The part that the change is mostly made of, when its interval leaves zero out: the only one in colour.
function isLeading(drift, part) {
  const top = Math.max(...drift.change.parts.map(one => Math.abs(one.effect)));
  return drift.label !== 'none' && Math.abs(part.effect) === top && (part.low > 0 || part.high < 0);
}

// What the mix of judges alone would have moved, what moved, and what that leaves.
export function effectRows(drift) {
  const to = story.gainer(drift);
  const tone = drift.label === 'routing' && to ? colour(to.judge) : undefined;
  return [
    drift.expected && {
      name: 'expected',
      note: 'from the mix alone',
      ...drift.expected,
      colour: tone,
    },
    { name: 'observed', note: 'the whole change', ...drift.change.total },
    drift.left_over && { name: 'left over', note: 'what the mix leaves', ...drift.left_over },
  ].filter(Boolean);
}

const DETECTORS = { share: 'routing share', input: 'input' };

// Evidence: one row for each detector, the judges in their order.
export function evidenceRows(evidence) {
  const rows = evidence.map(one => ({
    name: one.judge ?? DETECTORS[one.detector] ?? one.detector,
    judge: one.judge,
    tone: one.judge ? colour(one.judge) : 'var(--ink-2)',
    points: one.start_ms
      .map((start, at) => [start, one.ratio[at]])
      .filter(([, ratio]) => ratio !== null),
    peak: Math.max(0, ...one.ratio.filter(ratio => ratio !== null)),
  }));
  const order = ['routing share', 'input', ...sorted(rows.map(row => row.judge).filter(Boolean))];
  return rows.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
}
