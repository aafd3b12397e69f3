-- name: select_preferences
-- How a user wants to be told.
select preferences from notification_preferences where user_id = $1;

-- name: put_preferences
-- Store how users want to be told; runs in the transaction that bumped their notifiers.
insert into notification_preferences as p (user_id, preferences, updated_at)
select d.user_id, d.preferences, to_timestamp(d.at_ms / 1000.0)
from unnest($1::bigint[], $2::text[], $3::bigint[]) as d (user_id, preferences, at_ms)
on conflict (user_id) do update set preferences = excluded.preferences, updated_at = excluded.updated_at;
