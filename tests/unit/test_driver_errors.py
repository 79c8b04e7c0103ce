"""The exception tree: errno, sentence and remedy."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle

import pytest

from fauxdna import errors
from fauxdna.compiler.errors import ModelError
from fauxdna.host._program import CannotRun
from fauxdna.vm import GuestDied
from fauxdna.vm.packages import PackageError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FauxdnaError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_an_oserror_with_errno_problem_and_remedy(kind: type[errors.FauxdnaError]) -> None:
    error = kind("queue BO 3 has 16 bytes", "create a larger one")
    assert isinstance(error, OSError)
    assert error.errno == kind.default_errno
    sentence, _, name = str(error).removesuffix("]").rpartition(" [")
    assert sentence == "queue BO 3 has 16 bytes; create a larger one"
    assert getattr(errno, name) == error.errno
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.errno) == (kind, str(error), error.errno)


@pytest.mark.parametrize(
    "error",
    [
        errors.BufferTooSmall("a", "b", needed=7, unit="elements"),
        errors.FirmwareRefused("a", "b", response=3),
        errors.MessageRefused("a", "b", status=4),
        errors.CommandFailed("a", "b", completion=0x35),
        GuestDied("a", "b", log="Kernel panic\nmore"),
        CannotRun("a", "b", errno=errno.ENOEXEC, status=127),
        ModelError("a"),
        PackageError("a", "b"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_goes_through_pickle_keeps_what_it_knows(error: errors.FauxdnaError) -> None:
    error.add_note("seen on Monday")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(again), vars(again)) == (type(error), vars(error))
        assert (str(again), again.errno, again.strerror, again.args) == (str(error), error.errno, error.strerror, error.args)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_in_the_drawing(kind: type[errors.FauxdnaError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")


def test_an_errno_has_the_name_that_linux_gives_it() -> None:
    assert str(errors.Unsupported("a", "b")) == "a; b [EOPNOTSUPP]", "Python's errno module says ENOTSUP"


def test_an_errno_can_be_given() -> None:
    assert errors.NotFound("context 9", "create it", errno=errno.EINVAL).errno == errno.EINVAL
