"""Random layers that have something to do with the ones below them."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from hypothesis import strategies as st

from tests.property.apply_model import Item, Model

ACTS = (
    "file", "file", "dir", "dir", "link", "fifo", "hard", "hard", "hard", "hard", "whiteout",
    "whiteout", "opaque", "opaque",
)  # fmt: skip
WITHOUT_HARD_LINKS = tuple(act for act in ACTS if act != "hard")

BASE = [
    Item("dir", ("a",), (), 2),
    Item("dir", ("a", "b"), (), 0),
    Item("file", ("a", "a"), (), 1),
    Item("hard", ("a", "b", "a"), ("a", "a"), 1),
    Item("file", ("a", "b", "b"), (), 2),
    Item("dir", ("b",), (), 1),
    Item("hard", ("b", "a"), ("a", "a"), 1),
    Item("link", ("b", "b"), ("no",), 3),
    Item("link", ("l",), ("a",), 0),
    Item("link", ("a", "l"), ("/b",), 1),
    Item("link", ("b", "l"), ("../../a/b",), 2),
]
"""A layer in which most of what the others do finds something."""

_THERE = [item.path for item in BASE]
_FILES = [item.path for item in BASE if item.act in ("file", "hard")]
# Few names at the top: what replaces a directory there leaves little to trip over.
_BELOW = st.lists(st.sampled_from("aabbl"), min_size=2, max_size=3).map(tuple)
_OVER_LINKS = [("l", "a"), ("l", "b", "a"), ("a", "l", "b"), ("l", "l", "a"), ("b", "l", "a")]
_NAMES = st.one_of(st.sampled_from(_THERE), st.sampled_from(_THERE + _OVER_LINKS), _BELOW)
_OTHERS = st.one_of(st.sampled_from(_FILES), st.sampled_from(_FILES + _OVER_LINKS), _BELOW)
_TARGETS = ("no", "a", "/b", "..", "a/../b", "l")


def layers(acts: Sequence[str] = ACTS) -> st.SearchStrategy[Any]:
    """Lists of entries; most of the names are in `BASE`, or lead over its links."""

    def one(act: str) -> st.SearchStrategy[Item]:
        path: st.SearchStrategy[Any] = _NAMES
        if act in ("dir", "opaque"):
            path = st.one_of(_NAMES, _NAMES, st.just(()))
        other = _OTHERS if act == "hard" else st.sampled_from(_TARGETS).map(lambda name: (name,))
        return st.builds(Item, st.just(act), path, other, st.integers(0, 3))

    items = st.tuples(st.sampled_from(acts).flatmap(one), st.sampled_from((0, 0, 0, 0, 1, 2)))
    # Most laws break where one entry meets another one; but what breaks is shown best by few.
    few, many = st.lists(items, min_size=1, max_size=4), st.lists(items, min_size=7, max_size=16)
    return st.one_of(few, many, many).map(_met_again)


def _met_again(drawn: Sequence[Tuple[Item, int]]) -> List[Item]:
    """The entries, some with the path of the one before, or of the one before that."""
    items: List[Item] = []
    for item, back in drawn:
        path = items[-back].path if 0 < back <= len(items) else ()
        items.append(item._replace(path=path or item.path))
    return items


TERRITORY = (
    "a whiteout of what is there",
    "a whiteout of what this layer has made",
    "an opaque directory with something below it",
    "a hard link to an inherited file",
    "another mode for an inherited file with several names",
    "a directory in the place of something else",
    "something else in the place of a directory",
    "a name twice",
    "a name over a symbolic link",
    "a name over an inherited symbolic link",
    "something impossible",
)
"""What random layers must come to often enough; see `reached`."""


def reached(model: Model, items: Sequence[Item]) -> Set[str]:
    """Which of `TERRITORY` is met while `items` are applied to `model`."""
    found: Set[str] = set()
    for item in items:
        if model.allows(item):
            found.update(name for name, is_met in _meets(model, item).items() if is_met)
            model.apply([item])
        else:
            found.add("something impossible")
    return found


def _meets(model: Model, item: Item) -> Dict[str, bool]:
    place = model.place(item.path) or ()
    there = model.names.get(place)
    names = [name for name in model.names if name[: len(place)] == place and name != place]
    is_made = item.act not in ("whiteout", "opaque")
    was_dir = there is not None and there.kind == "dir"
    met = {
        "a whiteout of what is there": item.act == "whiteout" and there is not None,
        "a whiteout of what this layer has made": item.act == "whiteout"
        and place in model.unpacked,
        "an opaque directory with something below it": item.act == "opaque"
        and was_dir
        and any(name not in model.unpacked for name in names),
        "a directory in the place of something else": item.act == "dir"
        and there is not None
        and not was_dir,
        "something else in the place of a directory": is_made and item.act != "dir" and was_dir,
        "a name twice": is_made and place in model.unpacked,
        "a name over a symbolic link": place != item.path,
        "a name over an inherited symbolic link": model.leads_over(item),
    }
    if item.act == "hard":
        target = model.names[model.place(item.other, imply=False) or ()]
        is_inherited = id(target) in model.inherited
        shared = sum(inode is target for inode in model.names.values()) > 1
        met["a hard link to an inherited file"] = is_inherited
        met["another mode for an inherited file with several names"] = (
            is_inherited and shared and target.kind == "file" and target.mode != item.mode
        )
    return met
