-- name: find_api_key
-- One key, revoked or not.
select id, secret_sha256, name, role, scopes, created_at, revoked_at from api_keys where id = $1;

-- name: select_keys_without
-- Of these keys, those that are gone, revoked, or do not have a scope.
select c.id
from unnest($1::text[]) as c (id)
left join api_keys k on k.id = c.id
where k.id is null or k.revoked_at is not null or $2::text <> all (k.scopes);

-- name: create_api_key
-- A new key. The secret itself is nowhere.
insert into api_keys (id, secret_sha256, name, role, scopes, created_at) values ($1, $2, $3, $4, $5, $6);

-- name: list_api_keys
-- All keys, the newest first.
select id, secret_sha256, name, role, scopes, created_at, revoked_at from api_keys order by created_at desc, id;

-- name: revoke_api_key
-- End a key; touches nothing when it is revoked already.
update api_keys set revoked_at = $2 where id = $1 and revoked_at is null;
