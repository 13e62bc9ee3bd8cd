// *Now*: is the gate all right? A sentence, four numbers, the judges as rows, and one chart of who judged
// above what was rejected.
import { get } from '/ui/api.js';
import { choosing } from '/ui/chart/choose.js';
import { dayStrip } from '/ui/chart/day.js';
import * as routing from '/ui/chart/routing.js';
import { clamp, linear, px, roof } from '/ui/chart/scale.js';
import { SPARK_HEIGHT, spark } from '/ui/chart/spark.js';
import { box, draw, line } from '/ui/chart/svg.js';
import { breaker, icon } from '/ui/icons.js';
import { html, paint } from '/ui/markup.js';
import { colour, judge, sorted } from '/ui/palette.js';
import { address, iso, shared } from '/ui/place.js';
import * as story from '/ui/story.js';
import {
  FEW,
  between,
  clock,
  count,
  list,
  money,
  moment,
  percent,
  plainSeconds,
  plural,
  pointsRange,
  share,
} from '/ui/words.js';

const MOST_EVENTS = 12;
const DAY_REFRESH_MS = 60_000;

const skeleton = html`<h1 class="sr">Now</h1><p class="say" data-part="say" aria-live="polite"></p>
  <div data-part="body" hidden><div class="four" data-part="four"></div>
  <section class="judges"><div class="head"><h2>Judges</h2><span class="small q" data-part="judges-note"></span></div><div class="scroll" data-part="judges" tabindex="0" role="region" aria-label="Judges, by row"></div><p class="note" data-part="budgets" hidden></p></section>
  <div class="two"><section><div class="head"><h2>Who judged, and what was rejected</h2><span class="small q" data-part="chart-note"></span></div>
  <div class="chart-place"><div class="chart" data-part="chart" tabindex="0" role="group" aria-label="Choose a window: arrow keys move by one step, Shift extends, Enter asks why"></div></div>
  <div class="chart day" data-part="day" tabindex="0" role="slider" aria-label="Part of the day that the chart shows: arrow keys move it"></div></section>
  <section><div class="head"><h2>Events</h2><span class="small q" data-part="events-note"></span></div><ol class="events" data-part="events"></ol></section></div></div>
  <div data-part="empty"></div>`;

