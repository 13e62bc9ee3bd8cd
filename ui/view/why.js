// *Why*: what moved the reject rate between two windows, and is a judge to blame? The answer stands first,
// in a sentence; then where each point comes from, what was to be expected, and the evidence.
import { get } from '/ui/api.js';
import { ADJUSTED_HEIGHT, adjusted } from '/ui/chart/adjusted.js';
import { effects, effectsHeight } from '/ui/chart/effects.js';
import { evidence, evidenceHeight, multiple } from '/ui/chart/evidence.js';
import { fall, fallHeight } from '/ui/chart/fall.js';
import { draw } from '/ui/chart/svg.js';
import { icon } from '/ui/icons.js';
import { html, paint } from '/ui/markup.js';
import { colour, judge, sorted } from '/ui/palette.js';
import { address, iso, shared } from '/ui/place.js';
import { effectRows, evidenceRows, fallRows } from '/ui/reading.js';
import * as story from '/ui/story.js';
import * as stands from '/ui/view/stands.js';
import {
  FEW,
  between,
  clock,
  clockSeconds,
  count,
  day,
  moment,
  percent,
  plural,
  points,
  pointsRange,
  when,
} from '/ui/words.js';

const HALF_HOUR = 1_800_000;

const skeleton = html`<h1 class="sr">Why the reject rate moved</h1><div class="windows" data-part="windows"></div>
  <p class="told" data-part="told"></p><p class="told-more" data-part="more"></p>
  <section class="stands" data-part="stands" aria-label="Told, and not seen yet" hidden></section><p class="stands-said" data-part="said" role="status" tabindex="-1"></p><div data-part="empty"></div>
  <div class="why" data-part="body" hidden>
  <section><div class="head"><h2>Where the change comes from</h2><span class="small q">points of the rate of first judgements that would not pass; the parts add up exactly</span></div><div class="chart" data-part="fall"></div></section>
  <section><div class="head"><h2>Expected and observed</h2><span class="small q">points, 95 %</span></div><div class="chart" data-part="effects"></div>
  <div class="head next"><h2>Each judge on its own images</h2><span class="small q">rejected, before → in the window</span></div><table class="own"><tbody data-part="own"></tbody></table></section>
  <section><div class="head"><h2 data-part="adjusted-title"></h2><span class="small q">a gap is routing</span></div><div class="chart" data-part="adjusted"></div></section>
  <section><div class="head"><h2>Evidence</h2><span class="small q">peak, as a multiple of the alarm threshold; log scale</span></div><div class="chart" data-part="evidence"></div><p class="note" data-part="evidence-note"></p></section>
  <section class="all"><div class="head"><h2>What was found in 30 days</h2><span class="small q" data-part="found-note"></span></div><ol class="events wide" data-part="found"></ol></section></div>`;

// Opens the view in `root`.
export function open({ root, known, again }) {
  paint(root, skeleton);
  const part = name => root.querySelector(`[data-part="${name}"]`);
  let place = null,
    drift = null,
    around = null,
    window_ = null;
  const standing = stands.open({ node: part('stands'), status: part('said'), changed: again });

  const drawCharts = () => {
    const rows = fallRows(drift, window_);
    draw(part('fall'), {
      height: fallHeight(rows),
      label: rows
        .map(
          row => `${row.name} ${row.total === undefined ? points(row.effect) : percent(row.total)}`,
        )
        .join(', '),
      table: [
        ['part', 'points', 'interval'],
        ...rows.map(row =>
          row.total === undefined
            ? [row.name, points(row.effect), pointsRange(row.low, row.high)]
            : [row.name, percent(row.total), row.n],
        ),
      ],
      body: fall(rows),
    });
    const shown = effectRows(drift);
    draw(part('effects'), {
      height: effectsHeight(shown),
      label: shown
        .map(row => `${row.name} ${points(row.effect)} (${pointsRange(row.low, row.high)})`)
        .join(', '),
      body: effects(shown),
    });
    drawAdjusted(part, drift, around, window_);
    drawEvidence(part, drift, around, window_);
  };

  const show = () => {
    paint(part('windows'), windows(place, drift, window_));
    const { lead, rest } = story.answer(drift, window_);
    paint(part('told'), html`<em>${lead}</em> ${rest}`);
    paint(part('more'), more(drift));
    standing.show(drift);
    const isEmpty = !drift.change;
    part('body').hidden = isEmpty;
    paint(part('empty'), isEmpty ? missing(drift) : '');
    if (isEmpty) return;
    paint(part('own'), ownRows(drift));
    paint(part('found'), found(drift, place));
    paint(part('found-note'), plural(drift.events.length, 'event'));
    drawCharts();
  };

  return {
    help: [],
    keys: {},
    redraw: () => {
      if (drift?.change) drawCharts();
    },
    async refresh(next, signal) {
      place = next;
      const policy =
        place.query.get('policy') ?? (known.policies.length === 1 ? known.policies[0].name : null);
      if (!policy) {
        chooseOne(part, known, place);
        return;
      }
      const { from, to, since, until } = place.window;
      const wide = Math.max(HALF_HOUR, 2 * (to - from));
      const about = {
        policy,
        since: iso(from - wide),
        until: iso(Math.min(Date.now(), to + wide)),
      };
      const against = {
        against_since: place.query.get('against_since'),
        against_until: place.query.get('against_until'),
      };
      const [answer, context] = await Promise.all([
        get('/v1/drift', { policy, since, until, ...against }, signal),
        get('/v1/drift', about, signal),
      ]);
      drift = answer;
      around = { ...context, from: from - wide, to: Math.min(Date.now(), to + wide) };
      window_ = { from: Date.parse(drift.after.since), to: Date.parse(drift.after.until) };
      show();
    },
  };
}

