// One room as this tab knows it: its log, how far it is read, who is here, and who types. Knows neither sockets nor pages.
//
// What is unread is what the server has counted when it let us in, and the messages of others that came since: who comes and
// goes, reactions, edits and pins are places in the log, too, and nobody has to read them.

import { RoomLog } from "./log.js";

export class Room {
  constructor(id) {
    this.id = id;
    this.log = new RoomLog();
    this.epoch = null;
    this.read = 0; // our own mark, as the server has it
    this.readSent = 0;
    this.newest = null; // the newest message heard of, for previews
    this.typing = new Map();
    this.marks = new Map();
    this.online = new Map();
    this.away = new Map(); // who is not here, as far as anybody told: name, lastSeen
    this.isPresenceKnown = false;
    this.isJoined = false;
    this.isWanted = false; // somebody looks at it
    this.isFlushing = false;
    this.isLoading = false;
    this._counted = 0; // up to here the server has counted what is unread
    this._before = 0; // so much of that still is
    this._since = new Map(); // seq: the message, of what is unread beyond it
  }

  get unread() {
    return this._before + this._since.size;
  }

  // The server has let us in.
  entered({ epoch, top, read, unread, members }) {
    this.isJoined = true;
    this.memberCount = members;
    const isOther = this.epoch !== null && epoch !== this.epoch; // the log is another one
    if (this.epoch === null) this.epoch = epoch;
    this.read = isOther ? read : Math.max(this.read, read);
    this._counted = top;
    this._before = unread;
    for (const seq of this._since.keys()) if (seq <= top || isOther) this._since.delete(seq);
  }

  // The line is cut: the next one tells anew.
  lost() {
    this.isJoined = false;
    this.readSent = 0;
    this.isPresenceKnown = false;
    this.typing.clear();
  }

  // Somebody said something.
  heard(message, own) {
    this.newest = message;
    this.typing.delete(message.sender);
    const isNews = message.sender !== own && !message.deleted && message.seq > Math.max(this._counted, this.read, this.readSent);
    if (isNews) this._since.set(message.seq, message);
  }

  // The message at *of* was deleted, which takes a place of its own. Answers whether there is less to read now.
  forgets({ seq, of, sender }, own) {
    if (this._since.delete(of)) return true;
    const wasCounted = seq > this._counted && of <= this._counted && of > Math.max(this.read, this.readSent) && sender !== own;
    if (wasCounted) this._before = Math.max(0, this._before - 1);
    return wasCounted;
  }

  // We have read up to *seq*, here or on another device. Within what the server has counted it is known how much is left
  // where the log is here; else at most one for each place.
  seen(seq, own) {
    for (const at of this._since.keys()) if (at <= seq) this._since.delete(at);
    if (seq >= this._counted) this._before = 0;
    else this._before = Math.min(this._before, this._left(seq, own));
  }

  _left(seq, own) {
    const { log } = this;
    if (!log.isLoaded || log.first > seq + 1 || log.last < this._counted) return this._counted - seq;
    const isLeft = (message) => message.seq > seq && message.seq <= this._counted && message.sender !== own && !message.deleted;
    return log.messages.filter(isLeft).length;
  }

  // These are here, and nobody else.
  tellsAll(people) {
    this.online.clear();
    this.isPresenceKnown = true;
    this.tells(people);
  }

  // Who came or appears otherwise now, and who went.
  tells(people) {
    for (const person of people) {
      const isHere = person.status !== "offline";
      (isHere ? this.online : this.away).set(person.user, person);
      (isHere ? this.away : this.online).delete(person.user);
    }
  }
}