// Opens the view in `root`.
export function open({ root, known, go, push }) {
  paint(root, skeleton);
  const part = name => root.querySelector(`[data-part="${name}"]`);
  let place = null,
    stats = null,
    judges = [],
    budgets = [],
    chosen = null,
    asked = '',
    drift = null,
    day = null,
    dayAt = 0,
    dayOf = null;

  const readChosen = () => {
    const [from, to] = (place.query.get('chosen') ?? '').split('/').map(one => Date.parse(one));
    if (from < to) return [from, to];
    const moved = stats && story.departure(stats);
    return moved ? [moved.from, moved.to] : null;
  };
  const whyHref = () =>
    address('why', { ...shared(place.query), since: iso(chosen[0]), until: iso(chosen[1]) });

  const drawChart = () => {
    draw(part('chart'), {
      height: routing.HEIGHT,
      role: 'group',
      label: chartLabel(stats),
      table: chartTable(stats),
      body: routing.routing({ stats, ...range(stats), chosen, href: chosen ? whyHref() : '' }),
    });
  };

  const showBudgets = () => {
    part('budgets').hidden = !budgets.length;
    paint(part('budgets'), budgets.length ? behind(budgets) : '');
  };

  const show = () => {
    const isEmpty = stats.total.n === 0;
    part('body').hidden = isEmpty;
    paint(part('empty'), isEmpty ? nothing(place) : '');
    const policies = known.policies.filter(one =>
      [null, one.name].includes(place.query.get('policy')),
    );
    paint(
      part('say'),
      isEmpty ? '' : sentence(story.state(stats, judges, policies), drift, chosen && whyHref()),
    );
    if (isEmpty) return;
    chosen = readChosen();
    fourNumbers(part('four'), stats, known, chosen, drift);
    paint(
      part('judges-note'),
      html`${place.window.label.toLowerCase()}; share and rejects of served images`,
    );
    paint(part('judges'), judgeTable(stats, judges, policies));
    showBudgets();
    paint(
      part('chart-note'),
      `per ${bucketWords(stats.bucket_s)}; dashes pool their span, grey under ${FEW} images; drag to compare a window`,
    );
    drawChart();
    drawDay();
    paint(part('events-note'), plural(stats.marks.length, 'event'));
    paint(part('events'), events(stats, place));
  };

  const drawDay = dayStrip(part('day'), {
    read: () => ({ stats: day, ...range(stats) }),
    move: (from, to) =>
      go({ since: iso(from), until: to > Date.now() - 60_000 ? null : iso(to), chosen: null }),
  });
  const chooseWindow = window => {
    go({ chosen: window ? window.map(iso).join('/') : null });
  };
  choosing(part('chart'), {
    axis: () => ({ ...range(stats), bucketMs: stats.bucket_s * 1000, height: 378 }),
    tip: at => tip(stats, at),
    choose: window => {
      chosen = window ?? null;
      drawChart();
      clearTimeout(chooseWindow.waits);
      chooseWindow.waits = setTimeout(() => chooseWindow(window), 250);
    },
    ask: () => {
      if (chosen)
        part('chart')
          .querySelector('[data-key="ask"]')
          ?.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }));
    },
  });

  return {
    help: [
      ['← →', 'on the chart: a step in time'],
      ['Shift', 'extend the window'],
      ['Enter', 'ask why'],
    ],
    keys: {},
    redraw: () => {
      if (stats?.total.n) {
        fourNumbers(part('four'), stats, known, chosen, drift);
        drawChart();
        drawDay();
      }
    },
    async refresh(next, signal) {
      place = next;
      const { since, until } = place.window;
      const policy = place.query.get('policy');
      const [answer, current] = await Promise.all([
        get('/v1/stats', { policy, since, until }, signal),
        get('/v1/judges', {}, signal),
      ]);
      stats = answer;
      judges = current.judges;
      chosen = readChosen();
      show();
      const looks = async () => {
        await look(policy, signal);
        await lookAtDay(policy, signal);
      };
      await Promise.all([looks(), lookAtBudgets(policy, signal)]);
    },
    push,
  };

  // The day's money is a note beside the figures: where it cannot be had, it is not shown.
  async function lookAtBudgets(policy, signal) {
    try {
      const { behind_verdicts: all } = await get('/v1/budgets', {}, signal);
      budgets = all.filter(one => [null, one.policy].includes(policy) || one.policy === null);
    } catch (why) {
      if (signal.aborted) throw why;
      budgets = [];
    }
    showBudgets();
  }

  // The day changes slowly: it is asked for once a minute.
  async function lookAtDay(policy, signal) {
    if (dayOf === policy && Date.now() - dayAt < DAY_REFRESH_MS) return;
    day = await get('/v1/stats', { policy, since: '24h' }, signal);
    [dayAt, dayOf] = [Date.now(), policy];
    drawDay();
  }

  // What the statistics say of the chosen window; asked once for each.
  async function look(policy, signal) {
    const wants = chosen ? `${policy}|${chosen.join('|')}` : '';
    if (wants === asked) return;
    drift = null;
    if (wants && (policy || known.policies.length === 1)) {
      drift = await get(
        '/v1/drift',
        { policy, since: iso(chosen[0]), until: iso(chosen[1]) },
        signal,
      );
    }
    asked = wants;
    show();
  }
}

const range = stats => ({
  from: Date.parse(stats.since),
  to: Math.min(Date.parse(stats.until), stats.series.start_ms.at(-1) + stats.bucket_s * 1000),
});

const REASONS = {
  sample: 'a sample',
  backfill: 'what the first judge missed',
  burst: 'alarms',
  hedge: 'losers of hedges',
};

// The day's money for what is asked behind verdicts; of several policies each is told by name.
function behind(budgets) {
  const named = new Set(budgets.map(one => one.policy).filter(policy => policy !== null));
  const told = budgets.map(one => {
    const of = one.entry ? `${REASONS[one.purpose]} (${one.entry})` : REASONS[one.purpose];
    const whose = named.size > 1 && one.policy !== null ? `${one.policy}: ` : '';
    return `${whose}${of} ${cents(one.spent_micro_usd)} of ${cents(one.per_day_micro_usd)}`;
  });
  return html`Spent behind verdicts today, UTC: ${list(told)}.`;
}

