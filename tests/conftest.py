"""What all tests share: they run side by side, so threads that wait must not keep a core from those that work."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
