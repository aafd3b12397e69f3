-- name: commit_messages
-- Commit the messages of many rooms at once. Ownership rows are bumped in address order, in the same statement; a
-- room whose token is not the newest, or one of whose client ids exists already, is left out whole. Returns one row:
-- which actors were committed and which were not because of a duplicate, by their places in the arrays, from 1.
with units as (
    select * from unnest($1::text[], $2::text[], $3::bigint[]) with ordinality as u (kind, key, token, place)
),
drafts as (
    select * from unnest(
        $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::bigint[]
    ) as d (id, conversation_id, seq, sender_id, client_id, content, content_digest, created_at_ms)
),
-- The limit keeps the planner from turning these look-ups into a join over all messages ever sent.
duplicates as (
    select distinct d.conversation_id::text as key
    from drafts d
    cross join lateral (
        select 1 from messages m
        where m.conversation_id = d.conversation_id and m.sender_id = d.sender_id and m.client_id = d.client_id
        limit 1
    ) as found
),
held as (
    select o.kind, o.key
    from (select kind, key, token from units order by kind, key) as u
    cross join lateral (
        select o.kind, o.key from ownership o
        where o.kind = u.kind and o.key = u.key and o.token = u.token
        for update
    ) as o
),
accepted as (
    update ownership o
    set commits = o.commits + 1
    from held h, units u
    where o.kind = h.kind and o.key = h.key and u.kind = o.kind and u.key = o.key and o.token = u.token
        and not (o.kind = 'room' and o.key in (select key from duplicates))
    returning o.kind, o.key
),
stored as (
    insert into messages (id, conversation_id, seq, sender_id, client_id, content, content_digest, created_at)
    select d.id, d.conversation_id, d.seq, d.sender_id, d.client_id, d.content, d.content_digest,
        to_timestamp(d.created_at_ms / 1000.0)
    from drafts d
    where exists (select 1 from accepted a where a.kind = 'room' and a.key = d.conversation_id::text)
),
tops as (
    select distinct on (conversation_id) conversation_id, seq, id, to_timestamp(created_at_ms / 1000.0) as at
    from drafts
    order by conversation_id, seq desc
),
topped as (
    update conversations c
    set top_seq = t.seq, last_message_id = t.id, last_message_at = t.at, updated_at = t.at
    from tops t
    where c.id = t.conversation_id
        and exists (select 1 from accepted a where a.kind = 'room' and a.key = t.conversation_id::text)
)
select
    array(select u.place from units u join accepted a on a.kind = u.kind and a.key = u.key) as committed,
    array(select u.place from units u where u.kind = 'room' and u.key in (select key from duplicates)) as duplicates;

-- name: commit_participants
-- Put membership rows; runs in the transaction that bumped their rooms. Joining again keeps the read marker, and a new
-- role the time of joining.
insert into participants (conversation_id, user_id, role, is_active, joined_at, left_at, removed_by_id)
select p.conversation_id, p.user_id, p.role, p.is_active, to_timestamp(p.at_ms / 1000.0),
    case when p.is_active then null else to_timestamp(p.at_ms / 1000.0) end, p.removed_by_id
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::bigint[], $6::bigint[])
    as p (conversation_id, user_id, role, is_active, at_ms, removed_by_id)
on conflict (conversation_id, user_id) do update
set role = excluded.role, is_active = excluded.is_active,
    joined_at = case
        when excluded.is_active and not participants.is_active then excluded.joined_at else participants.joined_at
    end,
    left_at = excluded.left_at, removed_by_id = excluded.removed_by_id;

-- name: commit_member_changes
-- Note who came or went at its place in the log of the room. Runs in the transaction that bumped their rooms, behind the
-- statement that stores messages. A conversation is as old as before to who lists them: nobody has said anything.
with changes as (
    select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])
        as c (conversation_id, seq, kind, user_id, role, at_ms)
),
noted as (
    insert into member_changes (conversation_id, seq, kind, user_id, role, changed_at)
    select conversation_id, seq, kind, user_id, role, to_timestamp(at_ms / 1000.0) from changes
),
tops as (
    select conversation_id, max(seq) as seq from changes group by conversation_id
)
update conversations c
set top_seq = greatest(c.top_seq, t.seq)
from tops t
where c.id = t.conversation_id;

-- name: commit_markers
-- Move read markers, and what others are told of them; neither moves back. Runs in the transaction that bumped their
-- rooms.
update participants p
set read_seq = greatest(p.read_seq, m.read_seq),
    shown_read_seq = nullif(
        greatest(coalesce(p.shown_read_seq, p.read_seq), m.shown_seq), greatest(p.read_seq, m.read_seq)
    ),
    read_at = case when p.read_seq < m.read_seq then to_timestamp(m.at_ms / 1000.0) else p.read_at end
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    as m (conversation_id, user_id, read_seq, at_ms, shown_seq)
where p.conversation_id = m.conversation_id and p.user_id = m.user_id
    and (p.read_seq < m.read_seq or coalesce(p.shown_read_seq, p.read_seq) < m.shown_seq);

-- name: claim_existing
-- Become the owner of addresses that have a row: the newest token fences every older owner.
update ownership o
set token = o.token + 1
from (
    select o.kind, o.key from ownership o
    join unnest($1::text[], $2::text[]) as c (kind, key) using (kind, key)
    order by o.kind, o.key
    for update of o
) as held
where o.kind = held.kind and o.key = held.key
returning o.kind, o.key, o.token;

-- name: claim_or_create
-- Become the owner of addresses, making the row of those that have none.
insert into ownership as o (kind, key, token)
select distinct c.kind, c.key, 1 from unnest($1::text[], $2::text[]) as c (kind, key)
order by c.kind, c.key
on conflict (kind, key) do update set token = o.token + 1
returning o.kind, o.key, o.token;

-- name: probe
-- Answer, if there is anybody to answer.
select 1;

-- name: settle_plans
-- The committer's few statements are planned once, not for every batch.
set plan_cache_mode = force_generic_plan;

-- name: forget_plans
-- Plan anew what runs next.
discard plans;
