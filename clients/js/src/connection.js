// One WebSocket that is always being kept, until there is no use in it.
//
//   connecting ──open──▶ open ──closed, silent, no answer to a probe──▶ waiting ──▶ connecting …
//        │                 │                                              ▲
//        └─────────────────┴────── the range of the close code says how long, or: ended
//
// Knows frames only as far as they are about the line: ping, pong and reconnect end here, but for a pong with an id, which
// answers what was asked.

import { heeded, moveSeconds, retrySeconds } from "./backoff.js";
import { isShowable } from "./door.js";
import { ClientRefused } from "./errors.js";
import { timerMs } from "./pace.js";

export const SUBPROTOCOL = "greenroom.v1";
export const CONNECT_SECONDS_MAX = 10;
export const PROBE_SECONDS = 4; // nothing heard so long while something is awaited: ask; and so long again: gone
export const CLOSE_SECONDS_MAX = 2;
const SILENCE_SECONDS_DEFAULT = 40;
const EXPECTED_SECONDS_MAX = 10; // away for so long after the server has asked for it, nobody needs to be told
const TICK_MS = 500;
const OPEN = 1;
const CLOSED = 3;
const UNAUTHENTICATED = 4001;
const TOKEN_EXPIRED = 4002;
const RESTARTS = [1012, 4200]; // with which a server closes that is, or will be, elsewhere or anew
const MOVED = 4200;
const ABNORMAL = 1006; // no close frame came: RFC 6455 section 7.4.1

export class Connection {
  constructor({ address, token, WebSocket, isAwaiting, onFrame, onLost, onEnded }) {
    this.silenceSeconds = SILENCE_SECONDS_DEFAULT;
    this.token = ""; // as it was last asked for
    this._address = address;
    this._token = token;
    this._WebSocket = WebSocket;
    this._isAwaiting = isAwaiting;
    this._onFrame = onFrame;
    this._onLost = onLost;
    this._onEnded = onEnded;
    this._socket = null;
    this._failures = 0;
    this._wasRenewed = false;
    this._tries = 0;
    this._heardAt = this._deadline = this._probedAt = 0;
    this._ticker = this._timer = undefined;
    this._expectedUntil = 0;
    this._nudge = () => this.retryNow();
  }

  get isTokenRenewable() {
    return typeof this._token === "function";
  }

  // There is somebody to write to.
  get isOpen() {
    return this._socket?.readyState === OPEN;
  }

  // A token as it is now; one that comes when another connection is tried already takes the place of none.
  async freshToken() {
    const isSame = this.sameOne();
    const token = await (this.isTokenRenewable ? this._token() : this._token);
    if (isSame()) this.token = token;
    return token;
  }

  open() {
    if (this._ticker !== undefined) return; // it is kept already
    this._ticker = setInterval(() => this._watch(), TICK_MS);
    globalThis.addEventListener?.("online", this._nudge); // the network is back: wait no longer
    this._connect();
  }

  // The network is back, or somebody is who does not want to wait.
  retryNow() {
    if (this._ticker === undefined) return; // closed, or never opened
    if (this._socket === null) {
      if (this._deadline === Infinity) this._connect(); // else it is on its way
    } else if (this._socket.readyState === OPEN && performance.now() - this._heardAt > PROBE_SECONDS * 1000) this._probe();
  }

  // Answers whether the connection of now is still the one.
  sameOne() {
    const number = this._tries;
    return () => number === this._tries;
  }

  // Leave in order; the other side has CLOSE_SECONDS_MAX to answer.
  async close() {
    const socket = this._socket;
    this._stop();
    if (socket === null) return;
    await new Promise((resolve) => {
      socket.onclose = resolve;
      socket.close(1000);
      setTimeout(resolve, CLOSE_SECONDS_MAX * 1000).unref?.();
    });
    socket.terminate?.();
  }

  // The session has caught up: the next failure waits little again.
  live() {
    this._failures = 0;
    this._expectedUntil = 0;
    this._wasRenewed = false;
  }

  send(text) {
    if (!this.isOpen) return false;
    this._socket.send(text);
    return true;
  }

  async _connect() {
    clearTimeout(this._timer);
    const number = ++this._tries;
    this._probedAt = 0;
    this._deadline = performance.now() + CONNECT_SECONDS_MAX * 1000;
    try {
      await this.freshToken();
    } catch (fault) {
      if (number !== this._tries) return;
      if (fault instanceof ClientRefused) this._end(fault);
      else this._lost(ABNORMAL, `there is no token: ${fault?.message ?? fault}`);
      return;
    }
    if (number !== this._tries) return;
    if (!isShowable(this.token)) {
      const what = "the token is no text, empty, or has characters that none has, such as a line break at its end";
      this._end(new ClientRefused(UNAUTHENTICATED, what)); // as the server would
      return;
    }
    let socket;
    try {
      socket = this._socket = new this._WebSocket(this._address, [SUBPROTOCOL]);
    } catch (fault) {
      this._lost(ABNORMAL, `no socket can be made: ${fault?.message ?? fault}`); // a page over https and ws:, a policy
      return;
    }
    socket.onopen = () => (this._deadline = Infinity);
    socket.onmessage = (event) => this._heard(event.data);
    socket.onclose = (event) => this._lost(event.code, event.reason);
    socket.onerror = () => setTimeout(() => this._failed(socket)); // the close that follows says what to do
    this._heardAt = performance.now();
  }

