// Commands other than `send`, on their way: what has an answer gets one, or is told that none comes.
//
// While the server asks to slow down they wait here, and go in the order in which they were said. A connection that is
// lost takes all of them with it. What nobody waits for is said again when it was refused for a moment.

import { isWorthAnotherTry, Refused, ServerAway } from "./errors.js";
import { tooLong } from "./frame_limit.js";
import { timerMs } from "./pace.js";

const AGAIN_SECONDS = 1;

export class Asking {
  // nextId(): of a command; none of them comes twice. write(text): whether there was a connection to write to
  constructor({ nextId, frameLimit, pace, write }) {
    this._nextId = nextId;
    this._frameLimit = frameLimit;
    this._pace = pace;
    this._write = write;
    this._replies = new Map(); // id: reply, of those that were sent
    this._waiting = new Map(); // [command, reply] by key; as they were said
    this._newest = new Map(); // command by key, of what nobody waits for
    this._timer = undefined;
  }

  // How many were sent and have no answer.
  get size() {
    return this._replies.size;
  }

  // reply.resolve is called before anything that comes after the answer is looked at. Of those with one key that have to
  // wait the newest is asked.
  ask(command, reply, key = reply) {
    if (this._mustWait()) {
      this._waiting.delete(key);
      this._waiting.set(key, [command, reply]);
      return;
    }
    const id = this._nextId();
    try {
      const text = JSON.stringify({ ...command, id });
      if (!this._frameLimit.admits(text)) reply.reject(tooLong());
      else if (this._write(text)) this._replies.set(id, reply);
      else reply.reject(new ServerAway("there is no connection"));
    } catch (fault) {
      reply.reject(fault); // no JSON can hold it
    }
  }

  // Nobody waits for an answer. Refused for a moment it is said again, if it is the newest with its key.
  say(key, command) {
    const again = () => this._newest.get(key) === command && this.ask(command, reply, key);
    const reply = {
      resolve: () => {},
      reject(fault) {
        if (fault instanceof Refused && isWorthAnotherTry(fault)) setTimeout(again, AGAIN_SECONDS * 1000).unref?.();
      },
    };
    this._newest.set(key, command);
    this.ask(command, reply, key);
  }

  // Hear the room no more.
  leave(roomId) {
    this.say(`leave ${roomId}`, { type: "leave", room: roomId });
  }

  // It is joined anew: a `leave` that the server has refused is not said again.
  stay(roomId) {
    this._newest.delete(`leave ${roomId}`);
  }

  // An `ack`, an `error`, or the `pong` of a `ping` has come.
  answered(id, data, isError) {
    const reply = this._replies.get(id);
    this._replies.delete(id);
    if (isError) reply?.reject(new Refused(data.code, data.message || data.error));
    else reply?.resolve(data);
  }

  // The connection is lost: no answer comes.
  lose(fault) {
    clearTimeout(this._timer);
    this._timer = undefined;
    const replies = [...this._replies.values(), ...[...this._waiting.values()].map(([, reply]) => reply)];
    for (const all of [this._replies, this._waiting, this._newest]) all.clear();
    for (const { reject } of replies) reject(fault);
  }

  // What waits has been said before: nothing overtakes it, also when its time has come and its timer has not.
  _mustWait() {
    const seconds = this._pace.waitSeconds("cmds", performance.now() / 1000);
    if (seconds > 0) this._timer ??= setTimeout(() => this._goOn(), timerMs(seconds + 0.001));
    return this._timer !== undefined;
  }

  _goOn() {
    this._timer = undefined;
    const waiting = [...this._waiting];
    this._waiting.clear();
    for (const [key, [command, reply]] of waiting) this.ask(command, reply, key);
  }
}
