-- name: insert_conversation
-- Make a conversation. A direct one of a pair that has one already inserts nothing.
insert into conversations
    (id, is_group, is_open, title, created_by_id, pair_low, pair_high, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::bigint / 1000.0), to_timestamp($8::bigint / 1000.0))
on conflict do nothing
returning id;

-- name: insert_ownership
-- Give a new actor its ownership row, before anybody can claim it.
insert into ownership (kind, key) values ($1, $2);

-- name: insert_participants
-- The first members of a new conversation.
insert into participants (conversation_id, user_id, role, is_active, joined_at)
select $1, p.user_id, p.role, true, to_timestamp($4::bigint / 1000.0)
from unnest($2::bigint[], $3::text[]) as p (user_id, role);

-- name: select_direct_conversation
-- The conversation of a pair.
select id from conversations where pair_low = $1 and pair_high = $2 and not is_group;

-- name: select_room
-- What a room knows of itself when it wakes. wordless_first, wordless_last: where the runs of places begin and end, among its
-- newest $2 messages, at which none stands.
select c.id, c.is_group, c.is_open, c.title, c.created_by_id, c.epoch, c.top_seq, c.last_message_id,
    (extract(epoch from c.created_at) * 1000)::bigint as created_at_ms,
    coalesce(wordless.first, '{}') as wordless_first, coalesce(wordless.last, '{}') as wordless_last
from conversations c
left join lateral (
    select array_agg(place.before + 1 order by place.seq) as first, array_agg(place.seq - 1 order by place.seq) as last
    from (
        select message.seq, coalesce(
            lead(message.seq) over (order by message.seq desc),
            case when count(*) over () > $2::bigint then message.seq - 1 else 0 end
        ) as before
        from (
            select c.top_seq + 1 as seq
            union all
            (select m.seq from messages m where m.conversation_id = c.id order by m.seq desc limit $2::bigint)
        ) message
    ) place
    where place.seq - place.before > 1
) wordless on true
where c.id = $1;

-- name: select_room_members
-- The active members of a room, where they have read to, and what others are told of that.
select user_id, role, read_seq, coalesce(shown_read_seq, read_seq) as shown_seq from participants where conversation_id = $1 and is_active;

-- name: select_newest_messages
-- Who said the newest $3 messages of a room before the seq $2, and whether they were deleted; the oldest first.
select * from (
    select seq, sender_id, id, deleted_at is not null as is_deleted
    from messages where conversation_id = $1 and seq < $2 order by seq desc limit $3
) newest
order by seq;

-- name: select_removed
-- Who was removed from a room by somebody else and is not in it: they do not come back by themselves.
select user_id from participants where conversation_id = $1 and removed_by_id is not null limit $2;

-- name: select_recent_client_ids
-- The newest client ids of a room: what it recognises as sent before without asking.
select sender_id, client_id, id, seq, content_digest, (extract(epoch from created_at) * 1000)::bigint as created_at_ms
from messages where conversation_id = $1 and seq > $2 - $3::bigint and client_id is not null
order by seq;

-- name: select_by_client_id
-- The message that somebody sent under a client id, however long ago.
select id, seq, content_digest, (extract(epoch from created_at) * 1000)::bigint as created_at_ms
from messages where conversation_id = $1 and sender_id = $2 and client_id = $3;

-- name: see_one_snapshot
-- What several statements of this transaction read is as of its first one.
set transaction isolation level repeatable read;

-- name: select_messages_after
-- A page of history forwards, for an active member only. is_hidden: who said it is
-- blocked by the reader, who is not shown what it says.
select m.id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id) as is_hidden,
    marks.reactions, marks.pinned_at_ms,
    (select top_seq from conversations where id = $1) as room_top_seq
from messages m join users u on u.id = m.sender_id
cross join lateral marks_shown_to($2, m.id) marks
where m.conversation_id = $1 and m.seq > $3
    and exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
order by m.seq limit $4;

