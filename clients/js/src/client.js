// A client of greenroom.v1 that outlives its connections. The contract that it keeps stands in docs/clients.md.
//
//   hello ─▶ start {resume: seq and epoch of each room} ─▶ ready ─▶ replay, or gap and history ─▶ live

import { Connection } from "./connection.js";
import { ClientRefused, Refused, ServerAway } from "./errors.js";
import { Outbox } from "./outbox.js";
import { Presence } from "./presence.js";
import { RoomLog } from "./room_log.js";

export const HISTORY_PAGE = 200;
export const HOLE_SECONDS = 0.2; // what is missing may be on its way
export const ROOMS_MAX = 200;
const FRAME_BYTES_MAX = 131072;
const AGAIN_SECONDS = 1;
const NOT_MEMBER = 3004;
const FRAME_TOO_BIG = 1003;
const TOO_MANY_ROOMS = 4293;
const CLOSED_TOO_BIG = 1009;
const WORTH_ANOTHER_TRY = [4291, 4292, 5002, 5003];

class Room {
  constructor(id, recent) {
    this.id = id;
    this.log = new RoomLog(recent);
    this.presence = new Presence();
    this.isEntered = false;
    this.isFetching = false;
    this.entered = new Promise((resolve, reject) => {
      this.letIn = resolve;
      this.refuse = reject;
    });
    this.entered.catch(() => {}); // who waits for it is told; nobody has to
  }
}

export class Client {
  constructor({ url, token, device = "", WebSocket = globalThis.WebSocket, onEvent = () => {} }) {
    if (WebSocket === undefined) throw new TypeError("there is no WebSocket here: give one, such as that of `ws`");
    if (!/^(http|ws)s?:$/.test(new URL(url).protocol)) throw new TypeError(`${url}: an address such as http://127.0.0.1:8787`);
    this.userId = 0;
    this.isConnected = false;
    this._device = device;
    this._onEvent = onEvent;
    this._rooms = new Map();
    this._outbox = new Outbox();
    this._replies = new Map();
    this._whenSent = [];
    this._serial = 0;
    this._frameBytesMax = FRAME_BYTES_MAX;
    this._wasReady = false;
    this._fault = null; // why it has ended
    this._connection = new Connection({
      address: `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/ws`,
      token,
      WebSocket,
      isAwaiting: () => !this.isConnected || this._replies.size > 0 || this._outbox.underWay.length > 0,
      onFrame: (frame) => this._heard(frame),
      onLost: (code, why, retrySeconds) => this._lost(code, why, retrySeconds),
      onEnded: (fault) => this._ended(fault),
    });
  }

  // -- for the user ----------------------------------------------------------------------------------------------

  open() {
    this._connection.open();
  }

  async close() {
    this._finish(new ServerAway("the client was closed"));
    await this._connection.close();
  }

  get unsent() {
    return this._outbox.size;
  }

  pending(roomId) {
    return this._outbox.of(roomId);
  }

  here(roomId) {
    const presence = this._rooms.get(roomId)?.presence;
    return presence?.isKnown ? new Map(presence.people) : null;
  }

  join(roomId, { recent = 0 } = {}) {
    if (this._fault !== null) return Promise.reject(this._fault);
    let room = this._rooms.get(roomId);
    if (room === undefined) {
      if (this._rooms.size >= ROOMS_MAX) return Promise.reject(new Refused(TOO_MANY_ROOMS, `${ROOMS_MAX} rooms are joined`));
      this._rooms.set(roomId, (room = new Room(roomId, recent)));
      if (this.isConnected) this._enter(room);
    }
    return room.entered;
  }

  leave(roomId) {
    const room = this._rooms.get(roomId);
    this._rooms.delete(roomId);
    room?.refuse(new Refused(NOT_MEMBER, "the room was left"));
    this._write({ type: "leave", room: roomId });
  }

  send(roomId, body) {
    if (this._fault !== null) throw this._fault;
    const line = { roomId, clientId: newClientId(), body };
    this._outbox.put(line);
    this._sendNext();
    return line.clientId;
  }

  waitSent() {
    if (this._outbox.size === 0) return Promise.resolve();
    if (this._fault !== null) return Promise.reject(this._fault);
    return new Promise((resolve, reject) => this._whenSent.push({ resolve, reject }));
  }

  typing(roomId, isTyping) {
    this._write({ type: "typing", room: roomId, data: { on: isTyping } });
  }

  read(roomId, seq) {
    this._write({ type: "read", room: roomId, data: { seq } });
  }

  async history(roomId, count, before) {
    const answer = await this.request("history", roomId, { limit: Math.min(count, HISTORY_PAGE), before });
    return answer.messages.filter(isMessage).map((item) => this._said(roomId, item, item));
  }

  request(type, roomId, data = {}) {
    return new Promise((resolve, reject) => this._ask(type, roomId, data, { resolve, reject }));
  }

  // -- connections -----------------------------------------------------------------------------------------------

  // reply.resolve is called before anything that comes after the answer is looked at.
  _ask(type, roomId, data, reply) {
    const id = `c${++this._serial}`;
    if (this._write({ type, id, room: roomId, data })) this._replies.set(id, reply);
    else reply.reject(this._fault ?? new ServerAway("there is no connection"));
  }

