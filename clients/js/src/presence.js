// Who is here in one room, folded from `presence_state` and `presence_diff`, and from who leaves the room. Pure.
//
// All answer with what changed for the reader: who came or appears otherwise now, and who went. What was believed
// before a cut is kept to compare the next state with, but is not known any more until that comes. So it is in a room
// that grows too large for the server to tell, which says so with an empty state; the first one behind `live` says that
// nobody is here. Of a room that is too large when it is live no state is told. When it shrinks to a size that is told
// again, a diff holds everybody.
//
// That somebody left stands in the log alone, and may come late, with a page of `history`: it counts unless they were told
// of when the log was as far already. A `top` is the newest seq of it that is known of.

export class Presence {
  constructor() {
    this.isKnown = false; // the server has told of everybody on this connection
    this._isLive = false;
    this._isTooLarge = false; // and the server has said so
    this.people = new Map();
    this._tops = new Map(); // by user: when they were told of last
  }

  // Everybody who is here; nobody else is.
  state(users, top) {
    const isComingIn = this._isLive && !this.isKnown && !this._isTooLarge;
    if (users.length > 0 || isComingIn) return this._replaced(users, top);
    this.isKnown = false; // an empty room is told on coming in alone: this one is too large from now on
    this._isTooLarge = true;
    return { here: [], gone: [] };
  }

  // Who came or changed, and who went.
  diff(joins, leaves, top) {
    if (this._isLive && !this.isKnown) return this._replaced(joins, top);
    const came = joins.filter(isHere).map(personOf);
    const here = came.filter((person) => !isSame(person, this.people.get(person.userId)));
    for (const person of here) this.people.set(person.userId, person);
    for (const { userId } of came) this._tops.set(userId, top);
    const left = [...leaves, ...joins.filter((item) => !isHere(item))];
    const gone = left.map(personOf).filter((person) => this.people.delete(person.userId));
    return { here, gone };
  }

  // Somebody has left the room, at this place of its log (null: now).
  left(userId, seq) {
    const person = this.people.get(userId);
    if (person === undefined || (seq !== null && seq <= this._tops.get(userId))) return { here: [], gone: [] };
    this.people.delete(userId);
    return { here: [], gone: [goneNow(person)] };
  }

  // The room is caught up: a state follows, unless it is too large.
  live() {
    this._isLive = true;
  }

  // The connection is lost: nobody says who comes and goes.
  forget() {
    this.isKnown = this._isLive = this._isTooLarge = false;
  }

  _replaced(users, top) {
    const people = new Map(users.filter(isHere).map((item) => [item.user, personOf(item)]));
    const left = [...this.people.values()].filter((person) => !people.has(person.userId));
    const here = [...people.values()].filter((person) => !isSame(person, this.people.get(person.userId)));
    this.people = people;
    this._tops = new Map([...people.keys()].map((userId) => [userId, top]));
    this.isKnown = true;
    this._isTooLarge = false;
    return { here, gone: left.map(goneNow) };
  }
}

function isHere(item) {
  return item.status !== "offline";
}

function goneNow(person) {
  return { ...person, status: "offline" };
}

// As a frame of presence tells of them. lastSeenMs: of who is offline, where the server tells it.
export function personOf({ user, name, status, activity, lastSeen = null }) {
  return { userId: user, name: name || `user ${user}`, status: status || "online", activity: activity || "", lastSeenMs: lastSeen };
}

export function isSame(person, other) {
  return other !== undefined && ["name", "status", "activity", "lastSeenMs"].every((key) => person[key] === other[key]);
}
