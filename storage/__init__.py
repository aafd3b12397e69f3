"""What is kept: PostgreSQL, and later Redis and the object store. Imports nothing of ours but runtime.ports."""
