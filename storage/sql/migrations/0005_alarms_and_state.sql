-- What the runtime keeps for actors: alarms, which wake them at a time whatever happens until then, and small values.
-- Both are written in the transaction that bumps the actor's row of ownership.

create table alarms (
    kind         text not null,
    key          text not null,
    -- Whether the key of the address is a number: room/42 and room/"42" share an owner and are two addresses.
    is_number    boolean not null,
    name         text not null,
    -- When its author wants it, and when it is tried next: later than that after tries that failed.
    scheduled_at timestamptz not null,
    due_at       timestamptz not null,
    -- Null for one that comes once.
    every_ms     bigint check (every_ms > 0),
    -- What the actor is told, as JSON that names a registered class.
    command      text not null,
    tries        smallint not null check (tries >= 0),
    primary key (kind, key, name)
) with (fillfactor = 80);
create index alarms_by_time on alarms (due_at, kind collate "C", key collate "C", name collate "C");

create table actor_state (
    kind  text not null,
    key   text not null,
    name  text not null,
    -- JSON in ASCII, so that every text that JSON can hold can be kept.
    value text not null,
    primary key (kind, key, name)
) with (fillfactor = 80);
