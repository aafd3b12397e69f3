-- name: put_notifications
-- Store notifications; runs in the transaction that bumped their notifiers.
insert into notifications
    (id, user_id, type, category, title, message, priority, related_type, related_id, action_url, data, sent_under,
    sent_digest, created_at, expires_at)
select d.id, d.user_id, d.type, d.category, d.title, d.message, d.priority, d.related_type, d.related_id, d.action_url,
    d.data, d.sent_under, d.sent_digest, to_timestamp(d.created_at_ms / 1000.0), to_timestamp(d.expires_at_ms / 1000.0)
from unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
    $10::text[], $11::text[], $12::text[], $13::bytea[], $14::bigint[], $15::bigint[]
) as d (
    id, user_id, type, category, title, message, priority, related_type, related_id, action_url, data, sent_under,
    sent_digest, created_at_ms, expires_at_ms
);

-- name: read_notifications
-- Mark notifications of one user as read, or, when they are deleted, delete them.
update notifications
set read_at = coalesce(read_at, to_timestamp($3::bigint / 1000.0)),
    deleted_at = case when $4::boolean then to_timestamp($3::bigint / 1000.0) end
where user_id = $1 and id = any($2::bigint[]) and deleted_at is null;

-- name: select_notifications
-- A page of a user's notifications, the newest first. What has expired is not shown.
select id, user_id, type, category, title, message, priority, related_type, related_id, action_url, data,
    (extract(epoch from created_at) * 1000)::bigint as created_at_ms,
    (extract(epoch from read_at) * 1000)::bigint as read_at_ms,
    (extract(epoch from expires_at) * 1000)::bigint as expires_at_ms
from notifications
where user_id = $1 and deleted_at is null and (expires_at is null or expires_at > to_timestamp($2::bigint / 1000.0))
    and (read_at is null or not $3::boolean) and ($4::text is null or category = $4)
    and ($5::text is null or related_type = $5)
order by id desc limit $6 offset $7;

-- name: count_chosen_notifications
-- How many rows all pages of `select_notifications` have; at most 1,000 are counted.
select count(*) from (
    select from notifications
    where user_id = $1 and deleted_at is null and (expires_at is null or expires_at > to_timestamp($2::bigint / 1000.0))
        and (read_at is null or not $3::boolean) and ($4::text is null or category = $4)
        and ($5::text is null or related_type = $5)
    limit 1000
) chosen;

-- name: count_notifications
-- How many notifications a user has, and of those, how many are unread, and when the first of these expires; at most
-- 1,000 of each are counted.
select
    (select count(*) from (
        select from notifications n where n.user_id = $1 and n.deleted_at is null
            and (n.expires_at is null or n.expires_at > to_timestamp($2::bigint / 1000.0)) limit 1000
    ) every) as total,
    unread.count as unread, (extract(epoch from unread.expires_at) * 1000)::bigint as unread_until_ms
from (
    select count(*) as count, min(expires_at) as expires_at from (
        select n.expires_at from notifications n where n.user_id = $1 and n.deleted_at is null and n.read_at is null
            and (n.expires_at is null or n.expires_at > to_timestamp($2::bigint / 1000.0)) limit 1000
    ) counted
) unread;

-- name: count_unread_notifications
-- How many notifications a user has not read, without these, and when the first of those expires; at most 1,000 are
-- counted.
select count(*) as unread, (extract(epoch from min(expires_at)) * 1000)::bigint as unread_until_ms from (
    select n.expires_at from notifications n where n.user_id = $1 and n.deleted_at is null and n.read_at is null
        and (n.expires_at is null or n.expires_at > to_timestamp($2::bigint / 1000.0)) and n.id <> all($3::bigint[])
    limit 1000
) counted;

-- name: select_unread_notifications
-- Which notifications of a user are unread: of these, or, without any, of all; the oldest first.
select id from notifications
where user_id = $1 and deleted_at is null and read_at is null and ($2::bigint[] is null or id = any($2::bigint[]))
order by id limit $3;

-- name: select_kept_notifications
-- Which notifications of a user are not deleted: of these, or, without any, of all; the oldest first.
select id from notifications
where user_id = $1 and deleted_at is null and ($2::bigint[] is null or id = any($2::bigint[]))
order by id limit $3;

-- name: select_expired_notifications
-- Notifications that have expired and are not deleted, of whomever: the first to expire first.
select user_id, id from notifications
where expires_at <= to_timestamp($1::bigint / 1000.0) and deleted_at is null
order by expires_at, id limit $2;

-- name: expire_notifications
-- Delete these, and leave a note for each of their users: one of all that are deleted here. Its notifier adds how many
-- are unread. What the committer is about to change is left for the next time: it waits for nobody, so that neither of
-- the two can ever wait for the other.
with over as (
    select id from notifications where id = any($1::bigint[]) and deleted_at is null for update skip locked
), gone as (
    update notifications n
    set deleted_at = to_timestamp($2::bigint / 1000.0)
    from over where n.id = over.id
    returning n.user_id, n.id
)
insert into user_notes (user_id, kind, data, at)
select user_id, 'notification_deleted', json_build_object('ids', json_agg(id order by id))::text,
    to_timestamp($2::bigint / 1000.0)
from gone group by user_id order by user_id;

-- name: select_notification_sent_under
-- The notification that was sent to a user under a key.
select id, sent_digest from notifications where user_id = $1 and sent_under = $2;
