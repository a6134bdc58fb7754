"""Names of ``typing`` that Python 3.10 does not have, so that ``typing.get_type_hints`` works in each version."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Union

__all__ = ["Self", "Unpack"]

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack
elif sys.version_info >= (3, 11):  # pragma: no cover  (not Python 3.10)
    from typing import Self, Unpack
else:  # pragma: no cover  (Python 3.10)
    Self = Any
    Unpack = Union
    """A substitute. At run time ``Unpack[X]`` only has to be a valid expression; ``Union[X]`` is one and returns
    ``X``."""
