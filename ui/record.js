// A record, read for people: the score nearest to failing, the reason in a word, and whether judges differ.
import { html } from '/ui/markup.js';
import { isSimulated } from '/ui/shell.js';

// The criterion that is furthest below its line, or least above it: {name, score, passAt, reason}.
export function lowest(record) {
  const scored = Object.entries(record.scores).filter(([, one]) => one.score !== null);
  const worst = scored.sort(([, a], [, b]) => a.score - a.pass_at - (b.score - b.pass_at))[0];
  return worst
    ? { name: worst[0], score: worst[1].score, passAt: worst[1].pass_at, reason: worst[1].reason }
    : null;
}

const BASES = {
  deadline: 'no judge answered in time',
  no_judge: 'no judge could be asked',
  budget: 'the budget was spent',
  cache: 'answered before',
};

// Why it came out so: [what, detail].
export function reason(record) {
  if (BASES[record.basis]) return [record.basis.replaceAll('_', ' '), BASES[record.basis]];
  const broken = record.findings.find(one => !one.passed && record.failed.includes(one.check));
  if (record.basis === 'check' && broken) return [broken.check, measured(broken)];
  const low = lowest(record);
  if (!low) return [record.failed[0] ?? '', ''];
  const words = simplify(record.scores[record.failed[0]]?.reason ?? low.reason);
  if (!record.failed.length) return ['', words];
  return [record.failed.join(', '), words];
}

// A judge's words without the mark of a simulated one: that stands in a badge of its own.
export const simplify = text => (text ?? '').replace(/^simulated:?\s*/i, '');

const figure = value =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();

// A finding's value beside its line: "0.071 > 0.06".
export function measured(finding) {
  if (finding.value === null) return 'nothing to measure';
  if (finding.limit === null) return figure(finding.value);
  const isOver = finding.value > finding.limit;
  const sign = finding.value === finding.limit ? '=' : isOver ? '>' : '<';
  return `${figure(finding.value)} ${sign} ${figure(finding.limit)}`;
}

// Judges that judged, with what each said.
export const said = record =>
  record.attempts.filter(one => one.outcome === 'judged' && one.said !== null);

// Whether two judges that judged this image said different things.
export const isDisputed = record => new Set(said(record).map(one => one.said)).size > 1;

// The route in words.
export function route(record) {
  if (!record.judge) return 'no judge';
  if (record.route === 'failover') {
    const first = record.attempts[0];
    return first && first.judge !== record.judge.name
      ? `failover, from ${first.judge}`
      : 'failover';
  }
  return (record.route ?? '').replaceAll('_', ' ');
}

// The badge of a simulated verdict.
export const simulated = record =>
  isSimulated(record) ? html`<span class="sim">simulated</span>` : '';
