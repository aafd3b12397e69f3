-- Those that have expired are shown nowhere, and a stream that is told again says so: nobody has to be told.
update notifications set deleted_at = expires_at where deleted_at is null and expires_at <= now();

-- Notifications in the order in which they expire: each is deleted then, so that the devices of its user hear of it.
create index notifications_by_end on notifications (expires_at, id) where expires_at is not null and deleted_at is null;
