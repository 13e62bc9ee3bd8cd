// Evidence: one row for each detector on a log scale, as a multiple of its alarm threshold. The dotted line
// is 1; only above it is anything filled.
import { area, clamp, linear, through, timeTicks } from '/ui/chart/scale.js';
import { box, fill, line, stroke, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { count } from '/ui/words.js';

const ROW = 34;
const LOW = 1e-3;
const HIGH = 1e3;

// A multiple of the threshold as it reads: "> 1,000", "12", "0.02".
export function multiple(ratio) {
  if (ratio > HIGH) return '> 1,000';
  if (ratio >= 10) return count(ratio);
  if (ratio >= 1) return ratio.toFixed(1);
  return ratio < 0.005 ? '< 0.01' : ratio.toFixed(2);
}

// `rows`: {name, tone, points: [[at, ratio]], peak}.
export function evidence({ rows, from, to, window }) {
  return width => {
    const left = 112,
      right = width - 58,
      foot = rows.length * ROW;
    const x = linear(from, to, left, right);
    const parts = [
      box(
        clamp(x(window[0]), left, right),
        0,
        Math.max(2, clamp(x(window[1]), left, right) - clamp(x(window[0]), left, right)),
        foot,
        'var(--mark)',
      ),
    ];
    rows.forEach((row, place) => {
      const base = ROW * (place + 1) - 6;
      const y = ratio =>
        linear(
          Math.log10(LOW),
          Math.log10(HIGH),
          base,
          base - 25,
        )(Math.log10(clamp(ratio, LOW, HIGH)));
      const isLoud = row.peak >= 1;
      const tone = isLoud ? 'var(--warn)' : row.tone;
      parts.push(
        line(left, y(1), right, y(1), 'var(--edge)', 1, '2 3'),
        line(left, base, right, base),
      );
      const points = row.points.map(([at, ratio]) => [x(at), y(ratio)]);
      if (isLoud && points.length > 1)
        parts.push(
          fill(
            area(
              points.map(([a, b]) => [a, Math.min(b, y(1))]),
              points.map(([a]) => [a, y(1)]),
            ),
            'var(--warn)',
            0.35,
          ),
        );
      if (points.length > 1) parts.push(stroke(through(points), tone, 1.5));
      parts.push(
        text(0, base - 5, row.name, isLoud ? 'k' : 'i'),
        text(
          width,
          base - 5,
          row.points.length ? multiple(row.peak) : 'no data',
          isLoud ? 'k' : 'q',
          'end',
        ),
      );
      if (place === 0) parts.push(text(left + 2, y(1) - 4, 'alarm at 1', 'q halo'));
    });
    for (const tick of timeTicks(from, to, (right - left) / 84))
      parts.push(text(x(tick.at), foot + 14, tick.text, '', 'middle'));
    return html`${parts}`;
  };
}

export const evidenceHeight = rows => rows.length * ROW + 20;
