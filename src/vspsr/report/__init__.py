"""The report of an evaluation: one self-contained web page, read from the folder that `vspsr evaluate` writes."""

from vspsr.report.page import write_report

__all__ = ["write_report"]
