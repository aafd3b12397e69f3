-- name: find_users_by_subject
-- Who is known under these ids or these external ids, and since when each field stands.
select id, external_id, name, email, locale, timezone, role, signed_out_at, told_at::text as told_at
from users
where id = any($1::bigint[]) or external_id = any($2::text[]);

-- name: store_users_by_id
-- Make or bring up to date the users whose numeric subject is their id. Of the claims those count that are newer than what
-- stands, and say something else than the issuer said before. A claim that is absent changes nothing.
insert into users (id, name, email, locale, timezone, role, claims, told_at, created_at, updated_at)
select id, coalesce(claims->>'name', nullif(trim(split_part(claims->>'email', '@', 1)), ''), 'User ' || id),
       claims->>'email', coalesce(claims->>'locale', 'en'), coalesce(claims->>'timezone', 'UTC'),
       coalesce(claims->>'role', 'user'), claims, told_at, $4, $4
from unnest($1::bigint[], $2::jsonb[], $3::jsonb[]) as told (id, claims, told_at)
on conflict (id) do update set
    name = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'name', users.claims->>'name'),
                    users.name),
    email = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'email', users.claims->>'email'),
                     users.email),
    locale = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'locale', users.claims->>'locale'),
                      users.locale),
    timezone = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'timezone', users.claims->>'timezone'),
                        users.timezone),
    role = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'role', users.claims->>'role'),
                    users.role),
    claims = users.claims || news(excluded.claims, excluded.told_at, users.told_at),
    told_at = latest(users.told_at, excluded.told_at),
    updated_at = excluded.updated_at
returning id, external_id, name, email, locale, timezone, role, signed_out_at;

-- name: store_users_by_external_id
-- The same for users whose subject is a string; the id is used only when the external id is new.
insert into users (id, external_id, name, email, locale, timezone, role, claims, told_at, created_at, updated_at)
select id, external_id, coalesce(claims->>'name', nullif(trim(split_part(claims->>'email', '@', 1)), ''), external_id),
       claims->>'email', coalesce(claims->>'locale', 'en'), coalesce(claims->>'timezone', 'UTC'),
       coalesce(claims->>'role', 'user'), claims, told_at, $5, $5
from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::jsonb[]) as told (id, external_id, claims, told_at)
on conflict (external_id) do update set
    name = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'name', users.claims->>'name'),
                    users.name),
    email = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'email', users.claims->>'email'),
                     users.email),
    locale = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'locale', users.claims->>'locale'),
                      users.locale),
    timezone = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'timezone', users.claims->>'timezone'),
                        users.timezone),
    role = coalesce(nullif(news(excluded.claims, excluded.told_at, users.told_at)->>'role', users.claims->>'role'),
                    users.role),
    claims = users.claims || news(excluded.claims, excluded.told_at, users.told_at),
    told_at = latest(users.told_at, excluded.told_at),
    updated_at = excluded.updated_at
returning id, external_id, name, email, locale, timezone, role, signed_out_at;

-- name: find_users
-- Users by their ids, for all who ask at once.
select id, external_id, name, email, locale, timezone, role, signed_out_at from users where id = any($1::bigint[]);

-- name: find_user_by_email
-- The longest known user with this address.
select id, external_id, name, email, locale, timezone, role, signed_out_at from users
where lower(email) = lower($1) order by created_at, id limit 1;

-- name: change_user
-- Change what is not null of a user that exists; $7 says until when no token undoes it.
update users set
    name = coalesce($2, name),
    email = coalesce($3, email),
    locale = coalesce($4, locale),
    timezone = coalesce($5, timezone),
    role = coalesce($6, role),
    told_at = latest(told_at, $7::jsonb),
    updated_at = $8
where id = $1
returning id, external_id, name, email, locale, timezone, role, signed_out_at;

-- name: put_user
-- Make the user of an id that the application gave out, or change what is not null of it; $7 as for change_user.
insert into users (id, name, email, locale, timezone, role, told_at, created_at, updated_at)
values ($1::bigint, coalesce($2, nullif(trim(split_part($3, '@', 1)), ''), 'User ' || $1::bigint), $3, coalesce($4, 'en'), coalesce($5, 'UTC'),
        coalesce($6, 'user'), $7::jsonb, $8, $8)
on conflict (id) do update set
    name = coalesce($2, users.name),
    email = coalesce($3, users.email),
    locale = coalesce($4, users.locale),
    timezone = coalesce($5, users.timezone),
    role = coalesce($6, users.role),
    told_at = latest(users.told_at, $7::jsonb),
    updated_at = $8
returning id, external_id, name, email, locale, timezone, role, signed_out_at, (xmax = 0) as is_new;

-- name: user_names
-- What to call these users where others see them.
select id, name from users where id = any($1::bigint[]);

-- name: existing_users
-- Which of these ids belong to somebody.
select id from users where id = any($1::bigint[]);

-- name: sign_out_user
-- End all that says who this user is: every session, and by the moment that is kept every token issued before it. The
-- moment never goes back. No row when there is no such user.
with ended as (delete from sessions where user_id = $1)
update users set signed_out_at = greatest(signed_out_at, $2) where id = $1 returning id;

-- name: users_signed_out
-- When these users signed out everywhere last; no row of one who never did.
select id, signed_out_at from users where id = any($1::bigint[]) and signed_out_at is not null;