function chooseOne(part, known, place) {
  part('body').hidden = true;
  paint(part('told'), html`<em>Of which policy?</em>`);
  paint(
    part('more'),
    html`Causes are told apart within one policy: ${known.policies.map(one => html`<a href="${address('why', { ...shared(place.query), policy: one.name })}">${one.name}</a> `)}`,
  );
}

function windows(place, drift, window_) {
  const before = drift.before;
  const from = Date.parse(before.since),
    to = Date.parse(before.until);
  // a day that was not whole is none
  const days = Math.floor((to - from) / 864e5);
  const base = before.baseline
    ? `the baseline, ${days >= 1 ? `${plural(days, 'day')} to ${day(to - 1)}` : between(from, to)}`
    : between(from, to);
  const event = drift.events.find(
    one => Date.parse(one.onset) < window_.to && Date.parse(one.at) >= window_.from - 6e4,
  );
  const own = place.query.has('against_since')
    ? html` <a class="small" href="${address('why', { ...shared(place.query) })}">against the baseline</a>`
    : '';
  return html`<span>Compare</span><span class="span">${moment(window_.from, when)} – ${moment(window_.to, clock)} <span class="q">n ${count(drift.after.first_reject.n)}</span></span>
    <span>with</span><span class="span">${base} <span class="q">n ${count(before.frozen ?? before.first_reject.n)}</span></span><span class="q">intervals are 95 %</span>${own}
    ${event ? html`<span class="end small s">${icon('drift', 'warn')} ${story.label(event.label, event.effect?.effect)}, ${event.severity} · onset ${moment(Date.parse(event.onset), clockSeconds)}, seen ${moment(Date.parse(event.at), clockSeconds)}</span>` : ''}`;
}

function more(drift) {
  const judges = story.verdictOnJudges(drift);
  const to = story.gainer(drift),
    primary = drift.watch?.baseline?.primary ?? drift.adjusted?.primary;
  const from = drift.judges.find(one => one.judge === primary);
  const stands =
    drift.label === 'routing' &&
    to &&
    from &&
    to !== from &&
    to.before.share !== null &&
    from.before.share !== null
      ? `${to.judge}, which rejects ${percent(to.before.share)} where ${from.judge} rejects ${percent(from.before.share)}, took its place. `
      : '';
  if (!judges) return '';
  const unseen = story.unseen(drift);
  const served = drift.adjusted
    ? html` Had ${drift.adjusted.primary} judged every image, the rate would have been ${percent(drift.adjusted.rate)} <span class="q">(${percent(drift.adjusted.low)} to ${percent(drift.adjusted.high)}${learntFrom(drift)}${drift.adjusted.unanswered ? html`; of ${count(drift.adjusted.unanswered)} it was to be shown afterwards it said nothing` : ''})</span>.`
    : '';
  return html`${stands}<b>${judges.lead}</b>${judges.rest} <span class="q">(${judges.range})</span>.${unseen ? ` ${unseen}` : ''}${served}`;
}

// What the rate rests on where it was not served.
function learntFrom({ adjusted: { basis, pairs, backfilled } }) {
  if (basis === 'served') return '';
  return basis === 'modelled'
    ? `, modelled from ${count(pairs)} pairs`
    : `, from ${count(backfilled)} images it judged afterwards and ${count(pairs)} pairs`;
}

function missing(drift) {
  const learning = drift.watch?.learning;
  const n = drift.after.first_reject.n;
  return html`<div class="empty"><p>Telling causes apart needs 30 verdicts in the window and a time to compare it with; the window has ${count(n)}, the time before ${count(drift.before.first_reject.n)}.</p>
    ${learning ? html`<p>What is usual is still being learnt: ${learnt(learning)}.</p>` : ''}
    <p>Choose a longer window in the bar, or drag across the chart of <a href="/ui/">Now</a>.</p></div>`;
}

function ownRows(drift) {
  return sorted(drift.judges.map(one => one.judge)).map(name => {
    const one = drift.judges.find(own => own.judge === name);
    const isFew = one.after.n <= 10;
    const before = one.before.share === null ? 'none' : percent(one.before.share);
    const after =
      one.after.n === 0
        ? 'none'
        : isFew
          ? `${one.after.count} of ${one.after.n}`
          : percent(one.after.share);
    return html`<tr class="${one.after.n < FEW ? 'thin' : ''}"><th scope="row">${judge(name)}</th><td class="num">${before} → ${after}</td>
      <td class="num">${isFew || !one.moved ? 'too few' : html`${points(one.moved.effect)} <span class="q small">${pointsRange(one.moved.low, one.moved.high)}</span>`}</td><td class="num q small">n ${count(one.after.n)}</td></tr>`;
  });
}

