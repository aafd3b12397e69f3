// Notes every frame that a scripted server says or hears, where FRAMES_SEEN_IN names a file: tests/frames_seen.py holds
// them to the AsyncAPI document. Without it the tests run as well, and nothing is noted.
//
// A line is `[protocol, side, frame, command]`, written at once, for other processes write to the file as well.

import { appendFileSync } from "node:fs";

const FILE = process.env.FRAMES_SEEN_IN;

// The frames of one connection: it remembers which command an `ack` is of.
export class FramesSeen {
  constructor() {
    this._kinds = new Map();
  }

  heard(frame) {
    this._kinds.set(frame.id, frame.type);
    note("client", frame, null);
  }

  said(frame) {
    note("server", frame, this._kinds.get(frame.id) ?? null);
  }
}

function note(side, frame, command) {
  if (FILE !== undefined) appendFileSync(FILE, `${JSON.stringify(["v1", side, frame, command])}\n`);
}
