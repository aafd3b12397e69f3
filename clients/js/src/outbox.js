// What was said and is not stored yet, as far as we know. Pure.
//
// One line of each room is under way at a time, so that a room gets them in the order they were said; each keeps its
// client id through every new try, so that none is stored twice.
//
//   waiting ──start──▶ under way ──finish──▶ gone: stored, or refused for good
//      ▲                  │ again: the connection was lost
//      └── release ── held ◀── hold: the server asked to wait

import { OutboxFull } from "./errors.js";

export const LINES_MAX = 1000;

export class Outbox {
  constructor() {
    this._lines = new Map(); // as they were said
    this._underWay = new Map(); // room: client id
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

  // Say one more. Throws OutboxFull.
  put(line) {
    if (this._lines.size >= LINES_MAX) {
      throw new OutboxFull(`${LINES_MAX} lines wait for the server already: wait until it is back`);
    }
    this._lines.set(line.clientId, line);
  }

  // The lines to send now: the first of each room that has none under way.
  start() {
    const started = [];
    for (const line of this._lines.values()) {
      if (this._underWay.has(line.roomId) || this._held.has(line.roomId)) continue;
      this._underWay.set(line.roomId, line.clientId);
      started.push(line);
    }
    return started;
  }

  find(clientId) {
    return this._lines.get(clientId);
  }

  // Those under way.
  get underWay() {
    return [...this._underWay.values()].flatMap((clientId) => this._lines.get(clientId) ?? []);
  }

  // The line is stored, or refused for good.
  finish(line) {
    this._lines.delete(line.clientId);
    if (this._underWay.get(line.roomId) === line.clientId) this._underWay.delete(line.roomId);
  }

  // The server asks to wait before this line is sent again.
  hold(line) {
    this._held.add(line.roomId);
    if (this._underWay.get(line.roomId) === line.clientId) this._underWay.delete(line.roomId);
  }

  // The wait is over.
  release(roomId) {
    this._held.delete(roomId);
  }

  // Whatever was under way has to be sent again.
  again() {
    this._underWay.clear();
  }
}
