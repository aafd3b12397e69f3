"""Who takes mail from us: one port, and an adapter for each kind of provider."""
