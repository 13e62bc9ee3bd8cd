// Who judged, and what was rejected: marks, a ribbon of each judge's share, and the reject rate by judge,
// on one axis of time. The exception is loud and the norm is quiet: the usual judge is pale.
import {
  area,
  clamp,
  linear,
  px,
  roof,
  steps,
  through,
  ticks,
  timeTicks,
} from '/ui/chart/scale.js';
import { box, fill, line, stroke, text } from '/ui/chart/svg.js';
import { icon } from '/ui/icons.js';
import { html } from '/ui/markup.js';
import { colour, sorted } from '/ui/palette.js';
import { FEW, between, clock, count, percent, wilson } from '/ui/words.js';

export const LEFT = 84;
export const RIGHT = 128;
export const HEIGHT = 432;
const ROWS = [
  ['revision', 'policy'],
  ['breaker', 'breaker'],
  ['drill', 'drill'],
  ['drift', 'drift'],
];
const ROW = 17;
const RIBBON = [80, 96];
const RATE = [198, 180];
const AXIS = RATE[0] + RATE[1];

const sum = list => list.reduce((total, one) => total + one, 0);

// Buckets of the series put together so that about `wanted` remain: [{from, to, n, k, p, low, high}].
export function pooled(starts, bucketMs, n, k, wanted) {
  const by = Math.max(1, Math.ceil(starts.length / wanted));
  const found = [];
  for (let at = 0; at < starts.length; at += by) {
    const many = sum(n.slice(at, at + by)),
      few = sum(k.slice(at, at + by));
    const [low, high] = wilson(few, many);
    const end = Math.min(at + by, starts.length) - 1;
    found.push({
      from: starts[at],
      to: starts[end] + bucketMs,
      n: many,
      k: few,
      p: many ? few / many : null,
      low,
      high,
    });
  }
  return found;
}

// Neighbours put together until each has `least` images: a point of a line must say something.
export function gathered(runs, least) {
  const found = [];
  let open = null;
  for (const run of runs) {
    if (!open && !run.n) continue;
    open = open
      ? { ...open, to: run.n ? run.to : open.to, n: open.n + run.n, k: open.k + run.k }
      : { ...run };
    if (open.n >= least) {
      found.push(open);
      open = null;
    }
  }
  if (open && found.length) {
    const last = found.pop();
    found.push({ ...last, to: open.to, n: last.n + open.n, k: last.k + open.k });
  } else if (open) found.push(open);
  return found.map(run => {
    const [low, high] = wilson(run.k, run.n);
    return { ...run, p: run.k / run.n, low, high };
  });
}

// The judge who serves most is the norm.
function usualJudge(stats) {
  const judges = [...stats.judges].sort(
    (a, b) => (b.usual_share ?? b.served.share ?? 0) - (a.usual_share ?? a.served.share ?? 0),
  );
  return judges[0]?.judge ?? null;
}

// Spans in which a judge pools enough images to be drawn: as wide as the time it takes to see `least`.
export function dashes(starts, bucketMs, n, k, least) {
  const found = [];
  let open = null;
  starts.forEach((start, at) => {
    open ??= { from: start, n: 0, k: 0 };
    open.n += n[at];
    open.k += k[at];
    open.to = start + bucketMs;
    if (open.n >= least) {
      found.push(open);
      open = null;
    }
  });
  if (open && open.n) found.push(open);
  return found;
}

function marksOf(stats, x, right) {
  const parts = ROWS.map(
    ([, name], at) =>
      html`${text(0, 14 + at * ROW, name, 'q')}${line(LEFT, 10 + at * ROW, right, 10 + at * ROW)}`,
  );
  const last = [0, 0, 0, 0];
  for (const mark of [...stats.marks].reverse()) {
    const isWord = mark.kind === 'acknowledged';
    const row = ROWS.findIndex(([kind]) => kind === (isWord ? 'drift' : mark.kind));
    if (row < 0) continue;
    const y = 10 + row * ROW;
    const at = x(Date.parse(mark.at));
    const isSpan = mark.kind === 'breaker' || mark.kind === 'drift' || mark.until;
    const ends = mark.until ? x(Date.parse(mark.until)) : mark.kind === 'breaker' ? right : at + 6;
    const from = clamp(at, LEFT, right),
      to = clamp(Math.max(ends, from + 4), LEFT, right);
    const words =
      mark.kind === 'breaker'
        ? mark.judge
        : mark.text.replace(/ since .*$/, '').replace(/^revision /, '');
    if (isSpan && mark.kind !== 'drill')
      parts.push(
        box(from, y - 3, to - from, 6, mark.kind === 'drift' ? 'var(--warn)' : 'var(--ink)'),
      );
    else
      parts.push(
        html`<g transform="translate(${px(at - 6)} ${px(y - 6)})" color="var(--ink)"><rect width="13" height="12" fill="var(--bg)"/><svg width="12" height="12" viewBox="0 0 16 16">${icon(isWord ? 'person' : mark.kind === 'revision' ? 'policy' : 'drill')}</svg></g>`,
      );
    const start = (isSpan && mark.kind !== 'drill' ? to : at + 6) + 5;
    const long = words.length * 6;
    if (start > last[row] && start + long < right + RIGHT - 8) {
      parts.push(text(start, y + 4, words, `${mark.kind === 'drift' ? 'k' : ''} halo`));
      last[row] = start + long;
    }
  }
  return parts;
}

