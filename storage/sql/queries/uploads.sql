-- name: insert_upload
-- Note a file that is about to be stored; no row when its uploader would have more than $7 bytes that were not sent.
insert into uploads (key, uploader_id, name, type, size, created_at, expires_at)
select $1, $2, $3, $4, $5::bigint, to_timestamp($6::bigint / 1000.0), to_timestamp(($6::bigint + $8::bigint) / 1000.0)
where (select coalesce(sum(size), 0) from uploads where uploader_id = $2 and message_id is null) + $5::bigint <= $7::bigint
returning key;

-- name: select_uploads_to_send
-- Those of some files that this user has uploaded, that no message has, and that stay for a while.
select key, name, type, size from uploads
where key = any($1::text[]) and uploader_id = $2 and message_id is null and expires_at > to_timestamp($3::bigint / 1000.0);

-- name: select_uploads_of
-- Those of some files that this user has uploaded, sent or not, and that are not about to go.
select key, name, type, size from uploads
where key = any($1::text[]) and uploader_id = $2
    and (expires_at is null or expires_at > to_timestamp($3::bigint / 1000.0));

-- name: commit_free_files
-- Those of some files that no message has, locked for the messages that are about to have them. Runs before these are
-- stored, in their transaction, so that a file is of one message whoever else sends it.
select key from uploads where key = any($1::text[]) and message_id is null order by key for update;

-- name: commit_attachments
-- Messages have files from here on, which do not go away by themselves any more. Runs in the transaction that stored the
-- messages.
with files as (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[]) as f (key, conversation_id, message_id)
),
kept as (
    update uploads u
    set conversation_id = f.conversation_id, message_id = f.message_id, expires_at = null
    from files f
    where u.key = f.key and u.message_id is null
)
update messages m
set attachments = a.attachments
from unnest($4::bigint[], $5::text[]) as a (message_id, attachments)
where m.id = a.message_id;

-- name: commit_erased_files
-- The files of messages that were deleted go, and are nobody's from now on. Runs in the transaction that deleted them.
update uploads u
set conversation_id = null, message_id = null, expires_at = to_timestamp(d.at_ms / 1000.0)
from unnest($1::bigint[], $2::bigint[]) as d (message_id, at_ms)
where u.message_id = d.message_id;

-- name: select_upload
-- A file, for its uploader, and once it was sent for the active members of the conversation who do not block them; not
-- one that is about to go.
select key, name, type, size from uploads u
where u.key = $1 and (u.expires_at is null or u.expires_at > to_timestamp($3::bigint / 1000.0))
    and (
        u.uploader_id = $2
        or (
            exists (
                select from participants p
                where p.conversation_id = u.conversation_id and p.user_id = $2 and p.is_active
            )
            and not exists (select from user_blocks b where b.blocker_id = $2 and b.blocked_id = u.uploader_id)
        )
    );

-- name: select_expired_uploads
-- Some files that go now.
select key from uploads where expires_at <= to_timestamp($1::bigint / 1000.0) order by expires_at limit $2;

-- name: delete_uploads
-- Forget files whose bytes are gone.
delete from uploads where key = any($1::text[]) and message_id is null;
