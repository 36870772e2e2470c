"""The part of a published data set that is asked for: a split, subsets, cameras."""

from collections.abc import Iterable
from pathlib import Path

from handtool.errors import HandtoolError, WrongCommand


def choose_split(title: str, asked: str | None, known: dict[str, str], there: list[str], root: Path) -> str:
    """title: the set's name. known: what a user may say -> the set's word. there: the splits below `root`.

    Without `asked`, the only one that is there. Decided by names, before anything large is read. Raises WrongCommand.
    """
    if asked is not None:
        if asked not in known:
            raise WrongCommand(
                f"{title} has no split {asked!r}", hint=f"--split {' or '.join(dict.fromkeys(known.values()))}"
            )
        return known[asked]
    if len(there) != 1:
        raise WrongCommand(
            f"{root} has {' and '.join(there) or 'no split'}, which are not to be mixed",
            hint=f"--split {there[0] if there else next(iter(known))}",
        )
    return there[0]


def choose_some(title: str, option: str, asked: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...]:
    """Those of `known` that are asked for, in the set's order; all where none is. Raises WrongCommand."""
    known = tuple(known)
    if unknown := [each for each in asked if each not in known]:
        shown = ",".join(known[:8]) + (f" … ({len(known)} in all)" if len(known) > 8 else "")
        raise WrongCommand(
            f"{title} has no {unknown[0]!r} among what {option} chooses", hint=f"{option} {shown}, any of them"
        )
    return tuple(each for each in known if not asked or each in asked)


def refuse_choice(title: str, option: str, asked: tuple[str, ...], why: str) -> None:
    """The error for an option that does not apply to this set or this part of it."""
    if asked:
        raise WrongCommand(f"{title}: {why}", hint=f"leave out {option}")


def missing_error(path: Path, looked_for: str, hint: str) -> HandtoolError:
    """The error for a missing folder or file: what was looked for, and what is there instead."""
    folder = next((each for each in path.parents if each.is_dir()), Path("."))
    beside = sorted(each.name for each in folder.iterdir())
    found = ", ".join(beside[:6]) + (f" … ({len(beside)} in all)" if len(beside) > 6 else "")
    return HandtoolError(
        f"{path} does not exist: looked for {looked_for}, found in {folder}: {found or 'nothing'}", hint=hint
    )
