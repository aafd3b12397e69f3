// One room that the client hears.

import { receipts, typing } from "./moments.js";
import { Presence } from "./presence.js";
import { RoomLog } from "./room_log.js";

// Frames of what has no place in the log of a room: who is here, who types, how far some have read.
export const OF_THE_MOMENT = ["presence_state", "presence_diff", "receipts", "typing"];

export class Room {
  constructor(id, recent) {
    this.id = id;
    this.log = new RoomLog(recent);
    this.presence = new Presence();
    this.isEntered = false;
    this.isFetching = false;
    this.isLive = false; // the server has said so on this connection, and that is not told yet
    this.entered = new Promise((resolve, reject) => {
      this.letIn = resolve;
      this.refuse = reject;
    });
    this.entered.catch(() => {}); // who waits for it is told; nobody has to
  }

  // What is to be told of a frame of the moment.
  heard(type, data, userId) {
    if (type === "receipts") return [receipts(this.id, data)];
    if (type === "typing") return [typing(this.id, data, userId)];
    const isState = type === "presence_state";
    const { here, gone } = isState ? this.presence.state(data.users) : this.presence.diff(data.joins, data.leaves);
    return here.length + gone.length > 0 ? [{ type: "presence", roomId: this.id, here, gone }] : [];
  }

  // Before the server has said how the room stands it means the one of this id that was left.
  live() {
    if (this.log.seq === null) return;
    this.presence.live();
    this.isLive = true;
  }

  lose() {
    this.presence.forget();
    this.isLive = false;
  }

  // Everything that was there is told now; once on each connection.
  catchesUp() {
    const isNow = this.isLive && !this.isFetching && !this.log.isMissing;
    if (isNow) this.isLive = false;
    return isNow;
  }
}
