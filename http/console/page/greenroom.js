// A small client of greenroom.v1: rooms that stay in step with the server across cuts, restarts and sleep.
//
//   connect ─ hello ─ start {resume: last seq per room} ─ ready ─ replay or gap ─ live
//
// - A room's messages come out in order, once each (log.js); a gap is filled from history before anything after it.
// - What is sent is shown at once and reconciled by its clientId, one at a time per room and in order (outbox.js).
// - Events, as CustomEvent: "state" {name, …}; "room" {room, kind, …}, kind one of messages, changed, reset, older, pending,
//   typing, marks, read, presence, member, joined, newest, refused; "membership" {room, change}: we ourselves came or went.
// - Who is here is known while the line is up (isPresenceKnown): after a cut it is told anew.
//
// Knows nothing of pages.

import { Asking, CommandFailed } from "./asking.js";
import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";

const PAGE_MESSAGES = 50;
const OLDER_PAGES_MAX = 20; // of which nothing is for us
const BACKFILL_MESSAGES = 200;
const BACKFILL_MESSAGES_MAX = 1000;
const REORDER_MS_MAX = 200;
const ROOMS_MAX = 200;
const TYPING_MS_MAX = 8000;
const RELOAD_SECONDS = 2;
const SHORT_WAIT_MS = 2000; // one that is over before it is read

export class Client extends EventTarget {
  // user: their id; ticket: async () => address with a single-use ticket; storage: of this tab.
  constructor({ user, ticket, storage }) {
    super();
    this.user = user;
    this.rooms = new Map();
    this.outbox = new Outbox(storage, `greenroom-outbox-${user}`);
    this.hello = null;
    this.connection = new Connection({
      address: ticket,
      onFrame: (frame) => this._frame(frame),
      onState: (name, detail) => this._state(name, detail),
    });
    this._asking = new Asking(this.connection);
  }

  get isLive() {
    return this.connection.name === "live";
  }

  room(id) {
    if (!this.rooms.has(id)) this.rooms.set(id, new Room(id));
    return this.rooms.get(id);
  }

  start(roomIds) {
    for (const id of roomIds) this.room(id);
    this.connection.start();
  }

  stop() {
    this.connection.stop();
    this._asking.lose();
  }

  // -- what a page asks for ------------------------------------------------------------------------------------

  // Hear a room that we have become a member of, or that did not let us in before: what was missed of it follows.
  async join(id) {
    const room = this.room(id);
    if (!this.isLive || room.isJoined) return;
    const data = room.log.isLoaded ? { after: room.log.last, epoch: room.epoch } : undefined;
    this._entered(room, await this.request({ type: "join", room: id, data }));
    this._flush(room);
  }

  // We are no member any more: what waits for the room can never be said there.
  forget(id) {
    this.rooms.delete(id);
    for (const item of this.outbox.of(id)) this.outbox.remove(item);
  }

  // The newest page, unless it is there already; now, or as soon as the line is up.
  async open(id) {
    const room = this.room(id);
    room.isWanted = true;
    if (room.log.isLoaded || room.isLoading || !this.isLive) return;
    await this._load(room);
  }

  async older(id) {
    const room = this.room(id);
    if (!room.log.hasOlder || room.isLoading || !this.isLive) return;
    room.isLoading = true;
    try {
      this._tell(room, "older", { messages: await this._lookBack(room) });
    } catch (fault) {
      if (!(fault instanceof CommandFailed)) throw fault;
    } finally {
      room.isLoading = false;
      this._fillSoon(room);
    }
  }

  send(id, body) {
    if (this.outbox.isFull) throw new CommandFailed({ message: "too much is waiting to be sent" });
    const room = this.room(id);
    const item = this.outbox.add(id, body);
    this._tell(room, "pending", { item });
    this._flush(room);
    return item;
  }

  retry(item) {
    item.state = "queued";
    item.reason = undefined;
    this.outbox.save();
    this._tell(this.room(item.room), "pending", { item });
    this._flush(this.room(item.room));
  }

