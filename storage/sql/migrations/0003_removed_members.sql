-- Who was removed from a group by somebody else, and by whom: they do not come back into an open group by themselves.
-- Null while they are in it, and for whoever left by themselves. Of those who went before this migration nobody knows
-- any more which it was: they may come back.
alter table participants add column removed_by_id bigint references users;
alter table participants add check (removed_by_id is null or not is_active);
