// *Verdicts*: what happened to this image? Facets, a live tail that can be held, and a drawer with one verdict.
import { get, getWhereKnown, post } from '/ui/api.js';
import { mini } from '/ui/chart/bullet.js';
import { linear, px, timeTicks } from '/ui/chart/scale.js';
import { draw, line, text } from '/ui/chart/svg.js';
import { icon, verdict } from '/ui/icons.js';
import { find, html, paint } from '/ui/markup.js';
import { judge, sorted } from '/ui/palette.js';
import { fillIn, picture } from '/ui/pictures.js';
import { lowest, reason, simulated } from '/ui/record.js';
import { isSimulated } from '/ui/shell.js';
import { drawer } from '/ui/view/drawer.js';
import { clockSeconds, count, moment, plural, score, seconds } from '/ui/words.js';

const FILTERS = ['verdict', 'basis', 'judge', 'route', 'failed', 'flag', 'team'];
const ROUTES = ['primary', 'hedge', 'failover', 'probe'];
const PAGE = 60;
const BASES = ['judge', 'second_opinion', 'check', 'deadline', 'no_judge', 'budget', 'cache'];

const skeleton = html`<h1 class="sr">Verdicts</h1><aside class="facets" aria-label="Filters" data-part="facets"></aside>
  <section class="list" aria-label="Verdicts, newest first"><div class="chips" data-part="chips"></div><div class="volume" data-part="volume"></div>
  <table class="log"><thead><tr><th scope="col"><span class="sr">picture</span></th><th scope="col">time</th><th scope="col">verdict</th><th scope="col">judge</th><th scope="col">lowest against its line</th><th scope="col" class="words">why</th><th scope="col" class="num opt">took</th></tr></thead><tbody data-part="rows"></tbody></table>
  <div data-part="rest"></div></section><aside class="drawer" aria-label="One verdict" data-part="drawer" tabindex="-1" hidden></aside>`;

