-- name: put_report_of_message
-- Report a message, for an active member of its conversation, who need not be shown it. Returns its sender, null for
-- none, and whether it is new: the first report of somebody stands. Nobody reports oneself.
with found as (
    select m.conversation_id, m.sender_id from messages m
    where m.id = $2
        and exists (
            select from participants p
            where p.conversation_id = m.conversation_id and p.user_id = $1 and p.is_active
        )
),
made as (
    insert into reports (reporter_id, message_id, conversation_id, user_id, reason, created_at)
    select $1, $2, f.conversation_id, f.sender_id, $3::text, to_timestamp($4::bigint / 1000.0) from found f
    where f.sender_id <> $1
    on conflict do nothing
    returning id
)
select (select sender_id from found) as user_id, exists (select from made) as is_new;

-- name: put_report_of_user
-- Report somebody, for who shares a conversation with them. Returns their id, null for who does not, and whether it is
-- new.
with found as (
    select $2::bigint as user_id
    where exists (
        select from participants me join participants other using (conversation_id)
        where me.user_id = $1 and me.is_active and other.user_id = $2 and other.is_active
    )
),
made as (
    insert into reports (reporter_id, user_id, reason, created_at)
    select $1, f.user_id, $3::text, to_timestamp($4::bigint / 1000.0) from found f
    where f.user_id <> $1
    on conflict do nothing
    returning id
)
select (select user_id from found) as user_id, exists (select from made) as is_new;

-- name: select_reports
-- A page of reports, the newest first, with what the message says now; nothing of one that is deleted.
select r.id, r.reporter_id, r.message_id, r.conversation_id, r.user_id, r.reason,
    (extract(epoch from r.created_at) * 1000)::bigint as created_at_ms,
    left(m.content, 1000) as content, m.deleted_at is not null as is_deleted
from reports r left join messages m on m.id = r.message_id
where r.id < $1
order by r.id desc limit $2;
