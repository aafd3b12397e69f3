-- name: find_session
-- One session and its user. Sessions that have expired are found too: who asks is told so.
select s.id, s.user_id, s.expires_at, u.name, u.role
from sessions s join users u on u.id = s.user_id
where s.id = $1;

-- name: create_session
-- A session of a user, as the application's auth service writes it.
insert into sessions (id, user_id, expires_at, user_agent, ip_address, created_at) values ($1, $2, $3, $4, $5, $6);

-- name: delete_session
-- Sign out: the session is refused from now on.
delete from sessions where id = $1;
