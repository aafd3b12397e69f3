-- name: email_insert
-- Put mails into the outbox.
insert into emails (
    id, created_by, account, status, priority, request, request_sha256, attempts_max, not_before, expires_at,
    created_at, updated_at
)
select e.id, $1::text, $2::text, 'pending', e.priority, e.request, sha256(convert_to(e.request, 'UTF8')), $3::int,
    to_timestamp(e.not_before_ms / 1000.0), to_timestamp(e.expires_ms / 1000.0),
    to_timestamp($4::bigint / 1000.0), to_timestamp($4::bigint / 1000.0)
from unnest($5::text[], $6::smallint[], $7::text[], $8::bigint[], $9::bigint[])
    as e (id, priority, request, not_before_ms, expires_ms);

-- name: email_fence
-- Bump the ownership row of one queue, and hold it until the end of the transaction; no row when another owns it now.
update ownership set commits = commits + 1 where kind = $1 and key = $2 and token = $3 returning token;

-- name: email_claim
-- Claim due mails of one account, and write the row of each attempt, before any provider is called. Runs behind
-- email_fence. What another transaction holds is passed over.
with picked as (
    select id
    from emails
    where account = $1 and status = 'pending' and not_before <= to_timestamp($3::bigint / 1000.0)
    order by priority, not_before, id
    limit cardinality($4::text[])
    for update skip locked
),
numbered as (
    select id, row_number() over () as i from picked
),
claimed as (
    update emails e
    set status = 'processing', attempts = e.attempts + 1, last_attempt_id = ($4::text[])[n.i],
        updated_at = to_timestamp($3::bigint / 1000.0)
    from numbered n
    where e.id = n.id
    returning e.*
),
attempted as (
    insert into email_attempts (id, email_id, n, account, owner_token, state, request_sha256, started_at)
    select last_attempt_id, id, attempts, $1::text, $2::bigint, 'transmitting', request_sha256, updated_at from claimed
)
select id, last_attempt_id as attempt_id, request, tries, attempts_max,
    (extract(epoch from expires_at) * 1000)::bigint as expires_ms
from claimed
order by priority, not_before, id;

-- name: email_record
-- Write the results of attempts, and what becomes of their mails. Runs behind email_fence. A result that is known
-- already is not written twice; one that comes after the attempt was called unknown still settles it.
with results as (
    select * from unnest(
        $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::int[]
    ) as r (attempt_id, state, provider_message_id, error_class, error_text, status, account, not_before_ms, tries)
),
settled as (
    update email_attempts a
    set state = r.state, provider_message_id = r.provider_message_id, error_class = r.error_class,
        error_text = r.error_text, finished_at = to_timestamp($1::bigint / 1000.0)
    from results r
    where a.id = r.attempt_id and a.state in ('transmitting', 'unknown')
    returning a.id, a.email_id
)
update emails e
set status = r.status, account = r.account, not_before = to_timestamp(r.not_before_ms / 1000.0), tries = r.tries,
    updated_at = to_timestamp($1::bigint / 1000.0)
from settled s
join results r on r.attempt_id = s.id
where e.id = s.email_id and e.last_attempt_id = s.id and e.status in ('processing', 'unknown')
returning e.id;

-- name: email_settle_left
-- Settle what an earlier owner of the queue left transmitting. Runs behind email_fence.
with left_over as (
    update email_attempts
    set state = $4, error_class = $5, error_text = $6, finished_at = to_timestamp($3::bigint / 1000.0)
    where account = $1 and state = 'transmitting' and owner_token < $2
    returning id, email_id
)
update emails e
set status = $7, updated_at = to_timestamp($3::bigint / 1000.0)
from left_over l
where e.id = l.email_id and e.last_attempt_id = l.id and e.status = 'processing'
returning e.id;

-- name: email_release_lost
-- Take back attempts that were committed while the connection was lost: their owner never heard of them, so it never
-- called. Runs behind email_fence.
with lost as (
    update email_attempts
    set state = 'failed', error_class = 'not_started', error_text = 'the claim was lost before the call',
        finished_at = to_timestamp($3::bigint / 1000.0)
    where account = $1 and state = 'transmitting' and owner_token = $2 and id <> all ($4::text[])
    returning id, email_id
)
update emails e
set status = 'pending', updated_at = to_timestamp($3::bigint / 1000.0)
from lost l
where e.id = l.email_id and e.last_attempt_id = l.id and e.status = 'processing'
returning e.id;

-- name: email_hand_over
-- Give due mails of one account to another. Runs behind email_fence.
update emails
set account = $2, updated_at = to_timestamp($3::bigint / 1000.0)
where id in (
    select id
    from emails
    where account = $1 and status = 'pending' and not_before <= to_timestamp($3::bigint / 1000.0)
    order by priority, not_before, id
    limit $4
    for update skip locked
)
returning id;

-- name: email_next_due
-- When the next pending mail of one account is due, in milliseconds; null when none is pending.
select (extract(epoch from min(not_before)) * 1000)::bigint from emails where account = $1 and status = 'pending';

-- name: email_adopt
-- Give the pending mails of hosted accounts that are no longer configured to one that is. What waits for the folder
-- stays there: it was never meant to leave this machine.
update emails
set account = $1
where status = 'pending' and account <> all ($2::text[]) and account <> $3
returning id;

-- name: email_starts
-- How many attempts one account started since a time, in slices: seconds, then minutes, then quarters of an hour. A
-- slice stands at its end, so that none counts for a shorter time than its attempts should.
select (extract(epoch from slice) * 1000)::bigint as at_ms, count(*)::int as starts
from (
    select case
        when started_at > to_timestamp($3::bigint / 1000.0) - interval '2 minutes' then date_trunc('second', started_at)
        when started_at > to_timestamp($3::bigint / 1000.0) - interval '2 hours' then date_trunc('minute', started_at) + interval '59 seconds'
        else date_bin('15 minutes', started_at, 'epoch') + interval '899 seconds'
    end as slice
    from email_attempts
    where account = $1 and started_at > to_timestamp($2::bigint / 1000.0)
) as starts
group by slice
order by slice;

-- name: email_by_id
-- One mail.
select id, created_by, account, status, priority, request, attempts, tries, attempts_max,
    (extract(epoch from not_before) * 1000)::bigint as not_before_ms,
    (extract(epoch from created_at) * 1000)::bigint as created_ms,
    (extract(epoch from updated_at) * 1000)::bigint as updated_ms
from emails
where id = $1;

-- name: email_attempts_by_email
-- The attempts of one mail, oldest first.
select id, n, account, state, provider_message_id, error_class, error_text,
    (extract(epoch from started_at) * 1000)::bigint as started_ms,
    (extract(epoch from finished_at) * 1000)::bigint as finished_ms
from email_attempts
where email_id = $1
order by n;

-- name: email_depths
-- How many mails are pending, under way and unknown, by account.
select account, status, count(*)::int as mails,
    (extract(epoch from min(created_at)) * 1000)::bigint as oldest_ms
from emails
where status in ('pending', 'processing', 'unknown')
group by account, status;
