// *Judges*: do they agree? Pairs of judges on the same images, scores against the lines, what calibration
// would change, and how each stands against people's labels.
import { get } from '/ui/api.js';
import { HISTOGRAM_HEIGHT, histograms } from '/ui/chart/histograms.js';
import { intervalOf, shift, SHIFT_HEAD } from '/ui/chart/intervals.js';
import { draw } from '/ui/chart/svg.js';
import { icon } from '/ui/icons.js';
import { html, paint } from '/ui/markup.js';
import { judge, sorted } from '/ui/palette.js';
import { address, shared } from '/ui/place.js';
import {
  FEW,
  count,
  list,
  moment,
  percent,
  plain,
  plural,
  points,
  pointsRange,
  signed,
} from '/ui/words.js';

const ENOUGH_PAIRS = 200;

// Why the second judge was asked where images were not chosen by what the first said.
const UNSELECTED = new Set(['shadow', 'probe']);
const SELECTED = 'second_opinion';

const skeleton = html`<h1 class="sr">Judges</h1><p class="say" data-part="say"></p><div class="judging" data-part="body">
  <section><div class="head"><h2>Do they agree?</h2><span class="small q">same image, two judges; up to 14 days</span></div><div data-part="matrix"></div></section>
  <section><div class="head"><h2>Scores, and where the line falls</h2><span class="small q">scores per 0.05, square-root height; left of the line fails; 14 days</span></div><div class="chart" data-part="scores"></div></section>
  <section class="all"><div class="head"><h2 data-part="calibration-title">Calibration</h2><span class="small q" data-part="calibration-note"></span></div><div class="scroll" data-part="calibration" tabindex="0" role="region" aria-label="Calibration"></div></section>
  <section class="all"><div class="head"><h2>Against people's labels</h2><span class="small q" data-part="labels-note"></span></div><div class="scroll" data-part="labels" tabindex="0" role="region" aria-label="Labels"></div></section></div>`;

// Opens the view in `root`.
export function open({ root, known }) {
  paint(root, skeleton);
  const part = name => root.querySelector(`[data-part="${name}"]`);
  let drift = null,
    names = [];

  const drawScores = () => {
    if (!drift.scores.length) {
      paint(part('scores'), html`<p class="note">No judge has scored an image in 14 days.</p>`);
      return;
    }
    const seen = names.filter(name => drift.scores.some(one => one.judge === name));
    const criteria = [...new Set(drift.scores.map(one => one.criterion))];
    draw(part('scores'), {
      height: HISTOGRAM_HEIGHT(criteria.length),
      label: `Histograms of scores of ${list(seen)} on ${list(criteria)}, with the lines`,
      table: [
        ['judge', 'criterion', 'line', 'n', 'under the line'],
        ...drift.scores.map(one => [
          one.judge,
          one.criterion,
          one.pass_at,
          count(one.n),
          count(one.failed),
        ]),
      ],
      body: histograms({ scores: drift.scores, judges: seen, criteria }),
    });
  };

  return {
    help: [],
    keys: {},
    redraw: () => {
      if (drift) drawScores();
    },
    async refresh(place, signal) {
      const policy =
        place.query.get('policy') ?? (known.policies.length === 1 ? known.policies[0].name : null);
      part('body').hidden = !policy;
      if (!policy) {
        paint(
          part('say'),
          html`<span><b>Judges under which policy?</b> ${known.policies.map(one => html`<a href="${address('judges', { ...shared(place.query), policy: one.name })}">${one.name}</a> `)}</span>`,
        );
        return;
      }
      const { since, until } = place.window;
      drift = await get('/v1/drift', { policy, since, until }, signal);
      const routed = known.policies.filter(one => one.name === policy).flatMap(one => one.judges);
      names = sorted([...new Set([...routed, ...drift.judges.map(one => one.judge)])]);
      paint(part('say'), lead(drift));
      paint(part('matrix'), matrix(drift, names));
      drawScores();
      paint(
        part('calibration-title'),
        drift.calibration[0] ? `Calibration to ${drift.calibration[0].primary}` : 'Calibration',
      );
      paint(
        part('calibration-note'),
        html`shift of the reject rate when the judge serves in place of the primary; ${pairsOf(drift)}`,
      );
      paint(part('calibration'), calibration(drift));
      paint(
        part('labels-note'),
        `${plural(drift.people.verdicts, 'verdict')} that people answered in 30 days, unweighted`,
      );
      paint(part('labels'), labels(drift, names));
    },
  };
}

