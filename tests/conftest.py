"""What tests of several stations share: a server in this process, on the fake engine."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "support"))

# A busy machine is no fault of a property.
settings.register_profile("ingrain", deadline=None)
settings.load_profile("ingrain")
