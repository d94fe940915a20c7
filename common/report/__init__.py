"""What a person looks at: ``plots/`` and ``report.html``, made from a run's records and never training anything."""

from __future__ import annotations

from common.report.write import rebuild, write_report

__all__ = ["rebuild", "write_report"]
