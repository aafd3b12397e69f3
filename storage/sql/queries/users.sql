-- name: find_users_by_subject
-- Who is known under these ids or these external ids, and the claims they were last seen with.
select id, external_id, name, email, locale, timezone, role, claims::text as claims
from users
where id = any($1::bigint[]) or external_id = any($2::text[]);

-- name: store_users_by_id
-- Make or bring up to date the users whose numeric subject is their id. A claim that is absent changes nothing.
insert into users (id, name, email, locale, timezone, role, claims, created_at, updated_at)
select id, coalesce(claims->>'name', ''), claims->>'email', coalesce(claims->>'locale', 'en'),
       coalesce(claims->>'timezone', 'UTC'), coalesce(claims->>'role', 'user'), claims, $3, $3
from unnest($1::bigint[], $2::jsonb[]) as told (id, claims)
on conflict (id) do update set
    name = coalesce(excluded.claims->>'name', users.name),
    email = coalesce(excluded.claims->>'email', users.email),
    locale = coalesce(excluded.claims->>'locale', users.locale),
    timezone = coalesce(excluded.claims->>'timezone', users.timezone),
    role = coalesce(excluded.claims->>'role', users.role),
    claims = excluded.claims,
    updated_at = excluded.updated_at
returning id, external_id, name, email, locale, timezone, role;

-- name: store_users_by_external_id
-- The same for users whose subject is a string; the id is used only when the external id is new.
insert into users (id, external_id, name, email, locale, timezone, role, claims, created_at, updated_at)
select id, external_id, coalesce(claims->>'name', ''), claims->>'email', coalesce(claims->>'locale', 'en'),
       coalesce(claims->>'timezone', 'UTC'), coalesce(claims->>'role', 'user'), claims, $4, $4
from unnest($1::bigint[], $2::text[], $3::jsonb[]) as told (id, external_id, claims)
on conflict (external_id) do update set
    name = coalesce(excluded.claims->>'name', users.name),
    email = coalesce(excluded.claims->>'email', users.email),
    locale = coalesce(excluded.claims->>'locale', users.locale),
    timezone = coalesce(excluded.claims->>'timezone', users.timezone),
    role = coalesce(excluded.claims->>'role', users.role),
    claims = excluded.claims,
    updated_at = excluded.updated_at
returning id, external_id, name, email, locale, timezone, role;

-- name: find_user
-- One user by id.
select id, external_id, name, email, locale, timezone, role from users where id = $1;

-- name: find_user_by_email
-- The longest known user with this address.
select id, external_id, name, email, locale, timezone, role from users
where lower(email) = lower($1) order by created_at, id limit 1;

-- name: change_user
-- Change what is not null of a user that exists.
update users set
    name = coalesce($2, name),
    email = coalesce($3, email),
    locale = coalesce($4, locale),
    timezone = coalesce($5, timezone),
    role = coalesce($6, role),
    updated_at = $7
where id = $1
returning id, external_id, name, email, locale, timezone, role;

-- name: put_user
-- Make the user of an id that the application gave out, or change what is not null of it.
insert into users (id, name, email, locale, timezone, role, created_at, updated_at)
values ($1, coalesce($2, ''), $3, coalesce($4, 'en'), coalesce($5, 'UTC'), coalesce($6, 'user'), $7, $7)
on conflict (id) do update set
    name = coalesce($2, users.name),
    email = coalesce($3, users.email),
    locale = coalesce($4, users.locale),
    timezone = coalesce($5, users.timezone),
    role = coalesce($6, users.role),
    updated_at = $7
returning id, external_id, name, email, locale, timezone, role, (xmax = 0) as is_new;

-- name: user_names
-- What to call these users where others see them.
select id, coalesce(nullif(name, ''), external_id, 'user ' || id) as name from users where id = any($1::bigint[]);

-- name: existing_users
-- Which of these ids belong to somebody.
select id from users where id = any($1::bigint[]);
