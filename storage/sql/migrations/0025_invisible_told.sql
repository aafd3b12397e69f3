-- Who becomes invisible or visible, in whatever process, is heard by all, as the ends of sessions are (0015): 'invisible 42'
-- on the channel greenroom_ends, 'invisible *' for all at once.
create function tell_invisible() returns trigger
    language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        perform pg_notify('greenroom_ends', 'invisible *');
    else
        perform pg_notify('greenroom_ends', 'invisible ' || coalesce(new.user_id, old.user_id));
    end if;
    return null;
end
$$;
comment on function tell_invisible is 'Tells on the channel greenroom_ends who became invisible, or visible again.';

create trigger tell_changed after insert or delete on invisible_users
    for each row execute function tell_invisible();
create trigger tell_truncated after truncate on invisible_users
    for each statement execute function tell_invisible();
