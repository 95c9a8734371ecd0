"""The report of an evaluation: one self-contained web page, read from the folder that `vspsr evaluate` writes."""
