-- The outbox of e-mails, and every attempt to hand one to a provider.
--
-- A mail is acknowledged when its row is committed. An attempt is committed before the provider is called and gets its
-- result after; what was in between when its owner died is `unknown`, and an unknown mail is never sent again.

create table emails (
    id              text primary key,
    created_by      text not null,
    -- The provider account whose queue holds the mail now; failover is a change of this column.
    account         text not null,
    status          text not null check (status in (
        'pending', 'processing', 'unknown', 'sent', 'delivered', 'opened', 'clicked', 'failed', 'bounced', 'complained'
    )),
    priority        smallint not null check (priority between 0 and 2),
    -- The mail as it will be sent, as JSON: templates are rendered before it is stored.
    request         text not null,
    request_sha256  bytea not null,
    attempts        integer not null default 0,
    -- Of the attempts, those that count against attempts_max: waiting for a limit or another account does not.
    tries           integer not null default 0,
    attempts_max    integer not null check (attempts_max > 0),
    not_before      timestamptz not null,
    expires_at      timestamptz not null,
    last_attempt_id text,
    created_at      timestamptz not null,
    updated_at      timestamptz not null
) with (fillfactor = 80);
create index emails_to_claim on emails (account, priority, not_before, id) where status = 'pending';
create index emails_due on emails (account, not_before) where status = 'pending';
create index emails_open on emails (status, account) where status in ('pending', 'processing', 'unknown');

create table email_attempts (
    id                  text primary key,
    email_id            text not null references emails,
    n                   integer not null check (n > 0),
    account             text not null,
    -- The ownership token of the queue that made the attempt.
    owner_token         bigint not null,
    state               text not null check (state in (
        'transmitting', 'accepted', 'rejected', 'deferred', 'unknown', 'failed'
    )),
    provider_message_id text,
    error_class         text,
    error_text          text,
    request_sha256      bytea not null,
    started_at          timestamptz not null,
    finished_at         timestamptz,
    unique (email_id, n)
) with (fillfactor = 80);
create index email_attempts_transmitting on email_attempts (account) where state = 'transmitting';
create index email_attempts_by_start on email_attempts (account, started_at);
