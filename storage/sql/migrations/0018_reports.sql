-- What users have told the administrators of: a message, or somebody. Of a message its id is kept and never what it said,
-- so that what is erased is erased here too; whoever reads a report reads what the message says then.
create table reports (
    id              bigint generated always as identity primary key,
    reporter_id     bigint not null references users,
    message_id      bigint,
    conversation_id bigint,
    -- Who is reported: of a message, its sender.
    user_id         bigint not null references users,
    reason          text not null,
    created_at      timestamptz not null,
    check (reporter_id <> user_id),
    check ((message_id is null) = (conversation_id is null))
);
comment on table reports is 'Messages and users that somebody has told the administrators of.';
create unique index reports_of_messages on reports (reporter_id, message_id) where message_id is not null;
create unique index reports_of_users on reports (reporter_id, user_id) where message_id is null;
