"""URLs that are not to be recorded, known again by their path alone where that is enough.

Health checks are the most frequent of all requests and may cost next to nothing: what was found in a path is looked up from then
on, before anything else of the request is read.
"""

from __future__ import annotations

import re
from typing import Any, final

from otelfork.encoding.fields import LONGEST, keep

_ELSEWHERE = re.compile(r"[\^$]|\\[bBAZz]|\(\?(?!:)")
"""What looks beyond the text that it matches: anchors, word boundaries, lookarounds; flags change what others mean."""


@final
class Exclusion:
    """The patterns of excluded URLs.

    Args:
        excluded: a compiled pattern, or what has its `search` (contrib's `ExcludeList`).

    Attributes:
        search: tells whether a full URL is excluded.
    """

    __slots__ = ("_local", "_paths", "search")

    def __init__(self, excluded: Any) -> None:
        self.search = excluded.search
        # What such a pattern finds in a part of a text it finds in the text.
        self._local = isinstance(excluded, re.Pattern) and not _ELSEWHERE.search(excluded.pattern)
        self._paths: dict[str | bytes, bool] = {}

    def by_path(self, path: str | bytes) -> bool:
        """Tell whether any URL with this path is excluded; where that is False, the URL has to be searched.

        Args:
            path: undecoded, as sent, with the mount prefix or without.
        """
        found = self._paths.get(path)
        if found is None:
            text = path if isinstance(path, str) else path.decode("latin-1")
            found = self._local and bool(self.search(text))
            if len(path) <= LONGEST:
                keep(self._paths, path, found)
        return found
