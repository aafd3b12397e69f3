// The stream of the user, told as it comes, and asked for again where something of it is missing.
//
// What is decided stands in user_log.js.

import { UserLog } from "./user_log.js";

export const HOLE_SECONDS = 0.2; // what is missing may be on its way
const AGAIN_SECONDS = 1;

export class UserStream {
  // ask(type, roomId, data): a promise of the answer; tell(event)
  constructor({ ask, tell }) {
    this.log = new UserLog();
    this._ask = ask;
    this._tell = tell;
    this._isReady = false;
    this._isSyncing = false;
  }

  // The server has let us in; undefined of a server that has no such stream.
  ready(useq, epoch) {
    this._isReady = true;
    this.log.entered(useq, epoch);
  }

  // The connection is lost: the next one begins where we are.
  lose() {
    this._isReady = false;
  }

  heard({ type, useq, ts, room = null, data = {} }) {
    this._tellAll(this.log.take(useq, { type: "personal", useq, what: type, roomId: room, data, atMs: ts }));
    if (this.log.isMissing) this._sync();
  }

  // The server will not tell what lies there.
  gap({ from, to, reset }) {
    this._tellAll(this.log.passOver(from, to, reset === true));
  }

  async _sync() {
    if (this._isSyncing) return;
    this._isSyncing = true;
    let seconds = HOLE_SECONDS;
    while (this._isReady && this.log.isMissing) {
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      seconds = AGAIN_SECONDS;
      if (!this.log.isMissing) break;
      await this._ask("sync", undefined, { user: this.log.cursor }).catch(() => {}); // asked again
    }
    this._isSyncing = false;
  }

  _tellAll(events) {
    for (const event of events) this._tell(event);
  }
}
