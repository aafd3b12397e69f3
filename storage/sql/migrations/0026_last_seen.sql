-- When users were last seen, in one place for all who ask.
create view last_seen as
select u.id as user_id, u.name,
    (extract(epoch from case
        when p.online_in is null then p.last_seen_at else greatest(p.last_seen_at, r.alive_at)
    end) * 1000)::bigint as last_seen_ms
from users u
left join user_presence p on p.user_id = u.id
left join node_runs r on r.id = p.online_in;
comment on view last_seen is
    'When each user was last seen, in milliseconds since 1970, null for never. Whoever was online in a run that was killed was last seen when that run last lived.';
