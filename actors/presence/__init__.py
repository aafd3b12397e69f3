"""Presence: one actor per user, told of the user's sockets; cold while nothing happens."""
