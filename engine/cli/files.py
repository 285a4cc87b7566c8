"""Files that people bring, as editors and spreadsheets leave them: UTF-8, with or without a byte order mark."""

import codecs
from pathlib import Path
from typing import BinaryIO

from engine.cli.tree import Refusal

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def past_mark(file: BinaryIO, *, name: object) -> BinaryIO:
    """Place a file that was just opened behind its byte order mark, if it has one.

    Raises:
        Refusal: the mark says that the file is in UTF-16, as PowerShell's `>` writes it.
    """
    first = file.read(len(codecs.BOM_UTF8))
    if first.startswith(_UTF_16):
        raise Refusal(f"cannot read {name}: it is in UTF-16; save it as UTF-8")
    if first != codecs.BOM_UTF8:
        file.seek(0)
    return file


def text_of(file: Path) -> str:
    """Read a file's text, its line ends as they are; raises Refusal for one that cannot be read or is not in UTF-8."""
    try:
        with file.open("rb") as raw:
            return past_mark(raw, name=file).read().decode()
    except UnicodeDecodeError as problem:
        raise Refusal(f"cannot read {file}: it is not in UTF-8; save it as UTF-8") from problem
    except OSError as problem:
        raise Refusal(f"cannot read {file}: {problem}") from problem
