"""Fixtures of the documentation's tests: what jobs begin with is made once for both."""

from tests.documentation.conftest import beginning, hub_port, once, programs

__all__ = ["beginning", "hub_port", "once", "programs"]