-- name: select_messages_before
-- A page of history backwards from a seq, oldest first, for an active member only. is_hidden: who said it is
-- blocked by the reader, who is not shown what it says.
select * from (
    select m.id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
        (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
        (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
        (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
    exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id) as is_hidden,
        marks.reactions, marks.pinned_at_ms,
        (select top_seq from conversations where id = $1) as room_top_seq
    from messages m join users u on u.id = m.sender_id
    cross join lateral marks_shown_to($2, m.id) marks
    where m.conversation_id = $1 and m.seq < $3
        and exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
    order by m.seq desc limit $4
) newest
order by seq;

-- name: select_thread_after
-- A page of a thread forwards, for an active member only. is_hidden: who said it is
-- blocked by the reader, who is not shown what it says.
select m.id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id) as is_hidden,
    marks.reactions, marks.pinned_at_ms,
    (select top_seq from conversations where id = $1) as room_top_seq
from messages m join users u on u.id = m.sender_id
cross join lateral marks_shown_to($2, m.id) marks
where m.conversation_id = $1 and m.thread_id = $5 and m.seq > $3
    and exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
order by m.seq limit $4;

-- name: select_thread_before
-- A page of a thread backwards from a seq, oldest first, for an active member only. is_hidden: who said it is
-- blocked by the reader, who is not shown what it says.
select * from (
    select m.id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
        (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
        (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
        (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
    exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id) as is_hidden,
        marks.reactions, marks.pinned_at_ms,
        (select top_seq from conversations where id = $1) as room_top_seq
    from messages m join users u on u.id = m.sender_id
    cross join lateral marks_shown_to($2, m.id) marks
    where m.conversation_id = $1 and m.thread_id = $5 and m.seq < $3
        and exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
    order by m.seq desc limit $4
) newest
order by seq;

-- name: select_seq_at
-- Where the messages begin that were said at a time or later, one after the newest seq if none was: halving, about two
-- rows of the log for each doubling of its length. `low` is 0 or a message that is earlier; the first message from `high`
-- on, if there is one, is not. Of a log whose clock went back it is one of the places where that is so.
with recursive halves (low, high) as (
    select 0::bigint, top_seq + 1 from conversations where id = $1
    union all
    select case when middle.is_earlier then middle.seq else h.low end,
        case when middle.is_earlier then h.high else (h.low + h.high) / 2 end
    from halves h
    left join lateral (
        select m.seq, m.created_at < to_timestamp($2::bigint / 1000.0) as is_earlier from messages m
        where m.conversation_id = $1 and m.seq >= (h.low + h.high) / 2 and m.seq < h.high
        order by m.seq limit 1
    ) middle on true
    where h.high - h.low > 1
)
select high from halves where high - low <= 1;

-- name: select_messages_offset
-- A page by limit and offset from the newest, oldest first, for an active member only. is_hidden: who said it is
-- blocked by the reader, who is not shown what it says.
select * from (
    select m.id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
        (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
        (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
        (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
    exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id) as is_hidden,
        marks.reactions, marks.pinned_at_ms
    from messages m join users u on u.id = m.sender_id
    cross join lateral marks_shown_to($2, m.id) marks
    where m.conversation_id = $1
        and exists (select 1 from participants p where p.conversation_id = $1 and p.user_id = $2 and p.is_active)
    order by m.seq desc limit $3 offset $4
) newest
order by seq;

-- name: select_unread_messages
-- The newest messages of others after the read markers of a user, over all their conversations, oldest first; not of
-- whom they have blocked. Each conversation in the order of its log, also where the clock went back: a message counts as
-- said no earlier than those before it.
select newest.id, newest.conversation_id, newest.seq, newest.sender_id, u.name as sender_name, u.role as sender_role,
    newest.client_id, newest.content,
    (extract(epoch from newest.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from newest.edited_at) * 1000)::bigint as edited_at_ms,
    (extract(epoch from newest.deleted_at) * 1000)::bigint as deleted_at_ms, newest.seq as message_seq,
    coalesce(newest.attachments, '') as attachments, coalesce(newest.details, '') as details,
    marks.reactions, marks.pinned_at_ms
from (
    select m.*
    from participants me
    join conversations c on c.id = me.conversation_id and c.top_seq > me.read_seq
    cross join lateral (
        select last.*, max(last.created_at) over (order by last.seq) as said_at
        from (
            select * from (
                select * from messages where conversation_id = c.id and seq > me.read_seq order by seq desc limit 10000
            ) said
            where sender_id <> $1 and deleted_at is null
                and not exists (select from user_blocks b where b.blocker_id = $1 and b.blocked_id = said.sender_id)
            order by seq desc limit $2
        ) last
    ) m
    where me.user_id = $1 and me.is_active
    order by m.said_at desc, m.conversation_id desc, m.seq desc limit $2
) newest
join users u on u.id = newest.sender_id
cross join lateral marks_shown_to($1, newest.id) marks
order by newest.said_at, newest.conversation_id, newest.seq;

-- name: select_message
-- One message, for an active member of its conversation who does not block its sender only.
select m.id, m.conversation_id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id,
    m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    (extract(epoch from m.deleted_at) * 1000)::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments, coalesce(m.details, '') as details,
    marks.reactions, marks.pinned_at_ms
from messages m join users u on u.id = m.sender_id
cross join lateral marks_shown_to($2, m.id) marks
where m.id = $1
    and not exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id)
    and exists (
        select 1 from participants p where p.conversation_id = m.conversation_id and p.user_id = $2 and p.is_active
    );

-- name: select_places_of_messages
-- Where these messages stand, of those that select_message would show.
select m.id, m.conversation_id, m.seq from messages m
where m.id = any($1::bigint[])
    and not exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = m.sender_id)
    and exists (
        select 1 from participants p where p.conversation_id = m.conversation_id and p.user_id = $2 and p.is_active
    );

-- name: select_conversation_of
-- One conversation as one of its active members is shown it.
select id, is_group, is_open, title, created_by_id, epoch, top_seq, read_seq,
    (extract(epoch from created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from updated_at) * 1000)::bigint as updated_at_ms,
    (extract(epoch from last_message_at) * 1000)::bigint as last_message_at_ms,
    last_message, last_sender_id, participant_count, unread_count, other_id, other_role, other_name
from conversations_shown_to($2) where id = $1;

-- name: select_conversations_of
-- The conversations of a user as they are shown to them, the one with the newest activity that they are shown first.
select id, is_group, is_open, title, created_by_id, epoch, top_seq, read_seq,
    (extract(epoch from created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from updated_at) * 1000)::bigint as updated_at_ms,
    (extract(epoch from last_message_at) * 1000)::bigint as last_message_at_ms,
    last_message, last_sender_id, participant_count, unread_count, other_id, other_role, other_name
from conversations_shown_to($1)
order by coalesce(last_message_at, created_at) desc, id desc
limit $2 offset $3;

-- name: select_rooms_of
-- The ids of the conversations of a user, the one with the newest activity first.
select c.id
from participants me join conversations c on c.id = me.conversation_id
where me.user_id = $1 and me.is_active
order by coalesce(c.last_message_at, c.created_at) desc, c.id desc
limit $2;

-- name: select_open_conversations
-- Groups that a signed-in user may enter, the one with the newest activity first; not those they were removed from.
select c.id, c.title, c.top_seq,
    (extract(epoch from c.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from c.last_message_at) * 1000)::bigint as last_message_at_ms,
    (select count(*) from participants p where p.conversation_id = c.id and p.is_active) as participant_count,
    exists (select 1 from participants p where p.conversation_id = c.id and p.is_active and p.user_id = $1) as is_member
from conversations c
where c.is_open
    and not exists (
        select from participants p where p.conversation_id = c.id and p.user_id = $1 and p.removed_by_id is not null
    )
order by coalesce(c.last_message_at, c.created_at) desc, c.id desc
limit $2 offset $3;

-- name: select_participants
-- The active members of a conversation with their names, for an active member only. How far somebody has read is not
-- shown when one of the two has blocked the other: 0, as of who has read nothing; nor is it where they read privately.
select p.user_id, coalesce(nullif(u.name, ''), u.external_id, 'user ' || u.id) as name, u.role as user_type,
    p.role, case
        when apart.is_so then 0
        when p.user_id = $2 then p.read_seq
        else coalesce(p.shown_read_seq, p.read_seq)
    end as read_seq, (extract(epoch from p.joined_at) * 1000)::bigint as joined_at_ms
from participants p join users u on u.id = p.user_id
cross join lateral (
    select exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = p.user_id)
        or exists (select from user_blocks b where b.blocker_id = p.user_id and b.blocked_id = $2) as is_so
) apart
where p.conversation_id = $1 and p.is_active and p.user_id > $3
    and exists (select 1 from participants me where me.conversation_id = $1 and me.user_id = $2 and me.is_active)
order by p.user_id limit $4;

-- name: select_ends_of
-- Of these conversations those that a user was in and is no more: in which role, and where in the log and when they left; 0
-- of who left before the log told of it.
select p.conversation_id, p.role, coalesce(last.seq, 0) as seq,
    coalesce((extract(epoch from last.changed_at) * 1000)::bigint, 0) as at_ms
from participants p
left join lateral (
    select m.seq, m.changed_at from member_changes m
    where m.user_id = p.user_id and m.conversation_id = p.conversation_id and m.kind = 'left'
    order by m.seq desc limit 1
) last on true
where p.conversation_id = any($1::bigint[]) and p.user_id = $2 and not p.is_active;

-- name: is_member
-- Whether a user is an active member of a conversation.
select exists (select 1 from participants where conversation_id = $1 and user_id = $2 and is_active);

-- name: select_read_marks
-- How far an active member and the others have read, and the newest seq; no row for who is not a member. Those whom a
-- block parts from the member do not count, nor what was read privately.
select c.top_seq, me.read_seq,
    coalesce((
        select max(coalesce(p.shown_read_seq, p.read_seq)) from participants p
        where p.conversation_id = c.id and p.user_id <> $2 and p.is_active
            and not exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = p.user_id)
            and not exists (select from user_blocks b where b.blocker_id = p.user_id and b.blocked_id = $2)
    ), 0) as read_seq_of_others
from conversations c
join participants me on me.conversation_id = c.id and me.user_id = $2 and me.is_active
where c.id = $1;

-- name: select_unread_count
-- Messages of others after the read markers of a user, over all conversations: at most 100 of each and 1,000 in all.
select count(*) from (
    select from participants me
    join conversations c on c.id = me.conversation_id and c.top_seq > me.read_seq
    cross join lateral (
        select from (
            select sender_id, deleted_at from messages where conversation_id = c.id and seq > me.read_seq
            order by seq desc limit 10000
        ) m
        where m.sender_id <> $1 and m.deleted_at is null
            and not exists (select from user_blocks b where b.blocker_id = $1 and b.blocked_id = m.sender_id)
        limit 100
    ) unread
    where me.user_id = $1 and me.is_active
    limit 1000
) counted;

-- name: select_seqs
-- Where these messages stand in one conversation.
select seq from messages where conversation_id = $1 and id = any($2::bigint[]);

-- name: search_no_longer
-- Whatever runs next in this transaction ends by itself, also when nobody waits for it any more.
set local statement_timeout = '5s';

-- name: search_messages
-- The newest $8 messages that have $2 in their text, in whatever case, for $1: of a conversation ($3, below the seq $4;
-- newest by seq), or of the $7 in which something was said last of those that they are in (newest by time). Not what was
-- erased, nor of whom they block. The newest $5 messages are looked at, and $6 bytes of text, shared evenly by the
-- conversations. At least one row: how many conversations were looked into, whether that was all of them and of what was
-- said there, and the lowest seq that was looked at.
with mine as (
    select me.conversation_id, count(*) over () as conversations
    from participants me join conversations c on c.id = me.conversation_id
    where me.user_id = $1 and me.is_active and ($3::bigint is null or me.conversation_id = $3)
    order by c.last_message_at desc nulls last, c.id desc limit $7
),
share as (
    select count(*) as rooms, coalesce(max(conversations), 0) > count(*) as is_cut,
        $5::bigint / greatest(count(*), 1) as messages, $6::bigint / greatest(count(*), 1) as bytes
    from mine
),
looked as materialized (
    select m.id, m.conversation_id, m.seq, m.created_at, m.place, m.bytes_before < share.bytes as is_within,
        case when m.bytes_before < share.bytes and m.deleted_at is null
                and not exists (select from user_blocks b where b.blocker_id = $1 and b.blocked_id = m.sender_id)
            then position(lower($2) in lower(m.content)) > 0 else false end as is_found
    from mine cross join share cross join lateral (
        select newest.*, row_number() over newer as place,
            sum(octet_length(content)) over newer - octet_length(content) as bytes_before
        from (
            select * from messages where conversation_id = mine.conversation_id and seq < coalesce($4::bigint, 9223372036854775807)
            order by seq desc limit (select messages + 1 from share)
        ) newest
        window newer as (order by seq desc)
    ) m
    where m.place <= share.messages + 1
),
looked_at as (
    select share.rooms,
        not share.is_cut and coalesce(bool_and(is_within and place <= share.messages), true) as is_all,
        min(seq) filter (where is_within and place <= share.messages) as lowest_seq
    from share left join looked on true group by share.rooms, share.is_cut, share.messages
),
found as (
    select id, case when $3::bigint is null then created_at end as said_at, conversation_id, seq
    from looked, share where is_found and place <= share.messages
    order by said_at desc nulls last, conversation_id desc, seq desc limit $8
)
select looked_at.rooms, looked_at.is_all, looked_at.lowest_seq,
    m.id, m.conversation_id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    null::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments,
    coalesce(m.details, '') as details, marks.reactions, marks.pinned_at_ms
from looked_at
left join (
    found join messages m on m.id = found.id join users u on u.id = m.sender_id
    cross join lateral marks_shown_to($1, m.id) marks
) on true
order by found.said_at desc nulls last, m.conversation_id desc, m.seq desc;

-- name: search_again
-- Of these messages ($3) those that $1 may read and that have $2 in their text, as search_messages finds them.
select m.id, m.conversation_id, m.seq, m.sender_id, u.name as sender_name, u.role as sender_role, m.client_id, m.content,
    (extract(epoch from m.created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from m.edited_at) * 1000)::bigint as edited_at_ms,
    null::bigint as deleted_at_ms, m.seq as message_seq, coalesce(m.attachments, '') as attachments,
    coalesce(m.details, '') as details, marks.reactions, marks.pinned_at_ms
from messages m join users u on u.id = m.sender_id
cross join lateral marks_shown_to($1, m.id) marks
where m.id = any($3::bigint[]) and m.deleted_at is null and position(lower($2) in lower(m.content)) > 0
    and not exists (select from user_blocks b where b.blocker_id = $1 and b.blocked_id = m.sender_id)
    and exists (
        select 1 from participants p where p.conversation_id = m.conversation_id and p.user_id = $1 and p.is_active
    );
