"""What the product does, one kind of actor per folder; `catalog.py` is the whole supervision tree."""
