// The log of one room as a client has it: every message once, in the order of its seq. Pure.
//
//   take(seq, said) ──▶ it is the next one: told, with those that waited for it
//                   ──▶ it was told before: nothing
//                   ──▶ something is missing: it waits, and isMissing says that there is something to fetch
//
// What is fetched is taken like what is heard. What is said is a message, a change of one, or who came or went; null where
// nothing at that seq is for us (`skip`). A seq that the server leaves out, in the middle of what it shows, is passed over.

export const AHEAD_MAX = 1000; // messages that wait for earlier ones; more are fetched again

export class RoomLog {
  constructor(recent = 0) {
    this.recent = recent;
    this.seq = null; // of the newest told; null: the room was not entered yet
    this.epoch = null;
    this.goal = 0; // what must be fetched up to
    this.lives = 0; // how often it was replaced: what was fetched in an earlier life is of another log
    this._epochThere = null;
    this._ahead = new Map();
  }

  // Something must be fetched, with `history` after `seq`.
  get isMissing() {
    return this.seq !== null && this.seq < this.goal;
  }

  // The newest seq that is known of, told or not.
  get top() {
    return Math.max(this.seq ?? 0, this.goal, ...this._ahead.keys());
  }

  // The server lets us in. The first time what is old begins `recent` below the top. A log that we know keeps its epoch
  // until the server has said that it was replaced: a cut between the two must not hide it.
  entered(top, epoch) {
    this._epochThere = epoch;
    if (this.seq !== null) return;
    this.epoch = epoch;
    this.seq = Math.max(0, top - this.recent);
    this.goal = top;
  }

  // The server will not replay what lies up to there.
  skipped(upTo) {
    this.goal = Math.max(this.goal, upTo);
  }

  // The log is another one: begin anew.
  replaced(top) {
    this._ahead.clear();
    this.lives += 1;
    this.epoch = this._epochThere;
    this.seq = Math.max(0, top - this.recent);
    this.goal = top;
  }

  // What is to be told now that this has come.
  take(seq, said) {
    if (this.seq === null || seq <= this.seq) return [];
    if (seq > this.seq + 1) {
      const hasPlace = this._ahead.has(seq) || this._ahead.size < AHEAD_MAX;
      if (hasPlace) this._ahead.set(seq, said);
      this.goal = Math.max(this.goal, hasPlace ? seq - 1 : seq);
      return [];
    }
    this.seq = seq;
    this._ahead.delete(seq);
    return [...(said === null ? [] : [said]), ...this._follow()];
  }

  // What is to be told of a page of `history` after `seq`, which was asked for to reach `goal`.
  // page: {seq, said}, in the order of seq.
  takePage(page, goal) {
    const told = [];
    for (const { seq, said } of page) {
      told.push(...this._passOver(seq - 1), ...this.take(seq, said));
    }
    if (page.length === 0) told.push(...this._passOver(goal));
    return told;
  }

  // Nothing more comes up to *seq*; what waited there is told.
  _passOver(seq) {
    const told = [];
    for (const at of [...this._ahead.keys()].filter((at) => at <= seq).sort((a, b) => a - b)) {
      const said = this._ahead.get(at);
      this._ahead.delete(at);
      if (said != null && at > this.seq) told.push(said);
    }
    this.seq = Math.max(this.seq, seq);
    return [...told, ...this._follow()];
  }

  // Those that waited and are next now.
  _follow() {
    const told = [];
    for (let next = this.seq + 1; this._ahead.has(next); next += 1) {
      const said = this._ahead.get(next);
      this._ahead.delete(next);
      this.seq = next;
      if (said != null) told.push(said);
    }
    return told;
  }
}
