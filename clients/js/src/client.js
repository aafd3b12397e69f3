// A client of greenroom.v1 that outlives its connections. The contract that it keeps stands in docs/clients.md.
//
//   hello ─▶ start {resume: where each room is, and the user} ─▶ ready ─▶ replay, or gap and history ─▶ live

import { Asking } from "./asking.js";
import { Connection } from "./connection.js";
import { addressOf, bodyOf, countOf, deviceOf, lineOf, peopleOf, roomIdOf, tokenOf } from "./door.js";
import { ClientRefused, isWorthAnotherTry, Refused, ServerAway } from "./errors.js";
import { FrameLimit } from "./frame_limit.js";
import { entryOf, member, pageOf } from "./log_entries.js";
import { Pace } from "./pace.js";
import { Refreshing } from "./refreshing.js";
import { OUTSIDE_LOG, Room } from "./room.js";
import { Sending } from "./sending.js";
import { startOf } from "./start.js";
import { HOLE_SECONDS, UserStream } from "./user_stream.js";
import { Watching } from "./watching.js";

export const HISTORY_PAGE = 200;
export const ROOMS_MAX = 200;
const AGAIN_SECONDS = 1;
const NOT_MEMBER = 3004;
const UNAUTHENTICATED = 4001;
const TOO_MANY_ROOMS = 4293;
const CLOSED_TOO_BIG = 1009;
const KNOWN_IN_ROOMS = [...OUTSIDE_LOG, "gap"];

export class Client {
  constructor({ url, token, device = "", WebSocket = globalThis.WebSocket, onEvent = () => {} }) {
    if (WebSocket === undefined) throw new TypeError("there is no WebSocket here: give one, such as that of `ws`");
    this.userId = 0;
    this.isConnected = false;
    this._device = deviceOf(device);
    this._onEvent = onEvent;
    this._rooms = new Map();
    this._early = []; // what has come before `ready`, which says whose it is
    this._lostRooms = new Set(); // refused by `ready`: that we are out of them follows, before `live`
    this._pace = new Pace();
    let serial = 0;
    const nextId = () => `c${++serial}`; // of every command, so that each answer is known by its id
    this._frameLimit = new FrameLimit();
    const shared = { nextId, frameLimit: this._frameLimit, pace: this._pace, write: (text) => this._write(text) };
    this._asking = new Asking(shared);
    this._sending = new Sending({ ...shared, tell: (event) => this._tell(event) });
    this._userStream = new UserStream({
      ask: (type, roomId, data) => this.request(type, roomId, data),
      tell: (event) => this._tell(event),
    });
    this._watching = new Watching((type, roomId, data, reply) => this._ask(type, roomId, data, reply));
    this._wasReady = false;
    this._fault = null; // why it has ended
    this._isClosed = false; // by its user, who is told nothing more
    this._connection = new Connection({
      address: addressOf(url),
      token: tokenOf(token),
      WebSocket,
      isAwaiting: () => !this.isConnected || this._asking.size > 0 || this._sending.outbox.underWay.length > 0,
      onFrame: (frame) => this._heard(frame),
      onLost: (code, why, retrySeconds, isExpected) => this._lost(code, why, retrySeconds, isExpected),
      onEnded: (fault) => this._ended(fault),
    });
    this._refreshing = new Refreshing(this._connection, (token) => this.request("refresh", undefined, { token }));
  }

  // -- for the user ----------------------------------------------------------------------------------------------

  open() {
    if (this._fault !== null) throw this._fault; // it is over for good
    this._connection.open();
  }

  async close() {
    this._isClosed = true;
    this._finish(new ServerAway("the client was closed"));
    await this._connection.close();
  }

  retryNow() {
    this._connection.retryNow();
  }

  get unsent() {
    return this._sending.outbox.size;
  }

  pending(roomId) {
    return this._sending.outbox.of(roomIdOf(roomId));
  }

  here(roomId) {
    const presence = this._rooms.get(roomIdOf(roomId))?.presence;
    return presence?.isKnown ? new Map(presence.people) : null;
  }

  join(given, { recent = 0 } = {}) {
    let roomId;
    try {
      roomId = roomIdOf(given);
      countOf(recent, "recent");
    } catch (fault) {
      return Promise.reject(fault);
    }
    if (this._fault !== null) return Promise.reject(this._fault);
    let room = this._rooms.get(roomId);
    if (room === undefined) {
      if (this._rooms.size >= ROOMS_MAX) return Promise.reject(new Refused(TOO_MANY_ROOMS, `${ROOMS_MAX} rooms are joined`));
      this._rooms.set(roomId, (room = new Room(roomId, recent)));
      if (this.isConnected) this._enter(room);
    }
    return room.entered;
  }

