-- name: commit_marks
-- Reactions and pins are put on messages, or taken off: note each at its seq, and let the last of each stand. Runs in the
-- transaction that bumped their rooms, before changes: a message that the same batch deletes loses them there.
with marks as (
    select * from unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[]
    ) as m (conversation_id, seq, message_id, kind, reaction, by_id, at_ms)
),
noted as (
    insert into message_changes (conversation_id, seq, message_id, kind, reaction, by_id, changed_at)
    select conversation_id, seq, message_id, kind, nullif(reaction, ''), by_id, to_timestamp(at_ms / 1000.0) from marks
),
last_reactions as (
    select distinct on (message_id, by_id, reaction) * from marks where kind in ('reacted', 'unreacted')
    order by message_id, by_id, reaction, seq desc
),
last_pins as (
    select distinct on (message_id) * from marks where kind in ('pinned', 'unpinned') order by message_id, seq desc
),
unreacted as (
    delete from message_reactions r using last_reactions l
    where l.kind = 'unreacted' and r.message_id = l.message_id and r.user_id = l.by_id and r.reaction = l.reaction
),
reacted as (
    insert into message_reactions (message_id, user_id, reaction, seq, created_at)
    select message_id, by_id, reaction, seq, to_timestamp(at_ms / 1000.0) from last_reactions where kind = 'reacted'
    on conflict (message_id, user_id, reaction) do update set seq = excluded.seq, created_at = excluded.created_at
),
unpinned as (
    delete from message_pins p using last_pins l where l.kind = 'unpinned' and p.message_id = l.message_id
),
pinned as (
    insert into message_pins (conversation_id, message_id, seq, by_id, pinned_at)
    select conversation_id, message_id, seq, by_id, to_timestamp(at_ms / 1000.0) from last_pins where kind = 'pinned'
    on conflict (message_id) do update
    set seq = excluded.seq, by_id = excluded.by_id, pinned_at = excluded.pinned_at
),
tops as (
    select conversation_id, max(seq) as seq, max(at_ms) as at_ms from marks group by conversation_id
)
update conversations c
set top_seq = greatest(c.top_seq, t.seq), updated_at = to_timestamp(t.at_ms / 1000.0)
from tops t
where c.id = t.conversation_id;

-- name: commit_erased_marks
-- These messages were deleted: nobody reacts to them or has pinned them, and which reactions there were is said no more.
-- Of a message with more changes of reactions than the limit the rest is hidden by whoever reads the log.
with words as (
    update message_changes c set reaction = ''
    from (
        select conversation_id, seq from message_changes
        where message_id = any($1::bigint[]) and reaction <> '' limit $2
    ) said
    where c.conversation_id = said.conversation_id and c.seq = said.seq
),
pins as (
    delete from message_pins where message_id = any($1::bigint[])
)
delete from message_reactions where message_id = any($1::bigint[]);

-- name: select_reaction_counts
-- How many users have each reaction on a message.
select reaction, users from message_reaction_counts where message_id = $1;

-- name: select_reactions_on
-- What stands on a message that has few reactions: all that its room must know to decide.
select user_id, reaction, seq, (extract(epoch from created_at) * 1000)::bigint as created_at_ms
from message_reactions where message_id = $1;

-- name: select_reactions_of
-- Of a message that has many, those of one user.
select user_id, reaction, seq, (extract(epoch from created_at) * 1000)::bigint as created_at_ms
from message_reactions where message_id = $1 and user_id = $2;

-- name: select_pins_of_room
-- The pins of a room: what it must know to decide.
select message_id, seq, (extract(epoch from pinned_at) * 1000)::bigint as pinned_at_ms
from message_pins where conversation_id = $1;

-- name: select_pinned_messages
-- The messages that are pinned in a conversation, the one that was pinned last first, for an active member only.
-- is_hidden: who said it is blocked by the reader, who is not shown what it says.
select m.id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
    exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id) as is_hidden,
    marks.reactions, marks.pinned_at_ms
from message_pins pin join messages m on m.id = pin.message_id join users u on u.id = m.sender_id
cross join lateral marks_shown_to($2, m.id) marks
where pin.conversation_id = $1
    and exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
order by pin.seq desc;
