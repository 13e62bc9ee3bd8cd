// A spark line: one figure over the window, with its line and the window that something happened in.
import { area, clamp, linear, px, through } from '/ui/chart/scale.js';
import { box, fill, line, stroke, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';

const HEIGHT = 44;
const TOP = 5;
const BOTTOM = 39;

// `points`: [moment, value or null]; `high`: the top of the scale; `rule`: {at, text}; `marked`: [from, to];
// `peak`: how the highest value reads where it stands out; `filled`: whether the area is the value.
export function spark({ points, from, to, high, rule, marked, peak, filled, band }) {
  return width => {
    const x = linear(from, to, 0, width - 4);
    const y = value => clamp(linear(0, high, BOTTOM, TOP)(value), 0, HEIGHT);
    const known = points.filter(([, value]) => value !== null);
    const drawn = known.map(([at, value]) => [x(at), y(value)]);
    const parts = [];
    const highest = (best, one) => (one[1] > best[1] ? one : best);
    const top = peak && known.length ? known.reduce(highest) : null;
    if (marked)
      parts.push(
        box(x(marked[0]), 0, Math.max(2, x(marked[1]) - x(marked[0])), HEIGHT, 'var(--mark)'),
      );
    if (band) parts.push(box(0, y(band[1]), width - 4, y(band[0]) - y(band[1]), 'var(--band)'));
    if (rule) {
      // away from the highest value's own words
      const [at, anchor] = top && x(top[0]) < width / 2 ? [width - 4, 'end'] : [0, 'start'];
      parts.push(
        line(0, y(rule.at), width - 4, y(rule.at), 'var(--edge)', 1, '2 3'),
        text(at, y(rule.at) + 12, rule.text, 'q halo', anchor),
      );
    }
    if (!drawn.length) return html`${parts}${line(0, BOTTOM, width - 4, BOTTOM, 'var(--line-2)')}`;
    if (filled)
      parts.push(
        fill(
          area(
            drawn,
            drawn.map(([at]) => [at, BOTTOM]),
          ),
          'var(--band)',
        ),
      );
    parts.push(stroke(through(drawn), 'var(--ink)', 1.4));
    const [endX, endY] = drawn.at(-1);
    parts.push(html`<circle cx="${px(endX)}" cy="${px(endY)}" r="2.6" fill="var(--ink)"/>`);
    if (top && top !== known.at(-1))
      parts.push(
        text(
          clamp(x(top[0]), 14, width - 18),
          Math.max(9, y(top[1]) - 5),
          peak(top[1]),
          'k halo',
          'middle',
        ),
      );
    return html`${parts}`;
  };
}

export const SPARK_HEIGHT = HEIGHT;