// An amount; of less than a cent two figures that tell it, down to a micro-dollar.
function cents(microUsd) {
  const isLess = 0 < microUsd && microUsd < 10_000;
  return money(microUsd, isLess ? Math.min(6, 7 - Math.floor(Math.log10(microUsd))) : 2);
}

const bucketWords = seconds =>
  ({
    60: 'minute',
    300: '5 minutes',
    900: '15 minutes',
    3600: 'hour',
    21_600: '6 hours',
    86_400: 'day',
  })[seconds] ?? `${seconds} s`;

const deadlineOf = policies => Math.max(...policies.map(one => one.deadline_ms), 1000);

function sentence(state, drift, href) {
  const told = drift?.change ? story.size(drift) : null;
  const size = told ? ` ${told}` : '';
  return html`${icon(state.mood, state.mood === 'pass' ? '' : 'warn')}<span><b>${state.lead}</b> ${state.rest}${size}${href ? html` <a href="${href}">Why</a>` : ''}</span>`;
}

function nothing(place) {
  return html`<div class="empty"><p><b>No verdicts in this window.</b></p>${
    place.window.isLive
      ? html`<p>Have one made: <code>vlmgate check photo.jpg</code>, or POST an image to <code>/v1/verdicts</code>.</p>`
      : html`<p>Choose a longer window in the bar.</p>`
  }</div>`;
}

function fourNumbers(node, stats, known, chosen, drift) {
  const { total, series } = stats;
  const { from, to } = range(stats);
  const seconds = Math.max(
    1,
    (Math.min(Date.parse(stats.as_of.at ?? stats.until), to) - from) / 1000,
  );
  const deadline = deadlineOf(known.policies);
  const at = values =>
    series.start_ms.map((start, place) => [start + stats.bucket_s * 500, values[place]]);
  // the last bucket is not over yet: drawn whole it would look like a fall
  const isOver = series.start_ms.map(
    start => start + stats.bucket_s * 1000 <= Date.parse(stats.as_of.at ?? stats.until),
  );
  const perSecond = at(series.n.map((n, place) => (isOver[place] ? n / stats.bucket_s : null)));
  const served = routing.gathered(
    routing.pooled(series.start_ms, stats.bucket_s * 1000, series.rated, series.rejected, 60),
    60,
  );
  const rejects = served.map(one => [(one.from + one.to) / 2, one.p]);
  const usual = drift?.before.baseline ? drift.before.reject.share : null;
  let spent = 0;
  const money_ = at(
    series.cost_micro_usd.map(cost => {
      spent += cost;
      return spent;
    }),
  );
  const low = count(total.reject.n);
  const cells = [
    {
      title: 'Verdicts',
      n: `${count(total.n)} in all`,
      big: (total.n / seconds).toFixed(total.n / seconds < 10 ? 2 : 1),
      unit: 'per second',
      of: { points: perSecond, high: roof(Math.max(...perSecond.map(one => one[1] ?? 0), 0.01)) },
    },
    {
      title: `p95, deadline ${(deadline / 1000).toFixed(1)} s`,
      n: `n ${count(total.total_ms.n)}`,
      big: total.total_ms.p95 === null ? '–' : plainSeconds(total.total_ms.p95),
      unit:
        total.total_ms.p95 === null
          ? ''
          : `s  ${plainSeconds(deadline - total.total_ms.p95)} s to spare`,
      of: {
        points: at(series.p95_ms),
        high: deadline,
        rule: { at: deadline, text: 'deadline' },
        peak: value => plainSeconds(value),
      },
    },
    {
      title: usual === null ? 'Rejected' : `Rejected, usually ${percent(usual)}`,
      n: `n ${low}`,
      isThin: total.reject.n < FEW,
      big: total.reject.share === null ? '–' : (total.reject.share * 100).toFixed(1),
      unit:
        total.reject.share === null
          ? ''
          : `%  ${(total.reject.low * 100).toFixed(1)} to ${(total.reject.high * 100).toFixed(1)}`,
      of: {
        points: rejects,
        high: roof(Math.max(0.02, ...rejects.map(one => one[1] ?? 0)) * 1.2),
        peak: value => (value * 100).toFixed(1),
      },
    },
    {
      title: 'Spent',
      n: `${count(total.n)} images`,
      big: money(total.cost_micro_usd),
      unit: total.n ? `${money((total.cost_micro_usd / total.n) * 1000)} per 1,000` : '',
      of: { points: money_, high: roof(Math.max(spent, 1)), filled: true },
    },
  ];
  paint(
    node,
    cells.map(
      (
        cell,
        place,
      ) => html`<div><div class="lab"><span>${cell.title}</span><span class="q">${cell.n}</span></div>
    <div class="big ${cell.isThin ? 'thin' : ''}">${cell.big} <small>${cell.unit}</small></div><div class="spark" data-spark="${place}"></div></div>`,
    ),
  );
  cells.forEach((cell, place) => {
    const label = `${cell.title}: ${cell.big} ${cell.unit}, ${cell.n}`;
    draw(node.querySelector(`[data-spark="${place}"]`), {
      height: SPARK_HEIGHT,
      label,
      body: spark({ ...cell.of, from, to, marked: chosen }),
    });
  });
}

