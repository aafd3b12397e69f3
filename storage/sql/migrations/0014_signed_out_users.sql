-- Since when nothing that was issued before counts as the user's: they, or a service for them, signed out everywhere.
-- Sessions are deleted then; a token cannot be, so its time of issue (iat) is held against this moment.
alter table users add column signed_out_at timestamptz;
comment on column users.signed_out_at is 'Tokens issued before it are refused: the user signed out everywhere.';
