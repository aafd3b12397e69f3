-- name: select_due_alarms
-- A page of the alarms of all actors that are due before a time, in order, behind a place.
select a.kind, a.key, a.is_number, a.name, (extract(epoch from a.due_at) * 1000)::bigint as due_ms
from alarms a
where a.due_at < to_timestamp($1::bigint / 1000.0)
    and (a.due_at, a.kind collate "C", a.key collate "C", a.name collate "C")
        > (to_timestamp($2::bigint / 1000.0), $3::text, $4::text, $5::text)
order by a.due_at, a.kind collate "C", a.key collate "C", a.name collate "C"
limit $6;

-- name: select_alarms_of
-- All alarms of some actors.
select a.kind, a.key, a.name, (extract(epoch from a.scheduled_at) * 1000)::bigint as scheduled_ms,
    (extract(epoch from a.due_at) * 1000)::bigint as due_ms, a.every_ms, a.command, a.tries
from unnest($1::text[], $2::text[]) as u (kind, key)
join alarms a using (kind, key);

-- name: put_alarms
-- Set alarms, each in the place of the one of its name. Runs in the transaction that bumped their actors.
insert into alarms (kind, key, is_number, name, scheduled_at, due_at, every_ms, command, tries)
select p.kind, p.key, p.is_number, p.name, to_timestamp(p.scheduled_ms / 1000.0), to_timestamp(p.due_ms / 1000.0),
    p.every_ms, p.command, p.tries
from unnest(
    $1::text[], $2::text[], $3::boolean[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
    $9::smallint[]
) as p (kind, key, is_number, name, scheduled_ms, due_ms, every_ms, command, tries)
on conflict (kind, key, name) do update
set is_number = excluded.is_number, scheduled_at = excluded.scheduled_at, due_at = excluded.due_at,
    every_ms = excluded.every_ms, command = excluded.command, tries = excluded.tries;

-- name: delete_alarms
-- Forget alarms. Runs in the transaction that bumped their actors.
delete from alarms a
using unnest($1::text[], $2::text[], $3::text[]) as d (kind, key, name)
where a.kind = d.kind and a.key = d.key and a.name = d.name;
