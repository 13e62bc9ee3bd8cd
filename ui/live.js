// The live stream: `/v1/events` read by fetch, because an `EventSource` cannot send a key. It resumes by
// the last id after a break, and knows how long ago anything came.
import { Refusal, send } from '/ui/api.js';

// The gate sends at least a comment every 15 s; beyond this the stream is silent.
const SILENT_MS = 20_000;
const AGAIN_MS = 2_000;

const listeners = new Set();
let heard = Date.now();
let lastId = null;
let isStreaming = true;

// Calls `listen(event, data)` for each message; returns how to stop.
export function subscribe(listen) {
  listeners.add(listen);
  return () => listeners.delete(listen);
}

// Null while the stream runs; else how long it has been silent, ms.
export function silentFor() {
  const silence = Date.now() - heard;
  return silence < SILENT_MS ? null : silence;
}

// A view was answered: where the gate has no stream, that is how fresh the figures are.
export function answered() {
  if (!isStreaming) heard = Date.now();
}

function tell(event, data) {
  for (const listen of [...listeners]) listen(event, data);
}

// One message of the stream's text: the lines between two empty ones.
function read(block) {
  let event = 'message';
  const data = [];
  for (const line of block.split('\n')) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === 'event') event = value;
    else if (name === 'data') data.push(value);
    else if (name === 'id') lastId = value;
  }
  if (data.length) tell(event, JSON.parse(data.join('\n')));
}

async function once() {
  const headers = lastId === null ? {} : { 'last-event-id': lastId };
  const response = await send('/v1/events', { headers });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard = Date.now();
    const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop();
    blocks.forEach(read);
  }
}

// Reads the stream for as long as the page lives. Where the gate has none, the views ask by themselves.
export async function start() {
  for (;;) {
    try {
      await once();
    } catch (why) {
      if (why instanceof Refusal && (why.status === 404 || why.status === 403)) {
        isStreaming = false;
        return;
      }
    }
    await new Promise(done => {
      setTimeout(done, AGAIN_MS);
    });
  }
}
