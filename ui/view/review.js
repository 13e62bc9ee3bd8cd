// *Review*: what needs a person? One picture at a time, answered with one key, taken back with another.
import { get, post } from '/ui/api.js';
import { compared } from '/ui/chart/bullet.js';
import { box, draw, text } from '/ui/chart/svg.js';
import { icon, verdict } from '/ui/icons.js';
import { html, paint } from '/ui/markup.js';
import { colour, judge, sorted } from '/ui/palette.js';
import { fillIn, load, picture } from '/ui/pictures.js';
import { KINDS, SEARCHED, fetchQueue, note, why } from '/ui/queue.js';
import { said, simulated } from '/ui/record.js';
import {
  FEW,
  clockSeconds,
  count,
  moment,
  percent,
  plural,
  score as scoreWords,
} from '/ui/words.js';

const skeleton = html`<h1 class="sr">Review</h1><aside class="queue" aria-label="Queue" data-part="queue"></aside>
  <section class="stage" aria-label="The image"><div class="progress" data-part="progress"></div><div class="pic" data-part="pic"></div><div class="keys" data-part="keys"></div></section>
  <aside class="ask" aria-label="Your answer" data-part="ask"></aside>`;

const WORDS = { ok: 'pass', defect: 'reject' };

// Opens the view in `root`.
export function open({ root, known, go, keep, seen }) {
  paint(root, skeleton);
  const part = name => root.querySelector(`[data-part="${name}"]`);
  const answers = [];
  let place = null,
    queue = { items: [], unseen: 0 },
    asked = '',
    at = 0,
    marked = null,
    isZoomed = false,
    labels = null,
    trouble = '',
    began = Date.now();

  const item = () => queue.items[at] ?? null;
  const answer = one => answers.find(done => done.id === one.record.id);
  const isBlind = () => place.query.get('blind') === '1';
  const isHidden = () => isBlind() && item() && !answer(item());
  const criteria = () => (item() ? criteriaOf(item(), known.policies) : []);
  const left = () => queue.items.filter(one => !answer(one)).length;

  function show() {
    seen({ waiting: left() });
    paint(part('queue'), queueOf(queue, at, answer, left()));
    fillIn(part('queue'));
    part('queue').querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
    drawProgress(part('progress'), queue, answers, { began, isBlind: isBlind() });
    paint(part('pic'), stage(item(), isZoomed, queue, place));
    fillIn(part('pic'));
    paint(part('keys'), keyLine);
    paint(
      part('ask'),
      ask({
        item: item(),
        criteria: criteria(),
        marked,
        done: item() && answer(item()),
        isHidden: isHidden(),
        labels,
        trouble,
      }),
    );
    const next = queue.items.slice(at + 1).find(one => !answer(one));
    if (next) load(picture(next.record.id, next.views[0])).catch(() => null);
  }

  function turn(to) {
    at = Math.max(0, Math.min(queue.items.length - 1, to));
    marked = item()?.record.failed.find(name => criteria().some(one => one.id === name)) ?? null;
    isZoomed = false;
    keep({ id: item()?.record.id ?? null });
    show();
  }

  async function say(label) {
    const one = item();
    if (!one || answer(one)) return;
    trouble = '';
    const done = { id: one.record.id, label, criterion: label === 'defect' ? marked : null };
    answers.push(done);
    const next = queue.items.findIndex((other, place_) => place_ > at && !answer(other));
    if (next >= 0) turn(next);
    else show();
    try {
      await post(`/v1/verdicts/${done.id}/label`, { label, criterion: done.criterion, note: null });
    } catch (reason) {
      answers.splice(answers.indexOf(done), 1);
      trouble = `The answer was not taken: ${reason.message}.`;
      turn(queue.items.findIndex(other => other.record.id === done.id));
    }
  }

  async function undo() {
    const done = answers.pop();
    if (!done) return;
    turn(queue.items.findIndex(other => other.record.id === done.id));
    try {
      await post(`/v1/verdicts/${done.id}/label`, {
        label: 'withdrawn',
        criterion: null,
        note: null,
      });
    } catch (reason) {
      answers.push(done);
      trouble = `The answer was not taken back: ${reason.message}.`;
      show();
    }
  }

  const mark = number => {
    const one = criteria()[number - 1];
    if (one) {
      marked = marked === one.id ? null : one.id;
      show();
    }
  };
  const acts = {
    pass: () => say('ok'),
    reject: () => say('defect'),
    undo,
    zoom: () => {
      isZoomed = !isZoomed;
      show();
    },
    next: () => turn(at + 1),
    back: () => turn(at - 1),
    blind: () => {
      go({ blind: isBlind() ? null : '1' });
    },
  };
  root.addEventListener('click', event => {
    const target = event.target.closest('button');
    if (!target) return;
    if (target.dataset.act) acts[target.dataset.act]();
    else if (target.dataset.at) turn(Number(target.dataset.at));
    else if (target.dataset.mark) mark(Number(target.dataset.mark));
  });

  const keys = {
    p: acts.pass,
    r: acts.reject,
    u: acts.undo,
    j: acts.next,
    k: acts.back,
    z: acts.zoom,
    b: acts.blind,
  };
  for (let number = 1; number <= 9; number += 1) keys[number] = () => mark(number);
  return {
    keys,
    help: [
      ['P', 'pass'],
      ['R', 'reject'],
      ['1 9', 'mark the criterion that fails'],
      ['U', 'take the last answer back'],
      ['J K', 'next, back'],
      ['Z', 'zoom'],
      ['B', 'blind: hide scores until answered'],
    ],
    redraw: () => {
      if (place) show();
    },
    async refresh(next, signal) {
      place = next;
      const about = {
        policy: place.query.get('policy'),
        since: place.window.since,
        until: place.window.until,
      };
      const found = await fetchQueue(about, signal);
      const key = JSON.stringify(about);
      if (key === asked) {
        const have = new Set(queue.items.map(one => one.record.id));
        queue = {
          items: [...queue.items, ...found.items.filter(one => !have.has(one.record.id))],
          unseen: found.unseen,
        };
        if (!item() || marked !== null || at > 0 || answers.length) {
          show();
          return;
        }
      } else {
        asked = key;
        queue = found;
        began = Date.now();
        answers.length = 0;
        at = Math.max(
          0,
          queue.items.findIndex(one => one.record.id === place.query.get('id')),
        );
      }
      marked = item()?.record.failed.find(name => criteria().some(one => one.id === name)) ?? null;
      show();
      const policy = about.policy ?? (known.policies.length === 1 ? known.policies[0].name : null);
      labels = policy
        ? (await get('/v1/drift', { policy, since: about.since, until: about.until }, signal))
            .people
        : null;
      show();
    },
  };
}

