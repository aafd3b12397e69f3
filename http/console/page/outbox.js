// What one person has said and the server has not yet confirmed, room by room, in order.
//
// An item is queued, sending, sent (committed, its copy is on the way) or failed. It keeps its clientId for ever, so
// sending it again is the same message. The queue lives in the storage of the tab: a reload loses nothing.

const ITEMS_MAX = 200;

export class Outbox {
  constructor(storage, key) {
    this._storage = storage;
    this._key = key;
    this.items = this._load();
  }

  add(room, body) {
    const item = { room, clientId: crypto.randomUUID(), body, at: Date.now(), state: "queued" };
    this.items.push(item);
    this.save();
    return item;
  }

  of(room) {
    return this.items.filter((item) => item.room === room);
  }

  next(room) {
    return this.items.find((item) => item.room === room && item.state === "queued");
  }

  find(clientId) {
    return this.items.find((item) => item.clientId === clientId);
  }

  remove(item) {
    this.items = this.items.filter((other) => other !== item);
    this.save();
  }

  get isFull() {
    return this.items.length >= ITEMS_MAX;
  }

  // The line was cut: what was under way must be said again.
  requeue() {
    for (const item of this.items) if (item.state === "sending") item.state = "queued";
  }

  save() {
    try {
      this._storage.setItem(this._key, JSON.stringify(this.items));
    } catch {
      // a full or forbidden storage costs the reload only
    }
  }

  _load() {
    try {
      const items = JSON.parse(this._storage.getItem(this._key) || "[]");
      return items.map((item) => ({ ...item, state: item.state === "failed" ? "failed" : "queued" }));
    } catch {
      return [];
    }
  }
}