  leave(given) {
    const roomId = roomIdOf(given);
    const room = this._rooms.get(roomId);
    this._rooms.delete(roomId);
    this._lostRooms.delete(roomId);
    room?.refuse(new Refused(NOT_MEMBER, "the room was left"));
    this._leave(roomId);
  }

  send(roomId, body, options = {}) {
    const line = lineOf(roomId, body, options);
    if (this._fault !== null) throw this._fault;
    this._sending.say(line);
    return line.clientId;
  }

  waitSent() {
    return this.unsent > 0 && this._fault !== null ? Promise.reject(this._fault) : this._sending.wait();
  }

  typing(roomId, isTyping) {
    const room = roomIdOf(roomId);
    if (this._pace.waitSeconds("typing", performance.now() / 1000) > 0) return; // it would be old news
    this._write(JSON.stringify({ type: "typing", room, data: { on: isTyping } }));
  }

  read(roomId, seq) {
    const command = { type: "read", room: roomIdOf(roomId), data: { seq: countOf(seq, "seq") } };
    if (this.isConnected) this._asking.say(`read ${command.room}`, command);
  }

  async history(roomId, count, before) {
    const answer = await this.request("history", roomId, { limit: Math.min(count, HISTORY_PAGE), before });
    const page = this._readPage(roomIdOf(roomId), answer);
    if (page === null) throw new ServerAway("what answers is no greenroom");
    return page.map((entry) => entry.said).filter((event) => event?.type === "said");
  }

  async edit(roomId, messageId, body) {
    await this.request("edit", roomId, { message: messageId, body: bodyOf(body) });
  }

  async delete(roomId, messageId) {
    await this.request("delete", roomId, { message: messageId });
  }

  async react(roomId, messageId, reaction, isOn = true) {
    await this.request(isOn ? "react" : "unreact", roomId, { message: messageId, reaction: bodyOf(reaction) });
  }

  async pin(roomId, messageId, isOn = true) {
    await this.request(isOn ? "pin" : "unpin", roomId, { message: messageId });
  }

  watch(people) {
    let userIds;
    try {
      userIds = peopleOf(people);
    } catch (fault) {
      return Promise.reject(fault);
    }
    return this._fault !== null ? Promise.reject(this._fault) : this._watching.watch(userIds);
  }

  async request(type, roomId, data = {}) {
    if (type === "pong") throw new TypeError("pong has no answer: ask with ping");
    const room = roomId === undefined ? undefined : roomIdOf(roomId);
    return new Promise((resolve, reject) => this._ask(type, room, data, { resolve, reject }));
  }

  // -- connections -----------------------------------------------------------------------------------------------

  _ask(type, roomId, data, reply) {
    if (this.isConnected) this._asking.ask({ type, room: roomId, data }, reply);
    else reply.reject(this._fault ?? new ServerAway("there is no connection"));
  }

  _leave(roomId) {
    if (this.isConnected) this._asking.leave(roomId);
  }

  _write(text) {
    return this.isConnected && this._connection.send(text);
  }

  _lost(code, why, retrySeconds, isExpected) {
    if (code === CLOSED_TOO_BIG) this._sending.refuseLongest();
    this._tellLost(this._disconnect(new ServerAway("the connection was lost")));
    this._tell({ type: "disconnected", code, why, retrySeconds, isExpected });
  }

  _ended(fault) {
    this._tellLost(this._finish(fault));
    this._tell({ type: "ended", code: fault.code, why: fault.message });
  }

  // Answers what is to be told of it, by room.
  _disconnect(fault) {
    this.isConnected = false;
    this._early = [];
    this._sending.lose();
    this._userStream.lose();
    this._watching.lose();
    this._asking.lose(fault);
    return [...this._rooms.values()].map((room) => [room, room.lose()]);
  }

  // As `_disconnect`.
  _finish(fault) {
    this._fault ??= fault;
    const lost = this._disconnect(fault);
    this._sending.end(fault);
    this._watching.end(fault);
    for (const room of this._rooms.values()) room.refuse(fault);
    return lost;
  }

  _tellLost(lost) {
    for (const [room, events] of lost) this._tellOf(room, events);
  }

