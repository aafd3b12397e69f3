// One room that the client hears.

import { Presence } from "./presence.js";
import { RoomLog } from "./room_log.js";

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
