-- name: select_state_of
-- The small state of some actors.
select s.kind, s.key, s.name, s.value
from unnest($1::text[], $2::text[]) as u (kind, key)
join actor_state s using (kind, key);

-- name: put_state
-- Keep values, each in the place of the one of its name. Runs in the transaction that bumped their actors.
insert into actor_state (kind, key, name, value)
select p.kind, p.key, p.name, p.value
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as p (kind, key, name, value)
on conflict (kind, key, name) do update set value = excluded.value;

-- name: delete_state
-- Forget values. Runs in the transaction that bumped their actors.
delete from actor_state s
using unnest($1::text[], $2::text[], $3::text[]) as d (kind, key, name)
where s.kind = d.kind and s.key = d.key and s.name = d.name;
