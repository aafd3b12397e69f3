-- Who wants to be seen by nobody, until they say otherwise: also after a restart, when everybody comes back.
create table invisible_users (
    user_id bigint primary key references users
);
