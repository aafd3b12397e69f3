-- name: idempotency_lock
-- Hold an idempotency key until the end of the transaction; false when another request holds it now.
select pg_try_advisory_xact_lock(hashtextextended(concat_ws(chr(10), $1::text, $2::text, $3::text), 0));

-- name: idempotency_claim
-- Take a key for a request that is about to run (status 0); no row when it is taken. An answer older than $5 and a
-- claim older than $6, whose request must have died, are nobody's.
insert into idempotency_keys as k (principal, route, key, body_sha256, status, body, created_at)
values ($1, $2, $3, $4, 0, '', to_timestamp($7::bigint / 1000.0))
on conflict (principal, route, key) do update
set body_sha256 = excluded.body_sha256, status = 0, body = '', created_at = excluded.created_at
where k.created_at < to_timestamp($5::bigint / 1000.0)
    or (k.status = 0 and k.created_at < to_timestamp($6::bigint / 1000.0))
returning key;

-- name: idempotency_answer
-- The answer that a key was given (status 0: none yet), and the body it was given for.
select body_sha256, status, body from idempotency_keys where principal = $1 and route = $2 and key = $3;

-- name: idempotency_keep
-- Keep the answer of a request that took its key.
update idempotency_keys set status = $4, body = $5 where principal = $1 and route = $2 and key = $3 and status = 0;

-- name: idempotency_release
-- Give a key back whose request changed nothing.
delete from idempotency_keys where principal = $1 and route = $2 and key = $3 and status = 0;

-- name: idempotency_prune
-- Forget some answers that are too old: each new key sweeps behind it more than it adds.
delete from idempotency_keys
where (principal, route, key) in (
    select principal, route, key from idempotency_keys
    where created_at < to_timestamp($1::bigint / 1000.0)
    order by created_at
    limit 4
    for update skip locked
);
