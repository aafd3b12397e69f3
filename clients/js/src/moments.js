// What is of the moment in a room, and has no place in its log, as what is told of it. Pure.

// Up to where some have read; counts: of a large room, [seq, how many have read up to there].
export function receipts(roomId, { marks, counts = [] }) {
  return { type: "receipts", roomId, marks: byId(marks), counts };
}

// Who types, but for the user.
export function typing(roomId, { names }, userId) {
  const others = byId(names);
  others.delete(userId);
  return { type: "typing", roomId, names: others };
}

function byId(found = {}) {
  return new Map(Object.entries(found).map(([id, value]) => [Number(id), value]));
}
