// What was said and is not stored yet, as far as we know. Pure.
//
// One line of each room is under way at a time, so that a room gets them in the order they were said; each keeps its
// client id through every new try, so that none is stored twice. The command of each try has an id of its own, by which
// its answer is known: a client id is for the room alone to know, may be longer, and may be the same in another room.
//
//   waiting ──start──▶ under way ──finish──▶ gone: stored, or refused for good
//      ▲                  │ again: the connection was lost
//      └── release ── held ◀── hold: the server asked to wait

import { OutboxFull, Refused } from "./errors.js";

export const LINES_MAX = 1000;
const CLIENT_ID_CONFLICT = 3010;

export class Outbox {
  // nextId(): of a command; none of them comes twice
  constructor(nextId) {
    this._nextId = nextId;
    this._lines = new Map(); // by room and client id, as they were said
    this._underWay = new Map(); // room: the id of the command
    this._sent = new Map(); // by that
    this._held = new Set(); // rooms
  }

  // How many are not known to be stored.
  get size() {
    return this._lines.size;
  }

  // Those of one room, as they were said.
  of(roomId) {
    return [...this._lines.values()].filter((line) => line.roomId === roomId);
  }

  // Say one more; a line that waits already is the same one. Throws OutboxFull, Refused.
  put(line) {
    const key = keyOf(line.roomId, line.clientId);
    const known = this._lines.get(key);
    if (known !== undefined && !saysTheSame(known, line)) {
      const what = `another line waits for room ${line.roomId} under the client id ${JSON.stringify(line.clientId.slice(0, 40))}`;
      throw new Refused(CLIENT_ID_CONFLICT, what);
    }
    if (known === undefined && this._lines.size >= LINES_MAX) {
      throw new OutboxFull(`${LINES_MAX} lines wait for the server already: wait until it is back`);
    }
    if (known === undefined) this._lines.set(key, line);
  }

  // [id of the command, line] of what is to be sent now: the first of each room that has none under way.
  start() {
    const started = [];
    for (const line of this._lines.values()) {
      if (this._underWay.has(line.roomId) || this._held.has(line.roomId)) continue;
      const id = this._nextId();
      this._underWay.set(line.roomId, id);
      this._sent.set(id, line);
      started.push([id, line]);
    }
    return started;
  }

  // clientId: null of what was said without one, which is none of these.
  find(roomId, clientId) {
    return clientId === null ? undefined : this._lines.get(keyOf(roomId, clientId));
  }

  // The line that this command carries, as long as it is under way.
  sent(id) {
    return this._sent.get(id);
  }

  // Those under way.
  get underWay() {
    return [...this._sent.values()];
  }

  // The line is stored, or refused for good.
  finish(line) {
    this._lines.delete(keyOf(line.roomId, line.clientId));
    this._standAside(line);
  }

  // The server asks to wait before this line is sent again.
  hold(line) {
    this._held.add(line.roomId);
    this._standAside(line);
  }

  // The wait is over.
  release(roomId) {
    this._held.delete(roomId);
  }

  // Whatever was under way has to be sent again.
  again() {
    this._underWay.clear();
    this._sent.clear();
  }

  _standAside(line) {
    const id = this._underWay.get(line.roomId);
    if (id === undefined || this._sent.get(id) !== line) return;
    this._underWay.delete(line.roomId);
    this._sent.delete(id);
  }
}

function keyOf(roomId, clientId) {
  return `${roomId} ${clientId}`;
}

function saysTheSame(one, other) {
  const all = ({ body, attachments, details }) => JSON.stringify([body, attachments, details], inOneOrder);
  return all(one) === all(other);
}

// For JSON.stringify: of two objects with the same keys in another order neither says anything else.
function inOneOrder(_, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, value[key]]));
}
