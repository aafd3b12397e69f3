-- name: put_notes
-- Leave notes for users; runs in the transaction that stores what they tell of. A marker that nobody has heard of yet
-- only moves on.
insert into user_notes as n (user_id, kind, conversation_id, seq, data, at)
select d.user_id, d.kind, d.conversation_id, d.seq, d.data, to_timestamp(d.at_ms / 1000.0)
from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
    with ordinality as d (user_id, kind, conversation_id, seq, data, at_ms, place)
order by d.place
on conflict (user_id, conversation_id) where kind = 'read_sync' do update
set seq = excluded.seq, data = excluded.data, at = excluded.at
where n.seq < excluded.seq;

-- name: take_notes
-- Take notes that are in their users' streams now. One whose marker moved on since it was read stays.
delete from user_notes n
using unnest($1::bigint[], $2::bigint[]) as t (id, seq)
where n.id = t.id and n.seq = t.seq;

-- name: append_user_events
-- Put events at the ends of streams; runs in the transaction that bumped their notifiers.
with told as (
    insert into user_events (user_id, useq, kind, conversation_id, data, at)
    select d.user_id, d.useq, d.kind, d.conversation_id, d.data, to_timestamp(d.at_ms / 1000.0)
    from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])
        as d (user_id, useq, kind, conversation_id, data, at_ms)
    returning user_id, useq
)
insert into user_streams as s (user_id, useq)
select user_id, max(useq) from told group by user_id
on conflict (user_id) do update set useq = excluded.useq;

-- name: trim_user_events
-- Forget the beginnings of streams, up to a useq of each.
delete from user_events e
using unnest($1::bigint[], $2::bigint[]) as t (user_id, up_to)
where e.user_id = t.user_id and e.useq <= t.up_to;

-- name: select_stream_standings
-- How far the streams of users are, whether there are notes that are not in them yet, who blocks whom, and who is
-- invisible.
select w.user_id, coalesce(s.useq, 0) as useq, coalesce(s.epoch, 1) as epoch,
    exists (select from user_notes n where n.user_id = w.user_id) as has_notes,
    array(select b.blocked_id from user_blocks b where b.blocker_id = w.user_id) as hides,
    array(select b.blocker_id from user_blocks b where b.blocked_id = w.user_id) as blocked_by,
    exists (select from invisible_users i where i.user_id = w.user_id) as is_invisible
from unnest($1::bigint[]) as w (user_id)
left join user_streams s on s.user_id = w.user_id;

-- name: select_notes
-- The oldest notes for a user.
select id, kind, conversation_id, seq, data, (extract(epoch from at) * 1000)::bigint as at_ms
from user_notes where user_id = $1 order by id limit $2;

-- name: select_user_events
-- A page of a user's stream after a useq. A notification that expired or was deleted since is only told to be gone.
with page as materialized (
    select e.useq, e.kind, e.conversation_id, e.data, (extract(epoch from e.at) * 1000)::bigint as at_ms,
        coalesce((
            select n.deleted_at is not null or n.expires_at <= to_timestamp($4::bigint / 1000.0)
            from notifications n
            where n.id = case when e.kind = 'notification' then (e.data::json ->> 'id')::bigint end
        ), false) as is_gone
    from user_events e where e.user_id = $1 and e.useq > $2 order by e.useq limit $3
)
select useq, case when is_gone then 'notification_deleted' else kind end as kind, conversation_id,
    case when is_gone
        then json_build_object('ids', json_build_array(data::json -> 'id'), 'unread', data::json -> 'unread')::text
        else data
    end as data, at_ms
from page order by useq;
