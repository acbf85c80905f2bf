"""Finding one thing by the beginning of one of its names, as people type ids."""

from __future__ import annotations

from typing import Dict, Iterable, List, Tuple, TypeVar

from ovl1.errors import WrongUsage

T = TypeVar("T")

_SHOWN = 10


def pick(text: str, named: Iterable[Tuple[str, T]], kind: str) -> T:
    """The one thing with a name that is `text` or begins with it.

    Args:
        text: what the user gave; ``sha256:`` in front of it is optional.
        named: pairs of a name and a thing; a thing may have several names.
        kind: what it is, for messages.

    Raises:
        WrongUsage: there is none, or more than one; then the candidates are listed.
    """
    wanted = _bare(text.strip().lower())
    exact: Dict[str, T] = {}
    found: Dict[str, T] = {}
    things: List[T] = []
    for name, thing in named:
        if wanted and _bare(name).startswith(wanted):
            found[name] = thing
            if _bare(name) == wanted:
                exact[name] = thing
    matches = exact or found
    for thing in matches.values():
        if thing not in things:
            things.append(thing)
    if len(things) == 1:
        return things[0]
    if not things:
        raise WrongUsage(
            f"there is no {kind} {text!r}", resolution=f"`ovl1 {kind} ls` lists what there is."
        )
    raise WrongUsage(
        f"{text!r} is ambiguous: it fits {len(things)} {kind}s",
        details=candidates(matches),
        resolution="Give more digits.",
    )


def candidates(names: Iterable[str]) -> str:
    """A list for a message, cut when long."""
    ordered = sorted(names)
    more = [f"... and {len(ordered) - _SHOWN} more"] if len(ordered) > _SHOWN else []
    return "\n".join(ordered[:_SHOWN] + more)


def _bare(digest: str) -> str:
    return digest[len("sha256:") :] if digest.startswith("sha256:") else digest
