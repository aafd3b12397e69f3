-- Notifications in the order in which they expire: each is deleted then, so that the devices of its user hear of it.
create index notifications_by_end on notifications (expires_at, id) where expires_at is not null and deleted_at is null;
