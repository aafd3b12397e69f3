// One room that the client hears.

import { member } from "./log_entries.js";
import { receipts, typing } from "./moments.js";
import { Presence } from "./presence.js";
import { RoomLog } from "./room_log.js";

// Frames of what has no place in the log of a room, or is told without it.
export const OUTSIDE_LOG = ["presence_state", "presence_diff", "receipts", "typing", "member"];

export class Room {
  constructor(id, recent) {
    this.id = id;
    this.log = new RoomLog(recent);
    this.presence = new Presence();
    this.isTyping = false; // somebody, as it was told last
    this.isEntered = false;
    this.isFetching = false;
    this.isLive = false; // the server has said so on this connection, and that is not told yet
    this.entered = new Promise((resolve, reject) => {
      this.letIn = resolve;
      this.refuse = reject;
    });
    this.entered.catch(() => {}); // who waits for it is told; nobody has to
  }

  // What is to be told of one of these.
  heard(frame, data, userId) {
    const { type } = frame;
    if (type === "member") return [member(this.id, frame, data)];
    if (type === "receipts") return [receipts(this.id, data)];
    if (type === "typing") return [this._typing(data, userId)];
    const { presence, log: { top } } = this;
    return this._changed(type === "presence_state" ? presence.state(data.users, top) : presence.diff(data.joins, data.leaves, top));
  }

  // What is told, and behind who has left the room that they are here no more: no frame of presence says so.
  followed(told) {
    return told.flatMap((event) => {
      const hasLeft = event.type === "member" && !event.isActive;
      return hasLeft ? [event, ...this._changed(this.presence.left(event.userId, event.seq))] : [event];
    });
  }

  // Before the server has said how the room stands it means the one of this id that was left.
  live() {
    if (this.log.seq === null) return;
    this.presence.live();
    this.isLive = true;
  }

  // The connection is over: what is to be told. On the next one nothing is said where nobody types any more.
  lose() {
    this.presence.forget();
    this.isLive = false;
    return this.isTyping ? [this._typing({}, null)] : [];
  }

  // Everything that was there is told now; once on each connection.
  catchesUp() {
    const isNow = this.isLive && !this.isFetching && !this.log.isMissing;
    if (isNow) this.isLive = false;
    return isNow;
  }

  _typing(data, userId) {
    const event = typing(this.id, data, userId);
    this.isTyping = event.names.size > 0;
    return event;
  }

  _changed({ here, gone }) {
    return here.length + gone.length > 0 ? [{ type: "presence", roomId: this.id, here, gone }] : [];
  }
}
