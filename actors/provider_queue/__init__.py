"""One queue per provider account: from the durable outbox to the provider, and the result back."""