  discard(item) {
    this.outbox.remove(item);
    this._tell(this.room(item.room), "pending", { item, isGone: true });
  }

  // Who is here now, and of a small room who is not and since when: events tell changes only, and small rooms only.
  async ask(id) {
    const room = this.room(id);
    if (!this.isLive || !room.isJoined) return;
    const { users } = await this.request({ type: "presence", room: id });
    this._presence({ data: { users } }, room);
  }

  type(id, on) {
    if (this.isLive && this.room(id).isJoined) this.connection.send({ type: "typing", room: id, data: { on } });
  }

  read(id, seq) {
    const room = this.room(id);
    if (!this.isLive || !room.isJoined || seq <= Math.max(room.read, room.readSent)) return;
    room.readSent = seq;
    room.seen(seq, this.user);
    this.connection.send({ type: "read", room: id, data: { seq } });
    this._tell(room, "read", {});
  }

  // A command with an answer. Rejects with CommandFailed.
  request(command) {
    return this._asking.ask(command);
  }

  // -- the wire ------------------------------------------------------------------------------------------------

  _state(name, detail) {
    if (name === "waiting" || name === "stopped" || name === "connecting") {
      for (const room of this.rooms.values()) room.lost();
      this._asking.lose("the connection was lost");
      this.outbox.requeue();
    }
    this.dispatchEvent(new CustomEvent("state", { detail: { name, ...detail } }));
    if (name !== "live") return;
    for (const room of this.rooms.values()) {
      if (room.isWanted) this.open(room.id);
      this._flush(room);
    }
  }

  _frame(frame) {
    if (this._asking.heard(frame)) return;
    const handler = HANDLERS[frame.type];
    if (handler === undefined) return; // an event that this client does not know
    const rooms = frame.rooms || (frame.room === undefined ? [] : [frame.room]);
    if (!rooms.length) handler.call(this, frame);
    for (const id of rooms) {
      if (this.rooms.has(id) || frame.type === "member") handler.call(this, frame, this.rooms.get(id));
    }
  }

  async _hello(frame) {
    this.hello = frame.data;
    this.connection.silenceMs = frame.data.hb + frame.data.hbGrace;
    const known = [...this.rooms.values()].slice(0, ROOMS_MAX);
    const data = { device: "page", rooms: known.filter((room) => !room.log.isLoaded).map((room) => ({ r: room.id })) };
    const loaded = known.filter((room) => room.log.isLoaded);
    if (loaded.length) {
      data.resume = { rooms: Object.fromEntries(loaded.map((room) => [room.id, { seq: room.log.last, epoch: room.epoch }])) };
    }
    let ready;
    try {
      ready = await this.request({ type: "start", data });
    } catch {
      return; // the close that follows says what to do
    }
    for (const item of ready.rooms) this._entered(this.room(item.r), item);
    for (const item of ready.refused || []) this._refused(this.room(item.r), item);
    this._isStarting = true;
  }

  _entered(room, item) {
    room.entered(item);
    this._tell(room, "joined", {});
  }

  _refused(room, item) {
    if (item.error === "NOT_MEMBER" || item.error === "CONVERSATION_NOT_FOUND") this._membership(room.id, "left");
    else this._tell(room, "refused", { error: item.error });
  }

  _live() {
    if (!this._isStarting) return; // the answer to a join
    this._isStarting = false;
    this.connection.live();
  }

  async _gap(frame, room) {
    const { top, from, to, reset } = frame.data;
    if (reset || to - from > BACKFILL_MESSAGES_MAX) {
      const was = room.log.isLoaded;
      room.log.reset();
      room.epoch = null;
      this._tell(room, "reset", {});
      if (was) await this._load(room);
      return;
    }
    room.log.top = Math.max(room.log.top, top);
    await this._backfill(room);
  }

