"""The report: one HTML page of a compiled program, its run and its accuracy-energy curve."""
