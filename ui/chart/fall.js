// The waterfall, lying down: words left, bars on one scale, numbers right. It begins at the usual rate and
// ends at the window's, and the parts between add up exactly.
import { linear, px, ticks } from '/ui/chart/scale.js';
import { box, line, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { percent, points, pointsRange } from '/ui/words.js';

const ROW = 52;
const NARROW = 640;

// `rows`: {name, note, total} for the ends (a ratio, with `n`), {name, note, effect, low, high, colour} between.
export function fall(rows) {
  return width => {
    const isNarrow = width < NARROW;
    const left = isNarrow ? 104 : 270,
      right = width - 128;
    let at = rows[0].total;
    const ends = [];
    const bars = rows.map(row => {
      if (row.total !== undefined) {
        ends.push(row.total);
        return { ...row, from: row.total, to: row.total };
      }
      const bar = { ...row, from: at, to: at + row.effect };
      ends.push(bar.from, bar.to, at + row.low, at + row.high);
      at = bar.to;
      return bar;
    });
    const low = Math.min(...ends),
      high = Math.max(...ends);
    const pad = Math.max(0.004, (high - low) * 0.12);
    const x = linear(Math.max(0, low - pad), high + pad, left, right);
    const foot = rows.length * ROW;
    const grid = ticks(Math.max(0, low - pad), high + pad, 5).map(
      v =>
        html`${line(x(v), 0, x(v), foot)}${text(x(v), foot + 15, percent(v, Math.abs(v * 100 - Math.round(v * 100)) < 1e-6 ? 0 : 1), 'q', 'middle')}`,
    );
    return html`${grid}${bars.map((bar, place) => one(bar, place, bars, x, width, isNarrow))}`;
  };
}

export const fallHeight = rows => rows.length * ROW + 22;

function one(bar, place, bars, x, width, isNarrow) {
  const y = place * ROW,
    centre = y + ROW / 2;
  const isTotal = bar.total !== undefined;
  const parts = [
    place ? line(0, y, width, y) : '',
    text(0, centre + (isNarrow ? 4 : -3), bar.name, `${bar.colour || isTotal ? 'k' : 'i'} w`),
  ];
  if (!isNarrow) parts.push(text(0, centre + 13, bar.note, 'q'));
  if (place < bars.length - 1)
    parts.push(
      line(
        x(bar.to),
        isTotal ? y + ROW - 6 : centre + 9,
        x(bar.to),
        y + ROW + (bars[place + 1].total === undefined ? 17 : 6),
        'var(--edge)',
      ),
    );
  if (isTotal) {
    parts.push(
      box(x(bar.total) - 2, y + 6, 4, ROW - 12, 'var(--ink)'),
      text(width, centre - 3, percent(bar.total), 'k w', 'end'),
      text(width, centre + 13, bar.n, 'q', 'end'),
    );
    return parts;
  }
  const [from, to] = [Math.min(bar.from, bar.to), Math.max(bar.from, bar.to)];
  parts.push(
    box(x(from), centre - 9, Math.max(2, x(to) - x(from)), 18, bar.colour ?? 'var(--edge)'),
  );
  const isCertain = bar.low === bar.high;
  if (!isCertain) parts.push(whisker(x(bar.from + bar.low), x(bar.from + bar.high), centre));
  parts.push(
    text(width, centre - 3, points(bar.effect), `${bar.colour ? 'k' : 'i'} w`, 'end'),
    text(width, centre + 13, isCertain ? 'no change' : pointsRange(bar.low, bar.high), 'q', 'end'),
  );
  return parts;
}

function whisker(from, to, y) {
  return html`${line(from, y, to, y, 'var(--bg)', 4)}<path d="M${px(from)} ${px(y)}H${px(to)}M${px(from)} ${px(y - 4)}v8M${px(to)} ${px(y - 4)}v8" stroke="var(--ink)" stroke-width="1.3" fill="none"/>`;
}
