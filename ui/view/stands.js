// What drift told and nobody has seen: while it stands, none of it is told again. Somebody says here that it was
// seen, or that it is usual from now on.
import { post } from '/ui/api.js';
import { html, paint } from '/ui/markup.js';
import { judge, sorted } from '/ui/palette.js';
import { count, plural, when } from '/ui/words.js';

// Draws in `node` and says in `status` what came of it; `changed` is called once the gate has taken a word.
export function open({ node, status, changed }) {
  let policy = null,
    watch = null,
    isAsked = false,
    isBusy = false;

  const say = words => paint(status, words);

  const show = () => {
    const all = told(watch);
    node.hidden = !all.length;
    if (all.length) paint(node, isAsked ? question(watch, isBusy) : offer(all, isBusy));
  };

  async function send(then) {
    if (isBusy) return;
    isBusy = true;
    show();
    const about = policy;
    try {
      const done = await post('/admin/drift:acknowledge', { policy: about, then });
      isAsked = false;
      if (about === policy) {
        watch = { ...watch, told: done.stands };
        show();
        say(outcome(done));
        status.focus();
      }
      changed();
    } catch (reason) {
      if (about === policy) say(`Not taken: ${reason.message}`);
    } finally {
      isBusy = false;
      show();
    }
  }

  const turn = (isNow, key) => {
    isAsked = isNow;
    say('');
    show();
    node.querySelector(`[data-key="${key}"]`)?.focus();
  };
  const acts = {
    seen: () => send('watch'),
    ask: () => turn(true, 'stands-learn'),
    learn: () => send('learn'),
    back: () => turn(false, 'stands-ask'),
  };
  node.addEventListener('click', event => acts[event.target.closest('button')?.dataset.act]?.());

  return {
    // Draws what stands of `policy` by what `/v1/drift` says.
    show(drift) {
      const isOther = drift.policy !== policy;
      ({ policy, watch } = drift);
      if (isOther || !told(watch).length) isAsked = false;
      if (isOther) say('');
      show();
    },
  };
}

// Routing ends by itself: there is nothing to be seen.
const told = watch => (watch?.told ?? []).filter(one => one.detector !== 'share');

const button = (act, words, isBusy, isFirst = false) =>
  html`<button class="btn ${isFirst ? 'first' : ''}" data-act="${act}" data-key="stands-${act}" ${isBusy ? html`aria-disabled="true"` : ''}>${words}</button>`;

function offer(all, isBusy) {
  const judges = sorted(all.filter(one => one.judge).map(one => one.judge)).map(
    (name, at) => html`${at ? ', ' : ''}${judge(name)}`,
  );
  const isImages = all.some(one => one.detector === 'input');
  const more = isImages ? 'them, nor of any judge' : judges.length > 1 ? 'them' : 'it';
  const whom = isImages ? html`<b>the images</b>${judges.length ? ', ' : ''}${judges}` : judges;
  return html`<p>Told of ${whom}, and not seen yet: until somebody says so, nothing more is told of ${more}.</p>
    <div class="act">${button('seen', 'Seen, watch on', isBusy)}${button('ask', 'This is the new normal…', isBusy)}</div>`;
}

function question(watch, isBusy) {
  const { days, verdicts } = watch.learns;
  const isAway = watch.told.some(one => one.detector === 'share');
  const long = `${days ? `${plural(days, 'day')} and ` : ''}${count(verdicts)} verdicts`;
  return html`<p>Learn what is usual anew? For <b>${long}</b> at least nothing is watched, and no drift is told; what was usual before is forgotten.${isAway ? html` <b>Other judges serve now what the first one usually does</b>: that would be learnt as usual.` : ''}</p>
    <div class="act">${button('learn', 'Learn it anew', isBusy, true)}${button('back', 'Not now', isBusy)}</div>`;
}

function outcome(done) {
  if (done.learning)
    return `What is usual is learnt anew, until ${when(Date.parse(done.learning.until))} at least; nothing is watched till then.`;
  return done.told.length
    ? 'Seen: it is watched again from here. What is still so is told again.'
    : 'Somebody has seen it already.';
}
