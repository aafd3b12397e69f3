// Whom the user watches by name, wherever they are: the newest list, asked for on each connection again.
//
//   watch ──▶ due ──ready: asked, one at a time──▶ answered: the caller hears who is refused
//              ▲                                       │
//              └─────────── lost, unless empty ────────┘
//
// A list that the server refuses as a whole leaves the one before in its place. What is told of them is folded in
// watch_list.js.

import { isWorthAnotherTry, Refused } from "./errors.js";
import { WatchList } from "./watch_list.js";

export const PEOPLE_MAX = 200;
const AGAIN_SECONDS = 1;
const BAD_FRAME = 1002; // what the server says of a longer list

export class Watching {
  // ask(type, roomId, data, reply): a command, with {resolve, reject} for its answer
  constructor(ask) {
    this._list = new WatchList();
    this._ask = ask;
    this._call = { people: [] };
    this._held = []; // the list that the server has taken last
    this._isDue = false;
    this._isReady = false; // the server has let us in
    this._isAsking = false;
    this._timer = undefined;
  }

  // Watch these and nobody else; who of them is refused, null when a later call has taken this one's place.
  watch(people) {
    if (people.length > PEOPLE_MAX) {
      return Promise.reject(new Refused(BAD_FRAME, `${people.length} people: at most ${PEOPLE_MAX} are watched`));
    }
    this._call.resolve?.(null);
    const answer = new Promise((resolve, reject) => (this._call = { people, resolve, reject }));
    answer.catch(() => {}); // who waits for it is told; nobody has to
    this._isDue = true;
    this._goOn();
    return answer;
  }

  // What a frame of presence that names no room tells: everybody, if it tells anything new; else null.
  heard(type, { users, joins, leaves, gone }) {
    const isNews = type === "presence_state" ? this._list.state(users) : this._list.diff(joins, leaves, gone);
    return isNews ? [...this._list.people.values()] : null;
  }

  ready() {
    this._isReady = true;
    this._goOn();
  }

  // The connection is lost: the next one has to be told.
  lose() {
    this._isReady = this._isAsking = false;
    clearTimeout(this._timer);
    this._isDue ||= this._call.people.length > 0;
  }

  // The client has ended: nobody is told any more.
  end(fault) {
    this._call.reject?.(fault);
  }

  // One at a time, so that none overtakes another.
  _goOn() {
    if (!this._isDue || !this._isReady || this._isAsking) return;
    const call = this._call;
    this._isAsking = true;
    this._ask("watch", undefined, { users: call.people }, {
      resolve: (data) => this._answered(call, data),
      reject: (fault) => fault instanceof Refused && this._refused(call, fault), // else: the next connection asks
    });
  }

  _answered(call, { refused }) {
    this._isAsking = false;
    if (refused !== undefined) this._held = call.people; // else somebody asked past us, with `request`: asked again
    if (refused !== undefined && call === this._call) {
      this._isDue = false;
      call.resolve?.(refused);
    }
    this._goOn();
  }

  _refused(call, fault) {
    if (isWorthAnotherTry(fault)) {
      this._timer = setTimeout(() => {
        this._isAsking = false;
        this._goOn();
      }, AGAIN_SECONDS * 1000);
      return;
    }
    this._isAsking = false;
    if (call === this._call) {
      call.reject?.(fault);
      this._call = { people: this._held };
      this._isDue = false;
    }
    this._goOn();
  }
}
