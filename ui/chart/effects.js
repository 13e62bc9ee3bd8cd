// Effects with their intervals on one scale of points: what the mix alone makes, what was seen, what is left.
import { linear, ticks } from '/ui/chart/scale.js';
import { dot, line, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { plain, points, pointsRange } from '/ui/words.js';

const ROW = 34;
// Room that the text of a tick takes.
const LABEL = 40;

// As many decimals as tell two ticks, in points, apart.
function digitsOf(marks) {
  const step = marks.length > 1 ? (marks[1] - marks[0]) * 100 : 1;
  return Math.min(2, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
}

// `rows`: {name, note, effect, low, high, colour}.
export function effects(rows) {
  return width => {
    const left = 128,
      right = width - 116,
      foot = rows.length * ROW;
    const low = Math.min(0, ...rows.map(row => row.low)),
      high = Math.max(0.002, ...rows.map(row => row.high));
    const pad = (high - low) * 0.06;
    const x = linear(low - pad, high + pad, left, right);
    const marks = ticks(low, high, Math.min(6, Math.max(3, Math.floor((right - left) / LABEL))));
    const digits = digitsOf(marks);
    const grid = marks.map(
      v =>
        html`${line(x(v), 0, x(v), foot, Math.abs(v) < 1e-9 ? 'var(--edge)' : 'var(--line)')}${text(x(v), foot + 14, Math.abs(v) < 1e-9 ? '0' : `${v > 0 ? '+' : ''}${plain(v * 100, digits)}`, 'q', 'middle')}`,
    );
    return html`${grid}${rows.map((row, place) => {
      const y = 15 + place * ROW,
        tone = row.colour ?? 'var(--ink)';
      return html`${text(0, y, row.name, `${row.colour ? 'k' : 'i'} w`)}${text(0, y + 13, row.note, 'q')}${line(
        x(row.low),
        y + 2,
        x(row.high),
        y + 2,
        tone,
        row.colour ? 4 : 1.5,
      )}${dot(x(row.effect), y + 2, 4, tone)}${text(
        width,
        y,
        points(row.effect),
        `${row.colour ? 'k' : 'i'} w`,
        'end',
      )}${text(width, y + 13, pointsRange(row.low, row.high), 'q', 'end')}`;
    })}`;
  };
}

export const effectsHeight = rows => rows.length * ROW + 18;
