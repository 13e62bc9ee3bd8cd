// Attempts as a waterfall against the deadline: from the first byte to the deadline, even when that leaves
// the chart nearly empty, for the room that is left is the message.
import { linear, ticks } from '/ui/chart/scale.js';
import { box, draw, line, text } from '/ui/chart/svg.js';
import { html } from '/ui/markup.js';
import { colour } from '/ui/palette.js';
import { seconds } from '/ui/words.js';

const ROW = 26;

const own = timing =>
  (timing.read ?? 0) + (timing.decode ?? 0) + (timing.checks ?? 0) + (timing.prepare ?? 0);

function rowsOf(record) {
  const before = own(record.timing_ms);
  return [
    { name: 'before', from: 0, to: before, tone: 'var(--ink-2)', words: seconds(before) },
    ...record.attempts.map(one => ({
      name: one.judge,
      from: one.started_ms,
      to: one.started_ms + one.took_ms,
      tone: colour(one.judge),
      isBad: !['judged', 'cancelled'].includes(one.outcome),
      words: `${one.outcome.replaceAll('_', ' ')}, ${seconds(one.took_ms)}${one.route === 'primary' ? '' : `, ${one.route.replaceAll('_', ' ')}`}`,
      isFaint: one.outcome === 'cancelled',
    })),
    {
      name: 'answered',
      from: record.timing_ms.total - 1,
      to: record.timing_ms.total,
      tone: 'var(--ink)',
      words: `at ${seconds(record.timing_ms.total)}`,
      isEnd: true,
    },
  ];
}

// Draws the attempts of `record` into `node`.
export function attempts(node, record) {
  const rows = rowsOf(record);
  const foot = rows.length * ROW;
  draw(node, {
    height: foot + 20,
    label: `Answered ${seconds(record.timing_ms.total)} after the first byte, deadline ${seconds(record.deadline_ms)}`,
    table: [
      ['call', 'began', 'took', 'outcome'],
      ...record.attempts.map(one => [
        one.judge,
        seconds(one.started_ms),
        seconds(one.took_ms),
        one.outcome,
      ]),
    ],
    body: width => {
      const left = 104,
        right = width - 6;
      const x = linear(0, record.deadline_ms * 1.04, left, right);
      const end = x(record.deadline_ms);
      const grid = ticks(0, record.deadline_ms, 5)
        .filter(at => at < record.deadline_ms * 0.97)
        .map(
          at =>
            html`${line(x(at), 0, x(at), foot)}${text(x(at), foot + 15, `${at / 1000} s`, 'q', 'middle')}`,
        );
      return html`${grid}${line(end, 0, end, foot, 'var(--ink)', 2)}${text(end, foot + 15, `${record.deadline_ms / 1000} s`, 'k', 'middle')}${text(end - 6, 12, 'deadline', 'k halo-raise', 'end')}${rows.map(
        (row, place) => {
          const y = place * ROW;
          const isRight = x(row.to) > left + (right - left) * 0.62;
          const at = isRight ? x(row.from) - 6 : x(row.to) + 6;
          return html`${text(0, y + 17, row.name, row.isEnd ? 'k' : 'i')}<g opacity="${row.isFaint ? 0.55 : 1}">${box(x(row.from), y + 6, Math.max(2, x(row.to) - x(row.from)), 14, row.tone)}</g>${text(
            at,
            y + 17,
            row.words,
            `${row.isBad ? 'f' : row.isEnd ? 'k' : ''} halo-raise`,
            isRight ? 'end' : 'start',
          )}`;
        },
      )}`;
    },
  });
}
