"""The control socket: how `greenroom top`, `tree`, `trace` and `attach` look into one that runs on this machine."""
