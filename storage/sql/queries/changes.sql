-- name: commit_details
-- What is said of messages besides their words. Runs in the transaction that stored them, before what changes them.
update messages m
set thread_id = d.thread_id, details = nullif(d.details, '')
from unnest($1::bigint[], $2::bigint[], $3::text[]) as d (message_id, thread_id, details)
where m.id = d.message_id;

-- name: commit_changes
-- Messages say something else from here on, or nothing: note each change at its seq, and let the last one of each message
-- stand in its row. What was said before is overwritten, its digest too. Runs in the transaction that bumped their rooms,
-- behind the statement that stores messages.
with changes as (
    select * from unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[]
    ) as c (conversation_id, seq, message_id, kind, content, by_id, at_ms)
),
noted as (
    insert into message_changes (conversation_id, seq, message_id, kind, by_id, changed_at)
    select conversation_id, seq, message_id, kind, by_id, to_timestamp(at_ms / 1000.0) from changes
),
last as (
    select distinct on (message_id) * from changes order by message_id, seq desc
),
changed as (
    update messages m
    set content = l.content, content_digest = '', changed_seq = l.seq,
        attachments = case when l.kind = 'edited' then m.attachments end,
        details = case when l.kind = 'edited' then m.details end,
        edited_at = case when l.kind = 'edited' then to_timestamp(l.at_ms / 1000.0) else m.edited_at end,
        deleted_at = case when l.kind = 'deleted' then to_timestamp(l.at_ms / 1000.0) end
    from last l
    where m.id = l.message_id and m.conversation_id = l.conversation_id
),
tops as (
    select conversation_id, max(seq) as seq, max(at_ms) as at_ms from changes group by conversation_id
)
update conversations c
set top_seq = greatest(c.top_seq, t.seq), updated_at = to_timestamp(t.at_ms / 1000.0)
from tops t
where c.id = t.conversation_id;

-- name: select_log_after
-- The log of a room forwards, messages, changes and who came or went, for an active member only; a change with what its
-- message says now. message_seq: of the message. sender_id, of who came or went: they. is_hidden: who said the message is
-- blocked by the reader, who is not shown what it says; or who reacts to it; or the reader left once, and is back.
-- The page ends with the entry that brings what they say, with files and details, to $5 bytes; null: it has no such end.
with entry as (
    (
        select m.id, m.seq, m.sender_id, m.client_id, m.content,
            (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
            (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
            (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms,
            m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details, '' as change, 0::bigint as changed_by_id, 0::bigint as changed_at_ms,
            '' as reaction, '' as member_role
        from messages m where m.conversation_id = $1 and m.seq > $3 order by m.seq limit $4
    )
    union all
    (
        select m.id, c.seq, m.sender_id, m.client_id, m.content,
            (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
            (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
            (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms,
            m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details, c.kind as change, c.by_id as changed_by_id,
            (extract(epoch from c.changed_at) * 1000)::bigint as changed_at_ms,
            case when m.deleted_at is null then coalesce(c.reaction, '') else '' end as reaction, '' as member_role
        from message_changes c join messages m on m.id = c.message_id
        where c.conversation_id = $1 and c.seq > $3 order by c.seq limit $4
    )
    union all
    (
        select 0::bigint as id, c.seq, c.user_id as sender_id, null::text as client_id, '' as content,
            (extract(epoch from c.changed_at) * 1000)::bigint as created_at_ms,
            null::bigint as edited_at_ms, null::bigint as deleted_at_ms, 0::bigint as message_seq,
            '' as attachments, '' as details, c.kind as change, c.user_id as changed_by_id,
            (extract(epoch from c.changed_at) * 1000)::bigint as changed_at_ms,
            '' as reaction, c.role as member_role
        from member_changes c where c.conversation_id = $1 and c.seq > $3 order by c.seq limit $4
    )
    order by seq limit $4
),
sizes as (
    select seq, octet_length(content) + octet_length(attachments) + octet_length(details) as bytes from entry
),
sums as (
    select seq, sum(bytes) over (order by seq) - bytes as bytes_before from sizes
)
select entry.*, u.name as sender_name, u.role as sender_role,
    case
        when entry.change in ('joined', 'left') then entry.change = 'left' and entry.sender_id = $2
        else exists (
            select from user_blocks b
            where b.blocker_id = $2
                and (
                    b.blocked_id = entry.sender_id
                    or (entry.change in ('reacted', 'unreacted') and b.blocked_id = entry.changed_by_id)
                )
        )
    end as is_hidden
from entry
join users u on u.id = entry.sender_id
where exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
    and ($5::bigint is null or entry.seq <= (select max(seq) from sums where bytes_before < $5))
order by entry.seq;

-- name: select_ring
-- The end of the log of a room, messages, changes and who came or went, oldest first: its ring.
select entry.*, u.name as sender_name
from (
    select m.id, m.seq, m.sender_id, m.client_id, m.content,
        (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
        (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
        (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms,
        m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details, coalesce(m.thread_id, 0) as thread_id, '' as change, 0::bigint as changed_by_id, 0::bigint as changed_at_ms,
        '' as reaction, '' as member_role
    from messages m where m.conversation_id = $1 and m.seq > $2
    union all
    select m.id, c.seq, m.sender_id, m.client_id, m.content,
        (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
        (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
        (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms,
        m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details, coalesce(m.thread_id, 0) as thread_id, c.kind as change, c.by_id as changed_by_id,
        (extract(epoch from c.changed_at) * 1000)::bigint as changed_at_ms,
        case when m.deleted_at is null then coalesce(c.reaction, '') else '' end as reaction, '' as member_role
    from message_changes c join messages m on m.id = c.message_id
    where c.conversation_id = $1 and c.seq > $2
    union all
    select 0::bigint as id, c.seq, c.user_id as sender_id, null::text as client_id, '' as content,
        (extract(epoch from c.changed_at) * 1000)::bigint as created_at_ms,
        null::bigint as edited_at_ms, null::bigint as deleted_at_ms, 0::bigint as message_seq,
        '' as attachments, '' as details, 0::bigint as thread_id, c.kind as change, c.user_id as changed_by_id,
        (extract(epoch from c.changed_at) * 1000)::bigint as changed_at_ms,
        '' as reaction, c.role as member_role
    from member_changes c where c.conversation_id = $1 and c.seq > $2
) entry
join users u on u.id = entry.sender_id
order by entry.seq;

-- name: select_message_to_change
-- A message of a room, whoever reads it: what the room must know to change it. changed_seq: of its last change, else 0.
select m.id, m.seq, m.sender_id, m.client_id, m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms,
    m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details, coalesce(m.thread_id, 0) as thread_id, u.name as sender_name, coalesce(m.changed_seq, 0) as changed_seq
from messages m join users u on u.id = m.sender_id
where m.conversation_id = $1 and m.id = $2;

-- name: select_room_of_message
-- The conversation of a message, for an active member of it only, also one who blocks its sender.
select m.conversation_id
from messages m
join participants p on p.conversation_id = m.conversation_id and p.user_id = $2 and p.is_active
where m.id = $1;
