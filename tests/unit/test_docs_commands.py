"""What README and docs name is there: commands with their options, files of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from fauxdna.cli import app

TREE = Path(__file__).parents[2]
PAGES = [TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?<![\w./-])fauxdna ([\w-]+(?: [^`\n|;)&]*)?)")
FILE = re.compile(r"\b(?:tests|src|python/fauxdna|examples)/[\w/-]+\.(?:py|rs|c|asm|sh)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_that_a_page_gives_them(page: Path) -> None:
    root = typer.main.get_command(app)
    for match in COMMAND.finditer(page.read_text().replace("\\\n", " ")):
        words, command = match[1].split(), root
        while words and (named := getattr(command, "commands", {}).get(words[0])):
            command = named
            words.pop(0)
        if command is root:
            # A word of prose.
            continue
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        # What stands behind "--" is another program's.
        own = words[: words.index("--")] if "--" in words else words
        given = {word.partition("=")[0].rstrip(",.:") for word in own if re.match(r"--?[a-z]", word)}
        assert given <= known | {"-h", "--help"}, match[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    assert [name for name in FILE.findall(page.read_text()) if not (TREE / name).exists()] == []