// Opens the view in `root`.
export function open({ root, known, go, push, complain }) {
  paint(root, skeleton);
  const part = name => root.querySelector(`[data-part="${name}"]`);
  const rows = { all: [], views: {}, next: null, asked: '', isHeld: false, waiting: 0 };
  let place = null,
    stats = null,
    shown = null,
    labels = null,
    openRecord = null,
    openViews = [];

  const filters = () => ({
    ...Object.fromEntries(FILTERS.map(name => [name, place.query.get(name)])),
    policy: place.query.get('policy'),
    since: place.window.since,
    until: place.window.until,
  });
  const id = () => place?.query.get('id') ?? null;

  async function fetchRows(signal) {
    const key = JSON.stringify(filters());
    const isOther = key !== rows.asked;
    if (rows.isHeld && !isOther) return;
    const page = await get('/v1/verdicts', { ...filters(), limit: PAGE }, signal);
    const fresh = new Set(page.verdicts.map(one => one.id));
    const older = isOther
      ? []
      : rows.all.filter(one => !fresh.has(one.id) && one.at <= (page.verdicts.at(-1)?.at ?? ''));
    Object.assign(rows, {
      all: [...page.verdicts, ...older],
      views: { ...(isOther ? {} : rows.views), ...page.views },
      asked: key,
      waiting: 0,
    });
    if (isOther || !older.length) rows.next = page.next;
    if (isOther) rows.isHeld = false;
  }

  async function more() {
    const page = await get('/v1/verdicts', { ...filters(), limit: PAGE, cursor: rows.next });
    Object.assign(rows, {
      all: [...rows.all, ...page.verdicts],
      views: { ...rows.views, ...page.views },
      next: page.next,
    });
    showRows();
  }

  async function fetchOpen(signal) {
    if (!id()) {
      openRecord = null;
      return;
    }
    const listed = rows.all.find(one => one.id === id());
    if (openRecord?.id !== id()) {
      labels = null;
      shown = null;
      openRecord = listed ?? null;
      openViews = rows.views[id()] ?? [];
    }
    if (!listed?.complete) openRecord = await getWhereKnown(`/v1/verdicts/${id()}`, {}, signal);
    else openRecord = listed;
    if (!listed)
      openViews = (await getWhereKnown(`/v1/verdicts/${id()}/views`, {}, signal))?.views ?? [];
    else openViews = rows.views[id()] ?? [];
    labels ??= (await getWhereKnown(`/v1/verdicts/${id()}/labels`, {}, signal))?.labels ?? [];
  }

  function showDrawer() {
    const node = part('drawer');
    node.hidden = !id();
    root.classList.toggle('has-drawer', Boolean(id()));
    if (!id()) {
      paint(node, '');
      return;
    }
    if (openRecord)
      drawer(node, {
        record: openRecord,
        views: openViews,
        shown,
        labels,
        policies: known.policies,
      });
    else paint(node, html`<div class="empty"><p>There is no record ${id()}.</p></div>`);
  }

  function showRows() {
    paint(
      part('rows'),
      rows.all.map(one => row(one, rows.views[one.id], one.id === id())),
    );
    paint(part('rest'), rest(rows, place));
    fillIn(part('rows'));
    part('rows').querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }

  function showFilters() {
    paint(part('facets'), facets(stats, place));
    paint(part('chips'), chips(stats, place, rows));
    drawVolume(part('volume'), stats, place);
  }

  const show = () => {
    showDrawer();
    showFilters();
    showRows();
  };
  const select = (by, from = id()) => {
    const at = rows.all.findIndex(one => one.id === from);
    const next = rows.all[at < 0 ? 0 : at + by];
    if (!next) return;
    if (id()) go({ id: next.id });
    else push({ id: next.id });
  };
  const close = () => {
    const key = `row-${id()}`;
    if (id()) {
      go({ id: null });
      find(root, key)?.focus();
    }
  };
  const hold = () => {
    rows.isHeld = !rows.isHeld;
    if (!rows.isHeld) go({});
    else showFilters();
  };
  async function label(word) {
    if (!openRecord) return;
    try {
      await sendLabel(word);
    } catch (why) {
      complain(why);
    }
  }

  async function sendLabel(word) {
    const made = await post(`/v1/verdicts/${openRecord.id}/label`, {
      label: word,
      criterion: word === 'defect' ? (openRecord.failed[0] ?? null) : null,
      note: null,
    });
    labels = [...(labels ?? []), made];
    showDrawer();
  }

  root.addEventListener('change', event => {
    const { filter, value } = event.target.dataset;
    if (filter) go({ [filter]: event.target.checked ? value : null, id: null });
  });
  root.addEventListener('click', event => {
    const target = event.target.closest('button, tr[data-id]');
    if (!target) return;
    if (target.dataset.id) {
      if (target.dataset.id !== id()) {
        if (id()) go({ id: target.dataset.id });
        else push({ id: target.dataset.id });
      }
    } else if (target.dataset.drop) go({ [target.dataset.drop]: null });
    else if (target.dataset.view) {
      shown = target.dataset.view;
      showDrawer();
    } else if (target.dataset.label) label(target.dataset.label);
    else
      ({
        close,
        hold,
        more: () => more().catch(complain),
        older: () => select(1),
        newer: () => select(-1),
      })[target.dataset.key]?.();
  });
  root.addEventListener('keydown', event => {
    const target = event.target.closest('tr[data-id]');
    if (target && event.key === 'Enter') {
      push({ id: target.dataset.id });
      event.preventDefault();
    }
  });

  return {
    help: [
      ['J K', 'next, previous'],
      ['Enter', 'open'],
      ['Esc', 'close'],
      ['D O', 'defect, fine'],
      ['/', 'filters'],
      ['Space', 'hold the tail'],
    ],
    keys: {
      j: () => select(1),
      k: () => select(-1),
      Escape: close,
      d: () => label('defect'),
      o: () => label('ok'),
      '/': () => part('facets').querySelector('input')?.focus(),
      ' ': event => (event.target.closest('button, input') ? false : hold()),
    },
    close: () => root.classList.remove('has-drawer'),
    redraw: () => {
      if (stats) {
        drawVolume(part('volume'), stats, place);
        showDrawer();
      }
    },
    tell(event, data) {
      if (event !== 'verdicts' || !rows.isHeld) return;
      rows.waiting += data.verdicts.filter(one => matches(one, place.query)).length;
      showFilters();
    },
    async refresh(next, signal) {
      const isTurn =
        stats &&
        place &&
        place.query.get('id') !== next.query.get('id') &&
        sameBut('id', place.query, next.query);
      place = next;
      if (isTurn) {
        await fetchOpen(signal);
        show();
        return;
      }
      const about = {
        policy: place.query.get('policy'),
        since: place.window.since,
        until: place.window.until,
      };
      const [figures] = await Promise.all([get('/v1/stats', about, signal), fetchRows(signal)]);
      stats = figures;
      await fetchOpen(signal);
      show();
    },
  };
}

