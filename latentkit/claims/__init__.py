"""The claims of the course: each a registered experiment with the paper's number and ours beside it.

latentkit claims              the ledger as a table
latentkit reproduce ID        rerun one and rewrite its entry
"""

from latentkit.claims import (
    copying,
    depth_wall,
    drivers,
    fixed_points,
    looping,
    puzzles,
    real_sudoku,
    test_time_memory,
    working_memory,
)
from latentkit.claims.experiment import Claim

MODULES = (depth_wall, looping, fixed_points, puzzles, drivers, real_sudoku, working_memory, copying, test_time_memory)
PENDING = {"sudoku-published"}
"""Registered and not run to the end yet: they have no entry in the ledger, and no lab quotes them."""
REGISTRY: dict[str, Claim] = {claim.id: claim for module in MODULES for claim in module.CLAIMS}


def get(claim_id: str) -> Claim:
    """The registered claim.

    Raises:
        KeyError: unknown id; lists those there are.
    """
    if claim_id not in REGISTRY:
        raise KeyError(f"no claim {claim_id!r}; choose one of {', '.join(sorted(REGISTRY))}")
    return REGISTRY[claim_id]