function criteriaOf(item, policies) {
  const asked = policies.find(one => one.name === item.record.policy.name)?.criteria ?? [];
  return Object.entries(item.record.scores).map(([id, score]) => ({
    id,
    ...score,
    ask: asked.find(one => one.id === id)?.ask ?? '',
  }));
}

function queueOf(queue, at, answer, left) {
  const rows = queue.items.map((one, place) => {
    const done = answer(one);
    const isNow = place === at;
    return html`<li class="${done ? 'done' : ''}" ${isNow ? html`aria-current="true"` : ''}><button data-at="${place}" data-key="q-${one.record.id}"><img data-picture="${picture(one.record.id, one.views[0])}" alt="">
      <span>${isNow ? html`<b>${one.kind}</b>` : one.kind}<br><span class="q">${done ? `you: ${WORDS[done.label]}` : isNow ? 'now' : note(one)}</span></span>${done ? icon(done.label === 'ok' ? 'pass' : 'fail') : ''}</button></li>`;
  });
  const unseen = queue.unseen
    ? html`<p class="small q">${plural(queue.unseen, 'more has', 'more have')} no picture kept.</p>`
    : '';
  return html`<h2>Queue <span class="q plain">${count(left)} left</span></h2><ol>${rows}</ol>${unseen}`;
}

function stage(item, isZoomed, queue, place) {
  if (!item)
    return html`<div class="empty"><p><b>Nothing waits for a person.</b></p><p>Looked at: every review of the window, and its newest ${SEARCHED} verdicts. A longer window is in the bar; more passes are kept with <code>record.images: [{ sample: 2% }]</code>.</p></div>`;
  const [view] = item.views;
  return html`<div class="pic-place ${isZoomed ? 'is-zoomed' : ''}" ${isZoomed ? html`tabindex="0" role="region" aria-label="The image, enlarged"` : ''}><img data-picture="${picture(item.record.id, view)}" alt="The image of ${item.record.external_id ?? item.record.id}, view ${view}"></div><span class="pic-note">${view}, as the judge saw it</span>`;
}

const key = (letter, words, act) =>
  html`<button class="key" data-act="${act}" data-key="act-${act}"><span class="kbd">${letter}</span> ${words}</button>`;
const keyLine = html`${key('P', 'pass', 'pass')}${key('R', 'reject', 'reject')}<span><span class="kbd">1</span>–<span class="kbd">9</span> criterion</span>${key('U', 'undo', 'undo')}${key('J', 'next', 'next')}${key('K', 'back', 'back')}${key('Z', 'zoom', 'zoom')}${key('B', 'blind', 'blind')}<span class="end"><span class="kbd">?</span> all keys</span>`;

