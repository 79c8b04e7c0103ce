"""``_core.pyi`` is written by hand; this holds it to the module."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import fauxdna
from fauxdna import _core

STUB = ast.parse((Path(fauxdna.__file__).parent / "_core.pyi").read_text())


def stub_parameters(function: ast.FunctionDef) -> list[tuple[str, str, object]]:
    """``(name, kind, default)`` of every parameter but self and cls."""
    arguments = function.args
    positional = arguments.posonlyargs + arguments.args
    missing = len(positional) - len(arguments.defaults)
    defaults = [inspect.Parameter.empty] * missing + [ast.literal_eval(value) for value in arguments.defaults]
    found: list[tuple[str, str, object]] = [
        (argument.arg, "positional", default) for argument, default in zip(positional, defaults, strict=True)
    ]
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append((argument.arg, "keyword", inspect.Parameter.empty if value is None else ast.literal_eval(value)))
    return [parameter for parameter in found if parameter[0] not in {"self", "cls"}]


def real_parameters(function: Callable[..., object]) -> list[tuple[str, str, object]]:
    """The same of the module's function."""
    text = inspect.signature(function)
    return [
        (parameter.name, "keyword" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else "positional", parameter.default)
        for parameter in text.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]


def test_every_name_is_declared_and_exists() -> None:
    declared = {node.name for node in STUB.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    real = {name for name in dir(_core) if not name.startswith("__")}
    assert declared == real


def test_every_method_and_property_is_declared_and_exists() -> None:
    for node in STUB.body:
        if isinstance(node, ast.ClassDef):
            declared = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            # What only the core makes has no constructor; an undeclared one takes nothing.
            declared |= {"__new__"} & vars(getattr(_core, node.name)).keys()
            real = {name for name in vars(getattr(_core, node.name)) if name == "__new__" or not name.startswith("__")}
            assert declared == real, node.name


def test_every_signature_is_the_declared_one() -> None:
    checked = 0
    for node in STUB.body:
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        for item in functions:
            if not isinstance(item, ast.FunctionDef) or any(
                getattr(name, "id", "") == "property" for name in item.decorator_list
            ):
                continue
            owner = getattr(_core, node.name) if isinstance(node, ast.ClassDef) else _core
            real = owner if item.name == "__new__" else getattr(owner, item.name)
            assert real_parameters(real) == stub_parameters(item), item.name
            checked += 1
    assert checked > 20
