"""Runs a program that writes and says on standard output what is on disk, until it is killed with -9."""

import asyncio
import sys


async def acknowledged_before_kill(writer: str, *arguments: object, enough: int) -> list[str]:
    """Run a module of these tests until it has acknowledged enough, kill it, and return all whole lines it has said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.storage.{writer}", *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = b""
    while told.count(b"\n") < enough:
        part = await process.stdout.read(65_536)
        assert part, "the writer ended by itself"
        told += part
    process.kill()
    told += await process.stdout.read()
    await process.wait()
    return told[: told.rfind(b"\n")].decode().split("\n")


def numbers_by_kind(lines: list[str], *kinds: str) -> dict[str, set[int]]:
    """Return the numbers in lines such as `kept 7`, by the word before them; each is one of these kinds."""
    found: dict[str, set[int]] = {kind: set() for kind in kinds}
    for line in lines:
        kind, _, number = line.partition(" ")
        found[kind].add(int(number))
    return found
