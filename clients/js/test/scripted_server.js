// A server that says what a test tells it to, over real sockets: for what the real one does once in a blue moon.

import assert from "node:assert/strict";
import { WebSocketServer } from "ws";

const WAIT_MS_MAX = 5000;
export const HELLO = { v: 1, hb: 25000, hbGrace: 10000, limits: { frame: 131072, rooms: 200 } };

export class ScriptedServer {
  constructor(hello = HELLO) {
    this.hello = hello;
    this.lines = new Waiting();
    this._server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "greenroom.v1" });
    this._server.on("connection", (socket) => {
      const line = new Line(socket);
      line.say({ type: "hello", data: this.hello });
      this.lines.put(line);
    });
  }

  async address() {
    if (this._server.address() === null) await new Promise((resolve) => this._server.once("listening", resolve));
    return `http://127.0.0.1:${this._server.address().port}`;
  }

  // The next connection, with its `start`.
  async line() {
    const line = await this.lines.next("a connection");
    line.start = (await line.heard("start")).data;
    return line;
  }

  // The next connection, let in: rooms as [id, top, epoch], or as {r, code, error} when refused.
  async ready(...rooms) {
    const line = await this.line();
    line.ready(...rooms);
    return line;
  }

  close() {
    for (const socket of this._server.clients) socket.terminate();
    this._server.close();
  }
}

class Line {
  constructor(socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.on("close", (code) => resolve(code)));
    this.frames = new Waiting();
    this.useq = 0;
    this.userEpoch = 1;
    socket.on("message", (data) => this.frames.put(JSON.parse(data)));
  }

  ready(...rooms) {
    const refused = rooms.filter((room) => !Array.isArray(room));
    const entered = rooms.filter(Array.isArray).map(([r, top, epoch = 1]) => ({ r, epoch, top, read: 0, unread: 0 }));
    const data = { user: 7, name: "Ann", userEpoch: this.userEpoch, useq: this.useq, rooms: entered, refused };
    this.say({ type: "ready", id: "start", data });
    this.say({ type: "live", data: { rooms: entered.map(({ r }) => r) } });
  }

  say(...frames) {
    for (const frame of frames) this.socket.send(JSON.stringify(frame));
  }

  message(room, seq, data = {}) {
    this.say({ type: "message", room, seq, ts: 1000 + seq, data: { id: seq, sender: 8, body: `m${seq}`, ...data } });
  }

  personal(useq, type = "block", data = { user: useq, blocked: true }) {
    this.say({ type, useq, ts: 1000 + useq, data });
  }

  // The next command, which must be of this type.
  async heard(type) {
    const frame = await this.frames.next(type);
    assert.equal(frame.type, type, JSON.stringify(frame));
    return frame;
  }

  ack({ id }, data = {}) {
    this.say({ type: "ack", id, data });
  }

  error({ id }, code, more = {}) {
    this.say({ type: "error", id, data: { code, error: "AN_ERROR", message: `error ${code}`, ...more } });
  }
}

// What came, in order, for who waits for it.
export class Waiting {
  constructor() {
    this._things = [];
    this._wake = null;
  }

  put(thing) {
    this._things.push(thing);
    this._wake?.();
  }

  async next(what) {
    const deadline = Date.now() + WAIT_MS_MAX;
    while (this._things.length === 0) {
      assert.ok(Date.now() < deadline, `${what} did not come within ${WAIT_MS_MAX} ms`);
      await new Promise((resolve) => {
        this._wake = resolve;
        setTimeout(resolve, 100);
      });
    }
    return this._things.shift();
  }

  get isEmpty() {
    return this._things.length === 0;
  }
}