  _write(command) {
    return this.isConnected && this._connection.send(JSON.stringify(command));
  }

  _lost(code, why, retrySeconds) {
    if (code === CLOSED_TOO_BIG) this._refuseLargest();
    this._disconnect(new ServerAway("the connection was lost"));
    this._tell({ type: "disconnected", code, why, retrySeconds });
  }

  _ended(fault) {
    this._finish(fault);
    this._tell({ type: "ended", code: fault.code, why: fault.message });
  }

  _disconnect(fault) {
    this.isConnected = false;
    this._outbox.again();
    for (const room of this._rooms.values()) room.presence.forget();
    const replies = [...this._replies.values()];
    this._replies.clear();
    for (const { reject } of replies) reject(fault);
  }

  _finish(fault) {
    this._fault ??= fault;
    this._disconnect(fault);
    for (const room of this._rooms.values()) room.refuse(fault);
    for (const { reject } of this._whenSent.splice(0)) reject(fault);
  }

  // -- what the server says --------------------------------------------------------------------------------------

  _heard(frame) {
    const { type, id, data = {} } = frame;
    if (type === "hello") this._hello(data);
    else if (type === "ready") this._ready(data);
    else if (type === "live") this._live(data);
    else if (type === "token_expiring") this._refresh();
    else if (id !== undefined && (type === "ack" || type === "error")) this._answered(id, data, type === "error");
    else {
      for (const roomId of frame.rooms ?? [frame.room]) {
        const room = this._rooms.get(roomId);
        if (room !== undefined) this._heardIn(room, frame, data);
      }
    }
  }

  _heardIn(room, { type, seq, ts }, data) {
    const roomId = room.id;
    if (seq !== undefined) {
      // Whatever has a seq has a place in the log, also what is not known here.
      const said = type === "message" ? this._said(roomId, { seq, ts }, data) : null;
      this._tellSaid(room.log.take(seq, said));
      if (room.log.isMissing) setTimeout(() => this._fetch(room), HOLE_SECONDS * 1000);
    } else if (type === "gap") this._gap(room, data);
    else if (type === "presence_state") this._tellPresence(room, room.presence.state(data.users));
    else if (type === "presence_diff") this._tellPresence(room, room.presence.diff(data.joins, data.leaves));
    else if (type === "receipts") this._tell({ type: "receipts", roomId, marks: namesById(data.marks) });
    if (type === "typing") {
      const names = namesById(data.names);
      names.delete(this.userId);
      this._tell({ type: "typing", roomId, names });
    } else if (type === "member") {
      const isActive = data.change === "joined";
      this._tell({ type: "member", roomId, userId: data.user, isActive });
      if (data.user === this.userId && !isActive) this._shutOut(room, new Refused(NOT_MEMBER, "no member any more"));
    }
  }

  _hello(data) {
    this._connection.silenceSeconds = (data.hb + data.hbGrace) / 1000;
    this._frameBytesMax = data.limits?.frame ?? FRAME_BYTES_MAX;
    const rooms = [];
    const known = {};
    for (const { id, log } of this._rooms.values()) {
      if (log.seq === null) rooms.push({ r: id });
      else known[id] = { seq: log.seq, epoch: log.epoch };
    }
    const resume = Object.keys(known).length > 0 ? { rooms: known } : undefined;
    const start = { token: this._connection.token, device: this._device, rooms, resume };
    this._connection.send(JSON.stringify({ type: "start", id: "start", data: start }));
  }

  _ready(data) {
    this.userId = data.user;
    this.isConnected = true;
    this._tell({ type: "connected", userId: data.user, name: data.name, isAgain: this._wasReady });
    this._wasReady = true;
    const unanswered = new Map(this._rooms);
    for (const item of [...data.rooms, ...(data.refused ?? [])]) {
      const room = unanswered.get(item.r);
      unanswered.delete(item.r);
      if (room === undefined) this._write({ type: "leave", room: item.r }); // left since `start` was sent
      else if (item.code === undefined) this._entered(room, item);
      else this._roomRefused(room, new Refused(item.code, item.error));
    }
    for (const room of unanswered.values()) this._enter(room); // asked for since
    this._sendNext();
  }

  _live(data) {
    this._connection.live();
    for (const roomId of data.rooms) this._rooms.get(roomId)?.presence.live();
  }

  _enter(room) {
    const { seq, epoch } = room.log;
    this._ask("join", room.id, seq === null ? {} : { after: seq, epoch }, {
      resolve: (item) => this._entered(room, item),
      reject: (fault) => fault instanceof Refused && this._roomRefused(room, fault), // else: the next connection asks
    });
  }

  _entered(room, item) {
    room.log.entered(item.top, item.epoch);
    room.isEntered = true;
    room.letIn();
    this._fetch(room);
  }

  _roomRefused(room, fault) {
    if (!WORTH_ANOTHER_TRY.includes(fault.code)) this._shutOut(room, fault);
    else setTimeout(() => this._rooms.get(room.id) === room && this.isConnected && this._enter(room), AGAIN_SECONDS * 1000);
  }