  // -- what the server says --------------------------------------------------------------------------------------

  _heard(frame) {
    const { type, id, data = {} } = frame;
    if (type === "hello") this._hello(data);
    else if (type === "ready") this._ready(data);
    else if (type === "slow_down") this._pace.slowDown(data.class, data.retryAfter ?? AGAIN_SECONDS, performance.now() / 1000);
    else if (type === "error" && id === "start") this._startRefused(data);
    else if (id !== undefined && (type === "ack" || type === "error" || type === "pong")) {
      if (!this._sending.answered(id, data, type === "error")) this._asking.answered(id, data, type === "error");
    } else if (!this.isConnected) this._early.push(frame);
    else if (type === "live") this._live(data);
    else if (type === "token_expiring") this._refreshing.begin();
    else if (frame.useq !== undefined) this._userStream.heard(frame);
    else if (type === "gap" && data.user) this._userStream.gap(data);
    else if (frame.rooms !== undefined || frame.room !== undefined) this._heardInRooms(frame.rooms ?? [frame.room], frame, data);
    else if (type === "presence_state" || type === "presence_diff") this._heardOfWatched(type, data);
    else this._tellOther(null, frame);
  }

  // What we would fold of a room that we are not in was meant for who was in it before; our end may come late.
  _heardInRooms(roomIds, frame, data) {
    for (const roomId of roomIds) {
      const room = this._rooms.get(roomId);
      if (room !== undefined) this._heardIn(room, frame, data);
      else if (this._isEnd(frame, data) && this._lostRooms.delete(roomId)) this._tell(member(roomId, frame, data));
      else if (frame.seq === undefined && !KNOWN_IN_ROOMS.includes(frame.type)) this._tellOther(roomId, frame);
    }
  }

  _heardOfWatched(type, data) {
    const people = this._watching.heard(type, data);
    if (people !== null) this._tell({ type: "watched", people });
  }

  // We have left its room by this, or were removed: the last of it, wherever we are in its log.
  _isEnd({ type }, data) {
    return type === "member" && data.user === this.userId && data.change === "left";
  }

  _heardIn(room, frame, data) {
    const { type, seq } = frame;
    if (this._isEnd(frame, data)) {
      this._tell(member(room.id, frame, data));
      this._shutOut(room, new Refused(NOT_MEMBER, "no member any more"));
    } else if (seq !== undefined) {
      this._tellOf(room, room.log.take(seq, entryOf(frame, this.userId)));
      this._tellCaughtUp(room);
      if (room.log.isMissing) setTimeout(() => this._fetch(room), HOLE_SECONDS * 1000);
    } else if (type === "gap") this._gap(room, data);
    else if (OUTSIDE_LOG.includes(type)) this._tellOf(room, room.heard(frame, data, this.userId));
    else this._tellOther(room.id, frame);
  }

  _hello(data) {
    this._connection.silenceSeconds = (data.hb + data.hbGrace) / 1000;
    const start = startOf(this._connection.token, this._device, this._rooms.values(), this._userStream.log.cursor);
    const text = JSON.stringify({ type: "start", id: "start", data: start });
    this._frameLimit.begin(data.limits, text);
    this._connection.send(text);
  }

  // What is wrong with the token the close that follows says; after anything else nothing would follow.
  _startRefused({ code, category, message, error, retryAfter }) {
    if (category !== "auth") this._connection.giveUp(`start was refused with ${code}: ${message || error}`, retryAfter ?? 0);
  }

  _ready(data) {
    if (!Number.isInteger(data.user)) throw new TypeError("it names nobody");
    if (this._wasReady && data.user !== this.userId) { // what we hold is not theirs
      return this._connection.refuse(UNAUTHENTICATED, "another user is signed in");
    }
    this.userId = data.user;
    this.isConnected = true;
    const refused = data.refused ?? [];
    const known = [...this._rooms.values()].filter(({ log }) => log.seq !== null).map(({ id }) => id);
    this._lostRooms = new Set(known.filter((roomId) => refused.some(({ r }) => r === roomId)));
    const unanswered = new Map(this._rooms); // what is joined by who is told now is asked for by itself
    this._tell({ type: "connected", userId: data.user, name: data.name, isAgain: this._wasReady });
    this._wasReady = true;
    this._userStream.ready(data.useq, data.userEpoch);
    for (const item of [...data.rooms, ...refused]) {
      const room = unanswered.get(item.r);
      unanswered.delete(item.r);
      if (room === undefined) this._stayOut(item.r); // left since `start` was sent
      else if (item.code === undefined) this._entered(room, item);
      else this._roomRefused(room, new Refused(item.code, item.error));
    }
    for (const room of unanswered.values()) this._enter(room); // asked for since
    if (this._fault !== null) return; // whoever was told has closed it
    this._sending.ready();
    this._watching.ready();
    const isOver = (frame) => this._isEnd(frame, frame.data) && data.rooms.some(({ r }) => r === frame.room);
    for (const frame of this._early.splice(0)) if (!isOver(frame)) this._heard(frame); // else: back since
  }

