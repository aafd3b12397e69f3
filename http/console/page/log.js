// A room as this tab has it: messages in one unbroken run of seq, and what came too early.
//
//   messages   the run, from `first` to `last`; a seq that is hidden from us counts as there
//   ahead      messages beyond the run: they wait until what lies between has come
//
// Applying is idempotent: what the run has is dropped, what follows is appended. So nothing is shown twice, nothing
// out of order, and a loss cannot be missed. Knows neither sockets nor pages.

export const RUN_MESSAGES_MAX = 2000;
const AHEAD_MESSAGES_MAX = 1000;

export class RoomLog {
  constructor() {
    this.reset();
  }

  reset() {
    this.messages = [];
    this.ahead = new Map();
    this.last = null; // null: nothing was loaded yet
    this.hasOlder = false;
    this.top = 0; // the newest seq that was seen or heard of
  }

  get isLoaded() {
    return this.last !== null;
  }

  get hasGap() {
    return this.isLoaded && this.top > this.last;
  }

  // Begin with the newest page; returns nothing.
  startWith(page, top, limit) {
    this.messages = page.slice();
    this.last = Math.max(page.length ? page[page.length - 1].seq : 0, top);
    this.top = Math.max(this.top, this.last);
    this.hasOlder = page.length >= limit && page[0].seq > 1;
    return this._drain();
  }

  // One message, from the wire or from history. Returns those that the run gained, in order.
  apply(message) {
    this.top = Math.max(this.top, message.seq);
    if (!this.isLoaded || message.seq <= this.last) return [];
    if (this.ahead.size < AHEAD_MESSAGES_MAX) this.ahead.set(message.seq, message);
    return this._drain();
  }

  // A message that the run has, or that waits, says something else; the latest change counts. Returns the message, if it
  // is in the run.
  change({ seq, of, body = "", deleted }) {
    const inRun = this.messages.find((known) => known.seq === of);
    const message = inRun || this.ahead.get(of);
    if (message === undefined || seq <= (message.changedAt || 0)) return undefined;
    Object.assign(message, { body, changedAt: seq, edited: message.edited || true, deleted: deleted || message.deleted });
    return inRun;
  }

  // There is nothing for us up to *seq* beyond what we have. Returns what the run gained.
  reach(seq) {
    if (!this.isLoaded || seq <= this.last) return [];
    const gained = [...this.ahead.keys()].filter((at) => at <= seq).sort((a, b) => a - b);
    for (const at of gained) this.messages.push(this.ahead.get(at));
    const added = gained.map((at) => this.ahead.get(at));
    for (const at of gained) this.ahead.delete(at);
    this.last = seq;
    this.top = Math.max(this.top, seq);
    return [...added, ...this._drain()];
  }

  // An older page, before what we have.
  prepend(page, limit) {
    const first = this.messages.length ? this.messages[0].seq : Infinity;
    const older = page.filter((message) => message.seq < first);
    this.messages.unshift(...older);
    this.hasOlder = page.length >= limit && page[0].seq > 1;
    return older;
  }

  has(clientId, sender) {
    return this.messages.some((message) => message.clientId === clientId && message.sender === sender);
  }

  _drain() {
    const gained = [];
    while (this.ahead.has(this.last + 1)) {
      const message = this.ahead.get(this.last + 1);
      this.ahead.delete(message.seq);
      this.messages.push(message);
      this.last = message.seq;
      gained.push(message);
    }
    for (const seq of this.ahead.keys()) if (seq <= this.last) this.ahead.delete(seq);
    if (this.messages.length > RUN_MESSAGES_MAX) {
      this.messages.splice(0, this.messages.length - RUN_MESSAGES_MAX);
      this.hasOlder = true;
    }
    return gained;
  }
}
