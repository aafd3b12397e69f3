-- Files: uploaded first, then attached to one message by its send. The bytes are in the blob store under `key`; a row is
-- written before them and goes after them, so that nothing lies there that nobody knows of, whatever dies when.
create table uploads (
    key             text primary key,
    uploader_id     bigint not null references users,
    name            text not null,
    type            text not null,
    size            bigint not null check (size > 0),
    -- The message that has it, once it was sent.
    conversation_id bigint,
    message_id      bigint,
    created_at      timestamptz not null,
    -- When it goes: it was never sent, or its message was deleted. Null while a message has it.
    expires_at      timestamptz,
    check ((message_id is null) = (conversation_id is null)),
    check ((message_id is null) = (expires_at is not null))
);
create index uploads_by_end on uploads (expires_at) where expires_at is not null;
create index uploads_unsent on uploads (uploader_id) where message_id is null;
create index uploads_by_message on uploads (message_id) where message_id is not null;

-- What clients are told of the files of a message, as JSON; null for none.
alter table messages add column attachments text;
