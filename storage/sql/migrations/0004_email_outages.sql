-- A mail outlives an outage of its accounts: its place in the queue, how the accounts stand, and why it failed.

-- When the mail was to leave: when it was accepted, or sendAt. Its place in the queue, whatever it waits for since, and
-- what its age counts from. The limit of that age is a setting now (EMAIL_QUEUE_TTL), so no row holds its end; until
-- here that was 24 hours after the mail was due.
alter table emails add column due_at timestamptz;
update emails set due_at = expires_at - interval '24 hours';
alter table emails alter column due_at set not null;
alter table emails drop column expires_at;

-- Why a failed mail failed. Of those that failed before this migration, the last attempt tells.
alter table emails add column failure text;
alter table emails add column failure_text text;

-- not_before stands at the end so that what is not due yet is passed over within the index.
drop index emails_to_claim;
create index emails_to_claim on emails (account, priority, due_at, id, not_before) where status = 'pending';

-- How a provider account was seen to stand. Its queue writes it; the story of a mail that waits reads it, and so does
-- the next owner of the queue: what a provider asked for holds across a restart.
create table email_accounts (
    account      text primary key,
    -- Since when it takes no mail; null while it does.
    away_since   timestamptz,
    -- When it was last parked, and until when.
    parked_at    timestamptz not null,
    parked_until timestamptz not null,
    -- How often in a row it was parked: the ceiling of the next wait.
    parks        integer not null check (parks >= 0),
    error_class  text not null,
    error_text   text not null
);
