"""The law of numbers compiled by numba from the same source that `verify` interprets.

`mrv.measurement.law` stays as it is: its source is loaded a second time as a private module, and
there each function is replaced by its compiled self, so that they call each other compiled.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

from mrv.errors import MeterprintError
from mrv.measurement import law
from mrv.measurement.activity import Kernels

FUNCTIONS = (
    "muldiv",
    "plausible_increment",
    "correction_at",
    "_window_of",
    "share_out",
    "counter_law",
    "amount_law",
)
"""Functions of the law, callees first."""
PRIVATE = "ingest._compiled_law"
"""Name of the private copy."""


def _private_copy() -> ModuleType:
    spec = importlib.util.spec_from_file_location(PRIVATE, law.__file__)
    if spec is None or spec.loader is None:
        raise MeterprintError(f"the source of {law.__name__} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PRIVATE] = module
    spec.loader.exec_module(module)
    return module


@cache
def compiled() -> Kernels:
    """The compiled laws; importing numba and compiling happen at the first call."""
    import numba  # noqa: PLC0415 (a third of a second, and only servers have it)
    import numpy as np  # noqa: PLC0415

    module = _private_copy()
    for name in FUNCTIONS:
        function = getattr(module, name)
        setattr(module, name, numba.njit(cache=True, nogil=True, error_model="numpy")(function))

    def wrap(values: Sequence[int]) -> Any:
        return np.asarray(values, dtype=np.int64)

    def zeros(size: int) -> Any:
        return np.zeros(size, dtype=np.int64)

    return Kernels(module.counter_law, module.amount_law, wrap, zeros)


def on_demand() -> Kernels:
    """The compiled laws, compiled or fetched from their cache when a window is first computed."""
    import numpy as np  # noqa: PLC0415

    def counter(*arguments: Any) -> None:
        compiled().counter(*arguments)

    def amount(*arguments: Any) -> None:
        compiled().amount(*arguments)

    def wrap(values: Sequence[int]) -> Any:
        return np.asarray(values, dtype=np.int64)

    def zeros(size: int) -> Any:
        return np.zeros(size, dtype=np.int64)

    return Kernels(counter, amount, wrap, zeros)
