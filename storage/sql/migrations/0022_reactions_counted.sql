-- How many users have each reaction on a message: to know which there are a room read all reactions of the message. Kept by
-- triggers, whoever writes, so that it holds while processes of before run on. Each table row is of one message, and so of
-- one room, whose single writer is the only one to change it.
create table message_reaction_counts (
    message_id bigint not null,
    reaction   text not null,
    users      bigint not null check (users > 0),
    primary key (message_id, reaction)
);
comment on table message_reaction_counts is 'How many users have each reaction on a message, now.';

create function count_reactions() returns trigger
    language plpgsql as $$
begin
    insert into message_reaction_counts as counted (message_id, reaction, users)
    select message_id, reaction, count(*) from after group by message_id, reaction order by message_id, reaction
    on conflict (message_id, reaction) do update set users = counted.users + excluded.users;
    return null;
end
$$;
comment on function count_reactions is 'Counts reactions that were put on messages.';

create function uncount_reactions() returns trigger
    language plpgsql as $$
begin
    with taken as (
        select message_id, reaction, count(*) as users from before group by message_id, reaction
    ),
    gone as (
        delete from message_reaction_counts c using taken t
        where c.message_id = t.message_id and c.reaction = t.reaction and c.users <= t.users
    )
    update message_reaction_counts c set users = c.users - t.users
    from taken t
    where c.message_id = t.message_id and c.reaction = t.reaction and c.users > t.users;
    return null;
end
$$;
comment on function uncount_reactions is 'Counts no more what was taken off messages, or went with them.';

-- From here on nobody writes reactions until this is done.
create trigger count_put after insert on message_reactions
    referencing new table as after
    for each statement execute function count_reactions();
create trigger count_taken after delete on message_reactions
    referencing old table as before
    for each statement execute function uncount_reactions();

insert into message_reaction_counts (message_id, reaction, users)
select message_id, reaction, count(*) from message_reactions group by message_id, reaction;
