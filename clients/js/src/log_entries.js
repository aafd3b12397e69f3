// What stands in the log of a room, as what is told of it. Pure.
//
// head has seq and ts: the frame, or the item of a page; body what it holds: the data of the frame, or the same item.

import { DETAILS } from "./door.js";

// A message.
export function said(roomId, { seq, ts }, { id = 0, sender, senderName, body, clientId = null, ...more }, userId) {
  const { attachments = [], edited = null, deleted, reactions = [], pinned = null } = more;
  return {
    ...{ type: "said", roomId, seq, senderId: sender, sender: senderName || `user ${sender}`, body, atMs: ts, clientId },
    ...{ isOwn: sender === userId, messageId: id, isDeleted: deleted !== undefined, attachments, editedAtMs: edited },
    ...{ details: detailsIn(more), reactions, pinnedAtMs: pinned },
  };
}

function detailsIn(data) {
  return Object.fromEntries(DETAILS.filter((key) => key in data).map((key) => [key, data[key]]));
}

// What was deleted since says nothing already.
function changed(roomId, { seq, ts }, { id, of, body = null, deleted }) {
  return { type: "changed", roomId, seq, of, messageId: id, body: deleted === undefined ? body : null, atMs: ts };
}

function reacted(roomId, { seq, ts }, { id, of, user, reaction, on }) {
  return { type: "reacted", roomId, seq, of, messageId: id, userId: user, reaction, isOn: on, atMs: ts };
}

function pinned(roomId, { seq, ts }, { id, of, by, on }) {
  return { type: "pinned", roomId, seq, of, messageId: id, byId: by, isOn: on, atMs: ts };
}

// Also what has no place: of the first members of a conversation.
export function member(roomId, { seq = null, ts = null }, { user, change, role = null }) {
  return { type: "member", roomId, userId: user, isActive: change === "joined", seq, atMs: ts, role };
}

const OF_FRAME = { message: said, message_edited: changed, message_deleted: changed, reaction: reacted, pin: pinned, member };
const OF_CHANGE = { edited: changed, deleted: changed, reaction: reacted, pin: pinned, joined: member, left: member };

// Whatever has a seq has a place in the log, also what is not known here: then null.
export function entryOf(frame, userId) {
  const make = Object.hasOwn(OF_FRAME, frame.type) ? OF_FRAME[frame.type] : null;
  return make === null ? null : make(frame.room, frame, frame.data ?? {}, userId);
}

// What stands at each seq of an answer to `history`: what is hidden from us is named apart.
export function pageOf(roomId, { messages, changes = [], skip = [] }, userId) {
  const shown = messages.map((item) => ({ seq: item.seq, said: said(roomId, item, item, userId) }));
  const after = changes.map((item) => {
    const make = Object.hasOwn(OF_CHANGE, item.change) ? OF_CHANGE[item.change] : null;
    return { seq: item.seq, said: make === null ? null : make(roomId, item, item) };
  });
  return [...shown, ...after, ...skip.map((seq) => ({ seq, said: null }))].sort((a, b) => a.seq - b.seq);
}