function lead(drift) {
  const all = drift.calibration;
  const known = all.filter(one => one.present && one.pairs >= ENOUGH_PAIRS);
  if (!known.length)
    return html`${icon('half_open')}<span><b>Too few pairs to compare judges.</b> ${all.length ? html`${list(all.map(one => `${one.judge} has ${count(one.pairs)} of ${count(one.needs)}`))}.` : html`Pairs come from shadow judging, which shows some of the images to another judge as well: set <code>shadow:</code> in the policy.`}</span>`;
  const primary = known[0].primary;
  const far = known.filter(one => one.present.low > 0.01 || one.present.high < -0.01);
  const short = all.filter(one => one.pairs < one.needs);
  const rest = short.length
    ? ` A line of its own needs ${count(short[0].needs)} pairs: ${list(short.map(one => `${one.judge} has ${count(one.pairs)}`))}.`
    : '';
  if (!far.length)
    return html`${icon('pass')}<span><b>Judges that can be compared reject about as often as ${primary}.</b>${rest}</span>`;
  const worst = [...far].sort((a, b) => Math.abs(b.present.effect) - Math.abs(a.present.effect));
  const told = worst.map(
    (one, at) =>
      `${one.judge}${at ? '' : ' rejects'} ${plain(Math.abs(one.present.effect * 100))} points ${one.present.effect > 0 ? 'more' : 'less'}${at ? '' : ` than ${primary}`}`,
  );
  return html`${icon('drift', 'warn')}<span><b>On the same images ${list(told)}.</b> A failover moves the rate by as much.${rest}</span>`;
}

// The pairs of two judges on images that were not chosen by what one of them said. Where both shadows and
// probes were, those that are more: each has its own interval, and two of them make none.
function pairOf(drift, a, b) {
  const isTheirs = one => (one.a === a && one.b === b) || (one.a === b && one.b === a);
  const pairs = drift.agreement.filter(one => UNSELECTED.has(one.route) && isTheirs(one));
  return pairs.sort((one, other) => other.n - one.n)[0];
}

function matrix(drift, names) {
  if (names.length < 2) return html`<p class="note">One judge alone has nobody to agree with.</p>`;
  const pair = (a, b) => pairOf(drift, a, b);
  const cell = (a, b, row, column) => {
    if (a === b) {
      const own = drift.judges.find(one => one.judge === a)?.after;
      return html`<td><div class="own-rate ${!own || own.n < FEW ? 'thin' : ''}"><small>rejects</small><b>${own?.share === null || !own ? '–' : percent(own.share)}</b><small>n ${count(own?.n ?? 0)}</small></div></td>`;
    }
    const of = pair(a, b);
    if (!of || !of.n) return html`<td><div class="thin"><b>–</b><small>no pairs</small></div></td>`;
    const thin = of.n < ENOUGH_PAIRS ? 'thin' : '';
    if (column > row)
      return html`<td><div class="${thin}" title="AC1 ${of.ac1?.low?.toFixed(2)} to ${of.ac1?.high?.toFixed(2)}; kappa ${of.kappa?.effect?.toFixed(2) ?? '–'}; McNemar p ${of.mcnemar_p?.toPrecision(2) ?? '–'}"><b>${of.ac1 ? of.ac1.effect.toFixed(2) : '–'}</b><small>n ${count(of.n)}</small></div></td>`;
    const sign = of.a === a ? 1 : -1;
    const effect = sign * of.difference.effect;
    const depth = of.n < ENOUGH_PAIRS ? 0 : Math.min(4, Math.round(Math.abs(effect) / 0.02));
    return html`<td><div class="${thin} d${depth}"><b>${points(effect)}</b><small>±${(Math.abs(of.difference.high - of.difference.low) * 50).toFixed(1)}, n ${count(of.n)}</small></div></td>`;
  };
  return html`<table class="matrix"><thead><tr><td></td>${names.map(name => html`<th scope="col">${judge(name)}</th>`)}</tr></thead><tbody>${names.map((a, row) => html`<tr><th scope="row">${judge(a)}</th>${names.map((b, column) => cell(a, b, row, column))}</tr>`)}</tbody></table>
    <p class="note">Above the diagonal: AC1, where 1 is full agreement (kappa and McNemar's p on hover). Below: row minus column, in points of reject rate. Under ${ENOUGH_PAIRS} pairs is greyed. On it: first judgements that would not pass, in the window.</p>${doubtful(drift)}${won(drift)}`;
}

