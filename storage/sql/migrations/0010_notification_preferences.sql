-- How a user wants to be told: one row, whatever the shape that a client knows it in. Written by the user's notifier alone.
create table notification_preferences (
    user_id     bigint primary key references users,
    -- A JSON object; the model is actors/notifier/preferences.py. What it does not name is as by default.
    preferences text not null,
    updated_at  timestamptz not null
) with (fillfactor = 80);
