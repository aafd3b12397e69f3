-- A message may be edited, and deleted. Each change takes the next seq of its room, as a message does, so that whoever is
-- brought up is told of it in its place; what the message says now stands in its own row alone, and what it said before
-- nowhere: a change has no content.
alter table messages
    add column edited_at  timestamptz,
    add column deleted_at timestamptz,
    -- The seq of its last change.
    add column changed_seq bigint;

create table message_changes (
    conversation_id bigint not null,
    seq             bigint not null check (seq > 0),
    message_id      bigint not null,
    kind            text not null check (kind in ('edited', 'deleted')),
    -- Who changed it: the sender, or of a deletion an admin of the room.
    by_id           bigint not null,
    changed_at      timestamptz not null,
    primary key (conversation_id, seq)
);
comment on column messages.content_digest is 'What the message was sent as; empty once it was changed.';
