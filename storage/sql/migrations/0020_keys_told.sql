-- Whoever takes an API key back, by whatever hand, is heard at once, as of sessions (0015): 'key 5f0c…' on the channel
-- greenroom_ends; 'key *' for too many to name, or what is too long for a name. A key's id is no secret. Told is what may
-- end something: a key that is revoked, deleted, or has another id, other scopes or another role than before.
create function tell_key_ends() returns trigger
    language plpgsql as $$
declare
    keys text[];
begin
    if tg_op = 'DELETE' then
        keys := array(select id from before limit 1001);
    elsif tg_op = 'UPDATE' then
        keys := array(
            select b.id from before b left join after a on a.id = b.id
            where a.id is null or a.revoked_at is distinct from b.revoked_at or a.scopes <> b.scopes or a.role <> b.role
            limit 1001
        );
    end if;
    if tg_op = 'TRUNCATE' or cardinality(keys) > 1000 or exists (select from unnest(keys) as id where length(id) > 64) then
        perform pg_notify('greenroom_ends', 'key *');
    else
        perform pg_notify('greenroom_ends', 'key ' || id) from unnest(keys) as id;
    end if;
    return null;
end
$$;
comment on function tell_key_ends is 'Tells on the channel greenroom_ends which API keys are good no more, or for something else.';

create trigger tell_deleted after delete on api_keys
    referencing old table as before
    for each statement execute function tell_key_ends();
create trigger tell_changed after update on api_keys
    referencing old table as before new table as after
    for each statement execute function tell_key_ends();
create trigger tell_truncated after truncate on api_keys
    for each statement execute function tell_key_ends();
