// One WebSocket that is always being kept, or stopped for a reason.
//
//   connecting ──open──▶ open ──(the client says so)──▶ live
//       ▲                  │ closed, silent, too slow
//       └──── waiting ◀────┘                    40xx ──▶ stopped
//
// The range of a close code says what to do: 40xx stop, 41xx back off for at least a second, 42xx come back at once.
// Waiting grows with full jitter up to 30 s and starts again once the client was live. Nothing heard for the server's
// heartbeat and its grace, or no answer to a probe, counts as closed: a cut line does not say goodbye.

export const PROTOCOL = "greenroom.v1";
const OPEN_MS_MAX = 10_000;
const PROBE_MS_MAX = 4_000;
const SILENCE_MS_DEFAULT = 35_000;
const WAIT_MS_BASE = 500;
const WAIT_MS_MAX = 30_000;
const TICK_MS = 500;

export function waitAfter(code, reason, attempt, random = Math.random) {
  if (code >= 4000 && code < 4100) return null;
  if (code >= 4200 && code < 4300 && attempt === 0) return random() * 1000;
  const grown = random() * Math.min(WAIT_MS_MAX, WAIT_MS_BASE * 2 ** Math.min(attempt, 10));
  const told = /;\s*retry=(\d{1,4})/.exec(reason || "");
  if (told) return Number(told[1]) * 1000 + grown;
  return (code >= 4100 && code < 4200) || code === 1009 ? 1000 + grown : grown;
}

// address: async () => URL, asked anew for every attempt; throws {isFinal, message} when there is no point in trying.
// onFrame(object), onState(name, detail): connecting, open, live, waiting {at, attempt}, stopped {code, message}.
export class Connection {
  constructor({ address, onFrame, onState }) {
    this.address = address;
    this.onFrame = onFrame;
    this.onState = onState;
    this.name = "idle";
    this.attempt = 0;
    this.silenceMs = SILENCE_MS_DEFAULT;
    this._socket = null;
    this._heardAt = 0;
    this._openBy = 0;
    this._probedAt = null;
    this._waitTimer = null;
    this._generation = 0;
    this._tick = null;
  }

  start() {
    if (this._tick !== null) return;
    this._tick = setInterval(() => this._watch(), TICK_MS);
    this._onOnline = () => this.nudge();
    this._onVisible = () => document.visibilityState === "visible" && this.nudge();
    addEventListener("online", this._onOnline);
    document.addEventListener("visibilitychange", this._onVisible);
    this._connect();
  }

  stop() {
    clearInterval(this._tick);
    this._tick = null;
    removeEventListener("online", this._onOnline);
    document.removeEventListener("visibilitychange", this._onVisible);
    this._forget(1000);
    this._state("idle");
  }

  send(frame) {
    if (this._socket === null || this._socket.readyState !== WebSocket.OPEN) return false;
    this._socket.send(JSON.stringify(frame));
    return true;
  }

  // The session is up and has caught up: the next failure waits little again.
  live() {
    this.attempt = 0;
    this._state("live");
  }

  // Somebody came back, or the network did: do not wait any longer, and do not trust an old line.
  nudge() {
    if (this.name === "waiting") this._connect();
    else if (this._socket !== null && performance.now() - this._heardAt > 5000) this.probe();
  }

  // Is anybody there? Without an answer the line counts as cut.
  probe() {
    if (this._probedAt !== null || !this.send({ type: "ping" })) return;
    this._probedAt = performance.now();
  }

  async _connect() {
    clearTimeout(this._waitTimer);
    this._forget(1000);
    const generation = ++this._generation;
    this._state("connecting", { attempt: this.attempt });
    let url;
    try {
      url = await this.address();
    } catch (fault) {
      if (generation !== this._generation) return;
      if (fault.isFinal) this._stopped(fault.code || 0, fault.message);
      else this._wait(1006, "");
      return;
    }
    if (generation !== this._generation || this._tick === null) return;
    const socket = (this._socket = new WebSocket(url, [PROTOCOL]));
    this._openBy = performance.now() + OPEN_MS_MAX;
    this._heardAt = performance.now();
    socket.onopen = () => this._state("open");
    socket.onmessage = (event) => this._heard(event.data);
    socket.onclose = (event) => {
      this._socket = null;
      this._wait(event.code, event.reason);
    };
  }

  _heard(data) {
    this._heardAt = performance.now();
    this._probedAt = null;
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return; // nothing of ours
    }
    if (frame.type === "ping") this.send({ type: "pong" });
    else if (frame.type !== "pong") this.onFrame(frame);
  }

  _watch() {
    const socket = this._socket;
    if (socket === null) return;
    const now = performance.now();
    const isLate = socket.readyState === WebSocket.CONNECTING && now > this._openBy;
    const isSilent = socket.readyState === WebSocket.OPEN && now - this._heardAt > this.silenceMs;
    const isDeaf = this._probedAt !== null && now - this._probedAt > PROBE_MS_MAX;
    if (isLate || isSilent || isDeaf) {
      this._forget(4999);
      this._wait(1006, "");
    }
  }

  _wait(code, reason) {
    this._probedAt = null;
    const wait = waitAfter(code, reason, this.attempt);
    if (wait === null) {
      this._stopped(code, reason);
      return;
    }
    this.attempt += 1;
    clearTimeout(this._waitTimer);
    this._waitTimer = setTimeout(() => this._connect(), wait);
    this._state("waiting", { at: Date.now() + wait, attempt: this.attempt, code });
  }

  _stopped(code, message) {
    this._forget(1000);
    this._state("stopped", { code, message });
  }

  // Let go of the socket without waiting for the other side, who may be gone.
  _forget(code) {
    clearTimeout(this._waitTimer);
    this._generation += 1;
    this._probedAt = null;
    const socket = this._socket;
    this._socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(code);
    } catch {
      // a socket that still connects may refuse the code
    }
  }

  _state(name, detail = {}) {
    this.name = name;
    this.onState(name, detail);
  }
}
