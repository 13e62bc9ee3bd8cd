// The queue: which verdicts a person should look at, and why. Reviews first, then images that judges differ
// on, then guesses near a line, then a few plain passes and fails, whatever their scores. Only what still has a
// picture can be looked at. `vlmgate calibrate --labels` weighs labels by these kinds.
import { get } from '/ui/api.js';
import { isDisputed, lowest, said } from '/ui/record.js';
import { score } from '/ui/words.js';

export const KINDS = ['review', 'disagreement', 'near the line', 'sampled pass', 'sampled fail'];

// How many of the newest verdicts are searched for images that are worth a look.
export const SEARCHED = 500;
const MOST_REVIEWS = 200;
const MOST_SAMPLED = 10;
const SAMPLED = { pass: 'sampled pass', fail: 'sampled fail' };
const JUDGED = ['judge', 'second_opinion'];
const isSampled = name => Object.values(SAMPLED).includes(name);

function kind(record) {
  if (record.verdict === 'review') return 'review';
  if (isDisputed(record)) return 'disagreement';
  if (record.borderline) return 'near the line';
  // where a policy only watches, what it would have said
  return JUDGED.includes(record.basis) ? (SAMPLED[record.would_be ?? record.verdict] ?? null) : null;
}

// The queue of a policy's window: {items: [{kind, record, views}], unseen}. `unseen`: how many would belong here
// but have no picture any longer.
export async function fetchQueue({ policy, since, until }, signal) {
  const about = { policy, since, until };
  const [reviews, newest] = await Promise.all([
    get('/v1/verdicts', { ...about, verdict: 'review', limit: MOST_REVIEWS }, signal),
    get('/v1/verdicts', { ...about, limit: SEARCHED }, signal),
  ]);
  const views = { ...reviews.views, ...newest.views };
  const answered = { ...reviews.labels, ...newest.labels };
  const records = new Map([...reviews.verdicts, ...newest.verdicts].map(one => [one.id, one]));
  const all = [...records.values()]
    .map(record => ({ kind: kind(record), record, views: views[record.id] ?? [] }))
    .filter(one => one.kind && !answered[one.record.id]);
  const seen = all.filter(one => one.views.length);
  const items = KINDS.flatMap(name => {
    const own = seen.filter(one => one.kind === name);
    return isSampled(name) ? own.slice(0, MOST_SAMPLED) : own;
  });
  return {
    items,
    unseen:
      all.length -
      seen.length -
      all.filter(one => isSampled(one.kind) && !one.views.length).length,
  };
}

// What stands under an item of the queue.
export function note(item) {
  const low = lowest(item.record);
  if (item.kind === 'disagreement') {
    const all = said(item.record);
    return `${all.filter(one => one.said !== 'pass').length} of ${all.length} would not pass it`;
  }
  if (item.kind === 'sampled pass') return 'drawn at random';
  if (item.kind === 'sampled fail') return 'one of the newest';
  return low
    ? `${score(low.score, low.passAt)} of ${low.passAt.toFixed(2)}`
    : item.record.basis.replaceAll('_', ' ');
}

// Why it is here, in a sentence.
export function why(item) {
  const { record } = item;
  const low = lowest(record);
  if (item.kind === 'disagreement')
    return `${said(record)
      .map(one => `${one.judge} said ${one.said}`)
      .join('; ')}.`;
  if (item.kind === 'sampled pass') return 'A pass drawn at random, to see what the judges miss.';
  if (item.kind === 'sampled fail')
    return 'A plain fail, one of the newest, to see what the judges reject in vain.';
  if (record.basis === 'deadline') return 'No judge answered in time; the policy sends that here.';
  if (record.basis === 'no_judge') return 'No judge could be asked; the policy sends that here.';
  if (record.basis === 'check') return `The local check ${record.failed[0] ?? ''} sent it here.`;
  if (!low) return `${record.judge?.name ?? 'The gate'} sent it to review.`;
  const at = `${low.name} at ${score(low.score, low.passAt)}, the line at ${low.passAt.toFixed(2)}`;
  return item.kind === 'review'
    ? `${record.judge?.name ?? 'The gate'} sent it to review: ${at}.`
    : `${record.judge?.name ?? 'A judge'} said ${record.verdict}, with ${at}: near enough to be a guess.`;
}
