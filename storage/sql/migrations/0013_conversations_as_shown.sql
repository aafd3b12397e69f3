-- Conversations as one of their members is shown them: one text for the list and for a single one. The planner puts it
-- into the query that asks, so that a list is cut before its counts are made, and one conversation is looked up alone.
--
-- last_message_at is of the newest message that is shown: not deleted, its sender not blocked by the reader; looked for
-- among the newest 10,000 of the conversation. Lists go by it, or by when the conversation was made, so that their order
-- says nothing of what is hidden. updated_at is of whatever happened, but of that message alone where the reader blocks
-- somebody who is there, or was: it would tell when they said something, or changed it.
-- unread_count: messages of others after the read marker; at most 100 are counted, among the newest 10,000.
create function conversations_shown_to(reader_id bigint) returns table (
    id bigint, is_group boolean, is_open boolean, title text, created_by_id bigint, epoch bigint, top_seq bigint,
    read_seq bigint, created_at timestamptz, updated_at timestamptz, last_message_at timestamptz, last_message text,
    last_sender_id bigint, participant_count bigint, unread_count bigint, other_id bigint, other_role text, other_name text
)
language sql stable as $$
    select c.id, c.is_group, c.is_open, c.title, c.created_by_id, c.epoch, c.top_seq, me.read_seq, c.created_at,
        case
            when exists (
                select from user_blocks b join participants p on p.user_id = b.blocked_id
                where b.blocker_id = reader_id and p.conversation_id = c.id
            ) then greatest(c.created_at, last.created_at, last.edited_at) else c.updated_at
        end,
        last.created_at, left(last.content, 500), last.sender_id,
        (select count(*) from participants p where p.conversation_id = c.id and p.is_active),
        (
            select count(*) from (
                select from messages m
                where m.conversation_id = c.id and m.seq > greatest(me.read_seq, c.top_seq - 10000)
                    and m.sender_id <> reader_id and m.deleted_at is null
                    and not exists (select from user_blocks b where b.blocker_id = reader_id and b.blocked_id = m.sender_id)
                limit 100
            ) unread
        ),
        other.id, other.role, coalesce(nullif(other.name, ''), other.external_id, 'user ' || other.id)
    from participants me
    join conversations c on c.id = me.conversation_id
    left join lateral (
        select m.content, m.sender_id, m.created_at, m.edited_at from messages m
        where m.conversation_id = c.id and m.seq > c.top_seq - 10000 and m.deleted_at is null
            and not exists (select from user_blocks b where b.blocker_id = reader_id and b.blocked_id = m.sender_id)
        order by m.seq desc limit 1
    ) last on true
    left join users other
        on not c.is_group and other.id = case when c.pair_low = reader_id then c.pair_high else c.pair_low end
    where me.user_id = reader_id and me.is_active
$$;
comment on function conversations_shown_to is 'Conversations as one of their active members is shown them.';
