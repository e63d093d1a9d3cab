"""One file per engine behind `interface.Engine`; engines never import each other."""