  _live(data) {
    this._connection.live();
    this._lostRooms.clear();
    for (const room of data.rooms.flatMap((roomId) => this._rooms.get(roomId) ?? [])) {
      room.live();
      this._tellCaughtUp(room);
    }
  }

  // The room was neither left nor refused.
  _isJoined(room) {
    return this._rooms.get(room.id) === room;
  }

  // We have left a room that the server lets us into; one that was joined anew since is asked for by itself.
  _stayOut(roomId) {
    if (!this._rooms.has(roomId)) this._leave(roomId);
  }

  _enter(room) {
    if (!this._isJoined(room)) return;
    this._asking.stay(room.id);
    const { seq, epoch } = room.log;
    this._ask("join", room.id, seq === null ? {} : { after: seq, epoch }, {
      resolve: (item) => this._entered(room, item),
      reject: (fault) => fault instanceof Refused && this._roomRefused(room, fault), // else: the next connection asks
    });
  }

  _entered(room, item) {
    if (!this._isJoined(room)) return this._stayOut(room.id);
    room.log.entered(item.top, item.epoch);
    room.isEntered = true;
    const { top, read = 0, unread = 0, members = 0 } = item;
    this._tell({ type: "entered", roomId: room.id, top, read, unread, members });
    room.letIn();
    this._fetch(room);
  }

  _roomRefused(room, fault) {
    const isSame = this._connection.sameOne(); // another one asks by itself
    if (!isWorthAnotherTry(fault)) this._shutOut(room, fault);
    else setTimeout(() => isSame() && this._enter(room), AGAIN_SECONDS * 1000);
  }

  _shutOut(room, fault) {
    if (!this._isJoined(room)) return;
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

  // -- every message once, in order ------------------------------------------------------------------------------

  async _fetch(room) {
    const isHere = () => this.isConnected && this._isJoined(room);
    if (room.isFetching || !isHere()) return;
    room.isFetching = true;
    try {
      while (room.log.isMissing && isHere()) {
        const { seq, goal, lives } = room.log;
        const answer = await this.request("history", room.id, { after: seq, limit: HISTORY_PAGE });
        if (lives !== room.log.lives || !isHere()) continue;
        const page = this._readPage(room.id, answer);
        if (page === null) return;
        this._tellOf(room, room.log.takePage(page, goal));
      }
    } catch (fault) {
      if (fault instanceof Refused) setTimeout(() => this._fetch(room), AGAIN_SECONDS * 1000);
      else if (!(fault instanceof ServerAway || fault instanceof ClientRefused)) throw fault;
    } finally {
      room.isFetching = false;
      this._tellCaughtUp(room);
    }
  }

  // Null where what answers is no greenroom: then the line is given up.
  _readPage(roomId, answer) {
    try {
      return pageOf(roomId, answer, this.userId);
    } catch (fault) {
      this._connection.isNone("history", fault);
      return null;
    }
  }

  // Whoever is told may leave the room, or close the client: then the rest is not told.
  _tellOf(room, events) {
    for (const event of room.followed(events)) {
      if (!this._isJoined(room)) return;
      if (event.isOwn) this._sending.copied(event);
      this._tell(event);
    }
  }

  _tellCaughtUp(room) {
    if (this._isJoined(room) && room.catchesUp()) this._tell({ type: "caughtUp", roomId: room.id });
  }

  _tellOther(roomId, { type, data = {}, ts = null }) {
    this._tell({ type: "other", what: type, roomId, data, atMs: ts });
  }

  _tell(event) {
    if (this._isClosed) return;
    try {
      this._onEvent(event);
    } catch (fault) {
      queueMicrotask(() => { throw fault; }); // theirs: it must be seen, and must not hold up what follows
    }
  }
}
