// The stream of the user as a client has it: every event once, in the order of its useq. Pure.
//
//   take(useq, event) ──▶ it is the next one: told, with those that waited for it
//                     ──▶ it was told before: nothing
//                     ──▶ something is missing: it waits, and isMissing says that `sync` must be asked for the rest
//
// What the server does not tell any more (`gap`) is passed over, and told as `missed`.

export const EVENTS_AHEAD_MAX = 1000; // that wait for earlier ones; more are told again after `sync`

export class UserLog {
  constructor() {
    this.useq = null; // of the newest told; null: the server has not said where the stream is
    this.epoch = null;
    this._epochThere = null;
    this._ahead = new Map();
  }

  // Events have come that others should have come before.
  get isMissing() {
    return this._ahead.size > 0;
  }

  // Where to go on, as `start` and `sync` say it; undefined: there is nothing to go on from.
  get cursor() {
    return this.useq === null ? undefined : { useq: this.useq, epoch: this.epoch };
  }

  // The server has said `ready`. A stream that we know keeps its epoch until the server has said that it was replaced.
  entered(useq, epoch) {
    if (useq === undefined) return; // a server that has no such stream
    this._epochThere = epoch;
    if (this.useq !== null) return;
    this.useq = useq;
    this.epoch = epoch;
  }

  // What is to be told now that this has come.
  take(useq, event) {
    if (this.useq === null || useq <= this.useq) return [];
    if (this._ahead.size < EVENTS_AHEAD_MAX) this._ahead.set(useq, event);
    else if (useq === this.useq + 1) return [this._next(useq, event), ...this._follow()];
    return this._follow();
  }

  // What lies from *first* to *last* is not told any more; isReset: the stream is another one, which is at *last*.
  // Answers with what is to be told: what was missed, and what waited behind it.
  passOver(first, last, isReset) {
    if (this.useq === null || (last <= this.useq && !isReset)) return [];
    const from = isReset ? first : Math.max(first, this.useq + 1);
    if (isReset) {
      this._ahead.clear();
      this.epoch = this._epochThere;
    }
    for (const at of [...this._ahead.keys()]) if (at <= last) this._ahead.delete(at);
    this.useq = last;
    return [{ type: "missed", firstUseq: from, lastUseq: last, isReset }, ...this._follow()];
  }

  _follow() {
    const told = [];
    for (let next = this.useq + 1; this._ahead.has(next); next += 1) told.push(this._next(next, this._ahead.get(next)));
    return told;
  }

  _next(useq, event) {
    this._ahead.delete(useq);
    this.useq = useq;
    return event;
  }
}
