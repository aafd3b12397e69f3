-- Reactions to messages, and messages that are pinned. Each change of them takes the next seq of its room, as an edit
-- does, and stands in message_changes; what holds now stands in tables of its own, which a message without any has no row
-- in. Nothing here reads the messages that there are: constraints that only grow wider are not checked on old rows.
alter table message_changes
    add column reaction text,
    drop constraint message_changes_kind_check,
    add constraint message_changes_kind_check
        check (kind in ('edited', 'deleted', 'reacted', 'unreacted', 'pinned', 'unpinned')) not valid;
comment on column message_changes.reaction is 'Of a reaction; empty once the message was deleted.';

create table message_reactions (
    message_id bigint not null,
    user_id    bigint not null,
    reaction   text not null,
    -- Of the change that made it.
    seq        bigint not null,
    created_at timestamptz not null,
    primary key (message_id, user_id, reaction)
);
comment on table message_reactions is 'What users react to messages with, now.';

create table message_pins (
    conversation_id bigint not null,
    message_id      bigint not null,
    -- Of the change that made it.
    seq             bigint not null,
    by_id           bigint not null,
    pinned_at       timestamptz not null,
    primary key (message_id)
);
create index message_pins_by_room on message_pins (conversation_id);
comment on table message_pins is 'The messages that are pinned in their conversation, now.';

-- What stands on a message as one member is shown it: reactions, a JSON list in the order of their first use, empty for
-- none, without those of users whom the reader blocks; and since when it is pinned. The planner puts it into the query that
-- asks: for a message without any it costs two looks into an index.
create function marks_shown_to(reader_id bigint, of_message bigint)
returns table (reactions text, pinned_at_ms bigint)
language sql stable as $$
    select
        case when exists (select from message_reactions r where r.message_id = of_message) then coalesce((
            select json_agg(
                json_build_object('reaction', used.reaction, 'count', used.count, 'mine', used.is_mine) order by used.first_seq
            )::text
            from (
                select r.reaction, count(*) as count, bool_or(r.user_id = reader_id) as is_mine, min(r.seq) as first_seq
                from message_reactions r
                where r.message_id = of_message
                    and not exists (select from user_blocks b where b.blocker_id = reader_id and b.blocked_id = r.user_id)
                group by r.reaction
            ) used
        ), '') else '' end,
        (select (extract(epoch from p.pinned_at) * 1000)::bigint from message_pins p where p.message_id = of_message)
$$;
comment on function marks_shown_to is 'Reactions and pin of a message as one of its members is shown them.';