function ask({ item, criteria, marked, done, isHidden, labels, trouble }) {
  if (!item) return learnt(labels);
  const { record } = item;
  const judged = isHidden
    ? html`<p class="why-here">Blind: what the judges said shows when you have answered.</p>`
    : html`<p class="why-here">${why(item)} ${simulated(record)}</p>`;
  const rows = criteria.map((one, place) =>
    criterion(one, place + 1, record, marked === one.id, isHidden),
  );
  const told = done
    ? html`<p class="said" role="status">${icon(done.label === 'ok' ? 'pass' : 'fail')} You said ${WORDS[done.label]}${done.criterion ? `, ${done.criterion}` : ''}; the gate had said ${verdict(record.verdict)}</p>`
    : '';
  const name = marked ? html`<span class="which">, ${marked}</span>` : '';
  return html`<div class="small q">${isHidden ? 'One of the queue' : item.kind} · ${moment(Date.parse(record.at), clockSeconds)}${record.external_id ? ` · ${record.external_id}` : ''}</div>${judged}${rows}
    ${trouble ? html`<p class="bad" role="alert">${trouble}</p>` : ''}${told}
    <div class="act"><button class="btn" data-act="pass" data-key="pass" ${done ? html`disabled` : ''}><span class="kbd">P</span> Pass</button><button class="btn first" data-act="reject" data-key="reject" ${done ? html`disabled` : ''}><span class="kbd">R</span> <span>Reject${name}</span></button></div>
    <p class="small q">U takes the last answer back. An answer is added to the record; nothing is overwritten.</p>${learnt(labels)}`;
}

function criterion(one, number, record, isMarked, isHidden) {
  const by = sorted(said(record).map(call => call.judge))
    .map(name => [name, said(record).find(call => call.judge === name).scores[one.id]])
    .filter(([, score]) => score !== null && score !== undefined);
  const scores =
    isHidden || !by.length
      ? ''
      : html`<div class="answer">${compared(
          by.map(([name, score]) => [colour(name), score]),
          one.pass_at,
          0.08,
          250,
        )}</div>
    <div class="answer small by">${by.map(([name, value]) => html`<span class="nowrap">${judge(name)} ${scoreWords(value, one.pass_at)}</span> `)}</div>`;
  return html`<div class="criterion-ask ${isMarked ? 'is-marked' : ''}"><button class="kbd" data-mark="${number}" data-key="mark-${number}" aria-pressed="${isMarked}" aria-label="${number}, ${one.id} fails">${number}</button>
    <div class="between"><b>${one.id} ${isHidden ? '' : html`<span class="q small plain">line ${one.pass_at.toFixed(2)}</span>`}</b>${isMarked ? html`<span class="v v-fail">${icon('fail')}fails</span>` : ''}</div><p class="answer small s">${one.ask}</p>${scores}</div>`;
}

// What people's labels have shown of each judge.
function learnt(labels) {
  if (!labels) return '';
  const rows = labels.judges.map(
    one =>
      html`<tr class="${one.precision.n < FEW ? 'thin' : ''}"><th scope="row">${judge(one.judge)}</th><td class="num">${one.precision.share === null ? '–' : html`${percent(one.precision.share, 0)} <span class="q">${Math.round(one.precision.low * 100)} to ${Math.round(one.precision.high * 100)}</span>`}</td><td class="num q">${count(one.precision.n)}</td></tr>`,
  );
  return html`<h2 class="learnt">What labels have shown</h2><p class="small s">People have answered ${plural(labels.verdicts, 'verdict')} in 30 days.</p>${rows.length ? html`<table class="small"><thead><tr><th scope="col">judge</th><th scope="col" class="num">rejects that were right</th><th scope="col" class="num">n</th></tr></thead><tbody>${rows}</tbody></table>` : ''}`;
}

function drawProgress(node, queue, answers, { began, isBlind }) {
  const all = queue.items.length;
  const left = queue.items.filter(one => !answers.some(done => done.id === one.record.id));
  const each = answers.length > 2 ? (Date.now() - began) / answers.length : null;
  const pace =
    each && left.length
      ? html`<span class="q">about ${Math.max(1, Math.round((each * left.length) / 60_000))} min at your pace</span>`
      : '';
  paint(
    node,
    html`<div class="between"><span><b>${count(all - left.length)} of ${count(all)}</b> ${pace}</span><span class="small q">${isBlind ? 'blind: scores show when you have answered' : 'scores are shown; B hides them'}</span></div><div class="chart" data-part="bar"></div>`,
  );
  if (!all) return;
  const parts = [
    [all - left.length, 'var(--ink)', 'done'],
    ...KINDS.map((name, place) => [
      left.filter(one => one.kind === name).length,
      place % 2 ? 'var(--line-2)' : 'var(--edge)',
      name,
    ]),
  ].filter(([n]) => n);
  draw(node.querySelector('[data-part="bar"]'), {
    height: 24,
    label: parts.map(([n, , name]) => `${n} ${name}`).join(', '),
    body: width => {
      let x = 0;
      return html`${parts.map(([n, tone, name]) => {
        const wide = (n / all) * width,
          words = `${n} ${name}`,
          from = x;
        x += wide;
        return html`${box(from, 0, wide - 2, 8, tone, 2)}${wide > words.length * 6.2 ? text(from, 22, words, 'q') : ''}`;
      })}`;
    },
  });
}
