-- How far others may believe that a member has read, where the member has read on privately; null: as far as they have.
alter table participants add column shown_read_seq bigint;
alter table participants
    add check (shown_read_seq >= 0 and shown_read_seq < read_seq) not valid;  -- of old rows, which have none, not asked
comment on column participants.shown_read_seq is 'What others are told of read_seq; null: read_seq itself.';
