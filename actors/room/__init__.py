"""The room: one per conversation, the single writer of its members, messages and read markers."""
