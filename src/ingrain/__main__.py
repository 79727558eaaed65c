"""``python -m ingrain`` is the `ingrain` command."""

import sys

from ingrain.cli.main import main

sys.exit(main())
