"""Who runs the programs of these tests."""

from __future__ import annotations

import os

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


@pytest.fixture
def own(user: Runner) -> Runner:
    """``fauxdna`` as who the test itself is: an ordinary user's daemon talks to nobody else, not even to root."""
    made = as_root() if os.geteuid() == 0 else user
    assert isinstance(made, Runner)
    return made
