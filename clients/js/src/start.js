// What a connection begins with. Pure.

// The data of `start`: rooms that are entered afresh, and where to resume those that we know, and the user.
export function startOf(token, device, rooms, user) {
  const fresh = [];
  const known = {};
  for (const { id, log } of rooms) {
    if (log.seq === null) fresh.push({ r: id });
    else known[id] = { seq: log.seq, epoch: log.epoch };
  }
  const resume = user !== undefined || Object.keys(known).length > 0 ? { user, rooms: known } : undefined;
  return { token, device, rooms: fresh, resume };
}
