"""Who runs the programs of these tests."""

from __future__ import annotations

import pytest
from _sandboxed import Runner, as_root, as_user


@pytest.fixture(params=["root", "user"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """``fauxdna exec`` as root and as an ordinary user."""
    made = as_root() if request.param == "root" else as_user()
    if isinstance(made, str):
        pytest.skip(made)
    return made


@pytest.fixture
def user() -> Runner:
    """``fauxdna exec`` as an ordinary user."""
    made = as_user()
    if isinstance(made, str):
        pytest.skip(made)
    return made
