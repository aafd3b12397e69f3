-- name: email_insert
-- Put mails into the outbox.
insert into emails (
    id, created_by, account, status, priority, request, request_sha256, attempts_max, not_before, due_at,
    created_at, updated_at
)
select e.id, $1::text, $2::text, 'pending', e.priority, e.request, sha256(convert_to(e.request, 'UTF8')), $3::int,
    to_timestamp(e.due_ms / 1000.0), to_timestamp(e.due_ms / 1000.0),
    to_timestamp($4::bigint / 1000.0), to_timestamp($4::bigint / 1000.0)
from unnest($5::text[], $6::smallint[], $7::text[], $8::bigint[]) as e (id, priority, request, due_ms);

-- name: email_fence
-- Bump the ownership row of one queue, and hold it until the end of the transaction; no row when another owns it now.
update ownership set commits = commits + 1 where kind = $1 and key = $2 and token = $3 returning token;

-- name: email_claim
-- Claim due mails of one account, and write the row of each attempt, before any provider is called. Runs behind
-- email_fence. What another transaction holds is passed over. They are taken in their order; where $5 is more than are
-- wanted, as for a probe, from so many first ones those that were tried least, counted in rounds of $6 attempts.
with first as (
    select id, attempts, priority, due_at
    from emails
    where account = $1 and status = 'pending' and not_before <= to_timestamp($3::bigint / 1000.0)
    order by priority, due_at, id
    limit $5::int
    for update skip locked
),
picked as (
    select id from first order by attempts / $6::int, priority, due_at, id limit cardinality($4::text[])
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
select id, last_attempt_id as attempt_id, request, attempts, tries, attempts_max,
    (extract(epoch from due_at) * 1000)::bigint as due_ms
from claimed
order by priority, due_at, id;

-- name: email_record
-- Write the results of attempts, and what becomes of their mails. Runs behind email_fence. A result that is known
-- already is not written twice; one that comes after the attempt was called unknown still settles it.
with results as (
    select * from unnest(
        $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::int[],
        $11::text[], $12::text[]
    ) as r (
        attempt_id, state, provider_message_id, error_class, error_text, status, account, not_before_ms, tries,
        failure, failure_text
    )
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
    failure = r.failure, failure_text = r.failure_text, updated_at = to_timestamp($1::bigint / 1000.0)
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
-- Give due mails of one account to another; they keep their order. Runs behind email_fence.
update emails
set account = $2, updated_at = to_timestamp($3::bigint / 1000.0)
where id in (
    select id
    from emails
    where account = $1 and status = 'pending' and not_before <= to_timestamp($3::bigint / 1000.0)
    order by priority, due_at, id
    limit $4
    for update skip locked
)
returning id;

-- name: email_give_up
-- Give up mails of one account that were due before a time. Runs behind email_fence.
update emails
set status = 'failed', failure = $4, failure_text = $5, updated_at = to_timestamp($2::bigint / 1000.0)
where id in (
    select id
    from emails
    where account = $1 and status = 'pending' and priority = any ('{0,1,2}'::smallint[])
        and due_at < to_timestamp($3::bigint / 1000.0)
    limit $6
    for update skip locked
)
returning id;

-- name: email_clock_back
-- Let nothing wait for a clock that went back. What was due when it was accepted is due; what waits after an attempt
-- does so for $3 milliseconds at most. Runs behind email_fence.
update emails
set not_before = to_timestamp($2::bigint / 1000.0)
where account = $1 and status = 'pending' and not_before > to_timestamp($2::bigint / 1000.0)
    and case when attempts = 0 then due_at <= created_at
        else not_before > to_timestamp(($2::bigint + $3::bigint) / 1000.0) end;

-- name: email_account_write
-- Keep how an account stands. Runs behind email_fence.
insert into email_accounts (account, away_since, parked_at, parked_until, parks, error_class, error_text)
values (
    $1, to_timestamp($2::bigint / 1000.0), to_timestamp($3::bigint / 1000.0), to_timestamp($4::bigint / 1000.0),
    $5, $6, $7
)
on conflict (account) do update
set away_since = excluded.away_since, parked_at = excluded.parked_at, parked_until = excluded.parked_until,
    parks = excluded.parks, error_class = excluded.error_class, error_text = excluded.error_text;

-- name: email_accounts_away
-- The accounts that took no mail when they were last seen.
select account, parks, error_class, error_text,
    (extract(epoch from away_since) * 1000)::bigint as away_since_ms,
    (extract(epoch from parked_at) * 1000)::bigint as parked_at_ms,
    (extract(epoch from parked_until) * 1000)::bigint as parked_until_ms
from email_accounts
where away_since is not null;

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
-- slice stands at its end, so that none counts for a shorter time than its attempts should. What the account was not
-- there for ($4, error classes) counts for none.
select (extract(epoch from slice) * 1000)::bigint as at_ms, count(*)::int as starts
from (
    select case
        when started_at > to_timestamp($3::bigint / 1000.0) - interval '2 minutes' then date_trunc('second', started_at)
        when started_at > to_timestamp($3::bigint / 1000.0) - interval '2 hours' then date_trunc('minute', started_at) + interval '59 seconds'
        else date_bin('15 minutes', started_at, 'epoch') + interval '899 seconds'
    end as slice
    from email_attempts
    where account = $1 and started_at > to_timestamp($2::bigint / 1000.0)
        and (error_class is null or error_class <> all ($4::text[]))
) as starts
group by slice
order by slice;

-- name: email_by_id
-- One mail, and how its account stands.
select e.id, e.created_by, e.account, e.status, e.priority, e.request, e.attempts, e.tries, e.attempts_max,
    e.failure, e.failure_text, a.error_class as away_class, a.error_text as away_text,
    (extract(epoch from e.due_at) * 1000)::bigint as due_ms,
    (extract(epoch from e.not_before) * 1000)::bigint as not_before_ms,
    (extract(epoch from e.created_at) * 1000)::bigint as created_ms,
    (extract(epoch from e.updated_at) * 1000)::bigint as updated_ms,
    (extract(epoch from a.away_since) * 1000)::bigint as away_since_ms,
    (extract(epoch from a.parked_until) * 1000)::bigint as parked_until_ms
from emails e
left join email_accounts a on a.account = e.account
where e.id = $1;

-- name: email_attempts_by_email
-- The attempts of one mail, oldest first; of more than $2 + $3 only the first $2 and the last $3.
select id, n, account, state, provider_message_id, error_class, error_text,
    (extract(epoch from started_at) * 1000)::bigint as started_ms,
    (extract(epoch from finished_at) * 1000)::bigint as finished_ms
from email_attempts
where email_id = $1
    and (n <= $2::int or n > (select attempts from emails where id = $1) - $3::int)
order by n;

-- name: email_depths
-- How many mails are pending, under way and unknown, by account.
select account, status, count(*)::int as mails,
    (extract(epoch from min(created_at)) * 1000)::bigint as oldest_ms
from emails
where status in ('pending', 'processing', 'unknown')
group by account, status;
