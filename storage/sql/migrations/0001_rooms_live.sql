-- People, rooms, messages and who owns which actor.
--
-- Ids that greenroom makes start at 2^40 and stay below 2^53, so that they are exact in JSON; numeric ids below
-- 2^40 belong to whoever issues tokens. Each nextval hands out a block of 1,024.

create sequence user_ids as bigint minvalue 1099511627776 maxvalue 9007199254739967 increment by 1024;
create sequence object_ids as bigint minvalue 1099511627776 maxvalue 9007199254739967 increment by 1024;

create table users (
    id          bigint primary key check (id > 0 and id < 9007199254740992),
    external_id text unique,
    name        text not null default '',
    email       text,
    locale      text not null default 'en',
    timezone    text not null default 'UTC',
    role        text not null default 'user',
    claims      jsonb not null default '{}',
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);

-- Written by the application's own auth service, by demo sign-in and by `greenroom token --session`.
create table sessions (
    id          text primary key,
    user_id     bigint not null references users,
    expires_at  timestamptz not null,
    user_agent  text,
    ip_address  text,
    created_at  timestamptz not null default now()
);
create index sessions_by_user on sessions (user_id);

create table api_keys (
    id            text primary key,
    secret_sha256 bytea not null,
    name          text not null default '',
    role          text not null default 'service',
    scopes        text[] not null,
    created_at    timestamptz not null,
    revoked_at    timestamptz
);

create table conversations (
    id              bigint primary key,
    is_group        boolean not null,
    is_open         boolean not null default false,
    title           text not null default '',
    created_by_id   bigint not null references users,
    -- Only for the two of a direct conversation: one room per unordered pair.
    pair_low        bigint,
    pair_high       bigint,
    epoch           bigint not null default 1,
    top_seq         bigint not null default 0,
    last_message_id bigint,
    last_message_at timestamptz,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    check (is_group = (pair_low is null) and is_group = (pair_high is null) and (is_group or pair_low < pair_high))
);
create unique index conversations_by_pair on conversations (pair_low, pair_high) where not is_group;

create table participants (
    conversation_id bigint not null references conversations,
    user_id         bigint not null references users,
    role            text not null check (role in ('admin', 'member')),
    is_active       boolean not null,
    joined_at       timestamptz not null,
    left_at         timestamptz,
    read_seq        bigint not null default 0,
    read_at         timestamptz,
    primary key (conversation_id, user_id)
);
create index participants_by_user on participants (user_id) where is_active;

create table messages (
    id              bigint primary key,
    conversation_id bigint not null references conversations,
    seq             bigint not null check (seq > 0),
    sender_id       bigint not null references users,
    client_id       text,
    content         text not null,
    content_digest  bytea not null,
    created_at      timestamptz not null,
    unique (conversation_id, seq)
);
create unique index messages_by_client_id on messages (conversation_id, sender_id, client_id) where client_id is not null;

-- The right to write for one address. Every durable write of an actor bumps its row in the same statement: a join
-- on the token alone would let a stale owner commit after the new one had loaded.
create table ownership (
    kind    text not null,
    key     text not null,
    token   bigint not null default 0,
    commits bigint not null default 0,
    primary key (kind, key)
) with (fillfactor = 50);

-- One row per process that runs greenroom; `alive_at` is written every few seconds, so that people who were online
-- when it was killed have a last-seen time without a write per person.
create table node_runs (
    id         uuid primary key,
    started_at timestamptz not null,
    alive_at   timestamptz not null,
    stopped_at timestamptz
);

create table user_presence (
    user_id      bigint primary key references users,
    last_seen_at timestamptz not null,
    -- Set while the user has a socket in that run.
    online_in    uuid references node_runs
);

-- The answer to an unsafe request that carried an Idempotency-Key, kept for 24 hours.
create table idempotency_keys (
    principal   text not null,
    route       text not null,
    key         text not null,
    body_sha256 bytea not null,
    status      integer not null,
    body        text not null,
    created_at  timestamptz not null,
    primary key (principal, route, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);
