// A world for the page's tests: simulated providers and a gate as processes of their own, and a browser that
// holds every page to asking nobody else and complaining of nothing.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { chromium } from 'playwright-core';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const bin = process.env.VLMGATE_BIN_DIR ?? join(root, 'target/debug');
const AXE = readFileSync(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

const mug = readFileSync(join(root, 'tests/fixtures/mug.jpg'));

async function freePort() {
  const server = createServer();
  await new Promise(done => {
    server.listen(0, '127.0.0.1', done);
  });
  const { port } = server.address();
  await new Promise(done => {
    server.close(done);
  });
  return port;
}

// Asks until `look` answers with something; a test that waits in vain says for what.
export async function until(what, look, ms = 20_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look().catch(() => null);
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise(done => {
      setTimeout(done, 50);
    });
  }
}

function run(name, args, log) {
  const child = spawn(join(bin, name), args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', text => log.push(String(text)));
  child.stderr.on('data', text => log.push(String(text)));
  child.ended = new Promise(done => {
    child.on('exit', code => {
      log.push(`${name} ended: ${code}`);
      done(code);
    });
  });
  return child;
}

// A running gate over four simulated providers. `keys`: keys that may read and check, in clear.
export class World {
  // `behind`: lines of the policy that say who is asked behind verdicts.
  static async start({ keys = [], behind = '' } = {}) {
    const world = new World();
    world.folder = mkdtempSync(join(tmpdir(), 'vlmgate-page-'));
    world.log = [];
    const ports = await Promise.all([0, 0, 0, 0, 0, 0].map(freePort));
    const config = join(world.folder, 'simulated.yaml');
    const names = ['openai', 'anthropic', 'gemini', 'mistral'];
    const at = names.flatMap((name, place) => [`--${name}`, String(ports[place])]);
    world.admin = `http://127.0.0.1:${ports[4]}`;
    world.url = `http://127.0.0.1:${ports[5]}`;
    world.providers = run(
      'loadtest',
      ['providers', ...at, '--admin', String(ports[4]), '--latency-ms', '20', '--config', config],
      world.log,
    );
    await until(
      'the simulated providers',
      async () => existsSync(config) && readFileSync(config, 'utf8').includes('judges:'),
    );
    const policies = join(world.folder, 'policies');
    cpSync(join(root, 'policies'), policies, { recursive: true });
    const policy = join(policies, 'product-photo.yaml');
    writeFileSync(policy, readFileSync(policy, 'utf8').replace(/^record:/m, `${behind}record:`));
    const listed = keys.map(
      key =>
        `  - { name: tester, sha256: ${createHash('sha256').update(key).digest('hex')}, roles: [check, read] }\n`,
    );
    if (keys.length)
      writeFileSync(config, `${readFileSync(config, 'utf8')}keys:\n${listed.join('')}`);
    const data = join(world.folder, 'data');
    world.serve = [
      'serve',
      '--config',
      config,
      '--policies',
      policies,
      '--data',
      data,
      '--listen',
      `127.0.0.1:${ports[5]}`,
      '--log',
      'warn',
    ];
    world.store = join(data, 'vlmgate.db');
    world.key = keys[0] ?? null;
    await world.startGate();
    return world;
  }

  // A gate that ends by itself will never be ready: what it said stands in the error.
  async startGate() {
    this.gate = run('vlmgate', this.serve, this.log);
    const ended = this.gate.ended.then(code => {
      throw new Error(`the gate ended with ${code}:\n${this.log.join('')}`);
    });
    const ready = until('the gate', async () => (await fetch(`${this.url}/readyz`)).ok);
    await Promise.race([ready, ended]);
    // from here on its end is asked for
    ended.catch(() => null);
  }

  async stopGate() {
    this.gate.kill('SIGTERM');
    await this.gate.ended;
  }

  // Puts a made-up week and an hour with an outage into the store, and waits until the gate has counted it;
  // what `seed.py` says of it.
  async seed(...args) {
    const { id } = await this.check('template');
    const template = join(this.folder, 'template.json');
    writeFileSync(template, JSON.stringify(await this.get(`/v1/verdicts/${id}`)));
    // the made-up past comes first: a store in which nothing has been counted yet
    await this.stopGate();
    rmSync(dirname(this.store), { recursive: true });
    await this.startGate();
    await this.stopGate();
    const said = JSON.parse(
      execFileSync('python3', [join(root, 'tests/page/seed.py'), this.store, template, ...args], {
        encoding: 'utf8',
      }),
    );
    await this.startGate();
    await until(
      'the records to be counted',
      async () => (await this.get('/v1/stats?since=30d')).total.n === said.n,
      600_000 + said.n / 2,
    );
    return said;
  }

  // Writes a report of the store beside the running gate; where it is, as an address.
  report(...args) {
    const file = join(this.folder, 'report.html');
    const data = ['--data', dirname(this.store), '--out', file];
    execFileSync(join(bin, 'vlmgate'), ['report', ...data, ...args], { stdio: 'pipe' });
    return pathToFileURL(file).href;
  }

  async stop() {
    this.providers.kill('SIGTERM');
    await Promise.all([this.stopGate(), this.providers.ended]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  headers(more = {}) {
    return this.key ? { ...more, authorization: `Bearer ${this.key}` } : more;
  }

  // From now on every judge gives `scores`; what is not named is flawless.
  async judge(scores) {
    const { providers } = await (
      await fetch(`${this.admin}/providers`)
    )
      .json()
      .then(all => ({ providers: all.providers ?? all }));
    for (const { name } of providers) {
      const behaviour = { latency: { constant_ms: 20 }, judging: { fixed: { scores } } };
      const told = await fetch(`${this.admin}/providers/${name}/behaviour`, {
        method: 'PUT',
        body: JSON.stringify(behaviour),
      });
      if (!told.ok) throw new Error(await told.text());
    }
  }

  // From now on the provider of that kind takes so long to answer.
  async slow(kind, ms) {
    const all = await (await fetch(`${this.admin}/providers`)).json();
    const { name } = (all.providers ?? all).find(one => one.name.includes(kind));
    const behaviour = { latency: { constant_ms: ms }, judging: { fixed: { scores: {} } } };
    const body = JSON.stringify(behaviour);
    const told = await fetch(`${this.admin}/providers/${name}/behaviour`, { method: 'PUT', body });
    if (!told.ok) throw new Error(await told.text());
  }

  // Has the picture checked; the verdict.
  async check(externalId) {
    const form = new FormData();
    form.set('image', new Blob([mug], { type: 'image/jpeg' }), 'mug.jpg');
    form.set('policy', 'product-photo');
    form.set('vars', JSON.stringify({ category: 'home', background: 'white' }));
    form.set('external_id', externalId);
    const answer = await fetch(`${this.url}/v1/verdicts`, {
      method: 'POST',
      body: form,
      headers: this.headers(),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  async get(path) {
    const answer = await fetch(`${this.url}${path}`, { headers: this.headers() });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return answer.json();
  }
}

// A browser whose pages may ask one gate and nobody else.
export class Browser {
  static async start(executablePath) {
    const browser = new Browser();
    browser.faults = [];
    browser.inner = await chromium.launch({
      executablePath,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    });
    return browser;
  }

  async open(url, { theme = 'light', isAsking = false, hasScript = true } = {}) {
    const context = await this.inner.newContext({
      viewport: { width: 1440, height: 1000 },
      javaScriptEnabled: hasScript,
      colorScheme: theme,
      timezoneId: 'Europe/Berlin',
      locale: 'en-GB',
    });
    const page = await context.newPage();
    const { origin, protocol } = new URL(url);
    // a file has no origin that others could not have too: it may ask for itself alone
    const isOwn = asked =>
      protocol === 'file:' ? asked === url : new URL(asked).origin === origin;
    const fault = text => this.faults.push(`${page.url()}: ${text}`);
    page.on('request', request => {
      if (
        !request.url().startsWith('blob:') &&
        !request.url().startsWith('data:') &&
        !isOwn(request.url())
      )
        fault(`asked ${request.url()}`);
    });
    page.on('pageerror', why => fault(`broke: ${why.message}`));
    page.on('console', message => {
      // a browser reports the 401 that makes the page ask for a key; nothing else may be said
      const isExpected = isAsking && message.text().includes('401');
      if (['error', 'warning'].includes(message.type()) && !isExpected)
        fault(`said ${message.text()} (${message.location().url})`);
    });
    await page.goto(url);
    return page;
  }

  async close() {
    await this.inner.close();
  }
}

// The view has drawn what the gate answered.
export const ready = (page, view) =>
  page.waitForSelector(`main[data-ready="${view}"]`, { timeout: 20_000 });

// What axe finds that is serious or worse.
export async function serious(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ['violations', 'passes'] }),
  );
  if (passes.length < 10) throw new Error(`axe looked at almost nothing: ${passes.length} rules`);
  const grave = violations.filter(one => ['serious', 'critical'].includes(one.impact));
  return grave.map(
    one =>
      `${one.id}: ${one.nodes.map(node => `${node.target.join(' ')} ${node.failureSummary}`).join('; ')}`,
  );
}
