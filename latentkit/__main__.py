"""`python -m latentkit`: the command line, for `accelerate launch -m latentkit train ...`."""

import sys

from latentkit.cli import main

sys.exit(main())