function drawAdjusted(part, drift, around, window_) {
  const series = around.adjusted?.series;
  const primary = around.adjusted?.primary ?? drift.watch?.baseline?.primary;
  paint(
    part('adjusted-title'),
    primary ? `The rate as served, and had ${primary} judged everything` : 'The rate as served',
  );
  if (!series?.start_ms.length) {
    paint(
      part('adjusted'),
      html`<p class="note">No pairs yet: with images that two judges judged, the rate had the primary judged everything could be told.</p>`,
    );
    return;
  }
  const runs = pool(series);
  const to = story.gainer(drift);
  const gap = {
    served: drift.after.first_reject.share,
    points: drift.adjusted ? drift.after.first_reject.share - drift.adjusted.rate : null,
  };
  draw(part('adjusted'), {
    height: ADJUSTED_HEIGHT,
    label: `Served ${percent(gap.served)} in the window${drift.adjusted ? `, ${percent(drift.adjusted.rate)} had ${primary} judged everything` : ''}`,
    table: [
      ['from', 'n', 'served', `had ${primary} judged everything`],
      ...runs.map(run => [
        clock(run.from),
        count(run.n),
        percent(run.served),
        run.rate === null ? 'not known' : percent(run.rate),
      ]),
    ],
    body: adjusted({
      runs,
      from: around.from,
      to: around.to,
      window: [window_.from, window_.to],
      gap,
      primary,
      tone: to ? colour(to.judge) : 'var(--edge)',
      primaryTone: colour(primary),
      isModelled: around.adjusted.basis === 'modelled',
    }),
  });
}

// Buckets put together until each says something, about forty at most; empty ones are left out.
function pool(series) {
  const ms = series.bucket_s * 1000;
  const least = Math.max(60, series.n.reduce((sum, n) => sum + n, 0) / 40);
  const runs = [];
  let open = null;
  series.start_ms.forEach((start, at) => {
    const n = series.n[at] ?? 0;
    if (!n || series.served[at] === null) return;
    open ??= { from: start, n: 0, served: 0, rate: 0, known: 0 };
    open.to = start + ms;
    open.n += n;
    open.served += n * series.served[at];
    if (series.rate[at] !== null) {
      open.known += n;
      open.rate += n * series.rate[at];
    }
    if (open.n >= least) {
      runs.push(open);
      open = null;
    }
  });
  if (open) runs.push(open);
  return runs.map(run => ({
    ...run,
    served: run.served / run.n,
    rate: run.known ? run.rate / run.known : null,
  }));
}

// How far learning what is usual has come.
function learnt(learning) {
  const until = learning.until ? `, until ${when(Date.parse(learning.until))}` : '';
  return learning.n < learning.needs
    ? `${count(learning.n)} of ${count(learning.needs)} verdicts${until}`
    : `from ${count(learning.n)} verdicts so far${until}`;
}

function drawEvidence(part, drift, around, window_) {
  const watch = drift.watch;
  const rows = evidenceRows(around.evidence);
  if (rows.length) {
    draw(part('evidence'), {
      height: evidenceHeight(rows),
      label: `Evidence: ${rows.map(row => `${row.name} peaks at ${multiple(row.peak)}`).join(', ')}; the alarm is at 1`,
      table: [['detector', 'peak'], ...rows.map(row => [row.name, multiple(row.peak)])],
      body: evidence({
        rows,
        from: around.from,
        to: around.to,
        window: [window_.from, window_.to],
      }),
    });
  } else {
    paint(
      part('evidence'),
      html`<p class="note">No detector watches yet${watch?.learning ? html`: what is usual is still being learnt, ${learnt(watch.learning)}` : ''}.</p>`,
    );
  }
  paint(
    part('evidence-note'),
    rows.length && watch
      ? `A detector speaks when its line passes 1. All together they alarm falsely at most ${watch.false_alarms_per_30_days} times in 30 days.`
      : '',
  );
}

function found(drift, place) {
  if (!drift.events.length) return html`<li class="none q">No detector has spoken.</li>`;
  return drift.events.slice(0, 12).map(one => {
    const onset = Date.parse(one.onset),
      at = Date.parse(one.at);
    const effect = one.effect
      ? `, ${points(one.effect.effect)} points (${pointsRange(one.effect.low, one.effect.high)})`
      : '';
    const href = address('why', {
      ...shared(place.query),
      since: iso(onset),
      until: iso(Math.max(at, onset + 300_000)),
    });
    return html`<li>${moment(at, when)}${icon('drift')}<span><b>${story.label(one.label, one.effect?.effect)}</b>, ${one.severity}${effect} since ${moment(onset, clockSeconds)}${one.low_confidence ? ', low confidence' : ''} <a href="${href}">Why</a></span></li>`;
  });
}
