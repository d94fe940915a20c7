"""The live demo: a page on this machine alone, on which the models of a run read the digits that are drawn."""
