// Score histograms: criteria down, judges across, with the line each judge is held to. Height is the square
// root, so that the few failures show beside the many passes.
import { linear, px } from '/ui/chart/scale.js';
import { box, line, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { colour } from '/ui/palette.js';
import { count } from '/ui/words.js';

const LEFT = 104;
const GAP = 18;
const ROW = 102;
const HEAD = 24;
const FEW_SCORES = 200;

export const HISTOGRAM_HEIGHT = criteria => HEAD + criteria * ROW + 4;

// `scores`: of /v1/drift; `judges`, `criteria`: in which order.
export function histograms({ scores, judges, criteria }) {
  return width => {
    const wide = (width - LEFT - (judges.length - 1) * GAP) / judges.length;
    const at = place => LEFT + place * (wide + GAP);
    const heads = judges.map(
      (name, place) =>
        html`${box(at(place), 2, 9, 9, colour(name), 2)}${text(at(place) + 15, 11, name, 'i')}`,
    );
    const rows = criteria.map((criterion, row) => {
      const foot = HEAD + row * ROW + 78;
      const own = judges.map((name, place) => {
        const of = scores.find(one => one.judge === name && one.criterion === criterion);
        return of ? one(of, at(place), wide, foot, row === criteria.length - 1) : '';
      });
      return html`${text(0, foot - 34, criterion, 'k')}${own}`;
    });
    return html`${heads}${rows}`;
  };
}

function one(of, left, wide, foot, isLast) {
  const x = linear(0, 1, left, left + wide);
  const high = Math.max(1, ...of.bins);
  const isThin = of.n < FEW_SCORES;
  const bars = of.bins.map((n, bin) => {
    const height = Math.sqrt(n / high) * 64;
    const isUnder = (bin + 0.5) / of.bins.length < of.pass_at;
    return n
      ? html`<rect x="${px(left + (bin * wide) / of.bins.length + 0.5)}" y="${px(foot - height)}" width="${px(wide / of.bins.length - 1)}" height="${px(height)}" fill="${isThin ? 'var(--edge)' : colour(of.judge)}" opacity="${isUnder ? 1 : 0.55}"/>`
      : '';
  });
  const axis = isLast
    ? [0, 0.5, 1].map(v =>
        text(x(v), foot + 16, v, 'q', v === 0 ? 'start' : v === 1 ? 'end' : 'middle'),
      )
    : '';
  return html`${box(left, foot - 68, of.pass_at * wide, 68, 'var(--fail-wash)')}${bars}${line(left, foot, left + wide, foot, 'var(--line-2)')}${line(
    x(of.pass_at),
    foot - 72,
    x(of.pass_at),
    foot + 4,
    'var(--ink)',
    1.5,
  )}${text(x(of.pass_at) - 4, foot - 60, of.pass_at.toFixed(2), 'k', 'end')}${text(
    left + 3,
    foot - 60,
    `n ${count(of.n)}`,
    'i',
  )}${axis}`;
}
