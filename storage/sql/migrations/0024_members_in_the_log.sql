-- Who comes into a conversation, leaves it or has another role there takes the next seq of its room, as a message does, so
-- that whoever is brought up is told of it in its place. What holds now stands in participants. The first members of a
-- conversation have no row here: its log begins with them.
create table member_changes (
    conversation_id bigint not null,
    seq             bigint not null check (seq > 0),
    kind            text not null check (kind in ('joined', 'left')),
    user_id         bigint not null,
    role            text not null check (role in ('admin', 'member')),
    changed_at      timestamptz not null,
    primary key (conversation_id, seq)
);
create index member_changes_by_user on member_changes (user_id, conversation_id, seq);
comment on table member_changes is 'Who came into a conversation or left it, each at its place in the log.';
