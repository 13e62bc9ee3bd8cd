// The gate's own HTTP interface, and nothing else: same origin, JSON, refusals as sentences. A key is
// asked for once, kept for as long as the tab lives, and sent as `Authorization`.

const KEPT = 'vlmgate.key';

let wanted = null;

// Why the gate did not answer as asked.
export class Refusal extends Error {
  constructor(status, title, detail) {
    super(detail || title || `the gate answered ${status}`);
    this.status = status;
  }
}

const stored = () => {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
};

// Keeps `key` for this tab.
export function keep(key) {
  sessionStorage.setItem(KEPT, key);
  wanted = null;
}

// `ask` gives a promise that ends when somebody has entered a key. Asked once at a time.
let ask = () => Promise.reject(new Refusal(401, 'a key is needed'));
export function onKeyWanted(asker) {
  ask = asker;
}

function headers(extra) {
  const key = stored();
  return key ? { ...extra, authorization: `Bearer ${key}` } : extra;
}

async function refusal(response) {
  const type = response.headers.get('content-type') ?? '';
  const problem = type.includes('json') ? await response.json().catch(() => ({})) : {};
  return new Refusal(response.status, problem.title, problem.detail);
}

// The response to a request, once it is one: asks for a key where one is wanted.
export async function send(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers ?? {}) });
  if (response.status === 401) {
    wanted ??= ask(stored() !== null);
    await wanted;
    return send(path, options);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

// `path` with the parameters that are set.
export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// JSON of a GET.
export async function get(path, parameters, signal) {
  const response = await send(address(path, parameters), { signal });
  return response.json();
}

// JSON of a POST of JSON.
export async function post(path, body) {
  const response = await send(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  return response.json();
}

// A GET that may find nothing to ask: null where this gate has no such route.
export async function getWhereKnown(path, parameters, signal) {
  try {
    return await get(path, parameters, signal);
  } catch (why) {
    if (why instanceof Refusal && why.status === 404) return null;
    throw why;
  }
}
