"""greenroom: an actor runtime on trio, and the messaging system that runs on it."""

__version__ = "0.1.0"
