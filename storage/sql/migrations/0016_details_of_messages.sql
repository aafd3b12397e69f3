-- What is said of a message besides its words: what kind it is, what it answers, whom it mentions. As clients are told it,
-- a JSON object; null for nothing, and once the message is deleted.
alter table messages
    add column details   text,
    -- The message that began the thread in which it stands; it stays there when it is deleted.
    add column thread_id bigint;
