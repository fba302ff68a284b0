import dataclasses

import numpy as np
import pytest
import torch

from latentkit import models
from latentkit.claims import presets
from latentkit.claims.presets import PRESETS
from latentkit.layers import count_parameters
from latentkit.tasks.sudoku import Sudoku
from latentkit.training import StableMax
from tests.tasks_files import maze_csv, sudoku_csv  # noqa: F401

PAPERS = {
    # parameters, steps: HRM's as in its public code; TRM's 5M and 7M
    "hrm-sudoku-paper": (27_275_266, 26_041),
    "trm-sudoku-paper": (4_978_689, 78_125),
    "eqr-sudoku-paper": (4_978_689, 50_000),
    "hrm-maze-paper": (27_267_074, 26_041),
    "trm-maze-paper": (6_819_841, 78_125),
}
