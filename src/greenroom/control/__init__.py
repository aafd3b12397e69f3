"""The control socket: how `greenroom top`, `tree`, `trace` and `attach` look into one that runs on this machine.

`serve_control` (serving.py) opens one for an actor system of your own.
"""
