"""Which channels of an image are meant: by index, name or role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from cellbrook.io.source import Source


@dataclass(frozen=True, slots=True)
class ChannelSelection:
    """Channels of an image, in the order in which they are wanted.

    Parameters
    ----------
    indices : tuple of int
        Counted from 0.
    names : tuple of str
        The image's own names for them.
    roles : tuple of (str or None)
        What each is for ("nucleus", "cell"), where the user said so.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    roles: tuple[str | None, ...]

    def index_of(self, role: str) -> int | None:
        """Return the channel of a role, None where nobody was given it."""
        return self.indices[self.roles.index(role)] if role in self.roles else None


def order_by_role(roles: Sequence[str | None], wanted: Sequence[str], model: str) -> list[int]:
    """Return which channels a network gets, in the order in which it wants their roles.

    Parameters
    ----------
    roles : sequence of (str or None)
        Of each channel. One without a role is left out.
    wanted : sequence of str
        Of the network.
    model : str
        What to call it.

    Raises
    ------
    UsageError
        If the network does not know a role.
    """
    found = {role: i for i, role in enumerate(roles) if role}
    if unknown := sorted(set(found) - set(wanted)):
        raise UsageError(f"{model} knows the channel roles {', '.join(wanted)}, got {', '.join(unknown)}")
    return [found[role] for role in wanted if role in found]


def resolve_channels(spec: str | int | Sequence[int | str] | None, source: Source) -> ChannelSelection:
    """Find the channels that a user asks for.

    Parameters
    ----------
    spec : str, int, sequence or None
        Indices from 0 ("0,2"), names ("DAPI,GFP", in any case, a beginning suffices where only one name
        starts so), or
        either with a role in front ("nucleus=2,cell=0"). A name that is a number wins over the index. None:
        all.
    source : Source
        The image.

    Returns
    -------
    ChannelSelection

    Raises
    ------
    UsageError
        If there is no such channel, a name fits several, or one is asked for twice. Lists the channels there
        are.

    Examples
    --------
    >>> import numpy as np
    >>> from cellbrook.io import open_image
    >>> image = open_image(np.zeros((3, 32, 32)), axes="CYX")
    >>> resolve_channels("nucleus=2,cell=0", image).indices
    (2, 0)
    """
    names = source.channel_names
    if spec is None:
        every = tuple(range(len(names)))
        return ChannelSelection(every, tuple(names), (None,) * len(every))
    parts: list[int | str]
    if isinstance(spec, str):
        parts = [part.strip() for part in spec.split(",")]
    elif isinstance(spec, Sequence):
        parts = list(spec)
    else:
        parts = [spec]
    if not parts or parts == [""]:
        raise UsageError(f"no channel is named; {_available(source)}")
    indices: list[int] = []
    roles: list[str | None] = []
    for part in parts:
        role: str | None = None
        wanted = part
        # a channel's own name may contain "=": then it is no role
        if isinstance(part, str) and "=" in part and part not in names:
            before, _, wanted = part.rpartition("=")
            role, wanted = before.strip().lower(), wanted.strip()
            if not role:
                raise UsageError(f"a role stands before '=', as in nucleus={wanted}, got {part!r}")
            if role in roles:
                raise UsageError(f"the role {role!r} is given twice")
        index = _find(wanted, source)
        if index in indices:
            raise UsageError(f"channel {index} ({names[index]}) is asked for twice")
        indices.append(index)
        roles.append(role)
    return ChannelSelection(tuple(indices), tuple(names[i] for i in indices), tuple(roles))


def _find(wanted: int | str, source: Source) -> int:
    names = source.channel_names
    if isinstance(wanted, str):
        folded = [name.casefold() for name in names]
        target = wanted.casefold()
        if target in folded:
            return folded.index(target)
        digits = wanted.removeprefix("-")
        if not digits.isdecimal():
            fitting = [i for i, name in enumerate(folded) if target and name.startswith(target)]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                which = " and ".join(names[i] for i in fitting)
                raise UsageError(f"channel {wanted!r} could be {which}; {_available(source)}")
            raise UsageError(f"there is no channel {wanted!r}; {_available(source)}")
        wanted = int(wanted)
    if not 0 <= wanted < len(names):
        raise UsageError(f"there is no channel {wanted}; {_available(source)}")
    return int(wanted)


def _available(source: Source) -> str:
    names = source.channel_names
    shown = [f"{i} ({n})" if n != str(i) else n for i, n in enumerate(names[:12])]
    more = f" ... {len(names) - 1}" if len(names) > 12 else ""
    return f"{source.name} has channel{'s' if len(names) > 1 else ''} {', '.join(shown)}{more}"
