// Another token on the same connection, because the one that was shown expires.

import { ClientRefused } from "./errors.js";

const AGAIN_SECONDS = 5; // after a token that could not be renewed

// One at a time for each connection, however often the server says that the token expires: what it says before the new one
// is shown is about the old one, and what it says after that may be about the new one.
export class Refreshing {
  // ask(token): show it, and wait for the answer
  constructor(connection, ask) {
    this._connection = connection;
    this._ask = ask;
    this._isDue = false;
    this._isUnderWay = () => false; // on the connection that there is
  }

  // Show another one, unless that is under way.
  begin() {
    this._isDue = true;
    if (!this._isUnderWay()) this._refresh();
  }

  // What fails is tried again while the connection lasts; the server closes with 4002 when the old token is over.
  async _refresh() {
    const isSame = (this._isUnderWay = this._connection.sameOne());
    while (this._connection.isTokenRenewable && this._connection.isOpen && isSame() && this._isDue) {
      try {
        const token = await this._connection.freshToken();
        if (!isSame()) break; // the next one has a token of its own
        this._isDue = false;
        await this._ask(token);
      } catch (fault) {
        if (fault instanceof ClientRefused) break;
        this._isDue = true;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_SECONDS * 1000).unref?.());
      }
    }
    if (this._isUnderWay === isSame) this._isUnderWay = () => false;
  }
}
