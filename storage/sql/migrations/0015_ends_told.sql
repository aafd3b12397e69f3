-- Whoever ends a session, the application itself among them, is heard at once: what ends is told on the channel
-- greenroom_ends when it is committed, and costs nothing while nothing ends. A session's id is a secret and every role of
-- this database may listen, so the user is told and not the session: 'session 17'; 'session *' for too many to name; and
-- 'user 17' for one who signed out everywhere. Sessions that last longer than before are no news.
create function tell_session_ends() returns trigger
    language plpgsql as $$
declare
    users bigint[];
begin
    if tg_op = 'DELETE' then
        users := array(select distinct user_id from before limit 1001);
    elsif tg_op = 'UPDATE' then
        users := array(
            select distinct b.user_id from before b left join after a on a.id = b.id
            where a.id is null or a.user_id <> b.user_id or a.expires_at < b.expires_at
            limit 1001
        );
    end if;
    if tg_op = 'TRUNCATE' or cardinality(users) > 1000 then
        perform pg_notify('greenroom_ends', 'session *');
    else
        perform pg_notify('greenroom_ends', 'session ' || user_id) from unnest(users) as user_id;
    end if;
    return null;
end
$$;
comment on function tell_session_ends is 'Tells on the channel greenroom_ends whose sessions have ended.';

create trigger tell_deleted after delete on sessions
    referencing old table as before
    for each statement execute function tell_session_ends();
create trigger tell_changed after update on sessions
    referencing old table as before new table as after
    for each statement execute function tell_session_ends();
create trigger tell_truncated after truncate on sessions
    for each statement execute function tell_session_ends();

create function tell_signed_out() returns trigger
    language plpgsql as $$
begin
    perform pg_notify('greenroom_ends', 'user ' || new.id);
    return null;
end
$$;
comment on function tell_signed_out is 'Tells on the channel greenroom_ends who has signed out everywhere.';

create trigger tell_signed_out after update of signed_out_at on users
    for each row when (old.signed_out_at is distinct from new.signed_out_at) execute function tell_signed_out();
