// The drawer: one verdict with the picture as the judge saw it, its scores against their lines, the attempts
// against the deadline, and what was measured before any judge was asked.
import { attempts } from '/ui/chart/attempts.js';
import { bullet } from '/ui/chart/bullet.js';
import { icon, verdict } from '/ui/icons.js';
import { html, paint } from '/ui/markup.js';
import { judge } from '/ui/palette.js';
import { fillIn, picture } from '/ui/pictures.js';
import { isDisputed, measured, route, said, simplify, simulated } from '/ui/record.js';
import { bytes, clockSeconds, count, digest, money, moment, score, seconds } from '/ui/words.js';

// Draws `record` into `node`. `views`: which pictures are kept; `shown`: which of them; `labels`: what people said.
export function drawer(node, { record, views, shown, labels, policies }) {
  const policy = policies.find(one => one.name === record.policy.name);
  const view = views.includes(shown) ? shown : views[0];
  paint(
    node,
    html`<div class="drawer-head">${verdict(record.verdict)}<span class="s">${moment(Date.parse(record.at), clockSeconds)}</span><code class="q">${record.id.slice(0, 18)}</code>${simulated(record)}
    <span class="end drawer-keys"><button class="ctl" data-key="older" aria-label="J, next"><span class="kbd">J</span></button><button class="ctl" data-key="newer" aria-label="K, previous"><span class="kbd">K</span></button><button class="ctl" data-key="close" aria-label="Esc, close"><span class="kbd">Esc</span></button></span></div>
    <div class="seen">${seen(record, views, view)}<div>${viewButtons(views, view)}${facts(record)}</div></div>
    ${scores(record, policy)}
    <h2>Attempts <span>${seconds(record.timing_ms.total)}, ${seconds(Math.max(0, record.deadline_ms - record.timing_ms.total))} to spare</span></h2><div class="chart" data-part="attempts"></div>
    ${findings(record)}${asked(labels)}`,
  );
  attempts(node.querySelector('[data-part="attempts"]'), record);
  fillIn(node);
}

function seen(record, views, view) {
  if (!views.length)
    return html`<div class="frame none"><p class="small q">No picture is kept of this one: the policy's <code>record.images</code> says of which.</p></div>`;
  const what = record.external_id ?? `image ${digest(record.image.digest)}`;
  return html`<figure class="frame"><img data-picture="${picture(record.id, view)}" alt="${what}, view ${view}, as the judge saw it"></figure>`;
}

function viewButtons(views, view) {
  if (views.length < 2) return '';
  return html`<div class="views">${views.map(one => html`<button class="ctl low" data-view="${one}" data-key="view-${one}" aria-pressed="${one === view}">${one}</button>`)}</div>`;
}

function facts(record) {
  const tokens = record.attempts.reduce(
    (sum, one) => [sum[0] + (one.input_tokens ?? 0), sum[1] + (one.output_tokens ?? 0)],
    [0, 0],
  );
  const pairs = [
    [
      'judge',
      record.judge
        ? judge(record.judge.name)
        : html`<span class="q">none, by ${record.basis.replaceAll('_', ' ')}</span>`,
    ],
    record.judge && ['model', record.judge.model],
    record.judge && ['route', route(record)],
    [
      'policy',
      html`${record.policy.name} <code title="${record.policy.revision}">${digest(record.policy.revision)}</code>`,
    ],
    record.would_be && ['would be', record.would_be],
    [
      'image',
      `${record.image.format} ${record.image.width_px} × ${record.image.height_px}, ${bytes(record.image.size_bytes)}`,
    ],
    tokens[0] > 0 && ['tokens', `${count(tokens[0])} in, ${count(tokens[1])} out`],
    ['cost', record.cost_micro_usd === null ? 'not known yet' : money(record.cost_micro_usd, 5)],
    record.team && ['team', record.team],
    record.external_id && ['external id', record.external_id],
    Object.keys(record.vars).length > 0 && [
      'said of it',
      Object.entries(record.vars)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    ],
    record.flags.length > 0 && [
      'flags',
      html`<span class="warn">${icon('flag')} ${record.flags.join(', ')}</span>`,
    ],
    record.client_gone && ['caller', 'hung up before the answer'],
    !record.complete && ['reasons', 'not in yet'],
  ].filter(Boolean);
  return html`<dl class="facts">${pairs.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

function scores(record, policy) {
  const all = Object.entries(record.scores);
  if (!all.length) return html`<h2>Scores <span>no judge scored it</span></h2>`;
  const others = isDisputed(record)
    ? html`<p class="small s">${said(record).map(one => html`${judge(one.judge)} said ${one.said}. `)}</p>`
    : '';
  const band = policy?.borderline ?? 0.08;
  const note = `lines of ${record.judge?.name ?? 'the policy'}${record.borderline ? '; near enough to a line to be a guess' : ''}`;
  return html`<h2>Scores <span>${note}</span></h2>${others}${all.map(
    ([
      name,
      one,
    ]) => html`<div class="criterion"><span>${name}</span>${bullet(one.score, one.pass_at, band)}<span class="num"><b>${one.score === null ? '–' : score(one.score, one.pass_at)}</b> <span class="q">/ ${one.pass_at.toFixed(2)}</span></span>
    <span class="small">${one.passed === null ? html`<span class="q">cannot tell</span>` : verdict(one.passed ? 'pass' : 'fail')}</span><p>${simplify(one.reason) || (record.complete ? '' : 'The reason is not in yet.')}</p></div>`,
  )}`;
}

function findings(record) {
  if (!record.findings.length) return '';
  const broken = record.findings.filter(one => !one.passed),
    kept = record.findings.filter(one => one.passed);
  const row = one =>
    html`<div><span>${one.check}</span><span class="${one.passed ? 's' : 'warn'}" title="${one.unit}">${measured(one)} ${one.passed ? icon('pass') : html`${icon('flag')} ${one.on_fail}`}</span></div>`;
  return html`<h2>Local checks <span>${seconds(record.timing_ms.checks)}, before any model; ${broken.length ? `${broken.length} of ${record.findings.length} broken` : `all ${record.findings.length} kept`}</span></h2><div class="findings">${[...broken, ...kept].map(row)}</div>`;
}

function asked(labels) {
  const last = labels?.filter(one => one.label !== 'withdrawn').at(-1);
  const told = last
    ? html`${last.by} said ${last.label}${last.criterion ? `, ${last.criterion}` : ''} ${moment(Date.parse(last.at))}`
    : 'no label yet';
  return html`<div class="asked"><span class="s">Was it right?</span><button class="ctl" data-label="defect" data-key="label-defect"><span class="kbd">D</span> defect</button><button class="ctl" data-label="ok" data-key="label-ok"><span class="kbd">O</span> fine</button><span class="small q end" role="status">${told}</span></div>`;
}