// Pairs from second opinions: those are asked about doubtful images, on which judges differ most.
function doubtful(drift) {
  const own = drift.agreement.filter(one => one.route === SELECTED && one.n);
  if (!own.length) return '';
  return html`<p class="note">On doubtful images alone, where a second opinion was asked: ${list(own.map(one => `${one.a} and ${one.b} AC1 ${one.ac1 ? one.ac1.effect.toFixed(2) : 'unknown'}, n ${count(one.n)}`))}.</p>`;
}

// Images that a hedge won were chosen by who was faster: what both say of them stands apart.
const won = drift =>
  drift.hedges.map(
    one => html`<p class="note ${one.n < FEW ? 'thin' : ''}" data-hedge>${one.sentence}</p>`,
  );

// Behind another line or instruction pairs are learnt anew.
const pairsOf = drift =>
  drift.pairs.changed
    ? html`pairs since ${moment(Date.parse(drift.pairs.changed))}, when judges began to judge as they do`
    : 'pairs of 14 days';

// A calibrated line stands beside the shift that is left under it.
function calibration(drift) {
  if (!drift.calibration.length)
    return html`<p class="note">Nothing to calibrate yet: a judge's own line is fitted from images that two judges judged.</p>`;
  const isFitted = drift.calibration.some(one => one.add !== null);
  const rows = drift.calibration.map(one => {
    const isThin = one.pairs < one.needs;
    const fitted = html`<td class="num">${one.at_line === null ? '–' : one.at_line.toFixed(2)}</td><td class="num">${one.add === null ? '–' : signed(one.add, 3)}</td>`;
    return html`<tr class="${isThin ? 'thin' : ''}"><th scope="row">${judge(one.judge)}</th><td class="num">${count(one.pairs)}</td>
      <td>${one.present ? shift(one, isThin) : html`<span class="q">no pairs</span>`}</td><td class="num">${one.present ? effect(one.present) : ''}</td>${isFitted ? fitted : ''}<td class="state">${calibrated(one)}</td></tr>`;
  });
  const heads = isFitted
    ? html`<th scope="col" class="num">at the line</th><th scope="col" class="num">adds</th>`
    : '';
  return html`<table><thead><tr><th scope="col">judge</th><th scope="col" class="num">pairs</th><th scope="col"><span class="sr">shift, points</span>${SHIFT_HEAD}</th><th scope="col" class="num">shift now, 95 %</th>${heads}<th scope="col" class="state">state</th></tr></thead><tbody>${rows}</tbody></table>`;
}

const effect = of =>
  html`${points(of.effect)} <span class="q small">${pointsRange(of.low, of.high)}</span>`;

function calibrated(one) {
  if (one.pairs < one.needs)
    return html`${icon('half_open')} ${plural(one.needs - one.pairs, 'pair')} short`;
  if (one.state === 'uncalibrated')
    return html`${icon('drift')} no line of its own: <code>vlmgate calibrate</code> fits one`;
  if (one.state === 'stale')
    return html`${icon('drift')} stale: run <code>vlmgate calibrate</code> again`;
  return html`${icon('pass')} ${one.state === 'by_hand' ? 'a line set by hand' : one.state}`;
}

function labels(drift, names) {
  const known = names
    .map(name => drift.people.judges.find(one => one.judge === name))
    .filter(Boolean);
  if (!known.length)
    return html`<p class="note">No labels yet: answer a few in <a href="/ui/review">Review</a>, and what each judge misses stands here.</p>`;
  return html`<table class="against"><thead><tr><th scope="col">judge</th><th scope="col">of its rejects, truly defective</th><th scope="col">of the defects, rejected</th></tr></thead><tbody>${known.map(one => html`<tr><th scope="row">${judge(one.judge)}</th><td>${intervalOf(one.judge, one.precision)}</td><td>${intervalOf(one.judge, one.recall)}</td></tr>`)}</tbody></table>`;
}
