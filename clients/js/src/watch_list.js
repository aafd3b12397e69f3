// How those are who are watched by name, folded from the frames of presence that name no room. Pure.
//
// Unlike in a room everybody is told, who is offline too. Whom a block parts from us is gone, and told again when it ends.

import { isSame, personOf } from "./presence.js";

export class WatchList {
  constructor() {
    this.people = new Map(); // by id, as they were told last
  }

  // Everybody who is watched, and nobody else; there is always something to tell.
  state(users) {
    this.people = new Map(users.map((item) => [item.user, personOf(item)]));
    return true;
  }

  // Who changed, and who may be seen no more: whether it is different from before.
  diff(joins, leaves, gone = []) {
    const before = this.people;
    this.people = new Map(before);
    for (const item of [...joins, ...leaves]) this.people.set(item.user, personOf(item));
    for (const userId of gone) this.people.delete(userId);
    const isKept = ([userId, person]) => isSame(person, before.get(userId));
    return this.people.size !== before.size || ![...this.people].every(isKept);
  }
}