  _shutOut(room, fault) {
    if (this._rooms.get(room.id) !== room) return;
    this._rooms.delete(room.id);
    room.refuse(fault);
    if (room.isEntered) this._tell({ type: "roomRefused", roomId: room.id, code: fault.code, why: fault.message });
  }

  _gap(room, data) {
    if (data.reset) {
      room.log.replaced(data.top);
      this._tell({ type: "replaced", roomId: room.id });
    } else room.log.skipped(data.to);
    this._fetch(room);
  }

  async _refresh() {
    if (!this._connection.isTokenRenewable) return;
    try {
      await this.request("refresh", undefined, { token: await this._connection.freshToken() });
    } catch {
      // The server closes with 4002 when the old one is over, and the next connection begins with another.
    }
  }

  // -- every message once, in order ------------------------------------------------------------------------------

  async _fetch(room) {
    const isHere = () => this.isConnected && this._rooms.get(room.id) === room;
    if (room.isFetching || !isHere()) return;
    room.isFetching = true;
    try {
      while (room.log.isMissing && isHere()) {
        const { seq, goal, lives } = room.log;
        const answer = await this.request("history", room.id, { after: seq, limit: HISTORY_PAGE });
        if (lives !== room.log.lives) continue;
        const page = answer.messages.map((item) => ({
          seq: item.seq,
          said: isMessage(item) ? this._said(room.id, item, item) : null,
        }));
        this._tellSaid(room.log.takePage(page, goal));
      }
    } catch (fault) {
      if (fault instanceof Refused) setTimeout(() => this._fetch(room), AGAIN_SECONDS * 1000);
      else if (!(fault instanceof ServerAway || fault instanceof ClientRefused)) throw fault;
    } finally {
      room.isFetching = false;
    }
  }

  _said(roomId, { seq, ts }, { sender, senderName, body, clientId = null }) {
    const name = senderName || `user ${sender}`;
    return { type: "said", roomId, seq, senderId: sender, sender: name, body, atMs: ts, clientId, isOwn: sender === this.userId };
  }

  _tellSaid(told) {
    for (const said of told) {
      const line = said.isOwn ? this._outbox.find(said.clientId) : undefined;
      if (line !== undefined) this._confirmed(line, said.seq); // its ack was lost, or comes later
      this._tell(said);
    }
  }

  _tellPresence(room, { here, gone }) {
    if (here.length + gone.length > 0) this._tell({ type: "presence", roomId: room.id, here, gone });
  }

  _tell(event) {
    try {
      this._onEvent(event);
    } catch (fault) {
      queueMicrotask(() => { throw fault; }); // theirs: it must be seen, and must not hold up what follows
    }
  }

  // -- every line once, in order ---------------------------------------------------------------------------------

  _sendNext() {
    if (!this.isConnected) return;
    for (const line of this._outbox.start()) {
      const { roomId: room, clientId, body } = line;
      const text = JSON.stringify({ type: "send", id: clientId, room, data: { body } });
      if (isLonger(text, this._frameBytesMax)) this._undelivered(line, FRAME_TOO_BIG, "too long for one frame");
      else this._connection.send(text);
    }
  }

  _answered(id, data, isError) {
    const line = this._outbox.find(id);
    const reply = this._replies.get(id);
    this._replies.delete(id);
    if (line !== undefined) {
      if (!isError) this._confirmed(line, data.seq);
      else if (data.recoverable) this._hold(line, data.retryAfter);
      else this._undelivered(line, data.code, data.message || data.error);
    } else if (isError) reply?.reject(new Refused(data.code, data.message || data.error));
    else reply?.resolve(data);
  }

  _confirmed(line, seq) {
    this._outbox.finish(line);
    this._tell({ type: "confirmed", roomId: line.roomId, clientId: line.clientId, seq });
    this._settled();
  }

  _undelivered(line, code, why) {
    this._outbox.finish(line);
    this._tell({ type: "undelivered", ...line, code, why });
    this._settled();
  }

  _settled() {
    if (this._outbox.size === 0) for (const { resolve } of this._whenSent.splice(0)) resolve();
    this._sendNext();
  }

  _hold(line, seconds = AGAIN_SECONDS) {
    this._outbox.hold(line);
    setTimeout(() => {
      this._outbox.release(line.roomId);
      this._sendNext();
    }, Math.max(AGAIN_SECONDS, seconds) * 1000);
  }

  // The frame that closed the connection would close every one.
  _refuseLargest() {
    const [line] = this._outbox.underWay.sort((a, b) => b.body.length - a.body.length);
    if (line !== undefined) this._undelivered(line, FRAME_TOO_BIG, "too long for one frame");
  }
}

// Not randomUUID: pages that came over plain HTTP have none.
function newClientId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function isMessage(item) {
  return item.type !== "skip";
}

function namesById(names = {}) {
  return new Map(Object.entries(names).map(([id, name]) => [Number(id), name]));
}

function isLonger(text, bytesMax) {
  return text.length * 3 > bytesMax && new TextEncoder().encode(text).length > bytesMax;
}