// Whether two queries are the same but for `name`.
function sameBut(name, a, b) {
  const rest = query =>
    [...query]
      .filter(([own]) => own !== name)
      .map(String)
      .sort()
      .join('&');
  return rest(a) === rest(b);
}

// Whether a verdict of the stream is one that the filters show.
function matches(one, query) {
  const is = name => !query.has(name) || query.get(name) === one[name];
  return (
    is('policy') &&
    is('verdict') &&
    is('basis') &&
    is('judge') &&
    is('route') &&
    (!query.has('failed') || one.failed.includes(query.get('failed'))) &&
    (!query.has('flag') || one.flags.includes(query.get('flag')))
  );
}

function row(record, views, isOpen) {
  const low = lowest(record);
  const [what, detail] = reason(record);
  const name = record.external_id ?? record.id.slice(0, 13);
  return html`<tr data-id="${record.id}" data-key="row-${record.id}" tabindex="0" ${isOpen ? html`aria-selected="true"` : ''}>
    <td>${views?.length ? html`<img data-picture="${picture(record.id, views[0])}" alt="">` : html`<span class="no-picture" title="no picture is kept of this one"></span>`}</td>
    <td>${moment(Date.parse(record.at), clockSeconds)}<br><span class="q small">${name}</span></td><td>${verdict(record.verdict)}${isSimulated(record) ? html`<br>${simulated(record)}` : ''}${record.borderline ? html`<br><span class="q small">near the line</span>` : ''}</td>
    <td>${record.judge ? judge(record.judge.name) : html`<span class="q">no judge</span>`}<br><span class="q small">${record.judge ? record.route?.replaceAll('_', ' ') : record.basis.replaceAll('_', ' ')}</span></td>
    <td>${low ? html`<span class="cell">${mini(low.score, low.passAt)}<span class="nowrap">${score(low.score, low.passAt)} <span class="q">of ${low.passAt.toFixed(2)}</span></span></span>` : html`<span class="q">not scored</span>`}</td>
    <td class="words">${what ? html`<span>${what}</span>` : ''}<span class="q small">${detail}</span></td><td class="num opt">${seconds(record.timing_ms.total)}</td></tr>`;
}

function rest(rows, place) {
  if (rows.all.length)
    return rows.next
      ? html`<p class="older"><button class="ctl" data-key="more">Older</button></p>`
      : html`<p class="older q small">That is all of the window.</p>`;
  const set = FILTERS.filter(name => place.query.has(name));
  return html`<div class="empty"><p><b>No verdict matches.</b></p>${
    set.length
      ? html`<p>${set.map(name => html`<button class="ctl" data-drop="${name}">Remove ${name}: ${place.query.get(name)}</button> `)}</p>`
      : html`<p>None in this window. Have one made: <code>vlmgate check photo.jpg</code>, or choose a longer window.</p>`
  }</div>`;
}