  _message(frame, room) {
    const message = { ...frame.data, seq: frame.seq, ts: frame.ts };
    room.heard(message, this.user);
    this._gained(room, room.log.apply(message));
    this._tell(room, "newest", { message });
    this._fillSoon(room);
  }

  // A hole is given a moment: what is missing may be on its way.
  _fillSoon(room) {
    if (room.log.hasGap) setTimeout(() => this._backfill(room), REORDER_MS_MAX);
  }

  _skip(frame, room) {
    room.log.top = Math.max(room.log.top, frame.seq);
    if (room.log.isLoaded && frame.seq === room.log.last + 1) this._gained(room, room.log.reach(frame.seq));
  }

  _passed(frame, room) {
    this._skip(frame, room);
    this._fillSoon(room);
  }

  // A place in the log, as a skip is; what it changes is changed at once, for the latest change counts.
  _changed(frame, room) {
    this._skip(frame, room);
    const change = { ...frame.data, seq: frame.seq, deleted: frame.type === "message_deleted" || frame.data.deleted };
    if (change.deleted && room.forgets(change, this.user)) this._tell(room, "read", {});
    this._change(room, change);
    this._fillSoon(room);
  }

  _change(room, change) {
    const message = room.log.change(change);
    if (message !== undefined) this._tell(room, "changed", { message });
  }

  _gained(room, messages) {
    if (!messages.length) return;
    this._tell(room, "messages", { messages });
    this._settle(room);
  }

  // Whatever of the outbox stands in the log is done.
  _settle(room) {
    for (const item of this.outbox.of(room.id)) {
      const isOld = item.seq !== undefined && room.log.isLoaded && item.seq <= room.log.last;
      if (!isOld && !room.log.has(item.clientId, this.user)) continue;
      this.outbox.remove(item);
      this._tell(room, "pending", { item, isGone: true });
    }
  }

  async _load(room) {
    room.isLoading = true;
    try {
      const page = await this._history(room, { limit: PAGE_MESSAGES });
      room.epoch = page.epoch;
      room.log.startWith(page, PAGE_MESSAGES);
      if (!room.log.messages.length) await this._lookBack(room);
      this._tell(room, "reset", {});
      this._settle(room);
    } catch (fault) {
      if (!(fault instanceof CommandFailed)) throw fault;
      if (fault.recoverable) setTimeout(() => this.rooms.get(room.id) === room && this.open(room.id), 1000 * (fault.retryAfter || RELOAD_SECONDS));
    } finally {
      room.isLoading = false;
      this._fillSoon(room);
    }
  }

  // Older pages, until one has something for us. Answers with that.
  async _lookBack(room) {
    let gained = [];
    for (let pages = 0; pages < OLDER_PAGES_MAX && room.log.hasOlder && !gained.length; pages += 1) {
      const page = await this._history(room, { before: room.log.first, limit: PAGE_MESSAGES });
      gained = room.log.prepend(page, PAGE_MESSAGES);
    }
    return gained;
  }

  async _backfill(room) {
    if (room.isLoading) return;
    room.isLoading = true;
    try {
      while (room.log.hasGap) {
        const after = room.log.last;
        const page = await this._history(room, { after, limit: BACKFILL_MESSAGES });
        this._gained(room, room.log.fill(page, BACKFILL_MESSAGES));
        const ofWords = (page.changes || []).filter(({ change }) => change === "edited" || change === "deleted");
        for (const change of ofWords) this._change(room, { ...change, deleted: change.change === "deleted" || change.deleted });
        if (room.log.last === after) break; // no progress: the next event or reconnect tries again
      }
    } catch (fault) {
      if (!(fault instanceof CommandFailed)) throw fault;
    } finally {
      room.isLoading = false;
    }
  }

  _history(room, data) {
    return this.request({ type: "history", room: room.id, data });
  }

