-- What is known of a user, field by field, and since when: until here only the claims of the last token were kept, so two
-- live tokens with other claims undid what had been put in between.
--
--   claims   what the issuer said last: {"name": "Alice", "role": "creator"}
--   told_at  since when each field stands, by the issuer or by a PUT, in Unix seconds: {"name": 1764161942, ...}
--
-- Of the users that exist nobody knows which token said what, nor what was put: all of it stands since their last change,
-- and 3 s more, as after a PUT.
alter table users add column told_at jsonb not null default '{}';
update users set told_at = (
    select jsonb_object_agg(field, extract(epoch from updated_at) + 3)
    from unnest(array['name', 'email', 'locale', 'timezone', 'role']) as field
);

-- Nobody is called nothing.
update users set name = coalesce(nullif(trim(split_part(email, '@', 1)), ''), external_id, 'User ' || id) where name = '';

create function news(said jsonb, said_at jsonb, told_at jsonb) returns jsonb
    language sql immutable
    return (
        select coalesce(jsonb_object_agg(key, value), '{}')
        from jsonb_each(said)
        where (said_at->>key)::float8 > coalesce((told_at->>key)::float8, '-infinity')
    );
comment on function news is 'Those fields of a token''s claims that were said later than what is known of them.';

create function latest(told_at jsonb, said_at jsonb) returns jsonb
    language sql immutable
    return told_at || (
        select coalesce(jsonb_object_agg(key, greatest(value::float8, (told_at->>key)::float8)), '{}')
        from jsonb_each_text(said_at)
    );
comment on function latest is 'For each field the later of two moments.';