function judgeTable(stats, judges, policies) {
  const deadline = deadlineOf(policies);
  // a judge that no route names is shown once it was asked
  const names = sorted([
    ...new Set([...policies.flatMap(one => one.judges), ...stats.judges.map(one => one.judge)]),
  ]);
  const rows = names.map(name => {
    const own = stats.judges.find(one => one.judge === name),
      now = judges.find(one => one.name === name);
    const state = now ? breaker(now.breaker) : html`<span class="q">not configured</span>`;
    if (!own)
      return html`<tr><th scope="row">${judge(name)} <span class="q small">${now?.model}</span></th><td>${state}</td><td colspan="6" class="q">no call in this window</td></tr>`;
    return html`<tr><th scope="row">${judge(name)} <span class="q small">${now?.model}</span></th><td>${state}</td><td>${latency(name, own.answer_ms, deadline)}</td>
      <td class="num">${share(own.attempts.failed.count, own.attempts.failed.n)}</td><td>${traffic(name, own)}</td>
      <td class="num">${share(own.reject.count, own.reject.n)}</td><td class="num">${own.attempts.failed.n ? money((own.cost_micro_usd / own.attempts.failed.n) * 1000) : html`<span class="q">–</span>`}</td><td>${strip(stats, name)}</td></tr>`;
  });
  return html`<table><thead><tr><th scope="col">judge</th><th scope="col">breaker</th><th scope="col">p50 – p95, of ${deadline / 1000} s</th><th scope="col" class="num">failed calls</th>
    <th scope="col">share of images${stats.judges.some(one => one.usual_share !== null) ? ', tick = usual' : ''}</th><th scope="col" class="num">rejected</th><th scope="col" class="num">per 1,000 calls</th><th scope="col" class="strip-head">failed calls over the window</th></tr></thead><tbody>${rows}</tbody></table>`;
}

function latency(name, answer, deadline) {
  if (!answer.n) return html`<span class="q">no answer</span>`;
  const x = linear(0, deadline, 0, 120);
  return html`<span class="cell"><svg width="122" height="20" aria-hidden="true">${line(0, 10, 120, 10)}${line(120, 4, 120, 16, 'var(--edge)')}${box(x(answer.p50), 7, Math.max(6, x(answer.p95) - x(answer.p50)), 6, colour(name), 3)}</svg>
    <span class="nowrap ${answer.n < FEW ? 'thin' : ''}">${plainSeconds(answer.p50)} – ${plainSeconds(answer.p95)} s <span class="q">n ${count(answer.n)}</span></span></span>`;
}

function traffic(name, own) {
  const part = own.served.share ?? 0;
  return html`<span class="cell"><svg width="102" height="20" aria-hidden="true">${box(0, 6, 100, 8, 'var(--sunk)')}${box(0, 6, Math.max(part ? 1 : 0, part * 100), 8, colour(name))}${
    own.usual_share === null
      ? ''
      : line(own.usual_share * 100, 3, own.usual_share * 100, 17, 'var(--ink)', 1.5)
  }</svg><span class="nowrap ${own.served.n < FEW ? 'thin' : ''}">${percent(part)} <span class="q">${count(own.served.count)}</span></span></span>`;
}

