-- As in 0013; but the newest 10,000 among which it looks are messages, and not places of the log. Edits, reactions and pins
-- take places too: behind 10,000 of them the last message, and all that was unread, were out of sight.
create or replace function conversations_shown_to(reader_id bigint) returns table (
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
                select from (
                    select m.sender_id, m.deleted_at from messages m
                    where m.conversation_id = c.id and m.seq > me.read_seq
                    order by m.seq desc limit 10000
                ) newest
                where newest.sender_id <> reader_id and newest.deleted_at is null
                    and not exists (select from user_blocks b where b.blocker_id = reader_id and b.blocked_id = newest.sender_id)
                limit 100
            ) unread
        ),
        other.id, other.role, coalesce(nullif(other.name, ''), other.external_id, 'user ' || other.id)
    from participants me
    join conversations c on c.id = me.conversation_id
    left join lateral (
        select newest.content, newest.sender_id, newest.created_at, newest.edited_at from (
            select m.seq, m.content, m.sender_id, m.created_at, m.edited_at, m.deleted_at from messages m
            where m.conversation_id = c.id
            order by m.seq desc limit 10000
        ) newest
        where newest.deleted_at is null
            and not exists (select from user_blocks b where b.blocker_id = reader_id and b.blocked_id = newest.sender_id)
        order by newest.seq desc limit 1
    ) last on true
    left join users other
        on not c.is_group and other.id = case when c.pair_low = reader_id then c.pair_high else c.pair_low end
    where me.user_id = reader_id and me.is_active
$$;
comment on function conversations_shown_to is 'Conversations as one of their active members is shown them.';
