"""The notifier: one per user, the single writer of what the user's devices are told about the user."""
