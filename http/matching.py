"""Rules of paths, made for matching: what builds an address out of a rule is compiled when the first one is built.

Werkzeug compiles two functions for each rule, which is most of what it costs to make the application; nobody here asks
for the address of a rule.
"""

from collections.abc import Callable
from typing import Any

from quart.routing import QuartRule


class MatchedRule(QuartRule):
    """A rule whose builders wait."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        of_werkzeug = super()._compile_builder
        compiled: Callable[..., tuple[str, str]] | None = None

        def build(rule: "MatchedRule", **values: Any) -> tuple[str, str]:
            nonlocal compiled
            if compiled is None:
                compiled = of_werkzeug(append_unknown)
            return compiled(rule, **values)

        return build
