// How long a frame may be: `hello` says what the server takes; a close with 1009, that who sits between takes less.
//
// Of those that were sent on a connection 1009 is about the longest: if a shorter one was too long, so is it; if it was
// answered, no shorter one was.

import { Refused } from "./errors.js";

const BYTES_MAX = 131072; // where the server says nothing
const FRAME_TOO_BIG = 1003;

export class FrameLimit {
  constructor() {
    this.longest = null; // the line that the longest frame of this connection carries, if it carries one
    this._longestBytes = 0;
    this._bytesMax = BYTES_MAX;
  }

  // A connection begins, with the limits of its `hello`. start: sent whatever its length. Throws TypeError.
  begin({ frame = this._bytesMax } = {}, start) {
    if (!Number.isInteger(frame)) throw new TypeError("its limit of a frame is no whole number");
    this._bytesMax = frame;
    this.longest = null;
    this._longestBytes = bytesOf(start);
  }

  // Whether the server takes this command, which is sent then. line: what it carries, null of another than `send`.
  admits(text, line = null) {
    const bytes = bytesOf(text);
    if (bytes > this._bytesMax) return false;
    if (bytes > this._longestBytes) {
      this._longestBytes = bytes;
      this.longest = line;
    }
    return true;
  }
}

// What is said of one that is not taken.
export function tooLong() {
  return new Refused(FRAME_TOO_BIG, "too long for one frame");
}

function bytesOf(text) {
  return new TextEncoder().encode(text).length;
}
