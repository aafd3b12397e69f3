-- Indexes of what 0016 and 0019 have added, by themselves: while they are made messages are read as ever, and wait to be
-- written; beside the changes of those tables nobody could read either.
create index messages_by_thread on messages (thread_id, seq) where thread_id is not null;
create index message_changes_with_reaction on message_changes (message_id) where reaction <> '';
