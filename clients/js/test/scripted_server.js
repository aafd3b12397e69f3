// A server that says what a test tells it to, over real sockets: for what the real one does once in a blue moon.
//
// All that it says and hears is to be in the AsyncAPI document, and frames_seen.js notes it. What a client must bear
// though no greenroom of today says it goes out by `sayWrong`, which is not noted.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { WebSocketServer } from "ws";
import { FramesSeen } from "./frames_seen.js";

const WAIT_MS_MAX = 5000;
const PAGE = readFileSync(new URL("../../../docs/wire-protocol.md", import.meta.url), "utf8");
export const HELLO = JSON.parse(PAGE.match(/^(\{"type":"hello",.*?)```/ms)[1]).data;
export const PLACE = { epoch: 1, top: 0, read: 0, unread: 0, mention: 0, members: 2, mode: "full" };
const SAID_BY = { sender: 8, senderName: "Ben" };
const ERRORS = {
  1001: ["BAD_JSON", "protocol"],
  1004: ["UNKNOWN_TYPE", "protocol"],
  1005: ["INVALID_CONTENT", "content"],
  2001: ["TOKEN_INVALID", "auth"],
  3004: ["NOT_MEMBER", "room"],
  3010: ["CLIENT_ID_CONFLICT", "room"],
  3014: ["FILE_NOT_FOUND", "content"],
  4291: ["RATE_LIMITED", "limit"],
  4292: ["TOO_MANY_INFLIGHT", "limit"],
  5001: ["SERVER_ERROR", "server"],
  5002: ["STORAGE_UNAVAILABLE", "server"],
  5003: ["TIMEOUT", "server"],
};
const RECOVERABLE = [4291, 4292, 5002, 5003];

// What an `ack` holds at least: of the command, and of what the test says.
const ANSWERS = {
  join: ({ room }) => ({ ...PLACE, r: room }),
  members: () => ({ members: [] }),
  history: (_, { messages = [] }) => ({ messages, top: Math.max(0, ...messages.map(({ seq }) => seq)), epoch: 1 }),
  presence: () => ({ users: [] }),
  sync: () => ({ rooms: [] }),
  read: ({ data }) => ({ seq: data.seq }),
  edit: ({ data }) => ({ messageId: data.message, seq: 1, ts: 1 }),
  block: ({ data }) => ({ user: data.user, blocked: true }),
  unblock: ({ data }) => ({ user: data.user, blocked: false }),
  refresh: () => ({ expires: null }),
};

// A message of a page.
export const stored = (seq, more = {}) => ({ id: seq, seq, ts: 1, ...SAID_BY, body: `m${seq}`, ...more });

export class ScriptedServer {
  // isHelloWrong: on purpose it is not in the document
  constructor(hello = HELLO, isHelloWrong = false) {
    this.hello = hello;
    this.isHelloWrong = isHelloWrong;
    this.lines = new Waiting();
    this._server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "greenroom.v1" });
    this._server.on("connection", (socket) => {
      const line = new Line(socket);
      const frame = { type: "hello", data: this.hello };
      if (this.isHelloWrong) line.sayWrong(frame);
      else line.say(frame);
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
    this.start = {};
    this.useq = 0;
    this.userEpoch = 1;
    this._seen = new FramesSeen();
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      this._seen.heard(frame);
      this.frames.put(frame);
    });
  }

  ready(...rooms) {
    const refused = rooms.filter((room) => !Array.isArray(room));
    const entered = rooms.filter(Array.isArray).map(([r, top, epoch = 1]) => ({ ...PLACE, r, top, epoch }));
    this.say(this.readyFrame({ rooms: entered, refused }));
    this.say({ type: "live", data: { rooms: entered.map(({ r }) => r) } });
  }

  readyFrame(data) {
    const session = { device: "test", session: "s", resumed: this.start.resume !== undefined };
    const user = { user: 7, name: "Ann", userEpoch: this.userEpoch, useq: this.useq };
    return { type: "ready", id: "start", data: { ...user, ...session, ...data } };
  }

  say(...frames) {
    for (const frame of frames) {
      this._seen.said(frame);
      this.sayWrong(frame);
    }
  }

  // On purpose what is not in the document.
  sayWrong(...frames) {
    for (const frame of frames) this.socket.send(JSON.stringify(frame));
  }

  message(room, seq, data = {}) {
    this.say({ type: "message", room, seq, ts: 1000 + seq, data: { id: seq, ...SAID_BY, body: `m${seq}`, ...data } });
  }

  personal(useq) {
    this.say({ type: "block", useq, ts: 1000 + useq, data: { user: useq, blocked: true } });
  }

  // The next command, which must be of this type.
  async heard(type) {
    const frame = await this.frames.next(type);
    assert.equal(frame.type, type, JSON.stringify(frame));
    return frame;
  }

  ack(command, data = {}) {
    const { type, id } = command;
    const room = type === "send" ? undefined : command.room; // the only one whose answer does not name it
    this.say({ type: "ack", id, room, data: { ...ANSWERS[type]?.(command, data), ...data } });
  }

  error({ id }, code, more = {}) {
    const [error, category] = ERRORS[code];
    const recoverable = RECOVERABLE.includes(code);
    this.say({ type: "error", id, data: { code, error, message: `error ${code}`, category, recoverable, ...more } });
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