function ribbon(stats, buckets, x, right, usual) {
  const { series } = stats;
  const y = linear(0, 1, RIBBON[0] + RIBBON[1], RIBBON[0]);
  const names = sorted(Object.keys(series.judges)).filter(name => name !== usual);
  const volume = name => sum(series.judges[name].served);
  const order = [usual, ...names.sort((a, b) => volume(a) - volume(b))].filter(Boolean);
  const runs = Object.fromEntries(
    order.map(name => [
      name,
      pooled(series.start_ms, buckets.ms, series.rated, series.judges[name].served, buckets.ribbon),
    ]),
  );
  let base = runs[order[0]]?.map(() => 0) ?? [];
  const parts = [text(0, RIBBON[0] + 10, 'share of', 'q'), text(0, RIBBON[0] + 24, 'images', 'q')];
  for (const name of order) {
    const bottom = base;
    base = bottom.map((one, at) => one + (runs[name][at].p ?? 0));
    for (const [from, to] of stretches(runs[name])) {
      const cut = (list, pick) =>
        runs[name]
          .slice(from, to)
          .map((run, at) => [x(run.from), x(run.to), y(pick(list, from + at))]);
      const top = steps(cut(base, (list, at) => list[at])),
        low = steps(cut(bottom, (list, at) => list[at]));
      parts.push(fill(area(top, low), colour(name), name === usual ? 0.26 : 1));
    }
    parts.push(loudest(runs[name], base, name, usual, x, y));
  }
  parts.push(
    [0, 0.5, 1].map(v => text(LEFT - 8, y(v) + (v === 1 ? 9 : v ? 4 : 0), v * 100, 'q', 'end')),
  );
  const first = stats.judges.find(one => one.judge === usual);
  if (first)
    // at the foot, where it is its own area that it stands on unless it judged next to nothing
    parts.push(text(LEFT + 10, y(0) - 8, `${usual} ${percent(first.served.share ?? 0)}`, 'i'));
  const second = order.at(-1);
  if (second && second !== usual)
    parts.push(
      text(right + 10, RIBBON[0] + 9, second, 'i'),
      line(right + 2, RIBBON[0] + 2, right + 7, RIBBON[0] + 5, colour(second), 1.5),
    );
  return parts;
}

// Runs of buckets that have any image: [from, to) places.
function stretches(runs) {
  const found = [];
  runs.forEach((run, at) => {
    if (!run.n) return;
    if (found.at(-1)?.[1] === at) found.at(-1)[1] = at + 1;
    else found.push([at, at + 1]);
  });
  return found;
}

// The share of a judge where it took over, printed on its area.
function loudest(runs, tops, name, usual, x, y) {
  if (name === usual) return '';
  const loud = runs.map((run, at) => ({ ...run, at })).filter(run => (run.p ?? 0) > 0.15);
  const groups = [];
  for (const run of loud) {
    if (groups.at(-1)?.at(-1).at === run.at - 1) groups.at(-1).push(run);
    else groups.push([run]);
  }
  return groups.map(group => {
    const wide = x(group.at(-1).to) - x(group[0].from);
    const n = sum(group.map(run => run.n)),
      k = sum(group.map(run => run.k));
    const middle = group[Math.floor(group.length / 2)];
    const centre = tops[middle.at] - middle.p / 2;
    return wide > 34
      ? text(x(group[0].from) + wide / 2, y(centre) + 4, percent(k / n, 0), 'on-judge', 'middle')
      : '';
  });
}

