-- name: insert_node_run
-- This process begins. Twice is once: it may be stored while nobody learned of it.
insert into node_runs (id, started_at, alive_at) values ($1, now(), now()) on conflict (id) do nothing;

-- name: touch_node_run
-- This process lives.
update node_runs set alive_at = now() where id = $1;

-- name: stop_node_run
-- This process ends in order.
update node_runs set alive_at = now(), stopped_at = now() where id = $1;

-- name: put_presence
-- Who came and went since the last batch. A time never moves back.
insert into user_presence (user_id, last_seen_at, online_in)
select p.user_id, to_timestamp(p.at_ms / 1000.0), case when p.is_online then $4::uuid end
from unnest($1::bigint[], $2::boolean[], $3::bigint[]) as p (user_id, is_online, at_ms)
join users u on u.id = p.user_id
order by p.user_id -- so that two processes wait for each other's rows, and never both ways
on conflict (user_id) do update
set last_seen_at = greatest(user_presence.last_seen_at, excluded.last_seen_at), online_in = excluded.online_in;

-- name: select_last_seen
-- When users were last seen, null for never, and what they are called. One row.
select
    coalesce(array_agg(user_id), '{}') as users,
    coalesce(array_agg(name), '{}') as names,
    coalesce(array_agg(last_seen_ms), '{}') as times
from last_seen where user_id = any($1::bigint[]);

-- name: select_small_rooms_of
-- The conversations of some users that are small enough to tell presence in: whose of these users they are, and all
-- their members. One row for each conversation, however many of the users are in it.
with mine as (
    select conversation_id, array_agg(user_id) as users
    from participants
    where user_id = any($1::bigint[]) and is_active
    group by conversation_id
)
select mine.conversation_id, mine.users, array_agg(p.user_id) as members
from mine
join participants p on p.conversation_id = mine.conversation_id and p.is_active
group by mine.conversation_id, mine.users
having count(*) <= $2;

-- name: select_invisible_users
-- Everybody who wants to be seen by nobody.
select user_id from invisible_users;

-- name: select_invisible_among
-- Of these users those who are invisible.
select user_id from invisible_users where user_id = any($1::bigint[]);

-- name: insert_invisible_user
-- From now on nobody sees this user. Twice is once.
insert into invisible_users (user_id) values ($1) on conflict do nothing;

-- name: delete_invisible_user
-- They may be seen again.
delete from invisible_users where user_id = $1;

-- name: select_who_may_see
-- Of pairs (who looks, at whom) those that share a conversation, whatever its size, where neither blocked the other.
-- Oneself is always seen. With when they were last seen, null for never. One row: of a hundred pairs, four arrays cost a
-- reader half of what a hundred rows do. offset 0: each pair is looked up by the index. Else a planner that knows little
-- of the table, as after many came at once, hashes all pairs of everybody first: half a million of 5,000 people.
select
    coalesce(array_agg(p.watcher_id), '{}') as watchers,
    coalesce(array_agg(p.user_id), '{}') as users,
    coalesce(array_agg(s.name), '{}') as names,
    coalesce(array_agg(s.last_seen_ms), '{}') as times
from unnest($1::bigint[], $2::bigint[]) as p (watcher_id, user_id)
left join last_seen s on s.user_id = p.user_id
where p.watcher_id = p.user_id or exists (
    select from participants mine
    join participants theirs using (conversation_id)
    where mine.user_id = p.watcher_id and mine.is_active and theirs.user_id = p.user_id and theirs.is_active
    offset 0
) and not exists (
    select from user_blocks b
    where (b.blocker_id = p.watcher_id and b.blocked_id = p.user_id)
        or (b.blocker_id = p.user_id and b.blocked_id = p.watcher_id)
);