// Failed calls of one judge over the window: a bar for each stretch, red where more than one in ten failed.
function strip(stats, name) {
  const of = stats.series.judges[name];
  if (!of) return '';
  const runs = routing.pooled(
    stats.series.start_ms,
    stats.bucket_s * 1000,
    of.attempts,
    of.failed,
    60,
  );
  const each = 300 / runs.length;
  const failed = runs.reduce((total, run) => total + run.k, 0);
  const bars = runs.map((run, at) => {
    const height = run.n ? 2 + clamp(run.k / run.n, 0, 1) * 18 : 1;
    return html`<rect x="${px(at * each + each * 0.1)}" y="${px(22 - height)}" width="${px(each * 0.8)}" height="${px(height)}" fill="${run.n && run.k / run.n > 0.1 ? 'var(--fail)' : 'var(--line-2)'}"/>`;
  });
  return html`<svg class="strip" viewBox="0 0 300 22" preserveAspectRatio="none" role="img" aria-label="${name}: ${plural(failed, 'failed call')} over the window">${bars}</svg>`;
}

function events(stats, place) {
  if (!stats.marks.length)
    return html`<li class="none q">Nothing happened to policy, breakers or judges.</li>`;
  return stats.marks.slice(0, MOST_EVENTS).map(mark => {
    const { icon: shape, words } = story.event(mark);
    const at = Date.parse(mark.at);
    const href =
      mark.kind === 'drift'
        ? address('why', {
            ...shared(place.query),
            since: iso(at - 300_000),
            until: mark.until ?? iso(at + 300_000),
          })
        : null;
    return html`<li>${moment(at, clock)}${icon(shape)}<span>${words}${href ? html` <a href="${href}">Why</a>` : ''}</span></li>`;
  });
}

// One bucket's figures.
function tip(stats, at) {
  const { series } = stats;
  const ms = stats.bucket_s * 1000;
  const index = clamp(Math.floor((at - series.start_ms[0]) / ms), 0, series.start_ms.length - 1);
  const start = series.start_ms[index],
    n = series.rated[index];
  return html`<b>${between(start, start + ms)}</b> <span class="q">n ${count(series.n[index])}</span><table><tbody>${sorted(
    Object.keys(series.judges),
  ).map(name => {
    const own = series.judges[name],
      served = own.served[index];
    return html`<tr class="${served < FEW ? 'thin' : ''}"><td>${judge(name)}</td><td class="num">${n ? percent(served / n) : '–'}</td><td class="num">${own.rejected[index]} of ${served} rejected</td></tr>`;
  })}</tbody></table>`;
}

function chartLabel(stats) {
  const { from, to } = range(stats);
  const moved = story.departure(stats);
  const what = moved
    ? `${percent(moved.share, 0)} of images went to ${moved.to_judge} from ${clock(moved.from)} to ${clock(moved.to)}`
    : 'no judge stood in for another';
  return `Share of images by judge above the reject rate, ${between(from, to)}: ${what}; ${share_(stats.total.reject)} rejected`;
}

const share_ = of =>
  of.share === null
    ? 'none'
    : `${percent(of.share)} of ${count(of.n)} (${pointsRange(of.low, of.high).replaceAll('+', '')} %)`;

function chartTable(stats) {
  const { series } = stats;
  const runs = routing.pooled(
    series.start_ms,
    stats.bucket_s * 1000,
    series.rated,
    series.rejected,
    12,
  );
  const names = sorted(Object.keys(series.judges));
  const by = names.map(name =>
    routing.pooled(
      series.start_ms,
      stats.bucket_s * 1000,
      series.rated,
      series.judges[name].served,
      12,
    ),
  );
  return [
    ['from', 'rejected', 'of', ...names.map(name => `served by ${name}`)],
    ...runs.map((run, at) => [clock(run.from), run.k, run.n, ...by.map(own => own[at].k)]),
  ];
}
