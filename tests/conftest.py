"""What tests of several stations share: a server in this process, on the fake engine."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
