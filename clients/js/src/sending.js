// Lines on their way to the server: each until it is stored or refused for good, in the order they were said.
//
// What is decided stands in outbox.js. While the server asks to slow down, lines wait there.

import { heeded } from "./backoff.js";
import { Refused } from "./errors.js";
import { tooLong } from "./frame_limit.js";
import { Outbox } from "./outbox.js";
import { timerMs } from "./pace.js";

const AGAIN_SECONDS = 1;

export class Sending {
  // nextId(): of a command; write(text): whether there was a connection to write to; tell(event)
  constructor({ nextId, frameLimit, pace, write, tell }) {
    this.outbox = new Outbox(nextId);
    this._frameLimit = frameLimit;
    this._pace = pace;
    this._write = write;
    this._tell = tell;
    this._isReady = false; // the server has let us in
    this._whenSent = [];
    this._timers = new Set();
    this._paceTimer = undefined;
  }

  say(line) {
    this.outbox.put(line);
    this._next();
  }

  // Resolves when every line is settled.
  wait() {
    if (this.outbox.size === 0) return Promise.resolve();
    return new Promise((resolve, reject) => this._whenSent.push({ resolve, reject }));
  }

  ready() {
    this._isReady = true;
    this._next();
  }

  // The connection is lost: whatever was under way has to be sent again.
  lose() {
    this._isReady = false;
    this.outbox.again();
  }

  // Nothing is sent any more.
  end(fault) {
    this.lose();
    for (const timer of [...this._timers, this._paceTimer]) clearTimeout(timer);
    for (const { reject } of this._whenSent.splice(0)) reject(fault);
  }

  // An `ack` or an `error` has come: whether it is about one of these. Throws TypeError for one that cannot be read, and
  // changes nothing then: the line is said again.
  answered(id, data, isError) {
    const line = this.outbox.sent(id);
    if (line === undefined) return false;
    if (!Number.isInteger(isError ? data.code : data.seq)) throw new TypeError("it has no number");
    if (!isError) this.confirmed(line, data.seq);
    else if (data.recoverable) this._hold(line, data.retryAfter, data.message || data.error);
    else this._undelivered(line, new Refused(data.code, data.message || data.error));
    return true;
  }

  // A message of ours has come: what it confirms. Of another one under its client id the server says what it is.
  copied({ roomId, clientId, seq, body, isDeleted, editedAtMs }) {
    const line = this.outbox.find(roomId, clientId);
    const isIt = line !== undefined && (isDeleted || editedAtMs !== null || body === line.body);
    if (isIt) this.confirmed(line, seq); // its ack was lost, or comes later
  }

  confirmed(line, seq) {
    this.outbox.finish(line);
    this._tell({ type: "confirmed", roomId: line.roomId, clientId: line.clientId, seq });
    this._settled();
  }

  // A frame was too long for the connection: if it is that of a line, it would close every one.
  refuseLongest() {
    const line = this._frameLimit.longest;
    if (this.outbox.underWay.includes(line)) this._giveUp(line);
  }

  _next() {
    if (!this._isReady) return;
    const seconds = this._pace.waitSeconds("send", performance.now() / 1000);
    if (seconds > 0) {
      this._paceTimer ??= setTimeout(() => {
        this._paceTimer = undefined;
        this._next();
      }, timerMs(seconds + 0.001));
      return;
    }
    for (const [id, line] of this.outbox.start()) {
      const { roomId: room, clientId, body } = line;
      const attachments = line.attachments.length > 0 ? line.attachments : undefined;
      const text = JSON.stringify({ type: "send", id, room, data: { body, clientId, attachments, ...line.details } });
      if (this._frameLimit.admits(text, line)) this._write(text);
      else queueMicrotask(() => this._giveUp(line)); // whoever says it has its client id first
    }
  }

  // No frame can carry it.
  _giveUp(line) {
    if (this.outbox.find(line.roomId, line.clientId) === line) this._undelivered(line, tooLong());
  }

  _undelivered(line, { code, message }) {
    this.outbox.finish(line);
    this._tell({ type: "undelivered", ...line, code, why: message });
    this._settled();
  }

  _settled() {
    if (this.outbox.size === 0) for (const { resolve } of this._whenSent.splice(0)) resolve();
    this._next();
  }

  _hold(line, seconds = AGAIN_SECONDS, why) {
    const retrySeconds = Math.max(AGAIN_SECONDS, heeded(seconds));
    const ms = timerMs(retrySeconds);
    this.outbox.hold(line);
    const timer = setTimeout(() => {
      this._timers.delete(timer);
      this.outbox.release(line.roomId);
      this._next();
    }, ms);
    this._timers.add(timer); // before it is told: whoever is may close the client
    this._tell({ type: "delayed", roomId: line.roomId, clientId: line.clientId, retrySeconds, why });
  }
}
