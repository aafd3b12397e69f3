// A room as this tab has it: messages in one unbroken run of seq, and what came too early.
//
//   messages   of the run, from `first` to `last`; a seq that is hidden from us counts as there
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
    this.first = null;
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

  // Begin with the newest page of so many.
  startWith(page, limit) {
    this.messages = page.messages.slice();
    this.last = Math.max(page.top, ...page.messages.map(({ seq }) => seq));
    this.first = this.last + 1;
    this.top = Math.max(this.top, this.last);
    this._lookedBack(page, limit);
    this._drain();
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

  // A page of so many behind what we have, with what has a place beside messages. Returns what the run gained.
  fill({ messages, changes = [], skip = [], top, more }, limit) {
    const passed = [...changes.map(({ seq }) => seq), ...skip].map((seq) => ({ seq, isPassed: true }));
    const gained = [];
    for (const entry of [...messages, ...passed].sort((a, b) => a.seq - b.seq)) {
      if (!entry.isPassed) gained.push(...this.apply(entry));
      else if (entry.seq === this.last + 1) gained.push(...this.reach(entry.seq));
    }
    if (!more && messages.length + passed.length < limit) gained.push(...this.reach(top));
    return gained;
  }

  // An older page of so many, before what we have. Returns what the run gained.
  prepend(page, limit) {
    const older = page.messages.filter((message) => message.seq < this.first);
    this.messages.unshift(...older);
    this._lookedBack(page, limit);
    return older;
  }

  // A page is full with what is hidden from us as well, which it names; or it was cut to its size (`more`).
  _lookedBack({ messages, skip = [], more }, limit) {
    const seqs = [...messages.map(({ seq }) => seq), ...skip];
    this.first = Math.min(this.first, ...seqs);
    this.hasOlder = (more || seqs.length >= limit) && this.first > 1;
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
      this.first = this.messages[0].seq;
      this.hasOlder = true;
    }
    return gained;
  }
}