  // Chromium closes what a policy of the page forbids without saying so: an error, and nothing follows.
  _failed(socket) {
    if (this._socket === socket && socket.readyState === CLOSED) this._lost(ABNORMAL, "no socket can be made");
  }

  _heard(data) {
    this._heardAt = performance.now();
    this._probedAt = 0;
    let heard;
    try {
      heard = JSON.parse(data);
    } catch {
      return; // nothing of ours
    }
    const socket = this._socket;
    for (const frame of Array.isArray(heard) ? heard : [heard]) {
      if (this._socket !== socket) return; // it was left
      const type = frame?.type;
      if (type === "ping") this.send('{"type":"pong"}');
      else if (type !== undefined && (type !== "pong" || frame.id !== undefined)) this._take(frame);
    }
  }

  // Whoever says what no greenroom says is none.
  _take(frame) {
    try {
      if (frame.type === "reconnect") this._moveAfter(frame.data ?? {});
      else this._onFrame(frame);
    } catch (fault) {
      this.isNone(frame.type, fault);
    }
  }

  // What came as this type cannot be read.
  isNone(type, fault) {
    if (this._ticker === undefined) return; // closed meanwhile
    this._lost(ABNORMAL, `what answers is no greenroom: its ${type} cannot be read (${fault.message})`);
  }

  // The server does not want this connection, and does not close it. waitSeconds: that it has named.
  giveUp(why, waitSeconds = 0) {
    this._lost(ABNORMAL, why, heeded(waitSeconds) + this._wait(ABNORMAL, why));
  }

  // Trying again would not help: it ends as if the server had closed with this code.
  refuse(code, why) {
    this._drop();
    this._end(new ClientRefused(code, why));
  }

  // The server gave everybody a moment of their own, and some time after it.
  _moveAfter({ after, deadline }) {
    const ms = timerMs(moveSeconds(after, deadline, Math.random()));
    clearTimeout(this._timer);
    const move = () => this._lost(MOVED, "the server asks to connect again", 0);
    this._timer = setTimeout(move, ms);
  }

  _probe() {
    this._probedAt = performance.now();
    this.send('{"type":"ping"}');
  }

  _watch() {
    const now = performance.now();
    const isQuietSince = (seconds) => now - this._heardAt > seconds * 1000;
    if (now > this._deadline) this._lost(ABNORMAL, "no answer in time");
    else if (this._socket?.readyState !== OPEN) return;
    else if (isQuietSince(this.silenceSeconds)) this._lost(ABNORMAL, "nothing was heard for too long");
    else if (this._probedAt > 0 && now - this._probedAt > PROBE_SECONDS * 1000) this._lost(ABNORMAL, "nobody answers");
    else if (this._probedAt === 0 && this._isAwaiting() && isQuietSince(PROBE_SECONDS)) {
      this._probe();
    }
  }

  _lost(code, reason, wait = this._wait(code, reason)) {
    const now = performance.now();
    if (RESTARTS.includes(code)) this._expectedUntil = now + EXPECTED_SECONDS_MAX * 1000;
    this._drop();
    const why = reason || (code === ABNORMAL ? "the connection was lost" : `closed with ${code}`);
    if (wait === null) {
      this._end(new ClientRefused(code, why));
      return;
    }
    this._failures += 1;
    this._timer = setTimeout(() => this._connect(), wait * 1000);
    this._onLost(code, why, wait, now < this._expectedUntil);
  }

  _wait(code, reason) {
    if (code === TOKEN_EXPIRED && this.isTokenRenewable && !this._wasRenewed) {
      this._wasRenewed = true;
      return 0;
    }
    return retrySeconds(code, reason, this._failures, Math.random());
  }

  _end(fault) {
    this._stop();
    this._onEnded(fault);
  }

  _stop() {
    this._drop(false);
    clearInterval(this._ticker);
    this._ticker = undefined;
    globalThis.removeEventListener?.("online", this._nudge);
  }

  // Forget the socket, and close it without waiting for the other side, who may be gone.
  _drop(isToBeClosed = true) {
    const socket = this._socket;
    this._socket = null;
    this._tries += 1;
    this._deadline = Infinity;
    clearTimeout(this._timer);
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (!isToBeClosed) return;
    socket.close(socket.readyState === OPEN ? 1000 : undefined);
    if (socket.terminate) setTimeout(() => socket.terminate(), CLOSE_SECONDS_MAX * 1000).unref();
  }
}