function facets(stats, place) {
  const { total } = stats;
  const group = (name, title, values, read = one => one) => {
    const chosen = place.query.get(name);
    const all =
      values.some(([value]) => value === chosen) || chosen === null
        ? values
        : [...values, [chosen, null]];
    if (!all.length) return '';
    return html`<fieldset><legend>${title}</legend>${all.map(([value, n]) => html`<label><input type="checkbox" data-filter="${name}" data-value="${value}" data-key="f-${name}-${value}" ${value === chosen ? html`checked` : ''}>${read(value)}<span class="n">${n === null ? '' : count(n)}</span></label>`)}</fieldset>`;
  };
  const bases = BASES.map(name => [name, total.by_basis[name] ?? 0]).filter(
    ([name, n]) => n || name === place.query.get('basis'),
  );
  const judges = sorted(stats.judges.map(one => one.judge)).map(name => [
    name,
    stats.judges.find(one => one.judge === name).served.count,
  ]);
  const routes = ROUTES.map(name => [name, total.by_route[name] ?? 0]).filter(
    ([name, n]) => n || name === place.query.get('route'),
  );
  const words = one => html`<span class="name">${one.replaceAll('_', ' ')}</span>`;
  return html`${group(
    'verdict',
    'verdict',
    [
      ['pass', total.pass],
      ['fail', total.fail],
      ['review', total.review],
    ],
    verdict,
  )}
    ${group('basis', 'basis', bases, words)}${group('judge', 'judge', judges, judge)}${group('route', 'route', routes, words)}
    ${group('failed', 'failed on', failing(stats), words)}${group(
      'flag',
      'flag',
      stats.flags.slice(0, 8).map(one => [one.flag, one.n]),
      one => html`<span class="name">${one}</span>`,
    )}${place.query.has('team') ? group('team', 'team', []) : ''}
    <p class="small q">Counts are of the window, before filters.</p>`;
}

// Criteria by how many judgements were under the line, most first.
function failing(stats) {
  const sums = {};
  for (const one of stats.criteria) sums[one.criterion] = (sums[one.criterion] ?? 0) + one.failed;
  return Object.entries(sums)
    .filter(([, n]) => n)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 12);
}

function chips(stats, place, rows) {
  const set = FILTERS.filter(name => place.query.has(name));
  const n = rows.all.length;
  const tail = place.window.isLive
    ? html`<button class="ctl low" data-key="hold" aria-pressed="${rows.isHeld}">${rows.isHeld ? html`Resume${rows.waiting ? `, ${count(rows.waiting)} new` : ''}` : 'Hold the tail'}</button>`
    : '';
  return html`${set.map(name => html`<button class="chip" data-drop="${name}" data-key="chip-${name}" aria-label="Remove the filter ${name}: ${place.query.get(name)}">${name.replaceAll('_', ' ')}: ${place.query.get(name).replaceAll('_', ' ')} ${icon('cross')}</button>`)}
    ${set.length ? '' : html`<span class="small q">no filter; <span class="kbd">/</span> to choose one</span>`}
    <span class="end small s">${n < PAGE && !rows.next ? plural(n, 'verdict') : html`newest ${count(n)}`} <span class="q">of ${count(stats.total.n)} in the window</span></span>${tail}`;
}

// Rejects over the window: a bar for each bucket.
function drawVolume(node, stats, place) {
  const { series } = stats;
  const ms = stats.bucket_s * 1000;
  const values =
    place.query.get('verdict') === 'review'
      ? series.review
      : place.query.get('verdict') === 'pass'
        ? series.pass
        : series.fail;
  const name = ['review', 'pass'].includes(place.query.get('verdict'))
    ? place.query.get('verdict')
    : 'fail';
  const high = Math.max(...values, 1);
  const middle = [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const isHot = value => name === 'fail' && value > middle + 3 * Math.sqrt(middle) + 3;
  const from = series.start_ms[0],
    to = series.start_ms.at(-1) + ms;
  draw(node, {
    height: 46,
    label: `${name} per bucket, at most ${high}`,
    body: width => {
      const right = width - 84;
      const x = linear(from, to, 0, right);
      const wide = x(from + ms) - x(from);
      const bars = values.map((value, at) =>
        value
          ? html`<rect x="${px(x(series.start_ms[at]))}" y="${px(30 - (value / high) * 28)}" width="${px(Math.max(1, wide - Math.min(1.5, wide * 0.2)))}" height="${px((value / high) * 28)}" fill="${isHot(value) ? 'var(--fail)' : 'var(--line-2)'}"/>`
          : '',
      );
      const labels = timeTicks(from, to, right / 110).map(tick =>
        text(x(tick.at), 43, tick.text, 'q', 'middle'),
      );
      return html`${line(0, 30.5, right, 30.5)}${bars}${labels}${text(right + 8, 12, `${name}, most`, 'q')}${text(right + 8, 26, count(high), 'i')}`;
    },
  });
}
