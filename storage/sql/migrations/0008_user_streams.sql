-- What a user's devices are told about the user: read markers, membership, blocks, notifications, in one order without a
-- hole. The notifier of the user is the only one that writes it.

create table user_streams (
    user_id bigint primary key references users,
    -- Changes when the database is put back to an earlier state: then what clients hold says nothing any more.
    epoch   bigint not null default 1,
    useq    bigint not null default 0
) with (fillfactor = 80);

create table user_events (
    user_id         bigint not null references users,
    useq            bigint not null check (useq > 0),
    kind            text not null,
    conversation_id bigint,
    -- A JSON object, as it goes out.
    data            text not null,
    at              timestamptz not null,
    primary key (user_id, useq)
);

-- What rooms have for users: written in the transaction that stores what it tells of, taken by the user's notifier in the
-- one that puts it into the stream. So nothing is lost in between, whatever dies, and nothing is told twice.
create table user_notes (
    id              bigint generated always as identity primary key,
    user_id         bigint not null references users,
    kind            text not null,
    conversation_id bigint,
    -- Of a read marker, how far; 0 of everything else.
    seq             bigint not null default 0,
    data            text not null,
    at              timestamptz not null
) with (fillfactor = 80);
create index user_notes_by_user on user_notes (user_id, id);
-- Of the moves of one marker that nobody has taken yet, the farthest is all there is to tell.
create unique index user_notes_of_markers on user_notes (user_id, conversation_id) where kind = 'read_sync';

-- What we decided to tell somebody. Written by the notifier of who is told, alone.
create table notifications (
    id            bigint primary key,
    user_id       bigint not null references users,
    type          text not null,
    category      text not null default '',
    title         text not null,
    message       text not null,
    priority      text not null check (priority in ('low', 'normal', 'high', 'urgent')),
    related_type  text,
    related_id    bigint,
    action_url    text,
    -- A JSON object of whoever sent it.
    data          text not null default '{}',
    -- Whoever sent it under this key, sent it once: the same again is the same notification, another one a conflict.
    sent_under    text,
    sent_digest   bytea,
    read_at       timestamptz,
    deleted_at    timestamptz,
    expires_at    timestamptz,
    created_at    timestamptz not null
) with (fillfactor = 80);
create index notifications_by_user on notifications (user_id, id) where deleted_at is null;
create index notifications_unread on notifications (user_id, id) where deleted_at is null and read_at is null;
create unique index notifications_sent_under on notifications (user_id, sent_under) where sent_under is not null;

-- Who wants to hear nothing of whom. Written by the notifier of who blocks, alone.
create table user_blocks (
    blocker_id bigint not null references users,
    blocked_id bigint not null references users,
    reason     text,
    blocked_at timestamptz not null,
    primary key (blocker_id, blocked_id),
    check (blocker_id <> blocked_id)
);
create index user_blocks_by_blocked on user_blocks (blocked_id, blocker_id);
