-- name: find_session
-- One session and its user. Sessions that have expired are found too: who asks is told so.
select s.id, s.user_id, s.expires_at, u.name, u.role
from sessions s join users u on u.id = s.user_id
where s.id = $1;

-- name: select_changed_sessions
-- Of sessions in use, those that are not (any more) as they are believed to be: gone (then without a user), another
-- user's, or with another expiry. The limit keeps the planner from reading every session for the sake of a few; what
-- lasts for ever lasts as long as clients can say.
select c.id, s.user_id, s.expires_at
from unnest($1::text[], $2::bigint[], $3::float8[]) as c (id, user_id, expires_at)
left join lateral (
    select user_id, extract(epoch from least(expires_at, '9999-12-31T23:59:59.999999Z'))::float8 as expires_at
    from sessions where id = c.id
    limit 1
) as s on true
where s.user_id is null or s.user_id <> c.user_id or abs(s.expires_at - c.expires_at) > 0.001;

-- name: create_session
-- A session of a user, as the application's auth service writes it.
insert into sessions (id, user_id, expires_at, user_agent, ip_address, created_at) values ($1, $2, $3, $4, $5, $6);

-- name: delete_session
-- Sign out: the session is refused from now on.
delete from sessions where id = $1;
