"""latentkit: what happens when a model re-applies its layers to its own hidden state.

The floors, from the ground up (imports only go down):

    layers, recurrence   attention, norms; the protocol, `unroll`, `stream`, `Trajectory`, halting rules
    tasks, models        one task a file, one architecture a file; they never import each other
    training             the fit loop, how a recurrence is trained, checkpoints
    analysis             what is measured on a trajectory
    checks, claims       the self-check behind each exercise; the ledger of measured claims
    depth_memory         every architecture on every task: the map
    plots, widgets       what people look at
    course, cli          how labs are run and built; the command line

Importing `latentkit` alone is cheap and needs no torch, so that `latentkit doctor` can run where torch is broken.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "start":
        from latentkit.course.runtime import start

        return start
    raise AttributeError(f"module 'latentkit' has no attribute {name!r}")
