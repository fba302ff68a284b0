"""The claims of the course: each a registered experiment with the paper's number and ours beside it.

latentkit claims              the ledger as a table
latentkit reproduce ID        rerun one and rewrite its entry
"""

from latentkit.claims import (
    composition,
    copying,
    depth_wall,
    drivers,
    fixed_points,
    latents,
    looping,
    open_questions,
    products,
    puzzles,
    real_sudoku,
    subgraphs,
    test_time_memory,
    working_memory,
)
from latentkit.claims.experiment import Claim

MODULES = (
    depth_wall,
    looping,
    fixed_points,
    puzzles,
    drivers,
    real_sudoku,
    working_memory,
    copying,
    test_time_memory,
    latents,
    subgraphs,
    products,
    composition,
    open_questions,
)
PENDING: set[str] = set()
"""Registered and not run to the end yet: they have no entry in the ledger, and no lab quotes them."""
OPEN = {claim.id for claim in open_questions.CLAIMS}
"""Registered for the reader to run: their entries hold no measurement and say "not tested at this scale"."""
REGISTRY: dict[str, Claim] = {claim.id: claim for module in MODULES for claim in module.CLAIMS}


def get(claim_id: str) -> Claim:
    """The registered claim.

    Raises:
        KeyError: unknown id; lists those there are.
    """
    if claim_id not in REGISTRY:
        raise KeyError(f"no claim {claim_id!r}; choose one of {', '.join(sorted(REGISTRY))}")
    return REGISTRY[claim_id]
