-- name: put_block
-- Block somebody; runs in the transaction that bumped the notifier of who blocks.
insert into user_blocks (blocker_id, blocked_id, reason, blocked_at)
values ($1, $2, $3, to_timestamp($4::bigint / 1000.0))
on conflict do nothing;

-- name: delete_block
-- Block somebody no more; runs in the transaction that bumped the notifier of who blocked.
delete from user_blocks where blocker_id = $1 and blocked_id = $2;

-- name: is_blocked
-- Whether the first has blocked the second.
select exists (select from user_blocks where blocker_id = $1 and blocked_id = $2);

-- name: is_pair_apart
-- Whether one of two has blocked the other.
select exists (
    select from user_blocks
    where (blocker_id = $1 and blocked_id = $2) or (blocker_id = $2 and blocked_id = $1)
);

-- name: is_room_apart
-- Whether one of the two of a direct conversation has blocked the other.
select exists (
    select from conversations c
    join user_blocks b
        on (b.blocker_id = c.pair_low and b.blocked_id = c.pair_high)
        or (b.blocker_id = c.pair_high and b.blocked_id = c.pair_low)
    where c.id = $1 and not c.is_group
);

-- name: select_blocked
-- Whom a user has blocked, the newest first.
select b.blocked_id as user_id, u.name, u.role as user_type, b.reason,
    (extract(epoch from b.blocked_at) * 1000)::bigint as blocked_at_ms
from user_blocks b join users u on u.id = b.blocked_id
where b.blocker_id = $1
order by b.blocked_at desc, b.blocked_id
limit $2 offset $3;

-- name: count_blocked
-- How many a user has blocked.
select count(*) from user_blocks where blocker_id = $1;
