-- name: next_user_id_block
-- The first of 1,024 user ids that are now ours to give out.
select nextval('user_ids');

-- name: next_object_id_blocks
-- The first ids of so many blocks of 1,024 ids for conversations and messages.
select nextval('object_ids') as first_id from generate_series(1, $1::int);