  async _flush(room) {
    if (room.isFlushing) return;
    room.isFlushing = true;
    try {
      while (this.isLive && room.isJoined) {
        const item = this.outbox.next(room.id);
        if (item === undefined) return;
        if (!(await this._sendOne(room, item))) return;
      }
    } finally {
      room.isFlushing = false;
    }
  }

  // True when the next one may go.
  async _sendOne(room, item) {
    item.state = "sending";
    this._tell(room, "pending", { item });
    try {
      const ack = await this.request({ type: "send", room: room.id, data: { clientId: item.clientId, body: item.body } });
      item.state = "sent";
      item.seq = ack.seq;
      this.outbox.save();
      this._settle(room);
      return true;
    } catch (fault) {
      if (!(fault instanceof CommandFailed)) throw fault;
      if (fault.isLost) {
        item.state = "queued";
        return false;
      }
      const waitMs = Math.max(1, fault.retryAfter || 0) * 1000;
      item.state = fault.recoverable ? "queued" : "failed";
      item.reason = fault.message;
      item.until = fault.recoverable && waitMs > SHORT_WAIT_MS ? Date.now() + waitMs : undefined;
      this.outbox.save();
      this._tell(room, "pending", { item });
      if (fault.recoverable) await new Promise((resolve) => setTimeout(resolve, waitMs));
      return true;
    }
  }

  _typing(frame, room) {
    const names = frame.data.names || {};
    room.typing = new Map(frame.data.users.filter((user) => user !== this.user).map((user) => [user, names[user] || "Somebody"]));
    clearTimeout(room.typingTimer);
    room.typingTimer = setTimeout(() => {
      room.typing.clear();
      this._tell(room, "typing", {});
    }, TYPING_MS_MAX);
    this._tell(room, "typing", {});
  }

  _receipts(frame, room) {
    for (const [user, seq] of Object.entries(frame.data.marks || {})) {
      this.mark(room.id, Number(user), seq);
    }
  }

  _readSync(frame, room) {
    this.mark(room.id, this.user, frame.data.seq); // by another device of ours, or by this one
  }

  // Somebody has read up to *seq*, as far as anybody told.
  mark(id, user, seq) {
    const room = this.room(id);
    if (seq <= (room.marks.get(user) || 0)) return;
    room.marks.set(user, seq);
    if (user === this.user) {
      room.read = Math.max(room.read, seq);
      room.seen(seq, this.user);
    }
    this._tell(room, "marks", {});
  }

  // All who are here, or who came and went.
  _presence({ data }, room) {
    if (data.users) room.tellsAll(data.users);
    else room.tells([...data.joins, ...data.leaves]);
    this._tell(room, "presence", {});
  }

  // A place in the log, as a skip is; but our own end, behind which nothing comes.
  _member(frame, room) {
    const isOurs = frame.data.user === this.user;
    if (room !== undefined && frame.seq !== undefined && !(isOurs && frame.data.change === "left")) this._passed(frame, room);
    if (isOurs) {
      this._membership(frame.room, frame.data.change);
    } else if (room !== undefined) {
      this._tell(room, "member", frame.data);
    }
  }

  _membership(room, change) {
    this.dispatchEvent(new CustomEvent("membership", { detail: { room, change } }));
  }

  _tell(room, kind, detail) {
    this.dispatchEvent(new CustomEvent("room", { detail: { room, kind, ...detail } }));
  }
}

const HANDLERS = {
  hello: Client.prototype._hello,
  live: Client.prototype._live,
  gap: Client.prototype._gap,
  message: Client.prototype._message,
  message_edited: Client.prototype._changed,
  message_deleted: Client.prototype._changed,
  reaction: Client.prototype._passed, // the page shows neither
  pin: Client.prototype._passed,
  skip: Client.prototype._skip,
  typing: Client.prototype._typing,
  receipts: Client.prototype._receipts,
  read_sync: Client.prototype._readSync,
  presence_state: Client.prototype._presence,
  presence_diff: Client.prototype._presence,
  member: Client.prototype._member,
};
