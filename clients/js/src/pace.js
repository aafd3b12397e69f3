// Which classes of commands the server has asked to slow down, and for how long. Pure.
//
// A send counts as a command, too, and so does typing: while `cmds` waits, all of them do. The limits are those of the
// user, so they outlast a connection.

import { heeded } from "./backoff.js";

const CLASSES = ["send", "cmds", "typing"];
const TIMER_MS_MAX = 2 ** 31 - 1;

// As setTimeout takes them: what is longer it would not wait for at all. Throws TypeError for what is no time.
export function timerMs(seconds) {
  if (!Number.isFinite(seconds)) throw new TypeError("no time to wait");
  return Math.min(Math.ceil(seconds * 1000), TIMER_MS_MAX);
}

export class Pace {
  constructor() {
    this._until = new Map(); // class: seconds, of the caller's clock
  }

  // The server has said `slow_down`. A shorter wait does not end a longer one. Throws TypeError for what is no time.
  slowDown(kind, seconds, now) {
    const until = now + heeded(seconds);
    if (CLASSES.includes(kind)) this._until.set(kind, Math.max(this._until.get(kind) ?? 0, until));
  }

  // Seconds until one more of the class may go.
  waitSeconds(kind, now) {
    return Math.max(0, ...[kind, "cmds"].map((name) => (this._until.get(name) ?? 0) - now));
  }
}