function rates(stats, buckets, x, right, usual, high) {
  const { series } = stats;
  const y = value => clamp(linear(0, high, AXIS, RATE[0])(value), RATE[0], AXIS);
  const parts = [text(0, RATE[0] + 10, 'rejected,', 'q'), text(0, RATE[0] + 24, '% of n', 'q')];
  for (const v of ticks(0, high, 4))
    parts.push(
      line(LEFT, y(v), right, y(v)),
      text(LEFT - 8, y(v) + 4, Math.round(v * 1000) / 10, 'q', 'end'),
    );
  const served = gathered(
    pooled(series.start_ms, buckets.ms, series.rated, series.rejected, buckets.rate),
    FEW,
  );
  const middle = one => x((one.from + one.to) / 2);
  if (served.length)
    parts.push(
      fill(
        area(
          served.map(one => [middle(one), y(one.high)]),
          served.map(one => [middle(one), y(one.low)]),
        ),
        'var(--haze)',
      ),
    );
  const labels = [];
  for (const name of sorted(Object.keys(series.judges))) {
    const of = series.judges[name];
    if (name === usual) {
      const own = gathered(
        pooled(series.start_ms, buckets.ms, of.served, of.rejected, buckets.rate),
        FEW,
      ).filter(one => one.n >= FEW);
      if (!own.length) continue;
      parts.push(stroke(through(own.map(one => [middle(one), y(one.p)])), colour(name), 1.6));
      labels.push({ y: y(own.at(-1).p), words: name, kind: 'i', colour: colour(name) });
      continue;
    }
    const spans = dashes(series.start_ms, buckets.ms, of.served, of.rejected, buckets.least);
    if (!spans.length) continue;
    parts.push(pools(name, spans, x, y));
    const end = spans.at(-1);
    labels.push({
      y: y(end.k / end.n),
      words: end.n < FEW ? `${name}, n ${end.n}` : name,
      kind: end.n < FEW ? 'q' : 'i',
      colour: end.n < FEW ? 'var(--edge)' : colour(name),
    });
  }
  if (served.length) {
    parts.push(stroke(through(served.map(one => [middle(one), y(one.p)])), 'var(--ink)', 2));
    labels.push({ y: y(served.at(-1).p), words: 'served', kind: 'k', colour: 'var(--ink)' });
  }
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((one, at) => {
    const above = labels[at - 1];
    one.at = above && one.y - above.at < 15 ? above.at + 15 : one.y;
    one.at = Math.min(one.at, AXIS - 15 * (labels.length - 1 - at));
    parts.push(
      line(right + 1, one.y, right + 7, one.at, one.colour),
      text(right + 10, one.at + 4, one.words, one.kind),
    );
  });
  return parts;
}

// One dash for each span: its colour from thirty images on, before that grey and broken.
function pools(name, spans, x, y) {
  return spans.map(span => {
    const isThin = span.n < FEW,
      at = y(span.k / span.n);
    return html`<g><title>${name}: ${span.k} of ${count(span.n)}, ${between(span.from, span.to)}</title>${line(
      x(span.from) + 1,
      at,
      Math.max(x(span.to) - 1, x(span.from) + 3),
      at,
      isThin ? 'var(--edge)' : colour(name),
      isThin ? 1.5 : 2.2,
      isThin ? '3 3' : '',
    )}</g>`;
  });
}

// The chart's body. `stats`: an answer of /v1/stats; `chosen`: [from, to] or null; `href`: of the tab.
export function routing({ stats, from, to, chosen, href }) {
  return width => {
    const right = width - RIGHT;
    const x = linear(from, to, LEFT, right);
    const { series } = stats;
    const ms = stats.bucket_s * 1000;
    const usual = usualJudge(stats);
    const wide = Math.max(20, Math.floor((right - LEFT) / 12));
    // a point of the served line pools so many buckets that it says something
    const rate = clamp(Math.floor(stats.total.rated / 300), 12, wide);
    const buckets = { ms, ribbon: Math.floor((right - LEFT) / 4), rate, least: 120 };
    const served = gathered(pooled(series.start_ms, ms, series.rated, series.rejected, rate), FEW);
    const tops = served.filter(one => one.n >= FEW).map(one => one.p);
    const judges = stats.judges
      .filter(one => one.reject.n >= FEW)
      .map(one => one.reject.share ?? 0);
    const high = Math.min(1, roof(Math.max(0.03, ...tops, ...judges) * 1.1));
    const parts = [];
    if (chosen)
      parts.push(box(x(chosen[0]), 2, x(chosen[1]) - x(chosen[0]), AXIS - 2, 'var(--mark)'));
    parts.push(
      ribbon(stats, buckets, x, right, usual),
      rates(stats, buckets, x, right, usual, high),
      marksOf(stats, x, right),
    );
    for (const tick of timeTicks(from, to, (right - LEFT) / 84)) {
      parts.push(
        line(x(tick.at), AXIS, x(tick.at), AXIS + 5, 'var(--line-2)'),
        text(x(tick.at), AXIS + 18, tick.text, '', 'middle'),
      );
    }
    if (chosen) parts.push(tab(chosen, x, right, href));
    return html`${parts}<g data-cross></g>`;
  };
}

// The black tab under the axis: what to ask of the chosen window.
function tab([from, to], x, right, href) {
  const words = `Why ${clock(from)} – ${clock(to)}?`;
  const half = words.length * 3.5 + 8;
  const centre = clamp((x(from) + x(to)) / 2, LEFT + half - 20, right - half + 20);
  return html`<path d="M${px(x(from))} ${AXIS + 1}v25H${px(x(to))}v-25" fill="none" stroke="var(--edge)"/><a href="${href}" data-key="ask" aria-label="${words}">${box(
    centre - half,
    AXIS + 26,
    2 * half,
    22,
    'var(--select)',
    4,
  )}<text x="${px(centre)}" y="${AXIS + 41}" text-anchor="middle" class="tab">${words}</text></a>`;
}
